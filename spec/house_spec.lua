-- The Lua modules stand on floors: no module requires one of a higher floor or itself, and a module that is loaded late
-- is named at the head of the file, with the reason.
local draw = require "docs.draw"
local house = require "docs.house"

local function faults(texts)
  return house.faults(house.read(texts))
end

describe("the floors", function ()
  it("are kept", function() assert.same({}, faults(house.sources())) end)

  it("are drawn as they are: lua5.4 docs/draw.lua >docs/modules.svg", function()
    local file <close> = assert(io.open "docs/modules.svg")
    assert.is_true(file:read "a" == draw.svg(house.read(house.sources())), "docs/modules.svg shows other modules")
  end)

  it("are drawn, every module once", function ()
    local svg = draw.svg(house.read {
      ["ctrexec.lib.json"] = "", ["ctrexec.exec.plan"] = 'local json = require "ctrexec.lib.json"',
    })
    assert.equal(2, select(2, svg:gsub("<text x=\"%d+\" y=\"%d+\" text", "")))
    assert.truthy(svg:find "<title>ctrexec.exec.plan requires ctrexec.lib.json</title>")
  end)
end)

describe("a house with a fault", function ()
  local JSON = "local json = {}\nreturn json\n"

  it("is none below a module that requires it", function ()
    assert.same({}, faults {
      ["ctrexec.lib.json"] = JSON, ["ctrexec.exec.plan"] = 'local json = require "ctrexec.lib.json"\nreturn json\n',
    })
  end)

  it("has a module that requires one of a higher floor, early or late", function ()
    assert.same({ "ctrexec.lib.trust requires ctrexec.exec.plan of a higher floor" }, faults {
      ["ctrexec.exec.plan"] = JSON, ["ctrexec.lib.trust"] = 'local plan = require "ctrexec.exec.plan"\nreturn plan\n',
    })
    assert.same({ "ctrexec.exec.plan requires ctrexec.policy of a higher floor" }, faults {
      ["ctrexec.policy"] = JSON,
      ["ctrexec.exec.plan"] = 'local late = 1\nlocal p = late "ctrexec.policy" -- a reason\nreturn p\n',
    })
  end)

  it("has a site or a policy that requires the public module", function ()
    assert.same({ "ctrexec.site.config requires the public module" }, faults {
      ["ctrexec"] = JSON, ["ctrexec.site.config"] = 'local ctrexec = require "ctrexec"\nreturn ctrexec\n',
    })
  end)

  it("has a circle, also where a module on it is loaded late", function ()
    local found = faults {
      ["ctrexec.lib.a"] = 'local b = require "ctrexec.lib.b"\n',
      ["ctrexec.lib.b"] = 'local a = late "ctrexec.lib.a" -- why\n',
    }
    assert.same({ "ctrexec.lib.a requires itself: ctrexec.lib.a -> ctrexec.lib.b",
      "ctrexec.lib.b requires itself: ctrexec.lib.b -> ctrexec.lib.a" }, found)
  end)

  it("names a module within a function, unless only the beginning of the name is known", function ()
    local function within(call)
      local text = "local function f(x)\n  if x then return 1 end\n  return %s -- why\nend\nreturn f\n"
      return faults { ["ctrexec.lib.json"] = JSON, ["ctrexec.lib.trust"] = text:format(call) }
    end
    assert.same({ "ctrexec.lib.trust:3: a module is named within a function" }, within 'require "ctrexec.lib.json"')
    assert.same({ "ctrexec.lib.trust:3: a module is named within a function" }, within 'require("ctrexec.lib.json")')
    assert.same({ "ctrexec.lib.trust:3: a module is named within a function" }, within 'late "ctrexec.lib.json"')
    assert.same({}, within 'late("ctrexec.container." .. x)')
    assert.same({}, within '"require \\"ctrexec.lib.json\\""')
  end)

  it("has a late module without a reason", function ()
    local function late(text) return faults { ["ctrexec.lib.json"] = JSON, ["ctrexec.lib.trust"] = text } end
    assert.same({ "ctrexec.lib.trust:2: no word why it is late" },
      late 'local x = 1\nlocal json = late "ctrexec.lib.json"\n')
    assert.same({}, late '-- a reason for both\nlocal json = late "ctrexec.lib.json"\nlocal b = late "other"\n')
  end)

  it("has a file that is too long", function ()
    assert.same({ "ctrexec.lib.json: 601 lines" }, faults { ["ctrexec.lib.json"] = ("\n"):rep(601) })
  end)
end)
