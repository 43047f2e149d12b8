-- Keepers at work, on children of this process: they end commands, and write exit events into a file.
local cgroups = require "tests.lib.cgroups"
local cjson = require "cjson"
local core = require "ctrexec.core"
local keeper = require "ctrexec.policy.keeper"
local support = require "spec.core.support"
local tool = require "tests.lib.tool"
local trees = require "ctrexec.exec.tree"

local SIGNALS = core.signal.numbers

local folder, children

before_each(function() folder, children = tool.folder(), {} end)

after_each(function()
  for _, child in ipairs(children) do support.finish(child) end
  tool.remove(folder)
end)

-- A child that ends with its test; with text, a shell command that says "ready" first.
local function start(text)
  local child = text and support.child("exec 2>/dev/null; " .. text) or support.sleeper()
  children[#children + 1] = child
  if text then assert.equal("ready", child.stdout:read "l") end
  return child
end

-- A child that ends at once, with a shell command, and is a zombie.
local function zombie(text)
  local child = start("echo ready; " .. text)
  tool.await_readable(child.pidfd, "the end of a child")
  return child
end

local function signal_of(child)
  tool.await_readable(child.pidfd, "the end of a child")
  local status = core.pidfd.wait(child.pidfd)
  return status.reason == "killed" and status.status or nil
end

-- A chain whose events go into the file; `fields` take the place of its own.
local function chain_with(fields)
  local chain = { policies = {}, config = { audit = { file = folder .. "/events" },
    limits = { policy_time = 5, policy_memory = 32 << 20 } } }
  for name, value in pairs(fields or {}) do chain[name] = value end
  return chain
end

-- Starts a keeper with an exit event, unless the job is told to have none.
local function keep(child, job, chain)
  job = job or {}
  job.began = job.began or core.clock.now()
  if job.event == nil then job.event = { kind = "exit", id = "0123456789abcdef", pid = child.pid } end
  job.event = job.event or nil
  return keeper.start(chain or chain_with(), child.pidfd, job)
end

-- The event that comes into the file.
local function event()
  local text = tool.eventually(function()
    local found = tool.read(folder .. "/events")
    return found and found:match "^[^\n]*\n"
  end, "the exit event")
  return cjson.decode(text)
end

describe("a keeper that tells the end of a command", function()
  it("waits for it, and writes the event with the outcome", function()
    local child = start "echo ready; read line; exit 5 <&-" -- there is nothing to read
    assert.is_true(keep(child))
    local written = event()
    assert.same({ "exit", "0123456789abcdef", child.pid }, { written.kind, written.id, written.pid })
    assert.equal(5, written.outcome.status)
    assert.is_nil(written.outcome.signal)
    assert.is_true(written.outcome.duration >= 0)
    assert.matches("^%d+%-%d+%-%d+T%d+:%d+:%d+Z$", written.time)
    assert.is_nil(written.outcome.timed_out)
  end)

  it("takes the outcome from a zombie, with its times", function()
    local child = zombie "i=0; while [ $i -lt 100000 ]; do i=$((i + 1)); done; exit 7"
    assert.is_true(keep(child))
    local outcome = event().outcome
    assert.equal(7, outcome.status)
    assert.is_true(outcome.user_time > 0)
    assert.is_number(outcome.system_time)
  end)

  it("tells a signal", function()
    assert.is_true(keep(zombie "kill -TERM $$"))
    assert.same({ SIGNALS.TERM }, { event().outcome.signal })
    assert.is_nil(event().outcome.status)
  end)

  it("says that it does not know, where the kernel does not keep the status of a reaped command", function()
    local child = zombie "exit 6"
    core.pidfd.wait(child.pidfd)
    assert.is_true(keep(child))
    local outcome = event().outcome
    assert.is_true(outcome.status == 6 or outcome.status_unknown == true)
    assert.is_false(outcome.status ~= nil and outcome.status_unknown ~= nil)
  end)

  it("counts the duration from the beginning", function()
    assert.is_true(keep(zombie "exit 0", { began = core.clock.now() - 1000 }))
    assert.is_true(event().outcome.duration >= 1000)
  end)

  it("does not end the command", function()
    local child = start()
    assert.is_true(keep(child))
    assert.is_false(core.poll.wait({ { fd = child.pidfd, read = true } }, 50))
    core.pidfd.send_signal(child.pidfd, SIGNALS.USR1)
    assert.equal(SIGNALS.USR1, event().outcome.signal)
  end)

  it("tells the policies that have an audit function", function()
    local source = ([[return { audit = function(event)
      local file = io.open(%q, "w")
      file:write(event.kind, " ", event.outcome.status)
      file:close()
    end }]]):format(folder .. "/told")
    assert.is_true(keep(zombie "exit 8", nil, chain_with { policies = { { name = "a", source = source } } }))
    tool.eventually(function() return tool.read(folder .. "/told") == "exit 8" end)
    assert.equal(8, event().outcome.status)
  end)
end)

describe("a keeper that has a time limit", function()
  -- A job with the tree of a command that has no cgroup of its own.
  local function limited(job)
    job.tree = trees.new()
    return job
  end

  it("kills the command when the time is over, and says so", function()
    local child = start()
    assert.is_true(keep(child, limited { timeout = 0.1 }))
    assert.equal(SIGNALS.KILL, signal_of(child))
    local outcome = event().outcome
    assert.is_true(outcome.timed_out)
    assert.is_true(outcome.signal == SIGNALS.KILL or outcome.status_unknown)
  end)

  it("asks it first with kill_after, and kills what does not go", function()
    local polite = start "trap 'exit 4' TERM; echo ready; while :; do sleep 0.01; done"
    assert.is_true(keep(polite, limited { timeout = 0.1, kill_after = 1000, event = false }))
    assert.is_nil(signal_of(polite))
    local stubborn = start "trap '' TERM; echo ready; exec sleep 20"
    assert.is_true(keep(stubborn, limited { timeout = 0.1, kill_after = 0.1, event = false }))
    assert.equal(SIGNALS.KILL, signal_of(stubborn))
  end)

  it("tells the end of a command that ends before", function()
    assert.is_true(keep(zombie "exit 3", limited { timeout = 1000 }))
    assert.same({ 3, nil }, { event().outcome.status, event().outcome.timed_out })
  end)
end)

describe("a keeper that has the tree of a command", function()
  -- A command in a tree's cgroup, which is left to the keeper, with something that it leaves behind.
  local function with_tree(group, key)
    local tree = trees.new(group:open(), key)
    local command, rest = group:enter(start(), tree.name), group:enter(start(), tree.name)
    return tree, command, rest
  end

  local function hand_over(command, tree, job, chain)
    job.tree, job.event = tree, job.event or false
    assert.is_true(keep(command, job, chain))
    tree:leave()
    tree:close()
  end

  local function finish(child)
    core.pidfd.send_signal(child.pidfd, SIGNALS.USR1)
    assert.equal(SIGNALS.USR1, signal_of(child))
  end

  cgroups.it(_ENV, "kills all of it when the time is over, and removes the cgroup", function(group, key)
    local tree, command, rest = with_tree(group, key)
    hand_over(command, tree, { timeout = 0.1 })
    assert.equal(SIGNALS.KILL, signal_of(command))
    assert.equal(SIGNALS.KILL, signal_of(rest))
    tool.eventually(function() return #group:names() == 0 end)
  end)

  cgroups.it(_ENV, "lets what the command left behind go on in the container's own", function(group, key)
    local tree, command, rest = with_tree(group, key)
    hand_over(command, tree, { timeout = 1000 })
    finish(command)
    tool.eventually(function() return #group:names() == 0 end)
    assert.same({ rest.pid }, group:pids())
    assert.is_false(core.poll.wait({ { fd = rest.pidfd, read = true } }, 0))
  end)

  cgroups.it(_ENV, "ends also that, where the limit lasts", function(group, key)
    local tree, command, rest = with_tree(group, key)
    local last = group:enter(start "trap 'exit 9' TERM; echo ready; while :; do sleep 0.01; done", tree.name)
    hand_over(command, tree, { timeout = 0.5, kill_after = 1000, lasting = true,
      event = { kind = "exit", pid = command.pid } })
    finish(command)
    assert.equal(SIGNALS.TERM, signal_of(rest))
    assert.is_nil(signal_of(last))
    assert.is_nil(event().outcome.timed_out)
    tool.eventually(function() return #group:names() == 0 end)
  end)

  cgroups.it(_ENV, "ends it also when something is wrong with the trail", function(group, key)
    local tree, command, rest = with_tree(group, key)
    -- Policies cannot be run without the limits that each has.
    local chain = chain_with { policies = { { name = "a", source = "return {}" } }, config = { limits = {} } }
    hand_over(command, tree, { timeout = 0.3, lasting = true, event = { kind = "exit" } }, chain)
    finish(command)
    assert.equal(SIGNALS.KILL, signal_of(rest))
  end)

  cgroups.it(_ENV, "gives what is left the grace after TERM, and kills it then", function(group, key)
    local tree = trees.new(group:open(), key)
    local command = group:enter(start "trap 'exit 5' TERM; echo ready; while :; do sleep 0.01; done", tree.name)
    local rest = group:enter(start "trap '' TERM; echo ready; exec sleep 300", tree.name)
    hand_over(command, tree, { timeout = 0.1, kill_after = 0.2 })
    assert.is_nil(signal_of(command))
    assert.equal(SIGNALS.KILL, signal_of(rest))
    tool.eventually(function() return #group:names() == 0 end)
  end)
end)

describe("keeper.start", function()
  it("leaves no child and no descriptor", function()
    local child = start()
    local before = tool.children()
    assert.equal(0, support.left_open(function() assert.is_true(keep(child, { event = false })) end))
    assert.same(before, tool.children())
  end)

  it("says why there is no keeper", function()
    local child = start()
    local started, message = keep(child, nil, chain_with { config = { setup = print } })
    assert.is_nil(started)
    assert.is_string(message)
    -- The site's modules are to be loaded first: one that fails keeps the keeper from its watch.
    started, message = keep(child, nil, chain_with { config = { setup = "error 'broken'" } })
    assert.is_nil(started)
    assert.is_string(message)
  end)

  it("runs the site's modules in the keeper, too", function()
    tool.sh("umask 022; mkdir -p %s", folder .. "/modules/ctrexec/policy")
    tool.write(folder .. "/modules/ctrexec/policy/audit.lua", [[
      local audit = require "original.ctrexec.policy.audit"
      local write = audit.write
      function audit.write(settings, event)
        event.site = "mine"
        return write(settings, event)
      end
      return audit]], "644")
    local chain = chain_with()
    chain.config.setup = require "ctrexec.site.modules".setup(folder .. "/modules")
    assert.is_true(keep(zombie "exit 1", nil, chain))
    assert.equal("mine", event().site)
  end)
end)
