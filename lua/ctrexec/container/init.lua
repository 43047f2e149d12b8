--- Finds a container, whichever runtime made it, and reads what an exec needs to know about it.
--
-- A container is a table:
--
-- * `id`, `runtime` ("runc", "crun", "youki", "pid"), `root`, `dir` (the state directory), `bundle` (absolute),
--   `created` (RFC 3339), `owner` (user name, or "#UID"), `rootless`, `systemd` (booleans), `labels`, `annotations`
-- * `pid` of its first process, `start_time` (clock ticks after boot), `pidfd` (nil unless it runs), `status`:
--   "created", "running", "paused" or "stopped"
-- * `cgroup_paths`: absolute directory by controller, "" for version 2
-- * `kept`: descriptors by such a directory, opened for the first command that joins it (`ctrexec.exec.cgroups`)
-- * `compiled`: the program of the container's seccomp profile, once `filter` has compiled it
-- * `settings`, which apply to every process in it, in the spelling of the OCI runtime specification: `seccomp`
--   (linux.seccomp), `seccomp_bpf` (bytes of crun's compiled filter), `no_new_keyring`, `umask`, `personality`,
--   `memory_policy`, `oom_score_adj`, `rlimits`, `apparmor_profile`, `process_label`, `no_new_privileges`,
--   `capabilities`, `scheduler`, `io_priority`, `exec_cpu_affinity`, `intel_rdt_path`, `uid_mappings`, `gid_mappings`,
--   `rootless_euid`, `rootless_cgroups`, `namespaces`
--
-- The helper reaches the container's first process only by its pidfd. The pidfd is opened first; then the start time
-- that the runtime recorded is compared with that of the pid. So if another process has the pid by now, the status is
-- "stopped".
-- @module ctrexec.container
local core = require "ctrexec.core"
local late = require "ctrexec.lib.late"
local schema = require "ctrexec.lib.schema"
local trust = require "ctrexec.lib.trust"
local unwind = require "ctrexec.lib.unwind"
local cache = late "ctrexec.container.cache" -- only for a caller that wants a digest
local json = late "ctrexec.lib.json" -- not where the digest has all that is asked for
local seccomp = late "ctrexec.core.seccomp" -- only a profile that was not compiled before is worth loading libseccomp

-- Loaded late because a container is of one runtime only.
local crun = late "ctrexec.container.crun"
local pid = late "ctrexec.container.pid"
local runc = late "ctrexec.container.runc"
local youki = late "ctrexec.container.youki"

local container = {}

local ENOENT, ESRCH = core.errno.ENOENT, core.errno.ESRCH

--- A container.
-- @type container
local Container = {}
Container.__index = Container
Container.__name = "ctrexec.container"

local function refuse(message, code)
  unwind.fail(message, code or "bad_state")
end

-- ------------------------------------------------------------------------------------------- identity and status

-- Whether the container's cgroup is frozen. `core.cgroup.frozen` tells version 1 from version 2 by the files in it.
local function frozen(self)
  local path = self.cgroup_paths.freezer or self.cgroup_paths[""]
  local cgroup <close> = path and core.cgroup.open(path, "/")
  return cgroup and core.cgroup.frozen(cgroup) or false
end

-- Whether the process that has the pid now is the container's first process. The pidfd must have been opened before, so
-- that the answer holds for the process of the pidfd.
local function is_ours(self)
  local stat, message, errno = core.process.stat(self.pid)
  if not stat and errno ~= ENOENT and errno ~= ESRCH then refuse(message, "system") end
  if not stat or stat.state == "Z" or stat.state == "X" then return false end
  if self.start_time then return stat.start_time == self.start_time end
  local identify = self.runtime == "youki" and youki.identify
  return not identify or identify(self)
end

-- Opens the pidfd of a running container.
local function attach(self)
  if not self.pid or self.pid <= 0 then return end
  local fd, message, errno = core.pidfd.open(self.pid)
  if not fd and errno ~= ESRCH then refuse(message, "system") end
  if not fd then return end
  if is_ours(self) and core.pidfd.alive(fd) ~= false then self.pidfd = fd else fd:close() end
end

local function status_of(self)
  if not self.pidfd or core.pidfd.alive(self.pidfd) == false then return "stopped" end
  if frozen(self) then return "paused" end
  -- In a created container of runc or crun, init waits at this fifo for the start.
  if self.not_started or self.dir and core.file.stat(self.dir .. "/exec.fifo", true) then return "created" end
  return "running"
end

--- Looks again whether the container runs.
-- @treturn string the new `status`; once "stopped" it stays so, and `pidfd` is nil
function Container:refresh()
  if self.error then return self.status end
  self.status = status_of(self)
  if self.status == "stopped" then self:close() end
  return self.status
end

--- Closes the descriptors kept of the container's cgroups, which may have been removed and made anew.
function Container:forget_cgroups()
  for _, fd in pairs(self.kept or {}) do fd:close() end
  self.kept = {}
end

--- Closes the container's descriptors. Its other fields can still be read.
function Container:close()
  if self.pidfd then self.pidfd:close() end
  self.pidfd = nil
  self:forget_cgroups()
end

Container.__close = Container.close
Container.__gc = Container.close

--- The program of the container's seccomp profile: compiled once for all commands, or by an earlier exec.
-- @treturn[1] table as `ctrexec.core.seccomp.compile` gives it
-- @treturn[2] nil
-- @treturn[2] string message
function Container:filter()
  local message
  if not self.compiled then self.compiled, message = seccomp.compile(self.settings.seccomp) end
  return self.compiled, message
end

--- Writes the digest of the container for the next exec, if the container was opened with the option `digest`.
function Container:remember()
  if self.digest then self.digest:save(self.compiled) end
end

-- -------------------------------------------------------------------------------------------- configuration

local function decode(text, path, raw)
  local tree, message = json.decode(text, path, raw)
  return tree or refuse(message)
end

-- Whether a user is root in the container's user namespace: podman makes that user the owner of the bundle directory.
local function is_mapped_root(self, uid)
  for _, mapping in ipairs(self.settings.uid_mappings or {}) do
    if mapping.containerID == 0 then return mapping.hostID == uid end
  end
end

local function open_config(self)
  if self.error then refuse(self.error, self.code) end
  local path = self.bundle or refuse(self.dir .. ": the state names no bundle")
  local directory <close>, message = trust.directory(path)
  if not directory then refuse(message or path .. ": no such directory") end
  trust.demand(directory, path, { sticky = true, owner = function(uid) return is_mapped_root(self, uid) end })
  path = path .. "/config.json"
  local fd, why = trust.file(directory, "config.json", path)
  return fd or refuse(why or path .. ": no such file or directory"), path
end

local function bundle_config(self)
  local fd <close>, path = open_config(self)
  local text, status = trust.read(fd, path)
  local config = decode(text, path)
  if self.digest then self.digest:learn_process(status, config.process) end
  return config
end

--- The OCI configuration of the container. With runc it is the file in the bundle, read at the first call. With crun
-- and youki it is their copy of that, and with a container opened by a pid what /proc says: these are read when the
-- container is opened. See config.md of the OCI runtime specification.
-- @treturn[1] table the configuration, which must not be changed
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string code: "bad_state", "untrusted" or "system"
function Container:config()
  if not self.configuration then
    local config, message, code = unwind.guarded(bundle_config, self)
    if not config then return nil, message, code end
    self.configuration = config
  end
  return self.configuration
end

local function copy(value)
  if type(value) ~= "table" then return value end
  local result = {}
  for key, item in pairs(value) do result[key] = copy(item) end
  return result
end

local WITH_PROCESS = schema.object({ process = schema.map(schema.any) }, { required = { "process" } })

-- The process section of the bundle's config.json, when an earlier exec has read that very file.
local function digested_process(self)
  if not self.digest:knows_process() then return nil end
  local fd <close>, path = open_config(self)
  return self.digest:process(trust.demand_file(fd, path))
end

--- The container's own process, on which the process objects of commands are based: not yet checked. See the section
-- "Process" in config.md of the OCI runtime specification.
-- @treturn[1] table a fresh copy of the OCI process object
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string code: "bad_state", "untrusted" or "system"
function Container:process()
  local digested = self.digest and not self.configuration and unwind.guarded(digested_process, self)
  if digested then return copy(digested) end
  local config, message, code = self:config()
  if not config then return nil, message, code end
  local place = self.runtime == "runc" and self.bundle or self.dir or "/proc"
  local found
  found, message, code = schema.check(WITH_PROCESS, config, place .. "/config.json: ", { code = "bad_state" })
  if not found then return nil, message, code end
  return copy(found.process)
end

-- ------------------------------------------------------------------------------------------------- searching

--- @section end

local function release(found)
  found.file:close()
  found.directory:close()
end

local Found = { __close = release }

-- Opens the state file of an entry of a root. Returns a table of it, its directory and their paths; nil for an entry
-- that is not a container, and a message where ctrexec has no right to look.
local function locate(root, id)
  local dir = root.path .. "/" .. id
  local directory, message = trust.entry(root.fd, id, dir)
  if not directory then return nil, message end
  for _, name in ipairs { "state.json", "status" } do
    local path = dir .. "/" .. name
    local file, why = trust.file(directory, name, path)
    if file then
      return setmetatable({ id = id, root = root, dir = dir, directory = directory, file = file, path = path,
        name = name }, Found)
    end
    message = message or why
  end
  directory:close()
  return nil, message
end

-- The argument of a runtime's reader: the decoded state file, and functions that read the files beside it.
local function source_of(found, owner)
  local source = { path = found.path, owner = owner }
  function source.file(name)
    local path = found.dir .. "/" .. name
    local fd <close> = trust.file(found.directory, name, path)
    return fd and trust.read(fd, path), path
  end
  function source.decoded(name)
    local text, path = source.file(name)
    return text and decode(text, path), path
  end
  function source.config()
    local config, path = source.decoded "config.json"
    return config or refuse(path .. ": no such file or directory"), path
  end
  source.text = trust.read(found.file, found.path)
  source.tree = decode(source.text, found.path, true)
  return source
end

local READERS = { runc = runc, crun = crun, youki = youki }

local function runtime_of(found, tree)
  if found.name == "status" then return "crun" end
  return tree.init_process_pid == nil and tree.ociVersion ~= nil and "youki" or "runc"
end

-- The fields of a container from its digest or, if there is none, from its runtime's reader. Returns also the digest
-- that this exec may complete, if the runtime is runc.
local function fields_of(found, owner, digest)
  local fields = digest and digest:load(found)
  if fields then return fields, digest end
  local source = source_of(found, owner)
  local runtime = runtime_of(found, source.tree)
  fields = READERS[runtime].read(source)
  if digest then digest:learn(runtime, fields) end
  return fields, runtime == "runc" and digest or nil
end

local STICKY = { sticky = true }

local function read(found, opts)
  trust.demand(found.root.fd, found.root.path, STICKY)
  local owner = trust.demand(found.directory, found.dir).uid
  local digested = opts.digest and found.name == "state.json"
  local fields, digest = fields_of(found, owner, digested and cache.new(found))
  local self = setmetatable(fields, Container)
  self.digest = digest
  self.id, self.root, self.dir = found.id, found.root.path, found.dir
  self.owner, self.kept = self.owner or owner == 0 and "root" or "#" .. owner, {}
  attach(self)
  self:refresh()
  return self
end

local function add_root(roots, path, message)
  local fd, why = trust.directory(path)
  if not fd then return why or message end
  local status = core.file.stat(fd)
  local key = status and ("%d:%d"):format(status.dev, status.ino)
  -- A directory that was added under another path already is not searched twice.
  if roots[key] then return fd:close() end
  roots[key] = true
  roots[#roots + 1] = { path = path, fd = fd }
end

local function close_roots(roots)
  for _, root in ipairs(roots) do root.fd:close() end
end

-- Opens all roots to search, in the order of the search.
local function open_roots(opts)
  local roots = setmetatable({}, { __close = close_roots })
  if opts.root then
    local path = opts.root
    if path:sub(1, 1) ~= "/" then path = core.file.realpath(path) or path end
    local message = add_root(roots, #path > 1 and path:gsub("/+$", "") or path)
    if message then refuse(message, "system") end
    return roots
  end
  for _, path in ipairs(opts.roots or {}) do add_root(roots, path) end
  -- Root of a user namespace may have this folder, too: rootless podman runs its runtime in that way. A folder that
  -- belongs to another user is not searched.
  local own = os.getenv "XDG_RUNTIME_DIR"
  local status = own and core.file.stat(own)
  if status and status.uid == core.process.ids().euid then
    for _, name in ipairs { "runc", "crun", "youki" } do add_root(roots, own .. "/" .. name) end
  end
  for _, path in ipairs { "/run/runc", "/run/crun", "/run/youki" } do add_root(roots, path) end
  local namespaces = core.file.list "/run/containerd/runc" or {}
  table.sort(namespaces)
  for _, name in ipairs(namespaces) do add_root(roots, "/run/containerd/runc/" .. name) end
  add_root(roots, "/run/docker/runtime-runc/moby")
  return roots
end

local function add_found(matches, root, id)
  local found, message = locate(root, id)
  if found then matches[#matches + 1] = found end
  matches.message = matches.message or message
end

local function names_in(root)
  local names = core.file.list(root.fd) or {}
  table.sort(names)
  return names
end

local function ambiguous(id, matches)
  local all = {}
  for index, found in ipairs(matches) do
    all[index] = ("%s (%s)"):format(found.id, found.root.path)
    release(found)
  end
  refuse(("container %s is ambiguous: %s"):format(id, table.concat(all, ", ")), "ambiguous")
end

-- The rule of runc: letters, digits, "_", "+", ",", "-" and "."; but not "." and "..", which are other directories.
local function demand_id(id)
  if id == "" then refuse("container id cannot be empty", "invalid") end
  if id == "." or id == ".." or id:find "[^A-Za-z0-9_+,%-.]" then
    refuse("invalid container ID format", "invalid")
  end
end

local function find(id, opts)
  demand_id(id)
  local roots <close> = open_roots(opts)
  local matches = {}
  for _, root in ipairs(roots) do add_found(matches, root, id) end
  if #matches == 0 and not opts.root then
    for _, root in ipairs(roots) do
      for _, name in ipairs(names_in(root)) do
        if name:sub(1, #id) == id then add_found(matches, root, name) end
      end
    end
  end
  if #matches > 1 then ambiguous(id, matches) end
  local found <close> = matches[1]
  if not found then
    if opts.root and matches.message then refuse(matches.message, "system") end
    refuse("container does not exist", "no_such_container")
  end
  return read(found, opts)
end

-- Whether a process is a kernel thread: it has no program. Its namespaces are the host's, so a command in them would
-- run on the host itself.
local function is_kernel_thread(number)
  local status, _, errno = core.file.stat(("/proc/%d/exe"):format(number))
  return not status and errno == ENOENT
end

local function open_pid(id, number)
  if number == core.process.ids().pid then refuse(("process %d is the caller itself"):format(number), "invalid") end
  local pidfd, message, errno = core.pidfd.open(number)
  if not pidfd then
    refuse(errno == ESRCH and ("process %d does not exist"):format(number) or message,
      errno == ESRCH and "no_such_container" or "system")
  end
  local stat, fields, kernel = core.process.stat(number), pid.read(number), is_kernel_thread(number)
  if not stat or not fields or stat.state == "Z" or not core.pidfd.alive(pidfd) then
    pidfd:close()
    refuse(("process %d does not exist"):format(number), "no_such_container")
  elseif kernel then
    pidfd:close()
    refuse(("process %d is a kernel thread"):format(number), "invalid")
  end
  local self = setmetatable(fields, Container)
  self.id, self.pidfd, self.start_time, self.kept = id or tostring(number), pidfd, stat.start_time, {}
  local owner = core.file.stat("/proc/" .. number)
  self.owner = owner and owner.uid == 0 and "root" or owner and "#" .. owner.uid
  self:refresh()
  return self
end

local PID = schema.integer()

--- Opens a container.
--
-- With `opts.root` only that root is searched. Without it, roots are searched in this order: `opts.roots`,
-- $XDG_RUNTIME_DIR/{runc,crun,youki} if that belongs to the caller, /run/{runc,crun,youki}, /run/containerd/runc/*,
-- /run/docker/runtime-runc/moby; and the id may also be the beginning of exactly one container's id.
-- @tparam ?string id with `opts.pid`, only a name for it
-- @tparam[opt] table opts `root`: a directory; `roots`: array of directories; `pid`: integer, any process as container;
-- `digest`: use and write a digest of the state (`ctrexec.container.cache`)
-- @treturn[1] container
-- @treturn[2] nil
-- @treturn[2] string message, as runc has it for an id that is malformed or unknown
-- @treturn[2] string code: "invalid" (the id), "no_such_container", "ambiguous", "bad_state", "untrusted" or "system"
function container.open(id, opts)
  opts = opts or {}
  if opts.pid then
    local number = schema.demand(PID, opts.pid, "pid", 2)
    return unwind.guarded(open_pid, id, number)
  end
  if type(id) ~= "string" then error("id: expected a string, got " .. schema.kind(id), 2) end
  return unwind.guarded(find, id, opts)
end

-- The container in a list whose state cannot be read.
local function unknown(root, id, message, code)
  return setmetatable({ id = id, root = root.path, dir = root.path .. "/" .. id, status = "unknown", error = message,
    code = code, labels = {}, annotations = {}, cgroup_paths = {}, settings = {} }, Container)
end

local function list_entry(root, name)
  local found <close> = locate(root, name)
  return found and read(found, {})
end

local function list(opts)
  local found = {}
  local roots <close> = open_roots(opts)
  for _, root in ipairs(roots) do
    for _, name in ipairs(names_in(root)) do
      local self, message, code = unwind.guarded(list_entry, root, name)
      found[#found + 1] = self or code and unknown(root, name, message, code)
    end
  end
  return found
end

--- All containers, by root and id. A container whose state cannot be read has the status "unknown", and `error` and
-- `code`.
-- @tparam[opt] table opts `root` and `roots` as for `open`
-- @treturn[1] {container,...}
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string code "system": `opts.root` cannot be read
function container.list(opts)
  return unwind.guarded(list, opts or {})
end

return container
