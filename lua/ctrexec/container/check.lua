--- Checked access to decoded files of others, and to the files themselves.
--
-- A check that fails unwinds to `guarded`, which turns it into `nil, message, code`: the readers read as plain
-- descriptions of a format, and no malformed file can end in a Lua error.
-- @module ctrexec.container.check
local check = {}

local Refusal = {}

-- JSON's null is the only userdata in what was decoded.
local function absent(value)
  return value == nil or type(value) == "userdata"
end

--- Gives up: the enclosing `guarded` returns `nil, message, code`.
-- @tparam string message in which control characters, as a file's own text may have them, are replaced
-- @tparam[opt="bad_state"] string code
function check.refuse(message, code)
  message = message:gsub("%c", function(char) return ("\\%d"):format(char:byte()) end)
  error(setmetatable({ message = message, code = code or "bad_state" }, Refusal), 0)
end

local function finish(ok, result, ...)
  if ok then return result, ... end
  if getmetatable(result) == Refusal then return nil, result.message, result.code end
  error(result, 0)
end

--- Calls a function in which `refuse` and the checks may be used.
-- @tparam function f
-- @param ... its arguments
-- @return[1] what it returns
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string code
function check.guarded(f, ...)
  return finish(pcall(f, ...))
end

-- What a value that is not null must be. Each gives the value in the form to work with, or nil.
local KINDS = {
  ["a string"] = function(value) return type(value) == "string" and value or nil end,
  ["a boolean"] = function(value) if type(value) == "boolean" then return value end end,
  ["a number"] = function(value)
    return type(value) == "number" and value >= 0 and (math.tointeger(value) or value) or nil
  end,
  ["an integer"] = function(value) return type(value) == "number" and math.tointeger(value) or nil end,
  -- cjson gives the same empty table for {} and []: it is taken for either.
  ["an object"] = function(value) return type(value) == "table" and not math.type(next(value)) and value or nil end,
  ["an array"] = function(value)
    return type(value) == "table" and (#value > 0 or next(value) == nil) and value or nil
  end,
}

local function refuse_kind(value, kind, where, index, field)
  local got = require "ctrexec.lib.json".kind(value):gsub("^an? ", "")
  if type(value) == "number" and (kind == "a number" or kind == "an integer") then got = ("%.14g"):format(value) end
  check.refuse(("%s: expected %s, got %s"):format(check.path(where, index, field), kind, got))
end

--- The path of a value in messages.
-- @tparam string where as "state.json: config.seccomp.syscalls"
-- @tparam[opt] integer index in the array of that name
-- @tparam[opt] string field in the object there, with its dot
-- @treturn string as "state.json: config.seccomp.syscalls[3].name"
function check.path(where, index, field)
  return index and ("%s[%d]%s"):format(where, index, field or "") or where
end

--- A value that may be absent (or null). The path is taken in parts so that none is built while all is well.
-- @param value
-- @tparam string kind what it must be: "a string", "a boolean", "an integer", "a number" (not negative; an integer
-- where it can be one), "an object", "an array"
-- @tparam string where the first part of its `path`
-- @tparam[opt] integer index
-- @tparam[opt] string field
-- @return the value, nil when absent
function check.optional(value, kind, where, index, field)
  if absent(value) then return nil end
  local good = KINDS[kind](value)
  if good == nil then refuse_kind(value, kind, where, index, field) end
  return good
end

--- As `optional`, for a value that must be there.
-- @param value
-- @tparam string kind
-- @tparam string where
-- @tparam[opt] integer index
-- @tparam[opt] string field
-- @return the value
function check.required(value, kind, where, index, field)
  local good = nil
  if not absent(value) then good = KINDS[kind](value) end
  if good == nil then
    if value == nil then check.refuse(check.path(where, index, field) .. ": missing") end
    refuse_kind(value, kind, where, index, field)
  end
  return good
end

--- An array, item by item; nil when absent.
-- @param value
-- @tparam string where
-- @tparam function item called with each item, `where` and its index; gives what to put in its place
-- @treturn ?table a new array
function check.array(value, where, item)
  local array = check.optional(value, "an array", where)
  if not array then return nil end
  local result = {}
  for index = 1, #array do result[index] = item(array[index], where, index) end
  return result
end

--- An array of strings; nil when absent.
-- @param value
-- @tparam string where
-- @treturn ?{string,...}
function check.strings(value, where)
  return check.array(value, where, function(item, _, index) return check.required(item, "a string", where, index) end)
end

--- An object whose values are strings.
-- @param value
-- @tparam string where
-- @treturn table a new table, empty when absent
function check.string_map(value, where)
  local result = {}
  for key, text in pairs(check.optional(value, "an object", where) or {}) do
    result[key] = check.required(text, "a string", where .. "." .. key)
  end
  return result
end

--- A path that must be absolute, and without "..": it names what the file system's root holds under that name.
-- @param value
-- @tparam string where
-- @treturn string
function check.absolute(value, where)
  local path = check.required(value, "a string", where)
  if path:sub(1, 1) ~= "/" or (path .. "/"):find("/../", 1, true) or path:find("\0", 1, true) then
    check.refuse(("%s: expected an absolute path, got %q"):format(where, path))
  end
  return path
end

return check
