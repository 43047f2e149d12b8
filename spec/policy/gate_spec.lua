-- The gate between an exec and its policies. The chain and the keepers are doubles; requests, events and settings of
-- recordings are made by the modules that make them for real.
local core = require "ctrexec.core"
local exec = require "spec.exec.support"
local gates = require "ctrexec.policy.gate"
local support = require "spec.policy.support"

local PIDFD = {}

-- A container of the public module under a chain.
local function container_with(chain, fields)
  local container = { policy = chain, container = exec.container { configuration = { hostname = "box" } } }
  for name, value in pairs(fields or {}) do container[name] = value end
  return container
end

-- The gate of an exec under a chain of one policy, which nothing asks.
local function gate_with(fields, spec, dry)
  local all = { policies = { { name = "p" } } }
  for name, value in pairs(fields or {}) do all[name] = value end
  local chain = support.chain(all)
  return gates.new(container_with(chain, { one_exec = all.one_exec }), spec or {}, dry), chain
end

local function object()
  return exec.object { "id", "-u" }
end

-- Passes a gate: what `pass` returns, and the chain and the warnings.
local function pass(fields, spec)
  local gate, chain = gate_with(fields, spec)
  local warnings = {}
  local results = table.pack(gate:pass(object(), spec or {}, warnings))
  return results, chain, warnings, gate
end

-- A gate that an exec has passed.
local function passed(fields, spec)
  local results, chain, _, gate = pass(fields, spec)
  assert(results[1], results[2])
  return gate, chain
end

-- What takes the place in the answer of a chain whose policy "p" sets options.
local function setting(options)
  return function(request)
    local after = {}
    for name, value in pairs(request.options) do after[name] = value end
    for name, value in pairs(options) do after[name] = value end
    return { options = after, changes = { { policy = "p", index = 1,
      before = { process = request.process, options = request.options },
      after = { process = request.process, options = after } } } }
  end
end

-- The handle of a running command, or of one that waits; it notes what is called of it.
local function handle_with(fields)
  local handle = { pid = 7, pidfd = PIDFD, calls = {} }
  handle.tree = { runs_on = function() return handle.runs_on end, leave = function() handle.left = true end,
    kill = function() handle.calls[#handle.calls + 1] = "kill tree" end }
  function handle.is_waiting() return handle.waiting or false end
  function handle.kill() handle.calls[#handle.calls + 1] = "kill" end
  function handle.wait() handle.calls[#handle.calls + 1] = "wait" end
  for name, value in pairs(fields or {}) do handle[name] = value end
  return handle
end

local EXITED = { reason = "exited", status = 3, code = 3 }

describe("gate.new", function()
  it("is no gate where there is nothing to obey and nobody to tell", function()
    assert.is_nil(gates.new({ container = exec.container() }, {}))
    assert.is_nil(gates.new(container_with(support.chain { listening = false }), {}))
  end)

  it("is one for policies, listeners, a time limit or recordings", function()
    for _, fields in ipairs {
      { listening = false, policies = { {} } }, { listening = true },
      { listening = false, limits = { exec_timeout = 5 } }, { listening = false, config = { record = {} } },
    } do
      assert.is_table(gates.new(container_with(support.chain(fields)), {}))
    end
  end)
end)

describe("a request", function()
  it("is what the caller asked for, and who that is to whoever asks", function()
    local _, chain = pass({}, { detach = true, timeout = 5, lookup = print, stdin = 5, reason = "why" })
    local request = chain.request
    assert.same(object(), request.process)
    assert.same({ detach = true, terminal = false, timeout = 5, audit = { reason = "why" } }, request.options)
    assert.equal("self", request.container.id)
    assert.equal(print, request.lookup)
    assert.equal(core.process.ids().uid, request.caller().uid)
    assert.is_table(request.names())
    assert.is_table(request.origin().ancestry)
    assert.same({ hostname = "box" }, request.config())
  end)

  it("goes on as it is when the policies accept it", function()
    local spec = { timeout = 5, stdout = "pipe", tools = { "/bin/x" } }
    local results, chain, warnings = pass({}, spec)
    assert.same(object(), results[1])
    assert.same({ 5, "pipe", { "/bin/x" }, nil }, { results[2].timeout, results[2].stdout, results[2].tools,
      results[2].detach })
    assert.same({}, warnings)
    assert.same({ "accept" }, support.kinds(chain))
    assert.equal("accept", chain.events[1].decision)
    assert.same({ "id", "-u" }, chain.events[1].what.args)
  end)

  it("goes on as the policies left it, also without what they took away", function()
    local other = exec.object { "true" }
    local results, chain = pass({ answer = function()
      return { process = other, options = { detach = false, timeout = 9, audit = { ticket = 1 } } }
    end }, { timeout = 5, kill_after = 3, tools = { "/bin/x" }, stdout = "pipe" })
    assert.equal(other, results[1])
    local spec = results[2]
    assert.same({ 9, nil, nil, "pipe" }, { spec.timeout, spec.kill_after, spec.tools, spec.stdout })
    assert.same({ "true" }, chain.events[1].what.args)
    assert.same({ ticket = 1 }, chain.events[1].fields)
  end)

  it("brings the policies' warnings, with their names", function()
    local _, _, warnings = pass { answer = function()
      return { warnings = { { policy = "p", level = "warning", message = "careful" },
        { level = "debug", message = "odd" } } }
    end }
    assert.same({ { level = "warning", message = "policy p: careful" }, { level = "debug", message = "odd" } },
      warnings)
  end)

  it("with a wrong option of the caller's is put before nobody", function()
    local results, chain = pass({}, { timeout = "soon" })
    assert.is_nil(results[1])
    assert.matches("timeout", results[2])
    assert.equal("invalid", results[3])
    assert.is_nil(chain.request)
  end)
end)

describe("a denied request", function()
  local DENIAL = { decision = "reject", policy = "p", reason = "no", message = "denied by policy p: no" }

  it("is not run, and its one event says who denied it", function()
    local results, chain, _, gate = pass { answer = function() return DENIAL end }
    assert.same({ nil, "denied by policy p: no", "denied" }, { table.unpack(results, 1, 3) })
    assert.same({ "reject" }, support.kinds(chain))
    local event = chain.events[1]
    assert.same({ "reject", "p", "no" }, { event.decision, event.policy, event.reason })
    gate:failed "denied by policy p: no"
    assert.same({ "reject" }, support.kinds(chain))
  end)

  it("is one whose accept event cannot be kept", function()
    local results, chain, warnings = pass { deaf = "disk full" }
    assert.same({ nil, "denied by policy audit: disk full", "denied" }, { table.unpack(results, 1, 3) })
    assert.same({ "accept", "reject" }, support.kinds(chain))
    assert.same({ { level = "warning", message = "disk full" } }, warnings)
  end)
end)

describe("the recording of a session", function()
  it("is settled before the accept event, which names its file", function()
    local results, chain, _, gate = pass({ config = { record = { folder = "/r" }, audit = { command = false } } },
      { record = true, records = true })
    local settings = results[2].record
    assert.matches("^/r/.*%-self%-.*%.cast$", settings.file)
    assert.is_true(settings.required)
    assert.same({ file = settings.file }, chain.events[1].recording)
    local about = gate:about()
    assert.equal(chain.events[1].id, about.event)
    assert.same({ command = false }, about.audit)
    assert.equal(core.process.ids().uid, about.caller.uid)
  end)

  it("that a policy wants must lie where only root can replace it", function()
    local results = pass({ answer = setting { record = "/a/b" } }, { records = true })
    assert.same({ "/a", "b" }, { results[2].record.folder, results[2].record.name })
    results = pass({}, { records = true, record = "/a/b" })
    assert.is_nil(results[2].record.folder)
  end)

  it("denies what cannot be recorded, by whoever wanted it", function()
    local reason = "nobody would be there to record a detached command"
    local results, chain = pass({ answer = setting { record = "/a/b" } }, { detach = true })
    assert.same({ nil, "denied by policy p: options.record: " .. reason, "denied" }, { table.unpack(results, 1, 3) })
    assert.same({ "reject" }, support.kinds(chain))
    assert.equal("p", chain.events[1].policy)
    results = pass({}, { detach = true, record = "/a/b" })
    assert.equal("denied by policy ctrexec: options.record: " .. reason, results[2])
    -- A descriptor of the caller's gets past it, which only a policy minds.
    results = pass({ answer = setting { record = "/a/b" } }, { records = true, preserve_fds = 1 })
    assert.matches("^denied by policy p: options.record: what goes to descriptors", results[2])
    assert.is_truthy(pass({}, { records = true, preserve_fds = 1, record = "/a/b" })[1])
  end)

  it("denies one for which the site has no folder", function()
    local results = pass({ answer = setting { record = true } }, { records = true })
    assert.matches("^denied by policy p: record: no folder is configured", results[2])
    results = pass({}, { records = true, record = true })
    assert.matches("^denied by policy ctrexec: record: no folder is configured", results[2])
  end)
end)

describe("the site's time limit", function()
  it("is the exec's, whatever was asked for", function()
    local limits = { exec_timeout = 10 }
    assert.equal(10, pass({ limits = limits })[2].timeout)
    assert.equal(10, pass({ limits = limits }, { timeout = 50 })[2].timeout)
    assert.equal(5, pass({ limits = limits, answer = setting { timeout = 5 } })[2].timeout)
    assert.is_nil(pass({})[2].timeout)
  end)

  it("has the caller's grace within it, and a policy's beside it", function()
    local limits = { exec_timeout = 10 }
    assert.equal(4, pass({ limits = limits }, { timeout = 6, kill_after = 100 })[2].kill_after)
    assert.equal(100, pass({ limits = limits, answer = setting { kill_after = 100 } }, { timeout = 6 })[2].kill_after)
  end)
end)

describe("an exec that fails", function()
  it("has one event, which says why", function()
    local gate, chain = passed()
    gate.trail.warnings[1] = { level = "debug", message = "x" }
    assert.equal(gate.trail.warnings, gate:failed "no such program")
    gate:failed "again"
    assert.same({ "accept", "error" }, support.kinds(chain))
    assert.equal("no such program", chain.events[2].message)
    assert.equal(chain.events[1].id, chain.events[2].id)
  end)

  it("has it also when no command could be made of the spec, by its words", function()
    for _, spec in ipairs { { "id", 5 }, { args = { "id", "5" } }, { process = { args = { "id", 5 } } } } do
      local gate, chain = gate_with({}, spec)
      gate:failed "bad spec"
      assert.same({ "error" }, support.kinds(chain))
      assert.same({ "id", "5" }, chain.events[1].what.args)
    end
    local gate, chain = gate_with({}, { args = 5 })
    gate:failed "bad spec"
    assert.same({ "error" }, support.kinds(chain))
  end)

  it("has none in a dry run", function()
    local gate, chain = gate_with({}, {}, true)
    assert.is_truthy(gate:pass(object(), {}, {}))
    gate:failed "x"
    assert.same({}, chain.events)
    assert.is_table(chain.request)
  end)
end)

describe("a command that is waited for", function()
  it("has its exit event when it ends, once", function()
    local jobs = support.keepers(_ENV)
    local gate, chain = passed()
    local handle = handle_with()
    assert.is_true(gate:started(handle))
    assert.equal(gate, handle.gate)
    assert.same({ "accept" }, support.kinds(chain))
    gate:ended(EXITED)
    gate:ended(EXITED)
    gate:left(PIDFD)
    gate:failed "x"
    assert.same({ "accept", "exit" }, support.kinds(chain))
    local event = chain.events[2]
    assert.same({ 7, 3, nil }, { event.pid, event.outcome.status, event.outcome.timed_out })
    assert.same({}, jobs)
  end)

  it("has in it that its time was over, and what became of its recording", function()
    local gate, chain = passed()
    gate:started(handle_with { recording = { summary = function() return { file = "/r", size = 9 } end } })
    gate:ended({ reason = "killed", status = 9, signal = 9 }, true)
    assert.same({ 9, true }, { chain.events[2].outcome.signal, chain.events[2].outcome.timed_out })
    assert.same({ file = "/r", size = 9 }, chain.events[2].recording)
  end)

  it("has a keeper tell its end when the caller lets go of it", function()
    local jobs = support.keepers(_ENV)
    local gate, chain = passed()
    gate:started(handle_with())
    gate:left(PIDFD)
    gate:left(PIDFD)
    gate:ended(EXITED)
    assert.same({ "accept" }, support.kinds(chain))
    assert.equal(1, #jobs)
    assert.same({ PIDFD, "exit", 7 }, { jobs[1].pidfd, jobs[1].event.kind, jobs[1].event.pid })
    assert.is_nil(jobs[1].timeout)
  end)

  it("keeps its limit itself, but for what the command leaves behind", function()
    local jobs = support.keepers(_ENV)
    local gate = passed({}, { timeout = 100, keeps_limits = true })
    local handle = handle_with { runs_on = true }
    assert.is_true(gate:started(handle))
    assert.same({}, jobs)
    gate:ended(EXITED)
    gate:leaving(handle)
    assert.equal(1, #jobs)
    assert.same({ true, nil }, { jobs[1].lasting, jobs[1].event })
    assert.is_true(handle.left)
  end)
end)

describe("a command whose limit the caller does not keep", function()
  it("has a keeper for it, and its exit event from who waits", function()
    local jobs = support.keepers(_ENV)
    local gate, chain = passed({}, { timeout = 100, kill_after = 3 })
    local handle = handle_with { runs_on = true }
    assert.is_true(gate:started(handle))
    assert.equal(1, #jobs)
    assert.same({ PIDFD, handle.tree, 3, true, nil },
      { jobs[1].pidfd, jobs[1].tree, jobs[1].kill_after, jobs[1].lasting, jobs[1].event })
    gate:ended(EXITED)
    assert.same({ "accept", "exit" }, support.kinds(chain))
  end)

  it("does not stay when there is no keeper, which one event says", function()
    support.keepers(_ENV, "no more processes")
    for _, detach in ipairs { false, true } do
      local gate, chain = passed({}, { timeout = 100, detach = detach })
      local handle = handle_with()
      local message = "the time limit cannot be kept: no more processes"
      assert.same({ nil, message, "system" }, { gate:started(handle) })
      assert.equal("kill", handle.calls[1])
      gate:ended(EXITED)
      gate:left(PIDFD)
      assert.same({ "accept", "error" }, support.kinds(chain))
      assert.equal(message, chain.events[2].message)
    end
  end)
end)

describe("a detached command", function()
  it("has a keeper tell its end", function()
    local jobs = support.keepers(_ENV)
    local gate, chain = passed({}, { detach = true })
    assert.is_true(gate:started(handle_with()))
    assert.equal(1, #jobs)
    assert.same({ "exit", true, nil }, { jobs[1].event.kind, jobs[1].event.detached, jobs[1].timeout })
    gate:left(PIDFD)
    gate:ended(EXITED)
    assert.equal(1, #jobs)
    assert.same({ "accept" }, support.kinds(chain))
  end)

  it("has one keeper for its end and its limit", function()
    local jobs = support.keepers(_ENV)
    local gate, chain = passed({}, { detach = true, timeout = 100 })
    assert.is_true(gate:started(handle_with()))
    gate:left(PIDFD)
    assert.equal(1, #jobs)
    assert.equal("exit", jobs[1].event.kind)
    assert.is_true(jobs[1].timeout > 0)
    assert.same({ "accept" }, support.kinds(chain))
  end)

  it("says in its accept event where nobody may ever know its status", function()
    local release = core.kernel.release
    finally(function() core.kernel.release = release end)
    for version, unknown in pairs {
      ["5.10.0-8-amd64"] = true, ["6.14.9"] = true, ["6.15.0"] = false, ["7.0"] = false,
    } do
      core.kernel.release = function() return version end
      local _, chain = passed({}, { detach = true })
      assert.equal(unknown or nil, (chain.events[1].outcome or {}).exit_unknown)
      _, chain = passed({}, {})
      assert.is_nil(chain.events[1].outcome)
    end
  end)
end)

describe("a prepared command", function()
  it("has no time before it runs", function()
    local jobs = support.keepers(_ENV)
    local gate = passed({}, { timeout = 100 })
    local handle = handle_with { waiting = true }
    assert.is_true(gate:started(handle))
    assert.same({}, jobs)
    handle.waiting = false
    assert.is_true(gate:started(handle))
    assert.equal(1, #jobs)
  end)
end)

describe("the policies' process", function()
  it("ends early where there will be no other exec, and no policy wants events", function()
    support.keepers(_ENV)
    for _, case in ipairs {
      { { one_exec = true }, { "stop", "close" } }, { { one_exec = true, hooks = true }, {} }, { {}, {} },
    } do
      local gate, chain = passed(case[1])
      gate:started(handle_with())
      assert.same(case[2], chain.calls)
    end
  end)
end)
