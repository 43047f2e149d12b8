-- Every exec here enters the namespaces of this process, which needs no container and no privilege.
local core = require "ctrexec.core"
local child = require "ctrexec.exec.handle"
local exec = require "spec.exec.support"
local inside = require "ctrexec.container.inside"
local plan = require "ctrexec.exec.plan"
local start = require "ctrexec.exec.start"
local streams = require "ctrexec.exec.streams"
local support = require "spec.core.support"
local tool = require "tests.lib.tool"

local container = exec.container

local function plan_of(args, fields, options)
  return assert(plan.build(container(), exec.object(args, fields), options or {}))
end

-- A started command with its streams: a handle, or nil, message, code.
local function run(args, hooks, options, fields)
  local set = assert(streams.open { stdin = "null", stdout = "pipe", stderr = "stdout" })
  options = options or {}
  options.stdin, options.stdout, options.stderr = set.theirs.stdin, set.theirs.stdout, set.theirs.stderr
  local started, message, code = start.run(plan_of(args, fields, options), hooks or {})
  if not started then
    streams.close(set)
    return nil, message, code
  end
  streams.close_theirs(set)
  return child.new(started, set.ours)
end

local function output(handle) return tool.read_all(handle.stdout) end

describe("start.run", function()
  it("runs a command", function()
    local handle <close> = assert(run { "sh", "-c", "echo out; exit 3" })
    assert.equal("out\n", output(handle))
    assert.equal(3, handle:wait().code)
  end)

  it("says why there is no command, and leaves nothing", function()
    local before = support.open_descriptors()
    local handle, message, code = run { "no-such-program" }
    assert.is_nil(handle)
    assert.equal('unable to start container process: exec: "no-such-program": executable file not found in $PATH',
      message)
    assert.equal("not_found", code)
    assert.equal(before, support.open_descriptors())
  end)

  it("refuses what is too large for any plan, and leaves nothing", function()
    local before = support.open_descriptors()
    local handle, message, code = run { "true", ("x"):rep(33 << 20) }
    assert.is_nil(handle)
    assert.equal("unable to start container process: plan.args: expected a shorter string", message)
    assert.equal("invalid", code)
    assert.equal(before, support.open_descriptors())
  end)

  it("calls ready before the command runs, with its pid", function()
    local pid, comm
    local handle <close> = assert(run({ "cat", "/proc/self/comm" }, { ready = function(started)
      pid, comm = started.pid, core.process.stat(started.pid).comm
      return true
    end }, { wait = true }))
    assert.equal(handle.pid, pid)
    assert.not_equal("cat", comm)
    assert.equal("cat\n", output(handle))
  end)

  it("ends the command when ready refuses", function()
    local pid
    local handle, message, code = run({ "sleep", "20" }, { ready = function(started)
      pid = started.pid
      return nil, "not now", "denied"
    end }, { wait = true })
    assert.is_nil(handle)
    assert.same({ "not now", "denied" }, { message, code })
    assert.is_nil(core.pidfd.open(pid))
  end)

  it("gives up when it takes too long", function()
    local pid
    local handle, message, code = run({ "sleep", "20" }, { seconds = 0.2, ready = function(started)
      pid = started.pid
      return core.pidfd.send_signal(started.pidfd, core.signal.numbers.STOP)
    end }, { wait = true })
    assert.is_nil(handle)
    assert.equal("the command did not start within 0.2 seconds", message)
    assert.equal("timeout", code)
    assert.is_nil(core.pidfd.open(pid))
  end)

  it("tries the next plan when a cgroup cannot be joined, and reports the last", function()
    local directory = tool.folder()
    local function failing()
      local file = assert(core.file.open("/dev/full", { write = true }))
      local target = plan_of { "true" }
      target.tasks, target.task_paths = { file }, { directory }
      return target
    end
    local asked = {}
    local started, message = start.run(failing(), { fallback = function(why)
      asked[#asked + 1] = why
      return #asked == 1 and failing() or nil
    end })
    assert.is_nil(started)
    assert.matches("error adding pid %d+ to cgroups: .*/tasks: no space left on device$", message)
    assert.equal(2, #asked)
    started = assert(start.run(failing(), { fallback = function() return plan_of { "true" } end }))
    assert.equal(0, child.new(started, {}):wait().code)
    tool.remove(directory)
  end)

  it("refuses a seccomp listener that nobody waits for", function()
    if not os.execute "test $(id -u) = 0" then pending "a filter without no_new_privs needs root" end
    local profile = { defaultAction = "SCMP_ACT_ALLOW",
      syscalls = { { names = { "reboot" }, action = "SCMP_ACT_NOTIFY" } } }
    local own = container { settings = { seccomp = profile } }
    local started, message, code = start.run(assert(plan.build(own, exec.object { "true" }, {})), {})
    assert.is_nil(started)
    assert.equal("the seccomp profile wants a listener but names no listenerPath", message)
    assert.equal("invalid", code)
  end)
end)

describe("start.run with pause", function()
  local function paused(args)
    return assert(run(args, { pause = true }, { wait = true }))
  end

  it("returns a command that waits, and starts it once", function()
    local handle <close> = paused { "echo", "now" }
    assert.is_true(handle:is_waiting())
    assert.is_false(handle:wait(0))
    assert.is_true(handle:start())
    assert.is_false(handle:is_waiting())
    assert.same({ nil, "the command was already started", "invalid" }, { handle:start() })
    assert.equal("now\n", output(handle))
  end)

  it("says at the start why there is no command", function()
    local handle <close> = paused { "no-such-program" }
    local ok, message, code = handle:start()
    assert.is_nil(ok)
    assert.matches("executable file not found", message)
    assert.equal("not_found", code)
  end)

  it("ends one that is not started", function()
    local handle = paused { "sleep", "20" }
    local pid = handle.pid
    handle:close()
    assert.is_nil(core.pidfd.open(pid))
  end)
end)

describe("a process handle", function()
  it("waits, looks, and remembers the status", function()
    local handle <close> = assert(run { "sh", "-c", "exit 7" })
    local status = assert(handle:wait())
    assert.same({ 7, "exited", 7 }, { status.code, status.reason, status.status })
    assert.is_nil(status.signal)
    assert.equal("number", type(status.utime))
    assert.equal(status, handle:wait(0))
  end)

  it("sends signals by name, number and default", function()
    for _, signal in ipairs { "USR1", "SIGUSR1", 10, { signal = "USR1" } } do
      local handle <close> = assert(run { "sleep", "20" })
      assert.is_false(handle:wait(0))
      assert.is_true(handle:kill(signal))
      local status = handle:wait()
      assert.same({ 128 + 10, 10, "killed" }, { status.code, status.signal, status.reason })
    end
    local handle <close> = assert(run { "sleep", "20" })
    assert.is_true(handle:kill())
    assert.equal(15, handle:wait().signal)
  end)

  it("refuses unknown signals, and those for a command that has ended", function()
    local handle <close> = assert(run { "true" })
    for _, signal in ipairs { "NOSUCH", 1.5, { signal = "NOSUCH" } } do
      local ok, message, code = handle:kill(signal)
      assert.is_nil(ok)
      assert.matches("^unknown signal ", message)
      assert.equal("invalid", code)
    end
    handle:wait()
    assert.equal("system", select(3, handle:kill "TERM"))
  end)

  it("has no size without a terminal", function()
    local handle <close> = assert(run { "true" })
    assert.same({ nil, "the command has no terminal", "invalid" }, { handle:resize(1, 2) })
    handle:wait()
  end)

  it("has a descriptor to poll", function()
    local handle <close> = assert(run { "true" })
    assert.is_table(core.poll.wait({ { fd = handle:fd(), read = true } }, 10000))
    assert.equal(0, handle:wait(0).code)
  end)

  it("raises an error at the caller's when it is closed", function()
    local handle = assert(run { "true" })
    handle:close()
    handle:close()
    for _, method in ipairs { "fd", "kill" } do
      local ok, message = pcall(function() handle[method](handle) end)
      assert.is_false(ok)
      assert.matches("start_spec.lua:%d+: the process handle is closed$", message)
    end
  end)

  it("refuses a time that is none", function()
    local handle <close> = assert(run { "true" })
    for _, time in ipairs { -1, "1", 0 / 0 } do
      assert.error_matches(function() handle:wait(time) end, "timeout: expected a number of seconds, got ")
    end
    handle:wait()
  end)

  it("ends what the command started, too", function()
    local handle <close> = assert(run { "sh", "-c", "sleep 20 & echo $!; wait" })
    local pid = math.tointeger(tonumber(core.fd.read(handle.stdout, 100)))
    assert.is_true(handle:kill { tree = true })
    assert.equal(9, handle:wait().signal)
    tool.eventually(function()
      local stat = core.process.stat(pid)
      return not stat or stat.state == "Z"
    end)
  end)
end)

describe("inside.read", function()
  it("reads a file as the helper sees it", function()
    local file <close> = assert(io.open "/etc/passwd")
    assert.equal(file:read "a", (inside.read(container(), "/etc/passwd")))
  end)

  it("says what is wrong, and waits for nothing", function()
    local directory = tool.folder()
    tool.output("mkfifo " .. tool.quote(directory .. "/fifo"))
    for name, reason in pairs { ["/none"] = "no such file or directory", ["/fifo"] = "not a regular file",
      [""] = "not a regular file" } do
      local text, message, code = inside.read(container(), directory .. name)
      assert.is_nil(text)
      assert.equal(("%s%s: %s"):format(directory, name, reason), message)
      assert.equal("system", code)
    end
    tool.remove(directory)
  end)

  it("does not read without end", function()
    local directory = tool.folder()
    tool.output("truncate -s 9M " .. tool.quote(directory .. "/large"))
    assert.equal(directory .. "/large: file too large", select(2, inside.read(container(), directory .. "/large")))
    tool.remove(directory)
  end)
end)
