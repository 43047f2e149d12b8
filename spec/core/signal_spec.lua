local core = require "ctrexec.core"
local tool = require "tests.lib.tool"

local signal = core.signal

describe("signal names", function ()
  it("are those of the shell, both ways", function ()
    for number = 1, 31 do
      local name = tool.output(("bash -c 'kill -l %d'"):format(number)):gsub("\n", "")
      assert.equal(name, signal.name(number))
      assert.equal(number, signal.numbers[name])
    end
    assert.equal(34, signal.numbers.RTMIN)
    assert.equal(64, signal.numbers.RTMAX)
  end)

  it("include the other names in use", function ()
    assert.equal(signal.numbers.CHLD, signal.numbers.CLD)
    assert.equal(signal.numbers.ABRT, signal.numbers.IOT)
    assert.equal(signal.numbers.IO, signal.numbers.POLL)
  end)

  it("are nil for a number that has none, as a number is for a name that there is none", function ()
    for _, number in ipairs { 0, -1, 32, 65, 1 << 40 } do
      assert.is_nil(signal.name(number))
    end
    assert.is_nil(signal.numbers.SIGTERM)
    assert.is_nil(signal.numbers[15])
  end)
end)
