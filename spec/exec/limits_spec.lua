-- The steps of a time limit, with a clock that only the test moves.
local core = require "ctrexec.core"

describe("limits.new", function()
  local real_clock, real_module = core.clock.now, package.loaded["ctrexec.exec.limits"]
  local now, limits

  before_each(function()
    now = 1000
    core.clock.now = function() return now end
    package.loaded["ctrexec.exec.limits"] = nil
    limits = require "ctrexec.exec.limits"
  end)

  after_each(function()
    core.clock.now, package.loaded["ctrexec.exec.limits"] = real_clock, real_module
  end)

  it("without a timeout is no limit", function()
    local limit = limits.new(nil, 5)
    now = now + 1e9
    assert.is_nil(limit:left())
    assert.is_nil(limit:due())
    assert.is_false(limit:is_over())
  end)

  it("kills when the time is over, once", function()
    local limit = limits.new(10)
    now = now + 4
    assert.equal(6, limit:left())
    assert.is_nil(limit:due())
    assert.is_false(limit:is_over())
    now = now + 6
    assert.equal(0, limit:left())
    assert.equal("KILL", limit:due())
    assert.is_true(limit:is_over())
    assert.is_nil(limit:left())
    assert.is_nil(limit:due())
    assert.equal(0, limit:grace())
  end)

  it("with kill_after says TERM first, and KILL that many seconds later", function()
    local limit = limits.new(10, 3)
    now = now + 10
    assert.equal("TERM", limit:due())
    assert.is_true(limit:is_over())
    assert.is_nil(limit:due())
    assert.equal(3, limit:left())
    assert.equal(3, limit:grace())
    now = now + 3
    assert.equal("KILL", limit:due())
    assert.is_nil(limit:left())
    assert.is_nil(limit:due())
    assert.equal(0, limit:grace())
  end)

  it("counts the grace from TERM, however late that was", function()
    local limit = limits.new(10, 3)
    now = now + 100
    assert.equal("TERM", limit:due())
    now = now + 2
    assert.is_nil(limit:due())
    assert.equal(1, limit:grace())
    now = now + 1
    assert.equal("KILL", limit:due())
  end)

  it("of 0 is over at once, and a grace of 0 too", function()
    local limit = limits.new(0, 0)
    assert.equal(0, limit:left())
    assert.equal("TERM", limit:due())
    assert.equal("KILL", limit:due())
    assert.is_nil(limit:due())
  end)

  it("never tells a time below 0", function()
    local limit = limits.new(10, 3)
    now = now + 50
    assert.equal(0, limit:left())
    limit:due()
    now = now + 50
    assert.equal(0, limit:left())
    assert.equal(0, limit:grace())
  end)
end)
