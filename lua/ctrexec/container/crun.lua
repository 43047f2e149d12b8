--- Reads the state of crun 1.8 to 1.29: ROOT/ID/status, the copy of the bundle's config.json beside it, and
-- seccomp.bpf, the profile as crun compiled it.
-- @module ctrexec.container.crun
local cgroups = require "ctrexec.container.cgroups"
local configuration = require "ctrexec.container.configuration"
local schema = require "ctrexec.lib.schema"

local crun = {}

-- crun writes the path as the bundle had it: with or without a leading "/".
local function cgroup_path(value, place)
  local path = schema.filled(value, place)
  return path and schema.straight(path:gsub("^[^/]", "/%0"), place)
end

local STATUS = schema.object({
  pid = schema.integer(), bundle = schema.straight, created = schema.string, owner = schema.string,
  ["process-start-time"] = schema.integer(), ["cgroup-path"] = cgroup_path, ["systemd-cgroup"] = schema.boolean,
}, { required = { "pid", "bundle" } })

--- Reads a status file and what lies beside it, within `ctrexec.lib.unwind.guarded`.
-- @tparam table source `tree` (of the status file, decoded raw), `path` (for messages), `owner` (user id of the state
-- directory), `file(name)` (gives another file of the directory, nil when absent) and `config()` (gives config.json
-- there, decoded, and its path)
-- @treturn table the fields of a container that come from the files; a malformed one unwinds with the code "bad_state"
function crun.read(source)
  local status = schema.apply(STATUS, source.tree, source.path .. ": ", { code = "bad_state" })
  local start_time, path = status["process-start-time"], status["cgroup-path"]
  local config, config_path = source.config()
  local settings, annotations = configuration.read(config, config_path)
  local rootless = source.owner ~= 0
  settings.seccomp_bpf = settings.seccomp and source.file "seccomp.bpf"
  settings.rootless_cgroups = rootless
  return {
    runtime = "crun",
    pid = status.pid,
    start_time = start_time ~= 0 and start_time or nil, -- 0: this version of crun did not record it
    created = status.created,
    owner = status.owner,
    bundle = status.bundle,
    systemd = status["systemd-cgroup"] or false,
    rootless = rootless,
    cgroup_paths = path and cgroups.at(path) or {},
    configuration = config,
    settings = settings,
    annotations = annotations,
    labels = annotations,
  }
end

return crun
