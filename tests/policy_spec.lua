-- Policies and real execs: a denied command does not run, whoever the caller is; events; limits; the site's settings.

local cjson = require "cjson"
local containers = require "tests.lib.containers"
local core = require "ctrexec.core"
local ctrexec = require "ctrexec"
local policy = require "ctrexec.policy"
local peers = require "peers"
local policies = require "tests.lib.policies"
local site_of = require "tests.lib.site"
local tool = require "tests.lib.tool"
local BROKEN = require "spec.fixtures.broken_policies"

local MIB = 1024 * 1024

local site, ct

local at = policies.suite(_ENV, function (made, container) site, ct = made, container end)
local check, run, assert_denied, TOUCH = at.check, at.run, at.assert_denied, at.TOUCH

local function body(code)
  return "return { check = function(request) " .. code .. " end }"
end

describe("on a real container, nothing runs when a policy", function()
  local folder
  setup(function() folder = tool.folder() end)
  teardown(function() tool.remove(folder) end)

  for _, case in ipairs(BROKEN) do
    check(case[1], function()
      local settings = { policy_directories = {}, audit = { file = site.dir .. "/events" },
        limits = { policy_time = case.time or 5, policy_memory = (case.memory or 8) * MIB } }
      tool.write(folder .. "/p1.lua", case[2])
      local chain <close> = policy.load(settings, { folder .. "/p1.lua" })
      local container <close> = assert(ctrexec.open(ct.id, { root = ct.root, policy = chain }))
      local handle, message, code = container:spawn { "touch", "/ran", detach = true }
      assert.is_nil(handle)
      assert.equal("denied", code)
      assert.is_truthy(message:find("denied by policy p1: ", 1, true), message)
      assert.is_truthy(message:find(case[3], 1, true), message)
      assert.same({ "reject" }, site:kinds())
      assert.equal("p1", site:events()[1].policy)
      assert.is_false(at.ran())
    end)
  end
end)

describe("a site that cannot be read or trusted denies everything:", function()
  local cases = {
    { "config.lua with a syntax error", function() site:write("config.lua", "return {") end, "config: " },
    { "config.lua with an unknown field", function() site:write("config.lua", "return { polices = {} }") end,
      "config: /etc/ctrexec/config.lua: config.polices: unknown field" },
    { "config.lua that loops", function() site:write("config.lua", "while true do end") end,
      "config: /etc/ctrexec/config.lua: runs for too long" },
    { "config.lua of another user", function()
      site:write("config.lua", "return {}")
      os.execute("chown 1 " .. site.folder .. "/config.lua")
    end, "config: /etc/ctrexec/config.lua: is owned by user 1" },
    { "a policy that others may write", function()
      site:write("policy.d/p.lua", body "")
      os.execute("chmod 666 " .. site.folder .. "/policy.d/p.lua")
    end, "p: /etc/ctrexec/policy.d/p.lua: can be written by group or others (mode 0666)" },
    { "a policy of another user", function()
      site:write("policy.d/p.lua", body "")
      os.execute("chown 1000 " .. site.folder .. "/policy.d/p.lua")
    end, "p: /etc/ctrexec/policy.d/p.lua: is owned by user 1000" },
    { "a policy that is a link to nowhere", function()
      os.execute("ln -s /nowhere " .. site.folder .. "/policy.d/p.lua")
    end, "p: " },
    { "a policy that is a folder", function() os.execute("mkdir " .. site.folder .. "/policy.d/p.lua") end, "p: " },
    { "a policy that is a fifo", function() os.execute("mkfifo " .. site.folder .. "/policy.d/p.lua") end, "p: " },
    { "a policy folder that others may write", function()
      os.execute("chmod 777 " .. site.folder .. "/policy.d")
    end, "/etc/ctrexec/policy.d: /etc/ctrexec/policy.d: can be written by group or others" },
    { "a policy folder that is a link to nowhere", function()
      os.execute(("rmdir %s/policy.d && ln -s /nowhere %s/policy.d"):format(site.folder, site.folder))
    end, "/etc/ctrexec/policy.d: " },
    { "a folder of the site that others may write", function()
      site:write("policy.d/p.lua", body "")
      os.execute("chmod 757 " .. site.folder)
    end, "/etc/ctrexec/policy.d: /etc/ctrexec: can be written by group or others" },
  }
  after_each(function() os.execute("chmod 755 " .. site.folder) end)

  for _, case in ipairs(cases) do
    check(case[1], function()
      case[2]()
      assert_denied(run(TOUCH), case[3])
    end)
  end

  check("a --policy file that is not there", function()
    assert_denied(run { "exec", "--policy", "/nowhere/mine.lua", "ct", "touch", "/ran" }, "mine: ")
  end)
end)

describe("the command", function()
  check("says so in the JSON log that engines read", function()
    site:write("policy.d/no.lua", body [[return deny "no\nnever"]])
    local result = site:run(ct, { "exec", "-d", "ct", "touch", "/ran" }, { logged = true })
    assert.equal(255, result.code)
    local entry = result.log[#result.log]
    assert.equal("error", entry.level)
    assert.equal("exec failed: denied by policy no: no\\x0anever", entry.msg)
    assert.is_false(at.ran())
  end)

  check("looks for the container first", function()
    site:record_events()
    site:write("policy.d/no.lua", body "deny 'no'")
    assert.matches("container does not exist", run({ "exec", "other", "id" }).stderr)
    assert.same({}, site:events())
  end)

  check("lets no variable of the environment lift a policy", function()
    site:write("policy.d/no.lua", body "return deny 'no'")
    tool.write(site.dir .. "/evil.lua", "return setmetatable({}, { __index = function() return print end })")
    os.execute(("mkdir -p %s/ctrexec && cp %s/evil.lua %s/ctrexec/policy.lua"):format(site.dir, site.dir, site.dir))
    local before = ("env HOME=DIR XDG_CONFIG_HOME=DIR LUA_PATH='DIR/?.lua' LUA_PATH_5_4='DIR/?.lua' "
      .. "LUA_INIT=@DIR/evil.lua LUA_INIT_5_4='os.exit(0)'"):gsub("DIR", site.dir)
    local program = os.getenv "CTREXEC" or tool.repository .. "/scripts/ctrexec.lua"
    local result = site:shell(("exec %s %s --root %s exec ct touch /ran"):format(before, program, ct.root))
    assert.matches("denied by policy no: no", result.stdout .. result.stderr)
    assert.is_false(at.ran())
  end)

  check("runs the folder's policies by name and then those it is given", function()
    site:write("policy.d/20-b.lua", body "request.env.ORDER = (request.env.ORDER or '') .. 'b'")
    site:write("policy.d/10-a.lua", body "request.env.ORDER = (request.env.ORDER or '') .. 'a'")
    site:write("mine.lua", body "request.env.ORDER = (request.env.ORDER or '') .. 'c'")
    local result = run { "exec", "--policy", "/etc/ctrexec/mine.lua", "ct", "sh", "-c", "echo $ORDER" }
    assert.equal("abc\n", result.stdout, result.stderr)
  end)

  check("warns as a policy tells it to", function()
    site:write("policy.d/w.lua", body "warn 'careful'")
    local result = run { "exec", "ct", "true" }
    assert.equal(0, result.code)
    assert.matches("level=warning msg=\"policy w: careful\"", result.stderr)
  end)

  check("checks what a policy made as it checks a user's input", function()
    site:write("policy.d/p.lua", body "request.process.cwd = 'tmp'")
    assert_denied(run(TOUCH), "p: Cwd must be an absolute path")
    site:write("policy.d/p.lua", body "request.process.args[1] = '/no/such'")
    assert.matches("/no/such: no such file", run(TOUCH).stderr)
  end)

  check("lets a policy take the terminal away, or give one", function()
    site:write("policy.d/p.lua", body "request.process.terminal = not request.process.terminal")
    local without = site:run_on_terminal(ct, { "exec", "-t", "ct", "sh", "-c", "test -t 1 && echo tty || echo none" })
    assert.matches("none\n$", without.stdout)
    local with = site:run_on_terminal(ct, { "exec", "ct", "sh", "-c", "test -t 1 && echo tty || echo none" })
    assert.matches("tty\n$", with.stdout)
  end)
end)

describe("the module", function()
  local folder
  setup(function() folder = tool.folder() end)
  teardown(function() tool.remove(folder) end)

  local function open(source)
    tool.write(folder .. "/p.lua", source)
    return assert(ctrexec.open(ct.id, { root = ct.root, policy = { folder .. "/p.lua" } }))
  end

  check("obeys in exec, spawn and prepare", function()
    local container <close> = open(body "return deny 'not today'")
    for _, name in ipairs { "exec", "spawn", "prepare" } do
      local result, message, code = container[name](container, { "touch", "/ran" })
      assert.is_nil(result, name)
      assert.equal("denied by policy p: not today", message)
      assert.equal("denied", code)
    end
    assert.is_false(at.ran())
  end)

  check("has no policy unless it is given one", function()
    local container <close> = assert(ctrexec.open(ct.id, { root = ct.root }))
    assert.equal(0, container:exec({ "true" }).code)
  end)

  check("does not change the caller's spec", function()
    local container <close> = open(body "request.process.args[2] = 'b' request.options.timeout = 5")
    local spec = { "echo", "a" }
    assert.equal("b\n", container:exec(spec).stdout)
    assert.same({ "echo", "a" }, spec)
  end)

  check("keeps a policy's time limit", function()
    local container <close> = open(body "request.options.timeout = 0.2 request.options.kill_after = 0.1")
    local result = assert(container:exec { "sh", "-c", "trap '' TERM; while :; do sleep 0.1; done" })
    assert.is_true(result.timed_out)
    local handle <close> = assert(container:spawn { "true" })
    assert.equal(0.2, handle.timeout)
    assert.equal(0.1, handle.kill_after)
    handle:wait()
  end)

  check("lets a policy take the caller's option away", function()
    local container <close> = open(body "request.options.timeout = nil")
    local handle <close> = assert(container:spawn { "true", timeout = 1 })
    assert.is_nil(handle.timeout)
    handle:wait()
  end)

  check("refuses wrong options of the caller as his, not as a policy's", function()
    local container <close> = open(body "request.env.X = '1'")
    local _, message, code = container:exec { "true", record = { file = "x" } }
    assert.equal('record.file: expected an absolute path, got "x"', message)
    assert.equal("invalid", code)
    local ok, problem = pcall(container.exec, container, { "true", host_env = { "" } })
    assert.is_false(ok)
    assert.matches('spec.host_env%[1%]: expected the name of a variable, got ""$', problem)
  end)

  check("leaves no process of the policies behind a closed container", function()
    local container = open(body "")
    assert.equal(0, container:exec({ "true" }).code)
    container:close()
    assert.is_falsy(os.execute "ps -o comm= --ppid $PPID | grep -q ctrexec-policy")
  end)
end)

describe("limits and powers:", function()
  -- Has a daemon that left its parent and its session.
  local LASTING = { "sh", "-c",
    "setsid sh -c 'sleep 1000 & setsid sleep 1000 &' & trap '' TERM; while :; do sleep 1; done" }

  -- Not only by whoever looks: nothing runs in the container but its init, and its cgroups are as before.
  local function wait_until_empty(container)
    tool.eventually(function ()
      return #containers.inside(ct) == 0 and #containers.leaves(ct) == 0
    end, "an empty container")
    assert.equal("running", container:status())
  end

  check("a time limit is kept for a detached command", function()
    site:record_events()
    site:write("policy.d/t.lua", body "request.options.timeout = 0.5")
    local container <close> = assert(ctrexec.open(ct.id, { root = ct.root }))
    assert.equal(0, run({ "exec", "-d", "ct", table.unpack(LASTING) }).code)
    local outcome = site:wait_for_event "exit".outcome
    assert.is_true(outcome.signal == 9 or outcome.status_unknown)
    assert.is_true(outcome.duration >= 0.5)
    wait_until_empty(container)
  end)

  -- A command that ends at once, and leaves a daemon that does not hear TERM.
  local LEAVING = { "sh", "-c", [[setsid sh -c 'trap "" TERM; touch /daemon; while :; do sleep 1; done' &
    until test -e /daemon; do sleep 0.01; done; rm /daemon]] }
  local LIMIT = "request.options.timeout, request.options.kill_after = 2, 0.1"

  local function watcher()
    for _, name in ipairs(core.file.list "/proc") do
      if tool.read(("/proc/%s/comm"):format(name)) == "ctrexec-watch\n" then return name end
    end
  end

  check("a time limit ends what a detached command left behind, whose end is told when it comes", function()
    site:record_events()
    site:write("policy.d/t.lua", body(LIMIT))
    local container <close> = assert(ctrexec.open(ct.id, { root = ct.root }))
    assert.equal(0, run({ "exec", "-d", "ct", table.unpack(LEAVING) }).code)
    local event = site:wait_for_event "exit"
    assert.is_true(event.outcome.status == 0 or event.outcome.status_unknown)
    wait_until_empty(container)
    assert.same({ "accept", "exit" }, site:kinds())
  end)

  check("a time limit ends what a command in the foreground left behind, which is not waited for", function()
    site:record_events()
    site:write("policy.d/t.lua", body(LIMIT))
    local container <close> = assert(ctrexec.open(ct.id, { root = ct.root }))
    assert.equal(5, run({ "exec", "ct", "sh", "-c", LEAVING[3] .. "; exit 5" }).code)
    wait_until_empty(container)
    assert.same({ "accept", "exit" }, site:kinds())
    assert.equal(5, site:events "exit"[1].outcome.status)
  end)

  check("a time limit ends what a program's command left behind, however it was started", function()
    tool.write(ct.dir .. "/t.lua", body(LIMIT))
    local container <close> = assert(ctrexec.open(ct.id, { root = ct.root, policy = { ct.dir .. "/t.lua" } }))
    assert.equal(0, container:exec(LEAVING).code)
    for _, keeps_limits in ipairs { false, true } do
      local handle = assert(container:spawn { keeps_limits = keeps_limits, table.unpack(LEAVING) })
      assert.equal(0, handle:wait(10).code)
      handle:close()
    end
    assert.is_true(#containers.inside(ct) > 0)
    wait_until_empty(container)
  end)

  check("a limit that a program says it keeps is kept when it lets go of the command", function()
    tool.write(ct.dir .. "/t.lua", body(LIMIT))
    local container <close> = assert(ctrexec.open(ct.id, { root = ct.root, policy = { ct.dir .. "/t.lua" } }))
    local handle = assert(container:spawn { keeps_limits = true, table.unpack(LASTING) })
    local pidfd <close> = assert(core.pidfd.open(handle.pid))
    handle:close()
    wait_until_empty(container)
    core.pidfd.wait(pidfd, { nohang = true })
  end)

  check("a time limit ends what was left behind with the freezer of version 1", function()
    tool.write(ct.dir .. "/t.lua", body(LIMIT))
    local container <close> = assert(ctrexec.open(ct.id, { root = ct.root, policy = { ct.dir .. "/t.lua" } }))
    local paths, version_1 = container.container.cgroup_paths, {}
    if not paths.freezer then return pending "no version 1 freezer in this view" end
    for controller, path in pairs(paths) do version_1[controller] = controller ~= "" and path or nil end
    container.container.cgroup_paths = version_1
    local result = container:exec(LEAVING)
    container.container.cgroup_paths = paths
    assert.equal(0, result.code)
    wait_until_empty(container)
  end)

  check("the caller's own shorter limit is that of what is left behind, too; without policies it is not", function()
    local words = { "exec", "--timeout", "2", "ct", table.unpack(LEAVING) }
    local container <close> = assert(ctrexec.open(ct.id, { root = ct.root }))
    site:record_events()
    assert.equal(0, run(words).code)
    assert.is_nil(watcher())
    assert.is_true(#containers.inside(ct) > 0)
    containers.clear(ct)
    site:write("policy.d/t.lua", body "request.options.timeout = math.min(request.options.timeout or 500, 500)")
    assert.equal(0, run(words).code)
    wait_until_empty(container)
  end)

  check("what was left behind has the rest of the time, and is watched for as long as it lives", function()
    site:write("policy.d/t.lua", body "request.options.timeout = 500")
    local container <close> = assert(ctrexec.open(ct.id, { root = ct.root }))
    site:record_events()
    for count, words in ipairs { { "exec", "ct" }, { "exec", "-d", "ct" } } do
      assert.equal(0, run(table.move(LEAVING, 1, #LEAVING, #words + 1, words)).code)
      tool.eventually(function () return #site:events "exit" == count end, "the command's end")
      assert.is_true(#containers.inside(ct) > 0)
      for number = 0, 2 do
        assert.equal("/dev/null", core.file.realpath(("/proc/%s/fd/%d"):format(watcher(), number)))
      end
      containers.clear(ct)
      wait_until_empty(container)
      tool.eventually(function () return not watcher() end, "the end of the watcher")
    end
  end)

  check("a watcher ends with the container", function()
    local other = site_of.container()
    tool.write(other.dir .. "/t.lua", body "request.options.timeout = 500")
    local container <close> = assert(ctrexec.open(other.id, { root = other.root, policy = { other.dir .. "/t.lua" } }))
    local handle <close> = assert(container:spawn(LEAVING))
    assert.equal(0, handle:wait(10).code)
    assert.is_string(watcher())
    assert(other:remove())
    tool.eventually(function () return not watcher() end, "the end of the watcher")
  end)

  check("nobody watches what left nothing behind", function()
    site:write("policy.d/t.lua", body "request.options.timeout = 500")
    assert.equal(0, run({ "exec", "ct", "sh", "-c", "sleep 0.1 & wait" }).code)
    assert.is_nil(watcher())
    assert.equal(0, run({ "exec", "-d", "ct", "true" }).code)
    tool.eventually(function () return not watcher() end, "the end of the watcher")
  end)

  check("what was left behind and cannot be watched does not stay", function()
    tool.write(ct.dir .. "/t.lua", body "request.options.timeout = 500")
    local container <close> = assert(ctrexec.open(ct.id, { root = ct.root, policy = { ct.dir .. "/t.lua" } }))
    local start <const> = core.background.start
    finally(function () core.background.start = start end)
    core.background.start = function () return nil, "no process to spare" end
    local handle = assert(container:spawn { keeps_limits = true, table.unpack(LEAVING) })
    assert.equal(0, handle:wait(10).code)
    handle:close()
    assert.same({ { level = "warning", message = "the time limit cannot be kept: no process to spare; "
      .. "what the command left behind was killed" } }, handle.warnings)
    wait_until_empty(container)
  end)

  check("a time limit is kept for a command that a program started, whatever that does", function()
    tool.write(ct.dir .. "/t.lua", body "request.options.timeout, request.options.kill_after = 0.3, 0.3")
    local container <close> = assert(ctrexec.open(ct.id, { root = ct.root, policy = { ct.dir .. "/t.lua" } }))
    local function each_ends(keep)
      for _, name in ipairs { "spawn", "prepare" } do
        local handle = assert(container[name](container, LASTING))
        if name == "prepare" then assert(handle:start()) end
        local pidfd <close> = assert(core.pidfd.open(handle.pid))
        keep(handle)
        wait_until_empty(container)
        core.pidfd.wait(pidfd, { nohang = true })
      end
    end
    each_ends(function (handle) assert.equal(9, handle:wait(10).signal) end)
    each_ends(function (handle) handle:close() end)
  end)

  check("a time limit is kept also where no cgroup can be made, and with the freezer of version 1", function()
    tool.write(ct.dir .. "/t.lua", body "request.options.timeout = 0.3")
    local container <close> = assert(ctrexec.open(ct.id, { root = ct.root, policy = { ct.dir .. "/t.lua" } }))
    local paths, version_1 = container.container.cgroup_paths, {}
    for controller, path in pairs(paths) do version_1[controller] = controller ~= "" and path or nil end
    for _, given in ipairs { {}, paths.freezer and version_1 or paths } do
      container.container.cgroup_paths = given
      local handle <close> = assert(container:spawn { "sh", "-c", "sh -c 'sleep 1000; :' & sleep 1000" })
      container.container.cgroup_paths = paths
      wait_until_empty(container)
      assert.equal(9, handle:wait(10).signal)
    end
  end)

  check("a time limit is kept also where the caller has asked for it, or for a shorter one", function()
    tool.write(ct.dir .. "/t.lua", body [[
      request.options.timeout = math.min(request.options.timeout or 0.3, 0.3)]])
    local settings = { policy_directories = {}, limits = { policy_time = 5, policy_memory = 8 * MIB } }
    local chains = { policy.load(settings, { ct.dir .. "/t.lua" }) }
    settings.limits.exec_timeout = 0.3
    chains[2] = policy.load(settings)
    for _, chain in ipairs(chains) do
      for _, asked in ipairs { 0.3, 0.1, 500 } do
        local container <close> = assert(ctrexec.open(ct.id, { root = ct.root, policy = chain }))
        local handle <close> = assert(container:spawn { "sleep", "1000", timeout = asked })
        assert.equal(9, (handle:wait(10) or {}).signal)
      end
      chain:close()
    end
  end)

  check("a command whose time limit cannot be kept does not stay", function()
    site:record_events()
    tool.write(ct.dir .. "/t.lua", body "request.options.timeout = 5")
    local chain <close> = policy.load({ policy_directories = {}, audit = { file = site.dir .. "/events" },
      limits = { policy_time = 1, policy_memory = 8 * MIB } }, { ct.dir .. "/t.lua" })
    local container <close> = assert(ctrexec.open(ct.id, { root = ct.root, policy = chain }))
    local start <const> = core.background.start
    finally(function () core.background.start = start end)
    core.background.start = function () return nil, "no process to spare" end
    local handle, message, code = container:spawn { "sleep", "1000" }
    assert.is_nil(handle)
    assert.equal("the time limit cannot be kept: no process to spare", message)
    assert.equal("system", code)
    assert.same({ "accept", "error" }, site:kinds())
    wait_until_empty(container)
  end)

  check("nor does one whose watcher does not find its modules", function()
    tool.write(ct.dir .. "/t.lua", body "request.options.timeout = 0.3")
    local container <close> = assert(ctrexec.open(ct.id, { root = ct.root, policy = { ct.dir .. "/t.lua" } }))
    local path <const> = package.path
    local function search(name)
      local file = package.searchpath(name, path)
      return file and loadfile(file)
    end
    finally(function ()
      package.path = path
      table.remove(package.searchers)
    end)
    table.insert(package.searchers, search)
    package.path = ""
    local handle, message, code = container:spawn { "sleep", "1000" }
    assert.is_nil(handle)
    assert.matches("^the time limit cannot be kept: ", message)
    assert.equal("system", code)
    wait_until_empty(container)
  end)

  check("the site's exec_timeout stands above all", function()
    site:write("config.lua", "return { limits = { exec_timeout = 0.3 } }")
    assert.equal(124, run({ "exec", "ct", "sleep", "1000" }).code)
    assert.equal(124, run({ "exec", "--timeout", "50", "ct", "sleep", "1000" }).code)
    site:write("policy.d/t.lua", body "request.options.timeout = 60")
    assert.equal(124, run({ "exec", "ct", "sleep", "1000" }).code)
  end)

  check("no grace that the caller asks for is a way past the site's exec_timeout", function()
    local deaf = { "ct", "sh", "-c", "trap '' TERM; while :; do sleep 0.1; done" }
    site:write("config.lua", "return { limits = { exec_timeout = 0.5 } }")
    for _, timeout in ipairs { "0.1", "500" } do
      assert.equal(124, run({ "exec", "--timeout", timeout, "--kill-after", "500", table.unpack(deaf) }).code)
    end
    assert.equal(124, run({ "exec", "--kill-after", "500", table.unpack(deaf) }).code)
  end)

  check("the site's exec_timeout is kept for detached commands, and for what any command leaves behind", function()
    site:write("config.lua", "return { limits = { exec_timeout = 2 } }")
    local container <close> = assert(ctrexec.open(ct.id, { root = ct.root }))
    assert.equal(0, run({ "exec", "-d", "ct", table.unpack(LASTING) }).code)
    for _, words in ipairs { { "exec", "ct" }, { "exec", "-d", "ct" } } do
      assert.equal(0, run(table.move(LEAVING, 1, #LEAVING, #words + 1, words)).code)
    end
    assert.is_true(#containers.inside(ct) > 0)
    wait_until_empty(container)
  end)

  check("variables of the caller, by name, from the command line and from a policy", function()
    local before = "env SITE_A=one SITE_B=two"
    local words = { "ct", "sh", "-c", "echo $SITE_A $SITE_B" }
    assert.equal("one\n", run({ "exec", "--host-env", "SITE_A", "--host-env", "NOT_THERE", table.unpack(words) },
      { before = before }).stdout)
    site:write("policy.d/h.lua", body "request.options.host_env = { 'SITE_B' }")
    assert.equal("two\n", run({ "exec", table.unpack(words) }, { before = before }).stdout)
    assert.equal("\n", run({ "exec", table.unpack(words) }).stdout)
  end)

  check("a login uid", function()
    site:write("policy.d/l.lua", body "request.options.login_uid = 4242")
    local result = run { "exec", "ct", "cat", "/proc/self/loginuid" }
    if result.code ~= 0 and result.stderr:find "login" then return pending(result.stderr) end
    assert.equal("4242", result.stdout, result.stderr)
  end)
end)

describe("events", function()
  before_each(function() site:record_events() end)

  check("keep the reason that the caller gives, beside what policies say", function()
    site:write("policy.d/p.lua", body [[
      if request.options.audit.reason ~= "ticket 42" then return deny "no reason" end
      request.options.audit = { checked = true }]])
    assert.equal(0, run({ "exec", "--reason", "ticket 42", "ct", "true" }).code)
    for _, event in ipairs(site:events()) do assert.same({ reason = "ticket 42", checked = true }, event.fields) end
    assert.same({ "accept", "exit" }, site:kinds())
    assert_denied(run { "exec", "--reason", "none", "ct", "touch", "/ran" }, "p: no reason")
    local result = run { "explain", "exec", "--reason", "ticket 42", "ct", "true" }
    assert.matches("\n  reason +ticket 42\n", result.stdout)
    os.execute("rm " .. site.folder .. "/policy.d/p.lua")
    local chain <close> = require "ctrexec.policy".of_files {}
    local container <close> = assert(ctrexec.open(ct.id, { root = ct.root, policy = chain }))
    assert.equal(0, container:exec({ "true", reason = "with nobody to tell" }).code)
  end)

  check("tell how a command ended", function()
    assert.equal(3, run({ "exec", "ct", "sh", "-c", "head -c 30000000 /dev/zero | md5sum >/dev/null; exit 3" }).code)
    assert.equal(137, run({ "exec", "ct", "sh", "-c", "kill -9 $$" }).code)
    local accept, ended, _, killed = table.unpack(site:events())
    assert.equal("accept", accept.kind)
    assert.equal(accept.id, ended.id)
    assert.equal(3, ended.outcome.status)
    assert.is_true(ended.outcome.duration > 0)
    assert.is_true(ended.outcome.user_time + ended.outcome.system_time > 0)
    assert.is_true(ended.outcome.max_rss > 0)
    assert.is_true(ended.pid > 1)
    assert.equal(9, killed.outcome.signal)
    assert.is_nil(killed.outcome.status)
    assert.are_not_equal(ended.id, killed.id)
  end)

  check("tell that a command could not be started", function()
    assert.equal(255, run({ "exec", "ct", "/no/such/program" }).code)
    local events = site:events()
    assert.same({ "accept", "error" }, site:kinds())
    assert.matches("/no/such/program", events[2].message)
    assert.equal(events[1].id, events[2].id)
  end)

  -- The pid of the process that watches another, once it is nothing but that.
  local function watcher_of(pid)
    for _, name in ipairs(core.file.list "/proc") do
      local about = name:find "^%d+$" and tool.read(("/proc/%s/fdinfo/3"):format(name))
      local command = about and tool.read(("/proc/%s/comm"):format(name))
      if command == "ctrexec-watch\n" and about:match "\nPid:%s*(%d+)" == pid
        and #(core.file.list(("/proc/%s/fd"):format(name)) or {}) == 4 then
        return name
      end
    end
  end

  check("tell the end of a detached command, from a process that holds nothing of the caller", function()
    local pid_file = site.dir .. "/pid"
    assert.equal(0, run({ "exec", "-d", "--pid-file", pid_file, "ct", "sh", "-c",
      "while ! test -e /go; do sleep 0.02; done; exit 7" }).code)
    assert.same({ "accept" }, site:kinds())
    local pid = tool.read(pid_file)
    local watcher = tool.eventually(function () return watcher_of(pid) end, "a watcher")
    for _, number in ipairs { 0, 1, 2 } do
      assert.equal("/dev/null", core.file.realpath(("/proc/%s/fd/%d"):format(watcher, number)))
    end
    assert.equal("/", core.file.realpath(("/proc/%s/cwd"):format(watcher)))
    local own = core.process.stat(core.process.ids().pid)
    assert.are_not_equal(own.session, core.process.stat(tonumber(watcher)).session)
    tool.write(ct.rootfs .. "/go", "")
    local event = site:wait_for_event "exit"
    os.remove(ct.rootfs .. "/go")
    local outcome = event.outcome
    assert.is_true(outcome.status == 7 or outcome.status_unknown)
    if core.kernel.release():match "^6%.1[5-9]" then assert.equal(7, outcome.status) end
    assert.is_true(event.detached)
    assert.equal(site:events "accept"[1].id, event.id)
  end)

  -- A program whose child the command is; it leaves the zombie until there is a file "reap".
  local STARTER = [[
    local ctrexec, policy = require "ctrexec", require "ctrexec.policy"
    local id, root, dir = table.unpack(arg)
    local chain = policy.load { policy_directories = {}, audit = { file = dir .. "/events" }, limits = {} }
    local container = assert(ctrexec.open(id, { root = root, policy = chain }))
    local command = "until test -e /go; do sleep 0.02; done; exit 7"
    local handle = assert(container:spawn { "sh", "-c", command, detach = true })
    print(handle.pid)
    io.stdout:flush()
    while not io.open(dir .. "/reap") do require "ctrexec.core".poll.wait({}, 5) end
    assert(handle:wait(10))]]

  -- The exit event of a detached command whose zombie is reaped before the watcher may look at it, or after.
  local function outcome_of(before, reaped_first)
    tool.write(site.dir .. "/starter.lua", STARTER)
    local pipe = assert(io.popen(("exec timeout -k 1 30 env %s %s lua5.4 %s/starter.lua %s %s %s"):format(
      tool.lua_paths(), before, site.dir, ct.id, ct.root, site.dir)))
    local pid = pipe:read "l"
    local watcher = tool.eventually(function () return watcher_of(pid) end, "a watcher")
    local function reap()
      tool.write(site.dir .. "/reap", "")
      assert(pipe:close())
    end
    if reaped_first then assert(os.execute("kill -STOP " .. watcher)) end
    tool.write(ct.rootfs .. "/go", "")
    if reaped_first then
      reap()
      assert(os.execute("kill -CONT " .. watcher))
    end
    local outcome = site:wait_for_event "exit".outcome
    if not reaped_first then reap() end
    for _, name in ipairs { ct.rootfs .. "/go", site.dir .. "/reap", site.dir .. "/events" } do os.remove(name) end
    return outcome
  end

  -- As before Linux 6.15: what the watcher then calls is refused as it was there.
  local DENY = tool.build .. "/tests/deny"
  local FORGETFUL = DENY .. " exit_info 25" -- ENOTTY
  local not_built = not core.file.stat(DENY) and DENY .. " is not built: make test-helpers"

  check("tell the status of a detached command from its zombie, on any kernel", function()
    if not_built then return pending(not_built) end
    for _, before in ipairs { "", FORGETFUL } do
      local outcome = outcome_of(before, false)
      assert.equal(7, outcome.status)
      assert.is_nil(outcome.status_unknown)
      assert.is_number(outcome.user_time)
    end
  end)

  check("say that the status is unknown where it was reaped and the kernel forgot it", function()
    if not_built then return pending(not_built) end
    local outcome = outcome_of(FORGETFUL, true)
    assert.is_true(outcome.status_unknown)
    assert.is_nil(outcome.status)
    assert.is_true(outcome.duration > 0)
  end)

  check("tell the status that the kernel keeps", function()
    local outcome = outcome_of("", true)
    if outcome.status_unknown then return pending "needs Linux 6.15, which keeps the status of a reaped process" end
    assert.equal(7, outcome.status)
  end)

  check("say beforehand when the end may not be known", function()
    local kernel <const> = core.kernel.release
    finally(function () core.kernel.release = kernel end)
    local chain <close> = policy.load { policy_directories = {}, audit = { file = site.dir .. "/events" }, limits = {} }
    local container <close> = assert(ctrexec.open(ct.id, { root = ct.root, policy = chain }))
    for release, unknown in pairs { ["6.14.9-generic"] = true, ["6.15.0"] = false, ["5.10.0-8"] = true } do
      core.kernel.release = function () return release end
      for _, detach in ipairs { true, false } do
        local handle <close> = assert(container:spawn { "true", detach = detach })
        local accepts = site:events "accept"
        assert.equal(unknown and detach or nil, (accepts[#accepts].outcome or {}).exit_unknown or nil)
        handle:wait(10)
      end
    end
    tool.eventually(function () return #site:events "exit" == 6 end, "six ends")
  end)

  check("go to the policies' audit functions as well, also after a detached command", function()
    site:write("policy.d/a.lua", ([[return { audit = function(event)
      local file = assert(io.open(%q, "a"))
      file:write(event.kind, " ", tostring((event.outcome or {}).status), "\n")
      file:close()
    end }]]):format(site.dir .. "/hook"))
    assert.equal(0, run({ "exec", "ct", "true" }).code)
    assert.equal("accept nil\nexit 0\n", tool.read(site.dir .. "/hook"))
    assert.equal(0, run({ "exec", "-d", "ct", "true" }).code)
    for _ = 1, 100 do
      if select(2, tool.read(site.dir .. "/hook"):gsub("\n", "")) == 4 then break end
      os.execute "sleep 0.05"
    end
    assert.matches("accept nil\nexit %w+\n$", tool.read(site.dir .. "/hook"))
  end)

  check("do not take the exit status from who waits for a detached command", function()
    local chain <close> = policy.load({ policy_directories = {}, audit = { file = site.dir .. "/events" },
      limits = { policy_time = 1, policy_memory = MIB } })
    local container <close> = assert(ctrexec.open(ct.id, { root = ct.root, policy = chain }))
    local handle <close> = assert(container:spawn { "sh", "-c", "exit 5", detach = true })
    assert.equal(5, handle:wait(10).code)
    site:wait_for_event "exit"
    assert.same({ "accept", "exit" }, site:kinds())
  end)

  check("come from a handle that is closed early, and from one that is never started", function()
    local chain <close> = policy.load({ policy_directories = {}, audit = { file = site.dir .. "/events" },
      limits = { policy_time = 1, policy_memory = MIB } })
    local container <close> = assert(ctrexec.open(ct.id, { root = ct.root, policy = chain }))
    local early = assert(container:spawn { "sh", "-c", "sleep 0.2; exit 4" })
    local pidfd <close> = assert(core.pidfd.open(early.pid))
    early:close()
    assert.equal(early.pid, site:wait_for_event "exit".pid)
    assert.equal(4, core.pidfd.wait(pidfd).status) -- ours to reap, still
    assert(container:prepare { "touch", "/ran" }):close()
    assert.equal("the command was prepared and not started", site:wait_for_event "error".message)
    local prepared <close> = assert(container:prepare { "true" })
    assert(prepared:start())
    assert.equal(0, prepared:wait(10).code)
    assert.same({ "accept", "exit", "accept", "error", "accept", "exit" }, site:kinds())
    assert.is_false(at.ran())
  end)

  check("deny when they cannot be written, unless the site says otherwise", function()
    site:write("config.lua", [[return { audit = { file = "/nowhere/events" } }]])
    assert_denied(run(TOUCH), "audit: audit: ")
    site:write("config.lua", [[return { audit = { file = "/nowhere/events", required = false } }]])
    assert.equal(0, run(TOUCH).code)
    assert.is_true(at.ran())
  end)

  check("deny when a policy's audit function fails", function()
    site:write("policy.d/a.lua", "return { audit = function() error 'disk full' end }")
    assert_denied(run(TOUCH), "audit: audit of policy a: a:1: disk full")
    assert.same({ "accept", "reject" }, site:kinds())
  end)

  check("follow a file that is rotated while a command runs", function()
    local words = { "exec", "-d", "ct", "sh", "-c", "until test -e /go; do sleep 0.02; done" }
    assert.equal(0, run(words).code)
    local path = site.dir .. "/events"
    assert(os.rename(path, path .. ".1"))
    tool.write(ct.rootfs .. "/go", "")
    local ended = site:wait_for_event "exit"
    os.remove(ct.rootfs .. "/go")
    assert.same({ "exit" }, site:kinds())
    local accept = cjson.decode(tool.read(path .. ".1"))
    os.remove(path .. ".1")
    assert.equal("accept", accept.kind)
    assert.equal(accept.id, ended.id)
    assert.equal("600", tool.line("stat -c %a " .. path))
  end)

  -- A machine with both daemons, as ctrexec sees it: their sockets are ours.
  local DAEMONS = [[set -e
    dir=$1
    shift
    mkdir -p $dir/dev
    mount -t tmpfs none $dir/dev
    cp -a /dev/null /dev/zero /dev/urandom /dev/tty $dir/dev
    ln -s $dir/syslog $dir/dev/log
    mount --move $dir/dev /dev
    mount -t tmpfs none /run
    mkdir -p /run/systemd/journal
    ln -s $dir/journal /run/systemd/journal/socket
    exec "$@"]]

  local function next_datagram(socket)
    tool.await_readable(socket)
    return core.fd.read(socket, 1 << 18)
  end

  check("go to syslog and journald", function()
    site:write("config.lua", [[return { audit = { syslog = true, journald = true, redact = { "password=(%S+)" } } }]])
    site:write("policy.d/p.lua", body "if request.command == 'ls' then return deny 'no\\nlists' end")
    local syslog <close> = core.fd.wrap(peers.datagram(site.dir .. "/syslog"))
    local journal <close> = core.fd.wrap(peers.datagram(site.dir .. "/journal"))
    tool.write(site.dir .. "/daemons", DAEMONS)
    local before = ("sh %s/daemons %s"):format(site.dir, site.dir)
    assert.equal(0, run({ "exec", "ct", "echo", "password=xyz" }, { before = before }).code)
    assert.equal(255, run({ "exec", "ct", "ls" }, { before = before }).code)
    local id
    for _, expected in ipairs { { "accept", 86, 6 }, { "exit", 86, 6 }, { "reject", 84, 4 } } do
      local kind, priority, level = table.unpack(expected)
      local line = next_datagram(syslog)
      local header, text = line:match "^(<%d+>%u%l%l [ %d]%d %d%d:%d%d:%d%d ctrexec%[%d+%]: )({.*})$"
      assert.is_string(header, line)
      assert.equal(("<%d>"):format(priority), header:match "^<%d+>")
      local event = cjson.decode(text)
      assert.equal(kind, event.kind)
      local fields, entry = {}, next_datagram(journal)
      for name, value in entry:gmatch "([A-Z_]+)=([^\n]*)\n" do fields[name] = value end
      assert.equal(text, (string.unpack("<s8", entry, select(2, entry:find("\nMESSAGE\n", 1, true)) + 1)))
      assert.same({ "ctrexec", tostring(level), kind, "ct" }, { fields.SYSLOG_IDENTIFIER, fields.PRIORITY,
        fields.CTREXEC_EVENT, fields.CTREXEC_CONTAINER })
      assert.is_nil(line:find("xyz", 1, true))
      assert.is_nil(text:find("\n", 1, true))
      if kind == "exit" then assert.equal(id, event.id) end
      id = event.id
    end
    -- and what they cannot be told of does not happen
    syslog:close()
    assert_denied(run(TOUCH, { before = before }), "audit: audit: send to /dev/log: Connection refused")
  end)

  check("hide what the site wants hidden", function()
    site:record_events [[redact = { "password=(%S+)", "^hunter2$" } ]]
    assert.equal(0, run({ "exec", "ct", "echo", "--password=xyz", "hunter2", "plain" }).code)
    assert.same({ "echo", "--password=[redacted]", "[redacted]", "plain" }, site:events "accept"[1].what.args)
    site:record_events "command = false"
    assert.equal(0, run({ "exec", "ct", "echo", "secret" }).code)
    local events = site:events()
    assert.is_nil(events[#events].what.args)
    assert.is_nil(tool.read(site.dir .. "/events"):find("xyz", 1, true)) -- in no hexadecimal id
  end)

  check("of 32 execs at once are whole lines, one accept for each", function()
    site:write("policy.d/p.lua", body "request.options.audit = { note = ('x'):rep(3000) }")
    local command = site:command(("for i in $(seq 32); do %s --root %s exec ct echo number-$i & done; wait")
      :format(tool.ctrexec(), ct.root))
    assert.equal(0, tool.run("exec " .. command, { deadline = 60 }).code)
    local text = tool.read(site.dir .. "/events")
    assert.equal("\n", text:sub(-1))
    local accepts, exits, numbers = {}, {}, 0
    for line in text:gmatch "([^\n]*)\n" do
      local event = cjson.decode(line)
      local place = event.kind == "accept" and accepts or exits
      assert.is_nil(place[event.id])
      place[event.id] = event.what.args[2]
    end
    local seen = {}
    for id, word in pairs(accepts) do
      assert.equal(word, exits[id])
      assert.is_nil(seen[word])
      seen[word], numbers = true, numbers + 1
    end
    assert.equal(32, numbers)
  end)
end)

describe("explain", function()
  check("starts nothing and records nothing", function()
    site:record_events()
    site:write("policy.d/a.lua", body "request.env.A = '1'")
    site:write("policy.d/b.lua", body "if request.env.A == '1' then request.options.timeout = 9 end")
    site:write("policy.d/c.lua", body "")
    local report = site:explain(ct, { "ct", "touch", "/ran" })
    assert.equal(0, report.code)
    assert.equal("accept", report.decision)
    assert.is_false(at.ran())
    assert.same({}, site:events())
    local a, b, c = table.unpack(report.policies)
    assert.same({ "a", "b", "c" }, { a.name, b.name, c.name })
    assert.same({ { path = "process.env.A", after = "1" } }, a.changes)
    assert.same({ { path = "options.timeout", after = 9 } }, b.changes)
    assert.equal("unchanged", c.result)
    assert.same(a.after.process, b.before.process)
    assert.is_nil(table.concat(report.before.process.env, " "):find("A=1", 1, true))
    local words = {}
    for _, line in ipairs(report.plan) do words[line[1]] = line[2] end
    assert.equal("touch /ran", words.command)
    assert.equal("everything is killed after 9 s", words["time limit"])
    assert.matches("joins mnt pid .* of process " .. ct.pid, words.namespaces)
  end)

  check("says who would deny it, and in text", function()
    site:write("policy.d/a.lua", body "request.env.A = '1'")
    site:write("policy.d/b.lua", body "return deny 'because'")
    site:write("policy.d/c.lua", body "")
    local result = run { "explain", "exec", "ct", "touch", "/ran" }
    assert.equal(255, result.code)
    assert.matches('policy a: changed\n  process.env.A: %(none%) %-> "1"\npolicy b: denied: because\n'
      .. "policy c: not asked\nwould fail: denied by policy b: because\n", result.stdout)
    assert.is_false(at.ran())
  end)

  check("works without any policy, and says what would fail", function()
    local result = run { "explain", "exec", "-u", "33:44", "--cwd", "/tmp", "ct", "echo", "a b" }
    assert.equal(0, result.code, result.stderr)
    assert.matches("command +echo 'a b'\n", result.stdout)
    assert.matches("directory +/tmp\n", result.stdout)
    assert.matches("user +uid 33, gid 44\n", result.stdout)
    local failing = run { "explain", "exec", "--tool", "/nowhere/x", "ct", "x" }
    assert.equal(255, failing.code)
    assert.matches("would fail: tool /nowhere/x", failing.stdout)
  end)
end)

describe("the policy command", function()
  check("checks files as an exec would", function()
    site:write("policy.d/good.lua", body "")
    site:write("policy.d/bad.lua", "return {")
    local result = run { "policy", "check", "/etc/ctrexec/policy.d/good.lua", "/etc/ctrexec/policy.d/bad.lua" }
    assert.equal(1, result.code)
    assert.matches("good.lua: ok: good %(check%)\n", result.stdout)
    assert.matches("bad.lua: bad:1: unexpected symbol", result.stdout)
    assert.equal(0, run({ "policy", "check", "/etc/ctrexec/policy.d/good.lua" }).code)
  end)

  check("runs specs", function()
    if not tool.has "busted" then return pending "needs busted" end
    site:write("policy.d/no.lua", body "return deny 'no'")
    site:write("policy.d/no_spec.lua", [[
      it("denies", function()
        local policy = ctrexec_policy "/etc/ctrexec/policy.d/no.lua"
        assert.equal("denied by policy no: no", policy:check(ctrexec_request { user = "0:0" }).message)
      end)]])
    local result = run { "policy", "test", "/etc/ctrexec/policy.d" }
    assert.equal(0, result.code, result.stdout .. result.stderr)
    assert.matches("1 success", result.stdout)
  end)
end)
