-- From a checked request to the handle of a running command, in the namespaces of this process itself.
local cgroups = require "tests.lib.cgroups"
local cjson = require "cjson"
local core = require "ctrexec.core"
local exec = require "spec.exec.support"
local launch = require "ctrexec.exec.launch"
local pidfile = require "ctrexec.exec.pidfile"
local sockets = require "tests.lib.sockets"
local support = require "spec.core.support"
local tool = require "tests.lib.tool"

local folder

before_each(function() folder = tool.folder() end)
after_each(function() tool.remove(folder) end)

-- The spec of a command that has nothing to read and leaves its output here.
local function spec_with(fields)
  local spec = { stdin = "null", stdout = "pipe", stderr = "stdout" }
  for name, value in pairs(fields or {}) do spec[name] = value end
  return spec
end

-- Starts a command; `options`: `spec`, `object`, `container`, fields of each; `pause`; `warnings`.
local function run(args, options)
  options = options or {}
  local object = exec.object(args, options.object)
  return launch.run(options.container or exec.container(), spec_with(options.spec), object, options.pause,
    options.warnings or {})
end

local function assert_fails(message, expected, handle, text, code)
  assert.is_nil(handle)
  assert.equal(message, text)
  assert.equal(expected, code)
end

-- What comes at a terminal until its other side is closed, which a read says with EIO.
local function terminal_output(master)
  local pieces = {}
  repeat
    tool.await_readable(master, "the terminal")
    pieces[#pieces + 1] = core.fd.read(master, 4096) or false
  until not pieces[#pieces]
  pieces[#pieces] = nil
  return table.concat(pieces)
end

local function assert_ended(pidfd)
  tool.await_readable(pidfd, "the end of the command")
end

describe("launch.run", function()
  it("runs a command and gives its handle", function()
    local handle <close> = assert(run { "sh", "-c", "cat; echo out; echo error >&2; exit 3" })
    assert.equal("out\nerror\n", tool.read_all(handle.stdout))
    assert.same({ nil, nil }, { handle.stdin, handle.stderr })
    assert.equal(3, handle:wait().code)
  end)

  it("leaves nothing open and nobody running when the command cannot be started", function()
    local container, before = exec.container(), tool.children()
    for _, options in ipairs {
      {}, { spec = { stdin = "pipe" } }, { object = { terminal = true } }, { spec = { tree = true } },
    } do
      options.container = container
      assert.equal(0, support.left_open(function()
        local handle, message, code = run({ "/no/such/program" }, options)
        assert.is_nil(handle)
        assert.matches("no such file or directory$", message)
        assert.equal("not_found", code)
      end))
    end
    assert.same(before, tool.children())
  end)

  it("refuses streams that are none", function()
    assert_fails('stdout: expected "inherit", "null", "pipe" or a descriptor', "invalid",
      run({ "true" }, { spec = { stdout = "file" } }))
  end)

  it("refuses what cannot be lent before anything is started", function()
    local handle, message, code = run({ "touch", folder .. "/ran" }, { spec = { tools = { "relative" } } })
    assert_fails("tool relative: expected PATH[:DEST], both absolute", "invalid", handle, message, code)
    assert.is_false(tool.exists(folder .. "/ran"))
  end)

  it("prepares a command that waits for its start", function()
    local handle <close> = assert(run({ "echo", "now" }, { pause = true }))
    assert.is_true(handle:is_waiting())
    assert.is_true(handle:start())
    assert.equal("now\n", tool.read_all(handle.stdout))
    assert.equal(0, handle:wait().code)
  end)

  it("gives a command a pty in the place of its streams", function()
    local handle <close> = assert(run({ "sh", "-c", "tty; test -t 0 -a -t 1 -a -t 2 && echo all" },
      { object = { terminal = true, consoleSize = { height = 7, width = 9 } }, spec = { stdout = "inherit" } }))
    assert.matches("^/dev/pts/%d+\r\nall\r\n$", terminal_output(handle.terminal))
    assert.same({ 7, 9 }, { core.terminal.size(handle.terminal) })
    assert.equal(0, handle:wait().code)
  end)

  it("lends what the command may use, to it alone", function()
    if core.process.ids().euid ~= 0 then return pending "needs root, to mount" end
    tool.write(folder .. "/tool", "lent")
    local container = exec.container()
    assert.equal(0, support.left_open(function()
      local handle <close> = assert(run({ "cat", folder .. "/there" },
        { container = container, spec = { tools = { folder .. "/tool:" .. folder .. "/there" } } }))
      assert.equal("lent", tool.read_all(handle.stdout))
      handle:wait()
    end))
    assert.equal("", tool.read(folder .. "/there") or "")
  end)
end)

describe("launch.run with pid_file", function()
  it("writes the command's pid", function()
    local handle <close> = assert(run({ "sh", "-c", "echo $$" }, { spec = { pid_file = folder .. "/pid" } }))
    assert.equal(tool.read(folder .. "/pid") .. "\n", tool.read_all(handle.stdout))
    assert.equal(tostring(handle.pid), tool.read(folder .. "/pid"))
    handle:wait()
  end)

  it("finds out before the start that there can be none", function()
    assert_fails(("open %s/none/.pid: no such file or directory"):format(folder), "system",
      run({ "touch", folder .. "/ran" }, { spec = { pid_file = folder .. "/none/pid" } }))
    assert.is_false(tool.exists(folder .. "/ran"))
  end)

  it("leaves an old one alone when the command cannot be started", function()
    tool.write(folder .. "/pid", "old")
    assert.is_nil(run({ "/no/such/program" }, { spec = { pid_file = folder .. "/pid" } }))
    assert.equal("old", tool.read(folder .. "/pid"))
  end)

  it("ends the command when it cannot be written after all", function()
    local server <close> = sockets.listen(folder .. "/socket")
    local before = tool.children()
    -- /proc is a folder in which no file can be made.
    for _, options in ipairs { {}, { pause = true }, { tree = true } } do
      local handle, message, code = run({ "sleep", "300" }, { pause = options.pause,
        spec = { pid_file = "/proc/pid", pidfd_socket = server.path, tree = options.tree } })
      assert.is_nil(handle)
      assert.matches("^open /proc/%.pid: ", message)
      assert.equal("system", code)
      local _, fds = server:receive()
      assert_ended(fds[1])
      assert.same(before, tool.children())
    end
  end)

  it("ends what the command has started by then, too", function()
    local group <close>, reason = cgroups.new ""
    if not group then return pending(reason) end
    local write, started = pidfile.write, nil
    finally(function() pidfile.write = write end)
    function pidfile.write(...)
      local path = ("%s/%s/cgroup.procs"):format(group.path, group:names()[1])
      started = tool.eventually(function() return select(2, tool.read(path):gsub("\n", "")) == 2 end)
      return write(...)
    end
    assert.is_nil(run({ "sh", "-c", "setsid sleep 300 & wait" }, { spec = { pid_file = "/proc/pid", tree = true },
      container = exec.container { cgroup_paths = { [""] = group.path } } }))
    assert.is_true(started)
    assert.same({}, group:names())
    assert.same({}, group:pids())
  end)
end)

describe("launch.run with sockets", function()
  it("sends the terminal and the pidfd before the command runs", function()
    local console <close> = sockets.listen(folder .. "/console")
    local pidfds <close> = sockets.listen(folder .. "/pidfd")
    local handle <close> = assert(run({ "tty" }, { object = { terminal = true },
      spec = { console_socket = console.path, pidfd_socket = pidfds.path } }))
    local name, masters = console:receive()
    assert.equal("/dev/ptmx", name)
    assert.equal(1, #masters)
    assert.matches("^/dev/pts/", terminal_output(masters[1]))
    local word, fds = pidfds:receive()
    assert.equal("setns", word)
    assert.equal(1, #fds)
    assert_ended(fds[1])
    assert.equal(0, handle:wait().code)
  end)

  it("starts nothing where nobody listens", function()
    assert_fails(("dial unix %s/none: connect: no such file or directory"):format(folder), "system",
      run({ "touch", folder .. "/ran" }, { spec = { pidfd_socket = folder .. "/none" } }))
    assert.is_false(tool.exists(folder .. "/ran"))
  end)

  it("starts nothing when whoever listens has gone by then", function()
    local server <close> = sockets.listen(folder .. "/console")
    assert_fails("unable to start container process: broken pipe", "system",
      run({ "touch", folder .. "/ran" }, { object = { terminal = true },
        spec = { console_socket = server.path, on_terminal = function()
          server:accept():close()
          return true
        end } }))
    assert.is_false(tool.exists(folder .. "/ran"))
  end)
end)

describe("launch.run with on_terminal", function()
  it("gives it the terminal before the command runs", function()
    local seen
    local handle <close> = assert(run({ "tty" }, { object = { terminal = true }, spec = { on_terminal = function(master)
      seen = { core.terminal.set_size(master, 3, 4) }
      return true
    end } }))
    assert.same({ true }, seen)
    assert.same({ 3, 4 }, { core.terminal.size(handle.terminal) })
    handle:wait()
  end)

  it("starts nothing when it refuses", function()
    local before = tool.children()
    assert_fails("not this one", "denied", run({ "touch", folder .. "/ran" }, { object = { terminal = true },
      spec = { on_terminal = function() return nil, "not this one", "denied" end } }))
    assert.is_false(tool.exists(folder .. "/ran"))
    assert.same(before, tool.children())
  end)

  it("sends nothing to a socket by then", function()
    local console <close> = sockets.listen(folder .. "/console")
    local pidfds <close> = sockets.listen(folder .. "/pidfd")
    assert.is_nil(run({ "true" }, { object = { terminal = true }, spec = { console_socket = console.path,
      pidfd_socket = pidfds.path, on_terminal = function() return nil, "no", "denied" end } }))
    collectgarbage() -- which closes them
    for _, server in ipairs { console, pidfds } do assert.same({ "", {} }, { server:receive() }) end
  end)

  it("does not call it without a terminal", function()
    local handle <close> = assert(run({ "true" }, { spec = { on_terminal = error } }))
    assert.equal(0, handle:wait().code)
  end)
end)

describe("launch.run in cgroups", function()
  it("makes one of the command's own for a tree, a time limit and a recording", function()
    local group <close>, reason = cgroups.new ""
    if not group then return pending(reason) end
    for _, case in ipairs { { { tree = true }, 1 }, { { timeout = 60 }, 1 }, { { record = {} }, 1 }, { {}, 0 } } do
      local handle <close> = assert(run({ "cat", "/proc/self/cgroup" }, { spec = case[1],
        container = exec.container { cgroup_paths = { [""] = group.path } } }))
      assert.equal(case[2], #group:names())
      assert.matches(("0::[^\n]*/%s\n"):format((group:names()[1] or group.name):gsub("%-", "%%-")),
        tool.read_all(handle.stdout))
      handle:wait()
    end
    assert.same({}, group:names())
  end)

  it("tries that of the container's first process when the recorded one is gone, and says so", function()
    local group <close>, reason = cgroups.new ""
    if not group then return pending(reason) end
    local init = group:enter(support.sleeper())
    finally(function() support.finish(init) end)
    local container, warnings = exec.container { cgroup_paths = { [""] = group.path .. "/gone" }, pid = init.pid,
      pidfd = init.pidfd }, {}
    local handle <close> = assert(run({ "cat", "/proc/self/cgroup" }, { container = container, warnings = warnings }))
    assert.matches(("0::[^\n]*/%s\n"):format(group.name:gsub("%-", "%%-")), tool.read_all(handle.stdout))
    assert.equal(1, #warnings)
    assert.equal("debug", warnings[1].level)
    assert.matches("^adding pid %d+ to cgroups: .*/gone/cgroup.procs: no such file or directory; "
      .. "trying that of the container's init$", warnings[1].message)
    assert.is_true(container.forgotten)
    handle:wait()
  end)

  -- A cgroup of version 2 that takes no process: "domain invalid", as it is below a threaded one (cgroups(7)).
  local function make_invalid(group)
    local path = group:below "threaded/invalid"
    tool.write(group.path .. "/threaded/cgroup.type", "threaded")
    return path
  end

  it("tries it also when the helper could not join the recorded one", function()
    local group <close>, reason = cgroups.new ""
    if not group then return pending(reason) end
    local container, warnings = exec.container { cgroup_paths = { [""] = make_invalid(group) } }, {}
    local handle <close> = assert(run({ "true" }, { container = container, warnings = warnings }))
    assert.equal(0, handle:wait().code)
    assert.equal(1, #warnings)
    assert.matches("; trying that of the container's init$", warnings[1].message)
  end)

  it("goes on without for a rootless container when there is none to try", function()
    local group <close>, reason = cgroups.new ""
    if not group then return pending(reason) end
    make_invalid(group)
    local options = { spec = { cgroup = { "invalid" } }, warnings = {},
      container = exec.container { cgroup_paths = { [""] = group.path .. "/threaded" } } }
    assert.is_nil(run({ "true" }, options))
    options.container.settings.rootless_cgroups = true
    local handle <close> = assert(run({ "true" }, options))
    assert.equal(0, handle:wait().code)
    assert.equal(1, #options.warnings)
    assert.matches("^adding pid .*/invalid/cgroup.procs: .*; going on without$", options.warnings[1].message)
  end)

  it("tries no other where the caller has named one", function()
    local group <close>, reason = cgroups.new ""
    if not group then return pending(reason) end
    local handle, message, code = run({ "touch", folder .. "/ran" }, { spec = { cgroup = { "gone" } },
      container = exec.container { cgroup_paths = { [""] = group.path } } })
    assert.is_nil(handle)
    assert.matches("/gone/cgroup.procs: no such file or directory$", message)
    assert.equal("system", code)
    assert.is_false(tool.exists(folder .. "/ran"))
  end)
end)

describe("launch.run under a profile that asks an agent", function()
  local function container_with(path)
    return exec.container { bundle = "/b", settings = { seccomp = {
      defaultAction = "SCMP_ACT_ALLOW", listenerPath = path, listenerMetadata = "data",
      syscalls = { { names = { "reboot" }, action = "SCMP_ACT_NOTIFY" } },
    } } }
  end

  it("gives the agent the listener, with the state of the command", function()
    local agent <close> = sockets.listen(folder .. "/agent")
    local handle <close> = assert(run({ "true" }, { container = container_with(agent.path),
      object = { noNewPrivileges = true } }))
    local text, fds = agent:receive()
    local state = cjson.decode(text)
    assert.same({ handle.pid, "data", "self" }, { state.pid, state.metadata, state.state.id })
    assert.equal(1, #fds)
    assert.equal(0, handle:wait().code)
  end)

  it("starts nothing where no agent listens", function()
    local handle, message, code = run({ "touch", folder .. "/ran" }, { object = { noNewPrivileges = true },
      container = container_with(folder .. "/none") })
    assert.is_nil(handle)
    assert.matches("seccomp agent .*/none: connect: no such file or directory$", message)
    assert.equal("system", code)
    assert.is_false(tool.exists(folder .. "/ran"))
  end)
end)
