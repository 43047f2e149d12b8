-- Console and pidfd sockets, passed descriptors and closed streams: what engines give an exec besides its arguments.

local cjson = require "cjson"
local containers = require "tests.lib.containers"
local core = require "ctrexec.core"
local peers = require "peers"
local session = require "tests.lib.session"
local sockets = require "tests.lib.sockets"
local tool = require "tests.lib.tool"

local ct
local check = session.suite(_ENV, function (made) ct = made end)

-- A server's socket in the container's scratch directory.
local function listen(name)
  return sockets.listen(ct.dir .. "/" .. name)
end

local function start(program, words, prefix)
  return session.start_to_file(session.exec(program, ct, words, prefix), ct.dir .. "/output")
end

-- Runs an exec to its end: status and output.
local function run(program, words, prefix)
  local exec <close> = start(program, words, prefix)
  local _, status = exec:wait()
  return status, exec.text()
end

local function read_until(fd, pattern)
  local text = ""
  return tool.eventually(function ()
    local ready = core.poll.wait({ { fd = fd, read = true } }, 100)
    text = text .. (ready and core.fd.read(fd, 4096) or "")
    return text:find(pattern) and text
  end, pattern)
end

local function process_file(process)
  local path = ct.dir .. "/process.json"
  tool.write(path, cjson.encode(process))
  return path
end

describe("exec --console-socket", function ()
  -- The whole of it, from the server's side.
  local function serve(program, words)
    local server <close> = listen "console"
    table.insert(words, 1, server.path)
    table.insert(words, 1, "--console-socket")
    local exec <close> = start(program, words)
    local name, fds = server:receive(exec)
    local result = { name = name, count = #fds, status = select(2, exec:wait()), output = exec.text() }
    local master <close> = fds[1]
    assert.is_true(core.terminal.is_pty_master(master))
    result.shown = read_until(master, "ready")
    assert(core.terminal.set_size(master, 44, 99))
    assert(core.fd.write(master, "line\r"))
    result.shown = result.shown .. read_until(master, "99\r\nend\r\n")
    containers.await_empty(ct)
    return result
  end

  local SCRIPT = "%s; stty | grep speed; tty; stty -a | grep -o '.onlcr'; " ..
    "echo ready; read line; echo \"got $line\"; stty size; echo end"

  check("hands a working terminal to the server, as runc does", function ()
    local words = { "-d", "-t", "--", "sh", "-c", SCRIPT:format "tty" }
    local expected, got = serve("runc", table.move(words, 1, #words, 1, {})), serve("ctrexec", words)
    assert.same(expected, got)
    assert.equal(1, got.count)
    assert.equal(0, got.status)
    assert.equal("", got.output)
    assert.matches("got line\r\n44 99\r\nend\r\n$", got.shown)
  end)

  check("gives it the size that the process file asks for", function ()
    local path = process_file { terminal = true, consoleSize = { height = 9, width = 99 }, cwd = "/",
      args = { "/bin/sh", "-c", SCRIPT:format "stty size" }, env = { "PATH=/bin" } }
    local words = { "-d", "-p", path, "--" }
    local expected, got = serve("runc", table.move(words, 1, #words, 1, {})), serve("ctrexec", words)
    assert.same(expected, got)
    assert.matches("^9 99\r\n", got.shown)
  end)

  check("hangs the command up when the server goes away", function ()
    local server <close> = listen "console"
    local exec <close> = start("ctrexec", { "-d", "-t", "--console-socket", server.path, "--", "sleep", "1000" })
    local _, fds = server:receive(exec)
    exec:wait()
    assert.equal("sleep", containers.names_inside(ct))
    fds[1]:close()
    containers.await_empty(ct)
  end)

  check("is refused in runc's words where it makes no sense", function ()
    local server <close> = listen "console"
    local console = { "--console-socket", server.path }
    for _, options in ipairs {
      { "-t", "-d" }, { "-t", "-d", "--console-socket", "" }, { "-t", table.unpack(console) }, console,
      { "-d", table.unpack(console) }, { "--tty=false", "-d", table.unpack(console) },
    } do
      options = table.move({ "--", "touch", "/tmp/ran" }, 1, 3, #options + 1, options)
      local expected, got = { run("runc", options) }, { run("ctrexec", options) }
      assert.same(expected, got)
      assert.equal(255, got[1])
    end
    assert.is_nil(tool.read(ct.rootfs .. "/tmp/ran"))
  end)

  check("needs a socket to connect to, and runs nothing without", function ()
    tool.write(ct.dir .. "/file", "")
    local datagram <close> = core.fd.wrap(peers.datagram(ct.dir .. "/datagram"))
    core.fd.wrap(peers.listen(ct.dir .. "/stale")):close()
    for _, path in ipairs { "/nosuch", ct.dir .. "/file", ct.dir, ct.dir .. "/datagram", ct.dir .. "/stale" } do
      local options = { "-d", "-t", "--console-socket", path, "--", "touch", "/tmp/ran" }
      local expected, got = { run("runc", options) }, { run("ctrexec", options) }
      assert.same(expected, got)
      assert.equal(255, got[1])
      assert.matches("exec failed: dial unix [^\n]*: connect: [^\n]*\n$", got[2])
    end
    assert.is_true(core.fd.is_open(datagram:fd()))
    local status, text = run("ctrexec", { "-d", "-t", "--console-socket", ("/x"):rep(60), "--", "touch", "/tmp/ran" })
    assert.equal(255, status)
    assert.matches("connect: file name too long", text, 1, true)
    assert.is_nil(tool.read(ct.rootfs .. "/tmp/ran"))
  end)
end)

local function socket_options(kind, server, command)
  local words = { "-d", "--" .. kind .. "-socket", server.path, "--", table.unpack(command) }
  if kind == "console" then table.insert(words, 1, "-t") end
  return words
end

for _, kind in ipairs { "console", "pidfd" } do
  describe("the server of a " .. kind .. " socket", function ()
    -- When it is quick enough, the descriptor cannot be sent any more: then nothing is run.
    check("may close early: nothing runs that it was not told of", function ()
      local refused = 0
      for _ = 1, 100 do
        local server <close> = listen "socket"
        os.remove(ct.rootfs .. "/tmp/ran")
        local exec <close> = start("ctrexec", socket_options(kind, server, { "touch", "/tmp/ran" }))
        server:accept(exec):close()
        local _, status = exec:wait()
        if status ~= 0 then
          assert.equal(255, status)
          assert.matches("exec failed: unable to start container process: broken pipe", exec.text(), 1, true)
          containers.await_empty(ct)
          assert.is_nil(tool.read(ct.rootfs .. "/tmp/ran"))
          refused = refused + 1
          if refused == 3 then return end
        end
      end
      error "the server was never quick enough"
    end)

    check("may never read", function ()
      local server <close> = listen "socket"
      assert.same({ 0, "" }, { run("ctrexec", socket_options(kind, server, { "true" })) })
      containers.await_empty(ct)
    end)

  end)
end

check("the server of a socket may never accept: there is an end to the waiting", function ()
  local server <close> = listen "socket"
  local waiting = server:fill()
  local command = { "touch", "/tmp/ran" }
  local both = { start("ctrexec", socket_options("console", server, command)),
    start("ctrexec", socket_options("pidfd", server, command)) }
  for _, exec in ipairs(both) do
    assert.same({ "exited", 255 }, { exec:wait() })
    local message = ("exec failed: dial unix %s: connect: connection timed out"):format(server.path)
    assert.matches(message, exec.text(), 1, true)
    exec:close()
  end
  assert.equal("", containers.names_inside(ct))
  assert.is_nil(tool.read(ct.rootfs .. "/tmp/ran"))
  for _, client in ipairs(waiting) do client:close() end
end)

describe("exec --pidfd-socket", function ()
  local function pid_of(pidfd)
    return core.pidfd.pid(pidfd)
  end

  -- runc from 1.2 on sends its name for this kind of start along with the descriptor.
  check("sends the pidfd of the command itself", function ()
    local server <close> = listen "pidfd"
    local pid_file = ct.dir .. "/pid"
    local exec <close> = start("ctrexec",
      { "-d", "--pid-file", pid_file, "--pidfd-socket", server.path, "--", "sleep", "1000" })
    local name, fds = server:receive(exec)
    assert.equal("setns", name)
    assert.equal(1, #fds)
    assert.same({ "exited", 0 }, { exec:wait() })
    assert.equal(tool.read(pid_file), tostring(pid_of(fds[1])))
    assert.equal("sleep", core.process.stat(pid_of(fds[1])).comm)
    assert.is_false(core.poll.wait({ { fd = fds[1], read = true } }, 0))
    assert(core.pidfd.send_signal(fds[1], core.signal.numbers.KILL))
    tool.await_readable(fds[1], "the end")
    containers.await_empty(ct)
    fds[1]:close()
  end)

  check("sends it in the foreground, too", function ()
    local server <close> = listen "pidfd"
    local exec <close> = start("ctrexec", { "--pidfd-socket", server.path, "--", "sleep", "1000" })
    local name, fds = server:receive(exec)
    assert.equal("setns", name)
    tool.eventually(function () return containers.names_inside(ct) == "sleep" end)
    assert(core.pidfd.send_signal(fds[1], core.signal.numbers.USR1))
    tool.await_readable(fds[1], "the end")
    assert.same({ "exited", 128 + 10 }, { exec:wait() })
    fds[1]:close()
  end)

  check("sends it with a console socket, too", function ()
    local pidfd_server <close> = listen "pidfd"
    local console <close> = listen "console"
    local exec <close> = start("ctrexec", { "-d", "-t", "--pidfd-socket", pidfd_server.path, "--console-socket",
      console.path, "--", "sleep", "1000" })
    local _, masters = console:receive(exec)
    local name, fds = pidfd_server:receive(exec)
    assert.equal("setns", name)
    assert.same({ "exited", 0 }, { exec:wait() })
    masters[1]:close()
    tool.await_readable(fds[1], "the end")
    fds[1]:close()
  end)

  check("sends it before the command runs", function ()
    local server <close> = listen "pidfd"
    local process <close> = assert(ct:open():prepare { "touch", "/tmp/effect", pidfd_socket = server.path })
    local _, fds = server:receive()
    assert.equal(process.pid, pid_of(fds[1]))
    assert.equal("ctrexec:[enter]", core.process.stat(process.pid).comm)
    assert.is_nil(tool.read(ct.rootfs .. "/tmp/effect"))
    assert(process:start())
    tool.await_readable(fds[1], "the end")
    assert.is_string(tool.read(ct.rootfs .. "/tmp/effect"))
    assert.equal(0, process:wait().code)
    fds[1]:close()
  end)

  check("never sends another process, however fast pids are used up", function ()
    local server <close> = listen "pidfd"
    local load <close> = session.start { "sh", "-c", "while :; do (:); (:) & wait; done" }
    local pid_file = ct.dir .. "/pid"
    for _ = 1, 100 do
      local exec <close> = start("ctrexec",
        { "-d", "--pid-file", pid_file, "--pidfd-socket", server.path, "--", "cat", "/dev/zero" })
      local _, fds = server:receive(exec)
      assert.same({ "exited", 0 }, { exec:wait() })
      local pid = pid_of(fds[1])
      assert.equal(tool.read(pid_file), tostring(pid))
      assert.equal("cat", core.process.stat(pid).comm)
      assert.equal(core.namespace.ids(ct.pid).mnt, core.namespace.ids(pid).mnt)
      assert(core.pidfd.send_signal(fds[1], core.signal.numbers.KILL))
      tool.await_readable(fds[1], "the end")
      fds[1]:close()
    end
    assert.is_true(load:is_running())
  end)

  check("needs a socket to connect to, and runs nothing without", function ()
    for path, reason in pairs { ["/nosuch"] = "no such file or directory", ["/etc/passwd"] = "connection refused" } do
      local status, text = run("ctrexec", { "-d", "--pidfd-socket", path, "--", "touch", "/tmp/ran" })
      assert.equal(255, status)
      assert.matches(("exec failed: dial unix %s: connect: %s"):format(path, reason), text, 1, true)
    end
    assert.is_nil(tool.read(ct.rootfs .. "/tmp/ran"))
  end)

  check("sends nothing when the container takes no command", function ()
    local server <close> = listen "pidfd"
    local status = run("ctrexec", { "--cwd", "/nosuch", "--pidfd-socket", server.path, "--", "true" })
    assert.equal(255, status)
    local connection <close> = server:accept()
    assert.equal("", (core.fdpass.receive(connection, 10, 1)))
  end)
end)

describe("descriptors", function ()
  -- What the command has open, as the host sees it, and its variables of socket activation. It is ended then.
  local function look(program, options, prefix)
    local words = table.move({ "--", "sleep", "1000" }, 1, 3, #options + 1, table.move(options, 1, #options, 1, {}))
    local exec <close> = start(program, words, prefix)
    local command = tool.eventually(function ()
      local found = containers.inside(ct)[1]
      assert(found or exec:is_running() or select(2, exec:wait()) == 0, exec.text())
      return found and found.comm == "sleep" and found
    end, "the command")
    local path, list = "/proc/" .. command.pid, {}
    local variables = ""
    for variable in tool.read(path .. "/environ"):gmatch "LISTEN_[^%z]*" do variables = variables .. variable end
    for _, name in ipairs(core.file.list(path .. "/fd")) do
      list[tonumber(name)] = tool.line(("readlink %s/fd/%s"):format(path, name))
    end
    containers.clear(ct)
    exec:wait()
    return list, variables
  end

  -- runc puts pipes of its own on the standard streams.
  local function beyond_streams(list)
    list[0], list[1], list[2] = nil, nil, nil
    return list
  end

  local MANY = "exec 3</etc/passwd 4</etc/group 5</etc/hosts 6</etc/fstab 7</etc/shells 8</dev/null 9</dev/zero;"

  check("are passed where asked for, at their numbers, and nothing else is", function ()
    for count = 0, 7, 7 do
      local options = { "--preserve-fds", tostring(count) }
      local expected = beyond_streams(look("runc", options, MANY))
      local got = beyond_streams(look("ctrexec", options, MANY))
      assert.same(expected, got)
      local names = 0
      for _ in pairs(got) do names = names + 1 end
      assert.equal(count, names)
    end
  end)

  check("of socket activation are not the command's, as with runc", function ()
    local prefix = MANY .. " export LISTEN_FDS=2 LISTEN_PID=$$;"
    for _, options in ipairs { {}, { "--preserve-fds", "1" } } do
      local expected, variables = look("runc", options, prefix)
      local got, own = look("ctrexec", options, prefix)
      assert.same(beyond_streams(expected), beyond_streams(got))
      assert.equal("", own)
      assert.equal(variables, own)
    end
  end)

  check("of the caller's are all that a detached command has", function ()
    local output = ct.dir .. "/output"
    assert.same({ [0] = "/dev/null", output, output }, (look("ctrexec", { "-d" }, MANY)))
    assert.same({ [0] = "/dev/null", output, output, "/etc/passwd" },
      (look("ctrexec", { "-d", "--preserve-fds", "1" }, MANY)))
  end)

  check("are the terminal and what is passed under --tty", function ()
    local argv = session.exec("ctrexec", ct, { "-t", "--preserve-fds", "1", "--", "sleep", "1000" }, MANY)
    local tty <close> = session.start(argv, { pty = session.pty() })
    local command = tool.eventually(function ()
      local found = containers.inside(ct)[1]
      return found and found.comm == "sleep" and found
    end)
    local list = {}
    for _, name in ipairs(core.file.list(("/proc/%d/fd"):format(command.pid))) do
      list[tonumber(name)] = tool.line(("readlink /proc/%d/fd/%s"):format(command.pid, name))
    end
    assert.same({ [0] = "/dev/pts/0", "/dev/pts/0", "/dev/pts/0", "/etc/passwd" }, list)
    tty:kill "TERM"
    assert.same({ "exited", 143 }, { tty:wait() })
  end)

  -- runc's command dies of SIGPIPE there.
  check("that the caller has closed are /dev/null to the command", function ()
    for closed = 1, 7 do
      local redirections, expected = {}, {}
      for number = 0, 2 do
        local is_closed = closed >> number & 1 == 1
        if is_closed then redirections[#redirections + 1] = number .. ">&-" end
        expected[number] = (is_closed or number == 0) and "/dev/null" or ct.dir .. "/output"
      end
      local prefix = "exec " .. table.concat(redirections, " ") .. ";"
      assert.same(expected, (look("ctrexec", {}, prefix)), prefix)
    end
  end)
end)

describe("the process that enters", function ()
  local SEALS = 1 | 2 | 4 | 8 -- F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_WRITE

  check("runs from a file that nobody can change, and holds two pipes besides the streams", function ()
    local process <close> = assert(ct:open():prepare { "sleep", "1000" })
    local path = "/proc/" .. process.pid
    local exe <close> = assert(core.file.open(path .. "/exe", { read = true }))
    assert.equal(SEALS, peers.seals(exe:fd()))
    assert.is_nil((core.file.open(path .. "/exe", { write = true })))
    local others = {}
    for _, name in ipairs(core.file.list(path .. "/fd")) do
      local number = math.tointeger(tonumber(name))
      if number > 2 then others[#others + 1] = core.file.stat(path .. "/fd/" .. name).type end
    end
    assert.same({ "fifo", "fifo" }, others)
    assert(process:start())
    assert.equal("busybox", core.file.realpath(path .. "/exe"):match "[^/]*$")
    assert.equal(3, #core.file.list(path .. "/fd"))
    process:kill "KILL"
    process:wait()
  end)

  check("cannot be looked into from the container, not even by its root", function ()
    local process <close> = assert(ct:open():prepare { "true" })
    local inner = tool.read("/proc/" .. process.pid .. "/status"):match "NSpid:[^\n]*\t(%d+)\n"
    for _, name in ipairs { "exe", "mem", "environ", "fd/0" } do
      local result = ct:exec { "sh", "-c", ("cat /proc/%s/%s >/dev/null"):format(inner, name) }
      assert.not_equal(0, result.code)
      assert.matches("Permission denied", result.stderr, 1, true)
    end
  end)
end)
