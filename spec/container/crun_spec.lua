local container = require "ctrexec.container"
local core = require "ctrexec.core"
local support = require "spec.container.support"
local tool = require "tests.lib.tool"

describe("the state of crun", function()
  local scratch, root
  before_each(function()
    scratch = tool.folder()
    root = scratch .. "/root"
  end)
  after_each(function() tool.remove(scratch) end)

  local function opened()
    return container.open("web", { root = root })
  end

  local function refused(message)
    local record, text, code = opened()
    assert.is_nil(record)
    assert.equal(root .. "/web/" .. message, text)
    assert.equal("bad_state", code)
  end

  local function changed_status(change)
    support.edit(support.install("crun-1.27-v2-userns", root, "web") .. "/status", change)
  end

  local function changed_config(change)
    support.edit(support.install("crun-1.27-v2-userns", root, "web") .. "/config.json", change)
  end

  for fixture, expected in pairs {
    ["crun-1.8.1-v2"] = { pid = 28260, start = 140081, created = "2026-11-23T15:15:23.689195Z" },
    ["crun-1.27-v2-userns"] = { pid = 11154, start = 572068, created = "2026-11-23T14:38:30.267640Z", userns = true },
  } do
    it("has every field: " .. fixture, function()
      local dir, bundle = support.install(fixture, root, "web")
      local record <close> = assert(opened())
      assert.equal("crun", record.runtime)
      assert.equal("web", record.id)
      assert.equal(root, record.root)
      assert.equal(dir, record.dir)
      assert.equal(bundle, record.bundle)
      assert.equal(expected.pid, record.pid)
      assert.equal(expected.start, record.start_time)
      assert.equal(expected.created, record.created)
      assert.equal("root", record.owner)
      assert.is_false(record.systemd)
      assert.equal(core.process.ids().euid ~= 0, record.rootless)
      assert.equal("web", record.annotations["org.example.team"])
      assert.same(record.annotations, record.labels)
      local settings = record.settings
      assert.equal("SCMP_ACT_ERRNO", settings.seccomp.defaultAction)
      assert.is_nil(settings.seccomp_bpf)
      assert.is_true(settings.no_new_privileges)
      assert.same({ { type = "RLIMIT_NOFILE", soft = 1024, hard = 4096 } }, settings.rlimits)
      assert.same({ "CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE" }, settings.capabilities.bounding)
      local mappings = expected.userns and { { containerID = 0, hostID = 100000, size = 65536 } } or nil
      assert.same(mappings, settings.uid_mappings)
      assert.same(mappings, settings.gid_mappings)
      assert.equal("pid", settings.namespaces[1].type)
      assert.same({ "sleep" }, { (record:process().args[1]:match "[^/]*$") })
      assert.equal("1.0.2-dev", record:config().ociVersion)
    end)
  end

  it("has what only some containers have", function()
    local dir = support.install("crun-1.27-v2-userns", root, "web")
    support.edit(dir .. "/config.json", function(tree)
      tree.process.user.umask = 23
      tree.process.oomScoreAdj = -7
      tree.process.apparmorProfile, tree.process.selinuxLabel = "profile", "label"
      tree.process.scheduler = { policy = "SCHED_IDLE" }
      tree.process.ioPriority = { class = "IOPRIO_CLASS_RT", priority = 1 }
      tree.process.execCPUAffinity = { initial = "0", final = "0-1" }
      tree.linux.personality = { domain = "LINUX32" }
      tree.linux.memoryPolicy = { mode = "MPOL_BIND", nodes = "0", flags = { "MPOL_F_STATIC_NODES" } }
      tree.linux.namespaces[2].path = "/proc/1/ns/net"
    end)
    support.edit(dir .. "/status", function(tree)
      tree["systemd-cgroup"], tree.owner, tree["process-start-time"] = true, "alice", 0
    end)
    tool.write(dir .. "/seccomp.bpf", "\6\0\0\0\0\0\255\127")
    tool.sh("chmod 600 %s", dir .. "/seccomp.bpf")
    local record <close> = assert(opened())
    local settings = record.settings
    assert.is_true(record.systemd)
    assert.equal("alice", record.owner)
    assert.is_nil(record.start_time)
    assert.equal("\6\0\0\0\0\0\255\127", settings.seccomp_bpf)
    assert.equal(23, settings.umask)
    assert.equal(-7, settings.oom_score_adj)
    assert.equal("profile", settings.apparmor_profile)
    assert.equal("label", settings.process_label)
    assert.same({ policy = "SCHED_IDLE" }, settings.scheduler)
    assert.same({ class = "IOPRIO_CLASS_RT", priority = 1 }, settings.io_priority)
    assert.same({ initial = "0", final = "0-1" }, settings.exec_cpu_affinity)
    assert.same({ domain = "LINUX32", flags = {} }, settings.personality)
    assert.same({ mode = "MPOL_BIND", nodes = "0", flags = { "MPOL_F_STATIC_NODES" } }, settings.memory_policy)
    assert.same({ type = "network", path = "/proc/1/ns/net" }, settings.namespaces[2])
  end)

  it("does not use a compiled filter of a container without a profile", function()
    local dir = support.install("crun-1.27-v2-userns", root, "web")
    support.edit(dir .. "/config.json", function(tree) tree.linux.seccomp = nil end)
    tool.write(dir .. "/seccomp.bpf", "\6\0\0\0\0\0\255\127")
    tool.sh("chmod 600 %s", dir .. "/seccomp.bpf")
    local record <close> = assert(opened())
    assert.is_nil(record.settings.seccomp)
    assert.is_nil(record.settings.seccomp_bpf)
  end)

  it("makes absolute cgroup paths of what crun recorded", function()
    local mounts = assert(core.cgroup.mounts())
    for given, path in pairs { ["/nowhere/web"] = "/nowhere/web", ["nowhere/web"] = "/nowhere/web" } do
      changed_status(function(tree) tree["cgroup-path"] = given end)
      local record <close> = assert(opened())
      local expected = {}
      for controller, mount in pairs(mounts) do expected[controller] = mount .. path end
      assert.same(expected, record.cgroup_paths)
    end
    changed_status(function(tree) tree["cgroup-path"] = "" end)
    local record <close> = assert(opened())
    assert.same({}, record.cgroup_paths)
  end)

  it("keeps to the hierarchies in which the cgroup is", function()
    local mounts = assert(core.cgroup.mounts())
    local mount = mounts[""] or mounts.freezer
    local name = tool.unique_name()
    local made, message = os.execute(("mkdir %s/%s 2>/dev/null"):format(mount, name))
    if not made then return pending("no cgroup can be made here: " .. tostring(message)) end
    changed_status(function(tree) tree["cgroup-path"] = "/" .. name end)
    local record <close> = assert(opened())
    core.file.remove(mount .. "/" .. name)
    assert.same({ [mounts[""] and "" or "freezer"] = mount .. "/" .. name }, record.cgroup_paths)
  end)

  it("gives a fresh process object each time", function()
    support.install("crun-1.27-v2-userns", root, "web")
    local record <close> = assert(opened())
    record:process().env[1] = "CHANGED=1"
    assert.equal("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", record:process().env[1])
  end)

  it("names what is missing or wrong by its path", function()
    for message, change in pairs {
      ["status: pid: missing"] = function(tree) tree.pid = nil end,
      ["status: pid: expected an integer, got a string"] = function(tree) tree.pid = "5" end,
      ["status: process-start-time: expected an integer, got a boolean"] = function(tree)
        tree["process-start-time"] = true
      end,
      ["status: bundle: missing"] = function(tree) tree.bundle = nil end,
      ['status: bundle: expected an absolute path, got "b"'] = function(tree) tree.bundle = "b" end,
      ["status: cgroup-path: expected a string, got a number"] = function(tree) tree["cgroup-path"] = 1 end,
      ['status: cgroup-path: expected an absolute path, got "/a/../b"'] = function(tree)
        tree["cgroup-path"] = "/a/../b"
      end,
      ["status: systemd-cgroup: expected a boolean, got a string"] = function(tree) tree["systemd-cgroup"] = "" end,
    } do
      changed_status(change)
      refused(message)
    end
    for message, change in pairs {
      ["config.json: linux: expected an object, got a string"] = function(tree) tree.linux = "x" end,
      ["config.json: linux.seccomp: expected an object, got an array"] = function(tree) tree.linux.seccomp = { 1 } end,
      ["config.json: linux.seccomp.flags: expected an array, got a number"] = function(tree)
        tree.linux.seccomp.flags = 5
      end,
      ["config.json: linux.seccomp.listenerPath: expected a string, got an object"] = function(tree)
        tree.linux.seccomp.listenerPath = { a = "/run/agent" }
      end,
      ["config.json: linux.seccomp.listenerMetadata: expected a string, got an array"] = function(tree)
        tree.linux.seccomp.listenerMetadata = { "x" }
      end,
      ["config.json: process.user.umask: expected an integer, got a string"] = function(tree)
        tree.process.user.umask = "022"
      end,
      ["config.json: linux.uidMappings[1].hostID: missing"] = function(tree) tree.linux.uidMappings[1].hostID = nil end,
      ["config.json: annotations.a: expected a string, got a number"] = function(tree) tree.annotations = { a = 1 } end,
    } do
      changed_config(change)
      refused(message)
    end
  end)

  it("says that the copy of the configuration is gone", function()
    core.file.remove(support.install("crun-1.27-v2-userns", root, "web") .. "/config.json")
    refused "config.json: no such file or directory"
  end)

  it("says that the container has no process object", function()
    changed_config(function(tree) tree.process = nil end)
    local record <close> = assert(opened())
    local process, message, code = record:process()
    assert.is_nil(process)
    assert.equal(root .. "/web/config.json: process: missing", message)
    assert.equal("bad_state", code)
  end)
end)
