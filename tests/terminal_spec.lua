-- exec --tty at a real pseudo-terminal, compared with runc where runc always does the same.

local containers = require "tests.lib.containers"
local core = require "ctrexec.core"
local fixture = require "ctrexec.busted"
local processes = require "processes"
local session = require "tests.lib.session"
local tool = require "tests.lib.tool"

local ct
local check = session.suite(_ENV, function (made) ct = made end, {
  rootfs = function (rootfs) tool.write(rootfs .. "/run.sh", "#!/no/such/interpreter\n", "755") end,
})

-- A command that runs until the test ends it, and no longer than a test. By its path: busybox's shell runs a program of
-- its own in its own process, where SIGINT and SIGQUIT do other things.
local SLEEP = "/bin/sleep " .. tool.DEADLINE

local function start(program, words, options)
  options = options or {}
  options.pty = options.pty or session.pty(33, 77)
  return session.start(session.exec(program, options.container or ct, words, options.prefix), options)
end

local function await_inside(names)
  tool.eventually(function () return containers.names_inside(ct) == names end, names)
end

-- Until a process of that name has the terminal: fields 5 and 8 of proc_pid_stat(5). Keys go to the shell before that.
local function await_foreground(name)
  tool.eventually(function ()
    for _, process in ipairs(containers.inside(ct)) do
      local stat = process.comm == name and tool.read(("/proc/%d/stat"):format(process.pid)) or ""
      local group, foreground = stat:match "^.*%) %a %d+ (%d+) %d+ %d+ (%d+)"
      if group and group == foreground then return true end
    end
  end, name .. " in the foreground")
end

local function shell(text)
  return { "-t", "--", "sh", "-c", text }
end

-- runc changes the terminal's modes while the command already runs; with ctrexec it is done before.
local function when_ready(words)
  local text = words[#words]
  if words[#words - 1] ~= "-c" then return words end
  words = table.move(words, 1, #words, 1, {})
  words[#words] = "until stty -a 2>/dev/null | grep -q -- -onlcr; do sleep 0.01; done\n" .. text
  return words
end

-- Runs a scenario at a terminal of its own with either program and compares what the caller gets. Both also end with
-- the terminal as it was and nothing left in the container.
local function compare(words, scenario)
  local results = {}
  for _, program in ipairs { "runc", "ctrexec" } do
    local tty <close> = start(program, program == "runc" and when_ready(words) or words)
    local result = scenario and scenario(tty)
    local how, status = tty:wait()
    assert.same(tty.before, tty:settings(), program)
    containers.await_empty(ct)
    results[program] = { how = how, status = status, result = result, output = tty.output }
  end
  assert.same(results.runc, results.ctrexec)
  return results.ctrexec
end

-- A shell as a person starts it; its prompt asks the terminal for the cursor's position (CPR), which nobody answers.
local function interactive()
  return start("ctrexec", { "-t", "-e", "PS1=prompt> ", "--", "sh", "-i" })
end

describe("exec --tty", function ()
  check("shows what runc shows, byte by byte", function ()
    local run = compare(shell "printf 'a\\nb\\r\\nc\\td\\033[0m\\n'; stty onlcr; echo e; stty -opost; echo f; exit 7")
    assert.equal(7, run.status)
    assert.equal("a\r\nb\r\r\nc\td\27[0m\r\ne\r\r\nf\r\n", run.output)
  end)

  check("gives the command a terminal of the container's own", function ()
    local text = "tty; cat /dev/tty; ls -l /proc/self/fd 2>/dev/null | grep -o '[02] -> .*'"
    local run = compare(shell(text), function (tty)
      tty:expect "pts"
      tty:send "\4"
    end)
    assert.matches("^/dev/pts/0\r\n", run.output)
  end)

  check("belongs to the command's user", function ()
    compare { "-t", "-u", "1000", "--", "sh", "-c", "stat -c '%u %a %F' /dev/pts/0" }
  end)

  check("starts with the size of the caller's terminal and follows it", function ()
    local tty <close> = start("ctrexec", shell [[stty size; trap 'stty size; exit 4' WINCH; echo ready
      while :; do sleep 0.01; done]])
    tty:expect "^33 77\r\n"
    tty:expect "ready"
    assert(core.terminal.set_size(tty.master, 44, 99))
    tty:expect "44 99\r\n"
    assert.same({ "exited", 4 }, { tty:wait() })
  end)

  check("has that size before the command runs", function ()
    for _ = 1, 20 do
      local tty <close> = start("ctrexec", { "-t", "--", "stty", "size" })
      assert.same({ "exited", 0 }, { tty:wait() })
      assert.equal("33 77\r\n", tty.output)
    end
  end)

  check("puts the caller's terminal into runc's raw mode", function ()
    compare(shell "echo ready; cat >/dev/null", function (tty)
      tty:expect "ready"
      -- runc begins to copy before it has set all modes
      local raw
      tool.eventually(function ()
        raw = tty:settings()
        return raw.input ~= tty.before.input and raw.lines ~= tty.before.lines
      end)
      tty:send "\4"
      return raw
    end)
  end)

  check("is raw before the command can ask its terminal anything", function ()
    for _ = 1, 5 do
      local tty <close> = start("ctrexec", shell "printf '\\033[6n'; cat")
      tty:expect "\27%[6n"
      tty:send "\27[1;1R\4\4"
      tty:wait()
      -- What is typed is echoed once, by the container's terminal and not by the caller's.
      assert.equal("\27[6n^[[1;1R\27[1;1R", tty.output)
    end
  end)

  check("passes control keys", function ()
    local run = compare(shell [[trap 'echo interrupted; exit 5' INT; echo ready
      while :; do sleep 0.01; done]], function (tty)
      tty:expect "ready"
      tty:send "\3"
      tty:expect "interrupted"
    end)
    assert.equal(5, run.status)
    run = compare(shell "echo ready; cat; echo end", function (tty)
      tty:expect "ready"
      tty:send "line\r\4"
    end)
    assert.equal("ready\r\nline\r\nline\r\nend\r\n", run.output)
    run = compare({ "-t", "--", "sh", "-c", "exec " .. SLEEP }, function (tty)
      await_inside "sleep"
      tty:send "\28"
    end)
    assert.equal(128 + 3, run.status)
  end)

  check("lets a shell control its jobs", function ()
    local tty <close> = interactive()
    tty:expect "prompt> "
    tty:send("sleep 1000; echo status $?\r")
    await_foreground "sleep"
    tty:send "\3"
    tty:expect "prompt> "
    tty:send "echo $?\r"
    tty:expect "130\r\n"
    tty:send "sleep 1000\r"
    await_foreground "sleep"
    tty:send "\26"
    tty:expect "%[1%]%+  Stopped +sleep 1000\r\n"
    tty:send "bg\r"
    tty:expect "%[1%] sleep 1000\r\n"
    tty:send "jobs\r"
    tty:expect "%[1%]%+  Running +sleep 1000\r\n"
    tty:send "fg\r"
    tty:expect "sleep 1000\r\n"
    await_foreground "sleep"
    tty:send "\3"
    tty:expect "prompt> "
    tty:send "exit 9\r"
    assert.same({ "exited", 9 }, { tty:wait() })
    assert.same(tty.before, tty:settings())
    containers.await_empty(ct)
  end)

  check("ends a shell with control-D and its last status", function ()
    local tty <close> = interactive()
    tty:expect "prompt> "
    tty:send "(exit 5)\r"
    tty:expect "prompt> "
    tty:send "\4"
    assert.same({ "exited", 5 }, { tty:wait() })
  end)

  check("loses nothing that was written before the end", function ()
    local run = compare(shell "seq 1 100000; exit 3")
    local lines = {}
    for number = 1, 100000 do lines[number] = number .. "\r\n" end
    assert.equal(3, run.status)
    assert.is_true(run.output == table.concat(lines), "the output is not what seq writes")
  end)

  check("loses nothing either when the caller's terminal is read only after the end", function ()
    for _, program in ipairs { "runc", "ctrexec" } do
      -- More than the caller's terminal holds, less than that and what is behind it.
      local tty <close> = start(program, shell "head -c 20000 /dev/zero | tr '\\0' x; touch /tmp/ended; exit 3")
      tool.eventually(function () return tool.read(ct.rootfs .. "/tmp/ended") end)
      containers.await_empty(ct)
      os.remove(ct.rootfs .. "/tmp/ended")
      assert.is_true(tty:is_running())
      assert.same({ "exited", 3 }, { tty:wait() })
      assert.equal(("x"):rep(20000), tty.output)
    end
  end)

  check("does not wait for a process that keeps the terminal open", function ()
    for _, program in ipairs { "runc", "ctrexec" } do
      local tty <close> = start(program, shell([[trap '' HUP; (touch /tmp/kept; exec sleep 1000) &
        until [ -e /tmp/kept ]; do sleep 0.01; done; rm /tmp/kept; echo done; exit 6]]))
      assert.same({ "exited", 6 }, { tty:wait() })
      assert.matches("^done\r+\n$", tty.output)
      assert.equal("sleep", containers.names_inside(ct))
      containers.clear(ct)
    end
  end)

  check("uses the caller's /dev/tty when no stream is a terminal", function ()
    for _, program in ipairs { "runc", "ctrexec" } do
      local null <close> = assert(core.file.open("/dev/null", { read = true, write = true }))
      local reader <close>, writer = core.fd.pipe()
      local errors <close>, complaints = core.fd.pipe()
      local tty <close> = start(program, shell([[stty size; trap 'stty size; exit 3' WINCH; echo ready
        while :; do sleep 0.01; done]]), { stdin = null, stdout = writer, stderr = complaints })
      writer:close()
      complaints:close()
      local output = ""
      tool.eventually(function ()
        output = output .. core.fd.read(reader, 100)
        return output:find "ready"
      end)
      -- runc sets the size only after the command's start
      if program == "ctrexec" then assert.equal("33 77\nready\n", output) end
      tool.eventually(function () return tty:settings().lines ~= tty.before.lines end)
      assert(core.terminal.set_size(tty.master, 44, 99))
      assert.same({ "exited", 3 }, { tty:wait() })
      assert.equal("44 99\n", core.fd.read(reader, 100))
      assert.equal("", core.fd.read(errors, 100))
      assert.same(tty.before, tty:settings())
      assert.equal("", tty.output)
    end
  end)

  check("needs a terminal from somewhere", function ()
    for _, program in ipairs { "runc", "ctrexec" } do
      local errors <close>, complaints = core.fd.pipe()
      local null <close> = assert(core.file.open("/dev/null", { read = true, write = true }))
      local argv = session.exec(program, ct, { "-t", "--", "true" })
      local run <close> = session.start({ "setsid", "-w", table.unpack(argv) },
        { stdin = null, stdout = null, stderr = complaints })
      complaints:close()
      assert.same({ "exited", 255 }, { run:wait() })
      assert.matches('^time="[^"]*" level=error msg="exec failed: open /dev/tty: no such device or address"\n$',
        core.fd.read(errors, 1000))
    end
  end)

  check("says in one line that the kernel did not run the program", function ()
    local tty <close> = start("ctrexec", { "-t", "--", "/run.sh" })
    -- As runc from 1.2 on; before, the container's process says it and the status is 1.
    assert.same({ "exited", 255 }, { tty:wait() })
    assert.same(tty.before, tty:settings())
    assert.matches("^[^\n]* exec /run.sh: no such file or directory *\r\n$", tty.output)
  end)

  check("says why nothing was run as runc says it", function ()
    for _, words in ipairs {
      { "-t", "--", "nosuch" }, { "-t", "--", "/nosuch" }, { "-t", "--cwd", "/nosuch", "--", "true" },
      { "-t", "-d", "--", "true" }, { "-t", "--console-socket", "/x", "--", "true" },
    } do
      local run = compare(words)
      assert.equal(255, run.status)
      assert.matches("^\27%[31mERRO\27%[0m%[0000%] exec failed: [^\n]*\r\n$", run.output)
    end
  end)
end)

describe("the caller's terminal", function ()
  for _, name in ipairs { "TERM", "HUP", "QUIT", "USR1" } do
    check("is restored when ctrexec gets " .. name, function ()
      local run = compare(shell("exec " .. SLEEP), function (tty)
        await_inside "sleep"
        assert(tty:kill(name))
      end)
      assert.equal(128 + core.signal.numbers[name], run.status)
    end)
  end

  -- runc leaves its command alone then, with status 0.
  check("is restored when ctrexec gets INT", function ()
    local tty <close> = start("ctrexec", shell("exec " .. SLEEP))
    await_inside "sleep"
    assert(tty:kill "INT")
    assert.same({ "exited", 130 }, { tty:wait() })
    assert.same(tty.before, tty:settings())
  end)

  check("is restored when the command is killed", function ()
    assert.equal(137, compare(shell "echo ready; kill -9 $$").status)
  end)

  check("is restored when the container is killed", function ()
    for _, program in ipairs { "runc", "ctrexec" } do
      local own = fixture.container()
      local tty <close> = start(program, shell("echo ready; exec " .. SLEEP), { container = own })
      tty:expect "ready"
      assert(own:run_runtime("kill", "KILL"))
      assert.same({ "exited", 137 }, { tty:wait() })
      assert.same(tty.before, tty:settings())
      assert(own:remove())
    end
  end)

  check("gets its modes and its size again after ctrexec was stopped", function ()
    local tty <close> = start("ctrexec", shell "trap 'stty size' WINCH; echo ready; while :; do sleep 0.01; done")
    tty:expect "ready"
    local raw = tty:settings()
    tty:kill "STOP"
    tool.eventually(function () return core.process.stat(tty.pid).state == "T" end)
    -- What a shell does when its job stops.
    processes.wait(processes.start({ "stty", "sane" }, { stdin = tty.pty.slave:fd() }))
    assert.not_same(raw, tty:settings())
    assert(core.terminal.set_size(tty.master, 21, 42))
    tty:kill "CONT"
    tty:expect "21 42\r\n"
    assert.same(raw, tty:settings())
    tty:kill "TERM"
    assert.same({ "exited", 143 }, { tty:wait() })
    assert.same(tty.before, tty:settings())
  end)

  -- The terminal emulator dies: the session's leader gets SIGHUP, ctrexec or the shell it was started from.
  for _, case in ipairs { { "of its own", "" }, { "of a shell's", "trap : HUP; " } } do
    check(case[1] .. " session may go away, and the command's goes with it", function ()
      for _, program in ipairs { "runc", "ctrexec" } do
        local argv = session.exec(program, ct, shell(SLEEP .. " & echo ready; wait"))
        if case[2] ~= "" then argv[3] = argv[3]:gsub("^ *exec", "") .. "; exit $?" end
        local tty <close> = session.start(argv, { pty = session.pty() })
        tty:expect "ready"
        tool.eventually(function () return tty:settings().lines & 8 == 0 end)
        tty.pty.master:close()
        tty.pty.slave:close()
        tty.master = nil
        local _, status = tty:wait()
        assert.is_true(status == 129 or status == 1, tostring(status))
        containers.await_empty(ct)
      end
    end)
  end

  check("takes the command's along when ctrexec itself is killed", function ()
    for _, program in ipairs { "runc", "ctrexec" } do
      local tty <close> = start(program, shell(SLEEP .. " & echo ready; wait"))
      tty:expect "ready"
      tty:kill "KILL"
      assert.same({ "killed", 9 }, { tty:wait() })
      containers.await_empty(ct)
    end
  end)
end)
