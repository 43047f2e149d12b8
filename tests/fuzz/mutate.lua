--- Mutations of JSON documents by their structure: they drop, repeat or replace whole values.
-- All chance comes from math.random, so that a seed repeats a run. Used by spec/mutation_spec.lua and by the fuzz
-- targets that read tables (tests/fuzz/json.h).
local mutate = {}

local cjson = require "cjson".new()
cjson.encode_max_depth(10000)
cjson.encode_sparse_array(true)
cjson.encode_invalid_numbers "null"

local random = math.random

-- Texts that no Lua value gives. A marker string stands for each in a tree, and `encode` replaces the marker by the
-- text.
local RAW = "@raw:"
local AGAIN = "@again:"

local function raw(text)
  return RAW .. text
end

local function nested(open, close)
  return function()
    local depth = ({ 3, 62, 63, 64, 65, 999, 5000 })[random(7)]
    return raw(open:rep(depth) .. "1" .. close:rep(depth))
  end
end

-- Values that a reader may not expect.
local STRINGS = {
  "text", "", "\0", "0", ("/.."):rep(100), ("a,"):rep(2000), ("x"):rep(70000), "\xff\xfe\x80", "\xed\xa0\x80",
  "a\nb\27[31m", "%s%d%n", "0-4294967295", "x-y,,3-1", "/proc/self/fd/1", "../../etc", raw '"\\ud800"',
  raw '"\\u0000"',
}
local VALUES = {
  function() return STRINGS[random(#STRINGS)] end, function() return STRINGS[random(#STRINGS)] end,
  function() return -1 end, function() return 0 end, function() return 1.5 end, function() return 4294967296 end,
  function() return 2 ^ 53 + 2 end, function() return -2 ^ 63 end, function() return 1e308 end,
  function() return true end, function() return false end, function() return cjson.null end,
  function() return {} end, function() return { "a", 1, { b = cjson.null } } end,
  function() return { a = "b", c = { 1, 2 } } end, function() return { cjson.null, cjson.null } end,
  function() return raw "[]" end, function() return raw "1e999" end, function() return raw "-0" end,
  function() return raw "18446744073709551615" end, function() return raw "9223372036854775808" end,
  function() return raw "NaN" end, function() return raw "Infinity" end, function() return raw "0x10" end,
  nested("[", "]"), nested('{"a":', "}"),
}

-- Every place in a tree: the table and the key, in the order of the keys.
local function places(tree, list)
  local keys = {}
  for key in pairs(tree) do keys[#keys + 1] = key end
  table.sort(keys, function(a, b) return tostring(a) < tostring(b) end)
  for _, key in ipairs(keys) do
    list[#list + 1] = { tree, key }
    if type(tree[key]) == "table" then places(tree[key], list) end
  end
  return list
end

--- A deep copy.
-- @param value a tree, or any other value
-- @return its copy
function mutate.copy(value)
  if type(value) ~= "table" then return value end
  local result = {}
  for key, item in pairs(value) do result[key] = mutate.copy(item) end
  return result
end

local function drop(place)
  local parent, key = place[1], place[2]
  if math.type(key) then table.remove(parent, key) else parent[key] = nil end
end

-- An item of an array comes again, up to some hundred times; a member of an object comes twice in the text.
local function duplicate(place)
  local parent, key = place[1], place[2]
  if not math.type(key) then
    parent[AGAIN .. key] = mutate.copy(parent[key])
    return
  end
  for _ = 1, ({ 1, 2, 40, 300 })[random(4)] do table.insert(parent, random(#parent + 1), mutate.copy(parent[key])) end
end

-- By any value, or half the time by one that is of the right type at least.
local function replace(place)
  local parent, key = place[1], place[2]
  local other = type(parent[key]) == "string" and random(2) == 1 and STRINGS[random(#STRINGS)]
  parent[key] = other or VALUES[random(#VALUES)]()
end

-- An array becomes an object, an object an array, another value the only one of either.
local function convert(place)
  local parent, key = place[1], place[2]
  local value, other = parent[key], {}
  if type(value) ~= "table" then
    other[random(2) == 1 and 1 or "a"] = value
  else
    local to_array = not math.type(next(value))
    for name, item in pairs(value) do other[to_array and #other + 1 or "k" .. tostring(name)] = item end
  end
  parent[key] = other
end

-- What stands in one place comes to another.
local function move(place, all)
  local from = all[random(#all)]
  place[1][place[2]] = mutate.copy(from[1][from[2]])
end

local function edit_number(place)
  local parent, key = place[1], place[2]
  local value = parent[key]
  if type(value) == "number" then
    parent[key] = ({ value + 1, value - 1, -value, value + 2 ^ 32, value + 0.5 })[random(5)]
  else
    replace(place)
  end
end

local CHANGES = { drop, duplicate, replace, replace, replace, convert, move, edit_number }

--- Changes one to three places of a tree.
-- @tparam table tree changed in place; for `encode`, which knows the marks that are put into it
function mutate.tree(tree)
  for _ = 1, random(3) do
    local all = places(tree, {})
    if #all == 0 then return end
    CHANGES[random(#CHANGES)](all[random(#all)], all)
  end
end

--- The JSON text of a mutated tree.
-- @tparam table tree
-- @treturn string
function mutate.encode(tree)
  local text = cjson.encode(tree)
  text = text:gsub('"' .. AGAIN, '"')
  return (text:gsub('"' .. RAW .. '(.-[^\\])"([,}%]])', function(escaped, after)
    return cjson.decode('["' .. escaped .. '"]')[1] .. after
  end))
end

--- Changes bytes: cuts the text short, replaces a byte, or repeats a part or leaves one out.
-- @tparam string text
-- @treturn string
function mutate.text(text)
  if text == "" then return string.char(random(0, 255)) end
  local at = random(#text)
  local kind = random(3)
  if kind == 1 then return text:sub(1, at - 1) end
  if kind == 2 then return text:sub(1, at - 1) .. string.char(random(0, 255)) .. text:sub(at + 1) end
  return text:sub(1, at) .. text:sub(random(#text))
end

--- Changes a JSON document: one time in eight its bytes, else its structure.
-- @tparam string text
-- @treturn string
function mutate.json(text)
  local ok, tree = pcall(cjson.decode, text)
  if not ok or type(tree) ~= "table" or random(8) == 1 then return mutate.text(text) end
  mutate.tree(tree)
  return mutate.encode(tree)
end

-- Values that no JSON text gives, but a Lua program can pass.
local LUA_VALUES = {
  function() return 0 / 0 end, function() return math.huge end, function() return -math.huge end,
  function() return math.mininteger end, function() return math.maxinteger end, function() return print end,
  function() return coroutine.create(print) end, function() return io.stderr end,
  function() return { [1.5] = "a", [true] = 1 } end, function() return { "a", nil, "c", x = 1 } end,
  function()
    local cycle = {}
    cycle.cycle, cycle[1] = cycle, cycle
    return cycle
  end,
}

--- Changes one to three places of a tree that stays a Lua value; what is put there may be no value of JSON's.
-- @tparam table tree changed in place
function mutate.value(tree)
  for _ = 1, random(3) do
    local all = places(tree, {})
    if #all == 0 then return end
    local place = all[random(#all)]
    local kind = random(4)
    if kind == 1 then
      drop(place)
    elseif kind == 2 then
      move(place, all)
    else
      local values = kind == 3 and LUA_VALUES or VALUES
      place[1][place[2]] = values[random(#values)]()
      if kind == 3 then return end -- a cycle has no end of places
    end
  end
end

return mutate
