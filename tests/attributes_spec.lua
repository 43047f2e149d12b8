--- The attributes of a command besides its user and its streams, on real containers: scheduling, i/o priority, CPUs,
-- personality, memory policy, scores, resource control, login uid, namespaces, seccomp flags; and containers of youki.

local cjson = require "cjson"
local containers = require "tests.lib.containers"
local lfs = require "lfs"
local suite = require "tests.lib.suite"
local tool = require "tests.lib.tool"
local variants = require "tests.lib.variants"
local write_youki = require "tests.lib.youki"

local view = tool.view()
local reference = tool.runtime()
local reason = variants.missing(reference)

local test = suite(_ENV, reason)

-- Runs /report with a process object in which some fields are set.
local function exec(ct, fields, options)
  local directory = variants.directory "attributes"
  local process = { args = { "/report" }, cwd = "/", env = { "PATH=/bin" } }
  for name, value in pairs(fields or {}) do
    process[name] = value
  end
  tool.write(directory .. "/process.json", cjson.encode(process))
  options = options or {}
  return variants.exec(ct, ("%s --process process.json %s"):format(options.words or "", ct.id),
    { directory = directory, before = options.before, root = options.root })
end

-- Returns a line of the report, or the error message where there is no report.
local function fact(name, status, output, errors)
  return status == 0 and ("\n" .. output):match("\n" .. name:gsub("%p", "%%%0") .. ":%s*([^\n]*)") or errors
end

describe("exec gives", function ()
  lazy_teardown(variants.remove_all)

  local function plain()
    return variants.get("plain", reference)
  end

  -- A group of version 1 has no real time until it is given some.
  local function grant_real_time(ct)
    local group = "/sys/fs/cgroup/cpu/" .. containers.cgroup_name(ct)
    os.execute(("[ ! -e %s/cpu.rt_runtime_us ] || echo 10000 >%s/cpu.rt_runtime_us"):format(group, group))
  end

  for _, case in ipairs {
    { { policy = "SCHED_OTHER" }, "policy 0 flags 0 nice 0 priority 0" },
    { { policy = "SCHED_OTHER", nice = 19 }, "policy 0 flags 0 nice 19 priority 0" },
    { { policy = "SCHED_OTHER", nice = -20 }, "policy 0 flags 0 nice -20 priority 0" },
    { { policy = "SCHED_BATCH", nice = 3 }, "policy 3 flags 0 nice 3 priority 0" },
    { { policy = "SCHED_IDLE" }, "policy 5 flags 0 nice 0 priority 0" },
    { { policy = "SCHED_FIFO", priority = 10 }, "policy 1 flags 0 nice 0 priority 10" },
    { { policy = "SCHED_RR", priority = 99, flags = { "SCHED_FLAG_RESET_ON_FORK" } },
      "policy 2 flags 1 nice 0 priority 99" },
    { { policy = "SCHED_DEADLINE", runtime = 1000000, deadline = 10000000, period = 20000000 },
      "policy 6 flags 0 nice 0 priority 0 runtime 1000000 deadline 10000000 period 20000000" },
    { { policy = "SCHED_DEADLINE", runtime = 1000000, deadline = 10000000, period = 20000000,
      flags = { "SCHED_FLAG_RECLAIM", "SCHED_FLAG_DL_OVERRUN" } },
      "policy 6 flags 6 nice 0 priority 0 runtime 1000000 deadline 10000000 period 20000000" },
    { { policy = "SCHED_BATCH", flags = { "SCHED_FLAG_KEEP_POLICY" } }, "policy 0 flags 0 nice 0 priority 0" },
    { { policy = "SCHED_OTHER", nice = 5, flags = { "SCHED_FLAG_KEEP_PARAMS" } },
      "policy 0 flags 0 nice 0 priority 0" },
  } do
    local words = {}
    for name, value in pairs(case[1]) do
      words[#words + 1] = type(value) == "table" and table.concat(value, " ") or name .. " " .. value
    end
    table.sort(words)
    test("the scheduler " .. table.concat(words, ", "), function ()
      local ct = plain()
      grant_real_time(ct)
      local seen = fact("scheduler", exec(ct, { scheduler = case[1] }))
      if seen:find "scheduler: operation not permitted" and case[1].policy ~= "SCHED_OTHER" then
        pending "this machine gives nobody real time"
      end
      assert.equal(case[2], seen:sub(1, #case[2]))
    end)
  end

  test("utilization clamps, or the kernel's refusal", function ()
    local seen = fact("scheduler", exec(plain(), { scheduler = { policy = "SCHED_OTHER",
      flags = { "SCHED_FLAG_UTIL_CLAMP_MIN", "SCHED_FLAG_UTIL_CLAMP_MAX" } } }))
    assert.is_true(seen:find "^policy 0 flags %d+ nice 0" ~= nil
      or seen == "unable to start container process: scheduler: operation not supported")
  end)

  for class, value in pairs { IOPRIO_CLASS_RT = 1, IOPRIO_CLASS_BE = 2, IOPRIO_CLASS_IDLE = 3 } do
    test("the i/o priority " .. class, function ()
      assert.equal(tostring(value << 13 | 6),
        fact("ioprio", exec(plain(), { ioPriority = { class = class, priority = 6 } })))
    end)
  end

  test("the out-of-memory score", function ()
    assert.equal("1000", fact("oom_score_adj", exec(plain(), { oomScoreAdj = 1000 })))
    assert.equal("5", fact("oom_score_adj", exec(plain(), { oomScoreAdj = 5 })))
    local seen = fact("oom_score_adj", exec(plain(), { oomScoreAdj = -7 }))
    -- Without CAP_SYS_RESOURCE it cannot be lowered below what it was.
    assert.is_true(seen == "-7" or seen == "unable to start container process: oom score adj: permission denied")
  end)

  test("the login uid", function ()
    assert.equal("1234", fact("loginuid", exec(plain(), {}, { words = "--login-uid 1234" })))
  end, not lfs.attributes "/proc/self/loginuid" and "this kernel has no audit")

  -- The container may only run on the last processor. Before it is joined every one is allowed, and behind the join
  -- the kernel allows exactly those that are left.
  describe("CPUs", function ()
    local ct
    local count = tonumber(tool.line "nproc")
    local missing = view == "v2" and "the cpuset controller is in another hierarchy"
      or count < 2 and "there is one processor" or nil

    lazy_setup(function ()
      if not reason and not missing then
        variants.define("cpuset", { config = function (config)
          config.linux.resources = { cpu = { cpus = tostring(count - 1), mems = "0" } }
        end })
        ct = variants.get("cpuset", "runc")
      end
    end)

    local function cpus(affinity, before)
      return fact("status: Cpus_allowed", exec(ct, { execCPUAffinity = affinity }, { before = before }))
    end
    local last = ("%x"):format(1 << count - 1)

    test("of the container's cpuset, whatever the caller's are", function ()
      assert.equal(last, cpus())
      assert.equal(last, cpus(nil, "taskset -c 0"))
    end, missing)

    test("of the initial set until the cgroup is joined, of the final one afterwards", function ()
      assert.equal(last, cpus({ initial = "0", final = tostring(count - 1) }))
      assert.equal(last, cpus({ initial = "0" }))
      assert.equal(last, cpus({ initial = "0", final = ("0-%d"):format(count - 1) }))
    end, missing)

    test("or an error where the cpuset has none of the final set", function ()
      assert.equal("unable to start container process: affinity: invalid argument",
        cpus { initial = tostring(count - 1), final = "0" })
      assert.equal("unable to start container process: affinity: invalid argument", cpus { initial = "1000" })
    end, missing)
  end)
end)

-- A root of its own with the container's state, changed; removed with the other directories.
local function doctored(ct, change)
  local root = variants.directory "root"
  assert(os.execute(("cp -r %s/%s %s/"):format(ct.root, ct.id, root)))
  local path = ("%s/%s/%s"):format(root, ct.id, reference == "runc" and "state.json" or "status")
  local config_path = ("%s/%s/config.json"):format(root, ct.id)
  local state = cjson.decode(tool.read(path))
  local config = reference == "runc" and state.config or cjson.decode(tool.read(config_path))
  change(state, config)
  tool.write(path, cjson.encode(state))
  if reference == "crun" then
    tool.write(config_path, cjson.encode(config))
  end
  return { root = root }
end

describe("exec obeys a container's", function ()
  lazy_teardown(variants.remove_all)

  local function plain()
    return variants.get("plain", reference)
  end

  test("personality", function ()
    local options = doctored(plain(), function (_, config)
      if reference == "runc" then
        config.personality = { domain = 8 }
      else
        config.linux.personality = { domain = "LINUX32" }
      end
    end)
    assert.equal("00000008", fact("personality", exec(plain(), {}, options)))
  end)

  test("memory policy", function ()
    local options = doctored(plain(), function (_, config)
      if reference == "runc" then
        config.memory_policy = { mode = 2, nodes = { 1 }, flags = 1 << 15 }
      else
        config.linux.memoryPolicy = { mode = "MPOL_BIND", nodes = "0", flags = { "MPOL_F_STATIC_NODES" } }
      end
    end)
    local status, output, errors = exec(plain(), { args = { "cat", "/proc/self/numa_maps" } }, options)
    assert.same({ 0, "" }, { status, errors })
    assert.matches("^%x+ bind=static:0 ", output)
  end, not lfs.attributes "/proc/self/numa_maps" and "this kernel has no NUMA")

  test("memory policy that the kernel refuses, with an error", function ()
    local options = doctored(plain(), function (_, config)
      if reference == "runc" then
        config.memory_policy = { mode = 2, nodes = {} }
      else
        config.linux.memoryPolicy = { mode = "MPOL_BIND" }
      end
    end)
    assert.equal("unable to start container process: memory policy: invalid argument",
      fact("personality", exec(plain(), {}, options)))
  end, not lfs.attributes "/proc/self/numa_maps" and "this kernel has no NUMA")

  test("out-of-memory score, limits and user of the state", function ()
    local options = doctored(plain(), function (_, config)
      if reference == "runc" then
        config.oom_score_adj = 321
        config.rlimits = { { type = 4, soft = 0, hard = 4096 } }
      else
        config.process.user = { uid = 1000, gid = 1000 }
      end
    end)
    if reference == "runc" then
      assert.equal("321", fact("oom_score_adj", exec(plain(), {}, options)))
      assert.matches("\nlimit: Max core file size +0 +4096 +bytes", (select(2, exec(plain(), {}, options))))
    else
      assert.equal("1000\t1000\t1000\t1000", fact("status: Uid", exec(plain(), {}, options)))
    end
  end)

  -- A file stands for the one of the kernel's resctrl file system: a process moves itself with "0".
  test("Intel RDT group", function ()
    local group = variants.directory "resctrl"
    tool.write(group .. "/tasks", "")
    local options = doctored(plain(), function (state)
      state.intel_rdt_path = group
    end)
    assert.equal("0", fact("status: Seccomp", exec(plain(), {}, options)))
    assert.equal("0", tool.read(group .. "/tasks"))
    os.remove(group .. "/tasks")
    assert.equal("unable to start container process: error adding pid to Intel RDT group: no such file or directory",
      fact("status: Seccomp", exec(plain(), {}, options)))
  end, reference == "crun" and "crun records no group")

  test("session keyring of its own, or none", function ()
    assert.matches(";_ses%.ct$", fact("keyring", exec(plain(), {})))
    local options = doctored(plain(), function (_, config)
      config.no_new_keyring = true
    end)
    local session = tool.line("sh -c " .. tool.quote(tool.build .. "/tests/report | sed -n 's/^keyring: //p'"))
    assert.equal(session, fact("keyring", exec(plain(), {}, options)))
  end, reference == "crun" and "crun records no wish for it")

  test("recorded start time: another process with its pid is not it", function ()
    local options = doctored(plain(), function (state)
      local name = reference == "runc" and "init_process_start" or "process-start-time"
      state[name] = state[name] + 1
    end)
    assert.equal("cannot exec in a stopped container", fact("status: Uid", exec(plain(), {}, options)))
  end)

  test("pid: one that nobody has is stopped", function ()
    local options = doctored(plain(), function (state)
      state[reference == "runc" and "init_process_pid" or "pid"] = 4194304
    end)
    assert.equal("cannot exec in a stopped container", fact("status: Uid", exec(plain(), {}, options)))
  end)
end)

describe("exec joins", function ()
  lazy_teardown(variants.remove_all)

  local KINDS = { cgroup = "cgroup", ipc = "ipc", mnt = "mount", net = "network", pid = "pid", time = "time",
    user = "user", uts = "uts" }

  local function links(pid)
    local list = {}
    for kind in pairs(KINDS) do
      list[kind] = tool.line(("readlink /proc/%s/ns/%s"):format(pid, kind))
    end
    return list
  end

  local function namespaces_of(ct)
    local status, output, errors = exec(ct)
    assert.same({ 0, "" }, { status, errors })
    local list = {}
    for kind in pairs(KINDS) do
      list[kind] = output:match("\nns " .. kind .. ": ([^\n]*)")
    end
    return list
  end

  -- What the container shares with us is not joined but simply the same; a mount namespace it always has. Neither
  -- runtime makes a usable time namespace in the installed version: see tests/pid_spec.lua.
  for _, shared in ipairs { "none", "cgroup", "ipc", "network", "pid", "user", "uts" } do
    local name = "shares_" .. shared
    variants.define(name, { config = function (config, ct)
      local wanted = {}
      for _, kind in pairs(KINDS) do
        wanted[kind] = kind ~= shared and kind ~= "time"
      end
      -- To mount /proc, /sys and the like a user namespace needs those that belong to them.
      wanted.user = shared == "none"
      config.linux.namespaces = {}
      for kind, yes in pairs(wanted) do
        if yes then
          table.insert(config.linux.namespaces, { type = kind })
        end
      end
      if not wanted.uts then
        config.hostname = nil
      end
      if wanted.user then
        config.linux.uidMappings = { { containerID = 0, hostID = 100000, size = 65536 } }
        config.linux.gidMappings = { { containerID = 0, hostID = 200000, size = 65536 } }
        assert(os.execute("chown -R -h 100000:200000 " .. tool.quote(ct.rootfs)))
      end
    end })
    test("exactly the namespaces of a container that shares " .. shared, function ()
      local ct = variants.get(name, reference)
      local init, own = links(ct.pid), links "self"
      assert.same(init, namespaces_of(ct))
      for kind, oci in pairs(KINDS) do
        if oci == shared then
          assert.equal(own[kind], init[kind])
        end
      end
      assert.not_equal(own.mnt, init.mnt)
    end)
  end
end)

describe("exec into a container of youki", function ()
  lazy_teardown(variants.remove_all)

  local function youki(change)
    local ct, root = variants.get("youki", reference), variants.directory "root"
    write_youki(ct, root, change)
    return ct, root
  end

  variants.define("youki", { config = function (config)
    config.process.user = { uid = 1000, gid = 1001, additionalGids = { 4 }, umask = 23 }
    config.process.env = { "PATH=/bin", "FROM=config" }
    config.process.cwd = "/work"
    config.process.noNewPrivileges = true
  end })

  local function run(ct, root, words)
    return variants.exec(ct, ct.id .. " " .. words, { root = root })
  end

  test("takes the container's process from its configuration", function ()
    local ct, root = youki()
    local status, output, errors = run(ct, root, "/report")
    assert.same({ 0, "" }, { status, errors })
    for _, line in ipairs { "cwd: /work", "env: FROM=config", "env: HOME=/work", "status: Uid:\t1000\t1000\t1000\t1000",
      "status: Gid:\t1001\t1001\t1001\t1001", "status: Groups:\t4 ", "status: Umask:\t0027",
      "status: NoNewPrivs:\t1" } do
      assert.matches("\n" .. line .. "\n", output, 1, true)
    end
  end)

  test("is in its cgroups and namespaces", function ()
    local ct, root = youki()
    local _, output = run(ct, root, "sh -c 'cmp /proc/self/cgroup /proc/1/cgroup && readlink /proc/self/ns/pid'")
    assert.equal(tool.line(("readlink /proc/%d/ns/pid"):format(ct.pid)) .. "\n", output)
  end)

  -- youki records no start time: its cgroup is what tells a process from another with the same pid.
  test("finds a process of another cgroup stopped", function ()
    local ct, root = youki(function (files)
      files.youki_config.cgroup_path = "/nowhere"
    end)
    local status, _, errors = run(ct, root, "true")
    assert.same({ 255, "cannot exec in a stopped container" }, { status, errors })
    ct, root = youki(function (files)
      files.state.pid = math.tointeger(tool.line "echo $PPID")
    end)
    status, _, errors = run(ct, root, "true")
    assert.same({ 255, "cannot exec in a stopped container" }, { status, errors })
  end)
end)

describe("exec loads a seccomp profile", function ()
  lazy_teardown(variants.remove_all)

  variants.define("filtered", { config = function (config)
    config.linux.seccomp = { defaultAction = "SCMP_ACT_ALLOW",
      syscalls = { { names = { "keyctl" }, action = "SCMP_ACT_ERRNO", errnoRet = 38 } } }
  end })

  -- The flags that reach the kernel: those of seccomp(2), read off the call that succeeds.
  local function flags_of(flags)
    local ct, trace = variants.get("filtered", reference), variants.directory "trace" .. "/trace"
    local options = doctored(ct, function (_, config)
      (config.linux or config).seccomp.flags = flags
    end)
    options.before = "strace -f -qq -e trace=seccomp -o " .. trace
    local status, output = exec(ct, {}, options)
    assert.equal(0, status)
    assert.matches("\nkeyring: Function not implemented\n", output, 1, true)
    return tool.read(trace):match "seccomp%(SECCOMP_SET_MODE_FILTER, ([^,]*), {len=%d+" or tool.read(trace)
  end

  test("with the flags that it names", function ()
    assert.equal("0", flags_of())
    assert.equal("SECCOMP_FILTER_FLAG_LOG", flags_of { "SECCOMP_FILTER_FLAG_LOG" })
    assert.equal("SECCOMP_FILTER_FLAG_LOG|SECCOMP_FILTER_FLAG_SPEC_ALLOW",
      flags_of { "SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_LOG" })
  end, not tool.has "strace" and "strace is not installed")

  test("or refuses flags that it does not know", function ()
    local options = doctored(variants.get("filtered", reference), function (_, config)
      (config.linux or config).seccomp.flags = { "SECCOMP_FILTER_FLAG_NONE" }
    end)
    local _, _, errors = exec(variants.get("filtered", reference), {}, options)
    assert.matches("unable to init seccomp: seccomp.flags[0]: unknown flag", errors, 1, true)
  end)
end)
