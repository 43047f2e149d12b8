--- Opens the files that control ctrexec: policies, their modules, config.lua, states of containers, the real runtime.
--
-- The rule is that of sudoers(5): a file and the folder it lies in must belong to root (or to the user ctrexec runs
-- as), and must not be writable by group or others. Each check is made on the opened descriptor, so that swapping the
-- file at a path between check and use has no effect. Opening a file cannot block, and no symbolic link below a
-- directory is followed. The functions unwind (`ctrexec.lib.unwind`). `ctrexec.lib.reader` finds files by their path
-- and checks each folder above.
-- @module ctrexec.lib.trust
local core = require "ctrexec.core"
local late = require "ctrexec.lib.late"
local unwind = require "ctrexec.lib.unwind"
local wording = late "ctrexec.lib.wording" -- only a refusal needs it

local trust = {}

local ENOENT, EACCES, ENOTDIR, EFBIG, ENAMETOOLONG, ELOOP =
  core.errno.ENOENT, core.errno.EACCES, core.errno.ENOTDIR, core.errno.EFBIG, core.errno.ENAMETOOLONG, core.errno.ELOOP
local ABSENT = { [ENOENT] = true, [ENOTDIR] = true, [ENAMETOOLONG] = true }
local WRITABLE_BY_OTHERS, STICKY = tonumber("022", 8), tonumber("1000", 8)

-- The largest state file in bytes: MAX_SIZE of `ctrexec.lib.json`, a module that not every exec loads.
local MAX_SIZE = 16 << 20

local DIRECTORY = { path = true, directory = true }
local ENTRY = { path = true, directory = true, nofollow = true }
local FILE = { read = true, nofollow = true, nonblock = true }

local NO_RULES = {}

-- Takes the results of an open call. Returns the descriptor; nil where nothing has that path; nil and a message where
-- ctrexec has no right to look. Unwinds after any other failure.
local function opened(path, fd, message, errno)
  if fd or ABSENT[errno] then return fd end
  if errno == ELOOP then unwind.fail(path .. ": is a symbolic link", "bad_state") end
  message = ("open %s: %s"):format(path, wording.reason(message))
  if errno ~= EACCES then unwind.fail(message) end
  return nil, message
end

local function status_of(fd, path)
  local status, message = core.file.stat(fd)
  return status or unwind.fail(("%s: %s"):format(path, message))
end

-- Refuses what an untrusted user owns or can write. With `rules.sticky` others may write a sticky directory: only the
-- owner of an entry in it can rename or replace that entry.
local function refuse_untrusted(status, path, rules)
  local euid = status.uid ~= 0 and core.process.ids().euid or 0
  if status.uid ~= euid and not (rules.owner and rules.owner(status.uid)) then
    unwind.fail(("%s: is owned by user %d, must be owned by root%s"):format(path, status.uid,
      euid == 0 and "" or (" or user %d"):format(euid)), "untrusted")
  end
  if status.mode & WRITABLE_BY_OTHERS ~= 0 and not (rules.sticky and status.mode & STICKY ~= 0) then
    unwind.fail(("%s: can be written by group or others (mode %04o)"):format(path, status.mode), "untrusted")
  end
end

local function demand(status, path, rules)
  refuse_untrusted(status, path, rules) -- guard: trust
  return status
end

--- Opens a directory by its path, in which symbolic links are followed.
-- @tparam string path
-- @treturn[1] fd
-- @treturn[2] nil there is none
-- @treturn[2] ?string message when ctrexec has no right to look
function trust.directory(path)
  return opened(path, core.file.open(path, DIRECTORY))
end

--- Opens a directory in a directory.
-- @tparam fd directory
-- @tparam string name without "/"
-- @tparam string path for messages
-- @treturn[1] fd
-- @treturn[2] nil there is none
-- @treturn[2] ?string message when ctrexec has no right to look
function trust.entry(directory, name, path)
  return opened(path, core.file.openat(directory, name, ENTRY))
end

--- Opens a file in a directory.
-- @tparam fd directory
-- @tparam string name without "/"
-- @tparam string path for messages
-- @treturn[1] fd
-- @treturn[2] nil there is none
-- @treturn[2] ?string message when ctrexec has no right to look
function trust.file(directory, name, path)
  return opened(path, core.file.openat(directory, name, FILE))
end

--- Refuses a directory that an untrusted user owns or can write.
-- @tparam fd directory
-- @tparam string path for messages
-- @tparam[opt] table rules `sticky`: a sticky directory may be written by others; `owner(uid)`: whether another user
-- may own it
-- @treturn table its status, as `ctrexec.core.file.stat` gives it
function trust.demand(directory, path, rules)
  return demand(status_of(directory, path), path, rules or NO_RULES)
end

--- Refuses anything but a plain file, and a file that an untrusted user owns or can write.
-- @tparam fd fd
-- @tparam string path for messages
-- @tparam[opt] table rules as for `demand`; `code`: with which anything but a plain file is refused, by default
-- "bad_state"
-- @treturn table its status, as `ctrexec.core.file.stat` gives it
function trust.demand_file(fd, path, rules)
  rules = rules or NO_RULES
  local status = status_of(fd, path)
  if status.type == "file" then return demand(status, path, rules) end
  unwind.fail((status.type == "directory" and "read %s: is a directory" or "%s: is a %s, must be a plain file")
    :format(path, status.type), rules.code or "bad_state")
end

--- Reads an opened file, after `demand_file` has checked it.
-- @tparam fd fd
-- @tparam string path for messages
-- @tparam[opt] table rules as for `demand_file`; `max_size` in bytes, by default 16 MiB
-- @treturn string
-- @treturn table the file's status
function trust.read(fd, path, rules)
  rules = rules or NO_RULES
  local status, max_size = trust.demand_file(fd, path, rules), rules.max_size or MAX_SIZE
  local text, message, errno = nil, nil, EFBIG
  if status.size <= max_size then text, message, errno = core.file.read_all(fd, max_size) end
  if text then return text, status end
  if errno ~= EFBIG then unwind.fail(("%s: %s"):format(path, message)) end
  unwind.fail(("%s: larger than %d MiB"):format(path, max_size >> 20), rules.code or "bad_state")
end

return trust
