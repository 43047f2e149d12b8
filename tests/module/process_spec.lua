local containers = require "tests.lib.containers"
local core = require "ctrexec.core"
local ctrexec = require "ctrexec"
local support = require "tests.module.support"
local tool = require "tests.lib.tool"

local ct, container
local check = containers.suite(_ENV, function (made) ct, container = made, made:open() end)

-- Whether a process has made the file: it runs in the container, the test looks from outside.
local function exists(path)
  return core.file.stat(ct.rootfs .. path) ~= nil
end

describe("container:spawn", function ()
  check("gives a handle on the running command", function ()
    local process <close> = assert(container:spawn { "cat", stdin = "pipe", stdout = "pipe" })
    assert.equal(core.process.ids().pid, core.process.stat(process.pid).ppid)
    assert.equal(process.pid, core.pidfd.pid(process:fd()))
    assert.is_false(process:wait(0))
    assert.is_false(process:wait(0.02))
    core.fd.write(process.stdin, "hello")
    process.stdin:close()
    assert.equal("hello", tool.read_all(process.stdout))
    assert.equal(0, process:wait(20).code)
  end)

  check("gives the same status again", function ()
    local process <close> = assert(container:spawn { "sh", "-c", "exit 9" })
    local status = process:wait()
    assert.equal(9, status.code)
    assert.equal(status, process:wait())
    assert.equal(status, process:wait(0))
  end)

  check("sends signals by name, by number, TERM by default", function ()
    for signal, number in pairs { TERM = 15, SIGUSR1 = 10, [1] = 1 } do
      local process <close> = assert(container:spawn { "sleep", "1000" })
      assert.is_true(process:kill(signal))
      assert.equal(number, process:wait(20).signal)
    end
    local process <close> = assert(container:spawn { "sleep", "1000" })
    assert(process:kill())
    assert.equal(128 + 15, process:wait(20).code)
  end)

  check("ends the whole tree", function ()
    local process <close> = assert(container:spawn { "sh", "-c", "setsid sleep 1000 & sleep 1000", tree = true })
    tool.eventually(function () return #containers.inside(ct) == 2 end, "two processes")
    assert(process:kill { tree = true })
    assert.equal(9, process:wait(20).signal)
    process:close()
    assert.same({}, containers.inside(ct))
    assert.same({}, containers.leaves(ct))
  end)

  check("ends what was left behind, after a grace", function ()
    local process <close> = assert(container:spawn { "sh", "-c", "sleep 1000 &", tree = true })
    assert(process:wait(20))
    assert.equal(1, #containers.inside(ct))
    process:sweep(0.01)
    process:close()
    assert.same({}, containers.inside(ct))
  end)

  check("keeps what was left behind otherwise, in the container's cgroup", function ()
    local process = assert(container:spawn { "sh", "-c", "sleep 1000 &", tree = true })
    assert(process:wait(20))
    assert.is_true(#containers.leaves(ct) > 0)
    process:close()
    assert.equal(1, #containers.inside(ct))
    assert.same({}, containers.leaves(ct))
    containers.clear(ct)
  end)

  check("resizes the command's terminal", function ()
    local process <close> = assert(container:spawn { "sh", "-c", "read line; stty size", terminal = true })
    assert(process:resize(30, 70))
    core.fd.write(process.terminal, "go\n")
    local output = ""
    tool.eventually(function ()
      output = output .. (core.fd.read(process.terminal, 100) or "")
      return output:find "30 70"
    end, "the new size")
    process:kill "KILL"
    process:wait()
  end)

  check("leaves no zombie of a command that has ended and was not waited for", function ()
    local children = #tool.children()
    local process = assert(container:spawn { "true" })
    assert(core.poll.wait({ { fd = process:fd(), read = true } }, 20000))
    process:close()
    assert.equal(children, #tool.children())
  end)

  check("closes by garbage collection too", function ()
    collectgarbage()
    local before = support.descriptors()
    assert(container:spawn { "true", stdin = "pipe", stdout = "pipe", stderr = "pipe", tree = true }):wait()
    collectgarbage()
    collectgarbage()
    assert.equal(before, support.descriptors())
    assert.same({}, containers.leaves(ct))
  end)
end)

describe("container:prepare", function ()
  check("brings the command in and starts it when told", function ()
    local process <close> = assert(container:prepare { "touch", "/work/started" })
    assert.equal("ctrexec:[enter]", core.process.stat(process.pid).comm)
    local cgroup
    for _, entry in ipairs(core.cgroup.of(process.pid)) do cgroup = entry.hierarchy == 0 and entry.path or cgroup end
    assert.matches("/ctrexec%-fixture", cgroup)
    assert.is_false(process:wait(0.05))
    assert.is_false(exists "/work/started")
    assert.is_true(process:start())
    assert.equal(0, process:wait(20).code)
    assert.is_true(exists "/work/started")
  end)

  check("starts once", function ()
    local process <close> = assert(container:prepare { "true" })
    assert(process:start())
    local ok, message, code = process:start()
    assert.same({ nil, "the command was already started", "invalid" }, { ok, message, code })
    process:wait()
  end)

  check("tells at the start what could not be executed", function ()
    local children = #tool.children()
    local process <close> = assert(container:prepare { "no-such-program" })
    local ok, _, code = process:start()
    assert.is_nil(ok)
    assert.equal("not_found", code)
    assert.equal(children, #tool.children())
  end)

  check("ends a command that is not started", function ()
    local children, descriptors = #tool.children(), support.descriptors()
    local process = assert(container:prepare { "true", stdout = "pipe" })
    process:close()
    process:close()
    assert.equal(children, #tool.children())
    assert.equal(descriptors, support.descriptors())
    assert.same({}, containers.inside(ct))
  end)
end)

describe("a container", function ()
  check("lists its processes, also those in cgroups below its own", function ()
    local process <close> = assert(container:spawn { "sleep", "4321" })
    local deeper <close> = assert(container:spawn { "sleep", "1234", tree = true })
    tool.eventually(function () return core.process.stat(process.pid).state == "S" end, "a sleeping command")
    local entries = assert(container:ps())
    local by_pid = {}
    for index, entry in ipairs(entries) do
      by_pid[entry.pid] = entry
      assert.is_true(index == 1 or entries[index - 1].pid < entry.pid)
    end
    assert.equal(3, #entries)
    assert.same({ pid = process.pid, ppid = core.process.ids().pid, command = "sleep", args = { "sleep", "4321" },
      state = "S", start_time = core.process.stat(process.pid).start_time }, by_pid[process.pid])
    assert.same({ "sleep", "1234" }, by_pid[deeper.pid].args)
    assert.equal("sleep", by_pid[container.container.pid].command)
    for _, handle in ipairs { process, deeper } do
      handle:kill "KILL"
      handle:wait()
    end
    assert.equal(1, #container:ps())
  end)

  check("lists its processes when it was opened by a pid", function ()
    local by_pid <close> = assert(ctrexec.open(nil, { pid = container.container.pid }))
    local process <close> = assert(by_pid:spawn { "sleep", "4321" })
    local entries = assert(by_pid:ps())
    assert.equal(2, #entries)
    assert.equal(process.pid, entries[2].pid)
    process:kill "KILL"
    process:wait()
  end)

  check("cannot list the processes of a pid that shares our namespace", function ()
    local child <close> = assert(io.popen "echo $$; exec sleep 20")
    local neighbour <close> = assert(ctrexec.open(nil, { pid = math.tointeger(tonumber(child:read "l")) }))
    local entries, _, code = neighbour:ps()
    core.pidfd.send_signal(neighbour.container.pidfd, core.signal.numbers.KILL)
    assert.is_nil(entries)
    assert.equal("unsupported", code)
  end)

  check("is opened by the beginning of its id, and found in the list", function ()
    local records = assert(ctrexec.list { root = ct.root })
    assert.equal(1, #records)
    assert.equal("ct", records[1].id)
    assert.equal("running", records[1].status)
    records[1]:close()
  end)

  check("tells its status as it is now", function ()
    assert.equal("running", container:status())
    local other = support.container()
    local handle = other:open()
    assert(other:run_runtime("kill", "KILL"))
    assert.equal("stopped", tool.eventually(function ()
      return handle:status() == "stopped" and "stopped"
    end, "the end of the container"))
    local entries, _, code = handle:ps()
    assert.is_nil(entries)
    assert.equal("stopped", code)
    assert(other:remove())
  end)

  check("closes itself and everything it opened", function ()
    collectgarbage()
    local before = support.descriptors()
    do
      local opened <close> = assert(ctrexec.open("ct", { root = ct.root }))
      assert(opened:exec { "true" })
    end
    assert.equal(before, support.descriptors())
    assert(ctrexec.open("ct", { root = ct.root }))
    collectgarbage()
    collectgarbage()
    assert.equal(before, support.descriptors())
  end)
end)
