--- Opening what commands ctrexec: policies, their modules, config.lua, the state of containers, the real runtime.
--
-- As sudoers(5) has it: a file and the folder it lies in must belong to root (or to the user ctrexec runs as), and must
-- not be writable by group or others. All is decided on the opened descriptor: what is swapped on the path in between
-- is not what was checked. Nothing that is opened can block, and no symbolic link is followed but on a path that is
-- resolved first. The functions unwind (`ctrexec.lib.unwind`); the methods of a reader return nil, message and code.
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

-- Bytes that a state file may have: that of `ctrexec.lib.json`, which not every exec needs.
local MAX_SIZE = 16 << 20

local DIRECTORY = { path = true, directory = true }
local ENTRY = { path = true, directory = true, nofollow = true }
local FILE = { read = true, nofollow = true, nonblock = true }
local PROGRAM = { path = true, nofollow = true }

local NO_RULES = {}

-- Results of an open call: the descriptor; nil where there is nothing; nil and a message where we may not look.
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

-- Refuses what an untrusted user owns or can write. In a sticky directory only the owner of an entry can rename or
-- replace it.
local function demand(status, path, rules)
  local euid = status.uid ~= 0 and core.process.ids().euid or 0
  if status.uid ~= euid and not (rules.owner and rules.owner(status.uid)) then
    unwind.fail(("%s: is owned by user %d, must be owned by root%s"):format(path, status.uid,
      euid == 0 and "" or (" or user %d"):format(euid)), "untrusted")
  end
  if status.mode & WRITABLE_BY_OTHERS ~= 0 and not (rules.sticky and status.mode & STICKY ~= 0) then
    unwind.fail(("%s: can be written by group or others (mode %04o)"):format(path, status.mode), "untrusted")
  end
  return status
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
-- @tparam[opt] table rules `sticky`: a sticky directory may be written by others; `owner(uid)`: whether another user
-- may own it
-- @treturn table its status, as `ctrexec.core.file.stat` gives it
function trust.demand(directory, path, rules)
  return demand(status_of(directory, path), path, rules or NO_RULES)
end

--- Refuses what is no plain file, and one that an untrusted user owns or can write.
-- @tparam fd fd
-- @tparam string path for messages
-- @tparam[opt] table rules as for `demand`; `code` of what is no plain file, by default "bad_state"
-- @treturn table its status, as `ctrexec.core.file.stat` gives it
function trust.demand_file(fd, path, rules)
  rules = rules or NO_RULES
  local status = status_of(fd, path)
  if status.type == "file" then return demand(status, path, rules) end
  unwind.fail((status.type == "directory" and "read %s: is a directory" or "%s: is a %s, must be a plain file")
    :format(path, status.type), rules.code or "bad_state")
end

--- Reads an opened file, which `demand_file` must not refuse.
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

-- ------------------------------------------------------------------------------------------------- readers

local Reader = {}
Reader.__index = Reader

-- In a user namespace that does not map all users, files of the host's root show the overflow id (user_namespaces(7)).
-- Nobody in the namespace owns such a file or can become its owner.
local function unmapped_owner()
  local map, overflow = io.open "/proc/self/uid_map", io.open "/proc/sys/kernel/overflowuid"
  local all = map and map:read "a":match "^%s*0%s+0%s+4294967295%s*$"
  local id = overflow and overflow:read "n"
  if map then map:close() end
  if overflow then overflow:close() end
  return not all and id or nil
end

local function give_up(message, errno)
  unwind.fail(message, ABSENT[errno] and "not_found" or errno == EACCES and "untrusted" or "system")
end

local function split(path)
  local folder, name = path:match "^(.*)/([^/]+)$"
  return folder == "" and "/" or folder, name
end

-- Opens a resolved folder component by component. Folders already checked are remembered for the reader's life.
local function open_folder(self, path, rules)
  local known = self.folders[path]
  if known and (known.rules == self.strict or rules ~= self.strict) then return known.fd end
  local fd, message, errno
  if path == "/" then
    fd, message, errno = core.file.open("/", DIRECTORY)
  else
    local above, name = split(path)
    fd, message, errno = core.file.openat(open_folder(self, above, self.above), name, ENTRY)
  end
  if not fd then give_up(message, errno) end
  trust.demand(fd, path, rules)
  self.folders[path] = { fd = fd, rules = rules }
  return fd
end

-- The path without symbolic links, so that the folders that count are those in which the file really lies.
local function resolve(path)
  local real, message, errno = core.file.realpath(path)
  return real or give_up(message, errno)
end

-- Opens what is no folder, with the folders above it checked. Returns the descriptor and the resolved path.
local function open_entry(self, path, how)
  local real = resolve(path)
  local folder, name = split(real)
  if not name then unwind.fail(("read %s: is a directory"):format(path), "untrusted") end
  local fd, message, errno = core.file.openat(open_folder(self, folder, self.strict), name, how)
  return fd or give_up(message, errno), real
end

local function read(self, path)
  -- Most files lie in a folder that was just listed, and are no links: then there is nothing to resolve.
  local folder, name = split(path)
  local known, fd, real = self.folders[folder], nil, path
  if known and known.rules == self.strict then fd = core.file.openat(known.fd, name, FILE) end
  if not fd then fd, real = open_entry(self, path, FILE) end
  local file <close> = fd
  return trust.read(file, real, self.strict), real
end

local function folder(self, path)
  local real = resolve(path)
  return open_folder(self, real, self.strict), real
end

local function program(self, path)
  local file <close>, real = open_entry(self, path, PROGRAM)
  return real, trust.demand_file(file, real, self.strict)
end

local function list(self, path)
  local fd, real = folder(self, path)
  local names, message, errno = core.file.list(fd)
  if not names then give_up(message, errno) end
  table.sort(names)
  return names, real
end

--- Reads a file after checking it and every folder above it.
-- @tparam string path
-- @treturn[1] string the text
-- @treturn[1] string the resolved path
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string "untrusted", "not_found" or "system"
function Reader:read(path)
  return unwind.guarded(read, self, path)
end

--- Opens a folder after checking it and every folder above it.
-- @tparam string path
-- @treturn[1] fd O_PATH (open(2)); the reader's, closed with it
-- @treturn[1] string the resolved path
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string "untrusted", "not_found" or "system"
function Reader:folder(path)
  return unwind.guarded(folder, self, path)
end

--- Checks a program and every folder above it.
-- @tparam string path
-- @treturn[1] string the resolved path
-- @treturn[1] table of the file, as `core.file.stat` describes it
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string "untrusted", "not_found" or "system"
function Reader:program(path)
  return unwind.guarded(program, self, path)
end

--- The names in a folder, after checking it and every folder above it.
-- @tparam string path
-- @treturn[1] {string,...} names, sorted bytewise
-- @treturn[1] string the resolved path: files read by it need no further resolving
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string "untrusted", "not_found" or "system"
function Reader:list(path)
  return unwind.guarded(list, self, path)
end

--- Closes the folders that the reader keeps open.
function Reader:close()
  for _, known in pairs(self.folders) do known.fd:close() end
  self.folders = {}
end

Reader.__close = Reader.close

--- Makes a reader of files of at most 1 MiB, which checks every folder above them, too. What it has checked it does not
-- check again.
-- @treturn table reader, with `read`, `folder`, `program`, `list` and `close`; may be a `<close>` variable
function trust.reader()
  local unmapped
  local function owner(uid)
    if unmapped == nil then unmapped = unmapped_owner() or false end
    return uid == unmapped
  end
  return setmetatable({ folders = {}, above = { owner = owner, sticky = true },
    strict = { owner = owner, max_size = 1 << 20, code = "untrusted" } }, Reader)
end

return trust
