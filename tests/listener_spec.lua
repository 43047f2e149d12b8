-- Seccomp profiles with SCMP_ACT_NOTIFY: the agent at listenerPath, beside runc. The agent is this program.

local cjson = require "cjson"
local containers = require "tests.lib.containers"
local core = require "ctrexec.core"
local fixture = require "ctrexec.busted"
local peers = require "peers"
local processes = require "processes"
local session = require "tests.lib.session"
local sockets = require "tests.lib.sockets"
local suite = require "tests.lib.suite"
local tool = require "tests.lib.tool"

local skip = containers.missing "runc"

local check = suite(_ENV, skip)

local ECHRNG = 44 -- "Channel number out of range": no file system gives it

-- The container process state and the listener that a runtime sends.
local function receive(server, exec)
  local text, fds = server:receive(exec)
  local state = cjson.decode(text)
  assert.equal(1, #fds)
  state.pid = math.tointeger(state.pid)
  return state, fds[1]
end

-- Answers the kernel's questions until the process has ended: mkdir fails with an errno, all other calls are allowed.
-- Returns the number of questions.
local function answer(listener, process)
  local count = 0
  while true do
    local ready = core.poll.wait({ { fd = process, read = true }, { fd = listener, read = true } },
      tool.DEADLINE * 1000)
    assert(ready, "nothing happens")
    if ready[1].read then return count end
    local id, _, call = peers.notification(listener:fd())
    if id then
      count = count + 1
      peers.answer(listener:fd(), id, call == peers.MKDIR_CALL and ECHRNG or 0)
    elseif ready[2].hangup then -- no process is left under the filter
      tool.await_readable(process, "the end")
    end
  end
end

-- A container whose init was started with an agent at work: `server`, the agent's socket.
local function container(no_new_privs, metadata)
  local init_agent
  local ct = fixture.container { config = function (config, made)
    made.server = sockets.listen(made.dir .. "/agent")
    config.process.noNewPrivileges = no_new_privs
    config.annotations = metadata and { ["org.example.key"] = "value" } or nil
    config.linux.seccomp = { defaultAction = "SCMP_ACT_ALLOW", listenerPath = made.server.path,
      listenerMetadata = metadata, architectures = { "SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64" },
      syscalls = { { names = { "mkdir", "mkdirat", "getpriority" }, action = "SCMP_ACT_NOTIFY" } } }
    init_agent = processes.run(function ()
      local _, listener = receive(made.server)
      return listener
    end)
  end }
  processes.wait(init_agent)
  return ct
end

-- Changes the profile in the state, so that it also asks about other calls, some of which runc itself makes before
-- there is an agent. Returns a function that restores the profile.
local function ask_about(ct, names)
  local path = ct.root .. "/" .. ct.id .. "/state.json"
  local text = tool.read(path)
  local rules = {}
  local state, count = text:gsub('{[^{}]*"getpriority"[^{}]*}', function (rule)
    for index, name in ipairs(names) do rules[index] = rule:gsub("getpriority", name) end
    return table.concat(rules, ",")
  end)
  assert(count == 1, text)
  tool.write(path, state)
  return function () tool.write(path, text) end
end

local function start(program, ct, words)
  return session.start_to_file(session.exec(program, ct, words), ct.dir .. "/output")
end

local SCRIPT = "exec 2>&1; mkdir /tmp/d; echo $?; grep -E 'Seccomp:|NoNew' /proc/self/status; exit 5"

for _, no_new_privs in ipairs { false, true } do
  describe("a seccomp agent, " .. (no_new_privs and "with" or "without") .. " no_new_privs", function ()
    local ct

    setup(function ()
      if not skip then ct = container(no_new_privs, no_new_privs and "some data" or nil) end
    end)

    teardown(function ()
      if not ct then return end
      ct.server:close()
      assert(ct:remove())
    end)

    before_each(function ()
      if ct then containers.clear(ct) end
    end)

    -- With the listener in the agent's hands; what the caller gets and what the agent was told.
    local function serve(program, words)
      local pid_file = ct.dir .. "/pid"
      words = table.move(words, 1, #words, 3, { "--pid-file", pid_file })
      local exec <close> = start(program, ct, words)
      local state, listener = receive(ct.server, exec)
      local command = assert(core.pidfd.open(state.pid))
      local count = answer(listener, command)
      local _, status = exec:wait()
      if status ~= 255 then assert.equal(tool.read(pid_file), tostring(state.pid)) end
      assert.equal(ct.pid, state.state.pid)
      assert.is_string(state.ociVersion)
      state.pid, state.ociVersion, state.state.ociVersion = nil, nil, nil
      listener:close()
      command:close()
      return { status = status, output = exec.text(), state = state }, count
    end

    check("gets the listener and the state, and decides, as with runc", function ()
      for _, options in ipairs { {}, { "-u", "1000" }, { "--cap", "CAP_SYS_ADMIN" } } do
        local words = table.move({ "--", "sh", "-c", SCRIPT }, 1, 4, #options + 1, options)
        local expected, got = serve("runc", words), serve("ctrexec", words)
        assert.same(expected, got)
        assert.equal(5, got.status)
        assert.equal("mkdir: can't create directory '/tmp/d': Channel number out of range\n1\n" ..
          ("NoNewPrivs:\t%d\nSeccomp:\t2\n"):format(no_new_privs and 1 or 0), got.output)
        assert.same({ "seccompFd" }, got.state.fds)
        assert.equal("running", got.state.state.status)
      end
    end)

    check("is served in a detached exec, too", function ()
      local exec <close> = start("ctrexec", ct, { "-d", "--", "sh", "-c", SCRIPT })
      local state, listener <close> = receive(ct.server, exec)
      local command <close> = assert(core.pidfd.open(state.pid))
      answer(listener, command)
      assert.same({ "exited", 0 }, { exec:wait() })
      assert.matches("^mkdir: can't create directory '/tmp/d': Channel number out of range\n1\n", exec.text())
    end)

    check("may be asked about every call of the way in that comes after the filter", function ()
      local restore = ask_about(ct, { "sendmsg", "recvmsg", "sendto", "writev", "read", "close", "prctl", "capset",
        "execve", "poll", "ppoll", "access", "faccessat", "exit", "sched_yield", "rt_sigprocmask", "stat",
        "newfstatat" })
      local ok, message = pcall(function ()
        for _, words in ipairs { { "--", "sh", "-c", SCRIPT }, { "-u", "1000", "--", "sh", "-c", SCRIPT } } do
          local result, count = serve("ctrexec", words)
          assert.equal(5, result.status)
          assert.matches("out of range\n1\n", result.output, 1, true)
          assert.is_true(count > 10)
        end
        local result = serve("ctrexec", { "--", "nosuch" })
        assert.equal(255, result.status)
        assert.matches('exec: \\"nosuch\\": executable file not found in $PATH', result.output, 1, true)
      end)
      restore()
      assert(ok, message)
    end)

    check("that closes leaves calls that are not implemented, as with runc", function ()
      local results = {}
      for _, program in ipairs { "runc", "ctrexec" } do
        local exec <close> = start(program, ct, { "--", "sh", "-c", SCRIPT })
        local _, listener = receive(ct.server, exec)
        listener:close()
        results[program] = { status = select(2, exec:wait()), output = exec.text() }
      end
      assert.same(results.runc, results.ctrexec)
      assert.matches("Function not implemented", results.ctrexec.output, 1, true)
    end)

    check("that answers nothing does not hold up an exec for ever", function ()
      local restore = ask_about(ct, { "execve" })
      local opened <close> = assert(require "ctrexec".open(ct.id, { root = ct.root }))
      local record = opened.container
      restore()
      local object = assert(require "ctrexec.oci.process".build(record, { "true" }))
      local plan = assert(require "ctrexec.exec.plan".build(record, object, { warnings = {} }))
      local asked
      local started, message, code = require "ctrexec.exec.start".run(plan, { seconds = 1, listener = function (fd)
        asked = core.fd.dup(fd)
        return true
      end })
      assert.is_nil(started)
      assert.equal("timeout", code)
      assert.equal("the command did not start within 1 seconds", message)
      containers.await_empty(ct)
      asked:close()
    end)

    check("that is not there is an error in runc's words, and nothing runs", function ()
      local moved = ct.server.path .. ".moved"
      for _, prepare in ipairs {
        function () end, function () core.fd.wrap(peers.listen(ct.server.path)):close() end,
      } do
        assert(os.rename(ct.server.path, moved))
        prepare()
        local results = {}
        for _, program in ipairs { "runc", "ctrexec" } do
          local exec <close> = start(program, ct, { "--", "touch", "/tmp/ran" })
          results[program] = { status = select(2, exec:wait()), output = exec.text() }
          containers.await_empty(ct)
        end
        assert(os.rename(moved, ct.server.path))
        assert.same(results.runc, results.ctrexec)
        assert.equal(255, results.ctrexec.status)
        assert.is_nil(tool.read(ct.rootfs .. "/tmp/ran"))
      end
    end)

    -- The queue of the socket is full. Once will do: it takes its time.
    if no_new_privs then return end
    check("that never accepts is an error after a while, and nothing runs", function ()
      local waiting = ct.server:fill()
      local exec <close> = start("ctrexec", ct, { "--", "touch", "/tmp/ran" })
      assert.same({ "exited", 255 }, { exec:wait() })
      assert.matches(("dial unix %s: connect: connection timed out"):format(ct.server.path), exec.text(), 1, true)
      assert.equal("", containers.names_inside(ct))
      assert.is_nil(tool.read(ct.rootfs .. "/tmp/ran"))
      for _, client in ipairs(waiting) do
        client:close()
        ct.server:accept():close()
      end
    end)
  end)
end
