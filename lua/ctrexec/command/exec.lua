--- The `exec` command: a thin client of the public module.
-- @module ctrexec.command.exec
local core = require "ctrexec.core"
local late = require "ctrexec.lib.late"
local limits = require "ctrexec.exec.limits"
local specs = require "ctrexec.command.spec"
local wording = late "ctrexec.lib.wording" -- only a failure needs it

local exec = {}

local FAILED = 255 -- ctrexec itself failed: what runc says then
local TIMED_OUT = 124 -- as timeout(1)
local STREAMS = { [0] = "stdin", "stdout", "stderr" }

-- A terminal of the caller goes behind a pipe, so that nothing in the container can put keys into it (TIOCSTI) or
-- change its modes. Every other stream is passed as it is.
local function shield_terminals(spec)
  for number = 0, 2 do
    if core.terminal.is_terminal(number) then spec[STREAMS[number]] = "pipe" end
  end
end

local function is_same_file(one, other)
  local first, second = core.file.stat(one), core.file.stat(other)
  return first and second and first.dev == second.dev and first.ino == second.ino
end

-- What is recorded has to come by here, and a stdin may be one that can be written. Outputs that are one file stay one
-- stream: what was written there keeps its order.
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

-- The terminal that the caller sits at, even when its stdin and stdout are something else.
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

-- The settings of the caller's terminal while a command uses it: `raw(terminal, master)`, and back by `restore`.
local Settings = {}
Settings.__index = Settings

--- Makes the caller's terminal raw (termios(3)). Before the command runs: it may write a line at once, or ask its
-- terminal something that must not be echoed.
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

-- What a command that has to be killed, because the session cannot go on, may take to die. One that is frozen
-- (version 1) is not waited for.
local KILLED_SECONDS = 10

-- The recording goes first: the event of the command's end tells its size.
local function finish_recording(handle, ended)
  if not handle.recording then return true end
  local complete, message = handle.recording:finish(handle.warnings)
  return complete and ended == true, message
end

-- Nobody will see to the command any more.
local function give_up(handle)
  handle:kill { tree = handle.tree ~= nil or handle.recording ~= nil, signal = "KILL" }
  handle:wait(KILLED_SECONDS)
  handle:close()
end

-- Copies, forwards signals and waits. `terminal`: of the caller, when the command has one.
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
    if signal then handle:kill { tree = true, signal = signal } end
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
  -- before the options are looked at more closely, as runc does
  ready, message = container:check { ignore_paused = parsed.options.ignore_paused }
  if ready then spec, message = specs.of(parsed, container.policy) end
  if not spec then return failed(message) end
  local terminal
  spec.records = true -- below
  function spec.on_process(process, recording)
    if spec.detach then return true end
    -- What comes from here on is for the command; while that waits for the container to be resumed, for ctrexec.
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
