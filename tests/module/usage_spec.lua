--- A value of a wrong type for anything that a program may pass: one line at its position, or "invalid"; never an error
-- from within the module.
local containers = require "tests.lib.containers"
local ctrexec = require "ctrexec"
local support = require "tests.module.support"
local tool = require "tests.lib.tool"

local ct, container

local check = containers.suite(_ENV, function (made) ct, container = made, made:open() end)

-- One of each type, told by more than its type where that matters.
local VALUES = { boolean = true, number = 5, fraction = 5.5, string = "text", table = { key = {} },
  strings = { "text", "more" }, mixed = { "text", 5 }, ["function"] = function () end,
  thread = coroutine.create(function () end), userdata = require "cjson".null }

local BOOLEAN, STRING, STRINGS, NUMBER = { boolean = true }, { string = true }, { strings = true },
  { number = true, fraction = true }

-- Arguments whose wrong type raises an error: the right types, and the word for them.
local RAISING = {
  timeout = { NUMBER, "number of seconds" }, kill_after = { NUMBER, "number of seconds" }, audit = { {}, "expected" },
  max_output = { NUMBER, "number of bytes" }, input = { { string = true, ["function"] = true }, "string, function or" },
  cgroup = { STRINGS, "string" }, tools = { {}, "expected" }, host_env = { STRINGS, "string" },
  preserve_fds = { { number = true }, "integer" },
  login_uid = { { number = true }, "integer" }, pid_file = { STRING, "string" }, console_socket = { STRING, "string" },
  pidfd_socket = { STRING, "string" }, detach = { BOOLEAN, "boolean" }, tree = { BOOLEAN, "boolean" },
  ignore_paused = { BOOLEAN, "boolean" }, groups_from_container = { BOOLEAN, "boolean" },
  records = { BOOLEAN, "boolean" }, keeps_limits = { BOOLEAN, "boolean" },
  on_process = { { ["function"] = true }, "function" }, on_terminal = { { ["function"] = true }, "function" },
  lookup = { { ["function"] = true }, "function" },
}

-- Arguments that may be data from another source: only types that are wrong whatever they contain. cjson's null counts
-- as absent.
local ANSWERED = {
  args = { "boolean", "number", "string", "function", "thread", "mixed", "table" },
  cwd = { "boolean", "number", "table" },
  env = { "boolean", "number", "string", "function", "thread", "mixed", "table" },
  user = { "boolean", "fraction", "function", "strings" },
  additional_gids = { "boolean", "number", "string", "table" },
  caps = { "boolean", "number", "string", "mixed", "table" },
  capabilities = { "boolean", "number", "string", "strings" },
  no_new_privs = { "number", "string", "table" }, noNewPrivileges = { "number", "string", "table" },
  terminal = { "number", "string", "table" }, consoleSize = { "boolean", "number", "string", "strings" },
  rlimits = { "boolean", "number", "string", "strings", "table" }, oomScoreAdj = { "boolean", "fraction", "string" },
  apparmorProfile = { "boolean", "number", "table" }, selinuxLabel = { "boolean", "number", "table" },
  scheduler = { "boolean", "number", "string", "strings" }, ioPriority = { "boolean", "number", "string", "strings" },
  execCPUAffinity = { "boolean", "number", "string", "strings" },
  process = { "boolean", "number", "string", "strings" },
  record = { "number", "string", "table", "function" }, stdin = { "boolean", "fraction", "string", "table" },
  stdout = { "boolean", "fraction", "string", "table" }, stderr = { "boolean", "fraction", "string", "table" },
}

-- What is named otherwise in the answer.
local NAMED = { caps = "cap", no_new_privs = "noNewPrivileges" }

local TERMINAL = ": has no effect with terminal, which takes the place of the streams"

local CALLS = { "exec", "spawn", "prepare", "explain", "check" }

local function case_of(call, name, kind, text)
  return ("%s, %s = a %s: %s"):format(call, name, kind, tostring(text))
end

local function spec_of(name, value)
  return name == "args" and { args = value } or name == "process" and { process = value } or { "true", [name] = value }
end

describe("a value of a wrong type", function ()
  check("in a spec raises one line at the caller's position", function ()
    for name, rule in pairs(RAISING) do
      for kind, value in pairs(VALUES) do
        for _, call in ipairs(rule[1][kind] and {} or CALLS) do
          local done, text = pcall(function () return (container[call](container, { "true", [name] = value })) end)
          local about = case_of(call, name, kind, text)
          assert.is_false(done, about)
          assert.matches("^[^\n]*usage_spec%.lua:%d+: spec%." .. name .. "[%w%[%].]*: [^\n]*$", text, about)
          assert.is_truthy(text:find(rule[2], 1, true), about)
        end
      end
    end
  end)

  check("in what may be data is answered", function ()
    for name, kinds in pairs(ANSWERED) do
      for _, kind in ipairs(kinds) do
        for _, call in ipairs { "exec", "spawn", "prepare" } do
          local done, handle, message, code = pcall(container[call], container, spec_of(name, VALUES[kind]))
          local about = case_of(call, name, kind, message or handle)
          assert.is_true(done, about)
          assert.is_nil(handle, about)
          assert.equal("invalid", code, about)
          assert.is_truthy(message:find(NAMED[name] or name, 1, true), about)
        end
      end
    end
  end)

  check("in the options of open and list raises one line at the caller's position", function ()
    local rules = { root = STRING, roots = STRINGS, policy = STRINGS, pid = { number = true } }
    for name, right in pairs(rules) do
      for kind, value in pairs(VALUES) do
        local calls = { open = function () return (ctrexec.open("ct", { [name] = value })) end,
          list = function () return (ctrexec.list { [name] = value }) end }
        for call, open in pairs(right[kind] and {} or calls) do
          local done, text = pcall(open)
          local about = case_of(call, name, kind, text)
          assert.is_false(done, about)
          assert.matches("^[^\n]*usage_spec%.lua:%d+: options%." .. name .. "[%[%d%]]*: expected [^\n]*, got [^\n]*$",
            text, about)
        end
      end
    end
    for _, open in ipairs { ctrexec.open, ctrexec.list } do
      for _, options in ipairs { 5, "text", true } do
        local done, text = pcall(function () return (open(open == ctrexec.open and "ct" or options, options)) end)
        assert.is_false(done)
        assert.matches("usage_spec%.lua:%d+: options: expected a table, got ", text)
      end
    end
  end)

  check("in the name of an option, or of a policy's field, opens no container without the policy", function ()
    local file = ct.dir .. "/deny.lua"
    for _, options in ipairs { { policies = { file } }, { polcy = { file } }, { policy = { file = file } } } do
      options.root = ct.root
      local done, text = pcall(function () return (ctrexec.open("ct", options)) end)
      assert.is_false(done, next(options))
      assert.matches("^[^\n]*usage_spec%.lua:%d+: options%.pol[^\n]+$", text)
    end
  end)

  check("in a field that is not there, or would have no effect, raises one line at the caller's position", function ()
    for call, wrong in pairs {
      exec = {
        { "timout: unknown field (did you mean timeout?)", { timout = 5 } },
        { "usr: unknown field (did you mean user?)", { usr = "alice", env = { A = "1" } } },
        { "[3]: unknown field", { [3] = "after a gap" } },
        { "user.umaks: unknown field (did you mean umask?)", { user = { uid = 5, umaks = 7 } } },
        { "consoleSize.rows: unknown field", { consoleSize = { rows = 24 } } },
        { "input" .. TERMINAL, { input = "x", terminal = true } },
        { "stdin" .. TERMINAL, { stdin = 0, terminal = true } },
        { "detach: has an effect only in spawn and prepare", { detach = true } },
        { "console_socket: has an effect only in spawn and prepare", { console_socket = "/x" } },
        { "records: has an effect only in spawn and prepare", { records = true } },
        { "kill_after: has an effect only with timeout or under policies", { kill_after = 1 } },
        { "cwd: has no effect with process, which is the whole of it", { cwd = "/", process = { args = { "true" } } } },
        { "args: has no effect with process, which is the whole of it", { args = {}, process = { args = { "id" } } } },
        { "[1]: has no effect with process, which is the whole of it", { "true", process = { args = { "true" } } } },
        { "noNewPrivileges: has no effect with no_new_privs, which says the same",
          { noNewPrivileges = true, no_new_privs = true } },
      },
      spawn = {
        { "input: has an effect only in exec", { input = "x" } },
        { "max_output: has an effect only in exec", { max_output = 5 } },
        { "timeout: has an effect only in exec, with keeps_limits or under policies", { timeout = 5 } },
        { "timeout: nobody would be there to end a detached command", { timeout = 5, detach = true } },
        { "record: nobody would be there to record a detached command",
          { record = "/x", records = true, detach = true } },
      },
      prepare = { { "input: has an effect only in exec", { input = "x" } } },
      explain = { { "polcy: unknown field", { polcy = "x" } } },
      check = { { "ignore_pause: unknown field (did you mean ignore_paused?)", { ignore_pause = true } } },
    } do
      for _, case in ipairs(wrong) do
        local spec = case[2]
        if not spec.process then spec[1] = "true" end
        local done, text = pcall(function () return (container[call](container, spec)) end)
        assert.is_false(done, case[1])
        assert.equal(case[1], text:match "^[^\n]*usage_spec%.lua:%d+: spec%.?([^\n]*)$" or text)
      end
    end
  end)

  check("in an option that would have no effect raises, too", function ()
    local done, text = pcall(function () return (ctrexec.list { pid = 1 }) end)
    assert.is_false(done)
    assert.matches("usage_spec%.lua:%d+: options%.pid: has an effect only in open$", text)
  end)

  check("is what it is called only where it is one", function ()
    for _, spec in ipairs {
      { detach = false, input = "", terminal = false },
      { user = { uid = 0, gid = 0, umask = 18, additionalGids = { 4 } } },
      setmetatable({ "true" }, { __index = { cwd = "/" } }),
    } do
      spec[1] = "true"
      assert.equal(0, assert(container:exec(spec)).code)
    end
    local process <close> = assert(container:spawn { "true", timeout = 5, kill_after = 1, keeps_limits = true })
    assert.equal(5, process.timeout)
    process:wait()
    assert.is_true(container:check { "true", input = "x", detach = true, timeout = 1 })
    local done, text = pcall(function ()
      return (container:exec(setmetatable({ "true", usr = "x" }, { __index = { cwd = "/" } })))
    end)
    assert.is_false(done)
    assert.matches("spec%.usr: unknown field", text)
  end)

  check("in a call on a closed container raises one line at the caller's position", function ()
    local closed = assert(ctrexec.open("ct", { root = ct.root }))
    closed:close()
    for _, call in ipairs { "exec", "spawn", "prepare", "explain", "check" } do
      local done, text = pcall(function () return (closed[call](closed, { "true" })) end)
      assert.is_false(done, call)
      assert.matches("^[^\n]*usage_spec%.lua:%d+: the container is closed$", text, call)
    end
  end)

  check("leaves nothing behind", function ()
    local descriptors, children = support.descriptors(), #tool.children()
    for name in pairs(RAISING) do pcall(container.spawn, container, { "true", [name] = VALUES.thread }) end
    collectgarbage()
    assert.equal(descriptors, support.descriptors())
    assert.equal(children, #tool.children())
  end)
end)
