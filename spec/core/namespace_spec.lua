local core = require "ctrexec.core"
local support = require "spec.core.support"
local tool = require "tests.lib.tool"

local started, sleeper = support.children_of_test(_ENV)

local namespace, errno = core.namespace, support.errno

local NAMES = { "user", "mnt", "pid", "net", "ipc", "uts", "cgroup", "time" }
-- linux/sched.h
local BITS = {
  time = 0x80, mnt = 0x20000, cgroup = 0x2000000, uts = 0x4000000, ipc = 0x8000000, user = 0x10000000,
  pid = 0x20000000, net = 0x40000000,
}

local function can_unshare(option)
  return os.execute(("unshare %s true 2>/dev/null"):format(option))
end

local function inode(pid, link)
  local text = tool.output(("readlink /proc/%s/ns/%s"):format(pid, link))
  return math.tointeger(tonumber(text:match "%[(%d+)%]"))
end

local function names_of(set)
  local list = {}
  for name, value in pairs(set) do
    assert(value == true)
    list[#list + 1] = name
  end
  table.sort(list)
  return table.concat(list, " ")
end

-- The only process that `pid` has started.
local function child_of(pid)
  return tool.eventually(function ()
    local fd <close> = assert(core.file.open(("/proc/%d/task/%d/children"):format(pid, pid)))
    return math.tointeger(tonumber(core.file.read_all(fd, 100)))
  end)
end

describe("namespace.names", function ()
  it("holds the kernel's bits", function ()
    assert.same(BITS, namespace.names)
  end)
end)

describe("namespace.ids", function ()
  it("gives what the links say", function ()
    local child = sleeper()
    local ids = assert(namespace.ids(child.pid))
    for _, name in ipairs(NAMES) do
      local known = os.execute(("test -e /proc/self/ns/%s"):format(name))
      assert.equal(known and inode(child.pid, name) or nil, ids[name], name)
      ids[name] = nil
    end
    assert.same({}, ids)
  end)
end)

describe("namespace.differing", function ()
  it("finds nothing in a process that shares all", function ()
    local child = sleeper()
    local mask, set = namespace.differing(child.pid)
    assert.equal(0, mask)
    assert.same({}, set)
  end)

  for name, option in pairs {
    user = "--user --map-root-user", mnt = "--mount", net = "--net", ipc = "--ipc", uts = "--uts", cgroup = "--cgroup",
  } do
    it("finds one: " .. name, function ()
      if not can_unshare(option) then
        return pending("unshare " .. option .. " does not work here")
      end
      local child = sleeper("unshare " .. option)
      local mask, set = namespace.differing(child.pid)
      assert.equal(BITS[name], mask)
      assert.same({ [name] = true }, set)
      assert.equal(inode(child.pid, name), namespace.ids(child.pid)[name])
    end)
  end

  it("finds all", function ()
    local options = "--user --map-root-user --mount --pid --net --ipc --uts --cgroup --time --fork --kill-child"
    if not can_unshare(options) then
      return pending("unshare " .. options .. " does not work here")
    end
    local child = started("exec unshare " .. options .. " " .. support.sleep)
    local pid = child_of(child.pid)
    local mask, set = namespace.differing(pid)
    local expected = 0
    for _, bit in pairs(BITS) do
      expected = expected | bit
    end
    assert.equal(expected, mask)
    assert.equal("cgroup ipc mnt net pid time user uts", names_of(set))
    -- unshare's child is ended here: at unshare's own end it gets its signal, and may still be there after the tests.
    local inner <close> = assert(core.pidfd.open(pid))
    core.pidfd.send_signal(inner, core.signal.numbers.KILL)
    assert.is_truthy(core.poll.wait({ { fd = inner, read = true } }, 1000 * tool.DEADLINE))
  end)

  it("asks where a process is, not where its children will be", function ()
    if not can_unshare "--pid --fork" then
      return pending "unshare --pid does not work here"
    end
    local child = sleeper "unshare --pid"
    assert.equal(0, (namespace.differing(child.pid)))
  end)

  it("asks where our own children will be", function ()
    local options = "--pid --time"
    if not can_unshare(options .. " --fork") then
      return pending("unshare " .. options .. " does not work here")
    end
    local child = sleeper()
    local program = ("io.write((require 'ctrexec.core'.namespace.differing(%d)))"):format(child.pid)
    assert.equal(BITS.pid | BITS.time, tonumber(support.lua("exec unshare " .. options, program)))
  end)

  it("does not count a kind that the kernel lacks", function ()
    local option = "--uts --ipc"
    if not can_unshare(option) then
      return pending("unshare " .. option .. " does not work here")
    end
    local child = sleeper("unshare " .. option)
    -- A directory of links without the one for uts stands for a kernel without uts namespaces.
    local output, reason = support.lua_in_mounts([[
      directory=$(mktemp -d)
      mount -t tmpfs none "$directory"
      for name in user mnt pid pid_for_children net ipc cgroup time time_for_children; do
        ln -s "$(readlink /proc/$$/ns/$name)" "$directory/$name"
      done
      mount --bind "$directory" /proc/$$/task/$$/ns
      umount "$directory"
      rmdir "$directory"]],
      ("io.write((require 'ctrexec.core'.namespace.differing(%d)))"):format(child.pid))
    if not output then
      return pending(reason)
    end
    -- The mount namespace is the one that the test itself had to leave.
    assert.equal(BITS.ipc | BITS.mnt, tonumber(output))
  end)

  it("does not take a dead process for one that shares all", function ()
    local child = started "exit 0"
    tool.eventually(function () return core.process.stat(child.pid).state == "Z" end)
    local message = ("namespaces of process %d: No such process"):format(child.pid)
    assert.same({ nil, message, errno.ESRCH }, { namespace.differing(child.pid) })
    assert.same({ nil, message, errno.ESRCH }, { namespace.ids(child.pid) })
    core.pidfd.wait(child.pidfd)
    assert.same({ nil, message, errno.ESRCH }, { namespace.differing(child.pid) })
    assert.same({ nil, message, errno.ESRCH }, { namespace.ids(child.pid) })
  end)

  it("takes no number for a pid that is none", function ()
    for _, pid in ipairs { 0, -1, 1 << 31, (1 << 32) + 1, math.maxinteger, math.mininteger } do
      assert.equal(errno.ESRCH, select(3, namespace.differing(pid)))
      assert.equal(errno.ESRCH, select(3, namespace.ids(pid)))
    end
    assert.error(function () namespace.differing("self") end)
    assert.error(function () namespace.ids(1.5) end)
  end)

  it("says when a process may not be inspected", function ()
    if core.process.ids().euid ~= 0 then
      return pending "needs root, to leave it"
    end
    local child = sleeper()
    local program = ("io.write(select(3, require 'ctrexec.core'.namespace.differing(%d)))"):format(child.pid)
    assert.equal(errno.EACCES, tonumber(support.lua("exec setpriv --bounding-set -sys_ptrace", program)))
  end)

  it("leaks no descriptor", function ()
    local before = support.open_descriptors()
    namespace.differing(core.process.ids().pid)
    namespace.differing(1 << 31)
    namespace.ids(core.process.ids().pid)
    assert.equal(before, support.open_descriptors())
  end)
end)
