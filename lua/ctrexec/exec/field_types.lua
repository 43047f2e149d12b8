--- The types of those fields that most execs do not have, by the names that `ctrexec.exec.fields` uses for them.
-- @module ctrexec.exec.field_types
local late = require "ctrexec.lib.late"
local schema = require "ctrexec.lib.schema"
local wording = late "ctrexec.lib.wording" -- only a refusal needs it

local types = {}

local MAX_SECONDS = 1000000000 -- in nanoseconds they still fit into 64 bits

local number_of_seconds = schema.number "seconds"

--- A number of bytes.
-- @function types.bytes
-- @param value
-- @tparam table place
-- @return the same
types.bytes = schema.number "bytes"

--- A number of seconds.
-- @param value
-- @tparam table place
-- @return the same
function types.duration(value, place)
  if number_of_seconds(value, place) < MAX_SECONDS then return value end
  schema.refuse(place, "must be less than %d seconds", MAX_SECONDS)
end

--- What a command reads on its stdin.
-- @param value a string, a function or an open file
-- @tparam table place
-- @return the same
function types.input(value, place)
  local kind = io.type(value) or type(value)
  if kind == "string" or kind == "function" or kind == "file" then return value end
  schema.refuse(place, "expected a string, function or open file, got %s", kind)
end

local function lent(value, place)
  if schema.string(value, place):find "^/[^:]*$" or value:find "^/[^:]*:/[^:]*$" then return value end
  schema.refuse(place, 'expected "PATH[:DEST]", both absolute, got %s', wording.quote(value))
end

--- The files lent to a command: an array of "PATH[:DEST]".
-- @function types.lent
-- @param value
-- @tparam table place
-- @return a copy
types.lent = schema.array(lent, "an array of strings")

local function name(value, place)
  if schema.string(value, place) ~= "" and not value:find("=", 1, true) then return value end
  schema.refuse(place, "expected the name of a variable, got %s", wording.quote(value))
end

--- An array of names of variables.
-- @function types.names
-- @param value
-- @tparam table place
-- @return a copy
types.names = schema.array(name, "an array of strings")

local function scalar(value, place)
  local kind = type(value)
  if kind == "string" or kind == "number" or kind == "boolean" then return value end
  schema.mismatch(place, "a string, number or boolean", value)
end

--- A map of plain values.
-- @function types.scalars
-- @param value
-- @tparam table place
-- @return a copy
types.scalars = schema.map(scalar)

local settings = schema.object({ folder = schema.absolute, file = schema.absolute, input = schema.boolean,
  passwords = schema.boolean, required = schema.boolean, max_size = schema.integer(1) }, { unknown = "refuse" })

--- The settings of a recording: see `ctrexec.policy.recording`.
-- @param value true, an absolute path, or a table
-- @tparam table place
-- @return the same, or a copy
function types.recording(value, place)
  if value == true then return value end
  if type(value) == "string" then return schema.absolute(value, place) end
  if type(value) ~= "table" then schema.mismatch(place, "true, an absolute path, or a table", value) end
  return settings(value, place)
end

local files = schema.array(schema.string, "a chain of ctrexec.policy or an array of strings")

--- Policies.
-- @param value a chain of `ctrexec.policy`, or an array of files
-- @tparam table place
-- @return the same
function types.policies(value, place)
  return type(value) == "table" and value.check and value or files(value, place)
end

return types
