--- The audit events of one exec: who asked for it, for what, and how it ended.
--
-- The first event is "accept", before anything is started, or "reject". After "accept" comes "exit" at the end of the
-- command, or "error" if it could not be started. All events of an exec have the same id.
-- @module ctrexec.policy.trail
local audit = require "ctrexec.policy.audit"
local core = require "ctrexec.core"
local late = require "ctrexec.lib.late"
local callers = late "ctrexec.policy.caller" -- needed only where a policy or an event asks for it

local trail = {}

local Trail = {}
Trail.__index = Trail

--- Begins the trail of an exec.
-- @tparam table chain of `ctrexec.policy`, which keeps the events
-- @tparam table container the container
-- @tparam[opt] boolean dry nothing will be started, and no event is written
-- @treturn trail its fields `process`, `fields` (options.audit of the request), `detached` and `recording` go into its
-- events; `warnings` is an array, to which failures to write an event are added
function trail.new(chain, container, dry)
  return setmetatable({ chain = chain, container = container, dry = dry, warnings = {} }, Trail)
end

--- A part of what is known of the caller. Each part is found out when it is first asked for, and then kept.
-- @tparam string part "identity", "names" or "origin": see `ctrexec.policy.caller`
-- @treturn table
function Trail:caller_part(part)
  self[part] = self[part] or callers[part]()
  return self[part]
end

--- All that is known of the caller.
-- @treturn table
function Trail:caller()
  local result = {}
  for _, part in ipairs { "identity", "names", "origin" } do
    for name, value in pairs(self:caller_part(part)) do result[name] = value end
  end
  return result
end

--- The id of the exec's events: 16 random hexadecimal digits.
-- @treturn string
function Trail:id()
  if not self.event_id then
    local random <close> = assert(io.open("/dev/urandom", "rb"))
    self.event_id = random:read(8):gsub(".", function(byte) return ("%02x"):format(byte:byte()) end)
  end
  return self.event_id
end

--- Makes an event.
-- @tparam string kind
-- @tparam table details of `ctrexec.policy.audit.event`; the trail adds the fields that it knows
-- @treturn table event
function Trail:event(kind, details)
  details.id, details.caller, details.container = self:id(), self:caller(), self.container
  details.process, details.fields, details.detached = self.process, self.fields, self.detached or nil
  if self.recording then details.recording = self.recording:summary() end
  return audit.event(kind, details)
end

--- Whether events are written at all: there is a receiver, and this is not a dry run.
-- @treturn boolean
function Trail:is_wanted()
  return not self.dry and self.chain:listens()
end

--- Writes an event.
-- @tparam string kind
-- @tparam table details
-- @treturn[1] boolean true
-- @treturn[2] nil the event could not be written, though the site requires it
-- @treturn[2] string message
function Trail:tell(kind, details)
  if not self:is_wanted() then return true end
  return self.chain:audit(self:event(kind, details))
end

--- Writes an event that comes too late to stop the exec: where it cannot be written, a warning says so.
-- @tparam string kind
-- @tparam table details
function Trail:tell_late(kind, details)
  local told, message = self:tell(kind, details)
  if not told then table.insert(self.warnings, { level = "warning", message = message }) end
end

--- Writes the exit event of a command that the caller has waited for.
-- @tparam integer pid of the command
-- @tparam table status of `process:wait`
-- @tparam number began when the command was started, by the monotonic clock
-- @tparam ?boolean timed_out whether its time limit ended it
function Trail:tell_end(pid, status, began, timed_out)
  if not self:is_wanted() then return end
  self:tell_late("exit", { pid = pid, outcome = {
    status = status.reason == "exited" and status.status or nil, signal = status.signal,
    duration = audit.seconds(core.clock.now() - began),
    timed_out = timed_out, user_time = status.utime, system_time = status.stime, max_rss = status.maxrss,
  } })
end

return trail
