-- Which process keeps a time limit, and what becomes of a command when no process can. The keepers are doubles: what a
-- keeper does is in keeper_spec.lua.
local core = require "ctrexec.core"
local limits = require "ctrexec.policy.limit"
local support = require "spec.policy.support"
local trails = require "ctrexec.policy.trail"

local PIDFD = {}

-- A handle that notes what is called of it and of its tree; `running`: whether the tree has something left.
local function handle_with(running)
  local calls = {}
  local function note(name)
    return function(_, ...) calls[#calls + 1] = { name, ... } end
  end
  local tree = { leave = note "leave", kill = note "kill tree", runs_on = function() return running end }
  return { pid = 7, pidfd = PIDFD, tree = tree, kill = note "kill", wait = note "wait" }, calls
end

local function names_of(calls)
  local names = {}
  for index, call in ipairs(calls) do names[index] = call[1] end
  return names
end

-- The limit of an exec under a chain, and the trail.
local function limit_of(chain, options, attended)
  local trail = trails.new(chain, { id = "web", runtime = "runc" })
  return limits.new(chain, trail, options, attended), trail
end

describe("limit.of", function()
  it("is what was asked for where the site has no limit", function()
    local chain = support.chain()
    assert.same({}, { limits.of(chain) })
    assert.same({ 5, 3 }, { limits.of(chain, 5, 3) })
    assert.same({ 1e6, 1e6 }, { limits.of(chain, 1e6, 1e6) })
  end)

  it("is the site's at most", function()
    local chain = support.chain { limits = { exec_timeout = 10 } }
    assert.same({ 10 }, { limits.of(chain) })
    assert.same({ 5 }, { limits.of(chain, 5) })
    assert.same({ 10 }, { limits.of(chain, 50) })
    assert.same({ 0 }, { limits.of(chain, 0) })
  end)

  it("counts the caller's grace within the site's limit, and a policy's beside it", function()
    local chain = support.chain { limits = { exec_timeout = 10 } }
    assert.same({ 4, 5 }, { limits.of(chain, 4, 5) })
    assert.same({ 4, 6 }, { limits.of(chain, 4, 100) })
    assert.same({ 10, 0 }, { limits.of(chain, nil, 100) })
    assert.same({ 4, 100 }, { limits.of(chain, 4, 100, true) })
    assert.same({ 10, 100 }, { limits.of(chain, 50, 100, true) })
  end)
end)

describe("a limit that the caller does not keep", function()
  it("is a keeper's, which gets the tree and what is left of the time", function()
    local jobs = support.keepers(_ENV)
    local limit = limit_of(support.chain { policies = { {} } }, { timeout = 100, kill_after = 3 })
    local handle, calls = handle_with(true)
    limit:start()
    assert.is_true(limit:keep(handle))
    assert.equal(1, #jobs)
    local job = jobs[1]
    assert.same({ PIDFD, handle.tree, 3, true }, { job.pidfd, job.tree, job.kill_after, job.lasting })
    assert.is_true(job.timeout > 0 and job.timeout <= 100)
    assert.is_true(job.began <= core.clock.now())
    assert.is_nil(job.event)
    assert.same({ "leave" }, names_of(calls))
  end)

  it("has the keeper tell the end, where that is wanted", function()
    local jobs = support.keepers(_ENV)
    local limit, trail = limit_of(support.chain(), { timeout = 100 })
    limit:start()
    assert.is_true(limit:keep(handle_with(true), true))
    assert.same({ "exit", 7, trail:id() }, { jobs[1].event.kind, jobs[1].event.pid, jobs[1].event.id })
    assert.same({}, trail.chain.events)
    limit = limit_of(support.chain { listening = false }, { timeout = 100 })
    limit:start()
    assert.is_true(limit:keep(handle_with(true), true))
    assert.is_nil(jobs[2].event)
  end)

  it("is no reason to let a command run that has no keeper", function()
    support.keepers(_ENV, "no more processes")
    local limit, trail = limit_of(support.chain(), { timeout = 100 })
    local handle, calls = handle_with(true)
    limit:start()
    local kept, message = limit:keep(handle, true)
    assert.is_nil(kept)
    assert.equal("the time limit cannot be kept: no more processes", message)
    assert.same({ "kill", { tree = true } }, calls[1])
    assert.equal("wait", calls[2][1])
    assert.is_true(calls[2][2] > 0 and calls[2][2] < math.huge, "not waited for without end")
    assert.equal(2, #calls)
    local event = trail.chain.events[1]
    assert.same({ "error", 7, message }, { event.kind, event.pid, event.message })
    assert.equal(1, #trail.chain.events)
  end)
end)

describe("the end of a command that nobody waits for", function()
  it("is told by a keeper, which does not end the command", function()
    local jobs = support.keepers(_ENV)
    local limit, trail = limit_of(support.chain(), {})
    limit:tell_end(PIDFD, 7)
    assert.equal(1, #jobs)
    local job = jobs[1]
    assert.equal(PIDFD, job.pidfd)
    assert.same({ "exit", 7, trail:id() }, { job.event.kind, job.event.pid, job.event.id })
    assert.same({}, { job.tree, job.timeout, job.lasting })
    assert.same({}, trail.chain.events)
  end)

  it("is told to nobody where nobody listens", function()
    local jobs = support.keepers(_ENV)
    limit_of(support.chain { listening = false }, {}):tell_end(PIDFD, 7)
    assert.same({}, jobs)
  end)

  it("that cannot be told is told now", function()
    support.keepers(_ENV, "no more processes")
    local limit, trail = limit_of(support.chain(), {})
    limit:tell_end(PIDFD, 7)
    local event = trail.chain.events[1]
    assert.same({ "error", 7, "the end of the command will not be recorded: no more processes" },
      { event.kind, event.pid, event.message })
  end)
end)

describe("what a command has left behind", function()
  -- The jobs of keepers after a command with these options has been closed.
  local function jobs_after(chain, options, running, begun)
    local jobs = support.keepers(_ENV)
    local limit = limit_of(chain, options, true)
    if begun ~= false then limit:start() end
    local handle, calls = handle_with(running)
    limit:keep_rest(handle)
    return jobs, calls
  end

  it("is a keeper's under policies or a limit of the site, whoever asked for the limit", function()
    for _, fields in ipairs { { policies = { {} } }, { limits = { exec_timeout = 200 } } } do
      local jobs, calls = jobs_after(support.chain(fields), { timeout = 100 }, true)
      assert.equal(1, #jobs)
      assert.is_true(jobs[1].lasting)
      assert.is_nil(jobs[1].event)
      assert.same({ "leave" }, names_of(calls))
    end
  end)

  it("may stay otherwise", function()
    local under_policies = { policies = { {} } }
    for _, case in ipairs {
      { support.chain(), { timeout = 100 }, true }, { support.chain(under_policies), {}, true },
      { support.chain(under_policies), { timeout = 100 }, false },
      { support.chain(under_policies), { timeout = 100 }, true, false },
    } do
      local jobs, calls = jobs_after(table.unpack(case, 1, 4))
      assert.same({}, jobs)
      assert.same({}, calls)
    end
  end)

  it("is killed when there can be no keeper, which a warning says", function()
    support.keepers(_ENV, "no more processes")
    local limit, trail = limit_of(support.chain { policies = { {} } }, { timeout = 100 }, true)
    limit:start()
    local handle, calls = handle_with(true)
    limit:keep_rest(handle)
    assert.same({ { "kill tree", PIDFD } }, calls)
    assert.same({ { level = "warning", message = "the time limit cannot be kept: no more processes; what the command "
      .. "left behind was killed" } }, trail.warnings)
    assert.same({}, trail.chain.events)
  end)
end)
