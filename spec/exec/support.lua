-- What the specs of exec share: a container that is this process itself, so that a command enters namespaces that it is
-- in already, which needs no container and no privilege.
local core = require "ctrexec.core"
local process = require "ctrexec.oci.process"
local seccomp = require "ctrexec.core.seccomp"

local support = {}

local ids = core.process.ids()

local methods = {}

function methods:config()
  return self.configuration
end

function methods:filter()
  return seccomp.compile(self.settings.seccomp)
end

function methods:forget_cgroups()
  self.forgotten = true
end

--- A container that is this process.
-- @tparam[opt] table fields that take the place of its own; those of `settings` are added
-- @treturn table `forgotten`: whether its cgroups were to be forgotten
function support.container(fields)
  local result = setmetatable({
    id = "self", runtime = "runc", status = "running", pid = ids.pid, pidfd = assert(core.pidfd.open(ids.pid)),
    annotations = {}, labels = {}, cgroup_paths = {},
  }, { __index = methods })
  for name, value in pairs(fields or {}) do result[name] = value end
  result.settings = { no_new_keyring = true, rootless_euid = ids.euid ~= 0 }
  for name, value in pairs(fields and fields.settings or {}) do result.settings[name] = value end
  return result
end

--- The checked process object of a command that runs as this process does. (Only root could have fewer capabilities in
-- the bounding set than there are.)
-- @tparam {string,...} args
-- @tparam[opt] table fields that take the place of its own
function support.object(args, fields)
  local raw = { args = args, cwd = "/", env = { "PATH=/usr/bin:/bin", "HOME=/" },
    user = { uid = ids.euid, gid = ids.egid },
    capabilities = { bounding = core.capability.names(core.capability.of(ids.pid).bounding) } }
  for name, value in pairs(fields or {}) do raw[name] = value end
  return select(2, assert(process.validate(raw)))
end

return support
