--- Run commands in containers that are already running.
--
-- Errors are `nil, message, code`. The codes: "usage", "invalid" (a value is wrong), "no_such_container", "ambiguous",
-- "bad_state", "stopped", "paused", "untrusted" (a file's owner or mode), "unsupported", "not_found" (the program),
-- "not_executable", "no_cwd", "denied" (by a policy), "timeout", "system". A mistake of the program that calls raises
-- an error at the caller's position.
-- @module ctrexec
local process = require "ctrexec.oci.process"
local usage = require "ctrexec.exec.usage"

local ctrexec = { _VERSION = "ctrexec 0.1.0" }

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
  usage.options(options, 2)
  if type(id) ~= "string" and (id ~= nil or options.pid == nil) then
    error(("bad id (string expected, got %s)"):format(type(id)), 2)
  end
  local record, message, code = require "ctrexec.container".open(id, options)
  if not record then return nil, message, code end
  local chain = options and options.policy
  local owned = chain and not chain.check
  if owned then chain = require "ctrexec.policy".of_files(chain) end
  return setmetatable({ id = record.id, record = record, policy = chain, owns_policy = owned }, class)
end

--- All containers of all runtimes.
-- @tparam[opt] table options `root`: the only directory to look in; `roots`: directories to search first
-- @treturn {table,...} records: see `ctrexec.container`
function ctrexec.list(options)
  options = options or {}
  usage.options(options, 2)
  return require "ctrexec.container".list(options)
end

--- The container's state now.
-- @treturn string "created", "running", "paused" or "stopped"
function methods:status()
  return self.record:refresh()
end

--- The container's processes as the host sees them: those in its cgroup and every cgroup below, or, for a container
-- that was opened by a pid, those in its pid namespace. Zombies are left out.
-- @treturn[1] {table,...} by pid: `pid`, `ppid` (of this process's pid namespace), `command` (as `comm` of proc(5)),
-- `args` (array), `state` (one letter), `start_time` (clock ticks after boot)
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string code "stopped"; "unsupported" when they cannot be told from those of the host
function methods:ps()
  self.record:refresh()
  return require "ctrexec.container.ps".list(self.record)
end

local function check_status(record, spec)
  if record.status == "stopped" then return nil, "cannot exec in a stopped container", "stopped" end
  if record.status == "paused" and not spec.ignore_paused then
    return nil, "cannot exec in a paused container (use --ignore-paused to override)", "paused"
  end
  return true
end

-- Mistakes of the program that calls one of the methods raise at its position.
local function check_call(self, spec)
  if self.closed then error("the container is closed", 3) end
  usage.spec(spec, 3)
end

--- Whether the container takes a command, as it was when it was opened or last refreshed.
-- @tparam[opt] table spec `ignore_paused`
-- @treturn[1] boolean true
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string code "stopped" or "paused"
function methods:check(spec)
  spec = spec or {}
  check_call(self, spec)
  return check_status(self.record, spec)
end

--- Closes the container's descriptors, and ends the process of policies that were given as files.
function methods:close()
  self.closed = true
  self.record:close()
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

-- The reason at the end of a core error, in Go's spelling.
local function reason(message)
  return require "ctrexec.lib.wording".reason(message)
end

-- Milliseconds for whoever listens at a socket: long for a busy machine, short for one who never answers.
local SOCKET_TIMEOUT = 5000

local function connect(path)
  local core = require "ctrexec.core"
  local socket, message = core.fdpass.connect(path, SOCKET_TIMEOUT, true)
  if not socket then return nil, ("dial unix %s: connect: %s"):format(path, reason(message)), "system" end
  return socket
end

local function hand_over(socket, fd, name)
  local ok, message = require "ctrexec.core".fdpass.send(socket, { fd }, name)
  socket:close()
  if not ok then return nil, "unable to start container process: " .. reason(message), "system" end
  return true
end

local PID_FILE_MODE = 420 -- 0644

-- The path as runc's messages have it, and that of the file it writes first.
local function pid_file_paths(path)
  if path:sub(1, 1) ~= "/" then path = require "ctrexec.core".file.realpath "." .. "/" .. path end
  return path, (path:gsub("([^/]*)$", ".%1", 1))
end

-- What is most often wrong is found out before anything is started.
local function check_pid_file(name)
  local stat = require "ctrexec.core".file.stat
  local about = stat(name)
  if about and about.type == "directory" then
    local path, temporary = pid_file_paths(name)
    return nil, ("rename %s %s: file exists"):format(temporary, path), "system"
  end
  local _, message = stat((name:match "^(.*)/" or ".") .. "/.")
  if not message then return true end
  return nil, ("open %s: %s"):format(select(2, pid_file_paths(name)), reason(message)), "system"
end

-- Digits only: containerd rejects a newline. There is a whole file or none.
local function write_pid_file(name, pid)
  local ok, message = require "ctrexec.core".file.write_atomic(name, tostring(pid), PID_FILE_MODE)
  if ok then return true end
  return nil, ("open %s: %s"):format(select(2, pid_file_paths(name)), reason(message)), "system"
end

-- What must be done while the helper waits, because it has to be there before the command runs.
local function ready_hook(on_terminal, sockets)
  if not (on_terminal or sockets.console or sockets.pidfd) then return nil end
  return function(started)
    local ok, message, code = true, nil, nil
    if on_terminal then ok, message, code = on_terminal(started.terminal) end
    if ok and sockets.console then ok, message, code = hand_over(sockets.console, started.terminal, "/dev/ptmx") end
    if ok and sockets.pidfd then ok, message, code = hand_over(sockets.pidfd, started.pidfd, "setns") end
    return ok, message, code
  end
end

-- Ends a command that runs, or waits for its start, and cannot stay. A frozen one dies when it is thawed.
local function undo(started)
  local pidfd = require "ctrexec.core".pidfd
  if started.entry then return require "ctrexec.exec.start".abort(started) end
  local tree = started.plan.tree
  if tree then tree:kill(started.pidfd) end
  pidfd.send_signal(started.pidfd, pidfd.signals.KILL)
  if pidfd.poll({ { fd = started.pidfd, read = true } }, 1000) then pidfd.wait(started.pidfd) end
  if tree then tree:close() end
  started.pidfd:close()
  if started.terminal then started.terminal:close() end
end

local function open_sockets(spec)
  local sockets = {}
  for _, name in ipairs { "console", "pidfd" } do
    local path = spec[name .. "_socket"]
    if path then
      local socket, message, code = connect(path)
      if not socket then return nil, message, code end
      sockets[name] = socket
    end
  end
  return sockets
end

local function seccomp_listener(record)
  local seccomp = record.settings.seccomp
  local path = seccomp and seccomp.listenerPath
  if not path then return nil end
  return function(fd, started)
    return require "ctrexec.exec.listener".send(path, fd, started.pid, record, seccomp.listenerMetadata)
  end
end

local function open_null(wanted)
  if wanted then return require "ctrexec.core".file.open("/dev/null", { read = true, write = true }) end
end

-- What to do when the cgroups of the container's state are gone, take no process or may not be joined: the next plan,
-- or nil. Its first process may live in others; those are not tried when the caller named some. A rootless container
-- can do without any.
local function fallback_of(record, spec, object, options)
  local choices = {}
  local function current()
    local paths = require "ctrexec.container.cgroups".of(record.pid)
    return next(paths) and paths -- a process without any is gone
  end
  local function none() return {} end
  if not spec.cgroup or #spec.cgroup == 0 then choices[1] = { current, "trying that of the container's init" } end
  if record.settings.rootless_cgroups then choices[#choices + 1] = { none, "going on without" } end
  return function(message)
    record:forget_cgroups()
    local choice = table.remove(choices, 1)
    local paths = choice and choice[1]()
    if not paths then return nil end
    message = message:gsub("^unable to start container process: error ", "")
    table.insert(options.warnings, { level = "debug", message = ("%s; %s"):format(message, choice[2]) })
    options.cgroup_paths = paths
    return (require "ctrexec.exec.plan".build(record, object, options))
  end
end

-- Everything up to the running (or prepared) command.
local function launch(self, spec, object, set, pause, warnings)
  local record = self.record
  if spec.pid_file then
    local possible, why, fault = check_pid_file(spec.pid_file)
    if not possible then return nil, why, fault end
  end
  local sockets, message, code = open_sockets(spec)
  if not sockets then return nil, message, code end
  local options = {
    stdin = set.theirs.stdin, stdout = set.theirs.stdout, stderr = set.theirs.stderr, preserve_fds = spec.preserve_fds,
    cgroup = spec.cgroup, login_uid = spec.login_uid, warnings = warnings,
    tree = spec.tree or spec.timeout ~= nil or spec.record ~= nil,
  }
  if spec.tools then
    options.mounts, message, code = require "ctrexec.exec.tools".open(spec.tools, object, record)
    if message then return nil, message, code end
  end
  -- The pty takes its place in the command.
  local null <close>, why = open_null(object.terminal)
  if why then return nil, why, "system" end
  if null then options.stdin, options.stdout, options.stderr = null, null, null end
  local hooks = {
    ready = ready_hook(object.terminal and spec.on_terminal, sockets), pause = pause,
    listener = seccomp_listener(record), cgroup_paths = record.cgroup_paths,
    fallback = fallback_of(record, spec, object, options),
  }
  -- A process that is born into a frozen cgroup goes on when the container does.
  if record.status == "paused" then hooks.seconds = false end
  options.wait = hooks.ready ~= nil or pause
  local plan, cgroup
  plan, message, code, cgroup = require "ctrexec.exec.plan".build(record, object, options)
  if cgroup then plan = hooks.fallback(message) end
  if not plan then return nil, message, code end
  local started
  started, message, code = require "ctrexec.exec.start".run(plan, hooks)
  if options.mounts then require "ctrexec.exec.tools".close(options.mounts) end
  if not started or not spec.pid_file then return started, message, code end
  -- Not before the start, which may fail: an old file then stays, as with runc.
  local ok
  ok, message, code = write_pid_file(spec.pid_file, started.pid)
  if ok then return started end
  undo(started)
  return nil, message, code
end

-- How names become ids: by the container's own passwd and group files.
local function lookup_in(record)
  local files = {}
  local function text(path)
    local message
    if not files[path] then
      files[path], message = require "ctrexec.container.inside".read(record, path)
    end
    return files[path], message
  end
  return function(kind, key)
    local users = require "ctrexec.oci.users"
    local content, message = text(kind == "user" and "/etc/passwd" or "/etc/group")
    if not content then return nil, message end
    if kind == "user" then return users.user(content, key) end
    if kind == "group" then return users.group(content, key) end
    content, message = text "/etc/passwd"
    if not content then return nil, message end
    local user = users.user_by_id(content, key.uid)
    if not user then return {} end
    return users.groups_of(files["/etc/group"], user.name, key.gid)
  end
end

-- The spec with its recording settled, where no gate does that.
local function with_recording(self, spec)
  local settings, message, code = require "ctrexec.policy.recording".settings(spec.record, nil, self.record.id)
  if not settings then return nil, message, code end
  return setmetatable({ record = settings }, { __index = spec })
end

-- What is to be run, once everybody has been asked: the process object, the spec and the warnings.
local function resolve(self, spec, gate)
  local ok, message, code = check_status(self.record, spec)
  if not ok then return nil, message, code end
  message = spec.record and require "ctrexec.policy.recording".obstacle(spec)
  if message then return nil, "record: " .. message, "invalid" end
  if not spec.lookup then
    spec = setmetatable({ lookup = lookup_in(self.record), table.unpack(spec) }, { __index = spec })
  end
  local object, warnings
  object, warnings, code = process.build(self.record, spec)
  if not object then return nil, warnings, code end
  local final = object
  if gate then
    final, message, code = gate:pass(object, spec, warnings)
    if not final then return nil, message, code, warnings end
    spec = message
  elseif spec.record then
    spec, message, code = with_recording(self, spec)
    if not spec then return nil, message, code, warnings end
  end
  ok, message, code = check_terminal(final.terminal, spec)
  if ok and spec.host_env then ok, message, code = require "ctrexec.exec.hostenv".add(final.env, spec.host_env) end
  if not ok then return nil, message, code, warnings end
  return final, spec, warnings
end

local function open_recording(self, settings, object, gate, warnings)
  local about = gate and gate:about() or { caller = require "ctrexec.policy.caller".describe() }
  about.container, about.process = self.record, object
  return require "ctrexec.policy.recording".open(settings, about, warnings)
end

-- The command with its streams.
local function run(self, spec, object, pause, warnings)
  local streams = require "ctrexec.exec.streams"
  local set, message, code = streams.open(spec)
  if not set then return nil, message, code end
  local started
  started, message, code = launch(self, spec, object, set, pause, warnings)
  if not started then
    streams.close(set)
    return nil, message, code
  end
  streams.close_theirs(set)
  return require "ctrexec.exec.handle".new(started, set.ours)
end

local function begin(self, spec, pause, gate)
  local object, resolved, warnings, given = resolve(self, spec, gate)
  if not object then return nil, resolved, warnings, given end
  if resolved.on_process then
    local ok, message, code = resolved.on_process(object, resolved.record)
    if not ok then return nil, message, code, warnings end
  end
  local recording, handle, message, code
  if resolved.record then
    recording, message, code = open_recording(self, resolved.record, object, gate, warnings)
    if message then return nil, message, code, warnings end
  end
  handle, message, code = run(self, resolved, object, pause, warnings)
  if not handle then
    if recording then recording:discard() end
    return nil, message, code, warnings
  end
  handle.warnings, handle.timeout, handle.kill_after = warnings, resolved.timeout, resolved.kill_after
  handle.recording = recording
  return handle
end

local function spawn(self, spec, pause)
  local gate = self.policy and require "ctrexec.policy.gate".new(self)
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
-- short forms; see docs/embedding.md. `on_process(process, record)` is called with the checked process object and, if
-- the session is recorded, the settings of `ctrexec.policy.recording`, before anything is started; it may complete
-- `consoleSize`, and refuses with nil, message, code. `on_terminal(master)` is called with the command's terminal
-- before the command runs, and may refuse in the same way. `records = true` promises that all output of the command is
-- copied by the program itself, and given to `process.recording`; without it no session can be recorded here
-- @treturn[1] process its `warnings` are for the log: `{level="warning"|"debug", message=}` each; `timeout` and
-- `kill_after` are the limits that apply. Under policies they are kept by a process of ctrexec's own, unless the spec
-- says that the caller does (`keeps_limits`) until he closes the handle; without any they are his to keep;
-- `recording`, of `ctrexec.policy.recording`, is to be fed and finished
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string code
-- @treturn[2] ?{table,...} warnings, where it came so far
function methods:spawn(spec)
  check_call(self, spec)
  return spawn(self, spec)
end

--- Brings a command in, up to its start: it is in the container's namespaces and cgroup and has a pidfd, but runs only
-- when told to by `process:start()`.
-- @tparam table spec as for `spawn`
-- @treturn[1] process
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string code
function methods:prepare(spec)
  check_call(self, spec)
  return spawn(self, spec, true)
end

--- Says what an exec would do; nothing is started and nothing recorded.
-- @tparam table spec as for `spawn`
-- @treturn[1] table see `ctrexec.policy.explain`
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string code
function methods:explain(spec)
  check_call(self, spec)
  return require "ctrexec.policy.explain".report(self, spec, resolve)
end

-- What `exec` does with an output stream: collect it, give it to a function, or leave it to `spawn`.
local function sink_of(spec, name, capture)
  local wanted = spec[name]
  if wanted == nil or type(wanted) == "function" then
    capture[name] = wanted or { size = 0 }
    return "pipe"
  end
  return wanted
end

local function drop() end

-- To be recorded, a stream has to come by here; stdin, too, which may be one that can be written.
local function is_recordable(spec)
  local function passes(wanted) return wanted == nil or wanted == "null" or type(wanted) == "function" end
  return (passes(spec.stdin) or spec.stdin == "pipe" or spec.input ~= nil) and passes(spec.stdout)
    and (passes(spec.stderr) or spec.stderr == "stdout")
end

-- Where the streams of `exec` go. It is decided last, because a policy may have given or taken away the terminal, or
-- want a recording: then what would be dropped by the kernel is dropped here.
local function direct_streams(own, spec, capture, terminal, record)
  if terminal then
    capture.terminal = type(spec.stdout) == "function" and spec.stdout or { size = 0 }
    own.stdin, own.stdout, own.stderr = "inherit", "inherit", "inherit" -- the pty takes their place
    return
  end
  own.stdin = spec.input ~= nil and "pipe" or spec.stdin or "null"
  own.stdout, own.stderr = sink_of(spec, "stdout", capture), sink_of(spec, "stderr", capture)
  for _, name in ipairs(record and { "stdout", "stderr" } or {}) do
    if own[name] == "null" then own[name], capture[name] = "pipe", drop end
  end
end

-- The spec of `exec` for `spawn`, and where its output will be.
local function capturing(spec)
  local own, capture = setmetatable({}, { __index = spec }), {}
  for index, word in ipairs(spec) do own[index] = word end
  own.keeps_limits = true
  own.records = is_recordable(spec)
  function own.on_process(object, record)
    direct_streams(own, spec, capture, object.terminal, record)
    if spec.on_process then return spec.on_process(object, record) end
    return true
  end
  return own, capture
end

local function captured(sink)
  return type(sink) == "table" and table.concat(sink) or nil
end

local function clock()
  return require "ctrexec.core".pidfd.clock()
end

-- TERM at the time-out and KILL `kill_after` later, or KILL at once; the whole tree either way.
local function deadlines_of(handle, expiry)
  local timeout, kill_after = handle.timeout, handle.kill_after
  if not timeout then return {} end
  local function kill()
    expiry.kill_at = expiry.kill_at or clock()
    handle:kill { tree = true }
  end
  if not kill_after then return { { after = timeout, act = kill } } end
  local function terminate()
    expiry.kill_at = clock() + kill_after
    handle:kill { tree = true, signal = "TERM" }
  end
  return { { after = timeout, act = terminate }, { after = timeout + kill_after, act = kill } }
end

-- A callback raised an error, or the coroutine was closed: nobody waits for the command any more.
local Abandoned = {}

-- What a frozen cgroup (version 1) keeps from dying is not waited for.
local ABANDONED_SECONDS = 10

function Abandoned.__close(guard)
  local handle = guard.handle
  if not handle.status then
    handle:kill { tree = true }
    handle:wait(ABANDONED_SECONDS)
  end
end

--- Runs a command and waits for its end.
--
-- Besides what `spawn` takes: `input`: what the command reads, a string, a function that returns the next piece or nil,
-- or a file (default: nothing); `stdout` and `stderr`: a function that is given each piece, or what `spawn` takes
-- (default: collected); `timeout`: seconds after which the command and everything that it started are ended;
-- `kill_after`: with `timeout`, TERM is sent first and KILL that many seconds later; `max_output`: how many bytes of
-- each stream are kept, the rest being read and dropped. With `record` (see `ctrexec.policy.recording`) no stream may
-- be inherited or a descriptor.
-- @tparam table spec
-- @treturn[1] table `code` (128 + signal when killed), `signal`, `stdout`, `stderr` (strings, where collected),
-- `truncated`, `timed_out`, `utime`, `stime` (seconds), `maxrss` (KiB)
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string code
function methods:exec(spec)
  check_call(self, spec)
  local own, capture = capturing(spec)
  local handle <close>, message, code = spawn(self, own)
  if not handle then return nil, message, code end
  local _ <close> = setmetatable({ handle = handle }, Abandoned)
  local expiry = {}
  local ended, truncated
  ended, truncated, code = require "ctrexec.exec.capture".run(handle, {
    input = spec.input, sinks = capture, max_output = spec.max_output, deadlines = deadlines_of(handle, expiry),
  })
  local recording = handle.recording
  if recording then
    local complete, why = recording:finish(handle.warnings)
    if not complete then return nil, why, "system" end
  end
  if not ended then return nil, truncated, code end
  local status
  status, message, code = handle:wait()
  if not status then return nil, message, code end
  if expiry.kill_at then handle:sweep(math.max(0, expiry.kill_at - clock())) end
  local result = { timed_out = expiry.kill_at and true }
  for name, value in pairs(status) do result[name] = value end
  result.stdout, result.stderr = captured(capture.stdout or capture.terminal), captured(capture.stderr)
  result.truncated = truncated
  return result
end

return ctrexec
