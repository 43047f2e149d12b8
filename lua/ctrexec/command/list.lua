--- The `list` command: the containers of all runtimes.
-- @module ctrexec.command.list
local ctrexec = require "ctrexec"
local late = require "ctrexec.lib.late"
local schema = require "ctrexec.lib.schema"
local json = late "ctrexec.lib.json" -- only --format json needs it

local list = {}

local COLUMNS = {
  { "ID", "id" }, { "PID", "pid" }, { "STATUS", "status" }, { "RUNTIME", "runtime" }, { "BUNDLE", "bundle" },
  { "CREATED", "created" }, { "OWNER", "owner" },
}

local function text(record, field)
  return tostring(record[field] or "")
end

local function print_table(records)
  local widths = {}
  for index, column in ipairs(COLUMNS) do
    widths[index] = #column[1]
    for _, record in ipairs(records) do widths[index] = math.max(widths[index], #text(record, column[2])) end
  end
  local function line(cell)
    local cells = {}
    for index, column in ipairs(COLUMNS) do cells[index] = ("%-" .. widths[index] .. "s"):format(cell(column)) end
    print((table.concat(cells, "  "):gsub("%s+$", "")))
  end
  line(function(column) return column[1] end)
  for _, record in ipairs(records) do
    line(function(column) return text(record, column[2]) end)
  end
end

-- The field names of `runc list --format json`.
local function print_json(records)
  local out = schema.as_array {}
  for index, record in ipairs(records) do
    out[index] = {
      id = record.id, pid = record.pid, status = record.status, runtime = record.runtime, bundle = record.bundle,
      created = record.created, owner = record.owner, root = record.root, annotations = record.annotations,
    }
  end
  print(json.encode(out))
end

--- Prints the containers: a table, JSON, or with --quiet their ids.
-- @tparam table parsed from `ctrexec.command.options`
-- @tparam table log from `ctrexec.command.log`
-- @tparam table site of `ctrexec.command.open`
-- @treturn integer 0; 1 when some container's state could not be read
function list.run(parsed, log, site)
  local root = parsed.global.root
  local records, message = ctrexec.list { root = root ~= "" and root or nil, roots = site.settings.roots }
  if not records then
    log:error(message)
    return 1
  end
  local status = 0
  for _, record in ipairs(records) do
    if record.error then
      log:warn(("%s: %s"):format(record.id, record.error))
      status = 1
    end
  end
  if parsed.options.quiet then
    for _, record in ipairs(records) do print(record.id) end
  elseif parsed.options.format == "json" then
    print_json(records)
  else
    print_table(records)
  end
  return status
end

return list
