--- The gate between one exec and its policies: makes the request that the policies see, and applies their decision.
--
-- Every exec with policies passes this gate, of the command and of the module alike.
-- @module ctrexec.policy.gate
local core = require "ctrexec.core"
local late = require "ctrexec.lib.late"
local limits = require "ctrexec.policy.limit"
local requests = require "ctrexec.policy.request"
local schema = require "ctrexec.lib.schema"
local trails = require "ctrexec.policy.trail"
local recordings = late "ctrexec.policy.recording" -- only an exec that is to be recorded needs it

local gate = {}

local Gate = {}
Gate.__index = Gate

-- The words of the command as the caller gave them, also where no command can be made of them.
local function words_of(spec)
  if type(spec) ~= "table" then return schema.as_array {} end
  local given = type(spec.process) == "table" and spec.process.args or spec.args or spec
  local words = schema.as_array {}
  for index, word in ipairs(type(given) == "table" and given or {}) do words[index] = tostring(word) end
  return words
end

--- Makes the gate of one exec.
-- @tparam table container of the public module: `container`; `policy`, a chain of `ctrexec.policy`; `one_exec`, true
-- where this exec is the only one
-- @tparam table spec of the exec: what its events say until the process object is known
-- @tparam[opt] boolean dry nothing will be started, and no event is written
-- @treturn ?table gate; nil when the chain has no policy, no time limit, no recording and no receiver of events
function gate.new(container, spec, dry)
  local chain = container.policy
  if not chain then return nil end
  if chain:is_empty() and not chain:listens() and not chain.limits.exec_timeout and not chain.config.record then
    return nil
  end
  local trail = trails.new(chain, container.container, dry)
  trail.process = { args = words_of(spec) }
  return setmetatable({
    chain = chain, last = container.one_exec, container = container.container, trail = trail,
  }, Gate)
end

-- The request.

local function add_warnings(warnings, found)
  for _, warning in ipairs(found) do
    local message = warning.policy and ("policy %s: %s"):format(warning.policy, warning.message) or warning.message
    warnings[#warnings + 1] = { level = warning.level, message = message }
  end
end

-- The policy that set an option to its present value; nil when the caller did.
local function author_of(result, name)
  for index = #result.changes, 1, -1 do
    local change = result.changes[index]
    if not schema.same(change.before.options[name], change.after.options[name]) then return change.policy end
  end
end

-- An option that this exec cannot have, and why. The words are the same whether a policy or the caller set the option.
local function impossible(result, spec)
  local why = result.options.record and recordings.obstacle(spec, author_of(result, "record") ~= nil)
  if why then return "record", why end
end

local function reject(self, name, reason)
  local result = self.result
  result.decision, result.policy, result.reason = "reject", name, reason
  result.message = ("denied by policy %s: %s"):format(name, reason)
end

local function set_option(self, name, value)
  local options = {}
  for key, current in pairs(self.options) do options[key] = current end
  options[name] = value
  self.options = options
end

local function limit_time(self)
  local options = self.options
  local timeout, kill_after = limits.of(self.chain, options.timeout, options.kill_after,
    author_of(self.result, "kill_after") ~= nil)
  if timeout ~= options.timeout then set_option(self, "timeout", timeout) end
  if kill_after ~= options.kill_after then set_option(self, "kill_after", kill_after) end
end

-- Settles the file of the recording before the accept event is written, because that event names it.
local function settle_recording(self)
  local wanted = self.result.options.record
  if not wanted then return end
  local author = author_of(self.result, "record")
  local settings, message = recordings.settings(wanted, self.chain.config.record, self.container.id, author ~= nil)
  if not settings then return reject(self, author or "ctrexec", message) end
  set_option(self, "record", settings)
end

-- Whether the kernel keeps the exit status of every process for those who hold its pidfd (Linux 6.15). On older kernels
-- only the parent can be certain to get it.
local function knows_exits()
  local major, minor = core.kernel.release():match "^(%d+)%.(%d+)"
  major, minor = tonumber(major), tonumber(minor)
  return major > 6 or major == 6 and minor >= 15
end

local function accept_details(self)
  local settings = self.options.record
  local details = { result = self.result, recording = settings and { file = settings.file } }
  if self.trail.detached and not knows_exits() then details.outcome = { exit_unknown = true } end
  return details
end

-- The accept event is written before anything is started: a site that requires it has the exec denied where it cannot
-- be written.
local function decide(self, spec)
  local result = self.result
  if result.decision == "accept" then
    local name, reason = impossible(result, spec)
    if name then reject(self, author_of(result, name) or "ctrexec", ("options.%s: %s"):format(name, reason)) end
  end
  if result.decision == "accept" then settle_recording(self) end
  if result.decision == "accept" then
    local told, message = self.trail:tell("accept", accept_details(self))
    if told then return true end
    reject(self, "audit", message)
  end
  self.trail:tell_late("reject", { result = result })
  self.settled = true
  return nil, result.message, "denied"
end

-- Keeps the request as it is now. The events tell of the request as it was kept last, after the policies' changes.
local function set_request(self, process, options)
  self.process, self.options = process, options
  self.trail.process, self.trail.fields = process, options.audit
end

--- Puts a checked request before the policies.
-- @tparam table process the process object, complete
-- @tparam table spec of the exec
-- @tparam {table,...} warnings to which the policies' are added
-- @treturn[1] table the process object as the policies left it, checked
-- @treturn[1] table the spec as they left it
-- @treturn[2] nil
-- @treturn[2] string message, "denied by policy NAME: REASON" when a policy denies it
-- @treturn[2] string code "denied"; "invalid" for a wrong option of the caller
function Gate:pass(process, spec, warnings)
  local container, trail = self.container, self.trail
  local options = requests.options(spec)
  set_request(self, process, options)
  self.detached, trail.detached, trail.warnings = options.detach, options.detach, warnings
  local fault = requests.fault(options)
  if fault then return nil, fault, "invalid" end
  self.before = { process = process, options = options }
  self.result = self.chain:check {
    process = process, options = options, container = container, lookup = spec.lookup,
    caller = function() return trail:caller_part "identity" end,
    names = function() return trail:caller_part "names" end,
    origin = function() return trail:caller_part "origin" end,
    config = function() return (container:config()) end,
  }
  add_warnings(warnings, self.result.warnings)
  set_request(self, self.result.process, self.result.options)
  local accepted, message, code = decide(self, spec)
  if not accepted then return nil, message, code end
  -- The policies' process has no more work; told to end now, it ends while the exec goes on.
  if self.last and not self.chain.hooks then self.chain:stop() end
  limit_time(self)
  self.limit = limits.new(self.chain, trail, self.options, spec.keeps_limits)
  return self.process, requests.apply(spec, self.options)
end

--- What the header of a recording tells of the exec besides its process: the caller, and the id of its events.
-- @treturn table `caller`, `event`, `audit` of the configuration
function Gate:about()
  return { caller = self.trail:caller(), event = self.trail:id(), audit = self.chain.config.audit }
end

-- Whether the exec's last event may still be written: true at the first call, false after it.
local function settle(self)
  local settled = self.settled
  self.settled = true
  return not settled
end

--- To be called when the exec has failed, for whatever reason. The event of a denial has been written by then.
-- @tparam string message
-- @treturn {table,...} warnings
function Gate:failed(message)
  if settle(self) then self.trail:tell_late("error", { message = message }) end
  return self.trail.warnings
end

--- To be called with the handle of the command once it runs, or waits to be started.
-- @tparam process handle of `ctrexec.exec.handle`, whose `gate` is this one from then on
-- @treturn[1] boolean true
-- @treturn[2] nil the time limit cannot be kept, and the command was ended
-- @treturn[2] string message
-- @treturn[2] string code "system"
function Gate:started(handle)
  handle.gate, self.pid, self.trail.recording = self, handle.pid, handle.recording
  -- The policies' process was told to end; it is reaped now, because the command may run for days.
  if self.last and not self.chain.hooks then self.chain:close() end
  if handle:is_waiting() then return true end
  self.limit:start()
  if self.limit.unattended then
    self.settled = true -- the keeper writes the last event, or `keep` does when it fails
    local kept, message = self.limit:keep(handle, self.detached)
    if not kept then return nil, message, "system" end
    self.settled = self.detached
  elseif self.detached then
    self:left(handle.pidfd)
  end
  return true
end

--- To be called when the command has ended.
-- @tparam table status of `process:wait`
-- @tparam ?boolean timed_out whether its time limit ended it
function Gate:ended(status, timed_out)
  if settle(self) then self.trail:tell_end(self.pid, status, self.limit.began, timed_out) end
end

--- To be called before the handle of the command lets go of its tree: a keeper then ends the processes that the command
-- left behind when their time is over.
-- @tparam process handle
function Gate:leaving(handle)
  self.limit:keep_rest(handle)
end

--- To be called when the command runs on and the caller does not wait for it.
-- @tparam fd pidfd of the command
function Gate:left(pidfd)
  if settle(self) then self.limit:tell_end(pidfd, self.pid) end
end

return gate
