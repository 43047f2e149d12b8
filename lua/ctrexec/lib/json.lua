--- Reads and writes JSON (RFC 8259). Reading never raises an error: its message says where the text is wrong.
-- @module ctrexec.lib.json
local late = require "ctrexec.lib.late"
local schema = require "ctrexec.lib.schema"
local wording = late "ctrexec.lib.wording" -- only a string that is not valid UTF-8 needs it

-- A separate instance of cjson, so that the limits below do not apply to the JSON of the host program.
local cjson = require "cjson".new()
cjson.decode_invalid_numbers(false)

local json = {}

--- The largest text that is read, in bytes: the largest state files of real containers have some hundred KiB.
json.MAX_SIZE = 16 << 20 -- guard: process_limit

--- How deep arrays and objects may be nested: the OCI specification needs less than ten.
json.MAX_DEPTH = 64
cjson.decode_max_depth(json.MAX_DEPTH)

--- The value of a null in a raw tree and, after `clean`, in an array.
json.null = cjson.null

local TOKENS = {
  T_OBJ_BEGIN = "{", T_OBJ_END = "}", T_ARR_BEGIN = "[", T_ARR_END = "]", T_COLON = ":", T_COMMA = ",",
  T_STRING = "a string", T_NUMBER = "a number", T_BOOLEAN = "a boolean", T_NULL = "null", T_END = "the end",
}

-- The message for a decoder's error. For a text that ends too early it is that of Go's decoder, known from runc.
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

--- Makes a raw tree easy to use, in place: drops each null in an object, and turns whole numbers into integers (cjson
-- gives floats). A null in an array stays `json.null`, so that the other items keep their places. Numbers of 2^63 and
-- more stay floats.
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

--- Decodes a JSON text.
-- @tparam string text
-- @tparam string name what messages call the text, such as its file's path
-- @return[1] the value: every number is a float and every null is `json.null`
-- @treturn[2] nil
-- @treturn[2] string message: "NAME: line L, column C: what is wrong", "EOF" or "unexpected EOF"
function json.value(text, name)
  if #text > json.MAX_SIZE then return nil, ("%s: larger than %d MiB"):format(name, json.MAX_SIZE >> 20) end
  if text == "" then return nil, "EOF" end
  local ok, value = pcall(cjson.decode, text)
  if not ok then return nil, explain(text, name, value) end
  return value
end

--- Decodes a JSON text whose top is an object.
-- @tparam string text
-- @tparam string name what messages call the text, such as its file's path
-- @tparam[opt] boolean raw true: `clean` is not called, so every number is a float and every null is `json.null`
-- @treturn[1] table
-- @treturn[2] nil
-- @treturn[2] string message as of `value`
function json.decode(text, name, raw)
  local tree, message = json.value(text, name)
  if message then return nil, message end
  if type(tree) ~= "table" or math.type(next(tree)) then
    return nil, ("%s: expected an object, got %s"):format(name, schema.kind(tree))
  end
  return raw and tree or json.clean(tree)
end

-- ------------------------------------------------------------------------------------------------- writing

local ESCAPES = { ['"'] = '\\"', ["\\"] = "\\\\", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t" }

local function escape_byte(byte) return ESCAPES[byte] or ("\\u%04x"):format(byte:byte()) end

-- Escapes all control characters, U+0080 to U+009F too: a line that is printed as it is must not control a terminal.
local function escape(run)
  return (run:gsub('[%c"\\]', escape_byte):gsub("\xC2([\x80-\x9F])", escape_byte))
end

-- Escapes what Go's encoding/json escapes, which keeps its output safe inside HTML and JavaScript.
local function escape_as_go(run)
  return (run:gsub('[\0-\31"\\<>&]', escape_byte):gsub("\u{2028}", "\\u2028"):gsub("\u{2029}", "\\u2029"))
end

local function replacement() return "\\ufffd" end

--- Writes a string in JSON. Each byte that is not part of valid UTF-8 becomes U+FFFD.
-- @tparam string text
-- @tparam[opt] boolean as_go escape exactly what Go's encoding/json escapes
-- @treturn string with quotes
function json.string(text, as_go)
  local valid = as_go and escape_as_go or escape
  return '"' .. (utf8.len(text) and valid(text) or wording.map_utf8(text, valid, replacement)) .. '"'
end

-- Infinity and NaN, which JSON does not have, are written null, as in JavaScript.
local function number(value)
  local integer = math.tointeger(value)
  if integer then return ("%d"):format(integer) end
  if value == 2.0 ^ 64 then return "18446744073709551615" end -- RLIM_INFINITY (`ctrexec.lib.kernel`), as Go writes it
  if value ~= value or value == math.huge or value == -math.huge then return "null" end
  local text = ("%.15g"):format(value)
  return tonumber(text) == value and text or ("%.17g"):format(value)
end

local encode

local function array(list, rank)
  local parts = {}
  for index = 1, #list do parts[index] = encode(list[index], rank) end
  return "[" .. table.concat(parts, ",") .. "]"
end

local function object(map, rank)
  local names, values, parts = {}, {}, {}
  for key, value in next, map do
    local name = tostring(key)
    names[#names + 1], values[name] = name, value
  end
  table.sort(names, function(one, other)
    local first, second = rank[one] or math.huge, rank[other] or math.huge
    if first ~= second then return first < second end
    return one < other
  end)
  for index, name in ipairs(names) do parts[index] = json.string(name) .. ":" .. encode(values[name], rank) end
  return "{" .. table.concat(parts, ",") .. "}"
end

local function is_array(value)
  return getmetatable(value) == schema.ARRAY or rawget(value, 1) ~= nil
end

function encode(value, rank)
  local kind = type(value)
  if kind == "table" then return (is_array(value) and array or object)(value, rank) end
  if kind == "string" then return json.string(value) end
  if kind == "number" then return number(value) end
  if kind == "boolean" then return tostring(value) end
  if value == nil or value == json.null then return "null" end
  error("JSON has no " .. kind, 0)
end

--- Writes a value as one line of JSON. The keys of an object are sorted, `/` is not escaped, and numbers are exact:
-- 2^64, which means "no limit", is written 18446744073709551615. Infinity and NaN are written null.
-- @param value plain data: a table is an array if it has an item 1 or is marked as one (`ctrexec.lib.schema.as_array`)
-- @tparam[opt] {string,...} order keys that come before all others of their object, in this order
-- @treturn string; raises for a function, a thread or userdata
function json.encode(value, order)
  local rank = {}
  for index, name in ipairs(order or {}) do rank[name] = index end
  return encode(value, rank)
end

return json
