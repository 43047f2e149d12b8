--- The time limit of a command, as steps: TERM at the limit and KILL some seconds later, or KILL at once, to everything
-- that the command started. Whoever keeps a limit goes by these steps: the module, the command, the keeper.
-- @module ctrexec.exec.limits
local core = require "ctrexec.core"

local clock = core.clock.now

local limits = {}

local Limit = {}
Limit.__index = Limit

--- Starts the time.
-- @tparam ?number timeout seconds; nil for no limit
-- @tparam[opt] number kill_after seconds between TERM and KILL; nil for KILL at once
-- @treturn table the limit
function limits.new(timeout, kill_after)
  return setmetatable({ next_at = timeout and clock() + timeout, kill_after = kill_after }, Limit)
end

--- How long it is until the next signal is due.
-- @treturn ?number seconds, 0 when one is due; nil when there is none to come
function Limit:left()
  return self.next_at and math.max(0, self.next_at - clock())
end

--- The signal that is due now; each is returned once.
-- @treturn ?string "TERM" or "KILL"; nil when none is due
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

--- Whether a signal was due: the command ended by the limit.
-- @treturn boolean
function Limit:is_over()
  return self.ends_at ~= nil
end

--- How long what the command left behind may still run, once the limit is over.
-- @treturn number seconds, from 0 on
function Limit:grace()
  return math.max(0, self.ends_at - clock())
end

return limits
