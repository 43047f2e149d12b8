local failure = require "ctrexec.exec.failure"

local START = "unable to start container process: "
local ENOENT, EACCES, ENOEXEC = "No such file or directory", "Permission denied", "Exec format error"
local THERE, MODE, ALLOWED = 1, 2, 4

local plan = { args = { "./run\"it" }, cwd = "/wo\nrk", exec_label = "exec web", exec_attribute = "apparmor/exec",
  task_paths = { "/cg/cpu", "/cg/pids" }, cgroup_path = "/cg/unified" }

local function says(expected, code, step, reason, fields)
  it(expected, function()
    local event = { event = "error", step = step, message = reason, value = 0, detail = "", pid = 42 }
    for name, value in pairs(fields or {}) do event[name] = value end
    local message, got = failure.describe(event, plan)
    assert.equal(START .. expected, message)
    assert.equal(code, got)
  end)
end

describe("failure.describe of the command's file:", function()
  local NAME, PATH = [[exec: "./run\"it": ]], [[./run"it]]
  says(NAME .. "executable file not found in $PATH", "not_found", "lookup", ENOENT)
  says(NAME .. "cannot run executable found relative to current directory", "not_executable", "lookup", ENOENT,
    { value = THERE })
  says(NAME .. "stat " .. PATH .. ": no such file or directory", "not_found", "exec", ENOENT, { detail = "cut" })
  says(NAME .. "stat " .. PATH .. ": permission denied", "not_executable", "exec", EACCES)
  says(NAME .. "permission denied", "not_executable", "exec", EACCES, { value = THERE })
  says(NAME .. "permission denied", "not_executable", "exec", "Is a directory", { value = THERE })
  says("eaccess " .. PATH .. ": permission denied", "not_executable", "exec", EACCES, { value = THERE | MODE })
  says("exec " .. PATH .. ": permission denied", "not_executable", "exec", EACCES, { value = THERE | MODE | ALLOWED })
  says("exec " .. PATH .. ": no such file or directory", "not_found", "exec", ENOENT,
    { value = THERE | MODE | ALLOWED })
  says("exec " .. PATH .. ": exec format error", "not_executable", "exec", ENOEXEC, { value = THERE | MODE | ALLOWED })

  it("names the place on PATH", function()
    local event = { event = "error", step = "exec", message = ENOEXEC, value = 7, detail = "/bin/it", pid = 1 }
    assert.equal(START .. "exec /bin/it: exec format error", (failure.describe(event, { args = { "it" } })))
  end)
end)

describe("failure.describe of a step:", function()
  says([[chdir to cwd ("/wo\nrk") set in config.json failed: not a directory]], "no_cwd", "cwd", "Not a directory")
  says("current working directory is outside of container mount namespace root -- possible container breakout "
    .. "detected", "no_cwd", "cwd_outside", ENOENT)
  says("error setting rlimits for process: error setting rlimit type 6: operation not permitted", "system", "rlimit",
    "Operation not permitted", { value = 6 })
  says("error adding pid 42 to cgroups: failed to write 42: write /cg/pids/tasks: no such device", "system", "tasks",
    "No such device", { value = 1 })
  says("error adding pid 42 to cgroups: failed to write 42: write /cg/unified/cgroup.procs: device or resource busy",
    "system", "cgroup", "Device or resource busy")
  says("apparmor failed to apply profile: write /proc/self/attr/apparmor/exec: no such file or directory", "system",
    "label", ENOENT)
  says("unable to apply caps: operation not permitted", "system", "capabilities", "Operation not permitted")
  says("unable to setup user: setgroups: invalid argument", "system", "groups", "Invalid argument")
  says("unable to setup user: invalid argument", "invalid", "uid", "Invalid argument")
  says("unable to setup user: invalid argument", "invalid", "gid", "Invalid argument")
  says("unable to setup user: resource temporarily unavailable", "system", "uid", "Resource temporarily unavailable")
  says("fork: cannot allocate memory", "system", "clone", "Cannot allocate memory")

  it("says of a lack of memory that the container's init has ended, if it has", function()
    local core = require "ctrexec.core"
    local pipe = assert(io.popen "echo $$; exec sleep 100")
    local init <close> = assert(core.pidfd.open(pipe:read "n"))
    local event = { event = "error", step = "clone", message = "Cannot allocate memory", value = 0, detail = "" }
    assert.equal(START .. "fork: cannot allocate memory", (failure.describe(event, { init = init })))
    assert(core.pidfd.send_signal(init, core.signal.numbers.KILL))
    pipe:close()
    assert.equal(START .. "fork: cannot allocate memory (the container's init has ended)",
      (failure.describe(event, { init = init })))
  end)

  says("error creating terminal: /dev/pts is not a devpts: no such device", "system", "terminal", "No such device",
    { detail = "/dev/pts is not a devpts" })
  says("io priority: operation not permitted", "system", "io_priority", "Operation not permitted")

  -- A container that may trace can send in the name of its process what no helper would.
  it("does not take a forged step at its word", function()
    local forged = { label = "label", tasks = "tasks", cgroup = "cgroup" }
    for step, expected in pairs(forged) do
      local event = { event = "error", step = step, message = ENOENT, value = 99, detail = "", pid = 1 }
      local message, code = failure.describe(event, { args = { "x" }, task_paths = {} })
      assert.equal(START .. expected .. ": no such file or directory", message)
      assert.equal("system", code)
    end
  end)

  it("names SELinux by what it is", function()
    local event = { event = "error", step = "label", message = "Invalid argument", value = 0, detail = "", pid = 1 }
    local selinux = { args = { "x" }, exec_label = "system_u:system_r:x", exec_attribute = "exec" }
    assert.equal(START .. "set process label: write /proc/self/attr/exec: invalid argument",
      (failure.describe(event, selinux)))
  end)
end)

describe("failure.describe of a helper that died", function()
  local function died(reason, status, oom_kills)
    return (failure.describe({ event = "died", reason = reason, status = status }, plan, oom_kills))
  end

  it("tells of the signal or the status", function()
    assert.equal(START .. "the process was killed by signal 9 before the command could start", died("killed", 9))
    assert.equal(START .. "the process ended with status 255 before the command could start", died("exited", 255))
    assert.equal(START .. "the process ended before the command could start", died())
  end)

  it("tells of the container's memory limit", function()
    assert.matches("signal 9 .* %(out of memory: the container has had 3 kills for lack of memory%)$",
      died("killed", 9, 3))
    assert.not_matches("memory", died("killed", 9, 0))
    local message = failure.describe({ event = "error", step = "clone", message = "Cannot allocate memory" }, {}, 2)
    assert.matches("^unable to start container process: fork: cannot allocate memory .* has had 2 kills ", message)
  end)
end)
