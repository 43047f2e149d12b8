local core = require "ctrexec.core"
local tool = require "tests.lib.tool"

describe("clock.now", function ()
  it("does not go back", function ()
    local first = core.clock.now()
    local uptime = tonumber(tool.output("cat /proc/uptime"):match "%S+")
    local second = core.clock.now()
    assert.is_true(first <= second)
    assert.equal("float", math.type(first))
    -- /proc/uptime counts suspended time too, in hundredths.
    assert.is_true(first <= uptime + 0.02)
  end)
end)
