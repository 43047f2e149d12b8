--- Reads the state of youki: ROOT/ID/state.json (an OCI state with additions), config.json and youki_config.json.
-- @module ctrexec.container.youki
local youki = {}

local cgroups = require "ctrexec.container.cgroups"
local check = require "ctrexec.container.check"
local oci = require "ctrexec.container.oci"

local optional, required = check.optional, check.required

-- The cgroup's path as it ends in /proc/PID/cgroup: of systemd's "slice:prefix:name" the scope.
local function cgroup_suffix(path)
  local prefix, name = path:match "^[^:]*:([^:]*):([^:]+)$"
  if name then return "/" .. (prefix == "" and name or prefix .. "-" .. name) .. ".scope", "/" .. path end
  return path:sub(1, 1) == "/" and path or "/" .. path
end

-- The directory up to and with a suffix, which must be whole components of the path.
local function cut(path, suffix)
  if not suffix then return nil end
  local _, last = (path .. "/"):find(suffix .. "/", 1, true)
  return last and path:sub(1, last - 1)
end

-- Those of a process's cgroups that are the container's own or below it, cut to the container's own.
local function container_cgroups(current, path)
  local suffix, plain = cgroup_suffix(path)
  local own = {}
  for controller, directory in pairs(current) do own[controller] = cut(directory, suffix) or cut(directory, plain) end
  return own
end

--- Whether the pid is still the container's process. youki records no start time: the process is known by its cgroup.
-- @tparam table record as `read` gave it; its `cgroup_paths` are set
-- @treturn boolean
function youki.identify(record)
  if record.cgroup == "" then return true end
  record.cgroup_paths = container_cgroups(cgroups.of(record.pid), record.cgroup)
  -- Without rights to cgroups youki goes on in the caller's.
  return next(record.cgroup_paths) ~= nil or record.rootless
end

--- Reads a state file and what lies beside it.
-- @tparam table source `tree` (of state.json, decoded raw), `path` (for messages), `owner` (user id of the state
-- directory), `decoded(name)` (gives another file of the directory, decoded, and its path; nil when absent) and
-- `config()` (gives config.json there, decoded, and its path)
-- @treturn table the fields of a record that come from the files; refuses what is malformed
function youki.read(source)
  local state, path = source.tree, source.path
  local record = {
    runtime = "youki",
    pid = optional(state.pid, "an integer", path .. ": pid"),
    created = optional(state.created, "a string", path .. ": created"),
    bundle = check.absolute(state.bundle, path .. ": bundle"),
    systemd = optional(state.useSystemd, "a boolean", path .. ": useSystemd") or false,
    annotations = check.string_map(state.annotations, path .. ": annotations"),
    rootless = source.owner ~= 0,
    cgroup_paths = {},
    not_started = required(state.status, "a string", path .. ": status") == "created",
  }
  record.labels = record.annotations
  local own, own_path = source.decoded "youki_config.json"
  record.cgroup = own and optional(own.cgroup_path, "a string", own_path .. ": cgroup_path") or ""
  local config, config_path = source.config()
  record.configuration = config
  record.settings = oci.settings(config, config_path)
  record.settings.rootless_cgroups = record.rootless
  return record
end

return youki
