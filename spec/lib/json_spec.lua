local json = require "ctrexec.lib.json"

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
