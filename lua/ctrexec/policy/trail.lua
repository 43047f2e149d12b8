--- The events of one exec: who asked, for what, and what became of it.
--
-- Events: "accept" before anything is started, or "reject"; then "error" if it could not be started, or "exit" at its
-- end. All of an exec have the same id.
-- @module ctrexec.policy.trail
local audit = require "ctrexec.policy.audit"
local core = require "ctrexec.core"
local late = require "ctrexec.lib.late"
local callers = late "ctrexec.policy.caller" -- only asked about by policies and for events

local trail = {}

local Trail = {}
Trail.__index = Trail

--- Begins the trail of an exec.
-- @tparam table chain of `ctrexec.policy`, which keeps the events
-- @tparam table container the container
-- @tparam[opt] boolean dry nothing will be started: there are no events
-- @treturn trail its fields `process`, `fields` (options.audit of the request), `detached` and `recording` are what its
-- events say; `warnings` is an array to which it adds events that could not be kept
function trail.new(chain, container, dry)
  return setmetatable({ chain = chain, container = container, dry = dry, warnings = {} }, Trail)
end

--- A part of what is known of the caller. It is found out at most once, and no more of it than is asked for.
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

--- The id of the exec's events: 16 hexadecimal digits, which no other exec has.
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
-- @tparam table details of `ctrexec.policy.audit.event`, to which what the trail knows is added
-- @treturn table event
function Trail:event(kind, details)
  details.id, details.caller, details.container = self:id(), self:caller(), self.container
  details.process, details.fields, details.detached = self.process, self.fields, self.detached or nil
  if self.recording then details.recording = self.recording:summary() end
  return audit.event(kind, details)
end

--- Whether there is somebody to tell.
-- @treturn boolean
function Trail:is_wanted()
  return not self.dry and self.chain:listens()
end

--- Tells an event.
-- @tparam string kind
-- @tparam table details
-- @treturn[1] boolean true
-- @treturn[2] nil it could not be kept, though the site requires it
-- @treturn[2] string message
function Trail:tell(kind, details)
  if not self:is_wanted() then return true end
  return self.chain:audit(self:event(kind, details))
end

--- Tells an event that comes too late to stop anything: its failure is a warning.
-- @tparam string kind
-- @tparam table details
function Trail:tell_late(kind, details)
  local told, message = self:tell(kind, details)
  if not told then table.insert(self.warnings, { level = "warning", message = message }) end
end

--- Tells the end of a command that was waited for.
-- @tparam integer pid of the command
-- @tparam table status of `process:wait`
-- @tparam number began when the command was started, by the monotonic clock
function Trail:tell_end(pid, status, began)
  if not self:is_wanted() then return end
  self:tell_late("exit", { pid = pid, outcome = {
    status = status.reason == "exited" and status.status or nil, signal = status.signal,
    duration = audit.seconds(core.clock.now() - began),
    user_time = status.utime, system_time = status.stime, max_rss = status.maxrss,
  } })
end

return trail
