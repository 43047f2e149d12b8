local core = require "ctrexec.core"
local kernel = require "ctrexec.lib.kernel"
local plan = require "ctrexec.exec.plan"
local process = require "ctrexec.oci.process"
local seccomp = require "ctrexec.core.seccomp"
local support = require "spec.core.support"
local tool = require "tests.lib.tool"

-- A container whose process is this one. `settings` and `fields` replace those of the container.
local function record(settings, fields)
  local own = core.process.ids().pid
  local result = { id = "web", runtime = "runc", pid = own, pidfd = assert(core.pidfd.open(own)), cgroup_paths = {},
    settings = settings or {}, filter = function(self) return seccomp.compile(self.settings.seccomp) end }
  for name, value in pairs(fields or {}) do result[name] = value end
  return result
end

local function object(fields)
  local raw = { args = { "true" }, cwd = "/" }
  for name, value in pairs(fields or {}) do raw[name] = value end
  return select(2, assert(process.validate(raw)))
end

local function built(fields, settings, options)
  local target = assert(plan.build(record(settings), object(fields), options or {}))
  plan.close(target)
  return target
end

local function refused(message, code, fields, settings, options)
  local target, text, got = plan.build(record(settings), object(fields), options or {})
  assert.is_nil(target)
  assert.equal(message, text)
  assert.equal(code, got)
end

describe("plan.build", function()
  it("takes over what has the same form", function()
    local target = built({ args = { "id", "-u" }, cwd = "/work", noNewPrivileges = true, oomScoreAdj = -5,
      terminal = true, consoleSize = { height = 3, width = 4 }, user = { uid = 1, gid = 2, umask = 18 } })
    assert.same({ "id", "-u" }, target.args)
    assert.equal("/work", target.cwd)
    assert.is_true(target.no_new_privs)
    assert.equal(-5, target.oom_score_adj)
    assert.is_true(target.terminal)
    assert.same({ 3, 4 }, { target.rows, target.columns })
    assert.same({ 1, 2, 18 }, { target.uid, target.gid, target.umask })
    assert.equal(0, target.namespaces)
  end)

  it("looks for the command on the PATH of the command's environment", function()
    assert.equal("/b:/c", built({ env = { "A=1", "PATH=/b:/c" } }).path)
    assert.is_nil(built({ env = { "XPATH=/b" } }).path)
  end)

  it("sets HOME where it is unset or empty", function()
    assert.is_true(built({ env = { "A=1" } }).set_home)
    assert.is_true(built({ env = { "HOME=" } }).set_home)
    assert.is_false(built({ env = { "HOME=/" } }).set_home)
  end)

  it("has each supplementary group once", function()
    assert.same({ 9, 4 }, built({ user = { additionalGids = { 9, 4, 9 } } }).groups)
  end)

  it("leaves the groups of a rootless container alone", function()
    assert.is_true(built(nil, { rootless_euid = true }).skip_groups)
    refused("unable to start container process: unable to setup user: "
      .. "cannot set any additional groups in a rootless container", "invalid",
      { user = { additionalGids = { 5 } } }, { rootless_euid = true })
  end)

  it("makes capability sets masks, and keeps of the ambient ones what the kernel would", function()
    local all = { "CAP_CHOWN", "CAP_KILL" }
    local sets = built({ capabilities = { bounding = all, permitted = all, inheritable = { "CAP_KILL" },
      ambient = all } })
    assert.equal(0x21, sets.bounding)
    assert.equal(0x21, sets.permitted)
    assert.equal(0x20, sets.inheritable)
    assert.equal(0x20, sets.ambient)
    assert.equal(0, sets.effective)
    assert.equal(0, built().bounding)
  end)

  it("makes limits numbers", function()
    local infinity = kernel.RLIM_INFINITY
    assert.same({ { resource = 4, soft = 0, hard = 1 }, { resource = 7, soft = -1, hard = -1 } }, built({ rlimits = {
      { type = "RLIMIT_CORE", soft = 0, hard = 1 }, { type = "RLIMIT_NOFILE", soft = infinity, hard = infinity },
    } }).rlimits)
  end)

  it("makes scheduling numbers", function()
    local target = built({ scheduler = { policy = "SCHED_RR", priority = 7, flags = { "SCHED_FLAG_RESET_ON_FORK",
      "SCHED_FLAG_KEEP_POLICY" } }, ioPriority = { class = "IOPRIO_CLASS_BE", priority = 6 } })
    assert.equal(2, target.scheduler.policy)
    assert.equal(7, target.scheduler.priority)
    assert.equal(9, target.scheduler.flags)
    assert.equal(2 << 13 | 6, target.io_priority)
    assert.equal(3 << 13, built({ ioPriority = { class = "IOPRIO_CLASS_IDLE" } }).io_priority)
  end)

  it("makes CPU lists words, and without a final one allows all", function()
    local target = built({ execCPUAffinity = { initial = "0,2-3", final = "64" } })
    assert.same({ 13 }, target.initial_affinity)
    assert.same({ 0, 1 }, target.final_affinity)
    local none = built()
    assert.is_nil(none.initial_affinity)
    assert.equal(-1, none.final_affinity[1])
    assert.equal(1024, #none.final_affinity * 64)
  end)

  it("takes the container's personality and memory policy", function()
    local target = built(nil, { personality = { domain = "LINUX32" },
      memory_policy = { mode = "MPOL_BIND", nodes = "0-1", flags = { "MPOL_F_STATIC_NODES" } } })
    assert.equal(8, target.personality)
    assert.equal(2 | 1 << 15, target.memory_policy)
    assert.same({ 3 }, target.memory_nodes)
    refused("personality: unknown domain X", "invalid", nil, { personality = { domain = "X" } })
    refused("memory policy: unknown mode X", "invalid", nil, { memory_policy = { mode = "X" } })
    refused("memory policy: unknown flag X", "invalid", nil,
      { memory_policy = { mode = "MPOL_BIND", flags = { "X" } } })
  end)

  -- crun's copy of the configuration says this, and nobody has looked at it before.
  it("refuses memory nodes that are no list of numbers", function()
    for _, nodes in ipairs { "x", "0-", "-1", "3-1", "0-4294967295", "1,0-99999999999999999999", "1000000" } do
      refused(("memory policy: %q is not a list of numbers"):format(nodes), "invalid", nil,
        { memory_policy = { mode = "MPOL_BIND", nodes = nodes } })
    end
    assert.is_nil(built(nil, { memory_policy = { mode = "MPOL_BIND", nodes = "" } }).memory_nodes)
  end)

  it("names the session keyring as runc does, unless the container has none", function()
    assert.equal("_ses.web", built().keyring)
    assert.is_nil(built(nil, { no_new_keyring = true }).keyring)
  end)

  it("writes an AppArmor profile where the kernel takes it", function()
    local target = built({ apparmorProfile = "web" })
    assert.equal("exec web", target.exec_label)
    assert.matches("^a?p?p?a?r?m?o?r?/?exec$", target.exec_attribute)
    assert.is_nil(built({ apparmorProfile = "" }).exec_label)
  end)

  it("compiles the container's seccomp profile, or takes what crun compiled", function()
    local profile = { defaultAction = "SCMP_ACT_ALLOW", syscalls = {
      { names = { "reboot" }, action = "SCMP_ACT_ERRNO" } } }
    local target = built(nil, { seccomp = profile })
    assert.is_true(#target.seccomp > 0 and #target.seccomp % 8 == 0)
    assert.equal("12345678", built(nil, { seccomp = profile, seccomp_bpf = "12345678" }).seccomp)
    profile.flags = { "SECCOMP_FILTER_FLAG_LOG" }
    target = built(nil, { seccomp = profile, seccomp_bpf = "12345678" })
    assert.not_equal("12345678", target.seccomp)
    assert.equal(2, target.seccomp_flags)
    local _, message, code = plan.build(record { seccomp = { defaultAction = "X" } }, object(), {})
    assert.matches("^unable to start container process: unable to init seccomp: ", message)
    assert.equal("invalid", code)
  end)

  it("refuses what crun compiled where it is cut short", function()
    for _, bytes in ipairs { "", "1234567", ("12345678"):rep(4097) } do
      refused("unable to start container process: unable to init seccomp: seccomp.bpf holds no BPF program", "invalid",
        nil, { seccomp = { defaultAction = "SCMP_ACT_ALLOW" }, seccomp_bpf = bytes })
    end
  end)

  it("keeps the caller's descriptors, and not its own", function()
    local free = 3
    while core.fd.is_open(free) and not core.fd.cloexec(free) do free = free + 1 end
    local message = ("unable to stat preserved-fd %d (of %d): stat /proc/self/fd/%d: no such file or directory")
    refused(message:format(free - 3, free - 2, free), "invalid", nil, nil, { preserve_fds = free - 2 })
    assert.equal(0, built(nil, nil, { preserve_fds = 0 }).preserve_fds)
    assert.equal(0, built(nil, nil, { preserve_fds = -1 }).preserve_fds)
  end)

  it("says that a container has stopped", function()
    local child = support.sleeper()
    local gone = record(nil, { pid = child.pid, pidfd = assert(core.pidfd.open(child.pid)) })
    support.finish(child)
    local target, message, code = plan.build(gone, object(), {})
    assert.is_nil(target)
    assert.equal("cannot exec in a stopped container", message)
    assert.equal("stopped", code)
  end)

  it("enters only the namespaces that differ", function()
    local unshare = os.execute "unshare --uts true 2>/dev/null" and "unshare --uts "
      or os.execute "unshare --user --uts true 2>/dev/null" and "unshare --user --uts "
    if not unshare then pending "no namespace can be made here" end
    local child = support.sleeper(unshare)
    local names = core.namespace.names
    local target = assert(plan.build(record(nil, { pid = child.pid, pidfd = child.pidfd }), object(), {}))
    assert.equal(names.uts | (unshare:find "user" and names.user or 0), target.namespaces)
    support.finish(child)
  end)
end)

-- Directories are enough to see which cgroups a plan opens: what is in them is the kernel's business.
describe("plan.build with --cgroup", function()
  local mounts = core.cgroup.mounts() or {}
  local unified = mounts[""]
  local process_cgroup

  for _, entry in ipairs(core.cgroup.of(core.process.ids().pid)) do
    if entry.hierarchy == 0 and unified then process_cgroup = entry.path == "/" and unified or unified .. entry.path end
  end

  local function with(values, paths, settings)
    local options = { cgroup = values, warnings = {} }
    local target, message, code, other = plan.build(record(settings, { cgroup_paths = paths }), object(), options)
    if target then plan.close(target) end
    return target, message, code, other, options.warnings
  end

  local function outside(path)
    local _, message, code = with({ path }, { [""] = "/sys/fs/cgroup/x" })
    assert.equal(("unable to create new parent process: bad sub cgroup path: %s is not a sub cgroup path")
      :format(path:match "[^:]*$"), message)
    assert.equal("invalid", code)
  end

  it("lets no path lead out", function()
    for _, path in ipairs { "..", "../x", "/..", "a/../..", "a/./../../b", "./..", "//..//x" } do outside(path) end
  end)

  it("refuses a controller that the container has not", function()
    local _, message, code = with({ "pids,bogus:/" }, { pids = "/sys/fs/cgroup/pids/x" })
    assert.equal("unable to create new parent process: unknown controller bogus in SubCgroupPaths", message)
    assert.equal("invalid", code)
  end)

  it("says which cgroup is missing, and that another may do", function()
    if not unified then pending "there is no cgroup of version 2 here" end
    local missing = unified .. "/ctrexec-no-such-cgroup"
    local target, message, code, other = with({ "a/../b" }, { [""] = missing })
    local own = core.process.ids().pid
    assert.is_nil(target)
    assert.equal(("unable to start container process: error adding pid %d to cgroups: failed to write %d: "
      .. "openat2 %s/b/cgroup.procs: no such file or directory"):format(own, own, missing), message)
    assert.equal("system", code)
    assert.is_true(other)
  end)

  it("goes on without, in a rootless container", function()
    if not unified then pending "there is no cgroup of version 2 here" end
    local target, _, _, _, warnings = with(nil, { [""] = unified .. "/ctrexec-no-such-cgroup" },
      { rootless_cgroups = true })
    assert.is_nil(target.cgroup)
    assert.equal(1, #warnings)
    assert.equal("debug", warnings[1].level)
    assert.matches("no such file or directory$", warnings[1].message)
  end)

  it("opens the one of version 2", function()
    if not process_cgroup then pending "there is no cgroup of version 2 here" end
    local target = assert(with({ "x/.." }, { [""] = process_cgroup }))
    assert.equal("ctrexec.fd", getmetatable(target.cgroup).__name)
    assert.equal(process_cgroup, target.cgroup_path)
    assert.same({}, target.tasks)
  end)
end)

describe("plan.build with intel_rdt_path", function()
  it("opens the group's tasks", function()
    local directory = tool.folder()
    tool.output(": >" .. tool.quote(directory .. "/tasks"))
    local target = assert(plan.build(record { intel_rdt_path = directory }, object(), {}))
    assert.equal(1, #target.tasks)
    assert.same({ directory }, target.task_paths)
    plan.close(target)
    tool.remove(directory)
    refused("unable to start container process: error adding pid to Intel RDT group: no such file or directory",
      "system", nil, { intel_rdt_path = directory })
  end)
end)
