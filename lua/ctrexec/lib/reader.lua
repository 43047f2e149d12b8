--- Reads the files that control ctrexec (policies, their modules, config.lua), and checks the real runtime to which
-- ctrexec hands on the commands that it does not handle itself.
--
-- Symbolic links are resolved first, so that the folders that are checked are those in which the file really lies. Each
-- folder is opened from the one above it and checked by the rules of `ctrexec.lib.trust`.
-- @module ctrexec.lib.reader
local core = require "ctrexec.core"
local trust = require "ctrexec.lib.trust"
local unwind = require "ctrexec.lib.unwind"

local readers = {}

local ENOENT, EACCES, ENOTDIR, ENAMETOOLONG =
  core.errno.ENOENT, core.errno.EACCES, core.errno.ENOTDIR, core.errno.ENAMETOOLONG
local ABSENT = { [ENOENT] = true, [ENOTDIR] = true, [ENAMETOOLONG] = true }

local ROOT = { path = true, directory = true }
local FOLDER = { path = true, directory = true, nofollow = true }
local FILE = { read = true, nofollow = true, nonblock = true }
local PROGRAM = { path = true, nofollow = true }

local Reader = {}
Reader.__index = Reader

-- In a user namespace that does not map all users, files of the host's root show the overflow id (user_namespaces(7)).
-- No user of the namespace owns such a file or can become its owner, so it is trusted as root's own. Returns that id,
-- or nil where all users are mapped.
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
    fd, message, errno = core.file.open("/", ROOT)
  else
    local above, name = split(path)
    fd, message, errno = core.file.openat(open_folder(self, above, self.above), name, FOLDER)
  end
  if not fd then give_up(message, errno) end
  trust.demand(fd, path, rules)
  self.folders[path] = { fd = fd, rules = rules }
  return fd
end

-- The path without symbolic links, so that the folders that are checked are those in which the file really lies.
local function resolve(path)
  local real, message, errno = core.file.realpath(path)
  return real or give_up(message, errno)
end

-- Opens a file after checking every folder above it. Returns the descriptor and the resolved path.
local function open_entry(self, path, how)
  local real = resolve(path)
  local folder, name = split(real)
  if not name then unwind.fail(("read %s: is a directory"):format(path), "untrusted") end
  local fd, message, errno = core.file.openat(open_folder(self, folder, self.strict), name, how)
  return fd or give_up(message, errno), real
end

local function read(self, path)
  -- Most files lie in a folder that was just listed, and are not symbolic links: such a path needs no resolving.
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
-- @treturn[1] fd opened with O_PATH (open(2)); the reader keeps it, and closes it in `close`
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

--- Makes a reader of files of at most 1 MiB. It also checks every folder above such a file, and keeps those that it has
-- checked open, so as not to check them again.
-- @treturn table reader, with `read`, `folder`, `program`, `list` and `close`; may be a `<close>` variable
function readers.new()
  local unmapped
  local function owner(uid)
    if unmapped == nil then unmapped = unmapped_owner() or false end
    return uid == unmapped
  end
  return setmetatable({ folders = {}, above = { owner = owner, sticky = true },
    strict = { owner = owner, max_size = 1 << 20, code = "untrusted" } }, Reader)
end

return readers
