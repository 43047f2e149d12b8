local testing = require "ctrexec.policy.testing"

describe("record-root", function()
  local policy = testing.policy "scripts/policies/record-root.lua"

  local function check(spec)
    return policy:check(testing.request(spec))
  end

  it("records root's terminals, also when the caller wants another file", function()
    assert.is_true(check({ terminal = true }).options.record)
    assert.is_true(check({ terminal = true, options = { record = "/tmp/mine.cast" } }).options.record)
  end)

  it("records root's shells without a terminal", function()
    assert.is_true(check({ args = { "sh" } }).options.record)
  end)

  it("leaves other commands alone", function()
    assert.is_nil(check({ args = { "id" } }).options.record)
    assert.is_nil(check({ terminal = true, user = "1000" }).options.record)
    assert.equal("/tmp/mine.cast",
      check({ args = { "id" }, options = { record = "/tmp/mine.cast" } }).options.record)
  end)

  it("denies a terminal that it could not record", function()
    local result = check { terminal = true, options = { detach = true } }
    assert.matches("^denied by policy record%-root: root's terminals are recorded here", result.message)
    assert.equal("accept", check({ args = { "id" }, options = { detach = true } }).decision)
  end)
end)
