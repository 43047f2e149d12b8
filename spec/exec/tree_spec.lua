-- What a command started, ended with it: in a cgroup of its own, and by parents where there can be none.
local cgroups = require "tests.lib.cgroups"
local core = require "ctrexec.core"
local lfs = require "lfs"
local support = require "spec.core.support"
local tool = require "tests.lib.tool"
local trees = require "ctrexec.exec.tree"

local TERM, KILL = core.signal.numbers.TERM, core.signal.numbers.KILL

-- They end with their test.
local children

before_each(function() children = {} end)

after_each(function()
  for _, child in ipairs(children) do support.finish(child) end
end)

local function add(child)
  children[#children + 1] = child
  return child
end

local function sleeper() return add(support.sleeper()) end

-- A shell that says "ready" when its traps are set.
local function shell(text)
  local child = add(support.child(text))
  assert.equal("ready", child.stdout:read "l")
  return child
end

local function runs(child)
  return not core.poll.wait({ { fd = child.pidfd, read = true } }, 0)
end

local function signal_of(child)
  tool.await_readable(child.pidfd, "the end of a child")
  local status = core.pidfd.wait(child.pidfd)
  return status.reason == "killed" and status.status or nil
end

local function soon()
  return core.clock.now() + tool.DEADLINE
end

-- Declares a test that gets the cgroup that a command would join, a tree in it, and the key of the hierarchy.
local function in_cgroup(title, test)
  cgroups.it(_ENV, title, function(group, key)
    local tree <close> = trees.new(group:open(), key)
    test(group, tree, key)
  end)
end

-- Puts children into the tree's cgroup, and into two below it.
local function fill(group, tree, make)
  group:below(tree.name .. "/a/b")
  return { group:enter(make(), tree.name), group:enter(make(), tree.name .. "/a"),
    group:enter(make(), tree.name .. "/a/b") }
end

describe("a tree in a cgroup", function()
  in_cgroup("is a cgroup below the one given, and goes when it is closed", function(group, tree)
    assert.same({ tree.name }, group:names())
    assert.equal(core.file.stat(("%s/%s"):format(group.path, tree.name)).ino, core.file.stat(tree.folder).ino)
    local other <close> = trees.new(group:open(), tree.controller)
    assert.not_equal(tree.name, other.name)
    other:close()
    tree:close()
    tree:close()
    assert.same({}, group:names())
  end)

  in_cgroup("sends a signal to all that is in it and below, and to nothing else", function(group, tree)
    local outside, inside = group:enter(sleeper()), fill(group, tree, sleeper)
    tree:signal(outside.pidfd, TERM)
    for _, child in ipairs(inside) do assert.equal(TERM, signal_of(child)) end
    assert.is_true(runs(outside))
  end)

  in_cgroup("kills all that is in it and below, whatever it does about it", function(group, tree)
    local outside = group:enter(sleeper())
    local inside = fill(group, tree, function() return shell "trap '' TERM; echo ready; exec sleep 20" end)
    tree:kill(inside[1].pidfd)
    for _, child in ipairs(inside) do assert.equal(KILL, signal_of(child)) end
    assert.is_true(tree:wait_until_empty(soon()))
    assert.is_true(runs(outside))
  end)

  -- A process that always has another number: it forks, and its parent ends. Not for ever, should nothing end it.
  local function runaway(group, tree)
    local root = group:enter(shell "echo ready; kill -STOP $$; exec perl -e 'for (1 .. 1000000) { exit if fork }'",
      tree.name)
    tool.eventually(function() return core.process.stat(root.pid).state == "T" end)
    core.pidfd.send_signal(root.pidfd, core.signal.numbers.CONT)
    tool.await_readable(root.pidfd, "the first fork")
    return root
  end

  in_cgroup("kills what forks all the time", function(group, tree)
    if not tool.has "perl" then return pending "needs perl" end
    tree:kill(runaway(group, tree).pidfd)
    assert.is_true(tree:wait_until_empty(soon()))
  end)

  in_cgroup("kills it without cgroup.kill (Linux 5.14): all is frozen meanwhile", function(group, tree, key)
    if not tool.has "perl" then return pending "needs perl" end
    local kill, send_signal = core.cgroup.kill, core.pidfd.send_signal
    finally(function() core.cgroup.kill, core.pidfd.send_signal = kill, send_signal end)
    core.cgroup.kill = function() return nil end
    local root, orders = runaway(group, tree), {}
    group:below(tree.name .. "/a")
    local below = group:enter(sleeper(), tree.name .. "/a")
    core.pidfd.send_signal = function(fd, signal)
      if fd ~= root.pidfd then
        orders[tool.read(("%s/%s/%s"):format(group.path, tree.name, key == "" and "cgroup.freeze" or "freezer.state"))]
          = true
      end
      return send_signal(fd, signal)
    end
    tree:kill(root.pidfd)
    assert.is_nil(orders["0\n"] or orders["THAWED\n"])
    assert.is_not_nil(next(orders))
    assert.equal(KILL, signal_of(below))
    assert.is_true(tree:wait_until_empty(soon()))
    assert.is_false(core.cgroup.frozen(tree.folder))
  end)

  in_cgroup("kills the command also where it was taken out of its cgroup", function(group, tree)
    local root = group:enter(sleeper())
    tree:kill(root.pidfd)
    assert.equal(KILL, signal_of(root))
  end)

  in_cgroup("is empty when nothing is left in it or below", function(group, tree)
    assert.is_true(tree:is_empty())
    assert.is_true(tree:wait_until_empty(core.clock.now()))
    group:below(tree.name .. "/a")
    local child = group:enter(sleeper(), tree.name .. "/a")
    assert.is_false(tree:is_empty())
    assert.is_false(tree:wait_until_empty(core.clock.now() + 0.05))
    core.pidfd.send_signal(child.pidfd, KILL)
    assert.is_true(tree:wait_until_empty(soon()))
    assert.is_true(tree:is_empty())
  end)

  in_cgroup("is waited for until the last of it has ended", function(group, tree)
    group:enter(add(support.child "exec sleep 0.2"), tree.name)
    group:enter(add(support.child "exec sleep 0.4"), tree.name)
    assert.is_true(tree:wait_until_empty(core.clock.now() + 3600)) -- the test has a deadline of its own
    assert.is_true(tree:is_empty())
  end)

  in_cgroup("runs on until it was killed or has nothing left", function(group, tree)
    assert.is_false(tree:runs_on())
    local child = group:enter(sleeper(), tree.name)
    assert.is_true(tree:runs_on())
    tree:kill(child.pidfd)
    assert.is_false(tree:runs_on())
  end)

  in_cgroup("is left to another process, which takes it over", function(group, tree, key)
    local child = group:enter(sleeper(), tree.name)
    tree:leave()
    assert.is_false(tree:runs_on())
    local name = tree.name
    tree:close()
    assert.same({ name }, group:names())
    local adopted <close> = trees.adopt(group:open(), assert(core.cgroup.open(group.path, "/" .. name)), name, key)
    assert.is_true(adopted:runs_on())
    adopted:kill(child.pidfd)
    assert.equal(KILL, signal_of(child))
    adopted:close()
    assert.same({}, group:names())
  end)

  in_cgroup("lets what the command left behind move up when it is closed", function(group, tree)
    local inside = fill(group, tree, sleeper)
    tree:close()
    local pids = { inside[1].pid, inside[2].pid, inside[3].pid }
    table.sort(pids)
    assert.same(pids, group:pids())
    assert.same({}, group:names())
    for _, child in ipairs(inside) do assert.is_true(runs(child)) end
  end)

  in_cgroup("waits when it is closed for what was killed", function(group, tree)
    local inside = fill(group, tree, sleeper)
    tree:kill(inside[1].pidfd)
    tree:close()
    assert.same({}, group:names())
    assert.same({}, group:pids())
  end)

  in_cgroup("goes also when it is not closed", function(group, tree)
    local function forget() return trees.new(group:open(), tree.controller).name end
    assert.is_string(forget())
    assert.equal(2, #group:names())
    collectgarbage()
    collectgarbage()
    assert.same({ tree.name }, group:names())
  end)

  in_cgroup("can be closed when the runtime has removed it with the container's", function(group, tree)
    lfs.rmdir(("%s/%s"):format(group.path, tree.name))
    local remove, tries = core.cgroup.remove, 0
    finally(function() core.cgroup.remove = remove end)
    core.cgroup.remove = function(...)
      tries = tries + 1
      return remove(...)
    end
    tree:close()
    assert.equal(1, tries)
  end)

  it("is none where no cgroup can be made", function()
    local group <close>, reason = cgroups.new ""
    if not group then return pending(reason) end
    tool.write(group.path .. "/cgroup.max.depth", "0")
    local base <close> = group:open()
    local tree <close> = trees.new(base, "")
    assert.is_nil(tree.folder)
    assert.same({}, group:names())
    assert.is_true(core.fd.is_open(base))
  end)
end)

describe("a tree without a cgroup", function()
  local function is_gone(pid)
    local stat = core.process.stat(pid)
    return not stat or stat.state == "Z"
  end

  -- A shell with a child and a grandchild, and their pids.
  local function family(trap)
    local child = add(support.child(("%s; sh -c 'sleep 300 & echo $!; echo $$; wait' & echo ready; wait; echo over")
      :format(trap)))
    local pids = {}
    for _ = 1, 3 do
      local line = child.stdout:read "l"
      pids[#pids + 1] = math.tointeger(tonumber(line))
    end
    assert.equal(2, #pids)
    return child, pids
  end

  it("has nothing to remove, and nothing that runs on", function()
    local tree <close> = trees.new()
    assert.is_nil(tree.folder)
    assert.is_true(tree:is_empty())
    assert.is_true(tree:wait_until_empty(core.clock.now()))
    assert.is_false(tree:runs_on())
    trees.adopt():close()
  end)

  it("kills the command with its children and theirs", function()
    local child, pids = family ":"
    local other = sleeper()
    trees.new():kill(child.pidfd)
    assert.equal(KILL, signal_of(child))
    for _, pid in ipairs(pids) do tool.eventually(function() return is_gone(pid) end) end
    assert.is_true(runs(other))
  end)

  it("sends them any signal, and lets them go on", function()
    local child, pids = family "trap : USR1"
    local outside = sleeper()
    trees.new():signal(child.pidfd, core.signal.numbers.USR1)
    for _, pid in ipairs(pids) do tool.eventually(function() return is_gone(pid) end) end
    assert.equal("over", child.stdout:read "l")
    assert.is_nil(signal_of(child))
    assert.is_true(runs(outside))
  end)

  it("does nothing to a command that is gone", function()
    local child = sleeper()
    core.pidfd.send_signal(child.pidfd, KILL)
    assert.equal(KILL, signal_of(child))
    trees.new():kill(child.pidfd)
    trees.new():signal(child.pidfd, TERM)
  end)
end)
