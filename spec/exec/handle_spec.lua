-- What a process handle does with what belongs to its command: gate, recording, tree, terminal, streams. Waiting and
-- signals are in start_spec.lua, with commands that ctrexec has started.
local core = require "ctrexec.core"
local exec = require "spec.exec.support"
local handles = require "ctrexec.exec.handle"
local launch = require "ctrexec.exec.launch"
local new_pty = require "tests.lib.pty"
local support = require "spec.core.support"
local tool = require "tests.lib.tool"

local SIGNALS = core.signal.numbers

-- A double: what is called of it goes into `log` as "NAME METHOD", with its arguments. `results` are what its methods
-- return, by name.
local function double(log, name, results)
  return setmetatable({}, { __index = function(_, method)
    if results[method] == nil then return nil end
    return function(_, ...)
      log[#log + 1] = { name .. " " .. method, ... }
      local result = results[method]
      if type(result) == "table" then return table.unpack(result) end
      return result
    end
  end })
end

local GATE = { started = true, failed = true, ended = true, leaving = true, left = true }

local function names_of(log)
  local names = {}
  for index, entry in ipairs(log) do names[index] = entry[1] end
  return names
end

-- A handle on a child, with doubles that note what is called of them; `fields` are the handle's.
local function handle_on(command, fields)
  local child = support.child("exec " .. command)
  local log = {}
  local handle = handles.new({ pid = child.pid, pidfd = child.pidfd, plan = { tree = fields and fields.tree } }, {})
  for name, value in pairs(fields or {}) do handle[name] = value end
  handle.gate = double(log, "gate", GATE)
  handle.warnings = {}
  return handle, log, child
end

-- Ends a child whose handle may have been closed.
local function end_child(child)
  local fd <close> = core.pidfd.open(child.pid)
  if fd then core.pidfd.send_signal(fd, SIGNALS.KILL) end
  child.stdout:close()
end

describe("a new handle", function()
  it("has what was started, and the streams that are ours", function()
    local child <const> = support.sleeper()
    local reader, writer = core.fd.pipe()
    local tree = {}
    local handle = handles.new({ pid = child.pid, pidfd = child.pidfd, plan = { tree = tree } }, { stdout = reader,
      stdin = writer })
    assert.equal(child.pid, handle.pid)
    assert.equal(child.pidfd:fd(), handle:fd())
    assert.equal(reader, handle.stdout)
    assert.equal(writer, handle.stdin)
    assert.is_nil(handle.stderr)
    assert.equal(tree, handle.tree)
    assert.is_false(handle:is_waiting())
    handle.tree = nil
    handle:kill "KILL"
    handle:wait()
    handle:close()
    assert.same({ -1, -1, -1 }, { reader:fd(), writer:fd(), child.pidfd:fd() })
    child.stdout:close()
  end)
end)

describe("the gate of a command", function()
  it("is told its end, once", function()
    local handle, log, child = handle_on "sh -c 'exit 3'"
    local status = assert(handle:wait())
    assert.equal(3, status.code)
    handle:wait()
    handle:close()
    assert.same({ "gate ended" }, names_of(log))
    assert.equal(status, log[1][2])
    child.stdout:close()
  end)

  it("is told an end that nobody has waited for, and no zombie is left", function()
    local handle, log, child = handle_on "true"
    tool.await_readable(handle.pidfd, "the end of the command")
    handle:close()
    assert.same({ "gate ended" }, names_of(log))
    assert.equal(0, log[1][2].code)
    assert.is_nil(core.process.stat(child.pid))
    child.stdout:close()
  end)

  it("is told that the command runs on, with a pidfd that is open", function()
    local handle, log, child = handle_on(support.sleep)
    local open
    handle.gate.left = function(_, pidfd)
      log[#log + 1] = { "gate left" }
      open = core.pidfd.alive(pidfd)
    end
    handle:close()
    handle:close()
    assert.same({ "gate left" }, names_of(log))
    assert.is_true(open)
    assert.is_true(core.pidfd.alive(assert(core.pidfd.open(child.pid))))
    end_child(child)
  end)

  it("is asked before the handle lets go of the command's tree", function()
    local handle, log, child = handle_on "true"
    handle.tree = double(log, "tree", { close = true })
    handle:wait()
    handle:close()
    assert.same({ "gate ended", "gate leaving", "tree close" }, names_of(log))
    assert.equal(handle, log[2][2])
    child.stdout:close()
  end)
end)

describe("a prepared command", function()
  local function prepared(args, gate)
    local spec, log = { stdin = "null", stdout = "pipe" }, {}
    local handle = assert(launch.run(exec.container(), spec, exec.object(args), true, {}))
    handle.gate = double(log, "gate", gate or GATE)
    handle.recording = double(log, "recording", { discard = true, finish = true })
    handle.warnings = {}
    return handle, log
  end

  it("is the gate's once it was started: what that says is the answer", function()
    for _, answer in ipairs { { true }, { nil, "not kept", "system", n = 3 } } do
      local handle <close>, log = prepared({ "true" }, { started = answer, ended = true, leaving = true })
      assert.same(answer[1] and { true } or { nil, "not kept", "system" }, { handle:start() })
      assert.same({ "gate started" }, names_of(log))
      assert.equal(handle, log[1][2])
      handle:wait()
    end
  end)

  it("that cannot be started has failed for the gate", function()
    local handle <close>, log = prepared { "/no/such/program" }
    local ok, message, code = handle:start()
    assert.is_nil(ok)
    assert.equal("not_found", code)
    assert.same({ { "gate failed", message } }, log)
    assert.error_matches(function() handle:fd() end, "the process handle is closed$")
  end)

  it("that is closed has failed too, and nothing is left of its recording", function()
    local handle, log = prepared { "sleep", "300" }
    local pid = handle.pid
    handle:close()
    assert.same({ "recording discard", "gate failed", "recording finish" }, names_of(log))
    assert.equal("the command was prepared and not started", log[2][2])
    assert.is_nil(core.process.stat(pid))
  end)
end)

describe("the recording of a command", function()
  it("is finished when the handle is closed", function()
    local handle, log, child = handle_on "true"
    handle.recording = double(log, "recording", { finish = true })
    handle:wait()
    handle:close()
    assert.same({ "gate ended", "recording finish" }, names_of(log))
    assert.equal(handle.warnings, log[2][2])
    child.stdout:close()
  end)
end)

describe("the terminal of a command", function()
  it("gets a size, which the recording is told", function()
    local pty <close> = new_pty(24, 80)
    local handle <close>, log, child = handle_on "true"
    handle.terminal = core.fd.dup(pty.master)
    handle.recording = double(log, "recording", { finish = true })
    handle.recording.core = double(log, "recorder", { resize = true })
    assert.is_true(handle:resize(5, 7))
    assert.same({ 5, 7 }, { core.terminal.size(pty.slave) })
    assert.same({ { "recorder resize", 5, 7 } }, log)
    handle:wait()
    child.stdout:close()
  end)

  it("says why it gets none", function()
    local handle <close>, _, child = handle_on "true"
    handle.terminal = assert(core.file.open "/dev/null")
    local ok, message, code = handle:resize(5, 7)
    assert.is_nil(ok)
    assert.is_string(message)
    assert.equal("system", code)
    handle:wait()
    child.stdout:close()
  end)
end)

describe("the tree of a command", function()
  it("is killed, or sent any signal, with the command", function()
    local handle <close>, log, child = handle_on(support.sleep)
    handle.tree = double(log, "tree", { kill = true, signal = true, close = true })
    assert.is_true(handle:kill { tree = true })
    assert.is_true(handle:kill { tree = true, signal = "KILL" })
    assert.is_true(handle:kill { tree = true, signal = "SIGTERM" })
    assert.same({ { "tree kill", handle.pidfd }, { "tree kill", handle.pidfd },
      { "tree signal", handle.pidfd, SIGNALS.TERM } }, log)
    assert.is_true(handle:kill { signal = "KILL" })
    assert.equal(3, #log)
    assert.equal(SIGNALS.KILL, handle:wait().signal)
    child.stdout:close()
  end)

  it("is swept: killed unless it is empty when the grace is over", function()
    for _, empty in ipairs { true, false } do
      local handle <close>, log, child = handle_on "true"
      handle:wait()
      handle.tree = double(log, "tree", { wait_until_empty = empty, kill = true, close = true })
      local now = core.clock.now()
      handle:sweep(1000)
      handle:sweep()
      assert.same(empty and { "gate ended", "tree wait_until_empty", "tree wait_until_empty" }
        or { "gate ended", "tree wait_until_empty", "tree kill", "tree wait_until_empty", "tree kill" }, names_of(log))
      local asked = {}
      for _, entry in ipairs(log) do
        if entry[1] == "tree wait_until_empty" then asked[#asked + 1] = entry[2] - now end
      end
      assert.is_true(asked[1] >= 1000)
      assert.is_true(asked[2] >= 0 and asked[2] < 1000)
      child.stdout:close()
    end
  end)

  it("is none where the spec wanted none: there is nothing to sweep", function()
    local handle <close>, log, child = handle_on "true"
    handle:wait()
    handle:sweep(0)
    assert.same({ "gate ended" }, names_of(log))
    for _, time in ipairs { -1, "1", 0 / 0 } do
      assert.error_matches(function() handle:sweep(time) end, "grace: expected a number of seconds, got ")
    end
    child.stdout:close()
  end)
end)

describe("a command that somebody else has reaped", function()
  it("has its status still where the kernel keeps it, else the handle says why not", function()
    local handle <close>, _, child = handle_on "sh -c 'exit 7'"
    child.stdout:close()
    local status, message, code = handle:wait()
    if status then
      assert.equal(7, status.code)
    else
      assert.matches("^the exit status is lost: ", message)
      assert.equal("system", code)
    end
  end)
end)
