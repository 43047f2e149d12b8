-- The conversation with the policies' process. Most tests put a program of their own into that process, which asks what
-- it is told to ask and replies with the answer.
local core = require "ctrexec.core"
local exchange = require "ctrexec.policy.exchange"
local support = require "spec.core.support"
local tool = require "tests.lib.tool"

local chains

before_each(function() chains = {} end)

-- No policies' process outlives its test.
after_each(function()
  package.preload["ctrexec.policy.worker"] = nil
  for _, chain in ipairs(chains) do
    if chain.sandbox then chain.sandbox:close() end
  end
end)

local function chain_with(fields)
  local chain = { policies = { { name = "a", source = "return {}" } },
    limits = { policy_time = 5, policy_memory = 8 << 20 } }
  for name, value in pairs(fields or {}) do chain[name] = value end
  chains[#chains + 1] = chain
  return chain
end

-- Another exchange, whose process runs a program: a function without upvalues.
local function exchange_with(program)
  local loaded, preload = package.loaded, package.preload
  loaded["ctrexec.policy.exchange"], preload["ctrexec.policy.worker"] = nil, program
  local other = require "ctrexec.policy.exchange"
  loaded["ctrexec.policy.exchange"] = exchange
  return other
end

-- For each job it asks what that says, and replies with the answers.
local function asks(_, host)
  while true do
    local job = host.receive()
    if not job then return end
    local reply = { to = "check", answers = {} }
    for index = 1, #job.check do
      host.send { need = job.check[index] }
      local answer = host.receive()
      reply.answers[index] = answer == nil and "nothing" or answer
    end
    host.send(reply)
  end
end

-- The answers to questions, in an exec with this request.
local function answers_to(request, ...)
  local reply, _, why = exchange_with(asks).ask(chain_with(), "check", { ... }, request)
  assert.is_table(reply, why)
  return reply.answers
end

describe("what the policies ask for", function()
  it("is a value of the request, or what a function gives", function()
    local request = { caller = { uid = 5 }, names = function() return { user = "alice" } end, config = { a = { 1 } } }
    assert.same({ { uid = 5 }, { user = "alice" }, { a = { 1 } }, "nothing" },
      answers_to(request, "caller", "names", "config", "origin"))
  end)

  it("is a user or a group of the container, by name", function()
    local function lookup(kind, name)
      if name == "web" then return { kind = kind } end
    end
    assert.same({ { kind = "user" }, { kind = "group" }, "nothing" },
      answers_to({ lookup = lookup }, "user:web", "group:web", "user:other"))
    assert.same({ "nothing" }, answers_to({}, "user:web"))
  end)

  it("is nothing where the answer cannot be sent, or nobody knows the question", function()
    local function names() return print end
    local request = { caller = { print }, names = names, config = function() return { print } end, secret = "x",
      process = "x" }
    assert.same({ "nothing", "nothing", "nothing", "nothing", "nothing", "nothing" },
      answers_to(request, "caller", "names", "config", "secret", "process", ""))
    assert.same({ "nothing", { problem = "not a module's name" } }, answers_to({}, "file:/\0", "module:none"))
  end)
end)

describe("what a path is in the container", function()
  it("is what the request says, where it says so", function()
    local function stat(path) return path == "/x" and { type = "file" } or nil end
    assert.same({ { type = "file" }, "nothing" }, answers_to({ stat = stat }, "file:/x", "file:/y"))
  end)

  it("is looked up below the root of the container's process, and opened by nothing", function()
    local folder = tool.folder()
    finally(function() tool.remove(folder) end)
    tool.sh("cd %s && mkfifo fifo && ln -s none dangling", folder)
    local request = { container = { pid = core.process.ids().pid } }
    local answers = answers_to(request, "file:" .. folder, "file:" .. folder .. "/fifo", "file:" .. folder .. "/none",
      "file:" .. folder .. "/dangling", "file:/proc/self/exe")
    assert.equal("directory", answers[1].type)
    assert.equal(core.file.stat(folder).ino, answers[1].ino)
    assert.equal("fifo", answers[2].type)
    assert.same({ "nothing", "nothing", "nothing" }, { table.unpack(answers, 3) })
    assert.same({ "nothing" }, answers_to({}, "file:/"))
  end)

  it("means there what it means to the container", function()
    if core.process.ids().euid ~= 0 then return pending "needs root, for chroot" end
    if not tool.has "perl" then return pending "needs perl" end
    local folder = tool.folder()
    tool.sh("cd %s && mkdir etc && ln -s /etc/mark link && ln -s ../../../etc/mark up && echo x >etc/mark", folder)
    local init = support.child(("exec perl -e 'chroot \"%s\"; $| = 1; print \"ready\\n\"; sleep 20'"):format(folder))
    finally(function()
      support.finish(init)
      tool.remove(folder)
    end)
    assert.equal("ready", init.stdout:read "l")
    local ino = core.file.stat(folder .. "/etc/mark").ino
    for _, answer in ipairs(answers_to({ container = { pid = init.pid } }, "file:/etc/mark", "file:/link", "file:/up",
      "file:/../etc/mark")) do
      assert.equal(ino, answer.ino)
    end
  end)
end)

describe("a module for a policy", function()
  local folder

  before_each(function()
    folder = tool.folder()
    tool.sh("umask 022; mkdir -p %s", folder .. "/modules/a")
  end)

  after_each(function() tool.remove(folder) end)

  local function module(name)
    return answers_to({}, ("module:%s:%s"):format(folder, name))[1]
  end

  it("is a file in the folder beside it", function()
    tool.write(folder .. "/modules/m-1_x.lua", "return 1", "644")
    tool.write(folder .. "/modules/a/b.lua", "return 2", "644")
    assert.same({ source = "return 1", path = folder .. "/modules/m-1_x.lua" }, module "m-1_x")
    assert.same({ source = "return 2", path = folder .. "/modules/a/b.lua" }, module "a.b")
  end)

  it("is no file elsewhere", function()
    tool.write(folder .. "/secret.lua", "return 1", "644")
    for _, name in ipairs { "", "..secret", "a..b", "../secret", "/etc/passwd", ".a", "a/b", "a\nb" } do
      assert.same({ problem = "not a module's name" }, module(name), name)
    end
  end)

  it("is none that is not there, or that others may write", function()
    assert.matches("no such file", module "none".problem:lower())
    tool.write(folder .. "/modules/m.lua", "return 1", "666")
    assert.matches("by group or others", module "m".problem)
  end)
end)

describe("exchange.ask", function()
  it("starts the process when there is none, and keeps it", function()
    local chain, before = chain_with(), tool.children()
    assert.is_table(exchange.ask(chain, "describe", true, {}))
    assert.equal(#before + 1, #tool.children())
    local pid = chain.sandbox:pid()
    assert.is_table(exchange.ask(chain, "describe", true, {}))
    assert.equal(pid, chain.sandbox:pid())
  end)

  it("takes nothing for the reply but that to the job", function()
    for _, program in ipairs {
      function(_, host) while host.receive() do host.send {} end end,
      function(_, host) while host.receive() do host.send { to = "audit" } end end,
      function(_, host) while host.receive() do host.send "check" end end,
      function(_, host) while host.receive() do host.send { need = 5 } end end,
    } do
      local chain = chain_with()
      assert.same({ nil, "ctrexec", "malformed answer" }, { exchange_with(program).ask(chain, "check", {}, {}) })
      assert.is_nil(chain.sandbox)
    end
  end)

  it("starts the process anew after it has ended, which denied one exec", function()
    local function once(_, host)
      local job = host.receive()
      if job.check == "end" then return end
      host.send { to = "check", fine = true }
    end
    local chain, other, before = chain_with(), exchange_with(once), tool.children()
    local reply, blamed, why = other.ask(chain, "check", "end", {})
    assert.is_nil(reply)
    assert.equal("ctrexec", blamed)
    assert.is_string(why)
    assert.same(before, tool.children())
    assert.is_true(other.ask(chain, "check", "go on", {}).fine)
  end)

  it("blames the policy that took too long", function()
    local chain = chain_with { limits = { policy_time = 0.05, policy_memory = 8 << 20 }, policies = {
      { name = "quick", source = "return { check = function() end }" },
      { name = "slow", source = "return { check = function() while true do end end }" },
    } }
    local job = { state = { process = { args = { "x" }, user = {} }, options = {} }, container = {} }
    assert.same({ nil, "slow", "it took longer than 0.05 s" }, { exchange.ask(chain, "check", job, {}) })
  end)

  it("says that a job cannot be sent", function()
    local reply, blamed, why = exchange.ask(chain_with(), "check", { print }, {})
    assert.is_nil(reply)
    assert.equal("ctrexec", blamed)
    assert.matches("^the request cannot be passed to the policies", why)
  end)
end)

describe("exchange.start", function()
  it("gives the process the policies' texts, and nothing else of them", function()
    local function shows(argument, host)
      host.receive()
      host.send { to = "check", policies = argument.policies }
    end
    local chain = chain_with { policies = { { name = "a", source = "x", folder = "/f", path = "/p", kept = print } } }
    assert.same({ { name = "a", source = "x", folder = "/f" } },
      exchange_with(shows).ask(chain, "check", {}, {}).policies)
  end)

  it("has every exec denied when there can be no process", function()
    local start = core.sandbox.start
    finally(function() core.sandbox.start = start end)
    core.sandbox.start = function() return nil, "Resource temporarily unavailable", 11 end
    local chain = chain_with()
    exchange.start(chain)
    assert.same({ name = "ctrexec", reason = "the policies cannot be run: Resource temporarily unavailable" },
      chain.failure)
    assert.same({ nil, chain.failure.name, chain.failure.reason }, { exchange.ask(chain, "check", {}, {}) })
    local failure = { name = "b", reason = "unreadable" }
    chain = chain_with { failure = failure }
    exchange.start(chain)
    assert.equal(failure, chain.failure)
  end)

  it("takes the programs that require would find, and each once", function()
    local function program(_, host)
      host.receive()
      host.send { to = "check", mine = true }
    end
    local searches, searchers = 0, { table.unpack(package.searchers) }
    finally(function()
      for index = 1, #package.searchers do package.searchers[index] = searchers[index] end
    end)
    table.insert(package.searchers, 1, function(name)
      if name ~= "ctrexec.policy.worker" then return "not here" end
      searches = searches + 1
      return program
    end)
    local other = exchange_with(nil)
    for _ = 1, 2 do assert.is_true(other.ask(chain_with(), "check", {}, {}).mine) end
    assert.equal(1, searches)
  end)
end)
