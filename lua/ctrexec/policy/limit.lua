--- The time limit of an exec under policies: how long it is, and which process keeps it.
--
-- The caller's process keeps the limit of a command that it waits for; a keeper (`ctrexec.policy.keeper`) keeps every
-- other limit. Under policies, or a limit of the site, the limit also holds for the processes that the command leaves
-- behind, even where the caller chose it: otherwise a caller could leave a process behind for ever by asking for a
-- limit just below the site's.
-- @module ctrexec.policy.limit
local core = require "ctrexec.core"
local late = require "ctrexec.lib.late"
local keeper = late "ctrexec.policy.keeper" -- needed only where the caller does not wait for the end

local limit = {}

local Limit = {}
Limit.__index = Limit

-- How long ctrexec waits for a killed command to end.
local KILLED_SECONDS = 10

--- The time limit of an exec, at most the site's. A grace (`kill_after`) that the caller asked for is cut short where
-- timeout and grace together would exceed the site's limit; a grace that a policy set is not.
-- @tparam table chain of `ctrexec.policy`
-- @tparam ?number timeout that was asked for, in seconds
-- @tparam ?number kill_after seconds between TERM and KILL
-- @tparam boolean by_policy whether a policy set `kill_after`
-- @treturn ?number timeout
-- @treturn ?number kill_after
function limit.of(chain, timeout, kill_after, by_policy)
  local most = chain.limits.exec_timeout
  if not most then return timeout, kill_after end
  timeout = math.min(timeout or most, most)
  if kill_after and not by_policy then kill_after = math.min(kill_after, most - timeout) end
  return timeout, kill_after
end

--- Begins the limit of an exec.
-- @tparam table chain of `ctrexec.policy`
-- @tparam table trail of `ctrexec.policy.trail`
-- @tparam table options of the request: `timeout`, `kill_after`
-- @tparam ?boolean attended the caller waits for the end of the command, and keeps the limit until then
-- @treturn limit
function limit.new(chain, trail, options, attended)
  local timeout = options.timeout
  return setmetatable({
    chain = chain, trail = trail, timeout = timeout, kill_after = options.kill_after, began = core.clock.now(),
    unattended = timeout ~= nil and not attended,
    lasting = timeout ~= nil and (not chain:is_empty() or chain.limits.exec_timeout ~= nil), -- guard: lasting_limit
  }, Limit)
end

local function start_keeper(self, pidfd, job)
  job.began = self.began
  return keeper.start(self.chain, pidfd, job)
end

-- Starts a keeper, which keeps the limit from here on, and writes the event, if there is one, when the command ends.
local function hand_over(self, handle, event)
  local ok, message = start_keeper(self, handle.pidfd, {
    event = event, tree = handle.tree, timeout = math.max(0, self.deadline - core.clock.now()),
    kill_after = self.kill_after, lasting = self.lasting,
  })
  if not ok then return nil, "the time limit cannot be kept: " .. message end
  handle.tree:leave()
  return true
end

--- Starts the clock of the limit: the command runs now.
function Limit:start()
  self.deadline = self.timeout and core.clock.now() + self.timeout
end

--- Has a keeper keep the limit of a command that the caller does not wait for. Where no keeper can be started, the
-- command is killed.
-- @tparam process handle of the command
-- @tparam ?boolean tells whether the keeper writes the exit event
-- @treturn[1] boolean true
-- @treturn[2] nil the command was ended
-- @treturn[2] string message
function Limit:keep(handle, tells)
  local event = tells and self.trail:is_wanted() and self.trail:event("exit", { pid = handle.pid }) or nil
  local ok, message = hand_over(self, handle, event)
  if ok then return true end
  handle:kill { tree = true }
  handle:wait(KILLED_SECONDS)
  self.trail:tell_late("error", { message = message, pid = handle.pid })
  return nil, message
end

--- Has a keeper write the exit event of a command that the caller does not wait for.
-- @tparam fd pidfd of the command
-- @tparam integer pid of the command
function Limit:tell_end(pidfd, pid)
  if not self.trail:is_wanted() then return end
  local ok, message = start_keeper(self, pidfd, { event = self.trail:event("exit", { pid = pid }) })
  if ok then return end
  message = "the end of the command will not be recorded: " .. message
  self.trail:tell_late("error", { message = message, pid = pid })
end

--- Has a keeper end the processes that a command left behind when their time is over. Where no keeper can be started,
-- they are killed.
-- @tparam process handle of the command, which is about to be closed
function Limit:keep_rest(handle)
  if not (self.lasting and self.deadline and handle.tree:runs_on()) then return end
  local ok, message = hand_over(self, handle)
  if ok then return end
  handle.tree:kill(handle.pidfd)
  message = message .. "; what the command left behind was killed"
  table.insert(self.trail.warnings, { level = "warning", message = message })
end

return limit
