-- Many execs at once in one container: first by the command, then by the module. Every other exec has a terminal, a new
-- one for each caller. Each exec must print and end as expected, and afterwards nothing may be left behind. EXECS,
-- CALLERS: see tests/load/run, which starts this in a process namespace of its own.
package.path = "./lua/?.lua;./lua/?/init.lua;./?.lua;" .. package.path
package.cpath = "./build/lua/?.so;./build/tests/?.so;" .. package.cpath

local containers = require "tests.lib.containers"
local core = require "ctrexec.core"
local lfs = require "lfs"
local processes = require "processes"
local session = require "tests.lib.session"
local support = require "tests.module.support"
local tool = require "tests.lib.tool"

local fd = core.fd

local EXECS = math.tointeger(tonumber(os.getenv "EXECS"))
local CALLERS = math.tointeger(tonumber(os.getenv "CALLERS"))

-- Seconds: the longest time of one exec on a machine that this test keeps busy.
local DEADLINE = 120
local EIO = 5

local skip = containers.missing()
if skip then
  print(skip)
  os.exit(77)
end

-- ------------------------------------------------------------------------------------------------- what is run

local SIGNALS = { "HUP", "INT", "KILL", "USR1", "PIPE", "TERM" }
local BYTES = 20000

-- What the exec of that number runs, what that prints and what its exit status is. `input` is given to it once it has
-- printed something; a terminal shows it. `says`: instead of `prints`, is part of what is printed.
local KINDS = {
  function () return { args = { "true" }, status = 0 } end,
  function () return { args = { "false" }, status = 1 } end,
  function (number) return { args = { "sh", "-c", "exit " .. number % 256 }, status = number % 256 } end,
  function (number)
    local name = SIGNALS[number % #SIGNALS + 1]
    return { args = { "sh", "-c", "kill -" .. name .. " $$; sleep 100" }, status = 128 + core.signal.numbers[name] }
  end,
  function (number)
    return { args = { "sh", "-c", ("echo %d; echo error >&2; exit 7"):format(number) }, status = 7,
      prints = number .. "\nerror\n" }
  end,
  function ()
    return { args = { "head", "-c", tostring(BYTES), "/dev/zero" }, status = 0, prints = ("\0"):rep(BYTES) }
  end,
  function (number)
    return { args = { "sh", "-c", "echo go; read -r a && echo \"$a\"; exit 3" }, status = 3, input = number .. "\n",
      prints = "go\n" .. number .. "\n" }
  end,
  function () return { args = { "sh", "-c", "sleep 0.02 & sleep 0.01 & wait; exit 9" }, status = 9 } end,
  function () return { args = { "id", "-u" }, user = "1000", status = 0, prints = "1000\n" } end,
  function () return { args = { "/no/such/program" }, status = 255, says = "no such file or directory" } end,
  function () return { args = { "/etc/passwd" }, status = 255, says = "permission denied" } end,
}

local function job_of(number)
  local job = KINDS[number % #KINDS + 1](number)
  job.number, job.said, job.terminal = number, {}, number // #KINDS % 2 == 0
  job.prints = job.prints or ""
  if job.input and job.terminal then job.prints = job.prints:gsub("\n", "\n" .. job.input, 1) end
  return job
end

-- --------------------------------------------------------------------------------------- who runs it: the command

local ct <close> = containers.new()
local container = ct:open()

local PROGRAM = { "lua5.4", "-E", "scripts/ctrexec.lua", "--root", ct.root, "exec" }

local function command_line(job)
  local words = table.move(PROGRAM, 1, #PROGRAM, 1, {})
  if job.terminal then words[#words + 1] = "--tty" end
  if job.user then table.move({ "--user", job.user }, 1, 2, #words + 1, words) end
  words[#words + 1] = ct.id
  return table.move(job.args, 1, #job.args, #words + 1, words)
end

local null <close> = core.file.open("/dev/null", { read = true, write = true })

local function start_command(job)
  local theirs_in, theirs_out
  if job.terminal then
    local pty = session.pty()
    job.reader, job.writer, theirs_in, theirs_out = pty.master, pty.master, pty.slave, pty.slave
  else
    job.reader, theirs_out = fd.pipe()
    theirs_in = null
    if job.input then theirs_in, job.writer = fd.pipe() end
  end
  local pid = processes.start(command_line(job), {
    stdin = theirs_in:fd(), stdout = theirs_out:fd(), stderr = theirs_out:fd(),
    terminal = job.terminal and theirs_in:fd() or nil,
  })
  theirs_out:close()
  if theirs_in ~= null then theirs_in:close() end
  function job.finish()
    local how, status = processes.wait(pid)
    return how == "exited" and status or how .. " by signal " .. status
  end
  return true
end

-- ----------------------------------------------------------------------------------------------------- the module

-- An exec that could not be started has its message as output.
local function start_in_process(job)
  local spec = {
    args = job.args, user = job.user, terminal = job.terminal or nil,
    stdin = not job.terminal and (job.input and "pipe" or "null") or nil,
    stdout = not job.terminal and "pipe" or nil, stderr = not job.terminal and "stdout" or nil,
  }
  local process, message = container:spawn(spec)
  if not process then
    job.said = { message }
    return false
  end
  job.reader, job.writer = process.terminal or process.stdout, process.terminal or process.stdin
  function job.finish()
    local status = assert(process:wait(DEADLINE), "a command that closed its output does not end")
    process:close()
    return status.code
  end
  return true
end

-- --------------------------------------------------------------------------------------------------------- the run

local failures

local function check(job, status)
  local said = table.concat(job.said):gsub("\r\n", "\n")
  local right
  if job.says then right = said:find(job.says, 1, true) else right = said == job.prints end
  if status == job.status and right then return end
  failures[#failures + 1] = ("exec %d (%s%s): status %s instead of %d, printed %q"):format(job.number,
    table.concat(job.args, " "), job.terminal and ", with a terminal" or "", status, job.status, said:sub(-300))
end

local function close(job)
  job.reader:close()
  if job.writer and job.writer ~= job.reader then job.writer:close() end
end

-- Reads what there is; true at the end of it.
local function read(job)
  local piece, message, errno = fd.read(job.reader, 65536)
  if not piece and errno ~= EIO then error(message) end -- EIO: the last of a terminal's users is gone
  if not piece or piece == "" then return true end
  job.said[#job.said + 1] = piece
  if job.input and not job.fed then
    job.fed = true
    assert(fd.write(job.writer, job.input))
  end
  return false
end

local function step(jobs)
  local entries = {}
  for index, job in ipairs(jobs) do entries[index] = { fd = job.reader, read = true } end
  local events = assert(core.poll.wait(entries, DEADLINE * 1000), "nothing happens any more")
  for index = #jobs, 1, -1 do
    local event, job = events[index], jobs[index]
    if (event.read or event.hangup or event.error) and read(job) then
      check(job, job.finish())
      close(job)
      table.remove(jobs, index)
    elseif core.clock.now() - job.began > DEADLINE then
      error(("exec %d (%s) does not end"):format(job.number, table.concat(job.args, " ")))
    end
  end
end

local function run(start, count)
  local jobs, number = {}, 0
  while number < count or #jobs > 0 do
    while number < count and #jobs < CALLERS do
      local job = job_of(number)
      number, job.began = number + 1, core.clock.now()
      if start(job) then jobs[#jobs + 1] = job else check(job, 255) end
    end
    if #jobs > 0 then step(jobs) end
  end
end

-- --------------------------------------------------------------------------------------------------- what is left

local function pids()
  local list = {}
  for _, name in ipairs(core.file.list "/proc") do list[#list + 1] = math.tointeger(tonumber(name)) end
  return list
end

-- Zombies, processes of the container besides its init, mappings and descriptors of a memfd of ctrexec's, descriptors
-- of this process and of the container's init, terminals of the container, cgroups.
local function count()
  local found = { zombies = 0, processes = 0, memfds = 0, cgroups = #containers.leaves(ct) }
  local namespace = core.namespace.ids(ct.pid).pid
  found.descriptors = support.descriptors() + #core.file.list(("/proc/%d/fd"):format(ct.pid))
    + #core.file.list(("/proc/%d/root/dev/pts"):format(ct.pid))
  for _, pid in ipairs(pids()) do
    local stat, ids = core.process.stat(pid), core.namespace.ids(pid)
    if stat and stat.state == "Z" then found.zombies = found.zombies + 1 end
    if stat and pid ~= ct.pid and ids and ids.pid == namespace then found.processes = found.processes + 1 end
    for _, name in ipairs(core.file.list(("/proc/%d/fd"):format(pid)) or {}) do
      local target = lfs.symlinkattributes(("/proc/%d/fd/%s"):format(pid, name), "target") or ""
      if target:find "^/memfd:ctrexec" then found.memfds = found.memfds + 1 end
    end
    for _ in (tool.read(("/proc/%d/maps"):format(pid)) or ""):gmatch "/memfd:ctrexec" do
      found.memfds = found.memfds + 1
    end
  end
  return found
end

-- All of the container that a caller could have changed: its files with their owners and modes, its mounts, its
-- namespaces, who is in its cgroups.
local function state_of_container()
  local parts = { assert(core.process.stat(ct.pid), "the container's init is gone").start_time }
  for _, command in ipairs {
    ("cd %s && find . -type f -exec sha256sum {} + | sort"):format(tool.quote(ct.rootfs)),
    ("cd %s && find . -printf '%%p %%U:%%G %%m %%T@ %%l\\n' | sort"):format(tool.quote(ct.rootfs)),
    ("cat /proc/%d/mountinfo; ls -l /proc/%d/ns | sed 's/.*-> //'"):format(ct.pid, ct.pid),
  } do
    parts[#parts + 1] = tool.output(command)
  end
  for _, path in pairs(container.container.cgroup_paths) do parts[#parts + 1] = tool.read(path .. "/cgroup.procs") end
  return table.concat(parts, "\n")
end

local NAMES = { "zombies", "processes", "descriptors", "cgroups", "memfds" }

local function differences(before, after)
  local sum, words = 0, {}
  for index, name in ipairs(NAMES) do
    local more = after[name] - before[name]
    sum, words[index] = sum + math.abs(more), ("%s %d"):format(name, more)
  end
  return sum, table.concat(words, ", ")
end

local function measured(title, start)
  failures = {}
  run(start, math.min(EXECS, #KINDS * 2)) -- of each kind: what is made once is there
  collectgarbage()
  collectgarbage()
  local began, before = core.clock.now(), count()
  local state = state_of_container()
  run(start, EXECS)
  local elapsed = core.clock.now() - began
  collectgarbage()
  collectgarbage()
  local after = tool.eventually(function ()
    local found = count()
    return (differences(before, found) == 0 or core.clock.now() - began > elapsed + 5) and found
  end, "the end")
  local leaks, words = differences(before, after)
  local harmed = state_of_container() ~= state or not container:exec { "true" }
  print(("load: %s, %s view: %d execs, %d callers, %d failures, %d leaks (%s), container %s, %.0f s"):format(title,
    tool.view(), EXECS, CALLERS, #failures, leaks, words, harmed and "harmed" or "unharmed", elapsed))
  for index = 1, math.min(#failures, 10) do print("  " .. failures[index]) end
  return #failures == 0 and leaks == 0 and not harmed
end

local command_good = measured("the command", start_command)
local module_good = command_good and measured("the module", start_in_process)
assert(ct:remove())
os.exit(command_good and module_good and 0 or 1, true)
