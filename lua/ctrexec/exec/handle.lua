--- A command that ctrexec started: the process handle of the public module.
-- @module ctrexec.exec.handle
local core = require "ctrexec.core"
local late = require "ctrexec.lib.late"
local schema = require "ctrexec.lib.schema"
local start = require "ctrexec.exec.start"
local trees = late "ctrexec.exec.tree" -- only a command whose tree is to be killed needs it
local pidfd = core.pidfd

local seconds = schema.number "seconds"

local handle = {}
local methods = {}
local class = { __index = methods, __name = "ctrexec.process" }

--- Wraps a started command.
-- @tparam table started from `ctrexec.exec.start`
-- @tparam table ours the caller's ends of pipes to its streams, by name
-- @treturn process
function handle.new(started, ours)
  return setmetatable({
    pid = started.pid, pidfd = started.pidfd, terminal = started.terminal, state = started, tree = started.plan.tree,
    stdin = ours.stdin, stdout = ours.stdout, stderr = ours.stderr,
  }, class)
end

local function check_open(self, level)
  if not self.pidfd then error("the process handle is closed", level + 1) end
end

--- The pidfd of the command: readable when the command has ended. The handle keeps it, and closes it.
-- @treturn integer
function methods:fd()
  check_open(self, 2)
  return self.pidfd:fd()
end

--- Whether the command was prepared and not yet started.
-- @treturn boolean
function methods:is_waiting()
  return self.state ~= nil and self.state.entry ~= nil
end

--- Runs a command that was prepared.
-- @treturn[1] boolean true
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string code
function methods:start()
  if not self:is_waiting() then return nil, "the command was already started", "invalid" end
  local started, message, code = start.resume(self.state)
  if not started then
    self.pidfd, self.terminal = nil, nil
    if self.gate then self.gate:failed(message) end
    return nil, message, code
  end
  self.state = nil
  if self.gate then return self.gate:started(self) end
  return true
end

local function signal_number(signal)
  if type(signal) == "string" then return core.signal.numbers[(signal:gsub("^SIG", ""))] end
  return math.type(signal) == "integer" and signal or nil
end

--- Sends a signal on the pidfd: pidfd_send_signal(2).
-- @tparam[opt="TERM"] string|integer|table signal a name, with or without SIG, or a number; or a table with `signal`
-- and `tree`: true for everything that the command started, too (KILL by default; the spec must have had `tree` or
-- `timeout` to reach processes that daemonised)
-- @treturn[1] boolean true
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string code "invalid" for an unknown signal, "system" otherwise (the command has ended)
function methods:kill(signal)
  check_open(self, 2)
  if type(signal) == "table" then
    local known = schema.object({ signal = schema.any, tree = schema.boolean }, { unknown = "refuse" })
    schema.demand(known, signal, "kill", 2)
  end
  local whole = type(signal) == "table" and signal.tree
  if type(signal) == "table" then signal = signal.signal or (whole and "KILL") end
  local number = signal_number(signal or "TERM")
  if not number then return nil, "unknown signal " .. tostring(signal), "invalid" end
  if whole then
    local tree = self.tree or trees.new()
    if number == core.signal.numbers.KILL then tree:kill(self.pidfd) else tree:signal(self.pidfd, number) end
    return true
  end
  local ok, message = pidfd.send_signal(self.pidfd, number)
  if not ok then return nil, message, "system" end
  return true
end

-- The exit status a shell would show: 128 and the signal for a command that was killed.
local function with_code(status)
  status.code = status.reason == "exited" and status.status or 128 + status.status
  status.signal = status.reason ~= "exited" and status.status or nil
  return status
end

local ECHILD, EINTR = core.errno.ECHILD, core.errno.EINTR

local function reap(self)
  local status, message, errno = pidfd.wait(self.pidfd, { nohang = true })
  if status then
    self.status = with_code(status)
    if self.gate then self.gate:ended(self.status, self.timed_out) end
    return self.status
  end
  if errno == ECHILD then
    message = "the exit status is lost: this program ignores SIGCHLD or reaps every child (Linux 6.15 still tells it)"
  end
  return status, message, "system"
end

--- Sends the whole tree what its time limit has due.
-- @tparam string signal "TERM" or "KILL"
function methods:end_by_limit(signal)
  self.timed_out = true
  self:kill { tree = true, signal = signal }
end

--- Waits for the command to end: waitid(2) on the pidfd alone, so no other child of the program is touched.
-- @tparam[opt] number timeout in seconds; 0 looks without waiting; absent waits for ever
-- @treturn[1] table `code` (128 + signal when killed), `signal`, `reason`, `status`, `utime` and `stime` in seconds,
-- `maxrss` in KiB
-- @treturn[2] boolean false: the time is over
-- @treturn[3] nil
-- @treturn[3] string message
-- @treturn[3] string code "system"
function methods:wait(timeout)
  if timeout ~= nil then schema.demand(seconds, timeout, "timeout", 2) end
  if self.status then return self.status end
  check_open(self, 2)
  local deadline = timeout and core.clock.now() + timeout
  while true do
    local left = deadline and math.max(0, math.ceil((deadline - core.clock.now()) * 1000))
    local ready, message, errno = core.poll.wait({ { fd = self.pidfd, read = true } }, left)
    if ready then return reap(self) end
    if ready == false then return false end
    if errno ~= EINTR then return nil, message, "system" end -- EINTR: wait on
  end
end

--- Sets the size of the command's terminal: TIOCSWINSZ.
-- @tparam integer rows
-- @tparam integer columns
-- @treturn[1] boolean true
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string code "invalid" without a terminal, "system" otherwise
function methods:resize(rows, columns)
  if not self.terminal then return nil, "the command has no terminal", "invalid" end
  local ok, message = core.terminal.set_size(self.terminal, rows, columns)
  if not ok then return nil, message, "system" end
  if self.recording then self.recording.core:resize(rows, columns) end
  return true
end

--- Ends the processes that the command left behind, once the command has ended; needs `tree` or `timeout` in the spec.
-- @tparam[opt=0] number grace seconds in which these processes may still end by themselves
function methods:sweep(grace)
  if grace ~= nil then schema.demand(seconds, grace, "grace", 2) end
  if not self.tree then return end
  if not self.tree:wait_until_empty(core.clock.now() + (grace or 0)) then self.tree:kill(self.pidfd) end
end

--- Closes the handle's descriptors. A command that runs goes on; a command that was prepared but not started ends.
function methods:close()
  if self:is_waiting() then
    start.abort(self.state)
    self.pidfd, self.terminal = nil, nil
    if self.recording then self.recording:discard() end
    if self.gate then self.gate:failed "the command was prepared and not started" end
  end
  if self.recording then self.recording:finish(self.warnings) end
  for _, name in ipairs { "stdin", "stdout", "stderr", "terminal" } do
    if self[name] then self[name]:close() end
    self[name] = nil
  end
  if self.tree then
    if self.gate then self.gate:leaving(self) end
    self.tree:close()
  end
  if not self.pidfd then return end
  if not self.status then reap(self) end -- a command that has ended must not stay a zombie
  if not self.status and self.gate then self.gate:left(self.pidfd) end
  self.pidfd:close()
  self.pidfd = nil
end

class.__gc = methods.close
class.__close = methods.close

return handle
