--- Containers for tests, and their state as the host sees it, without the module under test.

local core = require "ctrexec.core"
local fixture = require "ctrexec.busted"
local lfs = require "lfs"
local suite = require "tests.lib.suite"
local tool = require "tests.lib.tool"

local containers = {}

local pidfd = core.pidfd

--- Why no container can be made here, or nil.
-- @tparam[opt] string runtime by default the runtime of this view
function containers.missing(runtime)
  runtime = runtime or tool.runtime()
  if core.process.ids().euid ~= 0 then return "needs root, to make containers" end
  if runtime == "crun" and tool.view() ~= "v2" then
    return "crun 1.8 runs only in the pure cgroup v2 view: run this under tests/v2view"
  end
  return tool.missing(runtime, "busybox", "setsid")
end

--- A throw-away container: `fixture.container`, with the runtime of this view unless another is given.
function containers.new(options)
  options = options or {}
  options.runtime = options.runtime or tool.runtime()
  return fixture.container(options)
end

--- A suite of tests on one container.
-- @tparam table env the spec file's `_ENV`
-- @tparam func keep called with the container once it is there
-- @tparam[opt] table options of `containers.new`
-- @tparam[opt] func clear called with the container before each test
-- @treturn func check(title, test, unless) of tests/lib/suite.lua
function containers.suite(env, keep, options, clear)
  return suite(env, containers.missing(options and options.runtime), function ()
    local ct = containers.new(options)
    keep(ct)
    return ct
  end, clear)
end

--- The name of the container's cgroups, the same in each hierarchy.
function containers.cgroup_name(ct)
  return ct.dir:match "[^/]+$"
end

--- The folders below the container's cgroups, in every hierarchy.
function containers.leaves(ct)
  local found = {}
  for _, path in pairs(ct:open().container.cgroup_paths) do
    for _, name in ipairs(core.file.list(path) or {}) do
      if lfs.symlinkattributes(path .. "/" .. name, "mode") == "directory" then
        found[#found + 1] = path .. "/" .. name
      end
    end
  end
  return found
end

--- The processes in the container's pid namespace without its init: `pid`, `comm`, sorted by name. Zombies, which an
-- init that reaps nothing leaves, do not count.
function containers.inside(ct)
  local namespace, found = core.namespace.ids(ct.pid), {}
  for _, name in ipairs(core.file.list "/proc") do
    local pid = math.tointeger(tonumber(name))
    local ids = pid and pid ~= ct.pid and core.namespace.ids(pid)
    local stat = ids and namespace and ids.pid == namespace.pid and core.process.stat(pid)
    if stat and stat.state ~= "Z" then found[#found + 1] = { pid = pid, comm = stat.comm } end
  end
  table.sort(found, function (a, b) return a.comm < b.comm end)
  return found
end

--- The names of these processes, with blanks between them.
function containers.names_inside(ct)
  local names = {}
  for index, process in ipairs(containers.inside(ct)) do names[index] = process.comm end
  return table.concat(names, " ")
end

--- Waits until only the init runs in the container.
-- @tparam table ct fixture
-- @tparam[opt] func on_each called at every look with each process that still runs
function containers.await_empty(ct, on_each)
  local names
  local function is_empty()
    names = {}
    for index, process in ipairs(containers.inside(ct)) do
      names[index] = process.comm
      if on_each then on_each(process) end
    end
    return #names == 0
  end
  if not tool.within(is_empty) then error("left in the container: " .. table.concat(names, " "), 2) end
end

--- Ends the processes that a test has left in the container, so that the next test is not blamed for them.
function containers.clear(ct)
  containers.await_empty(ct, function (process)
    local handle <close> = pidfd.open(process.pid)
    if handle then pidfd.send_signal(handle, core.signal.numbers.KILL) end
  end)
end

return containers
