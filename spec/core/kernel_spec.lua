local core = require "ctrexec.core"
local tool = require "tests.lib.tool"

describe("kernel.release", function ()
  it("is what uname says", function ()
    assert.equal(tool.output("uname -r"):gsub("\n", ""), core.kernel.release())
  end)
end)
