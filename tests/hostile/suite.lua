-- Runs the cases of tests/hostile/cases, each in a process of its own with a deadline, and prints how each ended.
-- A file returns an array of cases:
--
--   name      what the attacker does
--   without   the protections that are switched off to show that the attack works without them, by the names that C
--             gives to PROTECTED and Lua to its guards (tests/hostile/guards.lua); "build:dynamic": the helper is a
--             dynamic program
--   attack    function (t), with t from tests/hostile/lib.lua: returns whether the attack worked, and a few words about
--             that; calls t.cannot(why) where the attack cannot be made on this machine
--   hangs     true: the attack has worked when the caller does not come back
--   waits     true: the case ends only when ctrexec gives up waiting for the entry. ctrexec's limit for that is then
--             three seconds. In every other case it is the usual minute, which only an attack can use up
--   view      "shared": in a mount namespace whose mounts propagate within it, as on most machines

package.path = "./?.lua;./lua/?.lua;./lua/?/init.lua;" .. package.path
package.cpath = "./build/lua/?.so;" .. package.cpath

local lfs = require "lfs"
local tool = require "tests.lib.tool"

-- Seconds: for any case, and for one that `hangs`. An exec that is not hung up ends within the second: in those cases
-- the waits of ctrexec last 3 and 5 seconds.
local DEADLINE, HANG_DEADLINE = 900, 12

-- How many cases run at a time; most of them mostly wait.
local JOBS = 6

local VIEWS = {
  shared = "unshare --mount --propagation private sh -c 'mount --make-rshared / && exec \"$@\"' sh",
}

local function case_files()
  local files = {}
  for name in lfs.dir "tests/hostile/cases" do
    if name:find "%.lua$" then files[#files + 1] = name end
  end
  table.sort(files)
  return files
end

-- Starts a case in one of its two forms.
local function start(file, index, case, without)
  local folder = tool.folder()
  local list = tool.quote(without and table.concat(case.without, ",") or "")
  local deadline = case.hangs and without and HANG_DEADLINE or DEADLINE
  local hasty = case.waits and (case.hangs or without) and "hasty" or ""
  local command = ("%s timeout -k 5 %d lua5.4 tests/hostile/one.lua %s %d %s %s"):format(VIEWS[case.view] or "",
    deadline, tool.quote(file), index, list, hasty)
  local pipe = assert(io.popen(("CTX_TEST_WITHOUT=%s %s >%s/output 2>&1 </dev/null; echo $?"):format(list, command,
    folder)))
  return { case = case, pipe = pipe, folder = folder }
end

-- Waits for the end of a case. Returns "worked", "failed", "cannot" or "broken", and a few words about that.
local function finish(run)
  local status = run.pipe:read "n"
  run.pipe:close()
  local text = tool.read(run.folder .. "/output")
  tool.remove(run.folder)
  if status == 124 or status == 137 then
    if run.case.hangs then return "worked", "the caller did not come back" end
    return "broken", "ran past its deadline"
  end
  local verdict, word = text:match "([a-z]+): ([^\n]*)\n$"
  if status ~= 0 or not verdict then return "broken", text:gsub("%s+$", "") end
  return verdict, word
end

local function wanted(number, case)
  if #arg == 0 then return true end
  for _, word in ipairs(arg) do
    if tonumber(word) == number or case.name:find(word, 1, true) then return true end
  end
  return false
end

-- The two forms of a case, with the protections off and on. `good` is the verdict that must come. `again` are verdicts
-- that a busy machine can cause: the case is then tried once more, alone. An attack that worked is never tried again.
local FORMS = {
  { without = true, title = "attack works without the protection", good = "worked",
    again = { failed = true, broken = true, cannot = true } },
  { without = false, title = "blocked", good = "failed", again = { broken = true, cannot = true } },
}

local ANSWERS = { cannot = "not here", broken = "?" }

local function report(form, verdict, word)
  local answer = verdict == form.good and "yes" or ANSWERS[verdict] or "no"
  io.write(("      %s: %s (%s)\n"):format(form.title, answer, word))
  io.flush()
end

local function title(case)
  io.write(("%2d  %s\n"):format(case.number, case.name))
  io.flush()
end

-- Functions that start both forms of every wanted case, in order.
local starts, cases = {}, {}
for _, file in ipairs(case_files()) do
  for index, case in ipairs(dofile("tests/hostile/cases/" .. file)) do
    case.number = tonumber(file:match "^%d+")
    if wanted(case.number, case) then
      cases[#cases + 1] = case
      for _, form in ipairs(FORMS) do
        starts[#starts + 1] = function () return start(file, index, case, form.without) end
      end
    end
  end
end

-- Waits for the verdict of the next form, while others run.
local running, started, taken = {}, 0, 0
local function next_verdict()
  while started < #starts and started - taken < JOBS do
    started = started + 1
    running[started] = starts[started]()
  end
  taken = taken + 1
  return finish(running[taken])
end

local verdicts, words, again = {}, {}, {}
for i, case in ipairs(cases) do
  title(case)
  verdicts[i], words[i] = {}, {}
  for j, form in ipairs(FORMS) do
    local verdict, word = next_verdict()
    report(form, verdict, word)
    verdicts[i][j], words[i][j] = verdict, word
    if form.again[verdict] then again[#again + 1] = { i = i, j = j, start = starts[taken] } end
  end
end
if #again > 0 then io.write "again, with nothing beside them:\n" end
for _, one in ipairs(again) do
  title(cases[one.i])
  local verdict, word = finish(one.start())
  report(FORMS[one.j], verdict, word)
  verdicts[one.i][one.j], words[one.i][one.j] = verdict, word
end
require "ctrexec.busted".reap()

local count, works, blocked, absent, bad = 0, 0, 0, 0, {}
for i, case in ipairs(cases) do
  local worked, held = verdicts[i][1], verdicts[i][2]
  if worked == "cannot" then
    absent = absent + 1
  else
    count = count + 1
    works = works + (worked == "worked" and 1 or 0)
    blocked = blocked + (held == "failed" and 1 or 0)
  end
  local shown = worked == "worked" or worked == "cannot"
  local kept = held == "failed" or held == "cannot" and worked == "cannot"
  if not (shown and kept) then
    bad[#bad + 1] = ("%2d  %s\n      without the protection: %s (%s)\n      with it: %s (%s)\n"):format(case.number,
      case.name, worked, words[i][1], held, words[i][2])
  end
end
if #bad > 0 then io.write("not as it should be:\n", table.concat(bad)) end
io.write(("cases: %d, attacks that work without the protection: %d, blocked: %d, not possible here: %d\n")
  :format(count, works, blocked, absent))
os.exit(count > 0 and #bad == 0)
