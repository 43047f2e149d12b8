--- Cgroups of a test's own, below the root of a hierarchy. At the end of the scope they go with all that is in them:
-- `local group <close>, reason = cgroups.new ""`.

local core = require "ctrexec.core"
local lfs = require "lfs"
local tool = require "tests.lib.tool"

local cgroups = {}

local methods = {}
local class = { __index = methods }

local function folders_of(path)
  return tool.output("find " .. tool.quote(path) .. " -depth -type d"):gmatch "[^\n]+"
end

--- Opens the cgroup once more, for what takes a descriptor over.
function methods:open()
  return assert(core.cgroup.open(self.mount, "/" .. self.name))
end

--- Makes cgroups below it, as mkdir -p does.
-- @treturn string the path of the last
function methods:below(path)
  tool.sh("mkdir -p %s", self.path .. "/" .. path)
  return self.path .. "/" .. path
end

--- Puts a child into it, or into a cgroup below it.
-- @tparam table child of spec/core/support.lua
-- @tparam[opt] string path below it
function methods:enter(child, path)
  tool.write(("%s/%s/cgroup.procs"):format(self.path, path or "."), tostring(child.pid))
  return child
end

--- The processes in it, not in those below it, in order.
function methods:pids()
  local pids = core.cgroup.procs(self.fd)
  table.sort(pids)
  return pids
end

--- The names of the cgroups below it.
function methods:names()
  local names = {}
  for name in lfs.dir(self.path) do
    if not name:find "^%.%.?$" and lfs.attributes(self.path .. "/" .. name, "mode") == "directory" then
      names[#names + 1] = name
    end
  end
  return names
end

local function write(path, text)
  local file <close> = io.open(path, "w")
  if file then file:write(text) end
end

-- What is frozen does not die.
local function kill_all(folder)
  write(folder .. "/cgroup.freeze", "0")
  write(folder .. "/freezer.state", "THAWED")
  for pid in (tool.read(folder .. "/cgroup.procs") or ""):gmatch "%d+" do
    local fd <close> = core.pidfd.open(math.tointeger(tonumber(pid)))
    if fd then core.pidfd.send_signal(fd, core.signal.numbers.KILL) end
  end
end

--- Removes it, once; what is in it is killed.
function methods:close()
  self.fd:close()
  tool.eventually(function()
    for folder in folders_of(self.path) do
      kill_all(folder)
      lfs.rmdir(folder)
    end
    return not tool.exists(self.path)
  end, "the end of " .. self.path)
end

class.__close = methods.close

--- Makes one.
-- @tparam string key of the hierarchy: "" for version 2, else a controller
-- @treturn ?table `fd`, `path`, `name`; `mount`, the path of the hierarchy
-- @treturn ?string why there can be none
function cgroups.new(key)
  local mount = core.cgroup.mounts()[key]
  if not mount then return nil, ("no %s hierarchy is mounted"):format(key == "" and "version 2" or key) end
  if core.process.ids().euid ~= 0 then return nil, "needs root, to make cgroups" end
  local name = tool.unique_name()
  local root <close> = assert(core.cgroup.open(mount, "/"))
  local fd = assert(core.cgroup.create(root, name))
  return setmetatable({ fd = fd, path = mount .. "/" .. name, name = name, mount = mount }, class)
end

--- Declares a test of each version of cgroups that can have the cgroup of a command: it gets one, and the key of its
-- hierarchy. Skipped where there can be none.
-- @tparam table env the spec file's `_ENV`
-- @tparam string title
-- @tparam func test
function cgroups.it(env, title, test)
  for _, key in ipairs { "", "freezer" } do
    env.it(("%s (version %d)"):format(title, key == "" and 2 or 1), function()
      local group <close>, reason = cgroups.new(key)
      if not group then return env.pending(reason) end
      test(group, key)
    end)
  end
end

return cgroups
