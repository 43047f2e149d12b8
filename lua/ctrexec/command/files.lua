--- The files that options of `exec` name: a process object, and lists of variables.
-- @module ctrexec.command.files
local core = require "ctrexec.core"
local json = require "ctrexec.lib.json"
local late = require "ctrexec.lib.late"
local wording = late "ctrexec.lib.wording" -- only a refusal needs it

local file = core.file
local EFBIG = core.errno.EFBIG

local files = {}

-- A file of the caller's, with Go's words for what is wrong with it.
local function read(path)
  local fd <close>, message = file.open(path)
  local text, why, errno
  if fd then text, why, errno = file.read_all(fd, json.MAX_SIZE) end
  if text then return text end
  if errno == EFBIG then return nil, ("%s: larger than %d MiB"):format(path, json.MAX_SIZE >> 20) end
  return nil, ("%s %s: %s"):format(fd and "read" or "open", path, wording.reason(message or why))
end

--- Reads a process file: `--process`.
-- @tparam string path
-- @treturn[1] table an OCI process object, not checked
-- @treturn[2] nil
-- @treturn[2] string message
function files.process(path)
  local text, message = read(path)
  if not text then return nil, message end
  -- The decoder lets them pass, but RFC 8259 does not; white space is not worth a look at every string.
  local control = text:match "[\0-\8\11\12\14-\31]"
  if control then return nil, ("invalid character '\\x%02x' in string literal"):format(control:byte()) end
  return json.decode(text, path)
end

-- The lines of an environment file as docker reads it: NAME=VALUE, a NAME alone takes the caller's value, # starts a
-- comment.
local function add_variables(env, path)
  local text, message = read(path)
  if not text then return nil, message end
  local number = 0
  for line in text:gmatch "([^\n]*)\n?" do
    number = number + 1
    line = line:gsub("\r$", ""):gsub("^%s+", "")
    local name, value = line:match "^([^=]*)=(.*)$"
    name = name or line
    if line ~= "" and line:sub(1, 1) ~= "#" then
      if name == "" or name:find "%s" then
        return nil, ("%s: line %d: not a variable's name: %q"):format(path, number, name)
      end
      value = value or os.getenv(name)
      env[#env + 1] = value and name .. "=" .. value
    end
  end
  return true
end

--- Reads files of variables: `--env-file`.
-- @tparam {string,...} paths
-- @tparam ?{string,...} more variables that come after those of the files
-- @treturn[1] {string,...} "NAME=VALUE" each
-- @treturn[2] nil
-- @treturn[2] string message
function files.environment(paths, more)
  local env = {}
  for _, path in ipairs(paths) do
    local ok, message = add_variables(env, path)
    if not ok then return nil, message end
  end
  return table.move(more or {}, 1, #(more or {}), #env + 1, env)
end

return files
