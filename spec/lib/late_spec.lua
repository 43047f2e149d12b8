-- Late modules: named at the head of a file, and loaded at their first use.
local late = require "ctrexec.lib.late"

describe("late", function ()
  after_each(function () package.loaded["spec.lib.late_module"], package.preload["spec.lib.late_module"] = nil, nil end)

  it("loads the module when a field is first used, and once", function ()
    local loaded = 0
    package.preload["spec.lib.late_module"] = function ()
      loaded = loaded + 1
      return { answer = 42 }
    end
    local module = late "spec.lib.late_module"
    assert.equal(0, loaded)
    assert.equal(42, module.answer)
    assert.is_nil(module.other)
    assert.equal(1, loaded)
  end)

  it("shows the module's fields as they are now", function ()
    package.preload["spec.lib.late_module"] = function () return { answer = 1 } end
    local module = late "spec.lib.late_module"
    assert.equal(1, module.answer)
    require "spec.lib.late_module".answer = 2
    assert.equal(2, module.answer)
  end)

  it("fails as require does", function ()
    local module = late "spec.lib.no_such_module"
    assert.error_matches(function () return module.answer end, "module 'spec.lib.no_such_module' not found")
  end)
end)
