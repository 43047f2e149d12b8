-- The cgroups that a command joins: from the container's and the --cgroup options to the descriptors of a plan.
local cgroups = require "ctrexec.exec.cgroups"
local core = require "ctrexec.core"
local exec = require "spec.exec.support"
local groups = require "tests.lib.cgroups"
local support = require "spec.core.support"
local tool = require "tests.lib.tool"
local unwind = require "ctrexec.lib.unwind"

-- What is added to a plan; or nil, message, code, detail.
local function join(container, options)
  local target = {}
  options = options or {}
  options.warnings = options.warnings or {}
  local function run()
    cgroups.join(target, container, options)
    return target
  end
  local result, message, code, detail = unwind.guarded(run)
  if not result then cgroups.close(target) end
  return result, message, code, detail
end

local function assert_fails(message, expected, ok, text, code, detail)
  assert.is_nil(ok)
  assert.equal(message, text)
  assert.same(expected, { code = code, detail = detail })
end

local function inode(path)
  return core.file.stat(path).ino
end

local function adding(path)
  local pid = core.process.ids().pid
  return ("unable to start container process: error adding pid %d to cgroups: failed to write %d: openat2 %s"):format(
    pid, pid, path)
end

-- Declares a test that gets a cgroup of each version, or skips.
local function with_both(title, test)
  it(title, function()
    local v2 <close>, reason = groups.new ""
    if not v2 then return pending(reason) end
    local v1 <close>, why = groups.new "freezer"
    if not v1 then return pending(why) end
    test(v2, v1)
  end)
end

-- Declares a test that gets a cgroup of version 2.
local function with_v2(title, test)
  it(title, function()
    local group <close>, reason = groups.new ""
    if not group then return pending(reason) end
    test(group)
  end)
end

describe("the --cgroup values", function()
  local function refused(values, message, paths)
    assert_fails(message, { code = "invalid" }, join(exec.container { cgroup_paths = paths }, { cgroup = values }))
  end

  it("are paths, or controllers with one", function()
    refused({ "a:b:c" }, "invalid --cgroup argument: a:b:c")
    refused({ "cpu:/a", "/b" }, "invalid --cgroup argument: /b (missing <controller>: prefix)")
  end)

  it("name controllers that the container has", function()
    refused({ "memory:a" }, "unable to create new parent process: unknown controller memory in SubCgroupPaths",
      { pids = "/sys/fs/cgroup/pids" })
    refused({ "pids,memory:a" }, "unable to create new parent process: unknown controller memory in SubCgroupPaths",
      { pids = "/sys/fs/cgroup/pids" })
  end)

  it("do not lead out of the container's cgroup, not even for a moment", function()
    for _, path in ipairs { "..", "/..", "a/../..", "a/../../web", "./../web" } do
      refused({ path }, ("unable to create new parent process: bad sub cgroup path: %s is not a sub cgroup path")
        :format(path), { [""] = "/sys/fs/cgroup/web" })
    end
  end)

  it("are of no meaning where the container has no cgroups", function()
    local target = assert(join(exec.container(), { cgroup = { "cpu:a" } }))
    assert.is_nil(target.cgroup)
    assert.same({}, target.tasks)
  end)
end)

describe("cgroups.join", function()
  it("joins nothing where the container has no cgroups", function()
    local target = assert(join(exec.container()))
    assert.is_nil(target.cgroup)
    assert.same({ {}, {} }, { target.tasks, target.task_paths })
    cgroups.close(target)
  end)

  with_both("takes the folder of version 2 and the tasks of version 1", function(v2, v1)
    local target = assert(join(exec.container { cgroup_paths = { [""] = v2.path, freezer = v1.path } }))
    assert.equal(v2.path, target.cgroup_path)
    assert.equal(inode(v2.path), inode(target.cgroup))
    assert.same({ v1.path }, target.task_paths)
    assert.equal(inode(v1.path .. "/tasks"), inode(target.tasks[1]))
    assert.is_nil(target.tree)
    cgroups.close(target)
  end)

  with_both("takes what the options have in place of the container's", function(v2, v1)
    local target = assert(join(exec.container { cgroup_paths = { [""] = v2.path } },
      { cgroup_paths = { freezer = v1.path } }))
    assert.is_nil(target.cgroup)
    assert.same({ v1.path }, target.task_paths)
    cgroups.close(target)
  end)

  with_both("joins hierarchies that are mounted together once", function(_, v1)
    local target = assert(join(exec.container { cgroup_paths = { freezer = v1.path, cpu = v1.path } }))
    assert.same({ v1.path }, target.task_paths)
    cgroups.close(target)
  end)

  with_both("joins what the options name below the container's", function(v2, v1)
    v2:below "a/b"
    v1:below "a/b"
    v1:below "c"
    local container = exec.container { cgroup_paths = { [""] = v2.path, freezer = v1.path } }
    for value, expected in pairs {
      ["a/b"] = "a/b", ["/a/b/"] = "a/b", ["./a//c/../b"] = "a/b", [":a"] = "a", ["a"] = "a",
    } do
      local target = assert(join(container, { cgroup = { value } }))
      assert.equal(inode(v2.path .. "/" .. expected), inode(target.cgroup), value)
      assert.equal(v2.path .. "/" .. expected, target.cgroup_path)
      assert.same({ v1.path .. "/" .. expected }, target.task_paths)
      cgroups.close(target)
    end
    local target = assert(join(container, { cgroup = { "freezer:c" } }))
    assert.same({ v1.path .. "/c" }, target.task_paths)
    assert.equal(v2.path, target.cgroup_path)
    cgroups.close(target)
  end)

  with_both("finds a named hierarchy without its prefix", function(_, v1)
    v1:below "a"
    local target = assert(join(exec.container { cgroup_paths = { ["name=systemd"] = v1.path } },
      { cgroup = { "systemd:a" } }))
    assert.same({ v1.path .. "/a" }, target.task_paths)
    cgroups.close(target)
  end)

  with_both("says which cgroup is gone, and that others might do", function(v2, v1)
    local none = v2.path .. "/none"
    assert_fails(adding(none .. "/cgroup.procs: no such file or directory"), { code = "system", detail = true },
      join(exec.container { cgroup_paths = { [""] = none } }))
    none = v1.path .. "/none"
    assert_fails(adding(none .. "/cgroup.procs: no such file or directory"), { code = "system", detail = true },
      join(exec.container { cgroup_paths = { freezer = none } }))
    assert_fails(adding(v2.path .. "/sub/cgroup.procs: no such file or directory"), { code = "system", detail = true },
      join(exec.container { cgroup_paths = { [""] = v2.path } }, { cgroup = { "sub" } }))
  end)

  with_both("goes on without where the container is rootless, and says so", function(v2, v1)
    local warnings, none = {}, v2.path .. "/none"
    local target = assert(join(exec.container { settings = { rootless_cgroups = true },
      cgroup_paths = { [""] = none, freezer = v1.path } }, { warnings = warnings }))
    assert.is_nil(target.cgroup)
    assert.same({ v1.path }, target.task_paths)
    assert.same({ { level = "debug", message = adding(none .. "/cgroup.procs: no such file or directory") } }, warnings)
    cgroups.close(target)
  end)

  it("says that an Intel RDT group is gone", function()
    assert_fails("unable to start container process: error adding pid to Intel RDT group: no such file or directory",
      { code = "system" }, join(exec.container { settings = { intel_rdt_path = "/no/such/group" } }))
  end)
end)

describe("cgroups.join with tree", function()
  with_both("makes the command's own in version 2 where there is one", function(v2, v1)
    local target = assert(join(exec.container { cgroup_paths = { [""] = v2.path, freezer = v1.path } },
      { tree = true }))
    local tree <close> = target.tree
    assert.equal(1, #v2:names())
    assert.same({}, v1:names())
    assert.equal(inode(v2.path .. "/" .. v2:names()[1]), inode(target.cgroup))
    assert.equal(target.cgroup, tree.folder)
    assert.same({ v1.path }, target.task_paths)
    cgroups.close(target)
    assert.is_true(core.fd.is_open(tree.folder), "it is the tree's")
  end)

  with_both("makes it in the freezer of version 1 else, and in no other hierarchy", function(_, v1)
    for controller, count in pairs { freezer = 1, cpu = 0 } do
      local target = assert(join(exec.container { cgroup_paths = { [controller] = v1.path } }, { tree = true }))
      assert.equal(count, #v1:names())
      local own = count == 1 and v1.path .. "/" .. v1:names()[1] or v1.path
      assert.equal(inode(own .. "/tasks"), inode(target.tasks[1]))
      cgroups.close(target)
      target.tree:close()
    end
  end)

  it("has a tree without a cgroup where the container has none", function()
    local target = assert(join(exec.container(), { tree = true }))
    assert.is_nil(target.tree.folder)
  end)

  with_v2("joins the container's own where none can be made below", function(group)
    tool.write(group.path .. "/cgroup.max.depth", "0")
    local target = assert(join(exec.container { cgroup_paths = { [""] = group.path } }, { tree = true }))
    assert.is_nil(target.tree.folder)
    assert.equal(inode(group.path), inode(target.cgroup))
    cgroups.close(target)
  end)
end)

describe("the cgroups of an open container", function()
  with_both("are opened once for all its commands, and stay open", function(v2, v1)
    local container = exec.container { kept = {}, cgroup_paths = { [""] = v2.path, freezer = v1.path } }
    local first, second = assert(join(container)), assert(join(container))
    assert.equal(first.cgroup, second.cgroup)
    assert.equal(first.tasks[1], second.tasks[1])
    cgroups.close(first)
    assert.is_true(core.fd.is_open(second.cgroup) and core.fd.is_open(second.tasks[1]))
    assert.equal(inode(v2.path), inode(second.cgroup))
    assert.equal(inode(v1.path .. "/tasks"), inode(second.tasks[1]))
    cgroups.close(second)
  end)

  with_v2("are not what a command below them or with a tree gets", function(group)
    group:below "a"
    local container = exec.container { kept = {}, cgroup_paths = { [""] = group.path } }
    for _, options in ipairs { { cgroup = { "a" } }, { tree = true } } do
      local target = assert(join(container, options))
      assert.not_equal(inode(group.path), inode(target.cgroup))
      cgroups.close(target)
      if target.tree then target.tree:close() end
    end
    assert.same({}, container.kept)
  end)

  with_v2("say why they cannot be opened as others do", function(group)
    local none = group.path .. "/none"
    assert_fails(adding(none .. "/cgroup.procs: no such file or directory"), { code = "system", detail = true },
      join(exec.container { kept = {}, cgroup_paths = { [""] = none } }))
  end)
end)

describe("cgroups.close", function()
  with_both("leaves nothing open, after a failure too", function(v2, v1)
    v2:below "a"
    v1:below "a"
    local container = exec.container { cgroup_paths = { [""] = v2.path, freezer = v1.path } }
    for _, options in ipairs { {}, { cgroup = { "a" } }, { tree = true }, { cgroup = { "freezer:none" } } } do
      assert.equal(0, support.left_open(function()
        local target = join(container, options)
        if target then cgroups.close(target) end
        if target and target.tree then target.tree:close() end
      end))
    end
    cgroups.close {}
  end)
end)
