--- What a policy changed, as a list of places: for `ctrexec explain` and for the audit.
-- @module ctrexec.policy.diff
local schema = require "ctrexec.lib.schema"
local wording = require "ctrexec.lib.wording"

local diff = {}

local function env_map(env)
  local map = {}
  for _, variable in ipairs(env) do
    local name, value = variable:match "^([^=]*)=(.*)$"
    if name then map[name] = value end
  end
  return map
end

local function sorted_names(one, other)
  local names, seen = {}, {}
  for _, source in ipairs { one, other } do
    for name in pairs(source) do
      if not seen[name] then
        seen[name] = true
        names[#names + 1] = name
      end
    end
  end
  table.sort(names, function(left, right) return tostring(left) < tostring(right) end)
  return names
end

local function is_object(value)
  return type(value) == "table" and #value == 0
end

local walk

local function walk_fields(before, after, path, result)
  for _, name in ipairs(sorted_names(before, after)) do
    walk(before[name], after[name], path .. "." .. tostring(name), result)
  end
end

-- Compares objects field by field, the environment variable by variable, and every other value as a whole.
function walk(before, after, path, result)
  if schema.same(before, after) then return end
  if path == "process.env" then
    walk_fields(env_map(before or {}), env_map(after or {}), path, result)
  elseif is_object(before) and is_object(after) then
    walk_fields(before, after, path, result)
  else
    result[#result + 1] = { path = path, before = before, after = after }
  end
end

--- Compares two states of a request.
-- @tparam table before with `process` and `options`
-- @tparam table after
-- @treturn {table,...} `{path="process.env.NAME", before=, after=}`, sorted by path; nil stands for absent
function diff.states(before, after)
  local result = schema.as_array {}
  walk(before.process or {}, after.process or {}, "process", result)
  walk(before.options or {}, after.options or {}, "options", result)
  table.sort(result, function(left, right) return left.path < right.path end)
  return result
end

local function shown(value)
  if value == nil then return "(none)" end
  if type(value) == "string" then return wording.quote(value) end
  if type(value) ~= "table" then return tostring(value) end
  local words = {}
  if #value > 0 then
    for index, item in ipairs(value) do words[index] = shown(item) end
  else
    for _, name in ipairs(sorted_names(value, {})) do words[#words + 1] = name .. "=" .. shown(value[name]) end
  end
  return "[" .. table.concat(words, " ") .. "]"
end

--- One change in words, as `process.env.A: (none) -> "1"`.
-- @tparam table change of `states`
-- @treturn string
function diff.describe(change)
  return ("%s: %s -> %s"):format(change.path, shown(change.before), shown(change.after))
end

return diff
