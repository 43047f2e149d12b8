local cgroups = require "tests.lib.cgroups"
local core = require "ctrexec.core"
local ps = require "ctrexec.container.ps"
local support = require "spec.core.support"
local tool = require "tests.lib.tool"

-- They end with their test.
local children

before_each(function() children = {} end)

after_each(function()
  for _, child in ipairs(children) do support.finish(child) end
end)

local function start(command)
  local child = support.child(command)
  children[#children + 1] = child
  return child
end

local function sleeper()
  local child = support.sleeper()
  children[#children + 1] = child
  return child
end

-- A container whose first process is a child; `fields` take the place of its own.
local function container_of(init, fields)
  local result = { runtime = "runc", status = "running", pid = init.pid, pidfd = init.pidfd, cgroup_paths = {} }
  for name, value in pairs(fields or {}) do result[name] = value end
  return result
end

local function pids_of(container)
  local pids = {}
  for index, process in ipairs(assert(ps.list(container))) do pids[index] = process.pid end
  return pids
end

local function assert_fails(message, expected, list, text, code)
  assert.is_nil(list)
  assert.equal(message, text)
  assert.equal(expected, code)
end

describe("ps.list by cgroup", function()
  cgroups.it(_ENV, "lists what is in the container's and below, by pid", function(group, key)
    group:below "a/b"
    local init = group:enter(sleeper())
    group:enter(sleeper(), "a/b")
    group:enter(sleeper(), "a")
    sleeper()
    local expected = { children[1].pid, children[2].pid, children[3].pid }
    table.sort(expected)
    assert.same(expected, pids_of(container_of(init, { cgroup_paths = { [key] = group.path } })))
  end)

  cgroups.it(_ENV, "says of each what /proc says", function(group, key)
    local init = group:enter(start "exec sh -c 'kill -STOP $$' 'a b' '' c")
    tool.eventually(function() return core.process.stat(init.pid).state == "T" end)
    local list = assert(ps.list(container_of(init, { cgroup_paths = { [key] = group.path } })))
    assert.same({ {
      pid = init.pid, ppid = core.process.ids().pid, command = "sh", state = "T",
      args = { "sh", "-c", "kill -STOP $$", "a b", "", "c" }, start_time = core.process.stat(init.pid).start_time,
    } }, list)
  end)

  cgroups.it(_ENV, "leaves zombies out", function(group, key)
    local init, zombie = group:enter(sleeper()), group:enter(sleeper())
    core.pidfd.send_signal(zombie.pidfd, core.signal.numbers.KILL)
    tool.await_readable(zombie.pidfd, "the end of a child")
    assert.same({ init.pid }, pids_of(container_of(init, { cgroup_paths = { [key] = group.path } })))
  end)

  it("believes a hierarchy only if the container's first process is in it", function()
    local one <close>, reason = cgroups.new ""
    if not one then return pending(reason) end
    local other <close>, why = cgroups.new "freezer"
    if not other then return pending(why) end
    one:enter(sleeper())
    local init = other:enter(sleeper())
    assert.same({ init.pid }, pids_of(container_of(init, { cgroup_paths = { [""] = one.path, freezer = other.path } })))
    -- Any hierarchy will do, whatever the controller is called.
    assert.same({ init.pid }, pids_of(container_of(init, { cgroup_paths = { [""] = one.path, none = other.path } })))
    assert.same({ init.pid },
      pids_of(container_of(init, { cgroup_paths = { [""] = "/no/such/cgroup", none = other.path } })))
  end)
end)

describe("ps.list by namespace", function()
  -- The first process of a pid namespace of its own, with a child.
  local function init_of_namespace()
    local outside = start "exec unshare --pid --fork --kill-child sh -c 'sleep 20 & exec sleep 20' 2>/dev/null"
    local function child_of(parent)
      return tool.eventually(function()
        for _, name in ipairs(core.file.list "/proc") do
          local pid = math.tointeger(tonumber(name))
          local stat = pid and core.process.stat(pid)
          if stat and stat.ppid == parent and stat.comm == "sleep" then return pid end
        end
      end)
    end
    local pid = child_of(outside.pid)
    return { pid = pid, pidfd = assert(core.pidfd.open(pid)) }, child_of(pid)
  end

  local function missing()
    return not os.execute "unshare --pid --fork true 2>/dev/null" and "no pid namespace can be made here" or nil
  end

  it("lists a container that was opened by a pid, whatever its cgroups are", function()
    local reason = missing()
    if reason then return pending(reason) end
    local group <close>, why = cgroups.new ""
    if not group then return pending(why) end
    local init, below = init_of_namespace()
    group:enter(init)
    group:enter(sleeper())
    init_of_namespace() -- another's
    local expected = { init.pid, below }
    table.sort(expected)
    assert.same(expected, pids_of(container_of(init, { runtime = "pid", cgroup_paths = { [""] = group.path } })))
  end)

  it("lists a container whose cgroups tell nothing", function()
    local reason = missing()
    if reason then return pending(reason) end
    local init, below = init_of_namespace()
    local expected = { init.pid, below }
    table.sort(expected)
    assert.same(expected, pids_of(container_of(init)))
  end)

  it("is not possible in the caller's own", function()
    local message = "the processes of the container cannot be told from those of the host"
    for _, runtime in ipairs { "pid", "runc" } do
      assert_fails(message, "unsupported", ps.list(container_of(sleeper(), { runtime = runtime })))
    end
  end)
end)

describe("ps.list of a stopped container", function()
  it("says so", function()
    assert_fails("the container is stopped", "stopped", ps.list(container_of(sleeper(), { status = "stopped" })))
  end)

  it("says so also when it has ended since it was looked at", function()
    local init = sleeper()
    core.pidfd.send_signal(init.pidfd, core.signal.numbers.KILL)
    core.pidfd.wait(init.pidfd)
    for _, runtime in ipairs { "pid", "runc" } do
      assert_fails("the container is stopped", "stopped", ps.list(container_of(init, { runtime = runtime })))
    end
  end)
end)
