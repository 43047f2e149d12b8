--- Reads the state of crun 1.8 to 1.29: ROOT/ID/status, the copy of the bundle's config.json beside it, and
-- seccomp.bpf, the profile as crun compiled it.
-- @module ctrexec.container.crun
local crun = {}

local cgroups = require "ctrexec.container.cgroups"
local check = require "ctrexec.container.check"
local oci = require "ctrexec.container.oci"

local optional, required = check.optional, check.required

--- Reads a status file and what lies beside it.
-- @tparam table source `tree` (of the status file, decoded raw), `path` (for messages), `owner` (user id of the state
-- directory), `file(name)` (gives another file of the directory, nil when absent) and `config()` (gives config.json
-- there, decoded, and its path)
-- @treturn table the fields of a record that come from the files; refuses what is malformed
function crun.read(source)
  local status, path = source.tree, source.path
  local start_time = optional(status["process-start-time"], "an integer", path .. ": process-start-time")
  local cgroup_path = optional(status["cgroup-path"], "a string", path .. ": cgroup-path") or ""
  local record = {
    runtime = "crun",
    pid = required(status.pid, "an integer", path .. ": pid"),
    -- Of versions that did not record it: 0.
    start_time = start_time ~= 0 and start_time or nil,
    created = optional(status.created, "a string", path .. ": created"),
    owner = optional(status.owner, "a string", path .. ": owner"),
    bundle = check.absolute(status.bundle, path .. ": bundle"),
    systemd = optional(status["systemd-cgroup"], "a boolean", path .. ": systemd-cgroup") or false,
    rootless = source.owner ~= 0,
    cgroup_paths = {},
  }
  if cgroup_path ~= "" then
    -- Written with and without the leading "/", as the bundle had it.
    if cgroup_path:sub(1, 1) ~= "/" then cgroup_path = "/" .. cgroup_path end
    record.cgroup_paths = cgroups.at(check.absolute(cgroup_path, path .. ": cgroup-path"))
  end
  local config, config_path = source.config()
  record.configuration = config
  record.settings = oci.settings(config, config_path)
  record.settings.seccomp_bpf = record.settings.seccomp and source.file "seccomp.bpf"
  record.settings.rootless_cgroups = record.rootless
  record.annotations = oci.annotations(config, config_path)
  record.labels = record.annotations
  return record
end

return crun
