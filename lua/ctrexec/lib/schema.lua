--- The one checker of values that come from elsewhere: process objects, configurations, specs, state files of runtimes,
-- and what a policy returns.
--
-- A type is a function of a value and a place. It returns the value in the form to work with (integers are Lua integers
-- though JSON gives floats; tables are copies), or refuses it, which unwinds to `check` or `demand`. The place grows on
-- the way down, so that a message names the field by its whole path and nothing is built while all is well.
-- @module ctrexec.lib.schema
local late = require "ctrexec.lib.late"
local unwind = require "ctrexec.lib.unwind"
local wording = late "ctrexec.lib.wording" -- only a refusal needs it
local json = late "ctrexec.lib.json" -- only a JSON text has null in it, and then it is loaded already

local schema = {}

-- JSON's null counts as absent, as it does to Go. It is a light userdata of cjson.
local function absent(value)
  return value == nil or type(value) == "userdata" and value == json.null
end

schema.absent = absent

local function is_array(value)
  return math.type(next(value)) ~= nil
end

-- "state.json: config.seccomp.syscalls[3].name"
local function path_of(place)
  local parts = { place.where }
  for index = 1, place.depth do
    local key = place[index]
    local dot = type(key) == "string" and (index > 1 or place.where:find "[^ ]$") and "." or ""
    parts[#parts + 1] = math.type(key) and ("[%d]"):format(key) or dot .. tostring(key)
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
-- @tparam string message without the path, which is put before it; control characters are escaped
-- @param ... for string.format
function schema.refuse(place, message, ...)
  if select("#", ...) > 0 then message = message:format(...) end
  message = (path_of(place) .. ": " .. message):gsub("%c", function(char) return ("\\%d"):format(char:byte()) end)
  unwind.fail(message, place.code)
end

--- What a value is, in JSON's words.
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

--- An absolute path in which no ".." leads elsewhere than it reads.
-- @param value
-- @tparam table place
-- @return the same
function schema.absolute(value, place)
  schema.string(value, place)
  if value:sub(1, 1) ~= "/" or (value .. "/"):find("/../", 1, true) then
    schema.refuse(place, "expected an absolute path, got %s", wording.quote(value))
  end
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

--- Makes the type of numbers from 0 on, of which infinity and NaN are none.
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

--- Makes the type of the strings that are keys of a table.
-- @tparam table known
-- @tparam string what as "policy", for messages
-- @treturn function type
function schema.one_of(known, what)
  return function(value, place)
    if not known[schema.string(value, place)] then
      schema.refuse(place, "unknown %s %s", what, wording.quote(value))
    end
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
    local copy, count = {}, count_of(value, place, expected or "an array")
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

--- Makes the type of objects with any keys that are strings.
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
      copy[key] = item(field, place)
    end
    place.depth = depth - 1
    return copy
  end
end

local function sorted_keys(map)
  local keys = {}
  for key in next, map do keys[#keys + 1] = key end
  table.sort(keys, function(one, other) return tostring(one) < tostring(other) end)
  return keys
end

local UNKNOWN = {}

--- Refuses the field at a place: there is none of that name. A misspelt field would be passed over without a word.
-- @tparam table place
-- @tparam {string,...} names of the fields that there are, for the one that was most likely meant
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

--- Makes the type of objects with known fields. A field whose value is nil or JSON's null is absent. The fields are
-- looked at in the order of their names, so that of two mistakes the same one is always reported.
-- @tparam table fields type by name
-- @tparam[opt] table rules `required`, array of names; `unknown`, what becomes of other fields: "refuse", "warn" (into
-- the place's `warnings`), by default they are passed over; `finish(copy, place)` looks at the copy as a whole
-- @treturn function type
function schema.object(fields, rules)
  rules = rules or {}
  local names, required, unknown = sorted_keys(fields), rules.required or {}, UNKNOWN[rules.unknown]
  return function(value, place)
    if type(value) ~= "table" or is_array(value) then schema.mismatch(place, "an object", value) end
    local copy, depth = {}, place.depth + 1
    place.depth = depth
    for _, name in ipairs(names) do
      local field = value[name]
      if not absent(field) then
        place[depth] = name
        copy[name] = fields[name](field, place)
      end
    end
    for _, name in ipairs(unknown and sorted_keys(value) or {}) do
      place[depth] = name
      if not fields[name] then unknown(place, names) end
    end
    for _, name in ipairs(required) do
      place[depth] = name
      if copy[name] == nil then schema.refuse(place, value[name] == nil and "missing" or "must not be null") end
    end
    place.depth = depth - 1
    if rules.finish then rules.finish(copy, place) end
    return copy
  end
end

--- Checks a value within a descent that `ctrexec.lib.unwind` guards: a wrong one unwinds it.
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

--- Whether two plain values are equal, tables by what is in them in whatever order.
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
