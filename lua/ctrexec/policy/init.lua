--- Policies: Lua files that every exec has to pass, in one chain.
--
-- A chain is fixed when it is loaded: the `*.lua` files of the configured folders, by name, then the files given. Any
-- fault of a folder, a file or a running policy denies the exec with a message that names it. The policies run in a
-- process of their own (see core/sandbox.c for why); the request that they return is checked here as user input is.
-- @module ctrexec.policy
local core = require "ctrexec.core"
local defaults = require "ctrexec.policy.defaults"
local exchange = require "ctrexec.policy.exchange"
local late = require "ctrexec.lib.late"
local process = require "ctrexec.oci.process"
local requests = require "ctrexec.policy.request"
local readers = require "ctrexec.lib.reader"
local audit = late "ctrexec.policy.audit" -- only a site with an audit trail writes events

local policy = {}

local Chain = {}
Chain.__index = Chain

local ENOENT = core.errno.ENOENT

-- Loading.

local function base_name(path)
  return (path:match "([^/]*)$":gsub("%.lua$", ""))
end

local function add_failure(chain, name, message)
  chain.failure = chain.failure or { name = name, reason = message }
end

local function add_file(chain, reader, path, name)
  local text, real = reader:read(path)
  if not text then return add_failure(chain, name or base_name(path), real) end
  chain.policies[#chain.policies + 1] = { name = name or base_name(path), path = path, source = text,
    folder = real:match "^(.*)/" }
end

-- Whether a folder is simply not there, and so holds no policies. A folder whose path leads over a broken link is not
-- missing: it has held policies, so the exec must fail.
local function is_missing(path)
  local _, _, errno = core.file.stat(path, true)
  if errno ~= ENOENT then return false end
  local parent = path:match "^(/.*)/[^/]+$"
  return not parent or core.file.stat(parent) ~= nil or is_missing(parent)
end

local function add_folder(chain, reader, path)
  if is_missing(path) then return end
  local names, real = reader:list(path)
  if not names then return add_failure(chain, path, real) end
  for _, name in ipairs(names) do
    if name:find "^[^.].*%.lua$" then add_file(chain, reader, real .. "/" .. name) end
  end
end

--- Loads a chain of policies and starts the process that they run in. That process compiles them while its parent goes
-- on, so an early call saves time.
--
-- It does not fail: a policy that cannot be read or trusted makes the chain deny every request with its name.
-- @tparam table config what `ctrexec.site.config.load` returned
-- @tparam[opt] {string,...} files further policies, run after those of the folders
-- @treturn table chain, to be closed; may be a `<close>` variable
function policy.load(config, files)
  local chain = setmetatable({ policies = {}, config = config, limits = config.limits }, Chain)
  local reader <close> = readers.new()
  for _, folder in ipairs(config.policy_directories) do add_folder(chain, reader, folder) end
  for _, path in ipairs(files or {}) do add_file(chain, reader, path) end
  if #chain.policies > 0 and not chain.failure then exchange.start(chain) end
  return chain
end

--- Loads a chain of files alone, with the default limits, without audit sinks and without the site's configuration.
-- @tparam {string,...} files
-- @treturn table chain
function policy.of_files(files)
  return policy.load({ policy_directories = {}, limits = defaults }, files)
end

--- Makes a chain of policies whose source is at hand, for the keeper, for tests and `ctrexec policy test`: no owner or
-- mode of a file is checked.
-- @tparam table config as for `load`
-- @tparam {table,...} sources each `{name=, source=, folder=}`; the folder is where `require` looks for `modules`
-- @treturn table chain
function policy.from_sources(config, sources)
  local chain = setmetatable({ policies = sources, config = config, limits = config.limits }, Chain)
  if #sources > 0 then exchange.start(chain) end
  return chain
end

--- Makes a chain that denies everything, for a configuration that cannot be used.
-- @tparam string reason
-- @treturn table chain
function policy.refusal(reason)
  return setmetatable({ policies = {}, config = {}, limits = {},
    failure = { name = "config", reason = reason } }, Chain)
end

--- Whether there is any policy.
-- @treturn boolean
function Chain:is_empty()
  return #self.policies == 0 and not self.failure
end

-- Checking.

local CONTAINER_FIELDS = { "id", "runtime", "root", "bundle", "pid", "status", "created", "owner", "annotations",
  "labels" }

local function view_of(container)
  local view = {}
  for _, name in ipairs(CONTAINER_FIELDS) do view[name] = container[name] end
  return view
end

local function unpacked(state)
  local value = type(state) == "string" and core.value.unpack(state)
  return type(value) == "table" and value or {}
end

-- A field of the process object that does not exist. Only a policy can have added it, as unknown fields of engines are
-- left out before; it is refused, because it would have no effect and its author would not notice.
local function made_up(problems)
  for _, problem in ipairs(problems) do
    if problem.unknown then return problem.unknown .. ": there is no such field" end
  end
end

-- Checks the states that the policies left, one after another. Returns the last good state and, when a state is not
-- valid, the policy that made it and the fault.
local function follow(request, reply, changes)
  local current = { process = request.process, options = request.options }
  local warnings = {}
  for _, snapshot in ipairs(reply.snapshots or {}) do
    local state = unpacked(snapshot.state)
    local ok, result, problems = process.validate(state.process, request.container)
    local fault = not ok and result or made_up(problems)
      or requests.change_fault(request.options, current.options, state.options)
    if fault then return current, snapshot.name, fault end
    local after = { process = result, options = state.options }
    changes[#changes + 1] = { policy = snapshot.name, index = snapshot.index, before = current, after = after }
    current, warnings = after, problems
  end
  current.warnings = warnings
  return current
end

-- A policy chooses its name and the reason of its denial, and both stand in one line of a log.
local function one_line(text)
  return (tostring(text):gsub("%c", function(char) return ("\\x%02x"):format(char:byte()) end))
end

local function rejection(result, name, reason)
  name, reason = one_line(name), one_line(reason)
  result.decision, result.policy, result.reason = "reject", name, reason
  result.message = ("denied by policy %s: %s"):format(name, reason)
  return result
end

--- Puts a request before the policies.
--
-- `request` has `process` (a checked OCI process object) and `options` (a table of plain values), which policies may
-- edit; `container` (the container, or a table with its fields); and, each a value or a function called when
-- a policy first asks: `caller`, `names` and `origin` (see `ctrexec.policy.caller`), `config` (the container's OCI
-- configuration) and `lookup(kind, name)` (its users and groups, as for `ctrexec.oci.process.build`), `stat(path)`
-- (what a path is in the container; by default looked up below /proc/PID/root). The request is not changed.
-- @tparam table request
-- @treturn table `decision` ("accept" or "reject"); `process` and `options` as the policies left them, checked;
-- `warnings`, an array of `{policy=, message=, level=}` (`policy` is nil where the check found something odd);
-- `changes`, an array of `{policy=, index=, before=, after=}`, each state a table with process and options, of the
-- policies that changed something; when rejected `policy`, `reason` and `message`
function Chain:check(request)
  local result = { warnings = {}, changes = {}, process = request.process, options = request.options }
  if self.failure then return rejection(result, self.failure.name, self.failure.reason) end
  if #self.policies == 0 then
    result.decision = "accept"
    return result
  end
  local reply, name, reason = exchange.ask(self, "check", {
    state = { process = request.process, options = request.options }, container = view_of(request.container or {}),
  }, request)
  if not reply then return rejection(result, name, reason) end
  result.warnings, self.hooks = reply.warnings or {}, reply.hooks
  local last, blamed, fault = follow(request, reply, result.changes)
  result.process, result.options = last.process, last.options
  if blamed then return rejection(result, blamed, fault) end
  table.move(last.warnings, 1, #last.warnings, #result.warnings + 1, result.warnings)
  if reply.denied then return rejection(result, reply.name, reply.reason) end
  result.decision = "accept"
  return result
end

--- The names of the chain's policies, and whether they could be loaded: for `ctrexec policy check`.
-- @treturn {table,...} each `{name=, fault=, check=boolean, audit=boolean}`, in order
function Chain:describe()
  if self.failure then return { { name = self.failure.name, fault = self.failure.reason } } end
  if #self.policies == 0 then return {} end
  local reply, name, reason = exchange.ask(self, "describe", true, {})
  return reply and reply.policies or { { name = name, fault = reason } }
end

-- Whether a policy has an audit function. The reply to a check says so; without one the policies' process is asked.
local function has_hooks(chain)
  if #chain.policies == 0 or chain.failure then return false end
  if chain.hooks == nil then
    chain.hooks = false
    for _, described in ipairs(chain:describe()) do chain.hooks = chain.hooks or described.audit or false end
  end
  return chain.hooks
end

--- Whether events have a receiver: a sink of the configuration, or a policy's `audit` function.
-- @treturn boolean
function Chain:listens()
  local sinks = self.config.audit or {}
  return sinks.file ~= nil or sinks.syslog or sinks.journald or has_hooks(self)
end

-- The policies get what the sinks get: what the site hides is hidden from their files, too.
local function run_hooks(chain, event, settings)
  if not has_hooks(chain) then return end
  local reply, name, reason = exchange.ask(chain, "audit", audit.shown(settings, event), {})
  local failure = reply and reply.failures and reply.failures[1]
  if failure then name, reason = failure.name, failure.reason end
  if name then return ("audit of policy %s: %s"):format(name, reason) end
end

--- Gives an event to the configured sinks and to the policies that have an `audit` function.
-- @tparam table event see `ctrexec.policy.audit.event`
-- @treturn[1] boolean true
-- @treturn[2] nil a sink or a policy failed, and `audit.required` of the configuration is not false: an exec whose
-- "accept" event this is must not start
-- @treturn[2] string message
-- @treturn[2] string "system"
function Chain:audit(event)
  local settings = self.config.audit or {}
  local problem
  if settings.file or settings.syslog or settings.journald then
    local written, message = audit.write(settings, event)
    if not written then problem = message end
  end
  problem = run_hooks(self, event, settings) or problem
  if problem and settings.required ~= false then return nil, problem, "system" end
  return true
end

--- Tells the policies' process to end, and does not wait for it.
function Chain:stop()
  if not self.sandbox then return end
  self.sandbox:stop()
  self.stopped, self.sandbox = self.sandbox, nil
end

--- Ends the policies' process. The chain can be used again: the next request starts a new process.
function Chain:close()
  for _, name in ipairs { "sandbox", "stopped" } do
    if self[name] then self[name]:close() end
    self[name] = nil
  end
end

Chain.__close = Chain.close
Chain.__gc = Chain.close

return policy
