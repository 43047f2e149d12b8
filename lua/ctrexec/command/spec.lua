--- Makes a spec of the public module from the options of `exec`.
-- @module ctrexec.command.spec
local core = require "ctrexec.core"
local fields = require "ctrexec.exec.fields"
local late = require "ctrexec.lib.late"
local envfile = late "ctrexec.command.envfile" -- few execs have one
local json = late "ctrexec.lib.json" -- only a process file is JSON
local wording = late "ctrexec.lib.wording" -- only a refusal needs it

local file = core.file
local EFBIG = core.errno.EFBIG

local specs = {}

-- Reads a file that the caller named. The messages are Go's, as those of runc.
local function read(path)
  local fd <close>, message = file.open(path)
  local text, why, errno
  if fd then text, why, errno = file.read_all(fd, json.MAX_SIZE) end
  if text then return text end
  if errno == EFBIG then return nil, ("%s: larger than %d MiB"):format(path, json.MAX_SIZE >> 20) end
  return nil, ("%s %s: %s"):format(fd and "read" or "open", path, wording.reason(message or why))
end

local function read_process(path)
  local text, message = read(path)
  if not text then return nil, message end
  -- RFC 8259 forbids control characters in strings, but the decoder accepts them. White space (tab, newline, return) is
  -- not refused: it is allowed between values, and telling the two apart would mean a look at every string.
  local control = text:match "[\0-\8\11\12\14-\31]"
  if control then return nil, ("invalid character '\\x%02x' in string literal"):format(control:byte()) end
  return json.decode(text, path)
end

-- The variables of the files, then those of the options, which count more because they come last.
local function environment(paths, given)
  local env = {}
  for _, path in ipairs(paths) do
    local text, message = read(path)
    if text then text, message = envfile.add(env, path, text) end
    if not text then return nil, message end
  end
  return table.move(given or {}, 1, #(given or {}), #env + 1, env)
end

local function absolute(path)
  if path:sub(1, 1) == "/" then return path end
  local here, message = file.realpath "."
  if not here then return nil, "--record: " .. message end
  return here .. "/" .. path
end

-- Returns the values of the given options by the names of their fields, and the rows of those fields. As with runc an
-- empty text counts as not given, and so does an option whose field a process object (--process) replaces.
local function fields_of(parsed)
  local spec, given, rows, values = {}, {}, fields.options, parsed.options
  local whole = (values.process or "") ~= ""
  for index = 1, #rows do
    local row = rows[index]
    local value = row.field and values[row.key or row.field]
    if value ~= nil and value ~= "" and not (whole and row.process) then
      spec[row.field], given[#given + 1] = value, row
    end
  end
  if not whole then spec.args = parsed.args end
  return spec, given
end

--- Makes the spec of an exec.
-- @tparam table parsed from `ctrexec.command.options`
-- @tparam ?table policies the chain that the exec will pass
-- @treturn[1] table spec
-- @treturn[2] nil
-- @treturn[2] string message
function specs.of(parsed, policies)
  local spec, given = fields_of(parsed)
  local message
  if parsed.options.env_file and not spec.process then
    spec.env, message = environment(parsed.options.env_file, spec.env)
    if message then return nil, message end
  end
  if spec.record then
    spec.record, message = absolute(spec.record)
    if message then return nil, message end
  end
  message = fields.fault(spec, given, policies)
  if message then return nil, message end
  if spec.process then
    spec.process, message = read_process(spec.process)
    if message then return nil, message end
  end
  return spec
end

return specs
