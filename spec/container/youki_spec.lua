local container = require "ctrexec.container"
local core = require "ctrexec.core"
local support = require "spec.container.support"
local tool = require "tests.lib.tool"

describe("the state of youki", function()
  local scratch, root, dir, bundle
  before_each(function()
    scratch = tool.folder()
    root = scratch .. "/root"
    dir, bundle = support.install("youki", root, "web")
  end)
  after_each(function() tool.remove(scratch) end)

  local function opened()
    return container.open("web", { root = root })
  end

  local function refused(message)
    local record, text, code = opened()
    assert.is_nil(record)
    assert.equal(dir .. "/" .. message, text)
    assert.equal("bad_state", code)
  end

  it("has every field", function()
    local record <close> = assert(opened())
    assert.equal("youki", record.runtime)
    assert.equal(4242, record.pid)
    assert.is_nil(record.start_time)
    assert.equal("2026-11-23T14:38:30.267640Z", record.created)
    assert.equal(bundle, record.bundle)
    assert.is_true(record.systemd)
    assert.same({ ["org.example.team"] = "web" }, record.annotations)
    local settings = record.settings
    assert.equal("SCMP_ACT_ALLOW", settings.seccomp.defaultAction)
    assert.equal(23, settings.umask)
    assert.equal("system_u:system_r:container_t:s0", settings.process_label)
    assert.same({ domain = "LINUX32", flags = {} }, settings.personality)
    assert.same({ "sleep", "1000" }, record:process().args)
  end)

  it("is stopped when the pid is not in the container's cgroup", function()
    local process = support.process()
    finally(process.stop)
    support.adopt(dir, process)
    local record <close> = assert(opened())
    if core.process.ids().euid ~= 0 then return pending "a rootless container may share the caller's cgroup" end
    assert.equal("stopped", record.status)
    assert.is_nil(record.pidfd)
  end)

  it("runs when the pid is in the container's cgroup or below it", function()
    local mounts = assert(core.cgroup.mounts())
    local mount = mounts[""] or mounts.freezer
    local name = tool.unique_name()
    if not os.execute(("mkdir %s/%s 2>/dev/null"):format(mount, name)) then
      return pending "no cgroup can be made here"
    end
    local process = support.process()
    finally(function()
      process.stop()
      core.file.remove(mount .. "/" .. name .. "/below")
      core.file.remove(mount .. "/" .. name)
    end)
    tool.sh(("mkdir %s/%s/below"):format(mount, name))
    tool.sh(("echo %d >%s/%s/below/cgroup.procs"):format(process.pid, mount, name))
    support.edit(dir .. "/youki_config.json", function(tree) tree.cgroup_path = name end)
    support.adopt(dir, process)
    local record <close> = assert(opened())
    assert.equal("running", record.status)
    assert.same({ [mounts[""] and "" or "freezer"] = mount .. "/" .. name }, record.cgroup_paths)
    support.edit(dir .. "/state.json", function(tree) tree.status = "created" end)
    local created <close> = assert(opened())
    assert.equal("created", created.status)
  end)

  it("is stopped without a pid", function()
    support.edit(dir .. "/state.json", function(tree) tree.pid = nil end)
    local record <close> = assert(opened())
    assert.equal("stopped", record.status)
  end)

  it("names what is missing or wrong by its path", function()
    for message, change in pairs {
      ["state.json: bundle: missing"] = function(tree) tree.bundle = nil end,
      ["state.json: status: expected a string, got a number"] = function(tree) tree.status = 1 end,
      ["state.json: pid: expected an integer, got a string"] = function(tree) tree.pid = "1" end,
      ["state.json: useSystemd: expected a boolean, got a string"] = function(tree) tree.useSystemd = "yes" end,
      ["state.json: annotations.a: expected a string, got a number"] = function(tree) tree.annotations = { a = 1 } end,
    } do
      support.install("youki", root, "web")
      support.edit(dir .. "/state.json", change)
      refused(message)
    end
    support.install("youki", root, "web")
    support.edit(dir .. "/youki_config.json", function(tree) tree.cgroup_path = 7 end)
    refused "youki_config.json: cgroup_path: expected a string, got a number"
    support.install("youki", root, "web")
    core.file.remove(dir .. "/config.json")
    refused "config.json: no such file or directory"
  end)
end)
