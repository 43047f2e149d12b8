--- What an exec needs of an OCI configuration (config.json), for the runtimes that keep a copy of it: see config.md and
-- config-linux.md of the OCI runtime specification.
-- @module ctrexec.container.oci
local oci = {}

local check = require "ctrexec.container.check"

local optional = check.optional

local function not_empty(value, where)
  local text = optional(value, "a string", where)
  return text ~= "" and text or nil
end

local function mappings(value, where)
  return check.array(value, where, function(item, _, index)
    local mapping = check.required(item, "an object", where, index)
    return {
      containerID = check.required(mapping.containerID, "an integer", where, index, ".containerID"),
      hostID = check.required(mapping.hostID, "an integer", where, index, ".hostID"),
      size = check.required(mapping.size, "an integer", where, index, ".size"),
    }
  end)
end

local function personality(value, where)
  local object = optional(value, "an object", where)
  return object and {
    domain = check.required(object.domain, "a string", where .. ".domain"),
    flags = check.strings(object.flags, where .. ".flags") or {},
  }
end

local function memory_policy(value, where)
  local object = optional(value, "an object", where)
  return object and {
    mode = check.required(object.mode, "a string", where .. ".mode"),
    nodes = not_empty(object.nodes, where .. ".nodes"),
    flags = check.strings(object.flags, where .. ".flags") or {},
  }
end

local function namespaces(value, where)
  return check.array(value, where, function(item, _, index)
    local namespace = check.required(item, "an object", where, index)
    return {
      type = check.required(namespace.type, "a string", where, index, ".type"),
      path = optional(namespace.path, "a string", where, index, ".path"),
    }
  end)
end

-- The rest of it is for the compiler to check (core/seccomp.c), which is asked only where crun has not compiled it.
local function seccomp(value, where)
  local profile = optional(value, "an object", where)
  if not profile then return nil end
  check.strings(profile.flags, where .. ".flags")
  optional(profile.listenerPath, "a string", where .. ".listenerPath")
  optional(profile.listenerMetadata, "a string", where .. ".listenerMetadata")
  return profile
end

--- The settings of a record from a configuration.
--
-- What `ctrexec.oci.process` checks in full when a process is built (limits, capabilities, scheduler) is only seen to
-- be of the right kind.
-- @tparam table config decoded
-- @tparam string where the configuration's path, for messages
-- @treturn table; refuses what is malformed
function oci.settings(config, where)
  where = where .. ": "
  local linux = optional(config.linux, "an object", where .. "linux") or {}
  local process = optional(config.process, "an object", where .. "process") or {}
  local user = optional(process.user, "an object", where .. "process.user") or {}
  return {
    seccomp = seccomp(linux.seccomp, where .. "linux.seccomp"),
    no_new_keyring = false,
    umask = optional(user.umask, "an integer", where .. "process.user.umask"),
    personality = personality(linux.personality, where .. "linux.personality"),
    memory_policy = memory_policy(linux.memoryPolicy, where .. "linux.memoryPolicy"),
    oom_score_adj = optional(process.oomScoreAdj, "an integer", where .. "process.oomScoreAdj"),
    rlimits = optional(process.rlimits, "an array", where .. "process.rlimits"),
    apparmor_profile = not_empty(process.apparmorProfile, where .. "process.apparmorProfile"),
    process_label = not_empty(process.selinuxLabel, where .. "process.selinuxLabel"),
    no_new_privileges = optional(process.noNewPrivileges, "a boolean", where .. "process.noNewPrivileges") or false,
    capabilities = optional(process.capabilities, "an object", where .. "process.capabilities"),
    scheduler = optional(process.scheduler, "an object", where .. "process.scheduler"),
    io_priority = optional(process.ioPriority, "an object", where .. "process.ioPriority"),
    exec_cpu_affinity = optional(process.execCPUAffinity, "an object", where .. "process.execCPUAffinity"),
    uid_mappings = mappings(linux.uidMappings, where .. "linux.uidMappings"),
    gid_mappings = mappings(linux.gidMappings, where .. "linux.gidMappings"),
    rootless_euid = false,
    namespaces = namespaces(linux.namespaces, where .. "linux.namespaces"),
  }
end

--- The annotations of a configuration.
-- @tparam table config decoded
-- @tparam string where the configuration's path, for messages
-- @treturn table by name
function oci.annotations(config, where)
  return check.string_map(config.annotations, where .. ": annotations")
end

return oci
