local container = require "ctrexec.container"
local core = require "ctrexec.core"
local reader = require "ctrexec.container.pid"
local support = require "spec.container.support"
local tool = require "tests.lib.tool"

describe("a bare pid", function()
  local process
  before_each(function() process = support.process "umask 027; ulimit -c 0" end)
  after_each(function() process.stop() end)

  it("is a container as /proc shows it", function()
    local record <close> = assert(container.open(nil, { pid = process.pid }))
    assert.equal("pid", record.runtime)
    assert.equal(tostring(process.pid), record.id)
    assert.equal(process.pid, record.pid)
    assert.equal(process.start_time, record.start_time)
    assert.equal("running", record.status)
    assert.equal(process.pid, core.pidfd.pid(record.pidfd))
    assert.is_nil(record.root)
    assert.is_nil(record.bundle)
    assert.same({}, record.labels)
    local settings = record.settings
    assert.equal(tonumber("027", 8), settings.umask)
    assert.is_false(settings.no_new_privileges)
    assert.is_nil(settings.seccomp)
    assert.is_nil(settings.uid_mappings)
    assert.same({}, settings.namespaces)
    local limits = {}
    for _, limit in ipairs(settings.rlimits) do limits[limit.type] = limit end
    assert.same({ type = "RLIMIT_CORE", soft = 0, hard = 0 }, limits.RLIMIT_CORE)
    assert.same(core.capability.names(core.capability.of(process.pid).bounding), settings.capabilities.bounding)
    for _, entry in ipairs(core.cgroup.of(process.pid)) do
      local mount = core.cgroup.mounts()[entry.controllers[1] or ""]
      local path = record.cgroup_paths[entry.controllers[1] or ""]
      assert.equal(mount and (entry.path == "/" and mount or mount .. entry.path), path)
    end
  end)

  it("has a process object for an exec that says only its command", function()
    local record <close> = assert(container.open("named", { pid = process.pid }))
    assert.equal("named", record.id)
    local object = assert(record:process())
    local ids = core.process.ids()
    assert.equal(ids.euid, object.user.uid)
    assert.equal(ids.egid, object.user.gid)
    assert.same({}, object.args)
    assert.equal("/", object.cwd)
    assert.equal(1, #object.env)
  end)

  it("is stopped when the process has ended", function()
    local record <close> = assert(container.open(nil, { pid = process.pid }))
    core.pidfd.send_signal(record.pidfd, core.signal.numbers.KILL)
    core.poll.wait({ { fd = record.pidfd, read = true } }, 5000)
    assert.equal("stopped", record:refresh())
    assert.equal("stopped", record.status)
    assert.is_nil(record.pidfd)
  end)

  it("names the namespaces that differ, and their mappings", function()
    local unshared = support.process(nil, "unshare -Urnu")
    finally(unshared.stop)
    local record = tool.eventually(function()
      local seen = assert(container.open(nil, { pid = unshared.pid }))
      local settings = seen.settings
      if seen.status == "stopped" or #settings.namespaces == 3 and (settings.uid_mappings[1] or {}).size == 1 then
        return seen
      end
      seen:close()
    end, "the namespaces")
    if record.status == "stopped" then return pending "no user namespace can be made here" end
    finally(function()
      record:close()
      unshared.stop()
    end)
    assert.same({ { type = "network" }, { type = "user" }, { type = "uts" } }, record.settings.namespaces)
    local uid = core.process.ids().euid
    assert.same({ { containerID = 0, hostID = uid, size = 1 } }, record.settings.uid_mappings)
    assert.equal(0, record:process().user.uid)
  end)

  it("must exist", function()
    for _, pid in ipairs { 0, -1, 99999999, 2 ^ 40 | 0 } do
      local record, message, code = container.open(nil, { pid = pid })
      assert.is_nil(record)
      assert.equal(("process %d does not exist"):format(pid), message)
      assert.equal("no_such_container", code)
    end
    assert.has_error(function() container.open(nil, { pid = "1" }) end, "pid: expected an integer, got a string")
  end)
end)

describe("the texts of /proc", function()
  it("gives mappings and ids as the process sees them", function()
    local mappings = reader.mappings "         0     100000      65536\n     70000       1000          1\n"
    assert.same({ { containerID = 0, hostID = 100000, size = 65536 },
      { containerID = 70000, hostID = 1000, size = 1 } }, mappings)
    assert.equal(33, reader.inside(100033, mappings))
    assert.equal(70000, reader.inside(1000, mappings))
    assert.is_nil(reader.inside(1001, mappings))
    assert.is_nil(reader.inside(165536, mappings))
    assert.same({}, reader.mappings "")
  end)

  it("gives limits", function()
    assert.same({
      { type = "RLIMIT_CPU", soft = 2.0 ^ 64, hard = 2.0 ^ 64 }, { type = "RLIMIT_NOFILE", soft = 1024, hard = 4096 },
      { type = "RLIMIT_NICE", soft = 0, hard = 0 },
    }, reader.rlimits [[
Limit                     Soft Limit           Hard Limit           Units
Max cpu time              unlimited            unlimited            seconds
Max open files            1024                 4096                 files
Max nice priority         0                    0
Max something new         1                    2                    things
]])
  end)
end)
