local core = require "ctrexec.core"

describe("core", function()
  it("says the version that the command and the public module say", function()
    assert.matches("^%d+%.%d+%.%d+$", core.VERSION)
    assert.equal("ctrexec " .. core.VERSION, require "ctrexec"._VERSION)
  end)
end)
