local core = require "ctrexec.core"
local policy = require "ctrexec.policy"
local process = require "ctrexec.oci.process"
local diff = require "ctrexec.policy.diff"
local BROKEN = require "spec.fixtures.broken_policies"
local tool = require "tests.lib.tool"

local MIB = 1024 * 1024

local function config(changes)
  local settings = { policy_directories = {}, limits = { policy_time = 5, policy_memory = 8 * MIB } }
  for name, value in pairs(changes or {}) do settings[name] = value end
  return settings
end

local function request(changes)
  local _, object = assert(process.validate { args = { "/bin/sh", "-c", "id" }, cwd = "/",
    env = { "PATH=/bin", "SECRET=1" }, user = { uid = 0, gid = 0 },
    capabilities = { bounding = { "CAP_KILL", "CAP_NET_RAW" }, effective = { "CAP_KILL" } } })
  local result = {
    process = object, options = { detach = true }, container = { id = "web", runtime = "runc", status = "running",
      annotations = { team = "a" }, labels = {}, secret = "no field of the view" },
    caller = function() return { uid = 1000, ancestry = { { pid = 1, name = "init" } } } end,
    config = function() return { hostname = "box" } end,
    lookup = function(kind, name)
      if kind == "user" and name == "www-data" then return { uid = 33, gid = 34 } end
      if kind == "group" and name == "adm" then return { gid = 4 } end
    end,
  }
  for name, value in pairs(changes or {}) do result[name] = value end
  return result
end

-- Checks a request by policies that are given as sources; a number among them is the time limit.
local function check(...)
  local sources, limits = {}, { policy_time = 5, policy_memory = 8 * MIB }
  for index, source in ipairs { ... } do sources[index] = { name = "p" .. index, source = source } end
  local chain <close> = policy.from_sources(config { limits = limits }, sources)
  return chain:check(request())
end

local function body(code)
  return "return { check = function(request) " .. code .. " end }"
end

local function accepted(...)
  local result = check(...)
  assert.equal("accept", result.decision, result.message)
  return result
end

describe("a policy", function()
  it("that says nothing accepts and changes nothing", function()
    local result = accepted(body "")
    assert.same({}, result.changes)
    assert.same(request().process, result.process)
  end)

  it("denies with its reason and its name", function()
    local result = check [[return { name = "no", check = function() return deny "not today" end }]]
    assert.equal("reject", result.decision)
    assert.equal("no", result.policy)
    assert.equal("not today", result.reason)
    assert.equal("denied by policy no: not today", result.message)
  end)

  it("denies also when it forgets to return the denial, or catches what follows", function()
    assert.equal("a", check(body [[deny "a"]]).reason)
    assert.equal("a", check(body [[deny "a" deny "b"]]).reason)
    assert.equal("a", check(body [[pcall(function() deny "a" error "x" end)]]).reason)
  end)

  it("warns and prints", function()
    local result = accepted(body [[warn "careful" print("a", 1)]])
    assert.same({ { policy = "p1", message = "careful", level = "warning" },
      { policy = "p1", message = "a\\x091", level = "debug" } }, result.warnings)
  end)

  it("edits the process object in place", function()
    local result = accepted(body [[
      request.process.cwd = "/tmp"
      table.insert(request.process.args, "x")
      request.process.user.uid = 5]])
    assert.equal("/tmp", result.process.cwd)
    assert.equal("x", result.process.args[4])
    assert.equal(5, result.process.user.uid)
    assert.equal("/", request().process.cwd)
  end)

  it("edits the environment by name", function()
    local result = accepted(body [[
      assert(request.env.PATH == "/bin" and request.env.NONE == nil)
      request.env.SECRET = nil
      request.env.PATH = "/usr/bin"
      request.env.N = 5
      local names = {}
      for name, value in pairs(request.env) do names[#names + 1] = name .. value end
      assert(table.concat(names, " ") == "PATH/usr/bin N5")]])
    assert.same({ "PATH=/usr/bin", "N=5" }, result.process.env)
  end)

  it("edits the capabilities", function()
    local result = accepted(body [[
      assert(request.caps:has "KILL" and not request.caps:has("kill", "permitted"))
      request.caps:drop("net_raw", "CAP_KILL")
      request.caps:add("CAP_CHOWN")
      request.caps:add("CAP_CHOWN")]])
    local chown = { "CAP_CHOWN" }
    assert.same({ bounding = chown, effective = chown, permitted = chown }, result.process.capabilities)
    assert.same({}, accepted(body "request.caps:clear()").process.capabilities.bounding)
  end)

  it("prepends words and knows the command", function()
    local result = accepted(body [[assert(request.command == "sh") request:prepend { "nice", "-n", "5" }]])
    assert.same({ "nice", "-n", "5", "/bin/sh", "-c", "id" }, result.process.args)
  end)

  it("changes the user by number and by the container's names", function()
    assert.same({ 7, 8 }, { accepted(body [[request:run_as "7:8"]]).process.user.uid, 8 })
    local user = accepted(body [[request:run_as("www-data:adm", { 9 })]]).process.user
    assert.same({ uid = 33, gid = 4, additionalGids = { 9 } }, user)
    assert.equal(34, accepted(body [[request:run_as "www-data"]]).process.user.gid)
  end)

  it("sets the options that are for policies", function()
    local result = accepted(body [[
      local o = request.options
      o.timeout, o.kill_after, o.login_uid = 1.5, 0, 1000
      o.tools, o.audit, o.host_env, o.record = { "/usr/bin/busybox:/b" }, { why = "x" }, { "TERM" }, "/var/log/r"]])
    assert.same({ detach = true, timeout = 1.5, kill_after = 0, login_uid = 1000, audit = { why = "x" },
      tools = { "/usr/bin/busybox:/b" }, host_env = { "TERM" }, record = "/var/log/r" }, result.options)
  end)

  it("keeps the reason in the audit fields, unless it gives another", function()
    local asked = request { options = { audit = { reason = "ticket 42" } } }
    for code, expected in pairs {
      ["request.options.audit = nil"] = { reason = "ticket 42" },
      ["request.options.audit = { lent = 'x' }"] = { reason = "ticket 42", lent = "x" },
      ["request.options.audit.reason = nil"] = { reason = "ticket 42" },
      ["request.options.audit = { reason = 'mine' }"] = { reason = "mine" },
      ["request.options.audit = setmetatable({}, { __newindex = error, __index = error })"] = { reason = "ticket 42" },
    } do
      local chain <close> = policy.from_sources(config(), { { name = "one", source = body(code) },
        { name = "next", source = body "assert(request.options.audit.reason)" } })
      local result = chain:check(asked)
      assert.equal("accept", result.decision, result.message)
      assert.same(expected, result.options.audit, code)
    end
    assert.matches("options.audit: expected an object", check("return { check = function(r) r.options.audit = 5 end }",
      body "request.options.audit = nil").message)
  end)

  it("keeps the recording of the one before it, in whatever order its fields come", function()
    local record = "request.options.record = { folder = '/r', input = %s, passwords = false, required = true, "
      .. "max_size = 9 }"
    for _ = 1, 40 do accepted(body(record:format "true"), body "request.env.X = 1") end
    local result = check(body(record:format "true"), body(record:format "false"))
    assert.equal("denied by policy p2: options.record was set by an earlier policy", result.message)
  end)

  it("cannot spoil what the next one is told, by running out of stack while it asks", function()
    local frames = body [[
      local function dive(depth, act) if depth == 0 then return act() end return (dive(depth - 1, act)) end
      local low, high = 0, 1000000
      while high - low > 1 do
        local middle = (low + high) // 2
        if pcall(dive, middle, function() end) then low = middle else high = middle end
      end
      for depth = low, low - 40, -1 do
        if pcall(dive, depth, function() return request.caller.user end) then break end
      end]]
    local calls = body [[
      local function dive() pcall(dive) return request.caller.user end
      pcall(dive)]]
    for _, hostile in ipairs { frames, calls } do
      local chain <close> = policy.from_sources(config { limits = { policy_time = 20, policy_memory = 64 * MIB } }, {
        { name = "hostile", source = hostile },
        { name = "next", source = body "if request.caller.user == 'mallory' then deny 'not you' end" } })
      assert.equal("reject", chain:check(request { names = { user = "mallory" } }).decision)
    end
  end)

  it("sees container, configuration and caller", function()
    accepted(body [[
      assert(request.container.id == "web" and request.container.annotations.team == "a")
      assert(request.container.config.hostname == "box" and request.container.secret == nil)
      assert(request.caller.uid == 1000 and request.caller.ancestry[1].name == "init" and #request.caller.ancestry == 1)
      local seen = {}
      for name, value in pairs(request.caller) do seen[name] = value end
      assert(seen.uid == 1000)]])
  end)

  it("has the standard library", function()
    accepted(body [[
      assert(("x"):rep(2) == "xx" and string.format("%d", 5) == "5" and math.max(1, 2) == 2 and os.time() > 0)
      assert(table.concat({ 1, 2 }) == "12" and utf8.char(65) == "A" and select("#", 1, 2) == 2)
      assert(io.open("/proc/self/stat"):read "n" > 0 and load "return 5"() == 5)
      assert(coroutine.wrap(function() return 6 end)() == 6)
      assert(require "string" == string and tostring(nil) == "nil" and next {} == nil)]])
  end)

  it("is shown what the one before it did, and the changes are attributed", function()
    local result = accepted(body [[request.env.A = "1"]], body "",
      [[return { name = "third", check = function(r) assert(r.env.A == "1") r.env.A = "2" end }]])
    assert.equal(2, #result.changes)
    assert.equal("p1", result.changes[1].policy)
    assert.equal("third", result.changes[2].policy)
    local changes = diff.states(result.changes[2].before, result.changes[2].after)
    assert.equal(1, #changes)
    assert.equal('process.env.A: "1" -> "2"', diff.describe(changes[1]))
    assert.equal([[process.cwd: "a\n" -> (none)]], diff.describe { path = "process.cwd", before = "a\n" })
  end)

  it("may have only an audit function", function()
    accepted [[return { audit = function() end }]]
  end)
end)

describe("the chain", function()
  it("stops at the first denial", function()
    local result = check(body [[warn "one"]], body [[return deny "two"]], body [[warn "three"]])
    assert.equal("p2", result.policy)
    assert.equal(1, #result.warnings)
  end)

  it("lets nothing leak from one policy to the next", function()
    accepted(
      body [[leak = 1; string.format = nil; string.upper = function() return "?" end; table.insert = nil
        math.huge = 0; os.time = nil; io.open = nil; print, warn, deny, pairs = nil, nil, nil, nil
        string.leak = 1; _G.assert = nil; io.output("/dev/null"); coroutine.wrap = nil
        rawset(request.caller, "uid", 0); rawset(request.container, "id", "x")]],
      body [[assert(leak == nil and string.format("%d", 1) == "1" and ("a"):upper() == "A" and ("a").leak == nil)
        assert(table.insert and math.huge > 1 and os.time() > 0 and io.open and print and warn and deny and pairs)
        assert(io.output() == io.stdout and coroutine.wrap)
        assert(request.caller.uid == 1000 and request.container.id == "web")]])
  end)

  it("hands no metatable and no reference on", function()
    accepted(
      body [[setmetatable(request.process, { __index = function() error "leaked" end }) kept = request.process
        request.process.cwd = "/tmp"]],
      body [[assert(request.process.nothing == nil and getmetatable(request.process) == nil)]])
  end)

  it("keeps a policy's own change of its library for its own methods of strings", function()
    accepted(body [[string.twice = function(s) return s .. s end assert(("ab"):twice() == "abab")]],
      body [[assert(("ab").twice == nil)]])
  end)

  it("can be used again, also after a policy had to be stopped", function()
    local chain <close> = policy.from_sources(config { limits = { policy_time = 0.05, policy_memory = MIB } }, {
      { name = "p", source = body [[if request.process.cwd == "/loop" then while true do end end]] } })
    local looping = request()
    looping.process.cwd = "/loop"
    assert.equal("accept", chain:check(request()).decision)
    assert.equal("reject", chain:check(looping).decision)
    assert.equal("accept", chain:check(request()).decision)
  end)

  it("accepts without policies, and starts nothing", function()
    local chain <close> = policy.load(config())
    assert.is_true(chain:is_empty())
    assert.equal("accept", chain:check(request()).decision)
    assert.is_nil(chain.sandbox)
  end)

  it("describes its policies", function()
    local chain <close> = policy.from_sources(config(), {
      { name = "a", source = [[return { name = "first", check = function() end }]] },
      { name = "b", source = [[return { audit = function() end }]] },
      { name = "c", source = "return" },
    })
    assert.same({ { name = "first", check = true, audit = false }, { name = "b", check = false, audit = true },
      { name = "c", check = false, audit = false, fault = "the file must return a table, not nothing" } },
      chain:describe())
  end)

  it("passes events to audit functions, each its own copy", function()
    local folder = tool.folder()
    local path = folder .. "/events"
    local source = ([[return { audit = function(event)
      local file = io.open(%q, "a")
      file:write(event.kind, "\n")
      file:close()
      event.kind = "changed"
    end }]]):format(path)
    local chain <close> = policy.from_sources(config(), { { name = "a", source = source },
      { name = "b", source = source } })
    assert.is_true(chain:audit { kind = "accept" })
    assert.equal("accept\naccept\n", tool.read(path))
    tool.remove(folder)
  end)

  it("fails the audit when a policy's does, unless that is relaxed", function()
    local sources = { { name = "a", source = [[return { audit = function() error "disk full" end }]] } }
    local chain <close> = policy.from_sources(config(), sources)
    local ok, message, code = chain:audit { kind = "accept" }
    assert.is_nil(ok)
    assert.matches("^audit of policy a: a:1: disk full$", message)
    assert.equal("system", code)
    local relaxed <close> = policy.from_sources(config { audit = { required = false } }, sources)
    assert.is_true(relaxed:audit { kind = "accept" })
  end)
end)

describe("a broken policy is denied when it", function()
  for _, case in ipairs(BROKEN) do
    it(case[1], function()
      local limits = { policy_time = case.time or 5, policy_memory = (case.memory or 8) * MIB }
      local chain <close> = policy.from_sources(config { limits = limits }, {
        { name = "before", source = body "" }, { name = "p1", source = case[2] },
        { name = "after", source = body [[request.env.AFTER = "ran"]] } })
      local result = chain:check(request())
      assert.equal("reject", result.decision)
      assert.equal("p1", result.policy, result.message)
      assert.is_truthy(result.reason:find(case[3], 1, true), result.reason)
      assert.equal("denied by policy p1: " .. result.reason, result.message)
      assert.is_nil(result.reason:find "%c")
    end)
  end

  it("is of 40 kinds or more", function() assert.is_true(#BROKEN >= 40) end)
end)

describe("the policies' process", function()
  -- With another program in it.
  local function chain_with(worker)
    local loaded, preload = package.loaded, package.preload
    local chains, exchange = loaded["ctrexec.policy"], loaded["ctrexec.policy.exchange"]
    loaded["ctrexec.policy"], loaded["ctrexec.policy.exchange"], preload["ctrexec.policy.worker"] = nil, nil, worker
    local ok, chain = pcall(function()
      return require "ctrexec.policy".from_sources(config(), { { name = "a", source = body "" } })
    end)
    loaded["ctrexec.policy"], loaded["ctrexec.policy.exchange"] = chains, exchange
    preload["ctrexec.policy.worker"] = nil
    return assert(ok and chain, chain)
  end

  it("denies by whatever is not the reply to this very request", function()
    for _, worker in ipairs {
      function(_, host) while host.receive() do host.send {} end end,
      function(_, host) while host.receive() do host.send { to = "describe", policies = {} } end end,
      function(_, host) while host.receive() do host.send { warnings = {}, snapshots = {}, hooks = false } end end,
      function(_, host) while host.receive() do host.send(true) end end,
    } do
      local chain <close> = chain_with(worker)
      assert.equal("denied by policy ctrexec: malformed answer", chain:check(request()).message)
    end
  end)
end)

describe("loading policies from files", function()
  local folder

  local function write(name, text, mode)
    local path = folder .. "/" .. name
    tool.write(path, text, mode or "644")
    return path
  end

  local function load(files, changes)
    return policy.load(config(changes or { policy_directories = { folder .. "/policy.d" } }), files)
  end

  local function reason_of(files)
    local chain <close> = load(files)
    local result = chain:check(request())
    return result.decision == "reject" and result.reason, result.policy
  end

  before_each(function()
    folder = tool.folder()
    tool.sh("umask 022; mkdir -p %s/policy.d/modules", folder)
  end)

  after_each(function() tool.remove(folder) end)

  it("takes the folder's files by name, then those given", function()
    write("policy.d/20-b.lua", body [[warn "b"]])
    write("policy.d/10-a.lua", body [[warn "a"]])
    write("policy.d/README", "not a policy")
    write("policy.d/.hidden.lua", "not a policy")
    local given = write("given.lua", body [[warn "c"]])
    local chain <close> = load { given }
    local result = chain:check(request())
    local said = {}
    for index, warning in ipairs(result.warnings) do said[index] = warning.policy .. "=" .. warning.message end
    assert.equal("10-a=a 20-b=b given=c", table.concat(said, " "))
  end)

  it("has nothing to say where there is no folder", function()
    local chain <close> = load(nil, { policy_directories = { folder .. "/none" } })
    assert.is_true(chain:is_empty())
  end)

  it("gives a policy the modules beside it, with its own globals", function()
    write("policy.d/a.lua", body [[assert(require "m".five() == 5 and require "m" == require "m" and shared == 1)]])
    write("policy.d/modules/m.lua", "shared = 1 return { five = function() return 5 end }")
    local chain <close> = load()
    assert.equal("accept", chain:check(request()).decision)
  end)

  it("gives it also while its file is loaded, which the other policies do not suffer from", function()
    for _, name in ipairs { "a", "b" } do
      write(("policy.d/%s.lua"):format(name), [[
        local m, n = require "m", require "n"
        return { check = function() if m() + n() == 3 then return deny "counted" end end }]])
    end
    write("policy.d/modules/m.lua", "return function() return 1 end")
    write("policy.d/modules/n.lua", "return function() return 1 end")
    local relaxed <close> = load()
    assert.equal("accept", relaxed:check(request()).decision)
    write("policy.d/modules/n.lua", "return function() return 2 end")
    local chain <close> = load()
    for _ = 1, 2 do assert.equal("denied by policy a: counted", chain:check(request()).message) end
    local described <close> = load()
    assert.is_true(described:describe()[2].check)
    os.remove(folder .. "/policy.d/modules/m.lua")
    for _ = 1, 2 do assert.matches('a:1: module "m" not found: .*No such file', (reason_of())) end
  end)

  it("does not count the time before the first request as that of a policy that asks for a module", function()
    write("policy.d/a.lua", [[local m = require "m" return { check = function() return deny(m) end }]])
    write("policy.d/modules/m.lua", "return 'in time'")
    local hasty = { policy_directories = { folder .. "/policy.d" },
      limits = { policy_time = 0.1, policy_memory = MIB } }
    local chain <close> = load(nil, hasty)
    core.poll.wait({}, 300)
    assert.equal("denied by policy a: in time", chain:check(request()).message)
    write("policy.d/modules/m.lua", "while true do end")
    local endless <close> = load(nil, hasty)
    assert.equal("denied by policy a: it took longer than 0.1 s", endless:check(request()).message)
  end)

  it("refuses a module that others can write", function()
    write("policy.d/a.lua", body [[require "m"]])
    write("policy.d/modules/m.lua", "return {}", "666")
    assert.matches("m.lua: can be written by group or others %(mode 0666%)", (reason_of()))
  end)

  for _, mode in ipairs { "666", "646", "664", "620" } do
    it("refuses a file of mode " .. mode, function()
      write("policy.d/a.lua", body "", mode)
      local reason, name = reason_of()
      assert.matches("a.lua: can be written by group or others", reason)
      assert.equal("a", name)
    end)
  end

  it("refuses a folder that others can write, also a sticky one", function()
    write("policy.d/a.lua", body "")
    for _, mode in ipairs { "777", "775", "1777" } do
      os.execute(("chmod %s '%s/policy.d'"):format(mode, folder))
      local reason, name = reason_of()
      assert.matches("policy.d: can be written by group or others", reason)
      assert.equal(folder .. "/policy.d", name)
    end
  end)

  it("refuses a folder that others can write anywhere above", function()
    write("policy.d/a.lua", body "")
    os.execute(("chmod 777 '%s'"):format(folder))
    assert.matches("can be written by group or others", (reason_of()))
  end)

  it("checks what a symbolic link leads to", function()
    os.execute(("umask 022; mkdir '%s/open' && chmod 777 '%s/open'"):format(folder, folder))
    write("open/evil.lua", body "")
    os.execute(("ln -s ../open/evil.lua '%s/policy.d/a.lua'"):format(folder))
    assert.matches("open: can be written by group or others", (reason_of()))
    os.execute(("chmod 755 '%s/open'"):format(folder))
    assert.is_false((reason_of()))
  end)

  -- Swaps what lies at a path once it has been opened and looked at: a folder, or a file.
  local function swap_after_check(kind, path, other)
    local stat <const> = core.file.stat
    finally(function() core.file.stat = stat end)
    core.file.stat = function(target, ...)
      local status, message, errno = stat(target, ...)
      if type(target) ~= "string" and status and status.type == kind and status.ino == stat(path).ino then
        assert(os.rename(path, path .. ".old"))
        assert(os.rename(other, path))
        core.file.stat = stat
      end
      return status, message, errno
    end
  end

  it("reads the file that it checked, whatever takes its place meanwhile", function()
    local path, evil = write("policy.d/a.lua", body "return deny 'checked'"), write("evil.lua", body "", "666")
    swap_after_check("file", path, evil)
    assert.equal("checked", (reason_of()))
    assert.matches("can be written by group or others", (reason_of()))
  end)

  it("reads the files of the folder that it checked, whatever takes its place meanwhile", function()
    write("policy.d/a.lua", body "return deny 'checked'")
    os.execute(("mkdir '%s/evil'"):format(folder))
    write("evil/a.lua", body "return deny 'evil'")
    swap_after_check("directory", folder .. "/policy.d", folder .. "/evil")
    assert.equal("checked", (reason_of()))
    assert.equal("evil", (reason_of()))
  end)

  it("refuses what is no plain file, a dangling link, a file that is too large", function()
    os.execute(("mkdir '%s/policy.d/a.lua'"):format(folder))
    assert.matches("read .*a.lua: is a directory", (reason_of()))
    os.execute(("rmdir '%s/policy.d/a.lua'; mkfifo '%s/policy.d/a.lua'"):format(folder, folder))
    assert.matches("a.lua: is a fifo, must be a plain file", (reason_of()))
    os.execute(("rm '%s/policy.d/a.lua'; ln -s nowhere '%s/policy.d/a.lua'"):format(folder, folder))
    assert.matches("[Nn]o such file", (reason_of()))
    os.remove(folder .. "/policy.d/a.lua")
    write("policy.d/a.lua", "--" .. ("x"):rep(1024 * 1024))
    assert.matches("a.lua: larger than 1 MiB", (reason_of()))
  end)

  it("refuses a given file that is not there", function()
    assert.matches("[Nn]o such file", (reason_of { folder .. "/none.lua" }))
  end)

  it("refuses what another user owns", function()
    if core.process.ids().euid ~= 0 then pending "only root can give a file away" end
    local path = write("policy.d/a.lua", body "")
    os.execute(("chown 12345 '%s'"):format(path))
    assert.matches("a.lua: is owned by user 12345", (reason_of()))
    os.execute(("chown 0 '%s'; chown 12345 '%s'"):format(path, folder))
    assert.matches("is owned by user 12345", (reason_of()))
  end)
end)

describe("the policies' process", function()
  it("has none of the program's descriptors, and not its stdio", function()
    local folder = tool.folder()
    local path = folder .. "/file"
    local held <close> = io.open(path, "w")
    assert.is_truthy(held)
    local result = check(([[return { check = function()
      local links = {}
      for fd = 0, 255 do
        local pipe = io.popen("readlink /proc/$PPID/fd/" .. fd)
        links[fd] = pipe:read "l"
        pipe:close()
        if links[fd] == nil and fd > 16 then break end
      end
      assert(links[0] == "/dev/null" and links[1] == "/dev/null" and links[2] == "/dev/null", "stdio")
      assert(links[3]:find "^socket:", links[3])
      for fd, link in pairs(links) do
        -- Those of popen itself, while it runs readlink.
        assert(fd <= 3 or fd <= 5 and link:find "^pipe:", fd .. " is " .. link)
        assert(link ~= %q, "the program's file")
      end
    end }]]):format(path))
    tool.remove(folder)
    assert.equal("accept", result.decision, result.message)
  end)

  it("is gone after close, with what it started", function()
    local sleep = ("sleep %d"):format(1000000 + core.process.ids().pid)
    local chain = policy.from_sources(config { limits = { policy_time = 0.1, policy_memory = MIB } },
      { { name = "p", source = body(("os.execute %q"):format(sleep)) } })
    chain:check(request())
    chain:close()
    assert.is_nil(chain.sandbox)
    -- killed by then, but not always dead
    tool.eventually(function() return not tool.output "ps -eo args":find(sleep, 1, true) end, "its end")
  end)

  it("runs with the signals of the program neither blocked nor handled", function()
    accepted(body [[local status = io.open "/proc/self/status":read "a"
      assert(status:match "SigBlk:%s+0+\n" and status:match "SigCgt:%s+0+\n")]])
  end)
end)
