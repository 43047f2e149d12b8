--- The way of one exec past the policies: the request that they see, what they make of it, and its events.
--
-- This is the only place where policies act, so a call of the module obeys them as the command does. Events: "accept"
-- before anything is started, or "reject"; then "error" if it could not be started, or "exit" at its end.
-- @module ctrexec.policy.gate
local policy = require "ctrexec.policy"

local gate = {}

local Gate = {}
Gate.__index = Gate

-- What request.options tells of how the exec was asked for. The rest of a spec is streams and functions.
local SHOWN = { "detach", "terminal", "pid_file", "console_socket", "pidfd_socket", "preserve_fds", "cgroup",
  "ignore_paused" }

-- How long a killed command may take to be gone.
local KILLED_SECONDS = 10

local EDITABLE = {}
for _, name in ipairs(policy.options) do EDITABLE[name] = true end

--- Makes the gate of one exec.
-- @tparam table container of the public module: `record`; `policy`, a chain of `ctrexec.policy`; `one_exec`: there will
-- be no other
-- @tparam[opt] boolean dry nothing will be started: there are no events
-- @treturn ?table gate; nil when there is nothing to obey and nobody to tell
function gate.new(container, dry)
  local chain = container.policy
  if not chain then return nil end
  if chain:is_empty() and not chain:listens() and not chain.limits.exec_timeout and not chain.config.record then
    return nil
  end
  return setmetatable({ chain = chain, last = container.one_exec, record = container.record, dry = dry }, Gate)
end

-- Events.

-- Found out at most once an exec, and no more of it than somebody wants to know.
local function part_of_caller(self, part)
  self[part] = self[part] or require "ctrexec.policy.caller"[part]()
  return self[part]
end

local function caller_of(self)
  local result = {}
  for _, part in ipairs { "identity", "names", "origin" } do
    for name, value in pairs(part_of_caller(self, part)) do result[name] = value end
  end
  return result
end

-- The same for all events of an exec, and of no other.
local function event_id(self)
  if not self.id then
    local random <close> = assert(io.open("/dev/urandom", "rb"))
    self.id = random:read(8):gsub(".", function(byte) return ("%02x"):format(byte:byte()) end)
  end
  return self.id
end

local function event_of(self, kind, details)
  details.id, details.caller, details.container = event_id(self), caller_of(self), self.record
  details.process = self.process
  details.fields, details.detached = self.options and self.options.audit, self.detached or nil
  if self.recording then details.recording = self.recording:summary() end
  return require "ctrexec.policy.audit".event(kind, details)
end

-- Returns true, or nil and a message.
local function tell(self, kind, details)
  if self.dry or not self.chain:listens() then return true end
  return self.chain:audit(event_of(self, kind, details))
end

-- An event that comes too late to stop anything: its failure is for the log.
local function tell_late(self, kind, details)
  local told, message = tell(self, kind, details)
  if not told then table.insert(self.warnings, { level = "warning", message = message }) end
end

-- The request.

local function request_options(spec)
  local options = {}
  for _, names in ipairs { SHOWN, policy.options } do
    for _, name in ipairs(names) do options[name] = spec[name] end
  end
  options.terminal, options.detach = options.terminal or false, options.detach or false
  return options
end

-- The spec with the options as the policies left them, also those that they took away.
local function with_options(spec, options)
  local result = {}
  for name in pairs(EDITABLE) do result[name] = options[name] end
  return setmetatable(result, { __index = function(_, name)
    if not EDITABLE[name] then return spec[name] end
  end })
end

local function add_warnings(warnings, found)
  for _, entry in ipairs(found) do
    local message = entry.policy and ("policy %s: %s"):format(entry.policy, entry.message) or entry.message
    warnings[#warnings + 1] = { level = entry.level, message = message }
  end
end

-- Which policy set an option as it is now.
local function author_of(result, name)
  for index = #result.changes, 1, -1 do
    local change = result.changes[index]
    if not policy.same(change.before.options[name], change.after.options[name]) then return change.policy end
  end
end

-- What cannot be done for this exec. The same words whether a policy or the caller wants it.
local function impossible(result, spec)
  local recording = require "ctrexec.policy.recording"
  local why = result.options.record and recording.obstacle(spec, author_of(result, "record") ~= nil)
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

-- The site's limit stands above all. A grace that the caller asked for is no way past it: it counts within the limit.
local function limit_time(self)
  local limit = self.chain.limits.exec_timeout
  if not limit then return end
  local timeout, grace = math.min(self.options.timeout or limit, limit), self.options.kill_after
  set_option(self, "timeout", timeout)
  if grace and not author_of(self.result, "kill_after") then
    set_option(self, "kill_after", math.min(grace, limit - timeout))
  end
end

-- Where the session will be recorded is a part of the accept event.
local function settle_recording(self)
  local wanted = self.result.options.record
  if not wanted then return end
  local author = author_of(self.result, "record")
  local recording = require "ctrexec.policy.recording"
  local settings, message = recording.settings(wanted, self.chain.config.record, self.record.id, author ~= nil)
  if not settings then return reject(self, author or "ctrexec", message) end
  set_option(self, "record", settings)
end

-- Whether nobody but a process of our own would keep the time limit. Also one that the caller has asked for: it stands
-- where a policy may have found it short enough.
local function is_unattended(self, spec)
  return self.options.timeout ~= nil and not spec.keeps_limits
end

-- Whether the time limit is also that of what the command leaves behind when it ends before. Under policies or a limit
-- of the site it is, whoever asked for it: with one of his own, just below theirs, a caller could start what stays.
local function is_lasting(self)
  return self.options.timeout ~= nil and (not self.chain:is_empty() or self.chain.limits.exec_timeout ~= nil)
end

-- Whether the status of a process that is not our child can be had for certain once it has ended: Linux 6.15.
local function knows_exits()
  local major, minor = require "ctrexec.core".pidfd.kernel():match "^(%d+)%.(%d+)"
  major, minor = tonumber(major), tonumber(minor)
  return major > 6 or major == 6 and minor >= 15
end

local function accept_details(self)
  local record = self.options.record
  local details = { result = self.result, recording = record and { file = record.file } }
  if self.detached and not knows_exits() then details.outcome = { exit_unknown = true } end
  return details
end

-- The accept event is written before anything is started: what cannot be recorded does not happen.
local function decide(self, spec)
  local result = self.result
  if result.decision == "accept" then
    local name, reason = impossible(result, spec)
    if name then reject(self, author_of(result, name) or "ctrexec", ("options.%s: %s"):format(name, reason)) end
  end
  if result.decision == "accept" then settle_recording(self) end
  if result.decision == "accept" then
    local told, message = tell(self, "accept", accept_details(self))
    if told then return true end
    reject(self, "audit", message)
  end
  tell_late(self, "reject", { result = result })
  self.settled = true
  return nil, result.message, "denied"
end

-- A program that does one exec loads what it needs next while the policies are at work.
local NEXT = { "ctrexec.exec.streams", "ctrexec.exec.plan", "ctrexec.exec.start", "ctrexec.exec.handle" }

local function load_next()
  for _, name in ipairs(NEXT) do require(name) end
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
  local record = self.record
  local options = request_options(spec)
  self.process, self.options, self.detached, self.warnings = process, options, options.detach, warnings
  local fault = policy.option_fault(options)
  if fault then return nil, fault, "invalid" end
  self.before = { process = process, options = options }
  self.result = self.chain:check {
    process = process, options = options, container = record, lookup = spec.lookup,
    caller = function() return part_of_caller(self, "identity") end,
    names = function() return part_of_caller(self, "names") end,
    origin = function() return part_of_caller(self, "origin") end,
    config = function() return (record:config()) end,
    meanwhile = self.last and not self.dry and load_next or nil,
  }
  add_warnings(warnings, self.result.warnings)
  self.process, self.options = self.result.process, self.result.options
  local accepted, message, code = decide(self, spec)
  if not accepted then return nil, message, code end
  -- Nobody has a question any more, and ending a process takes its time.
  if self.last and not self.chain.hooks then self.chain:stop() end
  limit_time(self)
  self.unattended, self.lasting = is_unattended(self, spec), is_lasting(self)
  self.began = require "ctrexec.core".pidfd.clock()
  return self.process, with_options(spec, self.options)
end

-- What follows.

local function watch(self, pidfd, job)
  job.began = self.began
  return require "ctrexec.policy.keeper".start(self.chain, pidfd, job)
end

-- Tells the end of a command that nobody here will see.
local function leave(self, pidfd)
  if not self.chain:listens() then return end
  local ok, message = watch(self, pidfd, { event = event_of(self, "exit", { pid = self.pid }) })
  if ok then return end
  tell_late(self, "error", { message = "the end of the command will not be recorded: " .. message, pid = self.pid })
end

-- From here on a process of our own keeps the time limit. It tells the event, if there is one, when the command ends.
local function hand_over(self, handle, event)
  local left = math.max(0, self.deadline - require "ctrexec.core".pidfd.clock())
  local ok, message = watch(self, handle.pidfd, {
    event = event, tree = handle.tree, timeout = left, kill_after = self.options.kill_after, lasting = self.lasting,
  })
  if not ok then return nil, "the time limit cannot be kept: " .. message end
  handle.tree:leave()
  return true
end

-- Has the time limit kept, and the end told if nobody here will see it. A command whose limit cannot be kept does not
-- stay.
local function keep_limit(self, handle)
  local told_there = self.detached and self.chain:listens()
  local ok, message = hand_over(self, handle, told_there and event_of(self, "exit", { pid = self.pid }) or nil)
  if ok then
    self.settled = self.detached
    return true
  end
  self.settled = true
  handle:kill { tree = true }
  handle:wait(KILLED_SECONDS)
  tell_late(self, "error", { message = message, pid = self.pid })
  return nil, message, "system"
end

local function outcome_of(self, status)
  local audit = require "ctrexec.policy.audit"
  return {
    status = status.reason == "exited" and status.status or nil, signal = status.signal,
    duration = audit.seconds(require "ctrexec.core".pidfd.clock() - self.began),
    user_time = status.utime, system_time = status.stime, max_rss = status.maxrss,
  }
end

--- Who asks, and what the exec is called in the audit trail: for the recording.
-- @treturn table `caller`, `event`, `audit` of the configuration
function Gate:about()
  return { caller = caller_of(self), event = event_id(self), audit = self.chain.config.audit }
end

--- To be called when the exec has failed, for whatever reason; a denial has been told by then.
-- @tparam string message
-- @treturn {table,...} warnings
function Gate:failed(message)
  self.warnings = self.warnings or {}
  if not self.settled then
    self.settled = true
    tell_late(self, "error", { message = message })
  end
  return self.warnings
end

--- To be called with the handle of the command once it runs, or waits to be started.
-- @tparam process handle of `ctrexec.exec.handle`, whose `gate` is this one from then on
-- @treturn[1] boolean true
-- @treturn[2] nil what was decided cannot be kept, and the command was ended
-- @treturn[2] string message
-- @treturn[2] string code "system"
function Gate:started(handle)
  handle.gate, self.pid, self.recording = self, handle.pid, handle.recording
  -- It was stopped; the command may run for days.
  if self.last and not self.chain.hooks then self.chain:close() end
  if handle:is_waiting() then return true end
  local timeout = self.options.timeout
  self.deadline = timeout and require "ctrexec.core".pidfd.clock() + timeout
  if self.unattended then return keep_limit(self, handle) end
  if self.detached then self:left(handle.pidfd) end
  return true
end

--- To be called when the command has ended.
-- @tparam table status of `process:wait`
function Gate:ended(status)
  if self.settled then return end
  self.settled = true
  if not self.chain:listens() then return end
  tell_late(self, "exit", { pid = self.pid, outcome = outcome_of(self, status) })
end

--- To be called before the handle of the command lets go of its tree: what runs on of it is ended when its time is
-- over. What cannot be watched does not stay.
-- @tparam process handle
function Gate:leaving(handle)
  if not (self.lasting and self.deadline and handle.tree:runs_on()) then return end
  local ok, message = hand_over(self, handle)
  if ok then return end
  handle.tree:kill(handle.pidfd)
  table.insert(self.warnings, { level = "warning", message = message .. "; what the command left behind was killed" })
end

--- To be called when the command runs on and nobody will wait for it.
-- @tparam fd pidfd of the command
function Gate:left(pidfd)
  if self.settled then return end
  self.settled = true
  leave(self, pidfd)
end

return gate
