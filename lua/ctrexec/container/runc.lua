--- Reads the state of runc 1.1 to 1.5: ROOT/ID/state.json, in the format of libcontainer.
--
-- What is not in OCI's spelling there (numbers for seccomp actions and limits, names of namespaces) is translated.
-- @module ctrexec.container.runc
local runc = {}

local check = require "ctrexec.container.check"
local kernel = require "ctrexec.lib.kernel"
local null = require "ctrexec.lib.json".null

local optional, required, refuse = check.optional, check.required, check.refuse

local ACTIONS = {
  "SCMP_ACT_KILL", "SCMP_ACT_ERRNO", "SCMP_ACT_TRAP", "SCMP_ACT_ALLOW", "SCMP_ACT_TRACE", "SCMP_ACT_LOG",
  "SCMP_ACT_NOTIFY", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_KILL_PROCESS",
}
local OPERATORS = {
  "SCMP_CMP_EQ", "SCMP_CMP_NE", "SCMP_CMP_GT", "SCMP_CMP_GE", "SCMP_CMP_LT", "SCMP_CMP_LE", "SCMP_CMP_MASKED_EQ",
}
local ARCHITECTURES = {
  x86 = "SCMP_ARCH_X86", amd64 = "SCMP_ARCH_X86_64", x32 = "SCMP_ARCH_X32", arm = "SCMP_ARCH_ARM",
  arm64 = "SCMP_ARCH_AARCH64", mips = "SCMP_ARCH_MIPS", mips64 = "SCMP_ARCH_MIPS64",
  mips64n32 = "SCMP_ARCH_MIPS64N32", mipsel = "SCMP_ARCH_MIPSEL", mipsel64 = "SCMP_ARCH_MIPSEL64",
  mipsel64n32 = "SCMP_ARCH_MIPSEL64N32", ppc = "SCMP_ARCH_PPC", ppc64 = "SCMP_ARCH_PPC64",
  ppc64le = "SCMP_ARCH_PPC64LE", riscv64 = "SCMP_ARCH_RISCV64", s390 = "SCMP_ARCH_S390",
  s390x = "SCMP_ARCH_S390X", loong64 = "SCMP_ARCH_LOONGARCH64",
}
local NAMESPACES = {
  NEWNS = "mount", NEWPID = "pid", NEWNET = "network", NEWIPC = "ipc", NEWUTS = "uts", NEWUSER = "user",
  NEWCGROUP = "cgroup", NEWTIME = "time",
}
local CAPABILITY_SETS = {
  bounding = "Bounding", effective = "Effective", inheritable = "Inheritable", permitted = "Permitted",
  ambient = "Ambient",
}
local RLIMITS = kernel.inverse(kernel.rlimits)
local PERSONALITIES = kernel.inverse(kernel.personalities)
local MEMORY_MODES, MEMORY_FLAGS = kernel.inverse(kernel.memory_modes), kernel.inverse(kernel.memory_flags)

local function translated(value, kind, names, where, index, field)
  local given = required(value, kind, where, index, field)
  return names[given] or refuse(("%s: unknown value %s"):format(check.path(where, index, field), given))
end

local function seccomp_arguments(list, where)
  if #list == 0 then return nil end
  return check.array(list, where, function(item, _, index)
    local arg = required(item, "an object", where, index)
    return {
      index = required(arg.index, "an integer", where, index, ".index"),
      value = optional(arg.value, "a number", where, index, ".value"),
      valueTwo = optional(arg.value_two, "a number", where, index, ".value_two"),
      op = translated(arg.op, "an integer", OPERATORS, where, index, ".op"),
    }
  end)
end

local function seccomp_rule(item, where, index)
  local call = required(item, "an object", where, index)
  local args = optional(call.args, "an array", where, index, ".args")
  return {
    names = { required(call.name, "a string", where, index, ".name") },
    action = translated(call.action, "an integer", ACTIONS, where, index, ".action"),
    errnoRet = optional(call.errnoRet, "an integer", where, index, ".errnoRet"),
    args = args and seccomp_arguments(args, check.path(where, index, ".args")),
  }
end

local function without(args)
  return args == nil or args == null or type(args) == "table" and next(args) == nil
end

-- libcontainer has an entry a system call. Neighbours that say the same become one entry, as OCI allows and as the
-- profile had it: a few dozen instead of hundreds, of which only the first is checked and translated in full.
local function seccomp_rules(list, where)
  local rules, rule, model = {}, nil, nil
  for index, call in ipairs(optional(list, "an array", where) or {}) do
    if model and type(call) == "table" and call.action == model.action and call.errnoRet == model.errnoRet
      and type(call.name) == "string" and without(call.args) then
      rule.names[#rule.names + 1] = call.name
    else
      rule = seccomp_rule(call, where, index)
      rules[#rules + 1] = rule
      model = not rule.args and call or nil
    end
  end
  return rules
end

local function seccomp(value, where)
  local profile = optional(value, "an object", where)
  if not profile then return nil end
  return {
    defaultAction = translated(profile.default_action, "an integer", ACTIONS, where .. ".default_action"),
    defaultErrnoRet = optional(profile.default_errno_ret, "an integer", where .. ".default_errno_ret"),
    architectures = check.array(profile.architectures, where .. ".architectures", function(item, path, index)
      return translated(item, "a string", ARCHITECTURES, path, index)
    end),
    flags = check.strings(profile.flags, where .. ".flags"),
    listenerPath = optional(profile.listener_path, "a string", where .. ".listener_path"),
    listenerMetadata = optional(profile.listener_metadata, "a string", where .. ".listener_metadata"),
    syscalls = seccomp_rules(profile.syscalls, where .. ".syscalls"),
  }
end

local function mappings(value, where)
  return check.array(value, where, function(item, _, index)
    local mapping = required(item, "an object", where, index)
    return {
      containerID = required(mapping.container_id, "an integer", where, index, ".container_id"),
      hostID = required(mapping.host_id, "an integer", where, index, ".host_id"),
      size = required(mapping.size, "an integer", where, index, ".size"),
    }
  end)
end

local function rlimits(value, where)
  return check.array(value, where, function(item, _, index)
    local limit = required(item, "an object", where, index)
    return {
      type = translated(limit.type, "an integer", RLIMITS, where, index, ".type"),
      soft = required(limit.soft, "a number", where, index, ".soft"),
      hard = required(limit.hard, "a number", where, index, ".hard"),
    }
  end)
end

local function namespaces(value, where)
  return check.array(value, where, function(item, _, index)
    local namespace = required(item, "an object", where, index)
    local path = optional(namespace.path, "a string", where, index, ".path")
    return {
      type = translated(namespace.type, "a string", NAMESPACES, where, index, ".type"),
      path = path ~= "" and path or nil,
    }
  end)
end

local function capabilities(value, where)
  local sets = optional(value, "an object", where)
  if not sets then return nil end
  local result = {}
  for name, field in pairs(CAPABILITY_SETS) do result[name] = check.strings(sets[field], where .. "." .. field) end
  return result
end

-- A set of CPUs or memory nodes is an array of 64-bit words. They are taken from the text, as the decoder gives
-- floats, which are not exact when bits beyond 2^53 are set. Returns OCI's list, as "0-3,8".
local function bit_list(text, field)
  local bits, first = {}, nil
  local words = text:match('"' .. field .. '"%s*:%s*%[([%d,%s]*)%]') or ""
  local number = 0
  local function finish(last)
    if first then bits[#bits + 1] = first == last and ("%d"):format(first) or ("%d-%d"):format(first, last) end
    first = nil
  end
  for digits in words:gmatch "%d+" do
    local word = 0
    for digit in digits:gmatch "%d" do word = word * 10 + digit // 1 end
    for bit = 0, 63 do
      if word >> bit & 1 == 0 then finish(number - 1) else first = first or number end
      number = number + 1
    end
  end
  finish(number - 1)
  return #bits > 0 and table.concat(bits, ",") or nil
end

-- The text of an object that has no strings in it.
local function object_text(text, field)
  return text:match('"' .. field .. '"%s*:%s*(%b{})') or ""
end

local function affinity(value, where, text)
  if not optional(value, "an object", where) then return nil end
  text = object_text(text, "exec_cpu_affinity")
  return { initial = bit_list(text, "[Ii]nitial"), final = bit_list(text, "[Ff]inal") }
end

-- runc reads its own names without regard to case, and of this object has written both spellings.
local function memory_policy(value, where, text)
  local policy = optional(value, "an object", where)
  if not policy then return nil end
  local given, flags = policy.flags or policy.Flags, {}
  if type(given) == "table" then
    flags = check.array(given, where .. ".flags", function(item, path, index)
      return translated(item, "an integer", MEMORY_FLAGS, path, index)
    end)
  else
    local bits = optional(given, "an integer", where .. ".flags") or 0
    for bit, name in pairs(MEMORY_FLAGS) do
      if bits & bit ~= 0 then flags[#flags + 1] = name end
    end
    table.sort(flags)
  end
  local mode = policy.mode or policy.Mode or 0
  return {
    mode = translated(mode, "an integer", MEMORY_MODES, where .. ".mode"),
    nodes = bit_list(object_text(text, "memory_policy"), "[Nn]odes"),
    flags = flags,
  }
end

local function personality(value, where)
  local object = optional(value, "an object", where)
  if not object then return nil end
  return { domain = translated(object.domain or 0, "an integer", PERSONALITIES, where .. ".domain"), flags = {} }
end

-- These two have OCI's spelling already.
local function scheduler(value, where)
  local object = optional(value, "an object", where)
  if not object then return nil end
  local result = {
    policy = required(object.policy, "a string", where .. ".policy"),
    flags = check.strings(object.flags, where .. ".flags"),
  }
  for _, name in ipairs { "nice", "priority", "runtime", "deadline", "period" } do
    result[name] = optional(object[name], "an integer", where .. "." .. name)
  end
  return result
end

local function io_priority(value, where)
  local object = optional(value, "an object", where)
  return object and {
    class = required(object.class, "a string", where .. ".class"),
    priority = optional(object.priority, "an integer", where .. ".priority"),
  }
end

local function not_empty(value, where)
  local text = optional(value, "a string", where)
  return text ~= "" and text or nil
end

local function settings(config, state, source)
  local where = source.path .. ": config."
  return {
    seccomp = seccomp(config.seccomp, where .. "seccomp"),
    no_new_keyring = optional(config.no_new_keyring, "a boolean", where .. "no_new_keyring") or false,
    umask = optional(config.umask, "an integer", where .. "umask"),
    personality = personality(config.personality, where .. "personality"),
    memory_policy = memory_policy(config.memory_policy, where .. "memory_policy", source.text),
    oom_score_adj = optional(config.oom_score_adj, "an integer", where .. "oom_score_adj"),
    rlimits = rlimits(config.rlimits, where .. "rlimits"),
    apparmor_profile = not_empty(config.apparmor_profile, where .. "apparmor_profile"),
    process_label = not_empty(config.process_label, where .. "process_label"),
    no_new_privileges = optional(config.no_new_privileges, "a boolean", where .. "no_new_privileges") or false,
    capabilities = capabilities(config.capabilities, where .. "capabilities"),
    scheduler = scheduler(config.scheduler, where .. "scheduler"),
    io_priority = io_priority(config.io_priority, where .. "io_priority"),
    exec_cpu_affinity = affinity(config.exec_cpu_affinity, where .. "exec_cpu_affinity", source.text),
    intel_rdt_path = not_empty(state.intel_rdt_path, source.path .. ": intel_rdt_path"),
    uid_mappings = mappings(config.uid_mappings, where .. "uid_mappings"),
    gid_mappings = mappings(config.gid_mappings, where .. "gid_mappings"),
    rootless_euid = optional(config.rootless_euid, "a boolean", where .. "rootless_euid") or false,
    rootless_cgroups = optional(config.rootless_cgroups, "a boolean", where .. "rootless_cgroups") or false,
    namespaces = namespaces(config.namespaces, where .. "namespaces"),
  }
end

-- The annotations of the bundle, and the bundle's own path: of two labels "bundle" runc's own is the last.
local function labels(value, where)
  local all = {}
  for _, label in ipairs(check.strings(value, where) or {}) do
    local name, text = label:match "^([^=]*)=(.*)$"
    if name then all[name] = text end
  end
  local bundle = all.bundle
  all.bundle = nil
  return all, bundle
end

local function cgroup_paths(value, where)
  local paths = {}
  for controller, path in pairs(optional(value, "an object", where) or {}) do
    local name = ("%s[%q]"):format(where, controller)
    -- Without the right to any cgroup, runc leaves the path empty.
    if path ~= "" then paths[controller] = check.absolute(path, name) end
  end
  return paths
end

--- Reads a state file.
-- @tparam table source `text` of state.json, `tree` (the same, decoded raw) and `path` (for messages)
-- @treturn table the fields of a record that come from the file; refuses what is malformed
function runc.read(source)
  local state, path = source.tree, source.path
  local config = required(state.config, "an object", path .. ": config")
  local cgroups = optional(config.cgroups, "an object", path .. ": config.cgroups") or {}
  local annotations, bundle = labels(config.labels, path .. ": config.labels")
  local record = {
    runtime = "runc",
    pid = required(state.init_process_pid, "an integer", path .. ": init_process_pid"),
    start_time = required(state.init_process_start, "an integer", path .. ": init_process_start"),
    created = optional(state.created, "a string", path .. ": created"),
    bundle = bundle and check.absolute(bundle, path .. ": config.labels: bundle"),
    labels = annotations,
    annotations = annotations,
    cgroup_paths = cgroup_paths(state.cgroup_paths, path .. ": cgroup_paths"),
    systemd = optional(cgroups.systemd, "a boolean", path .. ": config.cgroups.systemd")
      or optional(cgroups.Systemd, "a boolean", path .. ": config.cgroups.Systemd") or false,
    settings = settings(config, state, source),
  }
  record.rootless = optional(state.rootless, "a boolean", path .. ": rootless") or record.settings.rootless_euid
  return record
end

return runc
