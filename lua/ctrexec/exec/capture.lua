--- Runs a command to its end, and collects what it writes: the heart of `container:exec`.
--
-- One poll(2) loop feeds and reads the command's pipes until its pidfd says that it has ended. The loop yields to no
-- coroutine and starts no thread, so a program that wants to do something else meanwhile uses `container:spawn` and a
-- loop of its own.
-- @module ctrexec.exec.capture
local core = require "ctrexec.core"
local limits = require "ctrexec.exec.limits"

local fd = core.fd

local capture = {}

local Capture = {}
Capture.__index = Capture

local READ_SIZE = 65536
local INPUT_SIZE = 65536
local FULL_PIPE = 1 << 20 -- what the largest pipe of an unprivileged process holds
local EINTR, EAGAIN, EPIPE = core.errno.EINTR, core.errno.EAGAIN, core.errno.EPIPE

-- What `exec` does with an output stream: collect it, give it to a function, or leave it to `spawn`.
local function sink_of(spec, name, sinks)
  local wanted = spec[name]
  if wanted == nil or type(wanted) == "function" then
    sinks[name] = wanted or { size = 0 }
    return "pipe"
  end
  return wanted
end

local function drop() end

-- Whether all streams pass through this process, as a recording needs. So must stdin: a command can write to a stdin
-- that it inherits, such as a terminal.
local function is_recordable(spec)
  local function passes(wanted) return wanted == nil or wanted == "null" or type(wanted) == "function" end
  return (passes(spec.stdin) or spec.stdin == "pipe" or spec.input ~= nil) and passes(spec.stdout)
    and (passes(spec.stderr) or spec.stderr == "stdout")
end

-- Decides where the streams of `exec` go. This comes last, because a policy may have given or taken away the terminal,
-- or asked for a recording. For a recording, output that the caller does not want goes through a pipe, not /dev/null.
local function direct_streams(own, spec, sinks, terminal, recording)
  if terminal then
    sinks.terminal = type(spec.stdout) == "function" and spec.stdout or { size = 0 }
    own.stdin, own.stdout, own.stderr = "inherit", "inherit", "inherit" -- the pty takes their place
    return
  end
  own.stdin = spec.input ~= nil and "pipe" or spec.stdin or "null"
  own.stdout, own.stderr = sink_of(spec, "stdout", sinks), sink_of(spec, "stderr", sinks)
  for _, name in ipairs(recording and { "stdout", "stderr" } or {}) do
    if own[name] == "null" then own[name], sinks[name] = "pipe", drop end
  end
end

-- Makes the spec for `spawn` from that for `exec`. Returns it, and the table in which the output is collected.
local function capturing(spec)
  local own, sinks = setmetatable({}, { __index = spec }), {}
  for index, word in ipairs(spec) do own[index] = word end
  own.keeps_limits = true
  own.records = is_recordable(spec)
  function own.on_process(object, recording)
    direct_streams(own, spec, sinks, object.terminal, recording)
    if spec.on_process then return spec.on_process(object, recording) end
    return true
  end
  return own, sinks
end

-- The bytes to feed, as a function that returns the next piece or nil: from a string, a function or a file.
local function source_of(input)
  if type(input) == "string" then
    local position = 1
    return function()
      if position > #input then return nil end
      local piece = input:sub(position, position + INPUT_SIZE - 1)
      position = position + #piece
      return piece
    end
  elseif type(input) == "function" then
    return input
  end
  return function() return input:read(INPUT_SIZE) end
end

local function close(state, name)
  state.handle[name]:close()
  state.handle[name] = nil
end

-- Writes the next bytes to the command's stdin. The pipe is non-blocking, so that a command that reads slowly does not
-- hold up the loop.
local function feed(state)
  if not state.piece or state.piece == "" then
    state.piece = state.source()
    if state.piece == nil then return close(state, "stdin") end
    if type(state.piece) ~= "string" then error("input: the function must return a string or nil", 0) end
    if state.piece == "" then return end
  end
  local written, _, errno = fd.write(state.handle.stdin, state.piece)
  if written then
    if state.recorder then state.recorder:record("input", state.piece:sub(1, written)) end
    state.piece = state.piece:sub(written + 1)
  elseif errno == EPIPE then
    close(state, "stdin") -- the command has closed its stdin: it does not want the rest
  elseif errno ~= EAGAIN and errno ~= EINTR then
    close(state, "stdin")
  end
end

local function take(state, name)
  local data, _, errno = fd.read(state.handle[name], READ_SIZE)
  if not data then
    -- EIO is how a pty says that its other side is closed
    if errno ~= EINTR and errno ~= EAGAIN then close(state, name) end
    return false
  elseif data == "" then
    close(state, name)
    return false
  end
  if state.recorder then state.recorder:record(name == "stderr" and "error" or "output", data) end
  local sink = state.sinks[name]
  if type(sink) == "function" then
    sink(data)
    return true
  end
  local room = state.max_output and state.max_output - sink.size or #data
  if #data > room then
    data, state.truncated = data:sub(1, math.max(room, 0)), true
  end
  sink.size = sink.size + #data
  sink[#sink + 1] = data
  return true
end

local OUTPUTS = { "stdout", "stderr", "terminal" }

local function watch(state)
  local list, names = { { fd = state.handle.pidfd, read = true } }, { false }
  for _, name in ipairs(OUTPUTS) do
    if state.handle[name] and state.sinks[name] then
      list[#list + 1], names[#names + 1] = { fd = state.handle[name], read = true }, name
    end
  end
  if state.handle.stdin then
    list[#list + 1], names[#names + 1] = { fd = state.handle.stdin, write = true }, "stdin"
  end
  return list, names
end

-- Reads what is in the pipes when the command has ended. Output that processes it left behind may write later is not
-- waited for.
local function drain(state)
  for _, name in ipairs(OUTPUTS) do
    for _ = 1, FULL_PIPE // READ_SIZE do
      if not (state.handle[name] and state.sinks[name]) then break end
      local ready = core.poll.wait({ { fd = state.handle[name], read = true } }, 0)
      if not ready or not take(state, name) then break end
    end
  end
end

-- Waits for events once and handles them. Returns true when the command has ended, or nil and a message.
local function step(state, milliseconds)
  local list, names = watch(state)
  local events, message, errno = core.poll.wait(list, milliseconds)
  if not events then
    if events == false or errno == EINTR then return false end
    return nil, message
  end
  local ended = false
  for index, event in ipairs(events) do
    local name = names[index]
    local happened = event.read or event.write or event.hangup or event.error
    if happened and name == "stdin" then
      feed(state)
    elseif happened and name then
      take(state, name)
    elseif happened then
      ended = true
    end
  end
  return ended
end

-- Recorded output may wait in memory for this long (see core/recorder.c).
local RECORDER_MILLISECONDS = 1000

-- Writes the recorded output that is due. Returns the milliseconds that the loop may wait, or nil and a message.
local function write_recording(state, left)
  local ok, message = state.recorder:tick()
  if not ok then return nil, message end
  return math.min(left or RECORDER_MILLISECONDS, RECORDER_MILLISECONDS)
end

-- Moves bytes until the command has ended. Returns true and whether output was cut at `max_output`, or nil and a
-- message.
local function pump(state, limit)
  while true do
    local signal = limit:due()
    if signal then state.handle:end_by_limit(signal) end
    local left = limit:left()
    local milliseconds = left and math.ceil(left * 1000)
    if state.recorder then
      local message
      milliseconds, message = write_recording(state, milliseconds)
      if not milliseconds then return nil, message end
    end
    local ended, why = step(state, milliseconds)
    if ended == nil then return nil, why end
    if ended then
      drain(state)
      return true, state.truncated
    end
  end
end

local function captured(sink)
  return type(sink) == "table" and table.concat(sink) or nil
end

-- Ends a command that no caller waits for any more, because a callback raised an error or the coroutine was closed.
local Abandoned = {}

-- How long such a command is waited for: a process in a frozen cgroup (version 1) does not die.
local ABANDONED_SECONDS = 10

function Abandoned.__close(guard)
  local handle = guard.handle
  if not handle.status then
    handle:kill { tree = true }
    handle:wait(ABANDONED_SECONDS)
  end
end

--- Prepares a capture.
-- @tparam table spec of `container:exec`
-- @treturn capture its field `spec` is what to spawn
function capture.new(spec)
  local own, sinks = capturing(spec)
  return setmetatable({ spec = own, asked = spec, sinks = sinks }, Capture)
end

--- Waits for the end of the command that was spawned with the capture's spec.
-- @tparam process handle
-- @treturn[1] table see `container:exec`
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string code "system"
function Capture:run(handle)
  local _ <close> = setmetatable({ handle = handle }, Abandoned)
  local recording, sinks = handle.recording, self.sinks
  local state = { handle = handle, sinks = sinks, max_output = self.asked.max_output, truncated = false,
    recorder = recording and recording.core }
  if handle.stdin then
    state.source = source_of(self.asked.input)
    fd.set_nonblock(handle.stdin, true)
  end
  local limit = limits.new(handle.timeout, handle.kill_after)
  local ended, truncated = pump(state, limit)
  if recording then
    local complete, why = recording:finish(handle.warnings)
    if not complete then return nil, why, "system" end
  end
  if not ended then return nil, truncated, "system" end
  local status, message, code = handle:wait()
  if not status then return nil, message, code end
  if limit:is_over() then handle:sweep(limit:grace()) end
  local result = { timed_out = limit:is_over() or nil }
  for name, value in pairs(status) do result[name] = value end
  result.stdout, result.stderr = captured(sinks.stdout or sinks.terminal), captured(sinks.stderr)
  result.truncated = truncated
  return result
end

return capture
