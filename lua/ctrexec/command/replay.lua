--- The `replay` command: plays a recorded session at its own pace.
--
-- It plays any asciicast of version 2. It writes the recorded command's output as it is, and the terminal may answer
-- questions in that output. So the terminal is raw while the recording plays, and its answers are thrown away.
-- @module ctrexec.command.replay
local core = require "ctrexec.core"
local json = require "ctrexec.lib.json"
local wording = require "ctrexec.lib.wording"

local replay = {}

local FAILED = 1
local INTERRUPTED = 130
local BLOCK = 65536
local MAX_LINE = 16 << 20 -- enough for a header with the longest command line
local NAP = 1000 -- milliseconds: the longest single wait
local CONTROL_C = "\3"

-- Returns a function that reads the next line of a file: the text, and whether it ended in a newline; nil at the end of
-- the file; false and a message when it fails.
local function line_reader(fd)
  local block, at = "", 1
  return function()
    local parts, size = {}, 0
    while true do
      local stop = block:find("\n", at, true)
      parts[#parts + 1] = block:sub(at, (stop or 0) - 1)
      if stop then
        at = stop + 1
        return table.concat(parts), true
      end
      size = size + #parts[#parts]
      if size > MAX_LINE then return false, "a line is too long" end
      local message
      block, message = core.fd.read(fd, BLOCK)
      at = 1
      if not block then return false, message end
      if block == "" then
        if size == 0 then return nil end
        return table.concat(parts), false
      end
    end
  end
end

local function decode(line)
  local value = json.value(line, "line")
  return type(value) == "table" and value or nil
end

local function is_event(event)
  return event and type(event[1]) == "number" and event[1] >= 0 and type(event[2]) == "string"
    and type(event[3]) == "string"
end

-- Waits until a time of the monotonic clock. Returns false when control-C was typed before that.
local function wait_until(due, terminal)
  while true do
    local left = (due - core.clock.now()) * 1000
    if left <= 0 then return true end
    local ready = core.poll.wait(terminal and { { fd = terminal, read = true } } or {}, math.ceil(math.min(left, NAP)))
    if ready and ready[1] then
      local typed = core.fd.read(terminal, BLOCK)
      if not typed or typed == "" then terminal = nil end
      if typed and typed:find(CONTROL_C, 1, true) then return false end
    end
  end
end

-- Plays the events. Each is shown at its time since the start, not since the event before, so that delays do not add
-- up.
local function play(next_line, speed, terminal)
  local began, number = core.clock.now(), 1
  while true do
    local line, whole = next_line()
    number = number + 1
    if line == nil then return 0 end
    if line == false then return nil, whole end
    local event = decode(line)
    if not is_event(event) then
      -- The process that wrote the recording was killed.
      if not whole then return nil, "is cut short in line " .. number end
      return nil, ("line %d is no event"):format(number)
    end
    if event[2] == "o" then
      if not wait_until(began + event[1] / speed, terminal) then return INTERRUPTED end
      local shown, why = io.stdout:write(event[3])
      if shown then shown, why = io.stdout:flush() end
      if not shown then return nil, "write: " .. wording.reason(why) end
    end
  end
end

local function open(path)
  local fd, message = core.file.open(path, { read = true })
  if not fd then return nil, "open " .. path .. ": " .. wording.reason(message) end
  local next_line = line_reader(fd)
  local line = next_line()
  local header = line and decode(line)
  if header and header.version == 2 and type(header.width) == "number" then return next_line, fd end
  fd:close()
  return nil, path .. ": is no recording (asciicast version 2)"
end

-- Throws away the terminal's answers to the last output, which the caller's shell would take for typed text.
local function discard_answers(terminal)
  while core.poll.wait({ { fd = terminal, read = true } }, 0) do
    local data = core.fd.read(terminal, BLOCK)
    if not data or data == "" then return end
  end
end

--- Plays a recording.
-- @tparam table parsed from `ctrexec.command.options`: `speed`
-- @tparam table log from `ctrexec.command.log`
-- @treturn integer exit status: 0; 1 when the file is no recording or is damaged; 130 after control-C
function replay.run(parsed, log)
  collectgarbage "restart" -- the command starts without a collector; a recording may be large
  local path = parsed.args[1]
  local next_line, fd = open(path)
  if not next_line then
    log:error("replay failed: " .. fd)
    return FAILED
  end
  local terminal = core.terminal.is_terminal(0) and 0 or nil
  local settings = terminal and core.terminal.raw(terminal)
  local status, message = play(next_line, parsed.options.speed or 1, terminal)
  if settings then
    discard_answers(terminal)
    core.terminal.restore(settings)
  end
  fd:close()
  if status then return status end
  log:error(("replay failed: %s: %s"):format(path, message))
  return FAILED
end

return replay
