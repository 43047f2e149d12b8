--- The processes of a cgroup, with those of every cgroup below it.
-- @module ctrexec.container.members
local core = require "ctrexec.core"

local members = {}

local BELOW = { path = true, directory = true, nofollow = true }
local MAX_DEPTH = 32 -- each level costs a descriptor, and a container may nest cgroups as deep as it likes

--- Calls a function for every cgroup below one, the deepest first.
-- @tparam fd folder
-- @tparam function visit (parent fd, name, fd)
-- @tparam[opt=0] integer depth
function members.each_folder(folder, visit, depth)
  depth = depth or 0
  local about = core.file.stat(folder)
  -- A directory with two links (its name and ".") has no directory below it: its many files need not be listed.
  if not about or about.nlink <= 2 or depth == MAX_DEPTH then return end
  for _, name in ipairs(core.file.list(folder) or {}) do
    local below <close> = core.file.openat(folder, name, BELOW)
    if below then
      members.each_folder(below, visit, depth + 1)
      visit(folder, name, below)
    end
  end
end

--- The pids of the processes in a cgroup and below it, in this process's pid namespace.
-- @tparam fd folder
-- @treturn {integer,...}
function members.pids(folder)
  local pids = core.cgroup.procs(folder) or {}
  members.each_folder(folder, function(_, _, below)
    for _, pid in ipairs(core.cgroup.procs(below) or {}) do pids[#pids + 1] = pid end
  end)
  return pids
end

return members
