--- Reads the state of youki: ROOT/ID/state.json (an OCI state with additions), config.json and youki_config.json.
-- @module ctrexec.container.youki
local cgroups = require "ctrexec.container.cgroups"
local configuration = require "ctrexec.container.configuration"
local schema = require "ctrexec.lib.schema"

local youki = {}

local STATE = schema.object({
  status = schema.string, bundle = schema.straight, pid = schema.integer(), created = schema.string,
  useSystemd = schema.boolean, annotations = schema.map(schema.string),
}, { required = { "bundle", "status" } })

local OWN = schema.object { cgroup_path = schema.string }

-- How the path of the cgroup ends in /proc/PID/cgroup. A path "slice:prefix:name" is systemd's, and ends in the scope;
-- where systemd did not make the cgroup it is the path as it is, which is returned, too.
local function cgroup_suffix(path)
  local prefix, name = path:match "^[^:]*:([^:]*):([^:]+)$"
  if name then return "/" .. (prefix == "" and name or prefix .. "-" .. name) .. ".scope", "/" .. path end
  return path:sub(1, 1) == "/" and path or "/" .. path
end

-- The directory up to the end of a suffix, which must match whole components; nil when the suffix is not in it.
local function cut(path, suffix)
  if not suffix then return nil end
  local _, last = (path .. "/"):find(suffix .. "/", 1, true)
  return last and path:sub(1, last - 1)
end

-- The container's own cgroups, found in those of its process, which may be in a cgroup below them.
local function container_cgroups(current, path)
  local suffix, plain = cgroup_suffix(path)
  local own = {}
  for controller, directory in pairs(current) do own[controller] = cut(directory, suffix) or cut(directory, plain) end
  return own
end

--- Whether the pid is still that of the container's process. youki records no start time, so the process is recognised
-- by its cgroup.
-- @tparam table container as `read` gave it; its `cgroup_paths` are set
-- @treturn boolean
function youki.identify(container)
  if container.cgroup == "" then return true end
  container.cgroup_paths = container_cgroups(cgroups.of(container.pid), container.cgroup)
  -- Where a rootless youki has no right to make a cgroup, the container is in that of youki's caller.
  return next(container.cgroup_paths) ~= nil or container.rootless
end

--- Reads a state file and what lies beside it, within `ctrexec.lib.unwind.guarded`.
-- @tparam table source `tree` (of state.json, decoded raw), `path` (for messages), `owner` (user id of the state
-- directory), `decoded(name)` (gives another file of the directory, decoded, and its path; nil when absent) and
-- `config()` (gives config.json there, decoded, and its path)
-- @treturn table the fields of a container that come from the files; a malformed one unwinds with the code "bad_state"
function youki.read(source)
  local rules = { code = "bad_state" }
  local state = schema.apply(STATE, source.tree, source.path .. ": ", rules)
  local own, own_path = source.decoded "youki_config.json"
  own = own and schema.apply(OWN, own, own_path .. ": ", rules) or {}
  local config, config_path = source.config()
  local settings = configuration.read(config, config_path)
  local annotations, rootless = state.annotations or {}, source.owner ~= 0
  settings.rootless_cgroups = rootless
  return {
    runtime = "youki",
    pid = state.pid,
    created = state.created,
    bundle = state.bundle,
    systemd = state.useSystemd or false,
    annotations = annotations,
    labels = annotations,
    rootless = rootless,
    cgroup_paths = {},
    cgroup = own.cgroup_path or "",
    not_started = state.status == "created",
    configuration = config,
    settings = settings,
  }
end

return youki
