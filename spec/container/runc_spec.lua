local cjson = require "cjson"
local json = require "ctrexec.lib.json"
local runc = require "ctrexec.container.runc"
local support = require "spec.container.support"
local unwind = require "ctrexec.lib.unwind"
local tool = require "tests.lib.tool"

local function read_text(text)
  local tree = assert(json.decode(text, "state.json", true))
  return unwind.guarded(runc.read, { text = text, tree = tree, path = "state.json" })
end

local function fixture(name)
  return tool.read(("%s/%s/web/state.json"):format(support.FIXTURES, name))
end

-- Reads the newest fixture after a change of its tree. "UNLIMITED" stands for 2^64-1, which cjson cannot write.
local function changed(change)
  local tree = cjson.decode(fixture "runc-1.5-v2-userns")
  change(tree, tree.config)
  return read_text((cjson.encode(tree):gsub('"UNLIMITED"', "18446744073709551615")))
end

local function refused(message, change)
  local record, text, code = changed(change)
  assert.is_nil(record)
  assert.equal("state.json: " .. message, text)
  assert.equal("bad_state", code)
end

local ANNOTATIONS = {
  ["org.example.team"] = "web", ["io.kubernetes.pod.name"] = "web-0", ["io.kubernetes.pod.namespace"] = "prod",
}
local CAPABILITIES = { "CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE" }

-- The profile that the state was made from: the reader's profile must allow and refuse the same calls.
local function bundle_seccomp()
  return json.decode(tool.read(support.FIXTURES .. "/bundle/config.json"), "config.json").linux.seccomp
end

local function flat(rules)
  local list = {}
  for _, rule in ipairs(rules) do
    for _, name in ipairs(rule.names) do
      list[#list + 1] = { name = name, action = rule.action, errnoRet = rule.errnoRet,
        args = rule.args and #rule.args > 0 and rule.args or nil }
    end
  end
  return list
end

describe("the state of runc", function()
  for _, name in ipairs { "runc-1.1.5-hybrid", "runc-1.5-hybrid", "runc-1.5-v2-userns" } do
    describe(name, function()
      local record = assert(read_text(fixture(name)))
      local settings = record.settings
      local userns = name == "runc-1.5-v2-userns"

      it("names the container and its process", function()
        assert.equal("runc", record.runtime)
        local expected = cjson.decode(fixture(name))
        assert.equal("integer", math.type(record.pid))
        assert.equal(expected.init_process_pid, record.pid)
        assert.equal("integer", math.type(record.start_time))
        assert.equal(expected.init_process_start, record.start_time)
        assert.equal(expected.created, record.created)
        assert.equal("/srv/demo/bundle", record.bundle)
        assert.is_false(record.rootless)
        assert.is_false(record.systemd)
      end)

      it("has the annotations, without runc's own label", function()
        assert.same(ANNOTATIONS, record.annotations)
        assert.same(ANNOTATIONS, record.labels)
      end)

      it("has the cgroups", function()
        if userns then
          assert.same({ [""] = "/sys/fs/cgroup/web" }, record.cgroup_paths)
        else
          assert.equal("/sys/fs/cgroup/unified/web", record.cgroup_paths[""])
          assert.equal("/sys/fs/cgroup/cpu/web", record.cgroup_paths.cpu)
          assert.equal("/sys/fs/cgroup/systemd/web", record.cgroup_paths["name=systemd"])
        end
      end)

      it("has the settings in OCI's spelling", function()
        assert.is_false(settings.no_new_keyring)
        assert.is_true(settings.no_new_privileges)
        assert.is_false(settings.rootless_euid)
        assert.is_false(settings.rootless_cgroups)
        for _, absent in ipairs { "umask", "personality", "memory_policy", "oom_score_adj", "rlimits",
          "apparmor_profile", "process_label", "scheduler", "io_priority", "exec_cpu_affinity", "intel_rdt_path",
          "seccomp_bpf" } do
          assert.is_nil(settings[absent], absent)
        end
        for _, set in ipairs { "bounding", "effective", "permitted" } do
          assert.same(CAPABILITIES, settings.capabilities[set])
        end
        assert.is_nil(settings.capabilities.inheritable)
        local mappings = userns and { { containerID = 0, hostID = 100000, size = 65536 } } or nil
        assert.same(mappings, settings.uid_mappings)
        assert.same(mappings, settings.gid_mappings)
        local namespaces = {}
        for _, namespace in ipairs(settings.namespaces) do namespaces[#namespaces + 1] = namespace.type end
        local expected = { "pid", "network", "ipc", "uts", "mount" }
        if userns then table.move({ "user", "cgroup" }, 1, 2, 6, expected) end
        assert.same(expected, namespaces)
      end)

      it("has the seccomp profile of the bundle, rule by rule", function()
        local expected = bundle_seccomp()
        assert.equal(expected.defaultAction, settings.seccomp.defaultAction)
        assert.equal(expected.defaultErrnoRet, settings.seccomp.defaultErrnoRet)
        assert.same(expected.architectures, settings.seccomp.architectures)
        assert.same(flat(expected.syscalls), flat(settings.seccomp.syscalls))
        assert.is_true(#settings.seccomp.syscalls < 40)
      end)
    end)
  end

  it("knows what only some containers have", function()
    local record = assert(changed(function(tree, config)
      tree.intel_rdt_path = "/sys/fs/resctrl/web"
      config.umask = 23
      config.oom_score_adj = -500
      config.no_new_keyring = true
      config.rootless_euid, config.rootless_cgroups = true, true
      config.apparmor_profile, config.process_label = "docker-default", "a:b:c:s0"
      config.rlimits = { { type = 7, hard = 4096, soft = 1024 }, { type = 4, hard = "UNLIMITED", soft = 0 } }
      config.personality = { domain = 8 }
      config.scheduler = { policy = "SCHED_BATCH", nice = 5, flags = { "SCHED_FLAG_RESET_ON_FORK" } }
      config.io_priority = { class = "IOPRIO_CLASS_BE", priority = 4 }
      config.namespaces[1].path = "/proc/1/ns/pid"
      config.cgroups.systemd = true
      config.seccomp.listener_path, config.seccomp.listener_metadata = "/run/listener", "meta"
      config.seccomp.syscalls = { { name = "read", action = 7, args = { { index = 1, value = 255, value_two = 8,
        op = 7 } } } }
    end))
    local settings = record.settings
    assert.equal("/sys/fs/resctrl/web", settings.intel_rdt_path)
    assert.equal(23, settings.umask)
    assert.equal("integer", math.type(settings.umask))
    assert.equal(-500, settings.oom_score_adj)
    assert.is_true(settings.no_new_keyring)
    assert.is_true(settings.rootless_euid)
    assert.is_true(settings.rootless_cgroups)
    assert.is_true(record.rootless)
    assert.is_true(record.systemd)
    assert.equal("docker-default", settings.apparmor_profile)
    assert.equal("a:b:c:s0", settings.process_label)
    assert.same({ { type = "RLIMIT_NOFILE", hard = 4096, soft = 1024 },
      { type = "RLIMIT_CORE", hard = 2.0 ^ 64, soft = 0 } }, settings.rlimits)
    assert.same({ domain = "LINUX32", flags = {} }, settings.personality)
    assert.same({ policy = "SCHED_BATCH", nice = 5, flags = { "SCHED_FLAG_RESET_ON_FORK" } }, settings.scheduler)
    assert.same({ class = "IOPRIO_CLASS_BE", priority = 4 }, settings.io_priority)
    assert.same({ type = "pid", path = "/proc/1/ns/pid" }, settings.namespaces[1])
    assert.equal("/run/listener", settings.seccomp.listenerPath)
    assert.equal("meta", settings.seccomp.listenerMetadata)
    assert.same({ { names = { "read" }, action = "SCMP_ACT_NOTIFY",
      args = { { index = 1, value = 255, valueTwo = 8, op = "SCMP_CMP_MASKED_EQ" } } } }, settings.seccomp.syscalls)
  end)

  it("reads sets of CPUs and nodes without losing a bit", function()
    local function with(config_text)
      local text = fixture "runc-1.1.5-hybrid":gsub('"config":{', '"config":{' .. config_text .. ",", 1)
      return assert(read_text(text)).settings
    end
    local zeros = (",0"):rep(14)
    assert.same({ initial = "0-1,62", final = "0-64" }, with('"exec_cpu_affinity":{"Initial":[4611686018427387907,0'
      .. zeros .. '],"Final":[18446744073709551615,1' .. zeros .. "]}").exec_cpu_affinity)
    assert.same({ final = "63" },
      with('"exec_cpu_affinity": {"final" : [ 9223372036854775808, 0 ]}').exec_cpu_affinity)
    assert.same({ mode = "MPOL_BIND", nodes = "0,2-3", flags = { "MPOL_F_RELATIVE_NODES", "MPOL_F_STATIC_NODES" } },
      with('"memory_policy":{"mode":2,"flags":49152,"nodes":[13,0]}').memory_policy)
    assert.same({ mode = "MPOL_DEFAULT", flags = {} }, with('"memory_policy":{}').memory_policy)
    assert.same({ mode = "MPOL_INTERLEAVE", nodes = "1", flags = { "MPOL_F_NUMA_BALANCING" } },
      with('"memory_policy":{"Mode":3,"Flags":[8192],"Nodes":[2]}').memory_policy)
  end)

  it("takes the last label named bundle, which is runc's", function()
    local record = assert(changed(function(_, config) table.insert(config.labels, 1, "bundle=/evil") end))
    assert.equal("/srv/demo/bundle", record.bundle)
  end)

  it("leaves out cgroups that runc could not make", function()
    local record = assert(changed(function(tree) tree.cgroup_paths = { [""] = "" } end))
    assert.same({}, record.cgroup_paths)
  end)

  it("takes null for absent", function()
    local record = assert(changed(function(tree, config)
      tree.cgroup_paths, config.seccomp, config.labels, config.capabilities = cjson.null, cjson.null, cjson.null,
        cjson.null
    end))
    assert.is_nil(record.settings.seccomp)
    assert.is_nil(record.bundle)
    assert.same({}, record.labels)
  end)

  it("names what is missing or wrong by its path", function()
    refused("init_process_pid: missing", function(tree) tree.init_process_pid = nil end)
    refused("init_process_pid: expected an integer, got a string", function(tree) tree.init_process_pid = "1" end)
    refused("init_process_pid: expected an integer, got 1.5", function(tree) tree.init_process_pid = 1.5 end)
    refused("init_process_start: expected an integer, got an object", function(tree) tree.init_process_start = {} end)
    refused("init_process_start: expected an integer, got null", function(tree)
      tree.init_process_start = cjson.null
    end)
    refused("created: expected a string, got a boolean", function(tree) tree.created = true end)
    refused("config: missing", function(tree) tree.config = nil end)
    refused("config: expected an object, got an array", function(tree) tree.config = { 1 } end)
    refused('cgroup_paths: expected an object, got an array', function(tree) tree.cgroup_paths = { "a" } end)
    refused('cgroup_paths.cpu: expected an absolute path, got "web"', function(tree)
      tree.cgroup_paths = { cpu = "web" }
    end)
    refused('cgroup_paths.cpu: expected an absolute path, got "/sys/../etc"', function(tree)
      tree.cgroup_paths = { cpu = "/sys/../etc" }
    end)
    refused('config.labels: bundle: expected an absolute path, got "x"', function(_, config)
      config.labels = { "bundle=x" }
    end)
    refused("config.labels[2]: expected a string, got a number", function(_, config) config.labels[2] = 7 end)
    refused('config.namespaces[1].type: unknown namespace "NEWMOON"', function(_, config)
      config.namespaces[1].type = "NEWMOON"
    end)
    refused("config.capabilities.Bounding: expected an array, got a string", function(_, config)
      config.capabilities.Bounding = "CAP_KILL"
    end)
    refused("config.rlimits[1].type: unknown resource limit 99", function(_, config)
      config.rlimits = { { type = 99, soft = 1, hard = 1 } }
    end)
    refused("config.rlimits[1].soft: must not be negative, got -1", function(_, config)
      config.rlimits = { { type = 7, soft = -1, hard = 1 } }
    end)
    refused("config.uid_mappings[1].size: missing", function(_, config)
      config.uid_mappings = { { container_id = 0, host_id = 0 } }
    end)
    refused("config.personality.domain: unknown domain 5", function(_, config) config.personality = { domain = 5 } end)
    refused("config.memory_policy.mode: unknown mode 77", function(_, config) config.memory_policy = { mode = 77 } end)
    refused("config.scheduler.policy: missing", function(_, config) config.scheduler = { nice = 1 } end)
    refused("config.cgroups.systemd: expected a boolean, got a string", function(_, config)
      config.cgroups.systemd = "yes"
    end)
  end)

  it("refuses a seccomp profile that it does not understand", function()
    refused("config.seccomp: expected an object, got a string", function(_, config) config.seccomp = "x" end)
    refused("config.seccomp.default_action: missing", function(_, config) config.seccomp.default_action = nil end)
    refused("config.seccomp.default_action: unknown action 10", function(_, config)
      config.seccomp.default_action = 10
    end)
    refused('config.seccomp.architectures[1]: unknown architecture "vax"', function(_, config)
      config.seccomp.architectures[1] = "vax"
    end)
    refused("config.seccomp.syscalls: expected an array, got an object", function(_, config)
      config.seccomp.syscalls = { a = 1 }
    end)
    refused("config.seccomp.syscalls[40]: expected an object, got a number", function(_, config)
      config.seccomp.syscalls[40] = 1
    end)
    refused("config.seccomp.syscalls[40].name: missing", function(_, config)
      config.seccomp.syscalls[40].name = nil
    end)
    refused("config.seccomp.syscalls[40].action: unknown action 0", function(_, config)
      config.seccomp.syscalls[40].action = 0
    end)
    refused("config.seccomp.syscalls[40].errnoRet: expected an integer, got a string", function(_, config)
      config.seccomp.syscalls[40].errnoRet = "EPERM"
    end)
    refused("config.seccomp.syscalls[40].args: expected an array, got a boolean", function(_, config)
      config.seccomp.syscalls[40].args = true
    end)
    refused("config.seccomp.syscalls[40].args[1].op: unknown operator 8", function(_, config)
      config.seccomp.syscalls[40].args = { { index = 0, value = 1, op = 8 } }
    end)
    refused("config.seccomp.syscalls[40].args[1].index: missing", function(_, config)
      config.seccomp.syscalls[40].args = { { value = 1, op = 1 } }
    end)
  end)
end)
