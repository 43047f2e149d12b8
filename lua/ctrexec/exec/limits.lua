--- The time limit of a command, as steps: TERM at the limit and KILL some seconds later, or KILL at once, to everything
-- that the command started. All that keep a limit go by these steps: the module's `exec`, `ctrexec exec`, the keeper.
-- @module ctrexec.exec.limits
local core = require "ctrexec.core"

local clock = core.clock.now

local limits = {}

local Limit = {}
Limit.__index = Limit

--- Starts a time limit.
-- @tparam ?number timeout seconds; nil for no limit
-- @tparam[opt] number kill_after seconds between TERM and KILL; nil for KILL at once
-- @treturn table the limit
function limits.new(timeout, kill_after)
  return setmetatable({ next_at = timeout and clock() + timeout, kill_after = kill_after }, Limit)
end

--- How long it is until the next signal is due.
-- @treturn ?number seconds, 0 when a signal is due; nil when no signal is to come
function Limit:left()
  return self.next_at and math.max(0, self.next_at - clock())
end

--- The signal that is due now; each signal is returned once.
-- @treturn ?string "TERM" or "KILL"; nil when no signal is due
function Limit:due()
  if not self.next_at or clock() < self.next_at then return nil end
  if not self.ends_at then
    self.ends_at = clock() + (self.kill_after or 0)
    if self.kill_after then
      self.next_at = self.ends_at
      return "TERM"
    end
  end
  self.next_at = nil
  return "KILL"
end

--- Whether the limit was reached, so that a signal was due.
-- @treturn boolean
function Limit:is_over()
  return self.ends_at ~= nil
end

--- How long the processes that the command left behind may still run, once the limit was reached.
-- @treturn number seconds, from 0 on
function Limit:grace()
  return math.max(0, self.ends_at - clock())
end

return limits
