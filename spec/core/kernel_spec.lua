local core = require "ctrexec.core"
local support = require "spec.core.support"

describe("kernel.release", function ()
  it("is what uname says", function ()
    assert.equal(support.output("uname -r"):gsub("\n", ""), core.kernel.release())
  end)
end)
