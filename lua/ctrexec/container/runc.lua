--- Reads the state of runc 1.1 to 1.5: ROOT/ID/state.json, in the format of libcontainer.
--
-- libcontainer spells some values otherwise than OCI (numbers for seccomp actions and limits, names of namespaces).
-- They are translated.
-- @module ctrexec.container.runc
local kernel = require "ctrexec.lib.kernel"
local schema = require "ctrexec.lib.schema"

local runc = {}

local string, boolean, integer, array, object, translated = schema.string, schema.boolean, schema.integer(),
  schema.array, schema.object, schema.translated
local strings = array(string)

-- ------------------------------------------------------------------------------------------------ seccomp

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

-- Makes a `finish` of `schema.object` that gives the fields their names in OCI's spelling.
local function renamed(names)
  return function(copy)
    local result = {}
    for name, other in pairs(names) do result[other] = copy[name] end
    return result
  end
end

local action = translated(integer, ACTIONS, "action")

local ARGUMENT = object({
  index = integer, value = schema.uint64, value_two = schema.uint64, op = translated(integer, OPERATORS, "operator"),
}, { required = { "index", "op" },
  finish = renamed { index = "index", value = "value", value_two = "valueTwo", op = "op" } })

local CALL = object({ name = string, action = action, errnoRet = integer, args = array(ARGUMENT) },
  { required = { "name", "action" } })

local function has_none(args)
  return type(args) == "table" and next(args) == nil or schema.absent(args)
end

-- libcontainer writes one entry for each system call. Neighbouring entries without arguments that differ only in the
-- name are joined, as OCI allows and as the profile had them: that leaves a few dozen instead of hundreds, and only the
-- first of those that are joined is checked and translated in full.
local function syscalls(value, place)
  if type(value) ~= "table" or type(next(value)) == "string" then schema.mismatch(place, "an array", value) end
  local rules, rule, model, depth = {}, nil, nil, place.depth + 1
  place.depth = depth
  for index = 1, #value do
    local call = value[index]
    if model and type(call) == "table" and call.action == model.action and call.errnoRet == model.errnoRet
      and type(call.name) == "string" and has_none(call.args) then
      rule.names[#rule.names + 1] = call.name
    else
      place[depth] = index
      local good = CALL(call, place)
      model = has_none(good.args) and call or nil
      rule = { names = { good.name }, action = good.action, errnoRet = good.errnoRet,
        args = not model and good.args or nil }
      rules[#rules + 1] = rule
    end
  end
  place.depth = depth - 1
  return rules
end

local function profile_of(copy)
  return {
    defaultAction = copy.default_action, defaultErrnoRet = copy.default_errno_ret, architectures = copy.architectures,
    flags = copy.flags, listenerPath = copy.listener_path, listenerMetadata = copy.listener_metadata,
    syscalls = copy.syscalls or {},
  }
end

local SECCOMP = object({
  default_action = action, default_errno_ret = integer,
  architectures = array(translated(string, ARCHITECTURES, "architecture")), flags = strings,
  listener_path = string, listener_metadata = string, syscalls = syscalls,
}, { required = { "default_action" }, finish = profile_of })

-- --------------------------------------------------------------------------------------- the other settings

local NAMESPACES = {
  NEWNS = "mount", NEWPID = "pid", NEWNET = "network", NEWIPC = "ipc", NEWUTS = "uts", NEWUSER = "user",
  NEWCGROUP = "cgroup", NEWTIME = "time",
}

local function inverse(numbers, what)
  return translated(integer, kernel.inverse(numbers), what)
end

local MAPPINGS = array(object({ container_id = integer, host_id = integer, size = integer }, {
  required = { "container_id", "host_id", "size" },
  finish = renamed { container_id = "containerID", host_id = "hostID", size = "size" },
}))

-- runc writes a set of flags as a number, or as an array of numbers.
local MEMORY_FLAGS = kernel.inverse(kernel.memory_flags)
local memory_flag = translated(integer, MEMORY_FLAGS, "flag")
local memory_flag_array = array(memory_flag)

local function memory_flags(value, place)
  if type(value) == "table" then return memory_flag_array(value, place) end
  local bits, flags = integer(value, place), {}
  for bit, name in pairs(MEMORY_FLAGS) do
    if bits & bit ~= 0 then flags[#flags + 1] = name end
  end
  table.sort(flags)
  return flags
end

-- runc reads field names without regard to case, and has written this object in both spellings.
local memory_mode = inverse(kernel.memory_modes, "mode")
local MEMORY_POLICY = object({ mode = memory_mode, Mode = memory_mode, flags = memory_flags, Flags = memory_flags }, {
  finish = function(copy)
    return { mode = copy.mode or copy.Mode or "MPOL_DEFAULT", flags = copy.flags or copy.Flags or {} }
  end,
})

-- "" means that there is no path. As the path of a cgroup it means that runc had no right to the cgroup.
local function optional_path(value, place)
  return value ~= "" and schema.straight(value, place) or nil
end

local CONFIG = object {
  labels = strings, cgroups = object { systemd = boolean, Systemd = boolean },
  seccomp = SECCOMP,
  no_new_keyring = boolean, no_new_privileges = boolean, rootless_euid = boolean, rootless_cgroups = boolean,
  umask = integer, oom_score_adj = integer,
  personality = object({ domain = inverse(kernel.personalities, "domain") },
    { finish = function(copy) return { domain = copy.domain or "LINUX", flags = {} } end }),
  memory_policy = MEMORY_POLICY,
  rlimits = array(object({
    type = inverse(kernel.rlimits, "resource limit"), soft = schema.uint64, hard = schema.uint64,
  }, { required = { "type", "soft", "hard" } })),
  apparmor_profile = schema.filled, process_label = schema.filled,
  capabilities = object({
    Bounding = strings, Effective = strings, Inheritable = strings, Permitted = strings, Ambient = strings,
  }, { finish = renamed { Bounding = "bounding", Effective = "effective", Inheritable = "inheritable",
    Permitted = "permitted", Ambient = "ambient" } }),
  -- scheduler and io_priority have OCI's spelling already.
  scheduler = object({
    policy = string, flags = strings, nice = integer, priority = integer, runtime = integer, deadline = integer,
    period = integer,
  }, { required = { "policy" } }),
  io_priority = object({ class = string, priority = integer }, { required = { "class" } }),
  exec_cpu_affinity = object {},
  uid_mappings = MAPPINGS, gid_mappings = MAPPINGS,
  namespaces = array(object({ type = translated(string, NAMESPACES, "namespace"), path = schema.filled },
    { required = { "type" } })),
}

local STATE = object({
  init_process_pid = integer, init_process_start = integer, created = string, rootless = boolean,
  intel_rdt_path = schema.filled, cgroup_paths = schema.map(optional_path), config = CONFIG,
}, { required = { "init_process_pid", "init_process_start", "config" } })

-- ---------------------------------------------------------------------------------------------- sets of bits

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

local function add_bit_lists(settings, text)
  if settings.memory_policy then
    settings.memory_policy.nodes = bit_list(object_text(text, "memory_policy"), "[Nn]odes")
  end
  if settings.exec_cpu_affinity then
    text = object_text(text, "exec_cpu_affinity")
    settings.exec_cpu_affinity = { initial = bit_list(text, "[Ii]nitial"), final = bit_list(text, "[Ff]inal") }
  end
end

-- ------------------------------------------------------------------------------------------------- the whole

-- Returns the annotations of the bundle, and the bundle's path. runc adds the path as the last label "bundle", after an
-- annotation of that name.
local function annotations_of(labels)
  local all = {}
  for _, label in ipairs(labels) do
    local name, text = label:match "^([^=]*)=(.*)$"
    if name then all[name] = text end
  end
  local bundle = all.bundle
  all.bundle = nil
  return all, bundle
end

-- runc's configuration has most settings of a container under the right names already.
local function settings_of(state, text)
  local settings = state.config
  settings.labels, settings.cgroups = nil, nil
  for _, name in ipairs { "no_new_keyring", "no_new_privileges", "rootless_euid", "rootless_cgroups" } do
    settings[name] = settings[name] or false
  end
  settings.intel_rdt_path = state.intel_rdt_path
  add_bit_lists(settings, text)
  return settings
end

--- Reads a state file, within `ctrexec.lib.unwind.guarded`.
-- @tparam table source `text` of state.json, `tree` (the same, decoded raw) and `path` (for messages)
-- @treturn table the fields of a container that come from the file; a malformed one unwinds with the code "bad_state"
function runc.read(source)
  local rules = { code = "bad_state" }
  local state = schema.apply(STATE, source.tree, source.path .. ": ", rules)
  local annotations, bundle = annotations_of(state.config.labels or {})
  local cgroups = state.config.cgroups or {}
  local settings = settings_of(state, source.text)
  return {
    runtime = "runc",
    pid = state.init_process_pid,
    start_time = state.init_process_start,
    created = state.created,
    bundle = bundle and schema.apply(schema.straight, bundle, source.path .. ": config.labels: bundle", rules),
    labels = annotations,
    annotations = annotations,
    cgroup_paths = state.cgroup_paths or {},
    systemd = cgroups.systemd or cgroups.Systemd or false,
    rootless = state.rootless or settings.rootless_euid,
    settings = settings,
  }
end

return runc
