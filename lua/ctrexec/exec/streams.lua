--- The standard streams of a command: what a spec's `stdin`, `stdout` and `stderr` mean, as descriptors.
-- @module ctrexec.exec.streams
local core = require "ctrexec.core"

local streams = {}

local NAMES = { "stdin", "stdout", "stderr" }

-- Makes a pipe. Returns the command's end and the caller's end.
local function pipe(name)
  local reader, writer = core.fd.pipe()
  if not reader then return nil, writer end
  if name == "stdin" then return reader, writer end
  return writer, reader
end

local function is_descriptor(value)
  return math.type(value) == "integer" and value >= 0 or type(value) == "userdata"
end

local function open_one(set, name, wanted)
  if wanted == nil or wanted == "inherit" then return true end
  if is_descriptor(wanted) then
    set.theirs[name] = wanted
  elseif wanted == "stdout" and name == "stderr" then
    set.theirs.stderr = set.theirs.stdout or 1
  elseif wanted == "null" or wanted == "pipe" then
    local fd, other
    if wanted == "pipe" then
      fd, other = pipe(name)
    else
      fd, other = core.file.open("/dev/null", { read = true, write = true })
    end
    if not fd then return nil, other, "system" end
    set.theirs[name], set.opened[#set.opened + 1] = fd, fd
    if wanted == "pipe" then set.ours[name] = other end
  else
    return nil, ('%s: expected "inherit", "null", "pipe" or a descriptor'):format(name), "invalid"
  end
  return true
end

--- Opens what a spec asks for.
-- @tparam table spec `stdin`, `stdout`, `stderr`: "inherit" (also nil), "null", "pipe", an integer or an fd object;
-- `stderr` may be "stdout" too
-- @treturn[1] table `theirs`: the command's descriptors by name, absent where inherited; `ours`: the caller's ends of
-- pipes by name
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string code "invalid" or "system"
function streams.open(spec)
  local set = { theirs = {}, ours = {}, opened = {} }
  for _, name in ipairs(NAMES) do
    local ok, message, code = open_one(set, name, spec[name])
    if not ok then
      streams.close(set)
      return nil, message, code
    end
  end
  return set
end

--- Closes the command's ends that `open` made: the command has its own copies.
-- @tparam table set
function streams.close_theirs(set)
  for _, fd in ipairs(set.opened) do fd:close() end
end

--- Closes everything that `open` made, after a failure.
-- @tparam table set
function streams.close(set)
  streams.close_theirs(set)
  for _, fd in pairs(set.ours) do fd:close() end
end

return streams
