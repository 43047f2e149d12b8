--- Feeds and reads the pipes of a command until it has ended: the heart of `container:exec`.
--
-- One poll(2) loop over the pipes and the pidfd; it yields to nobody and starts no thread, so a program that wants to
-- do something else meanwhile uses `container:spawn` and its own loop.
-- @module ctrexec.exec.capture
local core = require "ctrexec.core"
local fd, pidfd = core.fd, core.pidfd

local communicate = {}

local READ_SIZE = 65536
local INPUT_SIZE = 65536
local FULL_PIPE = 1 << 20 -- what the largest pipe of an unprivileged process holds
local EINTR, EAGAIN, EPIPE = 4, 11, 32

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

-- Our end of the pipe is non-blocking, so that a command that reads slowly blocks nothing.
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
    close(state, "stdin") -- the command does not want the rest
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

-- What is in the pipes when the command has ended is its output; what a process that it left behind may write later is
-- not waited for, nor followed.
local function drain(state)
  for _, name in ipairs(OUTPUTS) do
    for _ = 1, FULL_PIPE // READ_SIZE do
      if not (state.handle[name] and state.sinks[name]) then break end
      local ready = pidfd.poll({ { fd = state.handle[name], read = true } }, 0)
      if not ready or not take(state, name) then break end
    end
  end
end

-- One round. True when the command has ended.
local function step(state, milliseconds)
  local list, names = watch(state)
  local events, message, errno = pidfd.poll(list, milliseconds)
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

-- What was recorded must not wait for longer in memory (see core/recorder.c).
local RECORDER_MILLISECONDS = 1000

-- Writes what has waited. Returns the milliseconds to wait at most, or nil and a message.
local function record(state, left)
  local ok, message = state.recorder:tick()
  if not ok then return nil, message end
  return math.min(left or RECORDER_MILLISECONDS, RECORDER_MILLISECONDS)
end

--- Runs the loop.
-- @tparam table handle from `ctrexec.exec.handle`
-- @tparam table options `input`: string, function or file; `sinks`: by name an array with `size` to collect in, or a
-- function that is given each piece; `max_output`: bytes kept of each stream; `deadlines`: array of
-- `{after=seconds, act=function}`, in order
-- @treturn[1] boolean true: the command has ended
-- @treturn[1] boolean whether output was cut at `max_output`
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string code "system"
function communicate.run(handle, options)
  local state = { handle = handle, sinks = options.sinks, max_output = options.max_output, truncated = false,
    recorder = handle.recording and handle.recording.core }
  if handle.stdin then
    state.source = source_of(options.input)
    fd.set_nonblock(handle.stdin, true)
  end
  local began, next_deadline = pidfd.clock(), 1
  while true do
    local deadline, left = options.deadlines[next_deadline], nil
    if deadline then
      left = math.ceil((began + deadline.after - pidfd.clock()) * 1000)
      if left <= 0 then
        next_deadline = next_deadline + 1
        deadline.act()
        left = 0
      end
    end
    local ended, message
    if state.recorder then
      left, message = record(state, left)
      if not left then return nil, message, "system" end
    end
    ended, message = step(state, left)
    if ended == nil then return nil, message, "system" end
    if ended then
      drain(state)
      return true, state.truncated
    end
  end
end

return communicate
