local core = require "ctrexec.core"
local support = require "spec.core.support"
local processes = require "processes"
local new_pty = require "tests.lib.pty"
local tool = require "tests.lib.tool"

local relay, pidfd, errno = core.relay, core.pidfd, support.errno
local signals = core.signal.numbers
local MIB = 1 << 20
local DEADLINE = tool.DEADLINE

local function null()
  return assert(core.file.open("/dev/null", { read = true, write = true }))
end

-- Starts a child process: { pid, pidfd }. `streams` are descriptors; a stream that is not given is /dev/null.
local function start(command, streams)
  local nothing <close> = null()
  local numbers = { stdin = nothing:fd(), stdout = nothing:fd() }
  for name, fd in pairs(streams or {}) do
    numbers[name] = math.type(fd) and fd or fd:fd()
  end
  local pid = processes.start({ "/bin/sh", "-c", command }, numbers)
  return { pid = pid, pidfd = assert(pidfd.open(pid)) }
end

local function finish(child)
  pidfd.send_signal(child.pidfd, signals.KILL)
  child.pidfd:close()
  return processes.wait(child.pid)
end

-- Runs the loop for a process, which must have ended then. The deadline is only for a loop that hangs.
local function run(child, options)
  options.pidfd = child.pidfd
  options.deadline = options.deadline or DEADLINE
  local ok, message = relay.run(options)
  assert.is_true(ok, message or "the loop ran into its deadline")
  local how, number = processes.wait(child.pid)
  child.pidfd:close()
  return how, number
end

-- Starts a process that runs `command` on the read end of a pipe, with its output in a file. Returns the write end, and
-- a function that waits for the process and returns its output.
local function into(command)
  local read, write = core.fd.pipe()
  local folder = tool.folder()
  local file = folder .. "/output"
  local output = assert(core.file.open(file, { write = true, create = true }, 420))
  local reader = start(command, { stdin = read, stdout = output })
  read:close()
  output:close()
  return write, function ()
    write:close()
    processes.wait(reader.pid)
    reader.pidfd:close()
    local text = tool.read(file)
    tool.remove(folder)
    return text
  end
end

-- Runs a command with its stdout (and stdin, when there is `input`) behind pipes of its own, as a foreground exec does.
local function run_piped(command, options)
  local out_read, out_write = core.fd.pipe()
  local in_read, in_write
  if options.from then
    in_read, in_write = core.fd.pipe()
  end
  local child = start(command, { stdout = out_write, stdin = in_read or options.stdin })
  out_write:close()
  options.copies = { { from = out_read, to = options.to } }
  if options.from then
    in_read:close()
    options.copies[2] = { from = options.from, to = in_write, input = true }
  end
  local how, number = run(child, options)
  out_read:close()
  if in_write then
    in_write:close()
  end
  return how, number
end

-- Starts a command with a pseudo-terminal as its terminal and as its streams, except those in `others`.
local function start_in(pty, command, others)
  local slave = pty.slave
  local streams = { stdin = slave, stdout = slave, stderr = slave, terminal = slave }
  for name, fd in pairs(others or {}) do
    streams[name] = fd
  end
  local child = start(command, streams)
  slave:close()
  return child
end

-- Lets a test act only once the loop runs. `wait` is a shell command that ends when the loop has copied something, and
-- `copy` is the copy that it needs; `after(action)` calls the action in a process of its own once the command has run
-- `ready`, a shell command as well.
local function new_gate()
  local go_read, go_write = core.fd.pipe()
  local in_read, in_write = core.fd.pipe()
  local ready_read, ready_write = core.fd.pipe()
  assert(core.fd.write(go_write, "go\n"))
  local gate = { stdin = in_read, stderr = ready_write, copy = { from = go_read, to = in_write, input = true },
    wait = "read go", ready = "echo ready >&2" }
  function gate.after(action)
    return processes.run(function ()
      return core.fd.read(ready_read, 16) == "ready\n" and action()
    end)
  end
  return setmetatable(gate, { __close = function ()
    for _, fd in ipairs { go_read, go_write, in_read, in_write, ready_read, ready_write } do
      fd:close()
    end
  end })
end

local function scratch_file(text)
  local folder = tool.folder()
  finally(function () tool.remove(folder) end)
  tool.write(folder .. "/file", text or "")
  return folder .. "/file"
end

-- 64 MiB in which no two pages are equal, and their checksum.
local STREAM = "seq 1 9000000 | head -c " .. 64 * MIB
local stream_sum
local function sum_of_stream()
  stream_sum = stream_sum or tool.output(STREAM .. " | cksum")
  return stream_sum
end

describe("relay.run copies", function ()
  it("64 MiB from a pipe to a pipe", function ()
    local to, result = into "cksum"
    assert.same({ "exited", 3 }, { run_piped("(" .. STREAM .. "); exit 3", { to = to }) })
    assert.equal(sum_of_stream(), result())
  end)

  it("64 MiB through a command and back", function ()
    local name = scratch_file()
    tool.output(STREAM .. " >" .. name)
    local from <close> = assert(core.file.open(name, { read = true }))
    local to, result = into "cksum"
    assert.same({ "exited", 0 }, { run_piped("cat", { from = from, to = to }) })
    assert.equal(sum_of_stream(), result())
  end)

  it("64 MiB from pipe to pipe to command", function ()
    local read, write = core.fd.pipe()
    local writer = start(STREAM, { stdout = write })
    write:close()
    local to, result = into "cat"
    assert.same({ "exited", 0 }, { run_piped("cksum", { from = read, to = to }) })
    assert.equal(sum_of_stream(), result())
    read:close()
    finish(writer)
  end)

  it("64 MiB to a file, from where its offset is", function ()
    local name = scratch_file()
    local to <close> = assert(core.file.open(name, { write = true }))
    assert(core.fd.write(to, "head\n"))
    assert.same({ "exited", 0 }, { run_piped(STREAM, { to = to }) })
    assert(core.fd.write(to, "tail\n"))
    assert.equal(tool.output("(echo head; " .. STREAM .. "; echo tail) | cksum"),
      tool.output("cksum <" .. name))
  end)

  it("to a file opened for appending, where splice(2) cannot", function ()
    local name = scratch_file "first\n"
    local to <close> = assert(core.file.open(name, { append = true }))
    assert.same({ "exited", 0 }, { run_piped("seq 1 100000", { to = to }) })
    assert.equal(tool.output "(echo first; seq 1 100000) | cksum", tool.output("cksum <" .. name))
  end)

  it("64 MiB to a socket and back from one", function ()
    local near, far = core.fd.socketpair()
    local to, result = into "cksum"
    -- A process of the test that sends back all it gets, until the loop has shut the socket.
    local echo = start("cat", { stdin = far, stdout = far })
    far:close()
    local out_read, out_write = core.fd.pipe()
    local child = start(STREAM, { stdout = out_write })
    out_write:close()
    -- First the command's output to the socket, in a process of its own; then the socket's to the checksum, here.
    local sender = processes.run(function ()
      return relay.run { pidfd = child.pidfd, copies = { { from = out_read, to = near } }, deadline = DEADLINE } == true
    end)
    out_read:close()
    local counted, counter = core.fd.pipe()
    local limit = start("head -c " .. 64 * MIB .. "; exit 0", { stdin = counted, stdout = to })
    counted:close()
    assert.is_true(relay.run { pidfd = limit.pidfd, deadline = DEADLINE,
      copies = { { from = near, to = counter, input = true } } })
    assert.equal(sum_of_stream(), result())
    for _, pid in ipairs { child.pid, sender, limit.pid } do
      processes.wait(pid)
    end
    near:close()
    counter:close()
    finish(echo)
  end)

  it("stdout and stderr side by side", function ()
    local out, out_result = into "cksum"
    local err, err_result = into "cksum"
    local out_read, out_write = core.fd.pipe()
    local err_read, err_write = core.fd.pipe()
    local child = start("seq 1 300000 & seq 1 300000 >&2; wait", { stdout = out_write, stderr = err_write })
    out_write:close()
    err_write:close()
    local copies = { { from = out_read, to = out }, { from = err_read, to = err } }
    assert.same({ "exited", 0 }, { run(child, { copies = copies }) })
    local sum = tool.output "seq 1 300000 | cksum"
    assert.equal(sum, out_result())
    assert.equal(sum, err_result())
    out_read:close()
    err_read:close()
  end)

  it("for a reader that is slow, without growing", function ()
    local to, result = into "sleep 0.3; dd bs=777 2>/dev/null | cksum"
    local before = collectgarbage "count"
    assert.same({ "exited", 0 }, { run_piped("seq 1 2000000", { to = to }) })
    assert.equal(tool.output "seq 1 2000000 | cksum", result())
    assert.is_true(collectgarbage "count" < before + 1024)
  end)

  it("to a slow reader even what the command left at its end", function ()
    -- The command is gone long before its last bytes are read.
    local to, result = into "sleep 0.5; cksum"
    assert.same({ "exited", 0 }, { run_piped("head -c 120000 /dev/zero", { to = to }) })
    assert.equal(tool.output "head -c 120000 /dev/zero | cksum", result())
  end)

  it("nothing when there is nothing to copy", function ()
    assert.same({ "exited", 4 }, { run(start "exit 4", {}) })
    assert.same({ "exited", 5 }, { run(start "exit 5", { copies = {} }) })
  end)
end)

describe("relay.run leaves the descriptors of the caller", function ()
  it("blocking, open and with nothing added", function ()
    local to, result = into "cat"
    local read, write = core.fd.pipe()
    core.fd.write(write, "some input\n")
    write:close()
    -- The read end of a pipe whose write end is closed can be read to its end.
    assert.is_false(processes.is_nonblocking(to:fd()))
    local before = support.open_descriptors()
    local observer = processes.run(function ()
      -- A child shares the open file descriptions: it sees what the loop does to them while it runs.
      for _ = 1, 200 do
        if processes.is_nonblocking(to:fd()) or processes.is_nonblocking(read:fd()) then
          return false
        end
        core.poll.wait({}, 1)
      end
      return true
    end)
    assert.same({ "exited", 0 }, { run_piped("cat; sleep 0.1", { from = read, to = to }) })
    assert.same({ "exited", 0 }, { processes.wait(observer) })
    assert.is_true(core.fd.is_open(read:fd()))
    assert.is_true(core.fd.is_open(to:fd()))
    read:close()
    assert.equal("some input\n", result())
    -- The two above, and the pidfd of the reader.
    assert.equal(before - 3, support.open_descriptors())
  end)

  it("as they are on a pseudo-terminal too", function ()
    local pty <close> = new_pty()
    local to <close> = null()
    local child = start_in(pty, "echo x")
    assert.same({ "exited", 0 }, { run(child, { copies = { { from = pty.master, to = to } }, master = pty.master }) })
    assert.is_false(processes.is_nonblocking(pty.master:fd()))
  end)
end)

describe("relay.run at the end of the input", function ()
  it("closes the pipe to the command", function ()
    local from <close> = null()
    local to, result = into "cat"
    assert.same({ "exited", 0 }, { run_piped("cat; echo end", { from = from, to = to }) })
    assert.equal("end\n", result())
  end)

  it("goes on copying output", function ()
    local from <close> = null()
    local to, result = into "cat"
    assert.same({ "exited", 0 }, { run_piped("cat; sleep 0.2; echo later", { from = from, to = to }) })
    assert.equal("later\n", result())
  end)

  it("sends nothing to a pseudo-terminal", function ()
    local pty <close> = new_pty()
    local from <close> = null()
    local to, result = into "cat"
    local child = start_in(pty, "read line; echo \"$? $line\"")
    local copies = { { from = pty.master, to = to }, { from = from, to = pty.master, input = true } }
    assert.same({ timeout = true },
      relay.run { pidfd = child.pidfd, copies = copies, master = pty.master, deadline = 0.3 })
    core.fd.write(pty.master, "typed\n")
    assert.same({ "exited", 0 }, { run(child, { copies = copies, master = pty.master }) })
    assert.equal("typed\r\n0 typed\r\n", result())
  end)

  it("stops reading when the command has closed its side", function ()
    local read, write = core.fd.pipe()
    core.fd.write(write, ("x"):rep(60000))
    local to, result = into "cat"
    assert.same({ "exited", 0 }, { run_piped("exec <&-; sleep 0.2; echo done", { from = read, to = to }) })
    assert.equal("done\n", result())
    read:close()
    write:close()
  end)

  it("takes an input that is not open for one that has ended", function ()
    local closed = assert(core.fd.dup(0))
    local number = closed:fd()
    closed:close()
    local in_read, in_write = core.fd.pipe()
    local child = start("cat; exit 6", { stdin = in_read })
    in_read:close()
    -- The number is free, and nothing that the loop opens before its first read may take it for itself.
    assert.same({ "exited", 6 }, { run(child, { copies = { { from = number + 100, to = in_write, input = true } } }) })
  end)
end)

describe("relay.run when its reader has gone", function ()
  it("lets a command on a pipe have its SIGPIPE", function ()
    local to, result = into "head -n 1"
    assert.same({ "killed", signals.PIPE }, { run_piped("exec yes", { to = to }) })
    assert.equal("y\n", result())
  end)

  it("waits for a command that does not care", function ()
    local read, write = core.fd.pipe()
    read:close()
    assert.same({ "exited", 9 }, { run_piped("trap '' PIPE; echo a; sleep 0.2; echo b; exit 9", { to = write }) })
    write:close()
  end)

  it("hangs up a command on a pseudo-terminal", function ()
    local pty <close> = new_pty()
    local to, result = into "head -n 1"
    local child = start_in(pty, "exec yes")
    local options = { copies = { { from = pty.master, to = to } }, master = pty.master }
    assert.same({ "killed", signals.HUP }, { run(child, options) })
    assert.equal("y\r\n", result())
  end)

  it("treats a full disk the same", function ()
    local full <close> = assert(core.file.open("/dev/full", { write = true }))
    assert.same({ "killed", signals.PIPE }, { run_piped("exec yes", { to = full }) })
  end)

  it("raises no SIGPIPE and leaves none pending", function ()
    local near, far = core.fd.socketpair()
    far:close()
    assert.same({ "killed", signals.PIPE }, { run_piped("exec yes", { to = near }) })
    near:close()
    local read, write = core.fd.pipe()
    read:close()
    local mask = processes.blocked()
    assert.same({ "killed", signals.PIPE }, { run_piped("exec yes", { to = write }) })
    write:close()
    assert.same({}, processes.pending())
    assert.same(mask, processes.blocked())
  end)
end)

describe("relay.run after the end of the process", function ()
  it("does not wait for who keeps its pipe open", function ()
    local to, result = into "cat"
    local started = core.clock.now()
    -- It ends when `hold` does.
    local stdin, hold = core.fd.pipe()
    assert.same({ "exited", 2 },
      { run_piped("exec 3<&0; cat <&3 & echo out; exit 2", { to = to, stdin = stdin }) })
    assert.equal("out\n", result())
    assert.is_true(core.clock.now() - started < 10)
    stdin:close()
    hold:close()
  end)

  it("does not copy for ever what such a process writes", function ()
    -- The pipe is never empty: its writer is always faster than the reader.
    local to, result = into "while dd bs=8192 count=1 2>/dev/null | grep -q y; do sleep 0.02; done"
    assert.same({ "exited", 2 }, { run_piped("(trap '' PIPE; exec timeout 30 yes) & sleep 0.1; exit 2", { to = to }) })
    result()
  end)

  it("does not wait for who keeps its pseudo-terminal open", function ()
    local pty <close> = new_pty()
    local to, result = into "cat"
    local child = start_in(pty, "trap '' HUP; (sleep 15; echo late) & echo out; exit 2")
    assert.same({ "exited", 2 }, { run(child, { copies = { { from = pty.master, to = to } }, master = pty.master }) })
    assert.equal("out\r\n", result())
    assert(os.execute("kill -KILL -" .. child.pid))
  end)

  it("has all of a pseudo-terminal's output, every time", function ()
    local wanted = tool.output "seq 1 1000":gsub("\n", "\r\n")
    for _ = 1, 40 do
      local pty <close> = new_pty()
      local to, result = into "cat"
      local child = start_in(pty, "exec seq 1 1000")
      assert.same({ "exited", 0 }, { run(child, { copies = { { from = pty.master, to = to } }, master = pty.master }) })
      assert.equal(wanted, result())
    end
  end)

  it("has all of a pipe's output, every time", function ()
    local wanted = tool.output "seq 1 2000"
    for _ = 1, 40 do
      local to, result = into "cat"
      assert.same({ "exited", 0 }, { run_piped("exec seq 1 2000", { to = to }) })
      assert.equal(wanted, result())
    end
  end)

  it("returns at once for a process that ended before", function ()
    local child = start "exit 7"
    core.poll.wait({ { fd = child.pidfd, read = true } }, 1000 * DEADLINE)
    assert.same({ "exited", 7 }, { run(child, {}) })
  end)
end)

describe("relay.run with a pseudo-terminal", function ()
  it("copies 16 MiB of output", function ()
    local pty <close> = new_pty()
    local to, result = into "tr -d '\\r' | cksum"
    local child = start_in(pty, "exec seq 1 2300000")
    assert.same({ "exited", 0 }, { run(child, { copies = { { from = pty.master, to = to } }, master = pty.master }) })
    assert.equal(tool.output "seq 1 2300000 | cksum", result())
  end)

  it("copies what is typed, and keys make signals", function ()
    local pty <close> = new_pty()
    local ready_read, ready_write = core.fd.pipe()
    local keys_read, keys_write = core.fd.pipe()
    core.fd.write(keys_write, "first line\n")
    local to, result = into "cat"
    local child = start_in(pty, [[stty -echo; trap 'echo interrupted; exit 8' INT
      read line; echo "got $line"; echo ready >&2; while :; do sleep 0.02; done]], { stderr = ready_write })
    local copies = { { from = pty.master, to = to }, { from = keys_read, to = pty.master, input = true } }
    local typist = processes.run(function ()
      return core.fd.read(ready_read, 16) and core.fd.write(keys_write, "\3") == 1
    end)
    assert.same({ "exited", 8 }, { run(child, { copies = copies, master = pty.master }) })
    assert.matches("got first line\r\n.*interrupted\r\n$", result())
    processes.wait(typist)
    for _, fd in ipairs { keys_read, keys_write, ready_read, ready_write } do
      fd:close()
    end
  end)

  it("gives it the size of the caller's terminal", function ()
    local pty <close>, to, result = new_pty(), into "cat"
    local host <close> = new_pty()
    core.terminal.set_size(host.slave, 21, 77)
    local child = start_in(pty, "sleep 0.2; stty size")
    assert.same({ "exited", 0 }, { run(child, { copies = { { from = pty.master, to = to } }, master = pty.master,
      terminal = host.slave }) })
    assert.equal("21 77\r\n", result())
  end)

  it("follows the caller's window", function ()
    local pty <close> = new_pty()
    local host <close> = new_pty()
    local gate <close> = new_gate()
    local to, result = into "cat"
    for _, terminal in ipairs { pty.master, host.slave } do
      core.terminal.set_size(terminal, 21, 77)
    end
    local parent = core.process.ids().pid
    local child = start_in(pty, "trap 'stty size <&1; exit 0' WINCH; stty size <&1; " .. gate.wait .. ";" .. gate.ready
      .. "; while :; do sleep 0.02; done", { stdin = gate.stdin, stderr = gate.stderr })
    local resizer = gate.after(function ()
      return core.terminal.set_size(host.slave, 30, 100)
        and pidfd.send_signal(assert(pidfd.open(parent)), signals.WINCH)
    end)
    assert.same({ "exited", 0 }, { run(child, { copies = { { from = pty.master, to = to }, gate.copy },
      master = pty.master, terminal = host.slave, signals = true }) })
    assert.equal("21 77\r\n30 100\r\n", result())
    assert.same({ "exited", 0 }, { processes.wait(resizer) })
  end)

  it("sets the caller's terminal again after a stop", function ()
    local test = processes.run(function ()
      local host = new_pty()
      -- A session of its own with the host's pseudo-terminal, and in it the loop.
      local session = processes.run(function ()
        local gate = new_gate()
        local state = assert(core.terminal.raw(host.slave))
        local raw = processes.settings(host.slave:fd())
        local child = start("trap 'exit 0' CONT; " .. gate.wait .. ";" .. gate.ready
          .. "; while :; do sleep 0.02; done", { stdin = gate.stdin, stderr = gate.stderr })
        local self = core.process.ids().pid
        gate.after(function ()
          -- As a shell does that takes its terminal back.
          return core.terminal.restore(state) and pidfd.send_signal(assert(pidfd.open(self)), signals.CONT)
        end)
        local ok = relay.run { pidfd = child.pidfd, terminal = host.slave, signals = true, copies = { gate.copy },
          deadline = DEADLINE }
        return ok == true and processes.settings(host.slave:fd()).lines == raw.lines
      end, host.slave:fd())
      local how, status = processes.wait(session)
      return how == "exited" and status == 0
    end)
    assert.same({ "exited", 0 }, { processes.wait(test) })
  end)

  it("passes output to a terminal that is read slowly, and goes on watching", function ()
    local host <close> = new_pty()
    local raw <close> = assert(core.terminal.raw(host.slave))
    local out_read, out_write = core.fd.pipe()
    local child = start("seq 1 20000; exec sleep 15", { stdout = out_write })
    out_write:close()
    -- No process reads the host's terminal, so a blocking write to it would keep the loop from seeing its deadline.
    assert.same({ timeout = true }, relay.run { pidfd = child.pidfd, deadline = 0.3,
      copies = { { from = out_read, to = host.slave } } })
    assert.is_truthy(raw)
    finish(child)
    out_read:close()
  end)
end)

describe("relay.run with signals", function ()
  local parent = core.process.ids().pid

  local function send(pid, ...)
    local fd <close> = assert(pidfd.open(pid))
    for _, signal in ipairs { ... } do
      assert(pidfd.send_signal(fd, signal))
    end
    return true
  end

  it("forwards them to the process", function ()
    for _, name in ipairs { "HUP", "INT", "QUIT", "TERM", "USR1", "USR2", "ALRM", "TSTP", "CONT" } do
      local gate <close> = new_gate()
      local command = "trap 'exit 3' %s; %s; %s; while :; do sleep 0.02; done"
      local child = start(command:format(name, gate.wait, gate.ready), { stdin = gate.stdin, stderr = gate.stderr })
      local sender = gate.after(function () return send(parent, signals[name]) end)
      assert.same({ "exited", 3 }, { run(child, { signals = true, copies = { gate.copy } }) })
      processes.wait(sender)
    end
  end)

  it("forwards one that came before the loop, when they were blocked", function ()
    -- In a child of its own, whose mask may be changed.
    local test = processes.run(function ()
      assert(relay.block_signals())
      local ready_read, ready_write = core.fd.pipe()
      local child = start("trap 'exit 3' TERM; echo; while :; do sleep 0.02; done", { stdout = ready_write })
      core.fd.read(ready_read, 1)
      send(core.process.ids().pid, signals.TERM)
      local ok = relay.run { pidfd = child.pidfd, signals = true, deadline = DEADLINE }
      local how, status = processes.wait(child.pid)
      return ok == true and how == "exited" and status == 3 and #processes.pending() == 0
    end)
    assert.same({ "exited", 0 }, { processes.wait(test) })
  end)

  it("keeps SIGCHLD, SIGURG, SIGWINCH and SIGPIPE to itself", function ()
    local gate <close> = new_gate()
    local child = start(("trap 'exit 1' CHLD URG WINCH PIPE; %s; %s; read end"):format(gate.wait, gate.ready),
      { stdin = gate.stdin, stderr = gate.stderr })
    local sender = gate.after(function ()
      send(parent, signals.CHLD, signals.URG, signals.WINCH, signals.PIPE)
      -- Forwarded ones would arrive, and be acted on, before this.
      core.poll.wait({}, 100)
      return core.fd.write(gate.copy.to, "end\n") == 4
    end)
    assert.same({ "exited", 0 }, { run(child, { signals = true, copies = { gate.copy } }) })
    processes.wait(sender)
    assert.same({}, processes.pending())
  end)

  it("restores the mask, and delivers what came too late", function ()
    local mask = processes.blocked()
    assert.same({ "exited", 0 }, { run(start "exit 0", { signals = true }) })
    assert.same(mask, processes.blocked())
    assert.same({ timeout = true }, (function ()
      local child = start "exec sleep 15"
      local result = relay.run { pidfd = child.pidfd, signals = true, deadline = 0.05 }
      finish(child)
      return result
    end)())
    assert.same(mask, processes.blocked())
    local test = processes.run(function ()
      local child = start "sleep 0.3"
      relay.run { pidfd = child.pidfd, signals = true, deadline = DEADLINE }
      pidfd.send_signal(assert(pidfd.open(core.process.ids().pid)), signals.TERM)
      core.poll.wait({}, 1000 * DEADLINE)
      return true
    end)
    assert.same({ "killed", signals.TERM }, { processes.wait(test) })
  end)

  it("touches none without the option", function ()
    local test = processes.run(function ()
      -- This process is killed; its child ends with the last writer of the pipe.
      local stdin, hold = core.fd.pipe()
      local child = start("exec cat", { stdin = stdin })
      stdin:close()
      local self = core.process.ids().pid
      processes.run(function ()
        core.poll.wait({}, 200)
        return pidfd.send_signal(assert(pidfd.open(self)), signals.TERM)
      end)
      relay.run { pidfd = child.pidfd, deadline = DEADLINE }
      hold:close()
      return true
    end)
    assert.same({ "killed", signals.TERM }, { processes.wait(test) })
  end)
end)

describe("relay.run at its deadline", function ()
  it("leaves the process alone and can be called again", function ()
    local to, result = into "cat"
    local read, write = core.fd.pipe()
    local child = start("echo one; sleep 0.6; echo two; exit 5", { stdout = write })
    write:close()
    local options = { copies = { { from = read, to = to } }, deadline = 0.2, pidfd = child.pidfd }
    assert.same({ timeout = true }, relay.run(options))
    assert.is_true(pidfd.alive(child.pidfd))
    options.deadline = nil
    assert.same({ "exited", 5 }, { run(child, options) })
    assert.equal("one\ntwo\n", result())
    read:close()
  end)

  it("keeps what could not be delivered for the next call", function ()
    local near, far = core.fd.socketpair()
    local read, write = core.fd.pipe()
    local child = start("seq 1 200000; exit 0", { stdout = write })
    write:close()
    local options = { copies = { { from = read, to = near } }, deadline = 0.3, pidfd = child.pidfd }
    assert.same({ timeout = true }, relay.run(options))
    assert.is_string(options.copies[1].pending)
    local name = scratch_file()
    local file <close> = assert(core.file.open(name, { write = true }))
    local reader = start("cat", { stdin = far, stdout = file })
    far:close()
    options.deadline = nil
    assert.same({ "exited", 0 }, { run(child, options) })
    assert.is_nil(options.copies[1].pending)
    near:close()
    processes.wait(reader.pid)
    assert.equal(tool.output "seq 1 200000", tool.read(name))
    read:close()
  end)

  it("has used next to no processor time when nothing could move", function ()
    local read, write = core.fd.pipe()
    local out_read, out_write = core.fd.pipe()
    local child = start("exec yes", { stdout = out_write })
    out_write:close()
    local used = os.clock()
    assert.same({ timeout = true },
      relay.run { pidfd = child.pidfd, deadline = 0.5, copies = { { from = out_read, to = write } } })
    assert.is_true(os.clock() - used < 0.1)
    finish(child)
    for _, fd in ipairs { read, write, out_read } do
      fd:close()
    end
  end)

  it("may be at once, or never", function ()
    local child = start "exec sleep 15"
    assert.same({ timeout = true }, relay.run { pidfd = child.pidfd, deadline = 0 })
    finish(child)
    assert.same({ "exited", 0 }, { run(start "exit 0", { deadline = math.huge }) })
  end)
end)

describe("relay.run", function ()
  it("leaves no descriptor and no memory behind", function ()
    local function once()
      local to <close> = null()
      assert.same({ "exited", 0 }, { run_piped("echo x", { to = to, signals = true }) })
    end
    once()
    local before = support.open_descriptors()
    for _ = 1, 20 do
      once()
    end
    assert.equal(before, support.open_descriptors())
  end)

  it("refuses a pidfd that is not open", function ()
    assert.same({ nil, "relay: pidfd 1048576: Bad file descriptor", errno.EBADF }, { relay.run { pidfd = 1 << 20 } })
  end)

  it("raises for options of a wrong type", function ()
    local fd <close> = null()
    for _, options in ipairs {
      {}, { pidfd = "x" },
      { pidfd = fd, deadline = -1 }, { pidfd = fd, deadline = "soon" }, { pidfd = fd, deadline = 0 / 0 },
      { pidfd = fd, copies = 1 }, { pidfd = fd, copies = { 1 } }, { pidfd = fd, copies = { { from = fd } } },
      { pidfd = fd, copies = { { from = fd, to = "x" } } }, { pidfd = fd, master = fd }, { pidfd = fd, terminal = {} },
      { pidfd = fd, copies = { { from = fd, to = fd, pending = ("x"):rep(MIB) } } },
    } do
      assert.error(function () relay.run(options) end)
    end
    assert.error(function () relay.run() end)
    local many = {}
    for i = 1, 9 do
      many[i] = { from = fd, to = fd }
    end
    assert.error(function () relay.run { pidfd = fd, copies = many } end)
  end)
end)
