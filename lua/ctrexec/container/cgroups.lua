--- The cgroup directories of a process or a path, for runtimes whose state has no absolute ones.
-- @module ctrexec.container.cgroups
local cgroups = {}

local core = require "ctrexec.core"

local function below(mount, path)
  return path == "/" and mount or mount .. path
end

--- The cgroups that a process is in now.
-- @tparam integer pid
-- @treturn table absolute directory by controller, "" for version 2; empty when the process is gone
-- @see cgroups(7)
function cgroups.of(pid)
  local mounts, paths = core.cgroup.mounts() or {}, {}
  for _, membership in ipairs(core.cgroup.of(pid) or {}) do
    for _, controller in ipairs(membership.hierarchy == 0 and { "" } or membership.controllers) do
      if mounts[controller] then paths[controller] = below(mounts[controller], membership.path) end
    end
  end
  return paths
end

--- The directories of the cgroup of this path. On a host with several hierarchies it need not be in all of them: those
-- without it are left out. If no hierarchy has it, all directories where it could be are returned.
-- @tparam string path from the root of each hierarchy, starting with "/"
-- @treturn table absolute directory by controller, "" for version 2
function cgroups.at(path)
  local present, possible = {}, {}
  for controller, mount in pairs(core.cgroup.mounts() or {}) do
    possible[controller] = below(mount, path)
    present[controller] = core.file.stat(possible[controller]) and possible[controller]
  end
  return next(present) and present or possible
end

return cgroups
