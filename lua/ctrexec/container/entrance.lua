--- The way into a container's namespaces: for a command, and for looking at its files.
-- @module ctrexec.container.entrance
local core = require "ctrexec.core"
local late = require "ctrexec.lib.late"
local unwind = require "ctrexec.lib.unwind"
local wording = late "ctrexec.lib.wording" -- only a refusal needs it
local by_pid = late "ctrexec.container.pid" -- only a container that was opened by a pid needs it

local entrance = {}

local ESRCH = core.errno.ESRCH

-- Whether the user namespace of a process forbids setgroups(2): user_namespaces(7). Where it does not, the exec must
-- fail if setgroups(2) fails: the command would keep the caller's groups.
local function denies_groups(pid)
  local file <close> = io.open(("/proc/%d/setgroups"):format(pid))
  return file ~= nil and file:read "l" == "deny"
end

-- The helper joins only the namespaces that differ from the caller's: setns(2) refuses a process's own user namespace.
local function build(container)
  local mask, differing, errno = core.namespace.differing(container.pid)
  local root, message = nil, not mask and differing or nil
  if mask and container.runtime == "pid" then root, message = by_pid.root(container.pid, differing.mnt) end
  local alive, problem = core.pidfd.alive(container.pidfd)
  if errno == ESRCH or alive == false then unwind.fail("cannot exec in a stopped container", "stopped") end
  message = message or problem
  if message then unwind.fail(wording.reworded(message), "system") end
  local mappings = container.settings.uid_mappings or {}
  local has_root = #mappings == 0
  for _, mapping in ipairs(mappings) do has_root = has_root or mapping.containerID == 0 end
  return {
    init = container.pidfd, namespaces = mask, root = root, become_root = differing.user and has_root,
    groups_optional = differing.user and denies_groups(container.pid),
  }
end

--- Which namespaces of a container to join, and how.
-- @tparam table container the container
-- @treturn[1] table fields of a plan (core/common/plan.h): `init`, `namespaces`, `root` (fd, which the caller closes),
-- `become_root`, `groups_optional`
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string code: "stopped", "system"
function entrance.of(container)
  return unwind.guarded(build, container)
end

return entrance
