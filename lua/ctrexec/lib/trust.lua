--- Reading the files that command ctrexec: policies, their modules, config.lua; and checking a program it hands on to.
--
-- As sudoers(5) has it: the file and every folder above it must belong to root (or to the user ctrexec runs as), and
-- must not be writable by group or others; symbolic links are resolved first, so that the folders that count are
-- those the file really lies in. Each component is opened from the one above it without following a link, and it is
-- the opened descriptor that is checked and read: what is swapped on the path in between is not what was checked.
-- @module ctrexec.lib.trust
local core = require "ctrexec.core"

local trust = {}

local OTHERS_WRITE, STICKY = tonumber("022", 8), tonumber("1000", 8)
local DIRECTORY = { path = true, directory = true, nofollow = true }
local FILE = { read = true, nofollow = true, nonblock = true }
local PROGRAM = { path = true, nofollow = true }
local ENOENT, EACCES, ENOTDIR, EFBIG, ELOOP =
  core.errno.ENOENT, core.errno.EACCES, core.errno.ENOTDIR, core.errno.EFBIG, core.errno.ELOOP

--- The largest file that is read, in bytes.
trust.MAX_SIZE = 1024 * 1024

local Reader = {}
Reader.__index = Reader

local function code_of(errno)
  return (errno == ENOENT or errno == ENOTDIR) and "not_found" or errno == EACCES and "untrusted" or "system"
end

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

local function fault_of(reader, status, strict)
  if not reader.owners[status.uid] then
    if reader.unmapped == nil then reader.unmapped = unmapped_owner() or false end
    if status.uid ~= reader.unmapped then return ("is owned by uid %d"):format(status.uid) end
  end
  -- In a sticky folder only the owner of an entry can rename or replace it, and the entry's owner is checked, too.
  if status.mode & OTHERS_WRITE ~= 0 and (strict or status.mode & STICKY == 0) then
    return ("is writable by group or others (mode %04o)"):format(status.mode)
  end
end

local function check(reader, fd, path, strict)
  local status, message = core.file.stat(fd)
  if not status then return nil, ("%s: %s"):format(path, message), "system" end
  local fault = fault_of(reader, status, strict)
  if fault then return nil, ("%s %s"):format(path, fault), "untrusted" end
  return status
end

-- Opens a resolved folder component by component. Folders already checked are remembered for the reader's life.
local function open_folder(reader, path, strict)
  local known = reader.folders[path]
  if known and (known.strict or not strict) then return known.fd end
  local fd, message, errno, code
  if path == "/" then
    fd, message, errno = core.file.open("/", DIRECTORY)
  else
    local parent, name = path:match "^(.*)/([^/]+)$"
    local above
    above, message, code = open_folder(reader, parent == "" and "/" or parent, false)
    if not above then return nil, message, code end
    fd, message, errno = core.file.openat(above, name, DIRECTORY)
  end
  if not fd then return nil, message, code_of(errno) end
  local status
  status, message, code = check(reader, fd, path, strict)
  if not status then return nil, message, code end
  reader.folders[path] = { fd = fd, strict = strict }
  return fd
end

local function resolve(path)
  local real, message, errno = core.file.realpath(path)
  if not real then return nil, message, code_of(errno) end
  return real
end

local function read_checked(reader, fd, path)
  local status, message, code = check(reader, fd, path, true)
  if not status then return nil, message, code end
  if status.type ~= "file" then return nil, ("%s is a %s, not a plain file"):format(path, status.type), "untrusted" end
  local text, problem, errno = core.file.read_all(fd, trust.MAX_SIZE)
  if not text then
    if errno == EFBIG then problem = ("%s is larger than %d KiB"):format(path, trust.MAX_SIZE // 1024) end
    return nil, problem, "untrusted"
  end
  return text
end

local function read_entry(reader, above, name, path)
  local fd <close>, problem, errno = core.file.openat(above, name, FILE)
  if not fd then return nil, problem, code_of(errno), errno end
  local text, message, code = read_checked(reader, fd, path)
  if not text then return nil, message, code end
  return text, path
end

--- Reads a file after checking it and every folder above it.
-- @tparam string path
-- @treturn[1] string the text
-- @treturn[1] string the resolved path
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string "untrusted", "not_found" or "system"
function Reader:read(path)
  -- Most files lie in a folder that was just listed, and are no links: then there is nothing to resolve.
  local folder, name = path:match "^(.*)/([^/]+)$"
  local known = self.folders[folder]
  if known and known.strict then
    local text, message, code, errno = read_entry(self, known.fd, name, path)
    if errno ~= ELOOP then return text, message, code end
  end
  local real, problem, code = resolve(path)
  if not real then return nil, problem, code end
  folder, name = real:match "^(.*)/([^/]+)$"
  if not folder then return nil, path .. " is not a plain file", "untrusted" end
  local above
  above, problem, code = open_folder(self, folder == "" and "/" or folder, true)
  if not above then return nil, problem, code end
  local text
  text, problem, code = read_entry(self, above, name, real)
  return text, problem, code
end

--- Opens a folder after checking it and every folder above it.
-- @tparam string path
-- @treturn[1] fd O_PATH (open(2)); the reader's, closed with it
-- @treturn[1] string the resolved path
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string "untrusted", "not_found" or "system"
function Reader:folder(path)
  local real, message, code = resolve(path)
  if not real then return nil, message, code end
  local fd
  fd, message, code = open_folder(self, real, true)
  if not fd then return nil, message, code end
  return fd, real
end

--- Checks a program and every folder above it.
-- @tparam string path
-- @treturn[1] string the resolved path
-- @treturn[1] table of the file, as `core.file.stat` describes it
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string "untrusted", "not_found" or "system"
function Reader:program(path)
  local real, message, code = resolve(path)
  if not real then return nil, message, code end
  local folder, name = real:match "^(.*)/([^/]+)$"
  if not folder then return nil, path .. " is not a plain file", "untrusted" end
  local above
  above, message, code = open_folder(self, folder == "" and "/" or folder, true)
  if not above then return nil, message, code end
  local fd <close>, problem, errno = core.file.openat(above, name, PROGRAM)
  if not fd then return nil, problem, code_of(errno) end
  local status
  status, message, code = check(self, fd, real, true)
  if not status then return nil, message, code end
  if status.type ~= "file" then return nil, ("%s is a %s, not a plain file"):format(real, status.type), "untrusted" end
  return real, status
end

--- The names in a folder, after checking it and every folder above it.
-- @tparam string path
-- @treturn[1] {string,...} names, sorted bytewise
-- @treturn[1] string the resolved path: files read by it need no further resolving
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string "untrusted", "not_found" or "system"
function Reader:list(path)
  local fd, real, code = self:folder(path)
  if not fd then return nil, real, code end
  local names, problem, errno = core.file.list(fd)
  if not names then return nil, problem, code_of(errno) end
  table.sort(names)
  return names, real
end

--- Closes the folders that the reader keeps open.
function Reader:close()
  for _, folder in pairs(self.folders) do folder.fd:close() end
  self.folders = {}
end

Reader.__close = Reader.close

--- Makes a reader: what it has checked it does not check again.
-- @treturn table reader, with `read`, `list` and `close`; may be a `<close>` variable
function trust.reader()
  return setmetatable({ owners = { [0] = true, [core.process.ids().euid] = true }, folders = {} }, Reader)
end

return trust
