--- The messages for a command that the helper could not start.
--
-- The words are runc's, because engines and people read them: podman and docker choose the exit statuses 126 and 127
-- by the endings of these messages.
-- @module ctrexec.exec.failure
local core = require "ctrexec.core"
local wording = require "ctrexec.lib.wording"

local failure = {}

local quote = wording.quote

local START = "unable to start container process: "

local THERE, MODE, ALLOWED = 1, 2, 4 -- enum plan_program of core/common/plan.h

local function other(event, reason)
  return ("%s: %s"):format(event.step:gsub("_", " "), reason), "system"
end

-- Functions by the helper's step that failed. Each takes the event, its reason in words and the plan, and returns
-- message and code. A container with the right to trace can forge an event, so its step may be one that this plan does
-- not have.
local steps = {}

function steps.lookup(event, _, plan)
  local name = quote(plan.args[1])
  if event.value & THERE ~= 0 then
    return ("exec: %s: cannot run executable found relative to current directory"):format(name), "not_executable"
  end
  return ("exec: %s: executable file not found in $PATH"):format(name), "not_found"
end

-- First come the failures that runc finds before its execve, in the same order. Any other has the kernel's reason, as
-- when the file's interpreter is missing.
function steps.exec(event, reason, plan)
  -- `event.detail`, which may be cut off, is where on PATH a bare name was found.
  local path = plan.args[1]:find "/" and plan.args[1] or event.detail
  local missing = reason == "no such file or directory"
  if event.value & THERE == 0 then
    local message = ("exec: %s: stat %s: %s"):format(quote(plan.args[1]), path, reason)
    return message, reason == "permission denied" and "not_executable" or "not_found"
  elseif event.value & MODE == 0 then
    return ("exec: %s: permission denied"):format(quote(plan.args[1])), "not_executable"
  elseif event.value & ALLOWED == 0 then
    return ("eaccess %s: permission denied"):format(path), "not_executable"
  end
  return ("exec %s: %s"):format(path, reason), missing and "not_found" or "not_executable"
end

function steps.cwd(_, reason, plan)
  return ("chdir to cwd (%s) set in config.json failed: %s"):format(quote(plan.cwd), reason), "no_cwd"
end

function steps.cwd_outside()
  return "current working directory is outside of container mount namespace root -- "
    .. "possible container breakout detected", "no_cwd"
end

function steps.rlimit(event, reason)
  return ("error setting rlimits for process: error setting rlimit type %d: %s"):format(event.value, reason),
    "system"
end

local function not_joined(event, file, reason)
  local pid = event.pid
  return ("error adding pid %d to cgroups: failed to write %d: write %s: %s"):format(pid, pid, file, reason), "system"
end

function steps.tasks(event, reason, plan)
  local path = plan.task_paths[event.value + 1]
  if not path then return other(event, reason) end
  return not_joined(event, path .. "/tasks", reason)
end

function steps.cgroup(event, reason, plan)
  if not plan.cgroup_path then return other(event, reason) end
  return not_joined(event, plan.cgroup_path .. "/cgroup.procs", reason)
end

function steps.label(event, reason, plan)
  if not plan.exec_label then return other(event, reason) end
  local what = plan.exec_label:sub(1, 5) == "exec " and "apparmor failed to apply profile" or "set process label"
  return ("%s: write /proc/self/attr/%s: %s"):format(what, plan.exec_attribute, reason), "system"
end

function steps.namespace(_, reason)
  return "error joining the container's namespaces: " .. reason, "system"
end

-- The kernel also reports ENOMEM for a pid namespace whose init has ended.
function steps.clone(_, reason, plan)
  if reason == "cannot allocate memory" and plan.init and core.pidfd.alive(plan.init) == false then
    reason = reason .. " (the container's init has ended)"
  end
  return "fork: " .. reason, "system"
end

function steps.capabilities(_, reason)
  return "unable to apply caps: " .. reason, "system"
end

function steps.bounding(_, reason)
  return "unable to apply bounding set: " .. reason, "system"
end

function steps.groups(_, reason)
  return "unable to setup user: setgroups: " .. reason, "system"
end

-- EINVAL means an id that the user namespace does not map: setresuid(2). It gets this far only if the container's state
-- has no mappings; otherwise the plan has refused it.
function steps.gid(_, reason)
  return "unable to setup user: " .. reason, reason == "invalid argument" and "invalid" or "system"
end
steps.uid = steps.gid

function steps.seccomp(_, reason)
  return "unable to init seccomp: error loading seccomp filter into kernel: " .. reason, "system"
end

function steps.terminal(event, reason)
  return ("error creating terminal: %s: %s"):format(event.detail, reason), "system"
end

function steps.mount(event, reason)
  return ("mount %s: %s"):format(event.detail, reason), "system"
end

--- The message and code of a system call that failed in the caller, not in the helper.
-- @tparam string message of the core
-- @treturn string message
-- @treturn string code "system"
function failure.of_call(message)
  return START .. wording.reworded(message), "system"
end

--- The message and code of the last event of an entry that failed.
-- @tparam table event `error` or `died`, from `ctrexec.core.spawn`
-- @tparam table plan the plan that was started
-- @tparam[opt] integer oom_kills how many processes of the container the kernel has killed for lack of memory
-- @treturn string message
-- @treturn string code: "not_found", "not_executable", "no_cwd", "invalid", "system"
function failure.describe(event, plan, oom_kills)
  local message, code = "the process ended before the command could start", "system"
  if event.event == "error" then
    message, code = (steps[event.step] or other)(event, wording.reason(event.message), plan)
  elseif event.reason then
    message = ("the process %s %d before the command could start")
      :format(event.reason == "killed" and "was killed by signal" or "ended with status", event.status)
  end
  if oom_kills and oom_kills > 0 then
    message = ("%s (out of memory: the container has had %d kills for lack of memory)"):format(message, oom_kills)
  end
  return START .. message, code
end

return failure
