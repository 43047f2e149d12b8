-- Signals to a foreground exec, what is left when ctrexec or the container is killed at any moment, and what is said by
-- a caller that is slow to look.

local core = require "ctrexec.core"
local fixture = require "ctrexec.busted"
local processes = require "processes"
local session = require "tests.lib.session"
local suite = require "tests.lib.suite"
local tool = require "tests.lib.tool"

local skip = session.missing()
local ct

local check = suite(_ENV, skip, function ()
  ct = fixture.container()
  math.randomseed(1) -- a run can be repeated
  return ct
end, session.clear)

-- Starts an exec without a terminal, its output in a file: the session, with `text()`.
local function start(program, words)
  local path = ct.dir .. "/output"
  local null <close> = assert(core.file.open("/dev/null", { read = true }))
  local output <close> = assert(core.file.open(path, { write = true, create = true, truncate = true }, 420))
  local run = session.start(session.exec(program, ct, words), { stdin = null, stdout = output, stderr = output })
  function run.text() return tool.read(path) end
  return run
end

-- Processes anywhere that are still on their way into a container.
local function helpers()
  local found = {}
  for _, name in ipairs(core.file.list "/proc") do
    local pid = math.tointeger(tonumber(name))
    local stat = pid and core.process.stat(pid)
    if stat and stat.comm == "ctrexec:[enter]" then found[#found + 1] = pid .. " " .. stat.state end
  end
  return table.concat(found, ", ")
end

local function await_no_helper()
  local left
  local ok = pcall(session.eventually, function ()
    left = helpers()
    return left == ""
  end)
  if not ok then error("still on the way in: " .. left, 2) end
end

-- Lets up to so many milliseconds go by, with a finer grain than poll(2) has.
local function wait_at_random(milliseconds)
  local moment = core.clock.now() + math.random() * milliseconds / 1000
  while core.clock.now() < moment do end
end

describe("a foreground exec", function ()
  -- What a command hears that says every signal it gets, one of them after the other.
  local function heard(program, names)
    local traps = {}
    for index, name in ipairs(names) do traps[index] = ("trap 'echo %s' %s"):format(name, name) end
    local exec <close> = start(program, { "--", "sh", "-c",
      table.concat(traps, "; ") .. "; trap 'echo last; exit 9' TERM; echo ready; while :; do sleep 0.01; done" })
    session.eventually(function () return exec.text():find "ready" end)
    for _, name in ipairs(names) do
      assert(exec:kill(name))
      -- Without a terminal nobody is told of this one: it has been passed over when the next one arrives.
      if name ~= "WINCH" then
        session.eventually(function () return exec.text():find(name .. "\n", 1, true) end, program .. " " .. name)
      end
    end
    assert(exec:kill "TERM")
    local how, status = exec:wait()
    return { how = how, status = status, text = exec.text() }
  end

  check("passes on what runc passes on", function ()
    local names = { "HUP", "INT", "WINCH", "QUIT", "USR1", "USR2", "ALRM", "TSTP", "CONT" }
    local expected, got = heard("runc", names), heard("ctrexec", names)
    assert.same(expected, got)
    assert.equal("ready\nHUP\nINT\nQUIT\nUSR1\nUSR2\nALRM\nTSTP\nCONT\nlast\n", got.text)
    assert.equal(9, got.status)
  end)

  check("ends with 128 and the signal that ended the command", function ()
    for _, name in ipairs { "TERM", "INT", "HUP", "USR1", "KILL" } do
      local exec <close> = start("ctrexec", { "--", "/bin/sleep", "1000" })
      session.eventually(function () return session.names_inside(ct) == "sleep" end)
      if name == "KILL" then session.clear(ct) else assert(exec:kill(name)) end
      assert.same({ "exited", 128 + core.signal.numbers[name] }, { exec:wait() })
      assert.equal("", exec.text())
    end
  end)

  check("loses no signal, from the moment that it looks at its container", function ()
    for _ = 1, 50 do
      local exec <close> = start("ctrexec", { "--", "/bin/sleep", "1000" })
      wait_at_random(15)
      exec:kill "TERM"
      local how, status = exec:wait()
      -- Before that it is ended like any program.
      assert.is_true(how == "killed" and status == 15 or how == "exited" and status == 143, how .. " " .. status)
      session.await_empty(ct)
      await_no_helper()
    end
  end)
end)

describe("ctrexec, killed", function ()
  check("at the last moment before the command runs, takes the helper along", function ()
    local reader <close>, writer = core.fd.pipe()
    local caller = processes.run(function ()
      local process = assert(ct:open():prepare { "sleep", "1000" })
      core.fd.write(writer, process.pid .. "\n")
      core.poll.wait({}, session.DEADLINE * 1000)
    end)
    writer:close()
    local pid = math.tointeger(tonumber((core.fd.read(reader, 100))))
    assert.equal("ctrexec:[enter]", core.process.stat(pid).comm)
    local handle <close> = assert(core.pidfd.open(caller))
    assert(core.pidfd.send_signal(handle, core.signal.numbers.KILL))
    processes.wait(caller)
    session.await_empty(ct)
    await_no_helper()
  end)

  check("at any moment, leaves a command that runs or nothing", function ()
    for _ = 1, 200 do
      local exec <close> = start("ctrexec", { "--", "/bin/sleep", "1000" })
      wait_at_random(12)
      exec:kill "KILL"
      assert.same({ "killed", 9 }, { exec:wait() })
      await_no_helper()
      local names = session.names_inside(ct)
      assert.is_true(names == "" or names == "sleep", names)
      session.clear(ct)
    end
  end)
end)

describe("the container, killed", function ()
  local own

  -- The same bundle once more.
  local function restart()
    own:run_runtime("delete", "--force")
    local command = ("runc --root %s run --detach --bundle %s %s </dev/null >%s/start.log 2>&1")
      :format(own.root, own.bundle, own.id, own.dir)
    assert(os.execute(command), tool.read(own.dir .. "/start.log"))
    local state = tool.read(own.root .. "/" .. own.id .. "/state.json")
    own.pid = math.tointeger(tonumber(state:match '"init_process_pid":(%d+)'))
  end

  setup(function ()
    if not skip then own = fixture.container() end
  end)

  teardown(function ()
    if own then assert(own:remove()) end
  end)

  check("at any moment, ends the exec with an error or the command's status", function ()
    local path = own.dir .. "/output"
    for _ = 1, 50 do
      local null <close> = assert(core.file.open("/dev/null", { read = true }))
      local output <close> = assert(core.file.open(path, { write = true, create = true, truncate = true }, 420))
      local exec <close> = session.start(session.exec("ctrexec", own, { "--", "/bin/sleep", "1000" }),
        { stdin = null, stdout = output, stderr = output })
      wait_at_random(15)
      local init <close> = assert(core.pidfd.open(own.pid))
      assert(core.pidfd.send_signal(init, core.signal.numbers.KILL))
      local how, status = exec:wait()
      local text = tool.read(path)
      assert.equal("exited", how)
      if status == 255 then
        assert.matches('^time="[^"]*" level=error msg="exec failed: [^\n]*"\n$', text)
      else
        assert.equal(137, status)
        assert.equal("", text)
      end
      await_no_helper()
      restart()
    end
  end)
end)

describe("a caller that is slow to look", function ()
  -- Its poll(2) says that there is nothing and is held up; meanwhile the helper reports its error and ends.
  local function slow_exec(words)
    local argv = { "strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=poll,execve",
      "-e", "inject=poll:delay_exit=200000", "-e", "inject=execve:delay_enter=100000" }
    local path = ct.dir .. "/output"
    local null <close> = assert(core.file.open("/dev/null", { read = true }))
    local output <close> = assert(core.file.open(path, { write = true, create = true, truncate = true }, 420))
    table.move(session.exec("ctrexec", ct, words), 1, 7 + #words, #argv + 1, argv)
    local run <close> = session.start(argv, { stdin = null, stdout = output, stderr = output })
    return { run:wait() }, tool.read(path)
  end

  check("still hears why the command could not start", function ()
    if not tool.has "strace" then return pending "needs strace" end
    local ended, text = slow_exec { "--", "/no-such-program" }
    assert.same({ "exited", 255 }, ended)
    assert.matches('exec: \\"/no-such-program\\": stat /no-such-program: no such file or directory"\n', text, 1, true)
  end)
end)
