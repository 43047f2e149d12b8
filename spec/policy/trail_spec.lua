local caller = require "ctrexec.policy.caller"
local core = require "ctrexec.core"
local support = require "spec.policy.support"
local trails = require "ctrexec.policy.trail"

local CONTAINER = { id = "web", runtime = "runc" }

-- Counts how often each part of the caller is looked for, until the test is over.
local function count_look_ups()
  local counts, real = {}, {}
  for _, part in ipairs { "identity", "names", "origin" } do
    real[part] = caller[part]
    caller[part] = function(...)
      counts[part] = (counts[part] or 0) + 1
      return real[part](...)
    end
  end
  finally(function()
    for part, find in pairs(real) do caller[part] = find end
  end)
  return counts
end

describe("the caller of an exec", function()
  it("is looked for by parts, each once, and none before it is asked for", function()
    local counts = count_look_ups()
    local trail = trails.new(support.chain(), CONTAINER)
    assert.same({}, counts)
    assert.equal(core.process.ids().uid, trail:caller_part "identity".uid)
    assert.equal(trail:caller_part "identity", trail:caller_part "identity")
    assert.same({ identity = 1 }, counts)
    local whole = trail:caller()
    trail:caller()
    assert.same({ identity = 1, names = 1, origin = 1 }, counts)
    assert.equal(core.process.ids().uid, whole.uid)
    assert.is_table(whole.ancestry)
  end)
end)

describe("the id of an exec", function()
  it("is 16 hexadecimal digits, the same for all its events and no other exec's", function()
    local one, other = trails.new(support.chain(), CONTAINER), trails.new(support.chain(), CONTAINER)
    assert.matches("^%x%x%x%x%x%x%x%x%x%x%x%x%x%x%x%x$", one:id())
    assert.equal(one:id(), one:id())
    assert.equal(one:id(), one:event("accept", {}).id)
    assert.not_equal(one:id(), other:id())
  end)
end)

describe("an event", function()
  it("has what the trail knows", function()
    local trail = trails.new(support.chain(), CONTAINER)
    trail.process = { args = { "id" }, cwd = "/", user = { uid = 1, gid = 2 } }
    trail.fields, trail.detached = { why = "x" }, true
    trail.recording = { summary = function() return { file = "/r", size = 5 } end }
    local event = trail:event("exit", { pid = 7 })
    assert.same({ "exit", 7, { why = "x" }, true, { file = "/r", size = 5 } },
      { event.kind, event.pid, event.fields, event.detached, event.recording })
    assert.equal("web", event.where.id)
    assert.same({ "id" }, event.what.args)
    assert.equal(core.process.ids().uid, event.who.uid)
  end)

  it("says nothing of what is not", function()
    local trail = trails.new(support.chain(), CONTAINER)
    trail.detached = false
    local event = trail:event("exit", {})
    assert.same({}, { event.detached, event.recording, event.fields, event.pid })
  end)
end)

describe("trail:tell", function()
  it("tells the chain", function()
    local chain = support.chain()
    assert.is_true(trails.new(chain, CONTAINER):tell("accept", {}))
    assert.same({ "accept" }, support.kinds(chain))
  end)

  it("says that the event could not be kept", function()
    local trail = trails.new(support.chain { deaf = "disk full" }, CONTAINER)
    local told, message = trail:tell("accept", {})
    assert.is_nil(told)
    assert.equal("disk full", message)
    assert.same({}, trail.warnings)
  end)

  it("makes no event where nobody listens, or nothing will be started", function()
    local counts = count_look_ups()
    for _, trail in ipairs {
      trails.new(support.chain { listening = false, deaf = "x" }, CONTAINER),
      trails.new(support.chain { deaf = "x" }, CONTAINER, true),
    } do
      assert.is_false(trail:is_wanted())
      assert.is_true(trail:tell("accept", {}))
      trail:tell_late("exit", {})
      trail:tell_end(1, {}, 0)
      assert.same({}, trail.chain.events)
      assert.same({}, trail.warnings)
    end
    assert.same({}, counts)
    assert.is_true(trails.new(support.chain(), CONTAINER):is_wanted())
  end)
end)

describe("trail:tell_late", function()
  it("makes a warning of an event that could not be kept", function()
    local trail = trails.new(support.chain { deaf = "disk full" }, CONTAINER)
    trail:tell_late("exit", {})
    assert.same({ { level = "warning", message = "disk full" } }, trail.warnings)
    trail.chain.deaf = nil
    trail:tell_late("exit", {})
    assert.equal(1, #trail.warnings)
    assert.same({ "exit", "exit" }, support.kinds(trail.chain))
  end)
end)

describe("trail:tell_end", function()
  local function outcome_of(status, ...)
    local chain, now = support.chain(), core.clock.now
    finally(function() core.clock.now = now end)
    core.clock.now = function() return 1005.5 end
    trails.new(chain, CONTAINER):tell_end(7, status, 1000, ...)
    core.clock.now = now
    local event = chain.events[1]
    assert.same({ "exit", 7, 5.5 }, { event.kind, event.pid, event.outcome.duration })
    event.outcome.duration = nil
    return event.outcome
  end

  it("tells how a command has ended", function()
    assert.same({ status = 3, user_time = 0.5, system_time = 0.25, max_rss = 9 },
      outcome_of { reason = "exited", status = 3, code = 3, utime = 0.5, stime = 0.25, maxrss = 9 })
    assert.same({ status = 0 }, outcome_of { reason = "exited", status = 0 })
    assert.same({ signal = 15 }, outcome_of { reason = "killed", status = 15, signal = 15, code = 143 })
    assert.same({ signal = 6 }, outcome_of { reason = "dumped", status = 6, signal = 6, code = 134 })
  end)

  it("tells whether its time limit has ended it", function()
    assert.is_true(outcome_of({ reason = "killed", status = 9, signal = 9 }, true).timed_out)
  end)
end)
