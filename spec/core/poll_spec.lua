local core = require "ctrexec.core"
local support = require "spec.core.support"
local tool = require "tests.lib.tool"

local poll = core.poll

local started, sleeper = support.children_of_test(_ENV)

describe("poll.wait", function ()
  it("is over in time", function ()
    local reader, writer <close> = core.fd.pipe()
    for _, timeout in ipairs { 0, -5, 1, 0.2 } do
      assert.is_false(poll.wait({ { fd = reader, read = true } }, timeout))
    end
    assert.is_false(poll.wait({ { fd = writer } }, 0))
    assert.is_false(poll.wait({}, 0))
  end)

  it("does not return before its time", function ()
    local start = core.clock.now()
    assert.is_false(poll.wait({}, 10.5))
    assert.is_true(core.clock.now() - start >= 0.0105)
  end)

  it("tells what is ready, in order", function ()
    local reader, writer = core.fd.pipe()
    local idle, idle_writer <close> = core.fd.pipe()
    core.fd.write(writer, "x")
    local none = { read = false, write = false, hangup = false, error = false }
    assert.same({
      none, { read = true, write = false, hangup = false, error = false },
      { read = false, write = true, hangup = false, error = false }, none,
    }, poll.wait {
      { fd = idle, read = true }, { fd = reader, read = true, write = false }, { fd = writer:fd(), write = true },
      { fd = idle_writer },
    })
    writer:close()
    assert.same({ { read = true, write = false, hangup = true, error = false } },
      poll.wait { { fd = reader, read = true } })
    core.fd.read(reader, 1)
    assert.same({ { read = false, write = false, hangup = true, error = false } },
      poll.wait { { fd = reader, read = true } })
    idle:close()
    assert.is_true(poll.wait({ { fd = idle_writer } })[1].error)
    assert.is_true(poll.wait({ { fd = 1000, read = true } })[1].error)
  end)

  it("takes more descriptors than fit anywhere", function ()
    local reader, writer <close> = core.fd.pipe()
    local entries = {}
    for i = 1, 500 do
      entries[i] = { fd = reader, read = true }
    end
    core.fd.write(writer, "x")
    local ready = poll.wait(entries)
    assert.equal(500, #ready)
    assert.is_true(ready[1].read and ready[500].read)
  end)

  it("sees a process end", function ()
    local child = sleeper()
    assert.is_false(poll.wait({ { fd = child.pidfd, read = true } }, 0))
    core.pidfd.send_signal(child.pidfd, core.signal.numbers.KILL)
    assert.is_true(poll.wait({ { fd = child.pidfd, read = true } })[1].read)
  end)

  it("returns when a signal handler runs", function ()
    -- The stand-alone interpreter is a host program that handles SIGINT; its handler stops the main coroutine only.
    local program = [[
      local core = require "ctrexec.core"
      io.write("ready\n"):flush()
      coroutine.wrap(function ()
        local ready, message, code = core.poll.wait({}, 15000)
        io.write(tostring(ready), " ", tostring(message), " ", tostring(code), "\n")
      end)()]]
    local child = started(support.lua_command("exec", program) .. " 2>/dev/null")
    assert.equal("ready", child.stdout:read "l")
    tool.eventually(function () return core.process.stat(child.pid).state == "S" end)
    core.pidfd.send_signal(child.pidfd, core.signal.numbers.INT)
    assert.equal("nil poll: Interrupted system call 4", child.stdout:read "l")
  end)

  it("checks its arguments", function ()
    local message = "bad argument #1 to 'wait' %(open descriptor expected in field 'fd'%)"
    local closed = core.fd.pipe()
    closed:close()
    for _, wrong in ipairs { { fd = -1 }, {}, { fd = "0" }, { fd = closed } } do
      assert.error_matches(function () poll.wait { wrong } end, message)
    end
    assert.error_matches(function () poll.wait { 0 } end, "array of tables expected")
    assert.error(function () poll.wait(0) end)
    assert.error(function () poll.wait({}, "soon") end)
  end)
end)
