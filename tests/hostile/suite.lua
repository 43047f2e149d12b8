-- Runs the cases of tests/hostile/cases, each in a process of its own with a deadline, and prints what became of each.
-- A file gives an array of cases:
--
--   name      what the attacker does
--   without   the protections that are taken out to see the attack work: names that core/*.c gives to PROTECTED, and
--             "lua:NAME" for those of tests/hostile/patches.lua; "build:dynamic": the helper is a dynamic program
--   attack    function (t), t from tests/hostile/lib.lua: true and a word when the attack worked, else false and
--             a word;
--             t.cannot(why) where it cannot be made here
--   hangs     true: the attack works when the caller does not come back
--   view      "shared": in a mount namespace where mounts propagate, as on most machines, but not out of it

package.path = "./?.lua;./lua/?.lua;./lua/?/init.lua;" .. package.path
package.cpath = "./build/lua/?.so;" .. package.cpath

local lfs = require "lfs"

-- In seconds. What is not hung up comes back within the second one: the waits of ctrexec end after 3 and 5 seconds
-- here.
local DEADLINE, HANG_DEADLINE = 900, 12

-- How many run at a time: most of them wait most of the time.
local JOBS = 6

local VIEWS = {
  shared = "unshare --mount --propagation private sh -c 'mount --make-rshared / && exec \"$@\"' sh",
}

local function quote(text)
  return "'" .. tostring(text):gsub("'", "'\\''") .. "'"
end

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
  local output = assert(os.tmpname())
  local list = quote(without and table.concat(case.without, ",") or "")
  local deadline = case.hangs and without and HANG_DEADLINE or DEADLINE
  local command = ("%s timeout -k 5 %d lua5.4 tests/hostile/one.lua %s %d %s"):format(VIEWS[case.view] or "", deadline,
    quote(file), index, list)
  local pipe = assert(io.popen(("CTX_TEST_WITHOUT=%s %s >%s 2>&1 </dev/null; echo $?"):format(list, command, output)))
  return { case = case, pipe = pipe, output = output }
end

-- Waits for its end: "worked", "failed", "cannot" or "broken", and a word about it.
local function finish(run)
  local status = run.pipe:read "n"
  run.pipe:close()
  local handle = assert(io.open(run.output))
  local text = handle:read "a"
  handle:close()
  os.remove(run.output)
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

local function line(title, good, verdict, word)
  local answer = verdict == good and "yes" or verdict == "cannot" and "not here" or verdict == "broken" and "?" or "no"
  io.write(("      %s: %s (%s)\n"):format(title, answer, word))
  io.flush()
  return verdict == good and 1 or 0
end

-- Both forms of every wanted case, in order: functions that start them.
local starts, cases = {}, {}
for _, file in ipairs(case_files()) do
  for index, case in ipairs(dofile("tests/hostile/cases/" .. file)) do
    case.number = tonumber(file:match "^%d+")
    if wanted(case.number, case) then
      cases[#cases + 1] = case
      for _, without in ipairs { true, false } do
        starts[#starts + 1] = function () return start(file, index, case, without) end
      end
    end
  end
end

-- The next one's verdict; while it is waited for, others run.
local running, started, taken = {}, 0, 0
local function next_verdict()
  while started < #starts and started - taken < JOBS do
    started = started + 1
    running[started] = starts[started]()
  end
  taken = taken + 1
  return finish(running[taken])
end

local count, works, blocked, absent = 0, 0, 0, 0
for _, case in ipairs(cases) do
  io.write(("%2d  %s\n"):format(case.number, case.name))
  io.flush()
  local verdict, word = next_verdict()
  local works_here = line("attack works without the protection", "worked", verdict, word)
  if verdict == "cannot" then
    absent = absent + 1
    next_verdict()
  else
    count, works = count + 1, works + works_here
    blocked = blocked + line("blocked", "failed", next_verdict())
  end
end
require "ctrexec.busted".reap()
io.write(("cases: %d, attacks that work without the protection: %d, blocked: %d, not possible here: %d\n")
  :format(count, works, blocked, absent))
os.exit(count > 0 and works == count and blocked == count)
