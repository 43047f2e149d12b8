local core = require "ctrexec.core"
local support = require "spec.core.support"

local pidfd, errno = core.pidfd, support.errno

-- Linux 6.15 tells the status of a child that someone else has reaped.
local function keeps_exit_status()
  local major, minor = pidfd.kernel():match "^(%d+)%.(%d+)"
  return tonumber(major) > 6 or (tonumber(major) == 6 and tonumber(minor) >= 15)
end

local function started(command)
  local child = support.child(command)
  finally(function () support.finish(child) end)
  return child
end

local function sleeper()
  local child = support.sleeper()
  finally(function () support.finish(child) end)
  return child
end

describe("pidfd.open", function ()
  it("opens a process, close-on-exec", function ()
    local fd <close> = assert(pidfd.open(pidfd.ids().pid))
    assert.is_true(core.fd.cloexec(fd))
    assert.equal(pidfd.ids().pid, pidfd.pid(fd))
  end)

  it("finds no process for a number that is no pid", function ()
    for _, pid in ipairs { 0, -1, 1 << 31, (1 << 32) + 1, math.maxinteger } do
      assert.same({ nil, "pidfd_open: No such process", errno.ESRCH }, { pidfd.open(pid) })
    end
    local child = started "exit 0"
    pidfd.wait(child.pidfd)
    assert.same({ nil, ("pidfd_open %d: No such process"):format(child.pid), errno.ESRCH }, { pidfd.open(child.pid) })
    assert.error(function () pidfd.open("1x") end)
  end)
end)

describe("pidfd.send_signal", function ()
  it("signals the process", function ()
    local child = sleeper()
    assert.is_true(pidfd.send_signal(child.pidfd, 0))
    assert.is_true(pidfd.send_signal(child.pidfd, pidfd.signals.TERM))
    local result = pidfd.wait(child.pidfd)
    assert.equal("killed", result.reason)
    assert.equal(pidfd.signals.TERM, result.status)
    assert.same({ nil, "send signal 0: No such process", errno.ESRCH }, { pidfd.send_signal(child.pidfd, 0) })
  end)

  it("refuses what is no signal and what is no pidfd", function ()
    for _, number in ipairs { -1, 65, 1 << 32 } do
      assert.error_matches(function () pidfd.send_signal(0, number) end, "signal out of range")
    end
    assert.equal(errno.EBADF, select(3, pidfd.send_signal(1000, 0)))
  end)
end)

describe("pidfd.wait", function ()
  it("gives the exit status and what the child used", function ()
    for _, status in ipairs { 0, 1, 127, 255 } do
      local child = support.child("exit " .. status)
      local result = assert(pidfd.wait(child.pidfd))
      assert.equal("exited", result.reason)
      assert.equal(status, result.status)
      assert.equal("float", math.type(result.utime))
      assert.equal("float", math.type(result.stime))
      assert.is_true(result.maxrss > 100)
      support.finish(child)
    end
  end)

  it("counts the processor time of the child", function ()
    local child = started "i=0; while [ $i -lt 100000 ]; do i=$((i + 1)); done"
    assert.is_true(pidfd.wait(child.pidfd).utime > 0)
  end)

  it("gives the signal", function ()
    for _, name in ipairs { "KILL", "USR1", "RTMAX" } do
      local child = support.sleeper()
      pidfd.send_signal(child.pidfd, pidfd.signals[name])
      local result = pidfd.wait(child.pidfd)
      assert.equal("killed", result.reason)
      assert.equal(pidfd.signals[name], result.status)
      support.finish(child)
    end
  end)

  it("tells a core dump from a plain death", function ()
    local pattern <close> = assert(core.file.open "/proc/sys/kernel/core_pattern")
    if core.file.read_all(pattern, 1000):find "^|" then
      return pending "a program collects the core files here"
    end
    local directory, remove = support.directory()
    finally(remove)
    local child = support.child(("cd %s; ulimit -c unlimited; kill -QUIT $$"):format(directory))
    local result = pidfd.wait(child.pidfd)
    assert.equal("dumped", result.reason)
    assert.equal(pidfd.signals.QUIT, result.status)
    support.finish(child)
  end)

  it("does not wait when told so", function ()
    local child = sleeper()
    assert.is_false(pidfd.wait(child.pidfd, { nohang = true }))
    pidfd.send_signal(child.pidfd, pidfd.signals.KILL)
    pidfd.poll { { fd = child.pidfd, read = true } }
    assert.equal("killed", pidfd.wait(child.pidfd, { nohang = true }).reason)
  end)

  it("waits with nohang unset", function ()
    local child = started "exit 3"
    assert.equal(3, pidfd.wait(child.pidfd, { nohang = false }).status)
  end)

  it("still tells the status of a child that the host program has reaped, where the kernel keeps it", function ()
    for command, result in pairs {
      ["exit 42"] = { reason = "exited", status = 42 }, ["kill -TERM $$"] = { reason = "killed", status = 15 },
    } do
      local child = support.child(command)
      child.stdout:close()
      local expected = keeps_exit_status() and { result } or { nil, "wait: No child processes", errno.ECHILD }
      assert.same(expected, { pidfd.wait(child.pidfd) })
      assert.same(expected, { pidfd.wait(child.pidfd, { nohang = true }) })
    end
  end)

  it("refuses a running process that is not our child, at once", function ()
    local fd <close> = assert(pidfd.open(pidfd.ids().ppid))
    assert.same({ nil, "wait: No child processes", errno.ECHILD }, { pidfd.wait(fd) })
    assert.same({ nil, "wait: No child processes", errno.ECHILD }, { pidfd.wait(fd, { nohang = true }) })
  end)

  it("refuses what is no pidfd", function ()
    local reader <close> = core.fd.pipe()
    assert.is_nil((pidfd.wait(reader)))
    assert.error(function () pidfd.wait(reader, "nohang") end)
  end)
end)

describe("pidfd.getfd", function ()
  it("copies a descriptor of another process", function ()
    local child = started("exec 7</proc/self/limits; exec " .. support.sleep)
    local fd <close> = support.eventually(function () return pidfd.getfd(child.pidfd, 7) end)
    assert.is_true(core.fd.cloexec(fd))
    assert.matches("^Limit", core.file.read_all(fd, 1 << 16))
    assert.same({ nil, "pidfd_getfd 900: Bad file descriptor", errno.EBADF }, { pidfd.getfd(child.pidfd, 900) })
    assert.error_matches(function () pidfd.getfd(child.pidfd, -1) end, "descriptor out of range")
  end)
end)

describe("pidfd.poll", function ()
  it("is over in time", function ()
    local reader, writer <close> = core.fd.pipe()
    for _, timeout in ipairs { 0, -5, 1, 0.2 } do
      assert.is_false(pidfd.poll({ { fd = reader, read = true } }, timeout))
    end
    assert.is_false(pidfd.poll({ { fd = writer } }, 0))
    assert.is_false(pidfd.poll({}, 0))
  end)

  it("does not return before its time", function ()
    local start = pidfd.clock()
    assert.is_false(pidfd.poll({}, 10.5))
    assert.is_true(pidfd.clock() - start >= 0.0105)
  end)

  it("tells what is ready, in order", function ()
    local reader, writer = core.fd.pipe()
    local idle, idle_writer <close> = core.fd.pipe()
    core.fd.write(writer, "x")
    local none = { read = false, write = false, hangup = false, error = false }
    assert.same({
      none, { read = true, write = false, hangup = false, error = false },
      { read = false, write = true, hangup = false, error = false }, none,
    }, pidfd.poll {
      { fd = idle, read = true }, { fd = reader, read = true, write = false }, { fd = writer:fd(), write = true },
      { fd = idle_writer },
    })
    writer:close()
    assert.same({ { read = true, write = false, hangup = true, error = false } },
      pidfd.poll { { fd = reader, read = true } })
    core.fd.read(reader, 1)
    assert.same({ { read = false, write = false, hangup = true, error = false } },
      pidfd.poll { { fd = reader, read = true } })
    idle:close()
    assert.is_true(pidfd.poll({ { fd = idle_writer } })[1].error)
    assert.is_true(pidfd.poll({ { fd = 1000, read = true } })[1].error)
  end)

  it("takes more descriptors than fit anywhere", function ()
    local reader, writer <close> = core.fd.pipe()
    local entries = {}
    for i = 1, 500 do
      entries[i] = { fd = reader, read = true }
    end
    core.fd.write(writer, "x")
    local ready = pidfd.poll(entries)
    assert.equal(500, #ready)
    assert.is_true(ready[1].read and ready[500].read)
  end)

  it("sees a process end", function ()
    local child = sleeper()
    assert.is_false(pidfd.poll({ { fd = child.pidfd, read = true } }, 0))
    pidfd.send_signal(child.pidfd, pidfd.signals.KILL)
    assert.is_true(pidfd.poll({ { fd = child.pidfd, read = true } })[1].read)
  end)

  it("returns when a signal handler runs", function ()
    -- The stand-alone interpreter is a host program that handles SIGINT; its handler stops the main coroutine only.
    local program = [[
      local pidfd = require "ctrexec.core".pidfd
      io.write("ready\n"):flush()
      coroutine.wrap(function ()
        local ready, message, code = pidfd.poll({}, 15000)
        io.write(tostring(ready), " ", tostring(message), " ", tostring(code), "\n")
      end)()]]
    local child = started(support.lua_command("exec", program) .. " 2>/dev/null")
    assert.equal("ready", child.stdout:read "l")
    support.eventually(function () return pidfd.stat(child.pid).state == "S" end)
    pidfd.send_signal(child.pidfd, pidfd.signals.INT)
    assert.equal("nil poll: Interrupted system call 4", child.stdout:read "l")
  end)

  it("checks its arguments", function ()
    local message = "bad argument #1 to 'poll' %(open descriptor expected in field 'fd'%)"
    local closed = core.fd.pipe()
    closed:close()
    for _, wrong in ipairs { { fd = -1 }, {}, { fd = "0" }, { fd = closed } } do
      assert.error_matches(function () pidfd.poll { wrong } end, message)
    end
    assert.error_matches(function () pidfd.poll { 0 } end, "array of tables expected")
    assert.error(function () pidfd.poll(0) end)
    assert.error(function () pidfd.poll({}, "soon") end)
  end)
end)

describe("pidfd.alive", function ()
  it("is true until the process ends, reaped or not", function ()
    local child = sleeper()
    assert.is_true(pidfd.alive(child.pidfd))
    pidfd.send_signal(child.pidfd, pidfd.signals.KILL)
    pidfd.poll { { fd = child.pidfd, read = true } }
    assert.equal("Z", pidfd.stat(child.pid).state)
    assert.is_false(pidfd.alive(child.pidfd))
    pidfd.wait(child.pidfd)
    assert.is_false(pidfd.alive(child.pidfd))
  end)

  it("refuses what is not open", function ()
    assert.same({ nil, "poll pidfd 1000: Bad file descriptor", errno.EBADF }, { pidfd.alive(1000) })
  end)
end)

describe("pidfd.stat", function ()
  it("tells what ps tells", function ()
    local child = sleeper()
    support.eventually(function () return pidfd.stat(child.pid).state == "S" end)
    local stat = assert(pidfd.stat(child.pid))
    local own = pidfd.ids()
    assert.equal("sleep", stat.comm)
    assert.equal(own.pid, stat.ppid)
    assert.equal(own.session, stat.session)
    assert.equal(pidfd.stat(own.pid).pgrp, stat.pgrp)
    assert.equal(pidfd.stat(own.pid).tty, stat.tty)
    local fields = support.output(("cat /proc/%d/stat"):format(child.pid)):match "%) (.*)"
    local start = select(20, fields:match(("(%S+) "):rep(20)))
    assert.equal(math.tointeger(tonumber(start)), stat.start_time)
    assert.is_true(stat.start_time >= pidfd.stat(own.pid).start_time)
  end)

  it("is not misled by a command name", function ()
    for _, name in ipairs { "a) R 1 1 (", ")", "(", "() (", "x\ny) Z 0", " ", "1 2 3 4 5 6 7" } do
      local child = support.child(("printf %%s %s >/proc/$$/comm; kill -STOP $$"):format(support.quote(name)))
      support.eventually(function () return pidfd.stat(child.pid).state == "T" end)
      local stat = assert(pidfd.stat(child.pid))
      assert.equal(name, stat.comm)
      assert.equal(pidfd.ids().pid, stat.ppid)
      support.finish(child)
    end
  end)

  it("says that there is no such process", function ()
    local child = started "exit 0"
    support.eventually(function () return pidfd.stat(child.pid).state == "Z" end)
    pidfd.wait(child.pidfd)
    assert.same({ nil, ("process %d: No such process"):format(child.pid), errno.ESRCH }, { pidfd.stat(child.pid) })
    for _, pid in ipairs { 0, -1, 1 << 31, (1 << 32) + 1 } do
      assert.equal(errno.ESRCH, select(3, pidfd.stat(pid)))
    end
  end)
end)

describe("pidfd.pid", function ()
  it("is the process until it is reaped", function ()
    local child = sleeper()
    assert.equal(child.pid, pidfd.pid(child.pidfd))
    pidfd.send_signal(child.pidfd, pidfd.signals.KILL)
    pidfd.wait(child.pidfd)
    assert.same({ nil, ("pidfd %d: No such process"):format(child.pidfd:fd()), errno.ESRCH },
      { pidfd.pid(child.pidfd) })
  end)

  it("refuses what is no pidfd and what is not open", function ()
    local reader <close> = core.fd.pipe()
    assert.same({ nil, ("pidfd %d: Invalid argument"):format(reader:fd()), errno.EINVAL }, { pidfd.pid(reader) })
    assert.equal(errno.EBADF, select(3, pidfd.pid(1000)))
  end)
end)

describe("signal names", function ()
  it("are those of the shell, both ways", function ()
    for number = 1, 31 do
      local name = support.output(("bash -c 'kill -l %d'"):format(number)):gsub("\n", "")
      assert.equal(name, pidfd.signal_name(number))
      assert.equal(number, pidfd.signals[name])
    end
    assert.equal(34, pidfd.signals.RTMIN)
    assert.equal(64, pidfd.signals.RTMAX)
  end)

  it("include the other names in use", function ()
    assert.equal(pidfd.signals.CHLD, pidfd.signals.CLD)
    assert.equal(pidfd.signals.ABRT, pidfd.signals.IOT)
    assert.equal(pidfd.signals.IO, pidfd.signals.POLL)
  end)

  it("are nil for what has none", function ()
    for _, number in ipairs { 0, -1, 32, 65, 1 << 40 } do
      assert.is_nil(pidfd.signal_name(number))
    end
  end)
end)

describe("the process itself", function ()
  it("knows who it is", function ()
    local program = [[
      local ids = require "ctrexec.core".pidfd.ids()
      for _, name in ipairs { "pid", "ppid", "uid", "euid", "gid", "egid", "session" } do
        io.write(ids[name], " ")
      end]]
    local line = support.lua("echo $$; exec setsid", program)
    local pid = line:match "^(%d+)\n"
    assert.equal(("%s %d %s %s %s %s %s "):format(pid, pidfd.ids().pid, support.output("id -ru"):gsub("\n", ""),
      support.output("id -u"):gsub("\n", ""), support.output("id -rg"):gsub("\n", ""),
      support.output("id -g"):gsub("\n", ""), pid), line:match "\n(.*)")
  end)

  it("knows its login uid, if it has one", function ()
    local program = [[io.write(tostring(require "ctrexec.core".pidfd.ids().login_uid))]]
    local fd <close> = core.file.open "/proc/self/loginuid"
    if not fd then
      assert.is_nil(pidfd.ids().login_uid)
      return pending "the kernel has no audit"
    end
    local text = core.file.read_all(fd, 100)
    assert.equal(text == "4294967295" and "nil" or text, support.lua("", program))
    if not os.execute "(echo 1234 >/proc/self/loginuid) 2>/dev/null" then
      return pending "the login uid may not be set here"
    end
    assert.equal("1234", support.lua("echo 1234 >/proc/self/loginuid;", program))
  end)

  it("has a clock that does not go back", function ()
    local first = pidfd.clock()
    local uptime = tonumber(support.output("cat /proc/uptime"):match "%S+")
    local second = pidfd.clock()
    assert.is_true(first <= second)
    assert.equal("float", math.type(first))
    -- /proc/uptime counts suspended time too, in hundredths.
    assert.is_true(first <= uptime + 0.02)
  end)

  it("knows its kernel", function ()
    assert.equal(support.output("uname -r"):gsub("\n", ""), pidfd.kernel() .. "")
  end)
end)
