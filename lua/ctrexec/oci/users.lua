--- Reads the text of passwd(5) and group(5) files, which belong to the container and may be hostile.
--
-- This module opens no file: the caller reads the container's file through its own root and passes the text. A line
-- that is not well formed is skipped, as nss_files(5) does; the first match wins. The work is linear in the text.
-- @module ctrexec.oci.users
local users = {}

--- The longest line that is read, in bytes; a longer line is skipped.
users.MAX_LINE = 65536
--- The largest number of supplementary groups of a process, NGROUPS_MAX of setgroups(2).
users.MAX_GROUPS = 65536
--- The largest user or group id: (uid_t) -1 means "no change" to setresuid(2).
users.MAX_ID = 4294967294

local function id_of(text)
  if not text:find "^%d+$" or #text > 10 then return nil end
  local id = math.tointeger(tonumber(text, 10))
  return id <= users.MAX_ID and id or nil
end

-- The lines of a text that `parse` makes something of, one a call. "+" and "-" begin the compat lines of
-- nsswitch.conf(5), which name no user and no group.
local function each(text, parse)
  local at = 1
  return function()
    while at <= #text do
      local start, stop = at, text:find("\n", at, true) or #text + 1
      at = stop + 1
      if stop - start <= users.MAX_LINE then
        local line = text:sub(start, stop - 1)
        local found = not line:find "^[+-]" and not line:find("\0", 1, true) and parse(line)
        if found then return found end
      end
    end
  end
end

local function parse_user(line)
  local name, uid, gid, rest = line:match "^([^:]+):[^:]*:([^:]*):([^:]*)(.*)$"
  uid, gid = uid and id_of(uid), gid and id_of(gid)
  if not (uid and gid) then return nil end
  local home, shell = rest:match "^:[^:]*:([^:]*):?(.*)$"
  return { name = name, uid = uid, gid = gid, home = home, shell = shell }
end

local function parse_group(line)
  local name, gid, members = line:match "^([^:]+):[^:]*:([^:]*):?(.*)$"
  gid = gid and id_of(gid)
  return gid and { name = name, gid = gid, members = members }
end

local function first(text, parse, field, value)
  for found in each(text, parse) do
    if found[field] == value then return found end
  end
end

--- Finds a user by name.
-- @tparam string passwd the text of a passwd(5) file
-- @tparam string name the login name
-- @treturn[1] table `{name=, uid=, gid=, home=, shell=}`; home and shell are nil when the line ends before them
-- @treturn[2] nil there is no such user
function users.user(passwd, name)
  return first(passwd, parse_user, "name", name)
end

--- Finds a user by id.
-- @tparam string passwd the text of a passwd(5) file
-- @tparam integer uid the user id
-- @treturn[1] table as `user`
-- @treturn[2] nil there is no such user
function users.user_by_id(passwd, uid)
  return first(passwd, parse_user, "uid", uid)
end

--- Finds a group by name.
-- @tparam string group the text of a group(5) file
-- @tparam string name the group's name
-- @treturn[1] table `{name=, gid=, members=string}`
-- @treturn[2] nil there is no such group
function users.group(group, name)
  return first(group, parse_group, "name", name)
end

local function has_member(members, name)
  return ("," .. members .. ","):find("," .. name .. ",", 1, true) ~= nil
end

--- The supplementary groups that a group file gives a user: initgroups(3) without the primary group.
-- @tparam string group the text of a group(5) file
-- @tparam string name the login name
-- @tparam[opt] integer primary the primary group, left out of the result
-- @treturn[1] {integer,...} group ids in the file's order, each once
-- @treturn[2] nil more than MAX_GROUPS of them
-- @treturn[2] string message
-- @treturn[2] string "invalid"
function users.groups_of(group, name, primary)
  local gids, seen = {}, {}
  if name == "" or name:find "[,:]" then return gids end
  if primary then seen[primary] = true end
  for one in each(group, parse_group) do
    if not seen[one.gid] and has_member(one.members, name) then
      if #gids == users.MAX_GROUPS then
        return nil, ("user %s is a member of more than %d groups"):format(name, users.MAX_GROUPS), "invalid"
      end
      seen[one.gid] = true
      gids[#gids + 1] = one.gid
    end
  end
  return gids
end

return users
