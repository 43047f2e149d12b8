--- JSON that other programs wrote: decoding that never raises, and that says where a text is wrong.
-- @module ctrexec.lib.json
local json = {}

-- An instance of our own: the limits below are not for the JSON of the host program.
local cjson = require "cjson".new()
cjson.decode_invalid_numbers(false)

--- Bytes that a text may have: the largest state files of real containers have some hundred KiB.
json.MAX_SIZE = 16 << 20

--- How deep arrays and objects may be nested: the OCI specification needs less than ten.
json.MAX_DEPTH = 64
cjson.decode_max_depth(json.MAX_DEPTH)

--- What stands for a null that `clean` has not removed: one in a raw tree or in an array.
json.null = cjson.null

local TOKENS = {
  T_OBJ_BEGIN = "{", T_OBJ_END = "}", T_ARR_BEGIN = "[", T_ARR_END = "]", T_COLON = ":", T_COMMA = ",",
  T_STRING = "a string", T_NUMBER = "a number", T_BOOLEAN = "a boolean", T_NULL = "null", T_END = "the end",
}

-- A text that ends too early is told in the words of Go's decoder, which people know from runc.
local function explain(text, name, failure)
  local reason, position = failure:match "^(.*) at character (%d+)$"
  if not reason then return ("%s: %s"):format(name, failure) end
  if reason:find "T_END$" or reason:find "unexpected end of string$" then
    return text:find "%S" and "unexpected EOF" or "EOF"
  end
  reason = reason:gsub("T_[%u_]+", TOKENS)
  local before = text:sub(1, tonumber(position) - 1)
  local line = select(2, before:gsub("\n", "\n")) + 1
  return ("%s: line %d, column %d: %s"):format(name, line, #before:match "[^\n]*$" + 1, reason:lower())
end

--- Makes a raw tree easy to use, in place: no null in an object, and integers for whole numbers (cjson gives floats).
-- A null in an array stays `json.null`, so that no item changes its place. Numbers of 2^63 and more stay floats.
-- @tparam table tree
-- @treturn table the same
function json.clean(tree)
  for key, value in next, tree do
    local kind = type(value)
    if kind == "table" then
      json.clean(value)
    elseif kind == "number" then
      tree[key] = math.tointeger(value) or value
    elseif kind == "userdata" and type(key) == "string" then
      tree[key] = nil
    end
  end
  return tree
end

--- Decodes a JSON text (RFC 8259) whose top is an object.
-- @tparam string text
-- @tparam string name of the text in messages, as its file's path
-- @tparam[opt] boolean raw leave out `clean`: every number is a float and every null is `json.null`
-- @treturn[1] table
-- @treturn[2] nil
-- @treturn[2] string message: "NAME: line L, column C: what is wrong", "EOF" or "unexpected EOF"
function json.decode(text, name, raw)
  if #text > json.MAX_SIZE then return nil, ("%s: larger than %d MiB"):format(name, json.MAX_SIZE >> 20) end
  if text == "" then return nil, "EOF" end
  local ok, tree = pcall(cjson.decode, text)
  if not ok then return nil, explain(text, name, tree) end
  if type(tree) ~= "table" or math.type(next(tree)) then
    return nil, ("%s: expected an object, got %s"):format(name, json.kind(tree))
  end
  return raw and tree or json.clean(tree)
end

--- What a decoded value is, in JSON's words and for messages.
-- @param value
-- @treturn string "an object", "an array", "a string", "a number", "a boolean", "null" or "nothing"
function json.kind(value)
  if value == nil then return "nothing" end
  if value == json.null then return "null" end
  if type(value) ~= "table" then return "a " .. type(value) end
  return math.type(next(value)) and "an array" or "an object"
end

return json
