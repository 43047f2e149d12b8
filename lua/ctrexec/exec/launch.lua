--- Brings a command into a container: its streams, sockets, tools and cgroups, up to the handle of the running command.
-- @module ctrexec.exec.launch
local core = require "ctrexec.core"
local fields = require "ctrexec.exec.fields"
local handles = require "ctrexec.exec.handle"
local late = require "ctrexec.lib.late"
local plans = require "ctrexec.exec.plan"
local start = require "ctrexec.exec.start"
local streams = require "ctrexec.exec.streams"
-- Loaded late because few commands need them:
local cgroups = late "ctrexec.container.cgroups" -- for a command whose container's cgroups are gone
local listener = late "ctrexec.exec.listener" -- for a seccomp profile that notifies an agent
local pidfile = late "ctrexec.exec.pidfile"
local sockets = late "ctrexec.exec.sockets"
local tools = late "ctrexec.exec.tools"

local pidfd = core.pidfd

local launch = {}

-- How long a killed command is waited for. A command in a frozen cgroup dies only when the cgroup is thawed.
local KILLED_MILLISECONDS = 1000

-- A function for what must be done before the command runs, while the helper waits: the caller's `on_terminal`, and
-- sending the terminal and the pidfd to the caller's sockets.
local function ready_hook(on_terminal, connected)
  if not (on_terminal or connected.console or connected.pidfd) then return nil end
  return function(started)
    local ok, message, code = true, nil, nil
    if on_terminal then ok, message, code = on_terminal(started.terminal) end
    if ok and connected.console then
      ok, message, code = sockets.send(connected.console, started.terminal, "/dev/ptmx")
    end
    if ok and connected.pidfd then ok, message, code = sockets.send(connected.pidfd, started.pidfd, "setns") end
    return ok, message, code
  end
end

-- Ends a command that runs or waits for its start, because a later step has failed.
local function undo(started)
  if started.entry then return start.abort(started) end
  local tree = started.plan.tree
  if tree then tree:kill(started.pidfd) end
  pidfd.send_signal(started.pidfd, core.signal.numbers.KILL)
  if core.poll.wait({ { fd = started.pidfd, read = true } }, KILLED_MILLISECONDS) then pidfd.wait(started.pidfd) end
  if tree then tree:close() end
  started.pidfd:close()
  if started.terminal then started.terminal:close() end
end

local function seccomp_listener(container)
  local seccomp = container.settings.seccomp
  local path = seccomp and seccomp.listenerPath
  if not path then return nil end
  return function(fd, started) return listener.send(path, fd, started.pid, container, seccomp.listenerMetadata) end
end

local function connect(spec)
  if not (spec.console_socket or spec.pidfd_socket) then return {} end
  return sockets.connect(spec)
end

local function open_null(wanted)
  if wanted then return core.file.open("/dev/null", { read = true, write = true }) end
end

-- A function that returns the next plan to try, or nil, when the cgroups of the container's state are gone, take no
-- process or may not be joined. It tries the cgroups that the container's first process is in now, unless the caller
-- named a cgroup; then, for a rootless container, none.
local function fallback_of(container, spec, object, options)
  local choices = {}
  local function current()
    local paths = cgroups.of(container.pid)
    return next(paths) and paths -- only a process that has ended has none
  end
  local function none() return {} end
  if not spec.cgroup or #spec.cgroup == 0 then choices[1] = { current, "trying that of the container's init" } end
  if container.settings.rootless_cgroups then choices[#choices + 1] = { none, "going on without" } end
  return function(message)
    container:forget_cgroups()
    local choice = table.remove(choices, 1)
    local paths = choice and choice[1]()
    if not paths then return nil end
    message = message:gsub("^unable to start container process: error ", "")
    table.insert(options.warnings, { level = "debug", message = ("%s; %s"):format(message, choice[2]) })
    options.cgroup_paths = paths
    return (plans.build(container, object, options))
  end
end

-- Builds the plan and starts the command.
local function follow_plan(container, spec, object, options, connected, pause)
  local hooks = {
    ready = ready_hook(object.terminal and spec.on_terminal, connected), pause = pause,
    listener = seccomp_listener(container), cgroup_paths = container.cgroup_paths,
    fallback = fallback_of(container, spec, object, options),
  }
  -- A process created in a frozen cgroup runs only when the container is resumed, which may take any time.
  if container.status == "paused" then hooks.seconds = false end
  options.wait = hooks.ready ~= nil or pause
  local plan, message, code, cgroup = plans.build(container, object, options)
  if cgroup then plan = hooks.fallback(message) end
  if not plan then return nil, message, code end
  return start.run(plan, hooks)
end

-- Does everything up to the running (or prepared) command, except opening and closing the streams of `set`.
local function begin(container, spec, object, set, pause, warnings)
  if spec.pid_file then
    local possible, why, fault = pidfile.check(spec.pid_file)
    if not possible then return nil, why, fault end
  end
  local connected, message, code = connect(spec)
  if not connected then return nil, message, code end
  local options = fields.plan_options(spec)
  options.stdin, options.stdout, options.stderr = set.theirs.stdin, set.theirs.stdout, set.theirs.stderr
  options.tree, options.warnings = spec.tree or spec.timeout ~= nil or spec.record ~= nil, warnings
  if spec.tools then
    options.mounts, message, code = tools.open(spec.tools, object, container)
    if message then return nil, message, code end
  end
  -- With a terminal the helper puts the pty in the place of these streams.
  local null <close>, why = open_null(object.terminal)
  if why then return nil, why, "system" end
  if null then options.stdin, options.stdout, options.stderr = null, null, null end
  local started
  started, message, code = follow_plan(container, spec, object, options, connected, pause)
  if options.mounts then tools.close(options.mounts) end
  if not started or not spec.pid_file then return started, message, code end
  -- The pid file is written after the start, so that an old file stays if the start fails, as with runc.
  local ok
  ok, message, code = pidfile.write(spec.pid_file, started.pid)
  if ok then return started end
  undo(started)
  return nil, message, code
end

--- Starts a command, or prepares it.
-- @tparam table container the container
-- @tparam table spec of the exec: see docs/embedding.md
-- @tparam table object the command's process object, checked
-- @tparam ?boolean pause prepare only: the command waits for `process:start()`
-- @tparam {table,...} warnings an array to add to
-- @treturn[1] process of `ctrexec.exec.handle`
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string code
function launch.run(container, spec, object, pause, warnings)
  local set, message, code = streams.open(spec)
  if not set then return nil, message, code end
  local started
  started, message, code = begin(container, spec, object, set, pause, warnings)
  if not started then
    streams.close(set)
    return nil, message, code
  end
  streams.close_theirs(set)
  return handles.new(started, set.ours)
end

return launch
