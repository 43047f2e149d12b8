--- What a request says of an exec besides the process object: `request.options`, as policies see it and may change it.
--
-- Which fields of a spec policies see, and which of them they may set, stands with the fields (`ctrexec.exec.fields`).
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

--- The spec with the options as the policies left them, also those that they took away.
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

-- Made when an option is first set: most execs have none.
local type_of_options

local function options_type()
  if not type_of_options then
    local types = {}
    for name, row in pairs(EDITABLE) do types[name] = fields.type_of(row) end
    type_of_options = schema.object(types)
  end
  return type_of_options
end

--- Checks the options that a policy may set, whoever has set them.
-- @tparam table options by name; others are passed over
-- @tparam[opt=""] string where what the table is called in messages
-- @treturn ?string what is wrong, naming the option; nil when all are good
function request.fault(options, where)
  for name in pairs(EDITABLE) do
    if options[name] ~= nil then return (select(2, schema.check(options_type(), options, where or ""))) end
  end
end

-- A recording that the caller or a policy wants is not for another policy to take away or to lay elsewhere. The site
-- may take the place of the caller.
local function record_fault(asked, before, after)
  if before == nil or schema.same(before, after) then return nil end
  if after == nil then return "options.record cannot be removed" end
  if not schema.same(asked, before) then return "options.record was set by an earlier policy" end
end

--- Checks what a policy made of the options.
-- @tparam table asked the options as the caller asked for them
-- @tparam table before as the policy got them
-- @param after as it left them
-- @treturn ?string what is wrong, naming the option; nil when the policy may leave them so
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
