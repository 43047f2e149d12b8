--- Sessions: programs at a pseudo-terminal, used as by a person, and other programs that a test watches while they run.

local containers = require "tests.lib.containers"
local core = require "ctrexec.core"
local new_pty = require "tests.lib.pty"
local processes = require "processes"
local tool = require "tests.lib.tool"

local session = {}

local methods = {}
local class = { __index = methods, __name = "tests.session" }

local pidfd, fd = core.pidfd, core.fd

--- A suite of tests on one container of runc, in which ctrexec's exec is compared with runc's. Before each test only
-- the container's init runs.
-- @tparam table env the spec file's `_ENV`
-- @tparam func keep called with the container once it is there
-- @tparam[opt] table options of the fixture
-- @treturn func check(title, test, unless) of tests/lib/suite.lua
function session.suite(env, keep, options)
  options = options or {}
  options.runtime = "runc"
  return containers.suite(env, keep, options, containers.clear)
end

--- A pseudo-terminal, of 24 rows and 80 columns unless told otherwise.
function session.pty(rows, columns)
  return new_pty(rows or 24, columns or 80)
end

--- The command line of an exec.
-- @tparam string program "runc" or "ctrexec"
-- @tparam table ct fixture
-- @tparam {string,...} words options, and the command after "--"; the container's id is added
-- @tparam[opt] string prefix shell text before the command line, as a redirection or `exec 3</dev/null;`
function session.exec(program, ct, words, prefix)
  local command = program == "runc" and "runc" or tool.ctrexec()
  local argv = { "sh", "-c", ("%s exec %s \"$@\""):format(prefix or "", command), "sh", "--root", ct.root, "exec" }
  for _, word in ipairs(words) do
    argv[#argv + 1] = word == "--" and ct.id or word
  end
  return argv
end

local function number_of(stream)
  return math.type(stream) and stream or stream and stream:fd()
end

--- Starts a program.
-- @tparam {string,...} argv
-- @tparam[opt] table options `pty`: the program's controlling terminal, and its streams unless given; `stdin`,
-- `stdout`, `stderr`: descriptors
-- @treturn session `pid`, `pidfd`; `output`: the terminal's output so far; `before`: the terminal's settings before the
-- start
function session.start(argv, options)
  options = options or {}
  local pty = options.pty
  local slave = pty and pty.slave:fd()
  local before = slave and processes.settings(slave)
  local pid = processes.start(argv, {
    stdin = number_of(options.stdin) or slave, stdout = number_of(options.stdout) or slave,
    stderr = number_of(options.stderr) or slave, terminal = slave,
  })
  return setmetatable({
    pid = pid, pidfd = assert(pidfd.open(pid)), pty = pty, master = pty and pty.master, before = before,
    output = "", seen = 1,
  }, class)
end

--- Starts a program without input and without a terminal. Its output goes to a file; `text()` returns the output
-- without the times of log lines.
function session.start_to_file(argv, path)
  local null <close> = assert(core.file.open("/dev/null", { read = true }))
  local output <close> = assert(core.file.open(path, { write = true, create = true, truncate = true }, 420))
  local run = session.start(argv, { stdin = null, stdout = output, stderr = output })
  function run.text()
    return (tool.read(path):gsub('time="[^"]*"', "time"))
  end
  return run
end

--- Types text at the terminal.
function methods:send(text)
  assert(fd.write(self.master, text))
end

-- Reads new output of the terminal; returns false when none came in time, nil at the end.
local function take(self, deadline)
  local left = math.max(0, math.ceil((deadline - core.clock.now()) * 1000))
  local ready = core.poll.wait({ { fd = self.master, read = true } }, left)
  if not ready then return false end
  local data = fd.read(self.master, 65536)
  if not data or data == "" then return nil end
  self.output = self.output .. data
  return true
end

--- Waits until the output matches a pattern, behind the match of the last call.
-- @treturn string the match, or its first capture
function methods:expect(pattern)
  local deadline = core.clock.now() + tool.DEADLINE
  while true do
    local first, last, capture = self.output:find(pattern, self.seen)
    if first then
      self.seen = last + 1
      return capture or self.output:sub(first, last)
    end
    if not take(self, deadline) then
      error(("%q did not come after %q"):format(pattern, self.output:sub(self.seen)), 2)
    end
  end
end

--- Whether the program still runs.
function methods:is_running()
  return not core.poll.wait({ { fd = self.pidfd, read = true } }, 0)
end

--- Sends a signal to the program itself.
function methods:kill(name)
  return pidfd.send_signal(self.pidfd, core.signal.numbers[name])
end

--- Waits for the end of the program, and reads the terminal's output meanwhile.
-- @treturn string "exited" or "killed"
-- @treturn integer status or signal
function methods:wait()
  if self.ended then return table.unpack(self.ended) end
  local deadline = core.clock.now() + tool.DEADLINE
  local entries = { { fd = self.pidfd, read = true }, self.master and { fd = self.master, read = true } }
  repeat
    local left = math.max(0, math.ceil((deadline - core.clock.now()) * 1000))
    local ready = core.poll.wait(entries, left)
    if not ready then
      self:kill "KILL"
      processes.wait(self.pid)
      self.ended = {}
      error(("it does not end; its terminal has %q"):format(self.output), 2)
    end
    if ready[2] and (ready[2].read or ready[2].hangup) and take(self, deadline) == nil then entries[2] = nil end
  until ready[1].read
  while self.master and take(self, 0) do end
  self.ended = { processes.wait(self.pid) }
  return table.unpack(self.ended)
end

--- Ends the program, and closes its terminal.
function methods:close()
  if not self.ended then
    self:kill "KILL"
    processes.wait(self.pid)
  end
  self.pidfd:close()
  if self.pty then
    self.pty.master:close()
    self.pty.slave:close()
  end
end

class.__close = methods.close

--- The settings of the terminal, in a form that can be compared.
function methods:settings()
  return processes.settings(self.pty.slave:fd())
end

return session
