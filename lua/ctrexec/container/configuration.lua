--- Reads what an exec needs of an OCI configuration (config.json), for the runtimes that keep a copy of it: see
-- config.md and config-linux.md of the OCI runtime specification.
-- @module ctrexec.container.configuration
local schema = require "ctrexec.lib.schema"

local configuration = {}

local string, integer, array, object, filled = schema.string, schema.integer(), schema.array, schema.object,
  schema.filled
local strings, anything = array(string), schema.map(schema.any)

local function add_flags(copy)
  copy.flags = copy.flags or {}
end

local MAPPINGS = array(object({ containerID = integer, hostID = integer, size = integer },
  { required = { "containerID", "hostID", "size" } }))

-- The compiler (core/seccomp.c) checks the other fields of the profile, if the profile has to be compiled: crun keeps a
-- compiled one.
local SECCOMP = object { flags = strings, listenerPath = string, listenerMetadata = string }

local function seccomp(value, place)
  SECCOMP(value, place)
  return value
end

-- Of the fields that `ctrexec.oci.validate` checks in full when a process is built (limits, capabilities, scheduler),
-- only the kind is checked here.
local CONFIG = object {
  annotations = schema.map(string),
  linux = object {
    seccomp = seccomp,
    personality = object({ domain = string, flags = strings }, { required = { "domain" }, finish = add_flags }),
    memoryPolicy = object({ mode = string, nodes = filled, flags = strings },
      { required = { "mode" }, finish = add_flags }),
    uidMappings = MAPPINGS, gidMappings = MAPPINGS,
    namespaces = array(object({ type = string, path = string }, { required = { "type" } })),
  },
  process = object {
    user = object { umask = integer },
    oomScoreAdj = integer, noNewPrivileges = schema.boolean, apparmorProfile = filled, selinuxLabel = filled,
    rlimits = array(schema.any), capabilities = anything, scheduler = anything, ioPriority = anything,
    execCPUAffinity = anything,
  },
}

--- Reads a configuration, within `ctrexec.lib.unwind.guarded`. A malformed one unwinds with the code "bad_state".
-- @tparam table config decoded
-- @tparam string where the configuration's path, for messages
-- @treturn table the settings of a container
-- @treturn table the annotations by name
function configuration.read(config, where)
  local known = schema.apply(CONFIG, config, where .. ": ", { code = "bad_state" })
  local linux, process = known.linux or {}, known.process or {}
  return {
    seccomp = linux.seccomp,
    no_new_keyring = false,
    umask = (process.user or {}).umask,
    personality = linux.personality,
    memory_policy = linux.memoryPolicy,
    oom_score_adj = process.oomScoreAdj,
    rlimits = process.rlimits,
    apparmor_profile = process.apparmorProfile,
    process_label = process.selinuxLabel,
    no_new_privileges = process.noNewPrivileges or false,
    capabilities = process.capabilities,
    scheduler = process.scheduler,
    io_priority = process.ioPriority,
    exec_cpu_affinity = process.execCPUAffinity,
    uid_mappings = linux.uidMappings,
    gid_mappings = linux.gidMappings,
    rootless_euid = false,
    namespaces = linux.namespaces,
  }, known.annotations or {}
end

return configuration
