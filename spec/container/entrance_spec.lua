-- Which namespaces of a container to join, on processes in namespaces of their own.
local core = require "ctrexec.core"
local entrance = require "ctrexec.container.entrance"
local support = require "spec.core.support"
local tool = require "tests.lib.tool"

local NAMES = core.namespace.names

-- It ends with its test.
local init

before_each(function() init = nil end)

after_each(function()
  if init then support.finish(init) end
end)

-- Starts the first process of a container through shell words; nil and the reason where that cannot be done here.
local function start(words)
  if words and not os.execute(words .. " true 2>/dev/null") then
    return nil, ("%s is not possible here"):format(words)
  end
  init = support.sleeper(words)
  return init
end

local function way(fields)
  local container = { runtime = "runc", pid = init.pid, pidfd = init.pidfd, settings = {} }
  for name, value in pairs(fields or {}) do container[name] = value end
  return entrance.of(container)
end

describe("entrance.of", function()
  it("joins no namespace that the caller is in already", function()
    start()
    local result = assert(way())
    assert.equal(init.pidfd, result.init)
    assert.equal(0, result.namespaces)
    assert.is_nil(result.root)
    assert.is_falsy(result.become_root)
    assert.is_falsy(result.groups_optional)
  end)

  it("joins exactly those that differ", function()
    local there, reason = start "unshare --mount --uts --ipc"
    if not there then return pending(reason) end
    assert.equal(NAMES.mnt | NAMES.uts | NAMES.ipc, assert(way()).namespaces)
  end)

  it("becomes root of a user namespace where that has a root", function()
    local there, reason = start "unshare --user --map-root-user"
    if not there then return pending(reason) end
    assert.equal(NAMES.user, assert(way()).namespaces)
    assert.is_true(way().become_root)
    assert.is_true(way { settings = { uid_mappings = { { containerID = 0, hostID = 5, size = 1 } } } }.become_root)
    assert.is_true(way { settings = { uid_mappings = { { containerID = 7, hostID = 5, size = 1 },
      { containerID = 0, hostID = 9, size = 1 }, { containerID = 8, hostID = 10, size = 1 } } } }.become_root)
    assert.is_false(way { settings = { uid_mappings = { { containerID = 7, hostID = 5, size = 1 } } } }.become_root)
  end)

  it("does without groups only where the user namespace denies setgroups", function()
    for _, setting in ipairs { "deny", "allow" } do
      -- Only with "deny" may one who is not root map a group (user_namespaces(7)).
      local words = "unshare --user --setgroups " .. setting
      local there, reason = start(words)
      if not there then return pending(reason) end
      assert.equal(setting == "deny", assert(way()).groups_optional)
      support.finish(init)
      init = nil
    end
  end)

  it("goes by the root of a process without state, where that is not the caller's", function()
    if core.process.ids().euid ~= 0 then return pending "needs root, for chroot" end
    start()
    assert.is_nil(assert(way { runtime = "pid" }).root)
    support.finish(init)
    init = nil
    if not tool.has "perl" then return pending "needs perl" end
    init = support.child [[exec perl -e 'chroot "/usr"; $| = 1; print "ready\n"; sleep 20']]
    assert.equal("ready", init.stdout:read "l")
    local root <close> = assert(way { runtime = "pid" }).root
    assert.equal(core.file.stat("/usr").ino, core.file.stat(root).ino)
    assert.is_nil(way().root)
  end)

  it("says that a container has stopped", function()
    start()
    core.pidfd.send_signal(init.pidfd, core.signal.numbers.KILL)
    core.pidfd.wait(init.pidfd)
    for _, runtime in ipairs { "runc", "pid" } do
      assert.same({ nil, "cannot exec in a stopped container", "stopped" }, { way { runtime = runtime } })
    end
  end)

  it("says so of a zombie, and of another process that has the number now", function()
    local zombie = support.sleeper()
    core.pidfd.send_signal(zombie.pidfd, core.signal.numbers.KILL)
    tool.await_readable(zombie.pidfd, "the end of a child")
    start()
    for _, fields in ipairs { { pid = zombie.pid, pidfd = zombie.pidfd }, { pidfd = zombie.pidfd } } do
      assert.same({ nil, "cannot exec in a stopped container", "stopped" }, { way(fields) })
    end
    support.finish(zombie)
  end)
end)
