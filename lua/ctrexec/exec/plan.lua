--- Makes the plan that core/common/plan.h describes, from a process object and a container.
--
-- Here the names of the OCI runtime specification become the kernel's numbers, and paths become descriptors. No process
-- is started; a cgroup for the command's own tree may be made (`ctrexec.exec.cgroups`).
-- @module ctrexec.exec.plan
local cgroups = require "ctrexec.exec.cgroups"
local core = require "ctrexec.core"
local entrance = require "ctrexec.container.entrance"
local kernel = require "ctrexec.lib.kernel"
local late = require "ctrexec.lib.late"
local unwind = require "ctrexec.lib.unwind"
local wording = late "ctrexec.lib.wording" -- only a refusal needs it

local fail = unwind.fail

local plan = {}

local ALL_CPUS = {}
for word = 1, 16 do ALL_CPUS[word] = -1 end -- 1024 CPUs; the kernel takes those that the cpuset allows

-- The largest number of a CPU or memory node: above any that a kernel is built for.
local MAX_NUMBER = 999999

-- A set of numbers from cpuset(7) list format, as 64-bit words; nil for an empty list. The list may be malformed: the
-- container's settings are not checked by `process.validate`.
local function words_of_list(list, what)
  local words
  for part in list:gmatch "[^,]+" do
    local low, high = part:match "^%s*(%d+)%s*-%s*(%d+)%s*$"
    low = low or part:match "^%s*(%d+)%s*$"
    low, high = math.tointeger(tonumber(low)), math.tointeger(tonumber(high or low))
    if not (low and high and low <= high and high <= MAX_NUMBER) then
      fail(("%s: %s is not a list of numbers"):format(what, wording.quote(list)), "invalid")
    end
    for bit = low, high do
      words = words or {}
      local index = bit // 64 + 1
      for filler = #words + 1, index do words[filler] = 0 end
      words[index] = words[index] | 1 << bit % 64
    end
  end
  return words
end

local function add_capabilities(target, sets)
  for _, name in ipairs(kernel.capability_sets) do
    target[name] = sets and sets[name] and #sets[name] > 0 and (core.capability.mask(sets[name])) or 0
  end
  -- The kernel keeps an ambient capability only while it is permitted and inheritable. The others are left out here;
  -- runc warns of them and goes on.
  target.ambient = target.ambient & target.permitted & target.inheritable
end

-- -1 is the kernel's RLIM_INFINITY in 64 bits.
local function limit(value)
  return value == kernel.RLIM_INFINITY and -1 or value
end

local function add_rlimits(target, rlimits)
  if not rlimits then return end
  local list = {}
  for index, one in ipairs(rlimits) do
    list[index] = { resource = kernel.rlimits[one.type], soft = limit(one.soft), hard = limit(one.hard) }
  end
  target.rlimits = list
end

local function flags_of(names, known)
  local flags = 0
  for _, name in ipairs(names or {}) do flags = flags | known[name] end
  return flags
end

local function add_scheduler(target, scheduler)
  if not scheduler then return end
  target.scheduler = {
    policy = kernel.scheduler_policies[scheduler.policy], nice = scheduler.nice, priority = scheduler.priority,
    flags = flags_of(scheduler.flags, kernel.scheduler_flags),
    runtime = scheduler.runtime, deadline = scheduler.deadline, period = scheduler.period,
  }
end

local function add_memory_policy(target, policy)
  if not policy then return end
  local mode = kernel.memory_modes[policy.mode]
  if not mode then fail("memory policy: unknown mode " .. tostring(policy.mode), "invalid") end
  for _, name in ipairs(policy.flags or {}) do
    if not kernel.memory_flags[name] then fail("memory policy: unknown flag " .. tostring(name), "invalid") end
  end
  target.memory_policy = mode | flags_of(policy.flags, kernel.memory_flags)
  target.memory_nodes = policy.nodes and words_of_list(policy.nodes, "memory policy")
end

local function add_personality(target, personality)
  if not personality then return end
  local domain = kernel.personalities[personality.domain]
  if not domain then fail("personality: unknown domain " .. tostring(personality.domain), "invalid") end
  target.personality = domain
end

-- Adds the environment. Where HOME is unset or empty, the helper sets it from the container's passwd file; an empty one
-- keeps its position.
local function add_environment(target, env)
  local home = false
  for _, variable in ipairs(env) do
    if variable:sub(1, 5) == "PATH=" then target.path = variable:sub(6) end
    home = home or variable:sub(1, 5) == "HOME=" and #variable > 5
  end
  target.env, target.set_home = env, not home
end

-- Each group once: the kernel would show a repeated group as often as it is given.
local function distinct(gids)
  local list, seen = {}, {}
  for _, gid in ipairs(gids) do
    if not seen[gid] then list[#list + 1] = gid end
    seen[gid] = true
  end
  return list
end

-- Refuses an id that the container's user namespace does not map. The kernel refuses it, too, but checks the ids in
-- another order than runc. The state of a container that joined its user namespace by a path may have no mappings: then
-- the check is left to the kernel.
local function demand_mapped(kind, id, mappings)
  for _, mapping in ipairs(mappings or {}) do
    if id >= mapping.containerID and id - mapping.containerID < mapping.size then return end
  end
  if #(mappings or {}) > 0 then
    fail(("unable to start container process: unable to setup user: cannot set %s to unmapped user in user namespace")
      :format(kind), "invalid")
  end
end

local function add_user(target, user, settings)
  demand_mapped("uid", user.uid, settings.uid_mappings)
  demand_mapped("gid", user.gid, settings.gid_mappings)
  target.uid, target.gid, target.groups = user.uid, user.gid, distinct(user.additionalGids)
  target.umask = user.umask
  if settings.rootless_euid then
    if #user.additionalGids > 0 then
      fail("unable to start container process: unable to setup user: "
        .. "cannot set any additional groups in a rootless container", "invalid")
    end
    target.skip_groups = true
  end
end

-- Which file below /proc/self/attr takes an AppArmor profile depends on whether LSMs are stacked: proc(5).
local function apparmor_attribute()
  local probe = io.open "/proc/self/attr/apparmor/exec"
  if probe then probe:close() end
  return probe and "apparmor/exec" or "exec"
end

local function add_labels(target, process)
  local profile, label = process.apparmorProfile or "", process.selinuxLabel or ""
  if profile ~= "" then
    target.exec_attribute, target.exec_label = apparmor_attribute(), "exec " .. profile
  end
  if label ~= "" then
    target.exec_attribute, target.exec_label, target.key_label = "exec", label, label
  end
end

local function compiled(container)
  local program, message = container:filter()
  return program or fail("unable to start container process: unable to init seccomp: " .. message, "invalid")
end

-- The program in crun's seccomp.bpf: an array of struct sock_filter, BPF_MAXINSNS at most.
local function loaded(bytes)
  if #bytes == 0 or #bytes % 8 ~= 0 or #bytes > 4096 * 8 then
    fail("unable to start container process: unable to init seccomp: seccomp.bpf holds no BPF program", "invalid")
  end
  return { program = bytes, flags = 0 }
end

-- crun's seccomp.bpf has the program alone. A profile with flags or a listener is compiled anew, so that only the
-- compiler turns the names of flags into bits.
local function add_seccomp(target, container)
  local settings = container.settings
  local profile, program = settings.seccomp, nil
  if settings.seccomp_bpf and #(profile.flags or {}) == 0 and not profile.listenerPath then
    program = loaded(settings.seccomp_bpf)
  elseif profile then
    program = compiled(container)
  end
  if not program then return end
  target.seccomp, target.seccomp_flags = program.program, program.flags
  target.seccomp_notify = program.notify
end

-- The descriptors from 3 on that the command keeps. Those of ctrexec itself are close-on-exec, and are not among them.
local function add_preserved(target, count)
  count = count or 0
  for index = 0, count - 1 do
    local number = 3 + index
    if not core.fd.is_open(number) or core.fd.cloexec(number) then
      fail(("unable to stat preserved-fd %d (of %d): stat /proc/self/fd/%d: no such file or directory")
        :format(index, count, number), "invalid")
    end
  end
  target.preserve_fds = math.max(count, 0)
end

local function add_namespaces(target, container)
  local way, message, code = entrance.of(container)
  if not way then fail(message, code) end
  for name, value in pairs(way) do target[name] = value end
end

local function build(target, container, process, options)
  local settings = container.settings
  target.args, target.cwd, target.terminal = process.args, process.cwd, process.terminal
  target.no_new_privs, target.oom_score_adj = process.noNewPrivileges, process.oomScoreAdj
  target.login_uid, target.chown_stdio, target.wait = options.login_uid, true, options.wait
  target.stdin, target.stdout, target.stderr = options.stdin, options.stdout, options.stderr
  target.mounts = options.mounts
  if process.consoleSize then
    target.rows, target.columns = process.consoleSize.height, process.consoleSize.width
  end
  if not settings.no_new_keyring then target.keyring = "_ses." .. container.id end
  local affinity = process.execCPUAffinity or {}
  target.initial_affinity = affinity.initial and words_of_list(affinity.initial, "process.execCPUAffinity.initial")
  target.final_affinity = affinity.final and words_of_list(affinity.final, "process.execCPUAffinity.final") or ALL_CPUS
  if process.ioPriority then
    target.io_priority = kernel.io_classes[process.ioPriority.class] << 13 | (process.ioPriority.priority or 0)
  end
  add_environment(target, process.env)
  add_user(target, process.user, settings)
  add_capabilities(target, process.capabilities)
  add_rlimits(target, process.rlimits)
  add_scheduler(target, process.scheduler)
  add_memory_policy(target, settings.memory_policy)
  add_personality(target, settings.personality)
  add_labels(target, process)
  add_seccomp(target, container)
  add_preserved(target, options.preserve_fds)
  add_namespaces(target, container)
  cgroups.join(target, container, options)
  return target
end

--- Closes the descriptors that a plan opened; the container and the command's tree keep their own.
-- @tparam table target a plan
function plan.close(target)
  cgroups.close(target)
  if target.root then target.root:close() end
end

--- Closes all that a plan opened and removes its tree. To be called when no process was started.
-- @tparam table target a plan
function plan.discard(target)
  plan.close(target)
  if target.tree then target.tree:close() end
end

--- Builds the plan of an exec.
-- @tparam table container the container (`ctrexec.container`), running
-- @tparam table process a checked process object (`ctrexec.oci.process`)
-- @tparam table options `stdin`, `stdout`, `stderr`: descriptors; `preserve_fds`: count; `cgroup`: array of --cgroup
-- values; `cgroup_paths`: instead of the container's; `tree`: the command gets a cgroup of its own
-- (`ctrexec.exec.tree`, in the plan's field `tree`); `wait`: the helper waits before it starts the command;
-- `login_uid`; `mounts`; `warnings`: an array to add to
-- @treturn[1] table the plan, for `ctrexec.core.spawn.start`
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string code: "invalid", "stopped", "system"
-- @treturn[2] ?boolean true when a cgroup could not be joined, so that other `cgroup_paths` are worth a try
function plan.build(container, process, options)
  local target = {}
  local built, message, code, cgroup = unwind.guarded(build, target, container, process, options)
  if not built then plan.discard(target) end
  return built, message, code, cgroup
end

return plan
