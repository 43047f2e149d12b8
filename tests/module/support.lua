--- What the specs of the module share: a container in the cgroup view of the run, and looks at it from the host's side.
local core = require "ctrexec.core"
local fixture = require "ctrexec.busted"
local lfs = require "lfs"
local tool = require "tests.lib.tool"

local support = {}

-- No test waits longer for a thing that must happen.
local DEADLINE = 20

--- Why no container can be made here, or nil.
function support.missing()
  if core.process.ids().euid ~= 0 then return "needs root, to make containers" end
  for _, program in ipairs { support.runtime(), "busybox" } do
    if not tool.has(program) then return "needs " .. program end
  end
end

--- crun wants the pure v2 view; runc takes any.
function support.runtime()
  return tool.view() == "v2" and "crun" or "runc"
end

--- A throw-away container of the runtime of this view.
function support.container(options)
  options = options or {}
  options.runtime = support.runtime()
  return fixture.container(options)
end

--- Calls `condition` until it gives a true value and returns that.
function support.eventually(condition, what)
  local deadline = core.clock.now() + DEADLINE
  repeat
    local value = condition()
    if value then return value end
    core.poll.wait({}, 5)
  until core.clock.now() > deadline
  error((what or "this") .. " never came true", 2)
end

function support.descriptors()
  return #core.file.list "/proc/self/fd"
end

--- Children of this process, running or not.
function support.children()
  local own, count = core.process.ids().pid, 0
  for _, name in ipairs(core.file.list "/proc") do
    local pid = math.tointeger(tonumber(name))
    local stat = pid and core.process.stat(pid)
    if stat and stat.ppid == own then count = count + 1 end
  end
  return count
end

--- The pids of every process in the container's pid namespace but its init, found without the module: from the host.
function support.others(container)
  local init = container.record.pid
  local namespace, pids = core.namespace.ids(init).pid, {}
  for _, name in ipairs(core.file.list "/proc") do
    local pid = math.tointeger(tonumber(name))
    local theirs = pid and pid ~= init and core.namespace.ids(pid)
    local stat = theirs and theirs.pid == namespace and core.process.stat(pid)
    -- What an init that reaps nothing leaves as zombies has ended.
    if stat and stat.state ~= "Z" then pids[#pids + 1] = pid end
  end
  return pids
end

--- Ends them.
function support.kill_others(container)
  support.eventually(function ()
    local others = support.others(container)
    for _, pid in ipairs(others) do
      local fd <close> = core.pidfd.open(pid)
      if fd then core.pidfd.send_signal(fd, core.signal.numbers.KILL) end
    end
    return #others == 0
  end, "an empty container")
end

--- The folders below the container's cgroups, in every hierarchy.
function support.leaves(container)
  local found = {}
  for _, path in pairs(container.record.cgroup_paths) do
    for _, name in ipairs(core.file.list(path) or {}) do
      if lfs.symlinkattributes(path .. "/" .. name, "mode") == "directory" then
        found[#found + 1] = path .. "/" .. name
      end
    end
  end
  return found
end

--- The environment in which a program of a test finds the module, as shell words.
function support.environment()
  return ("LUA_PATH=%s LUA_CPATH=%s"):format(
    tool.quote(("%s/lua/?.lua;%s/lua/?/init.lua;;"):format(tool.repository, tool.repository)),
    tool.quote(("%s/lua/?.so;;"):format(tool.build)))
end

--- Compiles a C host program with the system's Lua, as docs/embedding.md says. The sanitized module needs a sanitized
-- host.
-- @treturn string path of the program, in the given directory
function support.compile(source, directory)
  local program = directory .. "/" .. source:match "([^/]+)%.c$"
  local sanitize = (os.getenv "SANITIZE" or "") ~= "" and "-fsanitize=address,undefined" or ""
  local command = ("gcc -std=c11 -D_GNU_SOURCE -Wall -Wextra -Werror -O1 -g %s -I/usr/include/lua5.4 "
    .. "-o %s %s -llua5.4 -lpthread"):format(sanitize, tool.quote(program), tool.quote(source))
  assert(os.execute(command), command)
  return program
end

return support
