--- The `exec` command: a thin client of the public module.
-- @module ctrexec.command.exec
local core = require "ctrexec.core"
local late = require "ctrexec.lib.late"
local limits = require "ctrexec.exec.limits"
local specs = require "ctrexec.command.spec"
local wording = late "ctrexec.lib.wording" -- only a failure needs it

local exec = {}

local FAILED = 255 -- ctrexec itself failed: runc's status
local TIMED_OUT = 124 -- as timeout(1)
local STREAMS = { [0] = "stdin", "stdout", "stderr" }

-- Puts a pipe between the command and each stream that is a terminal of the caller, so that no process of the container
-- can type into that terminal (TIOCSTI) or change its modes. The command gets every other stream itself.
local function shield_terminals(spec)
  for number = 0, 2 do
    if core.terminal.is_terminal(number) then spec[STREAMS[number]] = "pipe" end
  end
end

local function is_same_file(one, other)
  local first, second = core.file.stat(one), core.file.stat(other)
  return first and second and first.dev == second.dev and first.ino == second.ino
end

-- Puts a pipe on every stream of a recorded command, so that all its output passes through ctrexec. stdin gets one,
-- too: the command could write to a stdin that is open for writing. Where stdout and stderr are the same file they
-- share a pipe, which keeps the order of their output.
local function divert(spec)
  if core.fd.is_open(1) then spec.stdout = "pipe" end
  if core.fd.is_open(2) then spec.stderr = is_same_file(1, 2) and "stdout" or "pipe" end
  if core.fd.is_open(0) then spec.stdin = "pipe" end
end

local function copies_of(handle)
  if handle.terminal then
    return { { from = 0, to = handle.terminal, input = true }, { from = handle.terminal, to = 1 } }
  end
  local copies = {}
  if handle.stdin then copies[#copies + 1] = { from = 0, to = handle.stdin, input = true } end
  if handle.stdout then copies[#copies + 1] = { from = handle.stdout, to = 1 } end
  if handle.stderr then copies[#copies + 1] = { from = handle.stderr, to = 2 } end
  return copies
end

-- The caller's terminal: one of its standard streams, else its controlling terminal.
local function caller_terminal()
  for number = 2, 0, -1 do
    if core.terminal.is_terminal(number) then return number end
  end
  local terminal = core.terminal.open_controlling()
  if not terminal then return nil, "open /dev/tty: no such device or address" end
  return terminal
end

local function use_terminal(process)
  local terminal, message = caller_terminal()
  if not terminal then return nil, message, "system" end
  local rows, columns = core.terminal.size(terminal)
  if rows and rows > 0 and columns > 0 then process.consoleSize = { height = rows, width = columns } end
  return terminal
end

-- The caller's terminal while a command uses it: `raw` changes its settings, and `restore` gives it the old ones back.
local Settings = {}
Settings.__index = Settings

--- Makes the caller's terminal raw (termios(3)). To be called before the command runs: the command may write a line at
-- once, or ask the terminal a question whose answer must not be echoed.
-- @tparam integer|fd terminal of the caller
-- @tparam fd master of the command's terminal
-- @treturn[1] boolean true
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string code "system"
function Settings:raw(terminal, master)
  local ok, message
  self.saved, message = core.terminal.raw(terminal)
  if self.saved then ok, message = core.terminal.pass_newlines(master) end
  if not ok then return nil, wording.reworded(message), "system" end
  return true
end

--- Gives the terminal its settings back, if `raw` changed them.
function Settings:restore()
  if self.saved then core.terminal.restore(self.saved) end
end

-- How long ctrexec waits for a command that it has killed because the session cannot go on. A command in a frozen
-- cgroup of version 1 does not die before it is thawed, so the wait has an end.
local KILLED_SECONDS = 10

-- Finishes the recording. This comes before the wait for the command, because the exit event tells the recording's
-- size.
local function finish_recording(handle, ended)
  if not handle.recording then return true end
  local complete, message = handle.recording:finish(handle.warnings)
  return complete and ended == true, message
end

-- Kills the command when ctrexec can no longer serve it: otherwise the command would run on without its streams.
local function give_up(handle)
  handle:kill { tree = handle.tree ~= nil or handle.recording ~= nil, signal = "KILL" }
  handle:wait(KILLED_SECONDS)
  handle:close()
end

-- Copies the streams, forwards signals, keeps the time limit, and waits for the command. `terminal` is the caller's,
-- where the command has one of its own.
local function foreground(handle, terminal)
  local relay = {
    pidfd = handle.pidfd, signals = true, copies = copies_of(handle), terminal = terminal, master = handle.terminal,
    recorder = handle.recording and handle.recording.core,
  }
  local limit = limits.new(handle.timeout, handle.kill_after)
  local ended, message
  repeat
    relay.deadline = limit:left()
    ended, message = core.relay.run(relay)
    local signal = ended and ended ~= true and limit:due() -- a table: the deadline has passed
    if signal then handle:end_by_limit(signal) end
  until not ended or ended == true
  local recorded, why = finish_recording(handle, ended)
  if not (ended and recorded) then return nil, why or message end
  local status
  status, why = handle:wait()
  if not status then return nil, why end
  if limit:is_over() then handle:sweep(limit:grace()) end
  handle:close()
  return limit:is_over() and TIMED_OUT or status.code
end

local function log_warnings(log, warnings, first)
  for index = first, #warnings do
    local level = warnings[index].level == "debug" and "debug" or "warn"
    log[level](log, warnings[index].message)
  end
  return #warnings + 1
end

--- Runs the command.
-- @tparam table parsed from `ctrexec.command.options`
-- @tparam table log from `ctrexec.command.log`
-- @tparam table site of `ctrexec.command.open`
-- @treturn integer exit status: that of the command (128 + signal when it was killed), 0 when it was detached, 255
-- when it could not be started
function exec.run(parsed, log, site)
  local function failed(message)
    log:error("exec failed: " .. message)
    return FAILED
  end
  local container <close>, message, code = site:open(parsed.id, {
    root = parsed.global.root, pid = parsed.options.pid,
  }, parsed.options.policy)
  if not container then return failed(message) end
  local found = container.container
  log:debug(("container %s of %s: pid %s, %s"):format(found.id, found.runtime, found.pid, found.status))
  local spec, ready
  -- The container's status is checked before the options, so that the first message is the same as runc's.
  ready, message = container:check { ignore_paused = parsed.options.ignore_paused }
  if ready then spec, message = specs.of(parsed, container.policy) end
  if not spec then return failed(message) end
  local terminal
  spec.records = true -- by `divert` and `foreground`
  function spec.on_process(process, recording)
    if spec.detach then return true end
    -- From here on signals are kept for the command. Where the command must wait for a paused container, they still end
    -- ctrexec itself.
    if found.status ~= "paused" then core.relay.block_signals() end
    if process.terminal then
      terminal, message, code = use_terminal(process)
      return terminal, message, code
    end
    shield_terminals(spec) -- guard: shield
    if recording then divert(spec) end
    return true
  end
  spec.keeps_limits = not spec.detach
  local settings = setmetatable({}, Settings)
  function spec.on_terminal(master)
    if not terminal then return true end
    return settings:raw(terminal, master)
  end
  local handle, warnings
  handle, message, code, warnings = container:spawn(spec)
  if not handle then settings:restore() end
  local logged = log_warnings(log, handle and handle.warnings or warnings or {}, 1)
  if not handle then return failed(message) end
  log:debug(("started process %d"):format(handle.pid))
  found:remember()
  if spec.detach then return 0 end
  local status
  status, message = foreground(handle, terminal)
  settings:restore()
  log_warnings(log, handle.warnings, logged)
  if not status then
    give_up(handle)
    return failed(wording.reworded(message))
  end
  return status
end

return exec
