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

local function text(container, field)
  return tostring(container[field] or "")
end

local function print_table(containers)
  local widths = {}
  for index, column in ipairs(COLUMNS) do
    widths[index] = #column[1]
    for _, container in ipairs(containers) do widths[index] = math.max(widths[index], #text(container, column[2])) end
  end
  local function line(cell)
    local cells = {}
    for index, column in ipairs(COLUMNS) do cells[index] = ("%-" .. widths[index] .. "s"):format(cell(column)) end
    print((table.concat(cells, "  "):gsub("%s+$", "")))
  end
  line(function(column) return column[1] end)
  for _, container in ipairs(containers) do
    line(function(column) return text(container, column[2]) end)
  end
end

-- Prints the containers with the field names of `runc list --format json`.
local function print_json(containers)
  local out = schema.as_array {}
  for index, container in ipairs(containers) do
    out[index] = {
      id = container.id, pid = container.pid, status = container.status, runtime = container.runtime,
      bundle = container.bundle,
      created = container.created, owner = container.owner, root = container.root, annotations = container.annotations,
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
  local containers, message = ctrexec.list { root = root ~= "" and root or nil, roots = site.settings.roots }
  if not containers then
    log:error(message)
    return 1
  end
  local status = 0
  for _, container in ipairs(containers) do
    if container.error then
      log:warn(("%s: %s"):format(container.id, container.error))
      status = 1
    end
  end
  if parsed.options.quiet then
    for _, container in ipairs(containers) do print(container.id) end
  elseif parsed.options.format == "json" then
    print_json(containers)
  else
    print_table(containers)
  end
  return status
end

return list
