local cjson = require "cjson"
local json = require "ctrexec.lib.json"
local schema = require "ctrexec.lib.schema"

local function refused(text, pattern)
  local tree, message = json.decode(text, "x.json")
  assert.is_nil(tree)
  assert.equal(pattern, message)
end

describe("json.decode", function()
  it("gives integers for whole numbers and leaves nulls of objects out", function()
    local tree = json.decode('{"a":1,"b":1.5,"c":null,"d":{"e":null,"f":[2,null,"x"]},"g":18446744073709551615}', "x")
    assert.equal("integer", math.type(tree.a))
    assert.equal(1.5, tree.b)
    assert.is_nil(tree.c)
    assert.same({ f = { 2, json.null, "x" } }, tree.d)
    assert.equal(2.0 ^ 64, tree.g)
  end)

  it("leaves a raw tree as it is", function()
    local tree = json.decode('{"a":1,"c":null}', "x", true)
    assert.equal("float", math.type(tree.a))
    assert.equal(json.null, tree.c)
  end)

  it("says where a text is wrong", function()
    refused("{\n  \"a\": ]\n}", 'x.json: line 2, column 8: expected value but found ]')
    refused('{"a":1} {', "x.json: line 1, column 9: expected the end but found {")
    refused('{"a":NaN}', "x.json: line 1, column 6: expected value but found invalid token")
    refused('{"a":0x10}', "x.json: line 1, column 6: expected value but found invalid number")
  end)

  it("says that a text ends too early as runc does", function()
    refused("", "EOF")
    refused(" \n\t", "EOF")
    for _, text in ipairs { "{", '{"a', '{"a"', '{"a":', '{"a":1', '{"a":1,', '{"a":[', '{"a":["x' } do
      refused(text, "unexpected EOF")
    end
  end)

  it("takes only an object", function()
    refused("[1]", "x.json: expected an object, got an array")
    refused('"a"', "x.json: expected an object, got a string")
    refused("null", "x.json: expected an object, got null")
    refused("true", "x.json: expected an object, got a boolean")
    refused("3", "x.json: expected an object, got a number")
  end)

  it("has a limit of depth", function()
    local function nested(depth) return '{"a":' .. ("["):rep(depth - 1) .. ("]"):rep(depth - 1) .. "}" end
    assert.is_table(json.decode(nested(json.MAX_DEPTH), "x"))
    refused(nested(json.MAX_DEPTH + 1), "x.json: line 1, column 69: found too many nested data structures (65)")
    assert.is_nil(json.decode(nested(1000000), "x"))
  end)

  it("has a limit of size", function()
    refused('{"a":"' .. ("x"):rep(json.MAX_SIZE) .. '"}', "x.json: larger than 16 MiB")
  end)

  it("does not change how the host program decodes", function()
    assert.is_true(require "cjson".decode_invalid_numbers())
  end)
end)

describe("json.value", function()
  it("takes any value", function()
    assert.same({ 1, "a" }, json.value('[1,"a"]', "x"))
    assert.equal("a", json.value('"a"', "x"))
    assert.is_false(json.value("false", "x"))
    assert.equal(json.null, json.value("null", "x"))
    assert.same({ nil, "x: line 1, column 2: expected value but found invalid token" }, { json.value("[x", "x") })
  end)
end)

describe("json.encode", function()
  it("writes arrays as arrays, also empty ones", function()
    assert.equal("[]", json.encode(schema.as_array {}))
    assert.equal("[1,2]", json.encode { 1, 2 })
    assert.equal('{"a":[],"b":{},"c":[[],{}]}',
      json.encode { a = schema.as_array {}, b = {}, c = { schema.as_array {}, {} } })
    local checked = schema.check(schema.object { a = schema.array(schema.any), b = schema.map(schema.any) },
      json.decode('{"a":[],"b":{}}', "x"), "x")
    assert.equal('{"a":[],"b":{}}', json.encode(checked))
  end)

  it("writes keys in the order of their names, or in a given one", function()
    local value = { zebra = 1, apple = 2, version = 3, inner = { b = 1, a = 2, version = 3 }, ["a b"] = 4 }
    assert.equal('{"a b":4,"apple":2,"inner":{"a":2,"b":1,"version":3},"version":3,"zebra":1}', json.encode(value))
    assert.equal('{"version":3,"inner":{"version":3,"b":1,"a":2},"a b":4,"apple":2,"zebra":1}',
      json.encode(value, { "version", "inner", "b" }))
  end)

  it("writes a key that is no string as one", function()
    assert.equal('{"5":"x","true":1}', json.encode { [5] = "x", [true] = 1 })
  end)

  it("escapes what JSON demands and what drives a terminal, and no slash", function()
    assert.equal('"/a/<b>&\\"\\\\\\n\\r\\t\\u0000\\u0008\\u001b\\u007f\\u009b"',
      json.encode '/a/<b>&"\\\n\r\t\0\b\27\127\u{9b}')
    assert.equal('"\u{e9}\u{a0}\u{1f600}\u{2028}"', json.encode "\u{e9}\u{a0}\u{1f600}\u{2028}")
  end)

  it("writes U+FFFD for a byte that is no UTF-8", function()
    assert.equal('"a\\ufffd\\ufffd(b\u{e9}"', json.encode "a\xff\xc3(b\u{e9}")
    assert.equal('{"\\ufffd":1}', json.encode { ["\xff"] = 1 })
    assert.equal("a\u{fffd}", cjson.decode(json.encode { "a\xff" })[1])
  end)

  it("loses nothing of a number", function()
    for text, number in pairs { ["0"] = 0, ["-5"] = -5, ["5"] = 5.0, ["9007199254740993"] = (1 << 53) + 1,
      ["9223372036854775807"] = math.maxinteger, ["-9223372036854775808"] = math.mininteger, ["0.1"] = 0.1,
      ["1e+300"] = 1e300, ["18446744073709551615"] = 2.0 ^ 64, ["0.30000000000000004"] = 0.1 + 0.2 } do
      assert.equal(text, json.encode(number))
    end
    assert.equal("[null,null,null]", json.encode { math.huge, -math.huge, 0 / 0 })
    for _, number in ipairs { 1 / 3, 1e-7, 123456.789, 2.0 ^ 64, 2.0 ^ 63, -1e17 } do
      assert.equal(number, cjson.decode("[" .. json.encode(number) .. "]")[1])
    end
  end)

  it("writes the other values", function()
    assert.equal('{"a":true,"b":false,"c":null}', json.encode { a = true, b = false, c = json.null })
    assert.equal("null", json.encode(nil))
    assert.error_matches(function() json.encode { a = print } end, "^JSON has no function$")
    assert.error_matches(function() json.encode { io.stdout } end, "^JSON has no userdata$")
  end)

  it("gives what another reader reads", function()
    math.randomseed(7)
    local function random(depth)
      local kind = math.random(depth > 3 and 4 or 6)
      if kind == 1 then return math.random(-1000, 1000) end
      if kind == 2 then return math.random() end
      if kind == 3 then return math.random(2) == 1 end
      if kind == 4 then return utf8.char(math.random(0, 0xD7FF), math.random(0x10000, 0x10FFFF), math.random(127)) end
      local value = {}
      for index = 1, math.random(4) do value[kind == 5 and index or "k" .. index] = random(depth + 1) end
      return value
    end
    for _ = 1, 200 do
      local value = { random(0) }
      assert.same(value, cjson.decode(json.encode(value)))
      assert.equal(json.encode(value), json.encode(cjson.decode(json.encode(value))))
    end
  end)
end)

describe("json.string", function()
  it("escapes as Go's encoding/json does where that is asked for", function()
    assert.equal('"\\u003cb\\u003e \\u0026 \\u2028\\u2029\127\u{9b}\\ufffd"',
      json.string("<b> & \u{2028}\u{2029}\127\u{9b}\xff", true))
    assert.equal('"<b> &"', json.string "<b> &")
  end)
end)
