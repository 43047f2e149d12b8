--- Opening the files of a container, when whoever could write them could command us.
--
-- A state file decides which process is entered, with which capabilities and which seccomp profile. So a file and the
-- directory it lies in must belong to root or to the caller, and nobody else may be able to write them. All is decided
-- on the opened descriptor; nothing that is opened can block or be a symbolic link.
-- @module ctrexec.container.trust
local trust = {}

local core = require "ctrexec.core"
local unwind = require "ctrexec.lib.unwind"

local function refuse(message, code)
  unwind.fail(message, code or "bad_state")
end

local ENOENT, EACCES, ENOTDIR, EFBIG, ENAMETOOLONG, ELOOP =
  core.errno.ENOENT, core.errno.EACCES, core.errno.ENOTDIR, core.errno.EFBIG, core.errno.ENAMETOOLONG, core.errno.ELOOP
local ABSENT = { [ENOENT] = true, [ENOTDIR] = true, [ENAMETOOLONG] = true }
local WRITABLE_BY_OTHERS, STICKY = tonumber("022", 8), tonumber("1000", 8)

-- Bytes that a file may have: that of `ctrexec.lib.json`, which not every exec needs.
local MAX_SIZE = 16 << 20

local DIRECTORY = { path = true, directory = true }
local ENTRY = { path = true, directory = true, nofollow = true }
local FILE = { read = true, nofollow = true, nonblock = true }

-- Results of an open call: the descriptor; nil where there is nothing; nil and a message where we may not look.
local function opened(path, fd, message, errno)
  if fd or ABSENT[errno] then return fd end
  if errno == ELOOP then refuse(path .. ": is a symbolic link") end
  message = ("open %s: %s"):format(path, require "ctrexec.lib.wording".reason(message))
  if errno ~= EACCES then refuse(message, "system") end
  return nil, message
end

local function status_of(fd, path)
  local status, message = core.file.stat(fd)
  return status or refuse(("%s: %s"):format(path, message), "system")
end

-- Refuses what an untrusted user owns or can write. In a sticky directory others cannot touch what is not theirs.
local function demand(status, path, sticky, also)
  local euid = status.uid ~= 0 and core.process.ids().euid or 0
  if status.uid ~= euid and status.uid ~= also then
    refuse(("%s: is owned by user %d, must be owned by root%s"):format(path, status.uid,
      euid == 0 and "" or (" or user %d"):format(euid)), "untrusted")
  end
  if status.mode & WRITABLE_BY_OTHERS ~= 0 and not (sticky and status.mode & STICKY ~= 0) then
    refuse(("%s: can be written by group or others (mode %04o)"):format(path, status.mode), "untrusted")
  end
end

--- Opens a directory by its path, in which symbolic links are followed.
-- @tparam string path
-- @treturn[1] fd
-- @treturn[2] nil there is none
-- @treturn[2] ?string message when we may not look
function trust.directory(path)
  return opened(path, core.file.open(path, DIRECTORY))
end

--- Opens a directory in a directory.
-- @tparam fd directory
-- @tparam string name without "/"
-- @tparam string path for messages
-- @treturn[1] fd
-- @treturn[2] nil there is none
-- @treturn[2] ?string message when we may not look
function trust.entry(directory, name, path)
  return opened(path, core.file.openat(directory, name, ENTRY))
end

--- Opens a file in a directory.
-- @tparam fd directory
-- @tparam string name without "/"
-- @tparam string path for messages
-- @treturn[1] fd
-- @treturn[2] nil there is none
-- @treturn[2] ?string message when we may not look
function trust.file(directory, name, path)
  return opened(path, core.file.openat(directory, name, FILE))
end

--- Refuses a directory that an untrusted user owns or can write.
-- @tparam fd directory
-- @tparam string path for messages
-- @tparam[opt] boolean sticky a sticky directory may be written by others
-- @tparam[opt] integer also another user who may own it
-- @treturn table its status, as `ctrexec.core.file.stat` gives it
function trust.demand(directory, path, sticky, also)
  local status = status_of(directory, path)
  demand(status, path, sticky, also)
  return status
end

--- Refuses what is no plain file, and one that an untrusted user owns or can write.
-- @tparam fd fd
-- @tparam string path for messages
-- @treturn table its status, as `ctrexec.core.file.stat` gives it
function trust.demand_file(fd, path)
  local status = status_of(fd, path)
  if status.type == "directory" then refuse(("read %s: is a directory"):format(path)) end
  if status.type ~= "file" then refuse(("%s: is a %s, must be a plain file"):format(path, status.type)) end
  demand(status, path)
  return status
end

--- Reads an opened file, which `demand_file` must not refuse.
-- @tparam fd fd
-- @tparam string path for messages
-- @treturn string
-- @treturn table the file's status
function trust.read(fd, path)
  local status = trust.demand_file(fd, path)
  local text, message, errno = nil, nil, EFBIG
  if status.size <= MAX_SIZE then text, message, errno = core.file.read_all(fd, MAX_SIZE) end
  if text then return text, status end
  if errno ~= EFBIG then refuse(("%s: %s"):format(path, message), "system") end
  refuse(("%s: larger than %d MiB"):format(path, MAX_SIZE >> 20))
end

return trust
