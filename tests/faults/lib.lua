--- Runs one exec of ctrexec in which one system call fails, and judges how the exec ended.

local cjson = require "cjson"
local containers = require "tests.lib.containers"
local core = require "ctrexec.core"
local inject = require "inject"
local lfs = require "lfs"
local processes = require "processes"
local session = require "tests.lib.session"
local tool = require "tests.lib.tool"
local variants = require "tests.lib.variants"
local expected = require "tests.faults.expected"

local lib = {}

-- Seconds: for a whole exec, far more than all its waits; and, after its end, for the processes that it started.
local DEADLINE, LINGER = 30, 3

local WRITE = { write = true, create = true, truncate = true }

local function file(path)
  return assert(core.file.open(path, WRITE, 420))
end

-- Every directory of the container's cgroups.
local function cgroups(ct)
  local name = containers.cgroup_name(ct)
  local pipe = assert(io.popen(("find /sys/fs/cgroup/%s /sys/fs/cgroup/*/%s -type d 2>/dev/null"):format(name, name)))
  local list = {}
  for line in pipe:lines() do list[#list + 1] = line end
  pipe:close()
  table.sort(list)
  return table.concat(list, "\n")
end

-- The files of the run's folder and of the container's state.
local function names_in(...)
  local names = {}
  for _, dir in ipairs { ... } do
    for name in lfs.dir(dir) do
      if name ~= "." and name ~= ".." then names[#names + 1] = name end
    end
  end
  table.sort(names)
  return table.concat(names, " ")
end

-- Reads what can be read from a terminal's master.
local function drain(master)
  local pieces = {}
  while core.poll.wait({ { fd = master, read = true } }, 0) do
    local data = core.fd.read(master, 65536)
    if not data or data == "" then break end
    pieces[#pieces + 1] = data
  end
  return table.concat(pieces):gsub("\r\n", "\n")
end

-- The lines of /report in the command's output, without those that differ in every run.
local function facts_of(text)
  text = text:gsub("(cgroup: [^\n]*/ctrexec%-)%x+[^\n/]*", "%1TREE")
  text = text:gsub("mnt:%[%d+%]", "mnt"):gsub("sessionid: %d+", "sessionid: N")
  return text
end

local function command_line(variant, ct, dir)
  if variant.host then return { "lua5.4", "tests/faults/host.lua", ct.root, ct.id } end
  local places = { DIR = dir, AGENT = ct.agent_path or ct.dir .. "/agent", PID = tostring(ct.pid),
    PROCESS = ct.dir .. "/process.json" }
  if variant.process then tool.write(places.PROCESS, cjson.encode(variant.process)) end
  local argv = { tool.repository .. "/scripts/ctrexec.lua", "--root", ct.root, "exec" }
  for _, word in ipairs(variant.words or {}) do argv[#argv + 1] = word:gsub("%u%u+", places) end
  if not variant.without_id then argv[#argv + 1] = ct.id end
  if variant.command ~= false then argv[#argv + 1] = variant.command or "/report" end
  if not variant.prefix then return argv end
  return { "sh", "-c", "exec \"$@\" " .. variant.prefix, "sh", table.unpack(argv) }
end

--- Runs the exec of a variant.
-- @tparam table variant of tests/faults/cases.lua
-- @tparam table ct fixture
-- @tparam ?table target `process`, `call`, `ordinal`, `errno`: what fails; without it the calls are recorded
-- @treturn table the result of `inject.run`; `output` of the command, `message` of ctrexec; `facts`; `files`, `cgroups`
-- and `settings`, each before and after the run
function lib.run(variant, ct, target)
  local dir, state = variants.directory "run", ct.root .. "/" .. ct.id
  local pty <close> = variant.terminal and session.pty() or nil
  local null <close> = assert(core.file.open("/dev/null", { read = true, write = true }))
  local out <close> = file(dir .. "/stdout")
  local err <close> = file(dir .. "/stderr")
  local slave = pty and pty.slave:fd()
  local digest = variant.cold and state .. "/ctrexec.digest"
  if digest then os.remove(digest) end
  local before = { files = names_in(dir, state), cgroups = cgroups(ct), settings = slave and processes.settings(slave) }
  local agent = variant.agent and variant.agent(ct)
  local result = inject.run(command_line(variant, ct, dir), {
    stdin = slave or null:fd(), stdout = slave or out:fd(), stderr = err:fd(), terminal = slave, seconds = DEADLINE,
    linger = LINGER, record = not target or nil, fail = target, mark = variant.from,
  })
  result.output = (pty and drain(pty.master) or "") .. tool.read(dir .. "/stdout")
  if agent then result.output = result.output .. agent:finish(result.status == 0) end
  result.message = tool.read(dir .. "/stderr")
  result.facts = facts_of(result.output)
  result.pid_file = tool.read(dir .. "/pid")
  os.remove(dir .. "/pid")
  if digest then os.remove(digest) end
  result.before = before
  result.after = { files = names_in(dir, state), cgroups = cgroups(ct), settings = slave and processes.settings(slave) }
  return result
end

--- The roles of a run's processes, from 0: the caller; "first", a helper as it was started; "member", the helper's
-- second process, in the container's cgroup; "final", the one that becomes the command; "reader", one that reads a
-- file of the container; "thread", a thread of any of them.
local function roles_of(reference)
  local made, roles = {}, {}
  for _, call in ipairs(reference.calls) do made[call.call .. call.process] = true end
  for number, process in pairs(reference.processes) do
    roles[number] = number == 0 and "caller" or process.thread and "thread" or process.command and "final"
      or made["execveat" .. number] and "first" or made["clone" .. number] and "member" or "reader"
  end
  return roles
end

local function same(one, other)
  if type(one) ~= "table" then return one == other end
  for name, value in pairs(one) do
    if other[name] ~= value then return false end
  end
  return true
end

local function shown(value)
  if type(value) ~= "table" then return tostring(value) end
  local parts = {}
  for name, part in pairs(value) do parts[#parts + 1] = ("%s=%x"):format(name, part) end
  table.sort(parts)
  return table.concat(parts, " ")
end

local function command_of(result)
  for _, process in pairs(result.processes) do
    if process.command then return process end
  end
end

-- The lines that only one of two texts has.
local function differences(one, other)
  local count, list = {}, {}
  for line in one:gmatch "[^\n]+" do count[line] = (count[line] or 0) + 1 end
  for line in other:gmatch "[^\n]+" do
    if (count[line] or 0) == 0 then list[#list + 1] = "+" .. line end
    count[line] = (count[line] or 0) - 1
  end
  for line, left in pairs(count) do
    if left > 0 then list[#list + 1] = "-" .. line end
  end
  table.sort(list)
  return list
end

-- Whether the message is one line in the form of the log, without a trace of a crashed program.
local function bare_message(text)
  local line = text:match '^time="[^"\n]*" level=error msg="?([^\n]*)\n$'
  if not line or line:find "%.lua:%d" or line:find "traceback" then return nil end
  return (line:gsub('"$', ""):gsub('\\"', '"'))
end

local Judgement = {}
Judgement.__index = Judgement

function Judgement:wrong(...)
  self.problems[#self.problems + 1] = string.format(...)
end

-- Finds what no exec may leave behind, however it ended.
function Judgement:look_for_remains(result, rule)
  for number, process in pairs(result.processes) do
    if process.alive then self:wrong("process %d is left", number) end
  end
  for _, what in ipairs { "files", "cgroups", "settings" } do
    local before, after = result.before[what], result.after[what]
    if not same(before, after) and not (what == "settings" and rule.restores) then
      self:wrong("%s: %s, then %s", what, shown(before), shown(after))
    end
  end
end

-- Checks an exec that went on in spite of the failure: it must equal one without a failure.
function Judgement:look_at_run(reference, result, rule)
  self.how = "ran"
  if not rule.ran then self:wrong "the failure is swallowed" end
  for _, line in ipairs(differences(reference.facts, result.facts)) do
    if not (rule.facts and line:find(rule.facts)) then self:wrong("the command sees %s", line) end
  end
end

function Judgement:look_at_refusal(result, rule, target)
  self.how, self.message = "refused", bare_message(result.message)
  if not self.message then
    self:wrong("message: %s", result.message)
  elseif not expected.is_right(rule, target, self.message) then
    self:wrong("not the right message: %s", self.message)
  end
  -- A call of the caller's may fail while the command already runs.
  if result.output ~= "" and not (target.role == "caller" and command_of(result)) then self:wrong "the command ran" end
end

--- Judges a run in which a call failed.
-- @tparam table variant
-- @tparam table reference the run without a failure
-- @tparam table result of the run
-- @tparam table target the call that failed, and its error
-- @treturn table `how` "ran", "refused" or "unknown"; `message` of the refusal; `problems`, an array
function lib.judge(variant, reference, result, target)
  local judgement = setmetatable({ how = "unknown", problems = {} }, Judgement)
  local rule = expected.rule(target)
  if not rule then
    judgement:wrong "no rule says what is right"
    rule = {}
  end
  if not result.injected then rule = { ran = "nothing failed" } end
  judgement:look_for_remains(result, rule)
  if not result.ended then
    judgement:wrong "the caller does not come back"
  elseif result.ended ~= "exited" then
    judgement:wrong("killed by signal %d", result.status)
  elseif result.status == 255 then
    judgement:look_at_refusal(result, rule, target)
  elseif result.message ~= reference.message then
    judgement:wrong("status %d with the message %s", result.status, result.message)
  elseif result.status ~= reference.status and not target.late then
    judgement:wrong("status %d", result.status)
  else
    judgement:look_at_run(reference, result, rule)
  end
  local pid = variant.pid_file and judgement.how == "ran" and tostring((command_of(result) or {}).pid) or nil
  if result.pid_file ~= pid and not target.late then judgement:wrong("pid file: %s", tostring(result.pid_file)) end
  return judgement
end

--- Lists the calls of a run without a failure, each with each of its errors, to be made to fail one by one.
-- @tparam table variant
-- @tparam table reference the run
-- @tparam boolean sample only the first call of each kind
-- @treturn {table,...} targets
function lib.targets(variant, reference, sample)
  local from = variant.from or "ctrexec" -- the helper's image
  local roles, targets, begun, runs, seen = roles_of(reference), {}, false, false, {}
  for _, call in ipairs(reference.calls) do
    local role = roles[call.process]
    begun = begun or call.detail == from
    runs = runs or begun and role == "final" and call.call == "execve" and call.result == 0
    local kind = ("%s %s %s"):format(role, call.call, (call.detail or ""):gsub("%d%d+", "N"))
    if begun and not (sample and seen[kind]) then
      for _, error in ipairs(expected.errors(role, call)) do
        targets[#targets + 1] = { process = call.process, call = call.call, ordinal = call.ordinal, error = error,
          errno = error.number, role = role, detail = call.detail, late = runs and role == "caller" }
      end
    end
    seen[kind] = begun
    if call.detail == variant.to and begun and variant.to then break end
  end
  return targets
end

return lib
