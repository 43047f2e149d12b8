--- Writes the pid of a command into a file: `--pid-file`.
-- @module ctrexec.exec.pidfile
local core = require "ctrexec.core"
local late = require "ctrexec.lib.late"
local wording = late "ctrexec.lib.wording" -- only a refusal needs it

local file = core.file

local pidfile = {}

local MODE = tonumber("644", 8)

-- The path as in runc's messages, and the path of the temporary file that runc writes first, and then renames.
local function paths_of(path)
  if path:sub(1, 1) ~= "/" then path = file.realpath "." .. "/" .. path end
  return path, (path:gsub("([^/]*)$", ".%1", 1))
end

--- Checks the path for the most frequent mistakes, before anything is started.
-- @tparam string path
-- @treturn[1] boolean true
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string code "system"
function pidfile.check(path)
  local about = file.stat(path)
  if about and about.type == "directory" then
    local whole, temporary = paths_of(path)
    return nil, ("rename %s %s: file exists"):format(temporary, whole), "system"
  end
  local _, message = file.stat((path:match "^(.*)/" or ".") .. "/.")
  if not message then return true end
  return nil, ("open %s: %s"):format(select(2, paths_of(path)), wording.reason(message)), "system"
end

--- Writes the whole file, or no file. It has digits only, because containerd rejects a newline.
-- @tparam string path
-- @tparam integer pid of the command, in the caller's pid namespace
-- @treturn[1] boolean true
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string code "system"
function pidfile.write(path, pid)
  local ok, message = file.write_atomic(path, tostring(pid), MODE)
  if ok then return true end
  return nil, ("open %s: %s"):format(select(2, paths_of(path)), wording.reason(message)), "system"
end

return pidfile
