local core = require "ctrexec.core"

local pack, unpack = core.value.pack, core.value.unpack

describe("value.pack and unpack", function()
  it("give back what they were given", function()
    local shared = { 1, 2 }
    for _, value in ipairs { true, false, 0, -1, 1.5, math.maxinteger, math.mininteger, 1 / 0, "", "a\0b", {},
      { 1, "x", { y = { z = 1.0 } }, shared, shared, [10] = true, [1.5] = "f", [true] = false } } do
      local bytes = assert(pack(value))
      assert.same(value, unpack(bytes))
    end
    assert.is_nil(unpack(pack(nil)))
    assert.equal("float", math.type(unpack(pack(1.0))))
    assert.equal("integer", math.type(unpack(pack(1))))
  end)

  it("gives the same bytes for an unchanged table", function()
    local value = { a = 1, b = { 2, 3 }, c = "x" }
    assert.equal(pack(value), pack(value))
    local before = pack(value)
    value.b[1] = 5
    assert.not_equal(before, pack(value))
  end)

  it("does not call metamethods", function()
    local value = setmetatable({ 1 }, { __index = error, __pairs = error, __len = error })
    assert.same({ 1 }, unpack(pack(value)))
  end)

  it("names what cannot be packed", function()
    local cycle = {}
    cycle.self = cycle
    local wide = {}
    for _ = 1, 40 do wide = { wide, wide } end
    for _, case in ipairs {
      { print, ": a function is not a plain value" },
      { { process = { args = { "x", io.stdout } } }, ".process.args[2]: a userdata is not a plain value" },
      { { [print] = 1 }, "[function]: a function is not a plain value" },
      { { [1.5] = print }, "[number]: a function is not a plain value" },
      { { coroutine.create(print) }, "[1]: a thread is not a plain value" },
      { cycle, (".self"):rep(64) .. ": nested too deeply" },
      { { x = ("x"):rep(17 << 20) }, ".x: too large" },
    } do
      local bytes, message = pack(case[1])
      assert.is_nil(bytes)
      assert.equal(case[2], message)
    end
    assert.matches(": too large$", select(2, pack(wide)))
  end)

  it("refuse every truncated or altered text without a crash", function()
    local bytes = pack { a = { 1, 2.5, "text", true }, b = { c = {} } }
    for length = 0, #bytes - 1 do
      local value, message = unpack(bytes:sub(1, length))
      assert.is_nil(value)
      assert.equal("malformed packed value", message)
    end
    assert.is_nil((unpack(bytes .. "\0")))
    for position = 1, #bytes do
      for _, byte in ipairs { 0, 3, 4, 5, 6, 7, 127, 255 } do
        unpack(bytes:sub(1, position - 1) .. string.char(byte) .. bytes:sub(position + 1))
      end
    end
  end)

  it("refuse hostile headers", function()
    local nan = "\4" .. string.pack("<d", 0 / 0)
    for _, bytes in ipairs { "\6\255\255\255\255", "\5\255\255\255\255x", ("\6\0\0\0\0"):rep(100), "\9",
      ("\6\0\0\0\0\1"):rep(1000), "\6\0\0\0\0" .. nan .. "\1\0" } do
      assert.is_nil((unpack(bytes)))
    end
  end)
end)
