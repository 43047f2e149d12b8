--- Run commands in containers that are already running.
--
-- Errors are `nil, message, code`. The codes: "usage", "invalid" (a value is wrong), "no_such_container", "ambiguous",
-- "bad_state", "stopped", "paused", "untrusted" (a file's owner or mode), "unsupported", "not_found" (the program),
-- "not_executable", "no_cwd", "denied" (by a policy), "timeout", "system". A programming mistake of the caller raises
-- an error at the caller's position.
-- @module ctrexec
local core = require "ctrexec.core"
local containers = require "ctrexec.container"
local fields = require "ctrexec.exec.fields"
local launch = require "ctrexec.exec.launch"
local process = require "ctrexec.oci.process"
local late = require "ctrexec.lib.late"
-- Loaded late because only some commands or programs need them:
local caller = late "ctrexec.policy.caller"
local capture = late "ctrexec.exec.capture"
local explain = late "ctrexec.policy.explain"
local gates = late "ctrexec.policy.gate"
local hostenv = late "ctrexec.exec.hostenv"
local names = late "ctrexec.container.names"
local policies = late "ctrexec.policy"
local ps = late "ctrexec.container.ps"
local recordings = late "ctrexec.policy.recording"

local ctrexec = { _VERSION = "ctrexec " .. core.VERSION }

local methods = {}
local class = { __index = methods, __name = "ctrexec.container" }

--- Finds a container.
-- @tparam string id the id, or a unique prefix of it
-- @tparam[opt] table options `root`: the only directory to look in; `roots`: directories to search first; `pid`: a
-- process instead of a container; `policy`: the policies that every command in it has to pass, a chain of
-- `ctrexec.policy` or an array of files
-- @treturn[1] container
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string code "no_such_container", "ambiguous", "bad_state", "untrusted", "invalid"
function ctrexec.open(id, options)
  options = options or {}
  fields.demand_options(options, "open", 2)
  if type(id) ~= "string" and (id ~= nil or options.pid == nil) then
    error(("bad id (string expected, got %s)"):format(type(id)), 2)
  end
  local found, message, code = containers.open(id, options)
  if not found then return nil, message, code end
  local chain = options and options.policy
  local owned = chain and not chain.check
  if owned then chain = policies.of_files(chain) end
  return setmetatable({ id = found.id, container = found, policy = chain, owns_policy = owned }, class)
end

--- All containers of all runtimes.
-- @tparam[opt] table options `root`: the only directory to look in; `roots`: directories to search first
-- @treturn {table,...} see `ctrexec.container`
function ctrexec.list(options)
  options = options or {}
  fields.demand_options(options, "list", 2)
  return containers.list(options)
end

--- The container's state now.
-- @treturn string "created", "running", "paused" or "stopped"
function methods:status()
  return self.container:refresh()
end

--- The container's processes as the host sees them: those in its cgroup and every cgroup below, or, for a container
-- that was opened by a pid, those in its pid namespace. Zombies are left out.
-- @treturn[1] {table,...} by pid: `pid`, `ppid` (of this process's pid namespace), `command` (as `comm` of proc(5)),
-- `args` (array), `state` (one letter), `start_time` (clock ticks after boot)
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string code "stopped"; "unsupported" when they cannot be told from those of the host
function methods:ps()
  self.container:refresh()
  return ps.list(self.container)
end

local function check_status(container, spec)
  if container.status == "stopped" then return nil, "cannot exec in a stopped container", "stopped" end
  if container.status == "paused" and not spec.ignore_paused then
    return nil, "cannot exec in a paused container (use --ignore-paused to override)", "paused"
  end
  return true
end

-- Checks the arguments of a method: a mistake raises an error at the caller's position. Returns the exec's gate, if it
-- has one.
local function check_call(self, spec, call)
  if self.closed then error("the container is closed", 3) end
  local gate = call ~= "check" and self.policy and gates.new(self, spec, call == "explain") or nil
  fields.demand(spec, call, { policies = self.policy, keeper = gate }, 3)
  return gate
end

--- Whether the container takes a command, by its status when it was opened or last refreshed.
-- @tparam[opt] table spec `ignore_paused`
-- @treturn[1] boolean true
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string code "stopped" or "paused"
function methods:check(spec)
  spec = spec or {}
  check_call(self, spec, "check")
  return check_status(self.container, spec)
end

--- Closes the container's descriptors, and ends the process of policies that were given as files.
function methods:close()
  self.closed = true
  self.container:close()
  if self.owns_policy then self.policy:close() end
end

class.__gc = methods.close
class.__close = methods.close

local function check_terminal(wanted, spec)
  if spec.console_socket and not (spec.detach and wanted) then
    return nil, "cannot use console socket if runc will not detach or allocate tty", "invalid"
  end
  if spec.detach and wanted and not spec.console_socket then
    return nil, "cannot allocate tty if runc will detach without setting console socket", "invalid"
  end
  return true
end

-- The spec with the settings of its recording, for an exec without a gate: a gate adds them itself.
local function with_recording(self, spec)
  local settings, message, code = recordings.settings(spec.record, nil, self.container.id)
  if not settings then return nil, message, code end
  return setmetatable({ record = settings }, { __index = spec })
end

-- The spec with a `lookup` that finds the names of users and groups in the container's own files.
local function with_lookup(self, spec)
  if spec.lookup then return spec end
  local files = {}
  local function lookup(kind, key) return names.find(self.container, files, kind, key) end
  return setmetatable({ lookup = lookup, table.unpack(spec) }, { __index = spec })
end

-- The process object and the spec as the policies left them; without policies, as the caller asked for them. Returns
-- nil, message and code for a request that fails. `warnings` is added to.
local function decide(self, object, spec, gate, warnings)
  if gate then return gate:pass(object, spec, warnings) end
  if not spec.record then return object, spec end
  local settled, message, code = with_recording(self, spec)
  if not settled then return nil, message, code end
  return object, settled
end

-- Returns what is to be run: `process`, the process object, `spec` and `warnings`. For a request that fails, returns
-- nil, message, code and, if the process object was built, the warnings.
local function resolve(self, spec, gate)
  local ok, message, code = check_status(self.container, spec)
  if not ok then return nil, message, code end
  message = spec.record and recordings.obstacle(spec)
  if message then return nil, "record: " .. message, "invalid" end
  spec = with_lookup(self, spec)
  local object, warnings, fault = process.build(self.container, spec)
  if not object then return nil, warnings, fault end
  object, spec, code = decide(self, object, spec, gate, warnings)
  if not object then return nil, spec, code, warnings end
  ok, message, code = check_terminal(object.terminal, spec)
  if ok and spec.host_env then ok, message, code = hostenv.add(object.env, spec.host_env) end
  if not ok then return nil, message, code, warnings end
  return { process = object, spec = spec, warnings = warnings }
end

local function open_recording(self, settings, object, gate, warnings)
  local about = gate and gate:about() or { caller = caller.describe() }
  about.container, about.process = self.container, object
  return recordings.open(settings, about, warnings)
end

local function begin(self, spec, pause, gate)
  local resolved, message, code, so_far = resolve(self, spec, gate)
  if not resolved then return nil, message, code, so_far end
  local object, warnings = resolved.process, resolved.warnings
  spec = resolved.spec
  if spec.on_process then
    local ok
    ok, message, code = spec.on_process(object, spec.record)
    if not ok then return nil, message, code, warnings end
  end
  local recording, handle
  if spec.record then
    recording, message, code = open_recording(self, spec.record, object, gate, warnings)
    if message then return nil, message, code, warnings end
  end
  handle, message, code = launch.run(self.container, spec, object, pause, warnings)
  if not handle then
    if recording then recording:discard() end
    return nil, message, code, warnings
  end
  handle.warnings, handle.timeout, handle.kill_after = warnings, spec.timeout, spec.kill_after
  handle.recording = recording
  return handle
end

local function spawn(self, spec, gate, pause)
  local handle, message, code, warnings = begin(self, spec, pause, gate)
  if not gate then return handle, message, code, warnings end
  if not handle then return nil, message, code, gate:failed(message) end
  local kept
  kept, message, code = gate:started(handle)
  if kept then return handle end
  handle:close()
  return nil, message, code, handle.warnings
end

--- Starts a command and returns as soon as it runs.
-- @tparam table spec what to run: positional strings for the command, the fields of an OCI process object, or the
-- short forms; see docs/embedding.md. `on_process(process, recording)` is called with the checked process object and,
-- if the session is recorded, the settings of `ctrexec.policy.recording`, before anything is started; it may complete
-- `consoleSize`, and refuses with nil, message, code. `on_terminal(master)` is called with the command's terminal
-- before the command runs, and may refuse in the same way. `records = true` promises that the caller itself copies all
-- output of the command, and gives it to `process.recording`; without it `spawn` cannot record a session
-- @treturn[1] process its `warnings` are for the log: `{level="warning"|"debug", message=}` each; `timeout` and
-- `kill_after` are the limits that apply. Under policies a process of ctrexec (the keeper) keeps them, unless the
-- caller promises by `keeps_limits` to do so until it closes the handle; without policies the caller must keep them;
-- `recording`, of `ctrexec.policy.recording`: the caller must feed and finish it
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string code
-- @treturn[2] ?{table,...} warnings, if the process object was built
function methods:spawn(spec)
  return spawn(self, spec, check_call(self, spec, "spawn"))
end

--- Brings a command into the container, up to its start: its process is in the container's namespaces and cgroup and
-- has a pidfd, but runs the command only after `process:start()`.
-- @tparam table spec as for `spawn`
-- @treturn[1] process
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string code
function methods:prepare(spec)
  return spawn(self, spec, check_call(self, spec, "spawn"), true)
end

--- Says what an exec would do. No command is started and nothing is recorded.
-- @tparam table spec as for `spawn`
-- @treturn[1] table see `ctrexec.policy.explain`
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string code
function methods:explain(spec)
  local gate = check_call(self, spec, "explain")
  local resolved, message, code, warnings = resolve(self, spec, gate)
  return explain.report(self.container, gate, resolved or { message = message, code = code, warnings = warnings })
end

--- Runs a command and waits for its end.
--
-- Besides what `spawn` takes: `input`: what the command reads, a string, a function that returns the next piece or nil,
-- or a file (default: nothing); `stdout` and `stderr`: a function that is given each piece, or what `spawn` takes
-- (default: collected); `timeout`: seconds after which the command and everything that it started are ended;
-- `kill_after`: with `timeout`, TERM is sent first and KILL that many seconds later; `max_output`: how many bytes of
-- each stream are kept, the rest being read and dropped. With `record` (see `ctrexec.policy.recording`) a stream must
-- not be inherited, and must not be a descriptor.
-- @tparam table spec
-- @treturn[1] table `code` (128 + signal when killed), `signal`, `stdout`, `stderr` (strings, where collected),
-- `truncated`, `timed_out`, `utime`, `stime` (seconds), `maxrss` (KiB)
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string code
function methods:exec(spec)
  local gate = check_call(self, spec, "exec")
  local run = capture.new(spec)
  local handle <close>, message, code = spawn(self, run.spec, gate)
  if not handle then return nil, message, code end
  return run:run(handle)
end

return ctrexec
