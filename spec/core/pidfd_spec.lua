local core = require "ctrexec.core"
local support = require "spec.core.support"
local tool = require "tests.lib.tool"

local pidfd, errno = core.pidfd, support.errno

-- Linux 6.15 tells the status of a child that someone else has reaped.
local function keeps_exit_status()
  local major, minor = core.kernel.release():match "^(%d+)%.(%d+)"
  return tonumber(major) > 6 or (tonumber(major) == 6 and tonumber(minor) >= 15)
end

local started, sleeper = support.children_of_test(_ENV)

describe("pidfd.open", function ()
  it("opens a process, close-on-exec", function ()
    local fd <close> = assert(pidfd.open(core.process.ids().pid))
    assert.is_true(core.fd.cloexec(fd))
    assert.equal(core.process.ids().pid, pidfd.pid(fd))
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
    assert.is_true(pidfd.send_signal(child.pidfd, core.signal.numbers.TERM))
    local result = pidfd.wait(child.pidfd)
    assert.equal("killed", result.reason)
    assert.equal(core.signal.numbers.TERM, result.status)
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
      pidfd.send_signal(child.pidfd, core.signal.numbers[name])
      local result = pidfd.wait(child.pidfd)
      assert.equal("killed", result.reason)
      assert.equal(core.signal.numbers[name], result.status)
      support.finish(child)
    end
  end)

  it("tells a core dump from a plain death", function ()
    local pattern <close> = assert(core.file.open "/proc/sys/kernel/core_pattern")
    if core.file.read_all(pattern, 1000):find "^|" then
      return pending "a program collects the core files here"
    end
    local directory = tool.folder()
    finally(function () tool.remove(directory) end)
    local child = support.child(("cd %s; ulimit -c unlimited; kill -QUIT $$"):format(directory))
    local result = pidfd.wait(child.pidfd)
    assert.equal("dumped", result.reason)
    assert.equal(core.signal.numbers.QUIT, result.status)
    support.finish(child)
  end)

  it("does not wait when told so", function ()
    local child = sleeper()
    assert.is_false(pidfd.wait(child.pidfd, { nohang = true }))
    pidfd.send_signal(child.pidfd, core.signal.numbers.KILL)
    core.poll.wait { { fd = child.pidfd, read = true } }
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
    local fd <close> = assert(pidfd.open(core.process.ids().ppid))
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
    local fd <close> = tool.eventually(function () return pidfd.getfd(child.pidfd, 7) end)
    assert.is_true(core.fd.cloexec(fd))
    assert.matches("^Limit", core.file.read_all(fd, 1 << 16))
    assert.same({ nil, "pidfd_getfd 900: Bad file descriptor", errno.EBADF }, { pidfd.getfd(child.pidfd, 900) })
    assert.error_matches(function () pidfd.getfd(child.pidfd, -1) end, "descriptor out of range")
  end)
end)

describe("pidfd.alive", function ()
  it("is true until the process ends, reaped or not", function ()
    local child = sleeper()
    assert.is_true(pidfd.alive(child.pidfd))
    pidfd.send_signal(child.pidfd, core.signal.numbers.KILL)
    core.poll.wait { { fd = child.pidfd, read = true } }
    assert.equal("Z", core.process.stat(child.pid).state)
    assert.is_false(pidfd.alive(child.pidfd))
    pidfd.wait(child.pidfd)
    assert.is_false(pidfd.alive(child.pidfd))
  end)

  it("refuses what is not open", function ()
    assert.same({ nil, "poll pidfd 1000: Bad file descriptor", errno.EBADF }, { pidfd.alive(1000) })
  end)
end)

describe("pidfd.pid", function ()
  it("is the process until it is reaped", function ()
    local child = sleeper()
    assert.equal(child.pid, pidfd.pid(child.pidfd))
    pidfd.send_signal(child.pidfd, core.signal.numbers.KILL)
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
