-- A step several calls down gives up, and the outermost function returns the reason.
local unwind = require "ctrexec.lib.unwind"

describe("unwind", function ()
  it("returns what the function returns", function ()
    assert.same({ 1, nil, 3, n = 3 }, table.pack(unwind.guarded(function (...) return ... end, 1, nil, 3)))
  end)

  it("returns nil, message, code and detail of a failure", function ()
    local function deep() unwind.fail("no room", "system", 7) end
    assert.same({ nil, "no room", "system", 7, n = 4 }, table.pack(unwind.guarded(function () deep() end)))
    assert.equal(3, select("#", unwind.guarded(unwind.fail, "no detail")))
  end)

  it("lets other errors pass", function ()
    assert.error_matches(function () unwind.guarded(function () error("a fault", 0) end) end, "^a fault$")
    assert.error(function () unwind.guarded(function () error { message = "not a failure" } end) end)
  end)
end)
