-- Signals to a foreground exec; what is left when ctrexec or the container is killed at any moment; and the message of
-- a caller that reads its events late.

local containers = require "tests.lib.containers"
local core = require "ctrexec.core"
local processes = require "processes"
local session = require "tests.lib.session"
local tool = require "tests.lib.tool"

math.randomseed(1) -- a run can be repeated

local ct
local check = session.suite(_ENV, function (made) ct = made end)

local function start(program, words)
  return session.start_to_file(session.exec(program, ct, words), ct.dir .. "/output")
end

-- All processes of the machine that are still helpers.
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
  local function is_none()
    left = helpers()
    return left == ""
  end
  if not tool.within(is_none) then error("still on the way in: " .. left, 2) end
end

-- Waits for a random time of up to so many milliseconds, in finer steps than poll(2) has.
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
    tool.eventually(function () return exec.text():find "ready" end)
    for _, name in ipairs(names) do
      assert(exec:kill(name))
      -- Without a terminal nobody is told of this one: it has been passed over when the next one arrives.
      if name ~= "WINCH" then
        tool.eventually(function () return exec.text():find(name .. "\n", 1, true) end, program .. " " .. name)
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
      tool.eventually(function () return containers.names_inside(ct) == "sleep" end)
      if name == "KILL" then containers.clear(ct) else assert(exec:kill(name)) end
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
      containers.await_empty(ct)
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
      core.poll.wait({}, tool.DEADLINE * 1000)
    end)
    writer:close()
    local pid = math.tointeger(tonumber((core.fd.read(reader, 100))))
    assert.equal("ctrexec:[enter]", core.process.stat(pid).comm)
    local handle <close> = assert(core.pidfd.open(caller))
    assert(core.pidfd.send_signal(handle, core.signal.numbers.KILL))
    processes.wait(caller)
    containers.await_empty(ct)
    await_no_helper()
  end)

  check("at any moment, leaves a command that runs or nothing", function ()
    for _ = 1, 200 do
      local exec <close> = start("ctrexec", { "--", "/bin/sleep", "1000" })
      wait_at_random(12)
      exec:kill "KILL"
      assert.same({ "killed", 9 }, { exec:wait() })
      await_no_helper()
      local names = containers.names_inside(ct)
      assert.is_true(names == "" or names == "sleep", names)
      containers.clear(ct)
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

  local check_own = session.suite(_ENV, function (made) own = made end)

  check_own("at any moment, ends the exec with an error or the command's status", function ()
    local path = own.dir .. "/output"
    for _ = 1, 50 do
      local exec <close> = session.start_to_file(session.exec("ctrexec", own, { "--", "/bin/sleep", "1000" }), path)
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
    table.move(session.exec("ctrexec", ct, words), 1, 7 + #words, #argv + 1, argv)
    local run <close> = session.start_to_file(argv, path)
    return { run:wait() }, tool.read(path)
  end

  check("still hears why the command could not start", function ()
    local ended, text = slow_exec { "--", "/no-such-program" }
    assert.same({ "exited", 255 }, ended)
    assert.matches('exec: \\"/no-such-program\\": stat /no-such-program: no such file or directory"\n', text, 1, true)
  end, tool.missing "strace")
end)
