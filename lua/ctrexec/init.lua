--- Run commands in containers that are already running.
--
-- Errors are `nil, message, code`. The codes: "usage", "invalid" (a value is wrong), "no_such_container", "ambiguous",
-- "bad_state", "stopped", "paused", "untrusted" (a file's owner or mode), "unsupported", "not_found" (the program),
-- "not_executable", "no_cwd", "denied" (by a policy), "timeout", "system". A mistake of the program that calls raises
-- an error at the caller's position.
-- @module ctrexec
local process = require "ctrexec.process"

local ctrexec = { _VERSION = "ctrexec 0.1.0" }

local methods = {}
local class = { __index = methods, __name = "ctrexec.container" }

local function check_spec(spec, level)
  if type(spec) ~= "table" then
    error(("bad spec (table expected, got %s)"):format(type(spec)), level + 1)
  end
end

--- Finds a container.
-- @tparam string id the id, or a unique prefix of it
-- @tparam[opt] table options `root`: the only directory to look in; `pid`: a process instead of a container
-- @treturn[1] container
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string code "no_such_container", "ambiguous", "bad_state", "untrusted", "invalid"
function ctrexec.open(id, options)
  local record, message, code = require "ctrexec.container".open(id, options or {})
  if not record then return nil, message, code end
  return setmetatable({ id = record.id, record = record }, class)
end

--- All containers of all runtimes.
-- @tparam[opt] table options `root`: the only directory to look in
-- @treturn {table,...} records: see `ctrexec.container`
function ctrexec.list(options)
  return require "ctrexec.container".list(options or {})
end

--- The container's state now.
-- @treturn string "created", "running", "paused" or "stopped"
function methods:status()
  return self.record:refresh()
end

--- Closes the container's descriptors.
function methods:close()
  self.record:close()
end

class.__gc = methods.close
class.__close = methods.close

local function check_status(record, spec)
  if record.status == "stopped" then return nil, "cannot exec in a stopped container", "stopped" end
  if record.status == "paused" and not spec.ignore_paused then
    return nil, "cannot exec in a paused container (use --ignore-paused to override)", "paused"
  end
  return true
end

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
  return require "ctrexec.plan".reason(message)
end

local function connect(path)
  local core = require "ctrexec.core"
  local socket, message = core.fdpass.connect(path)
  if not socket then return nil, ("dial unix %s: connect: %s"):format(path, reason(message)), "system" end
  return socket
end

local function hand_over(socket, fd, name)
  local ok, message = require "ctrexec.core".fdpass.send(socket, { fd }, name)
  socket:close()
  if not ok then return nil, message, "system" end
  return true
end

-- Digits only: containerd rejects a newline. In place before the command starts, whole or not at all.
local function write_pid_file(path, pid)
  local ok, message = require "ctrexec.core".file.write_atomic(path, tostring(pid), 420) -- 0644
  if ok then return true end
  local folder, base = path:match "^(.*/)([^/]*)$"
  return nil, ("open %s.%s: %s"):format(folder or "", base or path, reason(message)), "system"
end

-- What must be done while the helper waits, because it has to be there before the command runs.
local function ready_hook(spec, sockets)
  if not (spec.pid_file or sockets.console or sockets.pidfd) then return nil end
  return function(started)
    local ok, message, code = true, nil, nil
    if sockets.console then ok, message, code = hand_over(sockets.console, started.terminal, "/dev/ptmx") end
    if ok and sockets.pidfd then ok, message, code = hand_over(sockets.pidfd, started.pidfd, "setns") end
    if ok and spec.pid_file then ok, message, code = write_pid_file(spec.pid_file, started.pid) end
    return ok, message, code
  end
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
    return require "ctrexec.listener".send(path, fd, started.pid, record, seccomp.listenerMetadata)
  end
end

-- Everything up to the running (or prepared) command.
local function launch(self, spec, object, set, pause)
  local plans, start = require "ctrexec.plan", require "ctrexec.start"
  local record = self.record
  local sockets, message, code = open_sockets(spec)
  if not sockets then return nil, message, code end
  local options = {
    stdin = set.theirs.stdin, stdout = set.theirs.stdout, stderr = set.theirs.stderr, preserve_fds = spec.preserve_fds,
    cgroup = spec.cgroup, login_uid = spec.login_uid,
  }
  if object.terminal then
    local null = require "ctrexec.core".file.open("/dev/null", { read = true, write = true })
    options.stdin, options.stdout, options.stderr = null, null, null
  end
  local hooks = {
    ready = ready_hook(spec, sockets), pause = pause, listener = seccomp_listener(record),
    cgroup_paths = record.cgroup_paths,
  }
  options.wait = hooks.ready ~= nil or pause
  if not spec.cgroup or #spec.cgroup == 0 then
    function hooks.fallback()
      options.cgroup_paths = plans.current_cgroups(record.pid)
      return (plans.build(record, object, options))
    end
  end
  local plan
  plan, message, code = plans.build(record, object, options)
  if not plan then return nil, message, code end
  local started
  started, message, code = start.run(plan, hooks)
  if not started and spec.pid_file and hooks.wrote then os.remove(spec.pid_file) end
  return started, message, code
end

local function spawn(self, spec, pause)
  local ok, message, code = check_status(self.record, spec)
  if not ok then return nil, message, code end
  local object, warnings
  object, warnings, code = process.build(self.record, spec)
  if not object then return nil, warnings, code end
  ok, message, code = check_terminal(object.terminal, spec)
  if not ok then return nil, message, code end
  local streams = require "ctrexec.streams"
  local set
  set, message, code = streams.open(spec)
  if not set then return nil, message, code end
  local started
  started, message, code = launch(self, spec, object, set, pause)
  if not started then
    streams.close(set)
    return nil, message, code
  end
  streams.close_theirs(set)
  local handle = require "ctrexec.child".new(started, set.ours)
  handle.warnings = warnings
  return handle
end

--- Starts a command and returns as soon as it runs.
-- @tparam table spec what to run: positional strings for the command, the fields of an OCI process object, or the
-- short forms; see docs/embedding.md
-- @treturn[1] process
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string code
function methods:spawn(spec)
  check_spec(spec, 2)
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
  check_spec(spec, 2)
  return spawn(self, spec, true)
end

return ctrexec
