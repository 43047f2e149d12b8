--- From the options of `exec` to a spec of the public module.
-- @module ctrexec.command.spec
local file = require "ctrexec.core".file
local fields = require "ctrexec.exec.fields"
local late = require "ctrexec.lib.late"
local options = require "ctrexec.command.options"
local files = late "ctrexec.command.files" -- only --process and --env-file name files to read

local specs = {}

local function absolute(path)
  if path:sub(1, 1) == "/" then return path end
  local here, message = file.realpath "."
  if not here then return nil, "--record: " .. message end
  return here .. "/" .. path
end

-- Each option's value under the name of its field, and the rows of those fields. An empty text counts as not given, as
-- with runc. So does what a whole process object takes the place of.
local function fields_of(parsed)
  local spec, rows, keys = {}, {}, {}
  local whole = (parsed.options.process or "") ~= ""
  for key, value in next, parsed.options do
    if value ~= "" then keys[#keys + 1] = key end
  end
  table.sort(keys) -- so that of two mistakes the same one is always reported
  for _, key in ipairs(keys) do
    local row = options.find(options.commands.exec, (key:gsub("_", "-")))
    if row and row.field and not (whole and row.process) then
      spec[row.field], rows[#rows + 1] = parsed.options[key], row
    end
  end
  if not whole then spec.args = parsed.args end
  return spec, rows
end

--- Makes the spec of an exec.
-- @tparam table parsed from `ctrexec.command.options`
-- @tparam ?table policies the chain that the exec will pass
-- @treturn[1] table spec
-- @treturn[2] nil
-- @treturn[2] string message
function specs.of(parsed, policies)
  local spec, rows = fields_of(parsed)
  local message
  if parsed.options.env_file and not spec.process then
    spec.env, message = files.environment(parsed.options.env_file, spec.env)
    if message then return nil, message end
  end
  if spec.record then
    spec.record, message = absolute(spec.record)
    if message then return nil, message end
  end
  message = fields.fault(spec, rows, policies)
  if message then return nil, message end
  if spec.process then
    spec.process, message = files.process(spec.process)
    if message then return nil, message end
  end
  return spec
end

return specs
