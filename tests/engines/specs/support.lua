--- Common to the specs of the engines: an engine that calls ctrexec, in namespaces of the spec's own, and the tests
-- that every engine must pass.

local core = require "ctrexec.core"
local session = require "tests.lib.session"
local site_of = require "tests.lib.site"
local suite = require "tests.lib.suite"
local tool = require "tests.lib.tool"

local support = {}

support.image = "docker.io/library/box:1"

-- Seconds: no command of an engine takes longer.
local DEADLINE = 60

-- The policy that stands in the site's /etc/ctrexec/policy.d.
local POLICY = [[return { check = function (request)
  local first = request.process.args[1]
  if first == "forbidden" then return deny("not here, says " .. tostring(request.caller.engine)) end
  if first == "env" then request.env.ADDED = "by policy" end
end }]]

--- Why nothing can be tested here, or nil.
function support.missing(programs)
  if not os.getenv "ENGINES" then return "needs tests/engines/run" end
  return tool.missing(table.unpack(programs))
end

--- The runtime that engines are given: ctrexec as installed.
function support.front(name) return os.getenv "ENGINES" .. "/prefix/lib/ctrexec/" .. (name or "runc") end

local here = {}
here.__index = here

--- A place for an engine: a site of its own as /etc, nothing in /run, and `dir`. tests/run has made the namespaces.
function support.place()
  local site = site_of.new()
  local dir = site.dir .. "/engine"
  assert(os.execute(("mkdir %s && mount --bind %s/etc /etc && mount -t tmpfs tmpfs /run"):format(dir, site.dir)))
  site:write("policy.d/site.lua", POLICY)
  return setmetatable({ site = site, dir = dir, daemons = {} }, here)
end

--- Runs shell text.
-- @treturn table `code`, `stdout`, `stderr`
function here:sh(text, input)
  return tool.run(text, { input = input, files = self.dir, deadline = DEADLINE })
end

--- Runs shell text that must succeed; its output.
function here:must(text)
  local result = self:sh(text)
  if result.code ~= 0 then error(("%s: %d %s"):format(text, result.code, result.stderr), 2) end
  return result.stdout
end

--- Starts a daemon and waits until the shell text `ready` succeeds.
function here:daemon(argv, ready)
  local log = self.dir .. "/" .. argv[1] .. ".log"
  -- A daemon that is too slow to answer leaves the traces of its threads in the temporary folder.
  local command = table.move(argv, 1, #argv, 3, { "env", "TMPDIR=" .. self.dir })
  local daemon = session.start_to_file(command, log)
  table.insert(self.daemons, 1, daemon)
  local ready_or_gone = tool.within(function () return not daemon:is_running() or self:sh(ready).code == 0 end)
  if not ready_or_gone or not daemon:is_running() then error(argv[1] .. " does not start:\n" .. tool.read(log), 2) end
end

--- Ends the daemons and removes their files.
function here:close()
  for _, daemon in ipairs(self.daemons) do
    daemon:kill "TERM"
    daemon:wait()
    daemon:close()
  end
  os.execute "find /sys/fs/cgroup -depth -type d -path '*/ctrexec-engines*' -exec rmdir {} + 2>/dev/null"
  os.execute "umount --lazy /run /etc"
  self.site:remove()
end

-- The processes in the engine's container, without its init and the command that lists them.
local function others(engine)
  local found = {}
  for line in engine.here:must(engine.exec({}, { "ps", "-o", "args" }, "web")):gmatch "[^\n]+" do
    if not line:find "^COMMAND" and not line:find "^sleep 100000" and not line:find "^ps %-o" then
      found[#found + 1] = line
    end
  end
  return table.concat(found, ", ")
end

--- Shell text for an exec, in the words that docker and podman share.
function support.cli(client, options, argv, container)
  local words = {}
  for name, word in pairs { user = "--user", cwd = "--workdir", env = "--env" } do
    if options[name] then table.move({ word, options[name] }, 1, 2, #words + 1, words) end
  end
  for name, word in pairs { tty = "--tty", detach = "--detach", stdin = "--interactive" } do
    if options[name] then words[#words + 1] = word end
  end
  return ("%s exec %s %s %s"):format(client, tool.quote_all(words), container, tool.quote_all(argv))
end

--- Defines what holds for every engine.
-- @tparam table env the spec file's `_ENV`
-- @tparam string|nil skip why nothing can be tested here
-- @tparam table engine `start()`, for which `here` is set, makes the container "web", and "plain" with the real
-- runtime; `stop()`; `exec(options, argv, container)`, shell text that runs a command in one; `name`, as policies see
-- it; `denied`, the exit status of what they deny; `lacks`, set of what it does not have (env, pause)
-- @treturn func check(title, test) for more tests
function support.define(env, skip, engine)
  local check = suite(env, skip)
  local assert = env.assert
  local lacks = engine.lacks or {}

  env.setup(function ()
    if skip then return end
    engine.here = support.place()
    engine.start()
  end)
  env.teardown(function ()
    if not engine.here then return end
    engine.stop()
    engine.here:close()
  end)

  local function exec(options, argv, input, container)
    return engine.here:sh(engine.exec(options, argv, container or "web"), input)
  end

  check("gives the command's output and status", function ()
    assert.same({ code = 0, stdout = "hello\n", stderr = "" }, exec({}, { "echo", "hello" }))
    assert.same({ code = 7, stdout = "", stderr = "err\n" }, exec({}, { "sh", "-c", "echo err >&2; exit 7" }))
  end)

  check("gives the command its input", function ()
    local result = exec({ stdin = true }, { "tr", "a-z", "A-Z" }, "hello\n")
    assert.same({ code = 0, stdout = "HELLO\n", stderr = "" }, result)
  end)

  check("obeys the options", function ()
    local options = { user = "alice", cwd = "/home/alice", env = not lacks.env and "A=1" or nil }
    local result = exec(options, { "sh", "-c", "id -un; pwd; echo $A" })
    assert.equal("alice\n/home/alice\n" .. (lacks.env and "\n" or "1\n"), result.stdout, result.stderr)
  end)

  check("gives the command a terminal", function ()
    local command = engine.exec({ tty = true }, { "sh", "-c", "test -t 0 && stty -a; exit 5" }, "web")
    local result = engine.here:sh(("script -qec %s /dev/null"):format(tool.quote(command)))
    assert.matches("speed %d+ baud", result.stdout)
    assert.equal(5, result.code)
  end)

  check("leaves a detached command alone", function ()
    assert.equal(0, exec({ detach = true }, { "tail", "-f", "/dev/null" }).code)
    assert.equal("tail -f /dev/null", others(engine))
    engine.here:must(engine.exec({}, { "killall", "tail" }, "web"))
    tool.eventually(function () return others(engine) == "" end)
  end)

  check("says what is wrong as it does with the real runtime", function ()
    -- podman names it
    local function without_path(result)
      result.stderr = result.stderr:gsub("/%S*/runc:", "runc:")
      return result
    end
    for _, case in ipairs { { {}, "nosuch" }, { {}, "/no/such" }, { {}, "/bin/noexec" }, { {}, "/work" },
      { { cwd = "/nosuch" }, "true" } } do
      local expected = exec(case[1], { case[2] }, nil, "plain")
      assert.not_equal(0, expected.code)
      assert.same(without_path(expected), without_path(exec(case[1], { case[2] })), case[2])
    end
  end)

  check("passes on what a policy says, and runs nothing", function ()
    local result = exec({}, { "forbidden" })
    assert.equal(engine.denied, result.code)
    assert.matches("denied by policy site: not here, says " .. engine.name, result.stderr .. result.stdout, 1, true)
    assert.equal("", others(engine))
  end)

  check("runs what a policy made of the command", function ()
    assert.matches("ADDED=by policy\n", exec({}, { "env" }).stdout, 1, true)
  end)

  check("can be asked again and again, as by a probe, and nothing is left", function ()
    for round = 1, 25 do
      local expected = round % 5 == 0 and 1 or 0
      assert.equal(expected, exec({}, { "sh", "-c", "exit " .. expected }).code)
    end
    assert.equal("", others(engine))
    for _, name in ipairs(core.file.list "/proc") do
      local stat = name:find "^%d+$" and core.process.stat(math.tointeger(name))
      assert.is_true(not stat or stat.state ~= "Z", stat and stat.comm .. " was not reaped")
      assert.is_true(not stat or not stat.comm:find "^ctrexec", stat and stat.comm .. " is left")
    end
  end)

  check("is free of the policies, without a restart, when the real runtime takes the link's place", function ()
    local path = support.front()
    engine.here:must(("ln -s %s %s.new && cp -P %s %s.old && mv %s.new %s"):format(
      engine.here:must "command -v runc":match "%S+", path, path, path, path, path))
    local result = exec({}, { "forbidden" })
    engine.here:must(("mv %s.old %s"):format(path, path))
    assert.matches("executable file not found in $PATH", result.stderr .. result.stdout, 1, true)
    assert.equal(engine.denied, exec({}, { "forbidden" }).code)
  end)
  return check
end

--- Defines that the container can be paused, restarted and ended, for clients with docker's words:
-- `engine.control(words)` is the shell text.
function support.define_control(assert, check, engine)
  check("controls the container as before", function ()
    local function control(...) return engine.here:must(engine.control { ... }) end
    local function status() return control("inspect", "--format", "{{.State.Status}}", "web") end
    if not (engine.lacks or {}).pause then
      control("pause", "web")
      assert.equal("paused\n", status())
      assert.not_equal(0, engine.here:sh(engine.exec({}, { "true" }, "web")).code)
      control("unpause", "web")
    end
    control("restart", "--time", "0", "web")
    assert.equal("running\n", status())
    assert.equal("hello\n", engine.here:must(engine.exec({}, { "echo", "hello" }, "web")))
    control("kill", "web")
    assert.equal("137\n", control("wait", "web"))
    control("start", "web")
    assert.matches("100000", control("top", "web"))
  end)
end

return support
