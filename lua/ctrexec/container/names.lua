--- Finds the ids of users and groups by their names, in a container's own passwd and group files.
-- @module ctrexec.container.names
local inside = require "ctrexec.container.inside"
local users = require "ctrexec.oci.users"

local names = {}

-- The text of a file of the container, read once.
local function text_of(container, files, path)
  local message
  if not files[path] then files[path], message = inside.read(container, path) end
  return files[path], message
end

--- Looks a name up, or the groups of a user.
-- @tparam table container the container, running
-- @tparam table files keeps the texts of the container's files: the same table for all look-ups of one exec
-- @tparam string kind "user", "group" or "groups"
-- @param key a name; for "groups" an OCI user object
-- @treturn[1] table for a user and a group as `ctrexec.oci.users` has them; for "groups" an array of group ids
-- @treturn[2] nil there is no such user or group
-- @treturn[2] ?string message when the file cannot be read
function names.find(container, files, kind, key)
  local content, message = text_of(container, files, kind == "user" and "/etc/passwd" or "/etc/group")
  if not content then return nil, message end
  if kind == "user" then return users.user(content, key) end
  if kind == "group" then return users.group(content, key) end
  local passwd
  passwd, message = text_of(container, files, "/etc/passwd")
  if not passwd then return nil, message end
  local user = users.user_by_id(passwd, key.uid)
  if not user then return {} end
  return users.groups_of(content, user.name, key.gid)
end

return names
