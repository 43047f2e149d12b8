--- The one checker of values that come from outside: process objects, configurations, specs, state files of runtimes,
-- and the results of policies.
--
-- A type is a function of a value and a place. It returns the value in the form to work with (integers are Lua integers
-- though JSON gives floats; tables are copies), or refuses it, which unwinds to `check` or `demand`. The place holds
-- the keys on the way down to the value: a refusal makes the path that its message names from them.
-- @module ctrexec.lib.schema
local late = require "ctrexec.lib.late"
local unwind = require "ctrexec.lib.unwind"
local cjson = late "cjson" -- only a value from JSON can be null, and reading it has loaded cjson already
local wording = late "ctrexec.lib.wording" -- only a refusal needs it

local schema = {}

--- The metatable of arrays: `ctrexec.lib.json` writes a table that has it as an array, even an empty one.
schema.ARRAY = {}

--- Marks a table as an array. The arrays that a type returns are marked already.
-- @tparam table list
-- @treturn table the same
function schema.as_array(list)
  return setmetatable(list, schema.ARRAY)
end

--- Whether a value is absent. JSON's null counts as absent, as in Go.
-- @param value
-- @treturn boolean
function schema.absent(value)
  return value == nil or type(value) == "userdata" and value == cjson.null
end

local absent = schema.absent

local function is_array(value)
  return math.type(next(value)) == "integer"
end

local function step_of(key, dot)
  if math.type(key) then return ("[%s]"):format(key) end
  key = tostring(key)
  return key:find "^[%w_-]+$" and dot .. key or ("[%s]"):format(wording.quote(key))
end

-- The whole path of a place, as "state.json: config.seccomp.syscalls[3].name".
local function path_of(place)
  local parts = { place.where }
  for index = 1, place.depth do
    parts[index + 1] = step_of(place[index], (index > 1 or place.where:find "[^ ]$") and "." or "")
  end
  return table.concat(parts)
end

--- The path of the value that is being checked.
-- @tparam table place
-- @tparam[opt] string field of that value
-- @treturn string as "process.rlimits[2].soft"
function schema.path(place, field)
  return path_of(place) .. (field and "." .. field or "")
end

--- Refuses the value at a place.
-- @tparam table place
-- @tparam string message without the path, which is put before it; any text of the value must be quoted
-- (`ctrexec.lib.wording.quote`), so that the message stays one line
-- @param ... for string.format
function schema.refuse(place, message, ...)
  if select("#", ...) > 0 then message = message:format(...) end
  unwind.fail(path_of(place) .. ": " .. message, place.code)
end

--- Names the kind of a value in JSON's words.
-- @param value
-- @treturn string "an object", "an array", "a string", "a number", "a boolean", "null", "nothing", or Lua's own type
function schema.kind(value)
  if absent(value) then return value == nil and "nothing" or "null" end
  if type(value) == "table" then return is_array(value) and "an array" or "an object" end
  return "a " .. type(value)
end

--- Refuses a value of a wrong type.
-- @tparam table place
-- @tparam string expected as "an array of strings"
-- @param value
function schema.mismatch(place, expected, value)
  schema.refuse(place, "expected %s, got %s", expected, schema.kind(value))
end

--- Any value.
-- @param value
-- @return the same
function schema.any(value)
  return value
end

--- A string without a NUL byte.
-- @param value
-- @tparam table place
-- @return the same
function schema.string(value, place)
  if type(value) ~= "string" then schema.mismatch(place, "a string", value) end
  if value:find("\0", 1, true) then schema.refuse(place, "contains a NUL byte") end
  return value
end

--- A string without a NUL byte; an empty one counts as absent.
-- @param value
-- @tparam table place
-- @treturn ?string
function schema.filled(value, place)
  return schema.string(value, place) ~= "" and value or nil
end

--- A boolean.
-- @param value
-- @tparam table place
-- @return the same
function schema.boolean(value, place)
  if type(value) ~= "boolean" then schema.mismatch(place, "a boolean", value) end
  return value
end

--- A function.
-- @param value
-- @tparam table place
-- @return the same
function schema.func(value, place)
  if type(value) ~= "function" then schema.mismatch(place, "a function", value) end
  return value
end

local function refuse_path(value, place)
  schema.refuse(place, "expected an absolute path, got %s", wording.quote(value))
end

--- An absolute path.
-- @param value
-- @tparam table place
-- @return the same
function schema.absolute(value, place)
  if schema.string(value, place):sub(1, 1) ~= "/" then refuse_path(value, place) end
  return value
end

--- An absolute path in which no ".." leads elsewhere than it reads.
-- @param value
-- @tparam table place
-- @return the same
function schema.straight(value, place)
  if (schema.absolute(value, place) .. "/"):find("/../", 1, true) then refuse_path(value, place) end
  return value
end

--- Makes the type of integers in a range.
-- @tparam[opt] integer low
-- @tparam[opt] integer high
-- @treturn function type
function schema.integer(low, high)
  low, high = low or math.mininteger, high or math.maxinteger
  return function(value, place)
    if type(value) ~= "number" then schema.mismatch(place, "an integer", value) end
    local integer = math.tointeger(value)
    if not integer then schema.refuse(place, "expected an integer, got %s", value) end
    if integer >= low and integer <= high then return integer end
    if high == math.maxinteger and low == 0 then schema.refuse(place, "must not be negative, got %d", integer) end
    if high == math.maxinteger then schema.refuse(place, "must be at least %d, got %d", low, integer) end
    schema.refuse(place, "must be in range %d to %d, got %d", low, high, integer)
  end
end

--- Makes the type of numbers from 0 on, without infinity and NaN.
-- @tparam string unit for messages, as "seconds"
-- @tparam[opt] boolean positive 0 is refused, too
-- @treturn function type
function schema.number(unit, positive)
  local expected = "a number of " .. unit
  return function(value, place)
    if type(value) ~= "number" then schema.mismatch(place, expected, value) end
    if not (value >= 0 and value < math.huge) then schema.refuse(place, "expected %s, got %s", expected, value) end
    if positive and value == 0 then schema.refuse(place, "must be greater than 0") end
    return value
  end
end

local unsigned = schema.integer(0)

--- An unsigned integer of 64 bits. A value of 2^63 or more is a float, as a Lua integer cannot hold it.
-- @param value
-- @tparam table place
-- @treturn number
function schema.uint64(value, place)
  if math.type(value) == "float" and value >= 2.0 ^ 63 and value <= 2.0 ^ 64 then return value end
  return unsigned(value, place)
end

--- Makes the type of the keys of a table. The type translates a key to its value: a name to a number, or the reverse.
-- @tparam function key type of the keys
-- @tparam table known the table
-- @tparam string what messages call such a key, as "policy"
-- @treturn function type, which returns the table's value
function schema.translated(key, known, what)
  return function(value, place)
    local good = key(value, place)
    local translation = known[good]
    if translation == nil then
      schema.refuse(place, "unknown %s %s", what, type(good) == "string" and wording.quote(good) or good)
    end
    return translation
  end
end

--- Makes the type of the strings that are keys of a table.
-- @tparam table known
-- @tparam string what messages call such a string, as "policy"
-- @treturn function type
function schema.one_of(known, what)
  local translate = schema.translated(schema.string, known, what)
  return function(value, place)
    translate(value, place)
    return value
  end
end

-- The number of items of an array; other keys are refused.
local function count_of(value, place, expected)
  if type(value) ~= "table" then schema.mismatch(place, expected, value) end
  local count = #value
  for key in next, value do
    if math.type(key) ~= "integer" or key < 1 or key > count then
      schema.refuse(place, "expected %s, got an object with the key %s", expected, wording.quote(tostring(key)))
    end
  end
  return count
end

--- Makes the type of arrays.
-- @tparam function item type of each item
-- @tparam[opt] string expected for messages, by default "an array"
-- @treturn function type
function schema.array(item, expected)
  return function(value, place)
    local copy, count = schema.as_array {}, count_of(value, place, expected or "an array")
    local depth = place.depth + 1
    place.depth = depth
    for index = 1, count do
      place[depth] = index
      copy[index] = item(value[index], place)
    end
    place.depth = depth - 1
    return copy
  end
end

--- Makes the type of objects whose keys may be any strings.
-- @tparam function item type of each value
-- @treturn function type
function schema.map(item)
  return function(value, place)
    if type(value) ~= "table" or is_array(value) then schema.mismatch(place, "an object", value) end
    local copy, depth = {}, place.depth + 1
    place.depth = depth
    for key, field in next, value do
      place[depth] = key
      if type(key) ~= "string" then schema.refuse(place, "the name is not a string") end
      if not absent(field) then copy[key] = item(field, place) end
    end
    place.depth = depth - 1
    return copy
  end
end

local function by_name(one, other)
  return tostring(one) < tostring(other)
end

local function sorted_keys(map, order)
  local keys = {}
  for key in next, map do keys[#keys + 1] = key end
  table.sort(keys, order)
  return keys
end

local UNKNOWN = {}

--- Refuses the field at a place because its name is unknown. If it were ignored, a misspelt field would have no effect
-- and give no sign of it.
-- @tparam table place
-- @tparam {string,...} names of the known fields; the message suggests the one that was most likely meant
function schema.unknown(place, names)
  local nearest = wording.nearest(tostring(place[place.depth]), names)
  schema.refuse(place, nearest and "unknown field (did you mean %s?)" or "unknown field", nearest)
end

UNKNOWN.refuse = schema.unknown

-- The runtime specification lets a reader ignore what it does not know.
function UNKNOWN.warn(place)
  local path = path_of(place)
  table.insert(place.warnings, { level = "debug", message = path .. ": unknown field ignored", unknown = path })
end

-- Calls `handle` for each key of an object that is not a known field, in the order of the keys.
local function each_unknown(value, fields, handle, place, names)
  local unknown, depth = {}, place.depth
  for key in next, value do
    if not fields[key] then unknown[key] = true end
  end
  if next(unknown) == nil then return end
  for _, name in ipairs(sorted_keys(unknown, by_name)) do
    place[depth] = name
    handle(place, names)
  end
end

-- Refuses an object without a required field. A null is refused by the field's type, like any value of a wrong type.
local function demand_fields(names, fields, value, copy, place, depth)
  for _, name in ipairs(names) do
    if copy[name] == nil then
      place[depth] = name
      if value[name] ~= nil then fields[name](value[name], place) end
      schema.refuse(place, "missing")
    end
  end
end

--- Makes the type of objects with known fields. A field whose value is nil or JSON's null is absent. The fields are
-- checked in the order of their names, so that of two mistakes the same one is always reported.
-- @tparam table fields type by name
-- @tparam[opt] table rules `required`, array of names; `unknown`, what is done about other fields: "refuse", or "warn"
-- (in the place's `warnings`) and leave them out, by default only leave them out; `finish(copy, place)` checks the copy
-- as a whole, and may return a value to use instead of it
-- @treturn function type
function schema.object(fields, rules)
  rules = rules or {}
  local required, unknown, finish = rules.required, UNKNOWN[rules.unknown], rules.finish
  local names -- sorted at the first use: an exec meets only few of the types
  return function(value, place)
    if type(value) ~= "table" or is_array(value) then schema.mismatch(place, "an object", value) end
    names = names or sorted_keys(fields)
    local copy, depth = {}, place.depth + 1
    place.depth = depth
    for index = 1, #names do
      local name = names[index]
      local field = value[name]
      if not absent(field) then
        place[depth] = name
        copy[name] = fields[name](field, place)
      end
    end
    if unknown then each_unknown(value, fields, unknown, place, names) end
    if required then demand_fields(required, fields, value, copy, place, depth) end
    place.depth = depth - 1
    return finish and finish(copy, place) or copy
  end
end

--- Checks a value within `ctrexec.lib.unwind.guarded`: a wrong value unwinds.
-- @tparam function kind type
-- @param value
-- @tparam string where as for `check`
-- @tparam[opt] table rules as for `check`
-- @return the value in the form to work with
function schema.apply(kind, value, where, rules)
  return kind(value, {
    where = where, depth = 0, code = rules and rules.code or "invalid", warnings = rules and rules.warnings or {},
  })
end

--- Checks a value.
-- @tparam function kind type
-- @param value
-- @tparam string where what the value is called in messages: "process", or a file's path and ": "
-- @tparam[opt] table rules `code` of a refusal (default "invalid"); `warnings`, an array to add to
-- @return[1] the value in the form to work with
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string code
function schema.check(kind, value, where, rules)
  return unwind.guarded(schema.apply, kind, value, where, rules)
end

--- Checks a value that a program passes to a public function: a wrong one raises one line at the program's position.
-- @tparam function kind type
-- @param value
-- @tparam string where
-- @tparam integer level of error(), as seen from where this is called
-- @return the value in the form to work with
function schema.demand(kind, value, where, level)
  local good, message = schema.check(kind, value, where)
  if good == nil and message then error(message, level + 1) end
  return good
end

--- Whether two plain values are equal. Two tables are equal if they have the same keys with equal values.
-- @param one
-- @param other
-- @treturn boolean
function schema.same(one, other)
  if type(one) ~= "table" or type(other) ~= "table" then return one == other end
  for key, value in next, one do
    if not schema.same(value, other[key]) then return false end
  end
  for key in next, other do
    if one[key] == nil then return false end
  end
  return true
end

return schema
