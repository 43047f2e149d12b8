-- The protections: each has a name of its own, and for each there is a hostile container that is tried without it.
local guards = require "tests.hostile.guards"
local tool = require "tests.lib.tool"

local function cases()
  local texts = {}
  for path in tool.output "ls tests/hostile/cases/*.lua":gmatch "[^\n]+" do texts[#texts + 1] = tool.read(path) end
  return table.concat(texts, "\n")
end

describe("the guards", function ()
  it("stand in one place of Lua each", function ()
    local count = 0
    for name, paths in pairs(guards.in_lua()) do
      assert.equal(1, #paths, name .. ": " .. table.concat(paths, ", "))
      assert.is_nil(guards.in_c()[name], name .. " is in C, too")
      assert(load(guards.without(tool.read(paths[1]), name), "@" .. paths[1]))
      count = count + 1
    end
    assert.is_true(count > 10)
  end)

  it("of the cases are there", function ()
    local in_lua, in_c = guards.in_lua(), guards.in_c()
    for list in cases():gmatch "without = (%b{})" do
      for name in list:gmatch '"([%l_]+)"' do assert.is_truthy(in_lua[name] or in_c[name], name) end
    end
  end)

  it("are each taken out by a case", function ()
    local text = cases()
    for _, set in ipairs { guards.in_lua(), guards.in_c() } do
      for name in pairs(set) do assert.is_truthy(text:find(('"%s"'):format(name), 1, true), name) end
    end
  end)
end)

describe("guards.without", function ()
  it("raises a limit, or sets it", function ()
    local source = "local A = 5 -- guard: a\nlocal t = {}\nt.SIZE = 16 << 20 -- guard: b\nreturn A, t.SIZE\n"
    assert.same({ 5000, 16 << 20 }, { load(guards.without(source, "a"))() })
    assert.same({ 3, 16 << 20 }, { load(guards.without(source, "a", 3))() })
    assert.same({ 5, 1000 * (16 << 20) }, { load(guards.without(source, "b"))() })
  end)

  it("leaves out anything else, and no other line", function ()
    local source = "local t = { a = 1,\n  b = 2, -- guard: a\n}\nt.c = t.b and 3 -- guard: ab\nreturn t\n"
    assert.same({ a = 1 }, load(guards.without(source, "a"))())
    assert.same({ a = 1, b = 2 }, load(guards.without(source, "ab"))())
  end)

  it("fails where the guard is not there once", function ()
    assert.has_error(function () guards.without("f()\n", "a") end, "guard a: stands there 0 times")
    assert.has_error(function () guards.without("f() -- guard: a\ng() -- guard: a\n", "a") end,
      "guard a: stands there 2 times")
    assert.has_error(function () guards.without("f() -- guard: a\n", "a", 3) end, "a: is no limit")
  end)

  it("is refused for a name that is nowhere", function ()
    assert.error_matches(function () guards.install "no_such_guard" end, "no guard is called no_such_guard")
  end)
end)
