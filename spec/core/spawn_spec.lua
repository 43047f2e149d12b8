-- The way of a command into a container, event by event. The container is this process itself: no namespace is joined.
local core = require "ctrexec.core"
local peers = require "peers"
local support = require "spec.core.support"
local tool = require "tests.lib.tool"

local errno, fd, spawn = support.errno, core.fd, core.spawn
local SIGNALS = core.signal.numbers
local ids = core.process.ids()

local own <const> = assert(core.pidfd.open(ids.pid))

-- The first entry makes the helper's image, which stays.
setup(function() spawn.start({ args = { "true" }, cwd = "/" }):abort() end)

-- A plan of a command that has nothing to read; `fields` take the place of its own.
local function plan_with(args, fields)
  local caps = core.capability.of(ids.pid)
  local plan = { init = own, namespaces = 0, args = args, env = { "A=1" }, path = "/usr/bin:/bin", cwd = "/",
    uid = ids.euid, gid = ids.egid, skip_groups = true, bounding = caps.bounding, effective = caps.effective,
    permitted = caps.permitted }
  for name, value in pairs(fields or {}) do plan[name] = value end
  return plan
end

-- Follows an entry to its last event, answering what waits. Returns the events, and a pidfd of the command.
local function follow(entry)
  local events, pidfd = {}, nil
  repeat
    local event = assert(entry:next(tool.DEADLINE * 1000))
    events[#events + 1] = event
    if event.event == "child" then pidfd = assert(entry:pidfd()) end
    if event.event == "ready" then assert.is_true(entry:go()) end
  until event.event == "started" or event.event == "error" or event.event == "died"
  return events, pidfd
end

local function names_of(events)
  local names = {}
  for index, event in ipairs(events) do names[index] = event.event end
  return names
end

local function status_of(pidfd)
  tool.await_readable(pidfd, "the end of the command")
  local status = assert(core.pidfd.wait(pidfd))
  pidfd:close()
  return status
end

-- Runs a command to its end: its output and its status.
local function run(args, fields)
  local reader <close>, writer = fd.pipe()
  local null <close> = assert(core.file.open("/dev/null", { read = true, write = true }))
  local plan = plan_with(args, { stdin = null, stdout = writer, stderr = writer })
  for name, value in pairs(fields or {}) do plan[name] = value end
  local entry <close> = assert(spawn.start(plan))
  writer:close()
  local events, pidfd = follow(entry)
  assert.equal("started", events[#events].event, events[#events].message)
  return tool.read_all(reader), status_of(pidfd)
end

-- An entry that is waited for at `ready`, its pidfd and its pid.
local function waiting(args, fields)
  local plan = plan_with(args or { "true" }, { wait = true })
  for name, value in pairs(fields or {}) do plan[name] = value end
  local entry = assert(spawn.start(plan))
  local child = assert(entry:next(tool.DEADLINE * 1000))
  assert.equal("child", child.event)
  local ready = assert(entry:next(tool.DEADLINE * 1000))
  assert.equal("ready", ready.event)
  return entry, assert(entry:pidfd()), child.pid
end

-- The one event of a command that cannot be started. Nothing of it is left.
local function failure(args, fields)
  local before = tool.children()
  local entry = assert(spawn.start(plan_with(args, fields)))
  local events = follow(entry)
  assert.same(before, tool.children())
  return events[#events]
end

describe("a plan", function()
  it("that cannot be packed raises an error, and leaves nothing", function()
    for message, plan in pairs {
      ["plan.args: expected an array"] = { args = 5 }, ["plan.args: expected at least one string"] = { args = {} },
      ["plan.args: expected a string"] = plan_with { 5 }, ["plan.cwd: expected a string"] = { args = { "x" } },
      ["plan.env: expected no NUL byte"] = plan_with({ "x" }, { env = { "A=\0" } }),
      ["plan.namespaces: expected an integer"] = plan_with({ "x" }, { namespaces = "all" }),
      ["plan.uid: expected a number from 0 to 4294967295"] = plan_with({ "x" }, { uid = -1 }),
      ["plan.seccomp: expected a BPF program"] = plan_with({ "x" }, { seccomp = "odd" }),
    } do
      assert.equal(0, support.left_open(function()
        assert.error_matches(function() spawn.start(plan) end, message, 1, true)
      end))
    end
    assert.error(function() spawn.start() end)
  end)

  it("says what the command is, and as whom it runs", function()
    local output, status = run { "sh", "-c", "echo $0 $1; pwd; exit 7", "zero", "one" }
    assert.equal("zero one\n/\n", output)
    assert.same({ "exited", 7 }, { status.reason, status.status })
    assert.equal("/usr\n", (run({ "pwd" }, { cwd = "/usr" })))
    if ids.euid ~= 0 then return end
    assert.equal("12:34\n", (run({ "sh", "-c", "echo $(id -u):$(id -g)" }, { uid = 12, gid = 34 })))
  end)

  it("says its whole environment", function()
    assert.equal("A=1\n", (run { "env" }))
    assert.equal("X=\nY=a b\n", (run({ "env" }, { env = { "X=", "Y=a b" } })))
  end)

  it("says what holds for its process", function()
    local output = run({ "sh", "-c", "umask; ulimit -n; sed -n 's/^NoNewPrivs:.//p' /proc/self/status" },
      { umask = tonumber("027", 8), no_new_privs = true, rlimits = { { resource = 7, soft = 64, hard = 65 } } })
    assert.equal("0027\n64\n1\n", output)
  end)

  it("says which file of the container to copy instead of starting a command", function()
    local file <close> = assert(io.open "/etc/passwd")
    local reader <close>, writer = fd.pipe()
    local _ <close> = assert(spawn.start(plan_with({ "/etc/passwd" }, { read = "/etc/passwd", stdout = writer })))
    writer:close()
    assert.equal(file:read "a" .. "\0", tool.read_all(reader))
  end)
end)

describe("the streams of a command", function()
  local folder
  -- A shell command that writes where its streams are into the file "out".
  local STREAMS = "all=$(readlink /proc/$$/fd/0 /proc/$$/fd/1 /proc/$$/fd/2); echo \"$all\" >out"

  before_each(function() folder = tool.folder() end)
  after_each(function() tool.remove(folder) end)

  -- Starts a shell command by a Lua program of its own, with the shell words `before` before it.
  local function program(before, text, fields)
    local code = ([[
      local core = require "ctrexec.core"
      local own = core.process.ids()
      local caps = core.capability.of(own.pid)
      local entry = assert(core.spawn.start { init = core.pidfd.open(own.pid), namespaces = 0, skip_groups = true,
        uid = own.euid, gid = own.egid, bounding = caps.bounding, permitted = caps.permitted,
        effective = caps.effective, args = { "sh", "-c", %q }, env = {}, path = "/usr/bin:/bin", cwd = %q, %s })
      local pidfd
      repeat
        local event = assert(entry:next(%d))
        if event.event == "child" then pidfd = entry:pidfd() end
      until event.event == "started"
      core.poll.wait({ { fd = pidfd, read = true } }, %d)]]):format(text, folder, fields or "", tool.DEADLINE * 1000,
      tool.DEADLINE * 1000)
    return tool.output(support.lua_command(before, code))
  end

  it("are the caller's own where the plan names none", function()
    assert.equal("out\nerror\n", program("exec 2>&1;", "echo out; echo error >&2"))
    tool.write(folder .. "/input", "text")
    assert.equal("text", program(("exec <%s;"):format(folder .. "/input"), "cat"))
  end)

  it("are nothing where the caller has none", function()
    program("exec 0<&- 1>&- 2>&-;", STREAMS)
    assert.equal(("/dev/null\n"):rep(3), tool.read(folder .. "/out"))
    program("exec 1>&-;", STREAMS)
    assert.equal("/dev/null\n", tool.read(folder .. "/out"):match "^[^\n]*\n([^\n]*\n)")
  end)

  it("may be each other's", function()
    tool.write(folder .. "/input", "text")
    local before = ("exec <%s 3>%s;"):format(folder .. "/input", folder .. "/three")
    program(before, STREAMS, "stdin = 3, stdout = 0, stderr = 0")
    assert.equal(("%s/three\n%s/input\n%s/input\n"):format(folder, folder, folder), tool.read(folder .. "/out"))
  end)

  it("are no more than the caller's own afterwards", function()
    local null <close> = assert(core.file.open("/dev/null", { read = true, write = true }))
    assert.equal(0, support.left_open(function()
      local entry <close> = assert(spawn.start(plan_with({ "true" }, { stdin = null, stdout = 0, stderr = 0 })))
      status_of(select(2, follow(entry)))
    end))
  end)

  it("are all that it has, whatever the caller has left open", function()
    assert.equal("0\n1\n2\n", program("exec 5</etc/passwd 9>&1;", "ls /proc/$$/fd; true"))
  end)

  it("are followed by the descriptors that it is to keep", function()
    tool.write(folder .. "/input", "text")
    assert.equal("text", program(("exec 3<%s 4<%s;"):format(folder .. "/input", folder .. "/input"),
      "cat <&3; test -e /proc/$$/fd/4 && echo too many", "preserve_fds = 1"))
  end)
end)

describe("what the caller has set for signals", function()
  -- What a command finds set that a program starts, which was started with the options `before` of env(1); and its
  -- exit status, where that is known.
  local function signals_of(before)
    local code = ([[
      local core = require "ctrexec.core"
      local own = core.process.ids()
      local caps = core.capability.of(own.pid)
      local entry = assert(core.spawn.start { init = core.pidfd.open(own.pid), namespaces = 0, skip_groups = true,
        uid = own.euid, gid = own.egid, bounding = caps.bounding, permitted = caps.permitted,
        effective = caps.effective, args = { "grep", "-E", "^Sig(Blk|Ign):", "/proc/self/status" }, env = {},
        path = "/usr/bin:/bin", cwd = "/" })
      local pidfd
      repeat
        local event = assert(entry:next(%d))
        if event.event == "child" then pidfd = entry:pidfd() end
      until event.event == "started"
      core.poll.wait({ { fd = pidfd, read = true } }, %d)
      print((core.pidfd.wait(pidfd) or {}).status or "lost")]]):format(tool.DEADLINE * 1000, tool.DEADLINE * 1000)
    return tool.output(support.lua_command("exec env " .. before, code))
  end

  local NONE = ("SigBlk:\t%s\nSigIgn:\t%s\n"):format(("0"):rep(16), ("0"):rep(16))

  it("is not set for the command", function()
    assert.equal(NONE .. "0\n", signals_of "--block-signal=USR1 --ignore-signal=USR2,PIPE")
  end)

  it("does not keep a command from being followed whose end the kernel tells nobody", function()
    local output = signals_of "--ignore-signal=CHLD"
    assert.equal(NONE, output:sub(1, #NONE))
    assert.is_truthy(({ ["0\n"] = true, ["lost\n"] = true })[output:sub(#NONE + 1)]) -- Linux 6.15 keeps it
  end)
end)

describe("the events of an entry", function()
  it("tell of the child and of its start, and are over then", function()
    local before = tool.children()
    local entry <close> = assert(spawn.start(plan_with { "sleep", "300" }))
    local events, pidfd = follow(entry)
    assert.same({ "child", "started" }, names_of(events))
    assert.equal(core.pidfd.pid(pidfd), events[1].pid)
    assert.equal("sleep", core.process.stat(events[1].pid).comm)
    assert.equal(#before + 1, #tool.children(), "helpers are reaped")
    assert.equal(-1, entry:fd())
    for _, method in ipairs { "next", "go" } do
      assert.same({ nil, "entry: Bad file descriptor", errno.EBADF }, { entry[method](entry) })
    end
    core.pidfd.send_signal(pidfd, SIGNALS.KILL)
    assert.equal("killed", status_of(pidfd).reason)
  end)

  it("wait before the start where the plan says so", function()
    local entry <close>, pidfd, pid = waiting { "sleep", "300" }
    assert.is_false(entry:next(0))
    assert.is_false(entry:next(50))
    assert.not_equal("sleep", core.process.stat(pid).comm)
    assert.is_true(entry:go())
    assert.same({ "started" }, names_of((follow(entry))))
    assert.equal("sleep", core.process.stat(pid).comm)
    core.pidfd.send_signal(pidfd, SIGNALS.KILL)
    status_of(pidfd)
  end)

  it("can be waited for with others, by a descriptor", function()
    local entry <close> = assert(spawn.start(plan_with { "true" }))
    local names, pidfd = {}, nil
    while entry:fd() >= 0 do
      assert.is_table(core.poll.wait({ { fd = entry:fd(), read = true } }, tool.DEADLINE * 1000))
      local event = entry:next(0) -- false: what could be read was for the entry itself
      if event then names[#names + 1] = event.event end
      if event and event.event == "child" then pidfd = assert(entry:pidfd()) end
    end
    assert.same({ "child", "started" }, names)
    assert.equal(0, status_of(pidfd).status)
  end)

  it("bring the terminal", function()
    local entry <close> = assert(spawn.start(plan_with({ "tty" }, { terminal = true, rows = 3, columns = 4 })))
    local events, pidfd = follow(entry)
    local terminal
    for _, event in ipairs(events) do
      if event.event == "terminal" then terminal = event.fd end
    end
    assert.same({ 3, 4 }, { core.terminal.size(terminal) })
    assert.is_true(fd.cloexec(terminal))
    assert.equal(0, status_of(pidfd).status)
    terminal:close()
  end)

  it("tell which step has failed, and why", function()
    local event = failure { "no-such-program" }
    assert.same({ "error", "lookup", errno.ENOENT, "No such file or directory" },
      { event.event, event.step, event.errno, event.message })
    assert.equal("exec", failure { "/etc/passwd" }.step)
    assert.equal(errno.EACCES, failure { "/etc/passwd" }.errno)
    event = failure({ "true" }, { cwd = "/no/such/folder" })
    assert.same({ "cwd", errno.ENOENT }, { event.step, event.errno })
    event = failure({ "/etc" }, { read = "/etc" })
    assert.same({ "read", errno.EINVAL }, { event.step, event.errno })
    local full <close> = assert(core.file.open("/dev/full", { write = true }))
    event = failure({ "true" }, { tasks = { full } })
    assert.same({ "tasks", errno.ENOSPC }, { event.step, event.errno })
    assert.is_true(math.type(event.pid) == "integer")
  end)

  it("tell that the container has ended", function()
    local init = support.sleeper()
    core.pidfd.send_signal(init.pidfd, SIGNALS.KILL)
    core.pidfd.wait(init.pidfd)
    local event = failure({ "true" }, { init = init.pidfd, namespaces = core.namespace.names.uts })
    assert.same({ "namespace", errno.ESRCH }, { event.step, event.errno })
    support.finish(init)
  end)

  it("tell that the command's process has died before its start", function()
    local before = tool.children()
    local entry <close>, pidfd = waiting()
    core.pidfd.send_signal(pidfd, SIGNALS.KILL)
    local events = follow(entry)
    assert.same({ { event = "died", reason = "killed", status = SIGNALS.KILL } }, events)
    pidfd:close()
    assert.same(before, tool.children())
  end)
end)

describe("the pidfd of an entry", function()
  it("is there from the child event on, and is the caller's", function()
    local entry <close> = assert(spawn.start(plan_with({ "true" }, { wait = true })))
    assert.same({ nil, "pidfd: No such process", errno.ESRCH }, { entry:pidfd() })
    assert.equal("child", entry:next(tool.DEADLINE * 1000).event)
    local one, other = assert(entry:pidfd()), assert(entry:pidfd())
    assert.not_equal(one:fd(), other:fd())
    assert.is_true(fd.cloexec(one))
    one:close()
    assert.equal("ready", entry:next(tool.DEADLINE * 1000).event)
    entry:go()
    assert.equal("started", entry:next(tool.DEADLINE * 1000).event)
    assert.equal(errno.ESRCH, select(3, entry:pidfd()))
    assert.equal(0, status_of(other).status)
  end)
end)

describe("an entry that is given up", function()
  local function assert_nothing_left(act)
    local before = tool.children()
    assert.equal(0, support.left_open(act))
    assert.same(before, tool.children())
  end

  it("leaves no process and no descriptor, at whatever point", function()
    assert_nothing_left(function() assert(spawn.start(plan_with { "sleep", "300" })):abort() end)
    assert_nothing_left(function()
      local entry, pidfd = waiting()
      entry:abort()
      entry:abort()
      assert.is_false(core.pidfd.alive(pidfd))
      pidfd:close()
    end)
    assert_nothing_left(function()
      local entry <close>, pidfd = waiting()
      assert.is_userdata(entry)
      pidfd:close()
    end)
  end)

  it("ends a helper that is held up outside", function()
    local reader <close>, writer = fd.pipe()
    fd.set_nonblock(writer, true)
    repeat until not fd.write(writer, ("x"):rep(4096))
    fd.set_nonblock(writer, false)
    assert_nothing_left(function()
      local entry <close> = assert(spawn.start(plan_with({ "true" }, { tasks = { writer } })))
      assert.is_false(entry:next(20))
    end)
    writer:close()
    assert.is_true(fd.is_open(reader))
  end)

  it("is given up by the collector, too", function()
    local before = tool.children()
    local function forget() assert(spawn.start(plan_with({ "true" }, { wait = true }))) end
    forget()
    collectgarbage()
    assert.same(before, tool.children())
  end)

  it("does nothing to a command that has started", function()
    local entry = assert(spawn.start(plan_with { "sleep", "300" }))
    local _, pidfd = follow(entry)
    entry:abort()
    assert.is_true(core.pidfd.alive(pidfd))
    core.pidfd.send_signal(pidfd, SIGNALS.KILL)
    status_of(pidfd)
  end)
end)

describe("the helper", function()
  it("is a sealed file in memory, which nobody can write", function()
    local entry <close>, pidfd, pid = waiting()
    local image <close> = assert(core.file.open(("/proc/%d/exe"):format(pid)))
    assert.matches("^/memfd:ctrexec", tool.line(("readlink /proc/%d/exe"):format(pid)))
    local seals = peers.seals(image:fd())
    assert.equal(15, seals & 15) -- F_SEAL_SEAL, SHRINK, GROW and WRITE
    assert.is_nil(core.file.open(("/proc/%d/exe"):format(pid), { write = true }))
    entry:abort()
    pidfd:close()
  end)
end)
