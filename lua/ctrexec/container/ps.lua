--- The processes of a container, as the host sees them.
-- @module ctrexec.container.ps
local core = require "ctrexec.core"
local members = require "ctrexec.container.members"
local pidfd = core.pidfd

local ps = {}

local COMMAND_LINE_MAX = 65536
-- The order in which the hierarchies of a host are asked: those that every runtime joins come first.
local PREFERRED = { "", "pids", "freezer", "memory", "name=systemd" }

local function contains(pids, wanted)
  for _, pid in ipairs(pids) do
    if pid == wanted then return true end
  end
  return false
end

-- The pids in the container's cgroup, by the first hierarchy in which the container's init is in it: not every runtime
-- joins all hierarchies.
local function by_cgroup(container)
  local order = table.move(PREFERRED, 1, #PREFERRED, 1, {})
  for controller in pairs(container.cgroup_paths) do order[#order + 1] = controller end
  for _, controller in ipairs(order) do
    local path = container.cgroup_paths[controller]
    local folder <close> = path and core.cgroup.open(path, "/")
    local pids = folder and members.pids(folder) or {}
    if contains(pids, container.pid) then return pids end
  end
end

local function by_namespace(container)
  local namespaces, own = core.namespace.ids(container.pid), core.namespace.ids(core.process.ids().pid)
  if not namespaces or not own or namespaces.pid == own.pid then return nil end
  local pids = {}
  for _, name in ipairs(core.file.list "/proc" or {}) do
    local pid = math.tointeger(tonumber(name))
    local theirs = pid and core.namespace.ids(pid)
    if theirs and theirs.pid == namespaces.pid then pids[#pids + 1] = pid end
  end
  return pids
end

local function arguments(pid)
  local file <close> = core.file.open(("/proc/%d/cmdline"):format(pid))
  local text = file and core.fd.read(file, COMMAND_LINE_MAX) or ""
  local words = {}
  for word in text:gmatch "([^\0]*)\0" do words[#words + 1] = word end
  return words
end

local function describe(pid)
  local stat = core.process.stat(pid)
  if not stat or stat.state == "Z" or stat.state == "X" then return nil end
  local process = { pid = pid, ppid = stat.ppid, command = stat.comm, args = arguments(pid), state = stat.state,
    start_time = stat.start_time }
  local again = core.process.stat(pid)
  -- The pid may have been given to another process between two files of /proc.
  return again and again.start_time == stat.start_time and process or nil
end

--- Lists the processes of a container.
-- @tparam table container the container
-- @treturn[1] {table,...} see `container:ps`, by pid
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string code "stopped" or "unsupported"
function ps.list(container)
  if container.status == "stopped" then return nil, "the container is stopped", "stopped" end
  local pids = container.runtime ~= "pid" and by_cgroup(container) or by_namespace(container)
  if not pids then
    if not pidfd.alive(container.pidfd) then return nil, "the container is stopped", "stopped" end
    return nil, "the processes of the container cannot be told from those of the host", "unsupported"
  end
  table.sort(pids)
  local processes, last = {}, nil
  for _, pid in ipairs(pids) do
    processes[#processes + 1] = pid ~= last and describe(pid) or nil
    last = pid
  end
  return processes
end

return ps
