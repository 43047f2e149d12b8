--- What is said when the helper could not start the command.
--
-- The words are runc's, because engines and people read them: podman and docker make the exit statuses 126 and 127
-- out of their endings.
-- @module ctrexec.failure
local failure = {}

local START = "unable to start container process: "

local function lower_first(text)
  return (text:gsub("^%u", string.lower))
end

-- %q of Go's fmt, near enough for names.
local function quote(text)
  return '"' .. text:gsub('[%c"\\]', function(char)
    return char == '"' and '\\"' or char == "\\" and "\\\\" or ("\\x%02x"):format(char:byte())
  end) .. '"'
end

-- Each takes the event, its reason in words and the plan, and returns message and code.
local steps = {}

function steps.lookup(_, _, plan)
  return ("exec: %s: executable file not found in $PATH"):format(quote(plan.args[1])), "not_found"
end

-- value tells whether the file is there. When it is, ENOENT is about its interpreter and the kernel's own words are
-- the best there are.
function steps.exec(event, reason, plan)
  local name = quote(plan.args[1])
  local code = (reason == "permission denied" or reason == "is a directory") and "not_executable"
    or event.value == 0 and "not_found" or reason == "no such file or directory" and "not_found" or "not_executable"
  if event.value == 0 then return ("exec: %s: stat %s: %s"):format(name, plan.args[1], reason), code end
  if code == "not_executable" and (reason == "permission denied" or reason == "is a directory") then
    return ("exec: %s: permission denied"):format(name), code
  end
  return ("exec %s: %s"):format(event.detail ~= "" and event.detail or plan.args[1], reason), code
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

function steps.tasks(event, reason, plan)
  local folder = plan.task_paths and plan.task_paths[event.value + 1] or "tasks"
  return ("error adding pid %d to cgroups: failed to write: write %s/tasks: %s"):format(event.pid, folder, reason),
    "system"
end

function steps.cgroup(event, reason)
  return ("error adding pid %d to cgroups: %s"):format(event.pid, reason), "system"
end

function steps.label(_, reason, plan)
  local what = plan.exec_label:sub(1, 5) == "exec " and "apparmor failed to apply profile" or "set process label"
  return ("%s: write /proc/self/attr/%s: %s"):format(what, plan.exec_attribute, reason), "system"
end

function steps.namespace(_, reason)
  return "error joining the container's namespaces: " .. reason, "system"
end

function steps.clone(_, reason)
  if reason == "cannot allocate memory" then reason = reason .. " (the container's init has ended)" end
  return "fork: " .. reason, "system"
end

function steps.capabilities(_, reason)
  return "unable to apply caps: " .. reason, "system"
end

function steps.bounding(_, reason)
  return "unable to apply bounding set: " .. reason, "system"
end

for step, call in pairs { groups = "setgroups", gid = "setgid", uid = "setuid" } do
  steps[step] = function(_, reason) return ("unable to setup user: %s: %s"):format(call, reason), "system" end
end

function steps.seccomp(_, reason)
  return "unable to init seccomp: error loading seccomp filter into kernel: " .. reason, "system"
end

function steps.terminal(event, reason)
  return ("error creating terminal: %s: %s"):format(event.detail, reason), "system"
end

function steps.mount(event, reason)
  return ("mount %s: %s"):format(event.detail, reason), "system"
end

local function other(event, reason)
  return ("%s: %s"):format(event.step:gsub("_", " "), reason), "system"
end

--- The message and code of the last event of an entry that failed.
-- @tparam table event `error` or `died`, from `ctrexec.core.spawn`
-- @tparam table plan the plan that was started
-- @tparam[opt] integer oom_kills how many processes of the container the kernel has killed for lack of memory
-- @treturn string message
-- @treturn string code: "not_found", "not_executable", "no_cwd", "system"
function failure.describe(event, plan, oom_kills)
  if event.event == "error" then
    local reason = lower_first(event.message)
    local message, code = (steps[event.step] or other)(event, reason, plan)
    return START .. message, code
  end
  local message = "the process ended before the command could start"
  if event.reason == "killed" then
    message = ("the process was killed by signal %d before the command could start"):format(event.status)
  end
  if oom_kills and oom_kills > 0 then
    message = ("%s (out of memory: the container has had %d kills for lack of memory)"):format(message, oom_kills)
  end
  return START .. message, "system"
end

return failure
