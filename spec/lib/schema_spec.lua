-- Every type: the values that it accepts, the form in which it returns them, and the line by which it refuses others.
local cjson = require "cjson"
local schema = require "ctrexec.lib.schema"
local unwind = require "ctrexec.lib.unwind"

local null, huge, nan = cjson.null, math.huge, 0 / 0

local function takes(kind, value, expected)
  if expected == nil then expected = value end
  local good, message = schema.check(kind, value, "spec")
  assert.is_nil(message)
  assert.same(expected, good)
  assert.equal(math.type(expected), math.type(good))
end

local function refuses(kind, value, message)
  assert.same({ nil, "spec" .. message, "invalid" }, { schema.check(kind, value, "spec") })
end

describe("schema's type of", function ()
  it("a string", function ()
    takes(schema.string, "")
    takes(schema.string, "a\nb\xff")
    refuses(schema.string, "a\0b", ": contains a NUL byte")
    refuses(schema.string, 1, ": expected a string, got a number")
    refuses(schema.string, true, ": expected a string, got a boolean")
    refuses(schema.string, { 1 }, ": expected a string, got an array")
    refuses(schema.string, { a = 1 }, ": expected a string, got an object")
    refuses(schema.string, nil, ": expected a string, got nothing")
    refuses(schema.string, null, ": expected a string, got null")
    refuses(schema.string, print, ": expected a string, got a function")
    refuses(schema.string, io.stdout, ": expected a string, got a userdata")
  end)

  it("a boolean", function ()
    takes(schema.boolean, true)
    takes(schema.boolean, false)
    refuses(schema.boolean, "true", ": expected a boolean, got a string")
    refuses(schema.boolean, 0, ": expected a boolean, got a number")
  end)

  it("a function", function ()
    takes(schema.func, print)
    refuses(schema.func, "print", ": expected a function, got a string")
  end)

  it("anything", function ()
    for _, value in ipairs { 1, "x", false, null } do takes(schema.any, value) end
  end)

  it("an absolute path", function ()
    takes(schema.absolute, "/")
    takes(schema.absolute, "/a/../b")
    refuses(schema.absolute, "a", ': expected an absolute path, got "a"')
    refuses(schema.absolute, "", ': expected an absolute path, got ""')
    refuses(schema.absolute, "a\nb", [[: expected an absolute path, got "a\nb"]])
    refuses(schema.absolute, "/\0", ": contains a NUL byte")
    refuses(schema.absolute, 5, ": expected a string, got a number")
  end)

  it("an absolute path without \"..\"", function ()
    takes(schema.straight, "/a..b/.../c")
    refuses(schema.straight, "a", ': expected an absolute path, got "a"')
    refuses(schema.straight, "/a/../b", ': expected an absolute path, got "/a/../b"')
    refuses(schema.straight, "/a/..", ': expected an absolute path, got "/a/.."')
    refuses(schema.straight, 5, ": expected a string, got a number")
  end)

  it("an integer", function ()
    takes(schema.integer(), math.mininteger)
    takes(schema.integer(), 5.0, 5)
    refuses(schema.integer(), 1.5, ": expected an integer, got 1.5")
    refuses(schema.integer(), 2.0 ^ 63, ": expected an integer, got 9.2233720368548e+18")
    refuses(schema.integer(), huge, ": expected an integer, got inf")
    refuses(schema.integer(), "5", ": expected an integer, got a string")
    takes(schema.integer(0), 0)
    refuses(schema.integer(0), -1, ": must not be negative, got -1")
    takes(schema.integer(1), math.maxinteger)
    refuses(schema.integer(1), 0, ": must be at least 1, got 0")
    takes(schema.integer(-20, 19), -20)
    takes(schema.integer(-20, 19), 19.0, 19)
    refuses(schema.integer(-20, 19), 20, ": must be in range -20 to 19, got 20")
    refuses(schema.integer(-20, 19), -21, ": must be in range -20 to 19, got -21")
  end)

  it("an integer of 64 bits without a sign", function ()
    takes(schema.uint64, 0)
    takes(schema.uint64, 7.0, 7)
    takes(schema.uint64, math.maxinteger)
    takes(schema.uint64, 2.0 ^ 63)
    takes(schema.uint64, 2.0 ^ 64)
    refuses(schema.uint64, 2.0 ^ 65, ": expected an integer, got 3.6893488147419e+19")
    refuses(schema.uint64, huge, ": expected an integer, got inf")
    refuses(schema.uint64, -1, ": must not be negative, got -1")
    refuses(schema.uint64, 0.5, ": expected an integer, got 0.5")
    refuses(schema.uint64, "1", ": expected an integer, got a string")
  end)

  it("a number", function ()
    takes(schema.number "seconds", 0)
    takes(schema.number "seconds", 0.5)
    refuses(schema.number "seconds", -0.5, ": expected a number of seconds, got -0.5")
    refuses(schema.number "seconds", huge, ": expected a number of seconds, got inf")
    assert.is_nil((schema.check(schema.number "seconds", nan, "spec")))
    refuses(schema.number "seconds", "1", ": expected a number of seconds, got a string")
    refuses(schema.number("bytes", true), 0, ": must be greater than 0")
  end)

  it("a key of a table", function ()
    local kind = schema.one_of({ FIFO = 0, OTHER = false }, "policy")
    takes(kind, "FIFO")
    takes(kind, "OTHER")
    refuses(kind, "RR", ': unknown policy "RR"')
    refuses(kind, "R\nR", [[: unknown policy "R\nR"]])
    refuses(kind, 0, ": expected a string, got a number")
  end)

  it("what a table has another value for", function ()
    local names = schema.translated(schema.integer(), { [0] = "KILL", "ERRNO" }, "action")
    takes(names, 0, "KILL")
    takes(names, 1.0, "ERRNO")
    refuses(names, 2, ": unknown action 2")
    refuses(names, "KILL", ": expected an integer, got a string")
    local kind = schema.translated(schema.string, { NEWNS = "mount" }, "namespace")
    takes(kind, "NEWNS", "mount")
    refuses(kind, "NEW", ': unknown namespace "NEW"')
  end)

  it("an array", function ()
    local kind = schema.array(schema.string)
    takes(kind, {})
    takes(kind, { "a", "b" })
    refuses(kind, "a", ": expected an array, got a string")
    refuses(kind, { "a", 2 }, "[2]: expected a string, got a number")
    refuses(kind, { "a", null }, "[2]: expected a string, got null")
    refuses(kind, { a = "b" }, ': expected an array, got an object with the key "a"')
    refuses(kind, { "a", [3] = "c" }, ': expected an array, got an object with the key "3"')
    refuses(kind, { "a", ["b\n"] = "c" }, [[: expected an array, got an object with the key "b\n"]])
    refuses(schema.array(schema.string, "an array of names"), 5, ": expected an array of names, got a number")
    refuses(schema.array(kind), { {}, { "a", 1 } }, "[2][2]: expected a string, got a number")
  end)

  it("a map", function ()
    local kind = schema.map(schema.string)
    takes(kind, {})
    takes(kind, { a = "b", ["c.d"] = "e" })
    takes(kind, { a = null, b = "c" }, { b = "c" })
    refuses(kind, { "a" }, ": expected an object, got an array")
    refuses(kind, "a", ": expected an object, got a string")
    refuses(kind, { a = 1 }, ".a: expected a string, got a number")
    refuses(kind, { [true] = "x" }, ".true: the name is not a string")
  end)
end)

describe("schema.object", function ()
  local FIELDS = { b = schema.integer(), a = schema.string, c = schema.object { d = schema.boolean } }
  local kind = schema.object(FIELDS)

  it("takes known fields, and passes over others", function ()
    takes(kind, { a = "x", b = 1.0, c = { d = true, e = 1 }, f = 2 }, { a = "x", b = 1, c = { d = true } })
    takes(kind, {})
    takes(kind, { a = null, c = null }, {})
    refuses(kind, { "x" }, ": expected an object, got an array")
    refuses(kind, 5, ": expected an object, got a number")
    refuses(kind, { c = { d = 1 } }, ".c.d: expected a boolean, got a number")
  end)

  it("names the same one of two mistakes always: the first by name", function ()
    refuses(kind, { b = "x", a = 1, c = 2 }, ".a: expected a string, got a number")
    refuses(kind, { b = "x", c = 2 }, ".b: expected an integer, got a string")
  end)

  it("demands fields, and tells a null by the field's type", function ()
    local strict = schema.object(FIELDS, { required = { "b", "a" } })
    takes(strict, { a = "", b = 0 })
    refuses(strict, {}, ".b: missing")
    refuses(strict, { b = 1 }, ".a: missing")
    refuses(strict, { b = null, a = "x" }, ".b: expected an integer, got null")
  end)

  it("refuses unknown fields", function ()
    local strict = schema.object(FIELDS, { unknown = "refuse" })
    takes(strict, { a = "x" })
    refuses(strict, { a = "x", z = 1, y = 2 }, ".y: unknown field")
    refuses(strict, { ["a b"] = 1 }, '["a b"]: unknown field')
    refuses(strict, { [false] = 1 }, ".false: unknown field")
    refuses(strict, { a = "x", [1.5] = 1 }, "[1.5]: unknown field")
    refuses(strict, { a = 1, z = 1 }, ".a: expected a string, got a number")
  end)

  it("warns of unknown fields, in the order of their names", function ()
    local open = schema.object({ a = schema.object({ b = schema.any }, { unknown = "warn" }) }, { unknown = "warn" })
    local warnings = {}
    assert.same({ a = { b = 1 } }, schema.check(open, { z = 1, y = 2, a = { b = 1, c = 2 } }, "process",
      { warnings = warnings }))
    for index, path in ipairs { "process.a.c", "process.y", "process.z" } do
      assert.same({ level = "debug", message = path .. ": unknown field ignored", unknown = path }, warnings[index])
    end
    assert.equal(3, #warnings)
    takes(open, { y = 1 }, {})
  end)

  it("looks at the whole, which may become another", function ()
    local seen
    takes(schema.object(FIELDS, { finish = function (copy, place)
      seen = schema.path(place, "b")
      copy.b = copy.b or 7
    end }), {}, { b = 7 })
    assert.equal("spec.b", seen)
    takes(schema.object(FIELDS, { finish = function (copy) return { copy.a } end }), { a = "x" }, { "x" })
    refuses(schema.array(schema.object(FIELDS, { finish = function (_, place)
      schema.refuse(place, "%d is too few", 0)
    end })), { {} }, "[1]: 0 is too few")
  end)

  it("gives a copy and does not change what it is given", function ()
    local given = { a = "x", c = { d = true } }
    local good = schema.check(kind, given, "spec")
    assert.are_not.equal(given, good)
    assert.are_not.equal(given.c, good.c)
    assert.same({ a = "x", c = { d = true } }, given)
  end)
end)

describe("schema", function ()
  it("begins a message with the name it is given", function ()
    local kind = schema.object { a = schema.array(schema.string) }
    local function message(where) return (select(2, schema.check(kind, { a = { 1 } }, where))) end
    assert.equal("config.a[1]: expected a string, got a number", message "config")
    assert.equal("/run/x/state.json: a[1]: expected a string, got a number", message "/run/x/state.json: ")
  end)

  it("quotes a name that is no word, so that the path stays one line", function ()
    local kind = schema.map(schema.map(schema.string))
    refuses(kind, { ["a\nb"] = { ["c.d"] = 1 } }, [=[["a\nb"]["c.d"]: expected a string, got a number]=])
    refuses(kind, { [""] = { ["e-f"] = 1 } }, [=[[""].e-f: expected a string, got a number]=])
  end)

  it("marks the arrays that it gives", function ()
    local good = schema.check(schema.object { a = schema.array(schema.any), b = schema.map(schema.any) },
      { a = {}, b = {} }, "spec")
    assert.equal(schema.ARRAY, getmetatable(good.a))
    assert.is_nil(getmetatable(good.b))
  end)

  it("gives a refusal the code that is asked for", function ()
    assert.equal("bad_state", (select(3, schema.check(schema.string, 1, "x", { code = "bad_state" }))))
  end)

  it("unwinds a descent that is guarded already", function ()
    assert.same({ nil, "x: expected a string, got a number", "invalid" },
      { unwind.guarded(function () return schema.apply(schema.string, 1, "x") end) })
  end)

  it("raises at the position of a program that passes a wrong value", function ()
    local function called(value)
      local good = schema.demand(schema.boolean, value, "options.digest", 2)
      return good
    end
    assert.is_false(called(false))
    local ok, message = pcall(function () called "yes" end)
    assert.is_false(ok)
    assert.matches("schema_spec.lua:%d+: options.digest: expected a boolean, got a string$", message)
  end)

  it("tells whether plain values are equal", function ()
    assert.is_true(schema.same({ a = { 1, 2 } }, { a = { 1, 2 } }))
    assert.is_true(schema.same(nil, nil))
    for _, other in ipairs { { a = { 1 } }, { a = { 1, 2, 3 } }, { a = { 2, 1 } }, {}, { a = { 1, 2 }, b = 1 }, 5 } do
      assert.is_false(schema.same({ a = { 1, 2 } }, other))
    end
    assert.is_false(schema.same(nil, {}))
  end)
end)
