local core = require "ctrexec.core"
local support = require "spec.core.support"
local tool = require "tests.lib.tool"

local process, errno = core.process, core.errno

local started, sleeper = support.children_of_test(_ENV)

describe("process.stat", function ()
  it("tells what ps tells", function ()
    local child = sleeper()
    tool.eventually(function () return process.stat(child.pid).state == "S" end)
    local stat = assert(process.stat(child.pid))
    local own = process.ids()
    assert.equal("sleep", stat.comm)
    assert.equal(own.pid, stat.ppid)
    assert.equal(own.session, stat.session)
    assert.equal(process.stat(own.pid).pgrp, stat.pgrp)
    assert.equal(process.stat(own.pid).tty, stat.tty)
    local fields = tool.output(("cat /proc/%d/stat"):format(child.pid)):match "%) (.*)"
    local start = select(20, fields:match(("(%S+) "):rep(20)))
    assert.equal(math.tointeger(tonumber(start)), stat.start_time)
    assert.is_true(stat.start_time >= process.stat(own.pid).start_time)
  end)

  it("is not misled by a command name", function ()
    for _, name in ipairs { "a) R 1 1 (", ")", "(", "() (", "x\ny) Z 0", " ", "1 2 3 4 5 6 7" } do
      local child = support.child(("printf %%s %s >/proc/$$/comm; kill -STOP $$"):format(tool.quote(name)))
      tool.eventually(function () return process.stat(child.pid).state == "T" end)
      local stat = assert(process.stat(child.pid))
      assert.equal(name, stat.comm)
      assert.equal(process.ids().pid, stat.ppid)
      support.finish(child)
    end
  end)

  it("says that there is no such process", function ()
    local child = started "exit 0"
    tool.eventually(function () return process.stat(child.pid).state == "Z" end)
    core.pidfd.wait(child.pidfd)
    assert.same({ nil, ("process %d: No such process"):format(child.pid), errno.ESRCH },
      { process.stat(child.pid) })
    for _, pid in ipairs { 0, -1, 1 << 31, (1 << 32) + 1 } do
      assert.equal(errno.ESRCH, select(3, process.stat(pid)))
    end
  end)
end)

describe("process.ids", function ()
  it("knows who it is", function ()
    local program = [[
      local ids = require "ctrexec.core".process.ids()
      for _, name in ipairs { "pid", "ppid", "uid", "euid", "gid", "egid", "session" } do
        io.write(ids[name], " ")
      end]]
    local line = support.lua("echo $$; exec setsid", program)
    local pid = line:match "^(%d+)\n"
    assert.equal(("%s %d %s %s %s %s %s "):format(pid, process.ids().pid, tool.output("id -ru"):gsub("\n", ""),
      tool.output("id -u"):gsub("\n", ""), tool.output("id -rg"):gsub("\n", ""),
      tool.output("id -g"):gsub("\n", ""), pid), line:match "\n(.*)")
  end)

  it("knows its login uid, if it has one", function ()
    local program = [[io.write(tostring(require "ctrexec.core".process.ids().login_uid))]]
    local fd <close> = core.file.open "/proc/self/loginuid"
    if not fd then
      assert.is_nil(process.ids().login_uid)
      return pending "the kernel has no audit"
    end
    local text = core.file.read_all(fd, 100)
    assert.equal(text == "4294967295" and "nil" or text, support.lua("", program))
    if not os.execute "(echo 1234 >/proc/self/loginuid) 2>/dev/null" then
      return pending "the login uid may not be set here"
    end
    assert.equal("1234", support.lua("echo 1234 >/proc/self/loginuid;", program))
  end)
end)
