--- `request.options`: the part of a request that is not the process object, and what policies may change of it.
--
-- The rows of `ctrexec.exec.fields` say which fields of a spec policies see, and which of them they may set.
-- @module ctrexec.policy.request
local fields = require "ctrexec.exec.fields"
local schema = require "ctrexec.lib.schema"

local request = {}

local SEEN, EDITABLE = {}, {}

local function note(name, row)
  if row.policy then SEEN[#SEEN + 1] = name end
  if row.policy == "edit" then EDITABLE[name] = row end
end

for _, row in ipairs(fields.options) do note(row.field, row) end
for name, row in pairs(fields.others) do note(name, row) end

--- What policies see of a spec.
-- @tparam table spec
-- @treturn table `request.options`
function request.options(spec)
  local options = {}
  for _, name in ipairs(SEEN) do options[name] = spec[name] end
  options.terminal, options.detach = options.terminal or false, options.detach or false
  if spec.reason then
    options.audit = { reason = spec.reason }
    for name, value in pairs(spec.audit or {}) do options.audit[name] = options.audit[name] or value end
  end
  return options
end

--- Makes a spec of the options as the policies left them; an option that a policy removed is nil in it.
-- @tparam table spec
-- @tparam table options
-- @treturn table spec
function request.apply(spec, options)
  local result = {}
  for name in pairs(EDITABLE) do result[name] = options[name] end
  return setmetatable(result, { __index = function(_, name)
    if not EDITABLE[name] then return spec[name] end
  end })
end

-- The type is made at its first use: most execs set no option.
local type_of_options

local function options_type()
  if not type_of_options then
    local types = {}
    for name, row in pairs(EDITABLE) do types[name] = fields.type_of(row) end
    type_of_options = schema.object(types)
  end
  return type_of_options
end

--- Checks the values of the options that a policy may set, of the caller's as well.
-- @tparam table options by name; all others are ignored
-- @tparam[opt=""] string where the name of the table in messages
-- @treturn ?string the fault, with the option's name; nil when all are good
function request.fault(options, where)
  for name in pairs(EDITABLE) do
    if options[name] ~= nil then return (select(2, schema.check(options_type(), options, where or ""))) end
  end
end

-- A policy may replace the recording that the caller asked for, but may not remove it. The recording that an earlier
-- policy asked for stays as it is.
local function record_fault(asked, before, after)
  if before == nil or schema.same(before, after) then return nil end
  if after == nil then return "options.record cannot be removed" end
  if not schema.same(asked, before) then return "options.record was set by an earlier policy" end
end

--- Checks the options that a policy has left behind.
-- @tparam table asked the options as the caller asked for them
-- @tparam table before the options as the policy got them
-- @param after the options as the policy left them
-- @treturn ?string the fault, with the option's name; nil when the policy may change the options so
function request.change_fault(asked, before, after)
  if type(after) ~= "table" then return "options: expected an object, got a " .. type(after) end
  for name in pairs(before) do
    if after[name] == nil and not EDITABLE[name] then return ("options.%s cannot be removed"):format(name) end
  end
  for name, value in pairs(after) do
    if not EDITABLE[name] and not schema.same(before[name], value) then
      return ("options.%s cannot be changed by a policy"):format(tostring(name))
    end
  end
  return request.fault(after, "options") or record_fault(asked.record, before.record, after.record)
end

return request
