--- The execs whose system calls are made to fail, one by one. A case has these fields:
--
-- name      of the case, for the report
-- on        the container, a variant of tests/lib/variants.lua
-- views     the views of the cgroup hierarchies in which the case runs; both when absent
-- words     options of `exec`; in them stand DIR for the run's folder, AGENT for the socket of its agent, PID for the
--           pid of the container's init, and PROCESS for a file with the process object
-- process   the process object of that file
-- command   the command, instead of /report
-- terminal  the caller's streams are a terminal
-- agent     function (ct): serves the socket AGENT
-- prefix    shell text around the command line
-- from      text of the first call that is made to fail; by default the call that makes the helper's image
-- cold      the cache that an earlier exec has left beside the state is removed first
-- pid_file  the exec must leave a pid file
-- to        the last call that is made to fail
-- host      tests/faults/host.lua, which uses the module, runs instead of the command

local core = require "ctrexec.core"
local peers = require "peers"
local processes = require "processes"
local tool = require "tests.lib.tool"
local variants = require "tests.lib.variants"

local Agent = {}
Agent.__index = Agent

-- Starts a process that serves the socket. It ignores connections that bring no descriptor: they are of failed execs.
local function agent(ct, serve)
  if not ct.listening then
    ct.agent_path = ct.agent_path or ct.dir .. "/agent"
    ct.listening = core.fd.wrap(peers.listen(ct.agent_path))
  end
  local output = ct.dir .. "/agent-output"
  tool.write(output, "")
  local pid = processes.run(function ()
    local fds
    repeat
      local connection <close> = core.fd.wrap(peers.accept(ct.listening:fd()))
      local _
      _, fds = core.fdpass.receive(connection, 65536, 4)
    until fds and fds[1]
    serve(fds[1], output)
    return true
  end)
  return setmetatable({ pidfd = assert(core.pidfd.open(pid)), output = output }, Agent)
end

--- Ends the agent and returns what it has read. After an exec without a failure the agent gets time to read to the end.
function Agent:finish(done)
  if done then core.poll.wait({ { fd = self.pidfd, read = true } }, tool.DEADLINE * 1000) end
  core.pidfd.send_signal(self.pidfd, core.signal.numbers.KILL)
  core.pidfd.wait(self.pidfd)
  self.pidfd:close()
  return (tool.read(self.output):gsub("\r\n", "\n"))
end

local function read_terminal(master, output)
  local text = ""
  while true do
    local data = core.fd.read(master, 65536)
    if not data or data == "" then break end
    text = text .. data
  end
  tool.write(output, text)
end

local function console_agent(ct)
  return agent(ct, read_terminal)
end

local function silent_agent(ct)
  return agent(ct, function () end)
end

-- Gives the container a profile with a seccomp listener; an agent gets the listener of its init, as those of the execs.
local function listener_container(config, ct)
  ct.listener = true
  ct.agent_path = ct.dir .. "/agent"
  config.linux.seccomp = {
    defaultAction = "SCMP_ACT_ALLOW", listenerPath = ct.agent_path,
    architectures = { "SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64" },
    syscalls = { { names = { "mkdir", "mkdirat" }, action = "SCMP_ACT_NOTIFY" } },
  }
  ct.first_agent = silent_agent(ct)
end

variants.define("listener", { config = listener_container, after = function (ct) ct.first_agent:finish(true) end })
variants.define("listener_nnp", {
  config = function (config, ct)
    listener_container(config, ct)
    config.process.noNewPrivileges = true
  end,
  after = function (ct) ct.first_agent:finish(true) end,
})

-- Gives the container a profile that refuses the helper's last steps, so that the helper must take them before it loads
-- the filter.
variants.define("seccomp_strict", { config = function (config)
  config.linux.seccomp = {
    defaultAction = "SCMP_ACT_ALLOW", architectures = { "SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64" },
    syscalls = { { names = { "setsid", "clone", "poll", "ppoll", "prlimit64" }, action = "SCMP_ACT_ERRNO" } },
  }
end })

local ALL = { "CAP_CHOWN", "CAP_KILL", "CAP_NET_BIND_SERVICE" }

local EVERYTHING = {
  args = { "/report" }, cwd = "/work", env = { "PATH=/bin" }, terminal = false, noNewPrivileges = true,
  user = { uid = 1000, gid = 1001, additionalGids = { 4, 7 }, umask = 23 },
  capabilities = { bounding = ALL, effective = ALL, permitted = ALL, inheritable = ALL, ambient = ALL },
  rlimits = {
    { type = "RLIMIT_CORE", soft = 0, hard = 1024 }, { type = "RLIMIT_NPROC", soft = 500, hard = 600 },
  },
  oomScoreAdj = 500,
  scheduler = { policy = "SCHED_BATCH", nice = 3 },
  ioPriority = { class = "IOPRIO_CLASS_BE", priority = 6 },
  execCPUAffinity = { initial = "0", final = "0" },
}

return {
  { name = "a command" },
  { name = "on a terminal, as a user", words = { "-t", "-u", "1000:1000" }, terminal = true },
  { name = "detached, with a pid file", words = { "-d", "--pid-file", "DIR/pid" }, pid_file = true },
  { name = "from the caller's terminal, without one", terminal = true },
  { name = "by a name on PATH, as a user of the container's passwd", words = { "-u", "alice" }, command = "report" },
  { name = "with the whole of the command line's work", words = { "--pid-file", "DIR/pid" }, pid_file = true,
    from = "state.json", views = "hybrid" },
  { name = "for the first time in a container", cold = true, from = "state.json", views = "hybrid" },
  { name = "with all attributes", on = "personality", words = { "--process", "PROCESS", "--login-uid", "1234" },
    process = EVERYTHING, command = false },
  { name = "with descriptors", words = { "--preserve-fds", "2" }, prefix = "3</dev/null 4</dev/zero" },
  { name = "in a user namespace", on = "userns", words = { "-u", "1000:1000" } },
  { name = "under a seccomp profile", on = "seccomp" },
  { name = "under a seccomp profile, with no_new_privs", on = "seccomp_nnp" },
  { name = "under a seccomp profile that forbids the entry", on = "seccomp_strict" },
  { name = "with a seccomp listener", on = "listener", agent = silent_agent, views = "hybrid" },
  { name = "with a seccomp listener, and no_new_privs", on = "listener_nnp", agent = silent_agent, views = "hybrid" },
  { name = "with a lent tool", words = { "--tool", "/bin/busybox:/opt/lent/busybox" } },
  { name = "with a console socket", words = { "-d", "-t", "--console-socket", "AGENT", "--pid-file", "DIR/pid" },
    agent = console_agent, pid_file = true },
  { name = "with a pidfd socket", words = { "--pidfd-socket", "AGENT" }, agent = silent_agent },
  { name = "with a time-out", words = { "--timeout", "20" } },
  { name = "in a cgroup of the caller's choice", on = "cgroups", words = { "--cgroup", "sub" } },
  { name = "of a process without a container", words = { "--pid", "PID" }, without_id = true, views = "hybrid" },
  { name = "in a host program", host = true, from = "/ctrexec-faults-begin", to = "/ctrexec-faults-end" },
}
