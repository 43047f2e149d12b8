--- A cgroup of its own for a command and everything that it starts, so that all of it can be ended at once.
--
-- The cgroup is a child of the container's, in the v2 hierarchy where there is one, else in the v1 freezer's. A process
-- does not leave it by daemonising or by changing its session. Where no such cgroup can be made (a rootless container
-- without delegation) processes are found by their parents instead, which a daemon escapes.
-- @module ctrexec.exec.tree
local core = require "ctrexec.core"
local members = require "ctrexec.container.members"
local cgroup, pidfd = core.cgroup, core.pidfd

local tree = {}
local methods = {}
local class = { __index = methods }

local ENOENT = core.errno.ENOENT
local ROUNDS = 1000 -- of freezing and killing, a millisecond each: more than any fork bomb needs
local DYING_SECONDS = 10 -- how long killed processes may take to be gone; a thousand take less
local FIRST_PAUSE, LONGEST_PAUSE = 0.005, 1 -- seconds between two checks, where no event says that a cgroup is empty
local EVENTS_SIZE = 4096

--- Makes the cgroup.
-- @tparam[opt] fd base the cgroup that the command would join; nil: there is none to make a child in
-- @tparam[opt] string controller "" for v2, "freezer" for v1
-- @treturn table the tree; its field `folder` is the new cgroup (fd object), nil where it could not be made
function tree.new(base, controller)
  local self = { controller = controller }
  if base then
    local name = ("ctrexec-%d-%s"):format(core.process.ids().pid, tostring(self):match "0x(%x+)")
    local folder = cgroup.create(base, name)
    if folder then self.base, self.name, self.folder = base, name, folder end
  end
  return setmetatable(self, class) -- marked after its descriptors, so that Lua finalizes it before them
end

--- Takes over the cgroup that another process's tree left to this one.
-- @tparam[opt] fd base the cgroup above it; nil: there is none
-- @tparam[opt] fd folder the cgroup itself
-- @tparam[opt] string name of it
-- @tparam[opt] string controller as for `new`
-- @treturn table the tree
function tree.adopt(base, folder, name, controller)
  return setmetatable({ base = base, folder = folder, name = name, controller = controller }, class)
end

-- Sends a signal to every process of the cgroup, by pidfd. A pid may be recycled between the listing and the opening,
-- so the cgroup is listed again before the signal.
local function signal_members(self, signal)
  local open = {}
  for _, pid in ipairs(members.pids(self.folder)) do open[pid] = pidfd.open(pid) end
  local count = 0
  for _, pid in ipairs(members.pids(self.folder)) do
    if open[pid] then
      pidfd.send_signal(open[pid], signal)
      count = count + 1
    end
  end
  for _, fd in pairs(open) do fd:close() end
  return count
end

local function freeze(self, on)
  if self.controller == "" then return cgroup.write(self.folder, "cgroup.freeze", on and "1" or "0") end
  return cgroup.write(self.folder, "freezer.state", on and "FROZEN" or "THAWED")
end

local function descendants(root)
  local children, found = {}, {}
  for _, name in ipairs(core.file.list "/proc" or {}) do
    local pid = math.tointeger(tonumber(name))
    local stat = pid and core.process.stat(pid)
    if stat then
      children[stat.ppid] = children[stat.ppid] or {}
      table.insert(children[stat.ppid], { pid = pid, start_time = stat.start_time })
    end
  end
  local function walk(pid)
    for _, process in ipairs(children[pid] or {}) do
      found[#found + 1] = process
      walk(process.pid)
    end
  end
  walk(root)
  return found
end

-- The states of proc(5) in which a process does not fork. D: in a call after which STOP takes effect, or in vfork(2).
local STOPPED = { T = true, t = true, Z = true, X = true, D = true }
local STOP_ROUNDS = 50 -- a millisecond each

-- Stops a process and waits a little until it has stopped: before that it may be half-way through a fork.
local function stop(fd, pid)
  pidfd.send_signal(fd, core.signal.numbers.STOP)
  for _ = 1, STOP_ROUNDS do
    local stat = core.process.stat(pid)
    if not stat or STOPPED[stat.state] then break end
    core.poll.wait({}, 1)
  end
end

-- For a tree without a cgroup: stops every descendant and returns their pidfds. A stopped process makes no more
-- children, so the search ends when it finds no new process. A pid counts only if its start time is still the same
-- after the pidfd was opened.
local function stop_descendants(root)
  local stopped, found = {}, true
  while found do
    found = false
    for _, process in ipairs(descendants(root)) do
      local fd = not stopped[process.pid] and pidfd.open(process.pid)
      local stat = fd and core.process.stat(process.pid)
      if stat and stat.start_time == process.start_time then
        stop(fd, process.pid)
        stopped[process.pid], found = fd, true
      elseif fd then
        fd:close()
      end
    end
  end
  return stopped
end

local function signal_descendants(root, signal)
  for _, fd in pairs(stop_descendants(root)) do
    pidfd.send_signal(fd, signal)
    pidfd.send_signal(fd, core.signal.numbers.CONT)
    fd:close()
  end
end

--- Sends a signal to every process of the tree.
-- @tparam fd root pidfd of the command
-- @tparam integer signal
function methods:signal(root, signal)
  if self.folder then
    signal_members(self, signal)
  else
    local pid = pidfd.pid(root)
    if pid then
      stop(root, pid)
      signal_descendants(pid, signal)
    end
    pidfd.send_signal(root, signal)
    pidfd.send_signal(root, core.signal.numbers.CONT)
  end
end

--- Ends every process of the tree. cgroup.kill (Linux 5.14) does it at once; on older kernels, and on v1, the cgroup is
-- frozen so that no process can fork meanwhile. The command itself is also killed by its pidfd: the caller waits for
-- it, and a container that may write to its cgroups could have moved it out of the tree's.
-- @tparam fd root pidfd of the command
function methods:kill(root)
  if not self.folder then return self:signal(root, core.signal.numbers.KILL) end
  self.killed = true
  pidfd.send_signal(root, core.signal.numbers.KILL)
  if self.controller == "" and cgroup.kill(self.folder) then return end
  for _ = 1, ROUNDS do
    freeze(self, true)
    local count = signal_members(self, core.signal.numbers.KILL)
    freeze(self, false)
    if count == 0 then return end
    core.poll.wait({}, 1)
  end
end

--- Whether no process of the tree runs any more. Without a cgroup this is not known, and the answer is true.
-- @treturn boolean
function methods:is_empty()
  return not self.folder or #members.pids(self.folder) == 0
end

-- Opens and reads cgroup.events (version 2): poll(2) then reports when the file changes, as when the cgroup becomes
-- empty.
local function read_events(self)
  local file = self.controller == "" and self.folder and cgroup.file(self.folder, "cgroup.events", "r") or nil
  return file and core.fd.read(file, EVENTS_SIZE) and file or nil
end

--- Waits until no process of the tree runs any more.
-- @tparam number deadline by the monotonic clock
-- @treturn boolean false: the time is over
function methods:wait_until_empty(deadline)
  local pause = FIRST_PAUSE
  while true do
    local events <close> = read_events(self) -- read before the check, so that a later change is seen
    if self:is_empty() then return true end
    local left = deadline - core.clock.now()
    if left <= 0 then return false end
    if events then
      core.poll.wait({ { fd = events } }, left * 1000)
    else
      core.poll.wait({}, math.min(left, pause) * 1000)
      pause = math.min(pause * 2, LONGEST_PAUSE)
    end
  end
end

--- Whether processes of the tree run on that were neither killed nor left to another process.
-- @treturn boolean
function methods:runs_on()
  return not (self.killed or self.left) and not self:is_empty()
end

-- Tries to remove the cgroup and all cgroups below it, which fails while a process is in one of them. Returns true also
-- when the runtime has removed it already, with the container's.
local function remove(self)
  members.each_folder(self.folder, function(parent, name) cgroup.remove(parent, name) end)
  local removed, _, errno = cgroup.remove(self.base, self.name)
  return removed or errno == ENOENT
end

--- Leaves the cgroup to a process that takes it over: `close` does not remove it from now on.
function methods:leave()
  self.left = true
end

--- Removes the cgroup. Killed processes are waited for until they are gone; processes that the command left behind and
-- that were not killed are moved up into the container's own cgroup.
function methods:close()
  if not self.folder then return end
  local deadline, pause = core.clock.now() + DYING_SECONDS, 0
  while not self.left and not remove(self) and core.clock.now() < deadline do
    if not self.killed then
      for _, pid in ipairs(members.pids(self.folder)) do cgroup.write(self.base, "cgroup.procs", tostring(pid)) end
    end
    core.poll.wait({}, pause)
    pause = math.min(pause + 1, 5)
  end
  self.folder:close()
  self.base:close()
  self.folder = nil
end

class.__gc = methods.close
class.__close = methods.close

return tree
