-- The site's modules replace ctrexec's own: the example of docs/policy.md, word by word.

local policies = require "tests.lib.policies"
local tool = require "tests.lib.tool"

local site, ct

local at = policies.suite(_ENV, function (made, container) site, ct = made, container end, nil, function ()
  site:write("config.lua", [[return { module_directory = "/etc/ctrexec/modules" }]])
end)
local check, run, assert_denied = at.check, at.run, at.assert_denied

-- Writes the block of the guide that begins with the name of the file.
local function from_docs(path)
  local guide = tool.read(tool.repository .. "/docs/policy.md")
  local start = assert(guide:find("```lua\n-- /etc/ctrexec/" .. path .. "\n", 1, true), path)
  site:write(path, (guide:match("^```lua\n(.-)```\n", start)))
end

describe("the example of the guide", function()
  check("replaces the option parser", function()
    from_docs "modules/ctrexec/command/options.lua"
    site:write("config.lua", ([[return { module_directory = "/etc/ctrexec/modules", roots = { %q } }]]):format(ct.root))
    assert.equal("1000\n1000\n", site:shell(("exec 2>&1 %s shell ct -c 'id -u; id -g'"):format(tool.ctrexec())).stdout)
    assert.equal("0\n", run({ "exec", "ct", "id", "-u" }).stdout)
  end)

  check("replaces the flow of exec, under the same policies", function()
    from_docs "modules/ctrexec/command/exec.lua"
    local result = run { "exec", "ct", "sh", "-c", "echo one; echo two; echo three >&2; exit 4" }
    assert.equal("ct: one\nct: two\n", result.stdout)
    assert.equal("three\n", result.stderr)
    assert.equal(4, result.code)
    assert.equal(0, run({ "exec", "-d", "ct", "true" }).code)
    assert.equal(255, run({ "exec", "ct", "/no/such" }).code)
    assert.equal(0, run({ "explain", "exec", "ct", "true" }).code)
    site:write("policy.d/no.lua", [[return { check = function() return deny "no" end }]])
    assert_denied(run(at.TOUCH), "no: no")
  end)
end)

describe("an option of the site's own", function()
  local function says(words, expected)
    local result = run(words)
    assert.is_truthy((result.stdout .. result.stderr):find(expected, 1, true), result.stdout .. result.stderr)
    assert.is_nil(result.stderr:find("%.lua:%d+:"))
    return result
  end

  check("is in --help, in the completion and in refusals, and is read", function()
    site:write("modules/ctrexec/command/options.lua", [[
      local o = require "original.ctrexec.command.options"
      table.insert(o.commands.exec, { name = "as" })
      return o]])
    says({ "exec", "--help" }, "      --as VALUE\n")
    for _, shell in ipairs { "bash", "zsh" } do says({ "completion", shell }, "--as") end
    assert.equal(1, says({ "exec", "--as" }, "flag needs an argument: -as (--as VALUE)").code)
    says({ "exec", "--az" }, "did you mean --as?")
    assert.equal("0\n", says({ "exec", "--as", "who", "ct", "id", "-u" }, "").stdout)
    assert.equal(0, says({ "explain", "exec", "--as", "who", "ct", "true" }, "would run").code)
  end)
end)

describe("a module of the site", function()
  local function assert_fails(message)
    local result = site:run(ct, at.TOUCH, { logged = true })
    assert.equal(255, result.code)
    local entry = result.log[1]
    assert.equal("error", entry.level)
    assert.is_truthy(entry.msg:find(message, 1, true), entry.msg)
    assert.is_false(at.ran())
  end

  -- The end of a module `process` whose commands all become echo.
  local ECHOES = [[

    local build = process.build
    function process.build(record, spec)
      local object, warnings, code = build(record, spec)
      if object then object.args[1] = "echo" end
      return object, warnings, code
    end
    return process]]

  check("takes its place also under the name of 0.1", function()
    site:write("modules/ctrexec/process.lua", [[
      local process = require "original.ctrexec.process"
      assert(process == require "original.ctrexec.oci.process")
      assert(require "ctrexec.wording" == require "ctrexec.lib.wording")]] .. ECHOES)
    assert.equal("hello\n", run({ "exec", "ct", "/no/such", "hello" }).stdout)
  end)

  check("wins over the compiled form", function()
    site:write("modules/ctrexec/oci/process.lua", [[
      local process = require "original.ctrexec.oci.process"]] .. ECHOES)
    assert.equal("hello\n", run({ "exec", "ct", "cat", "hello" }).stdout)
  end)

  check("that others may write fails the exec", function()
    site:write("modules/ctrexec/exec/plan.lua", "return {}")
    os.execute("chmod 666 " .. site.folder .. "/modules/ctrexec/exec/plan.lua")
    assert_fails "/etc/ctrexec/modules/ctrexec/exec/plan.lua: can be written by group or others (mode 0666)"
  end)

  check("that is another user's fails the exec", function()
    site:write("modules/ctrexec/command/options.lua", [[return require "original.ctrexec.command.options"]])
    os.execute("chown 1 " .. site.folder .. "/modules/ctrexec/command/options.lua")
    assert_fails "/etc/ctrexec/modules/ctrexec/command/options.lua: is owned by user 1"
  end)

  check("that does not compile, raises or is no module fails the exec", function()
    site:write("modules/ctrexec/command/options.lua", "return {")
    assert_fails "/etc/ctrexec/modules/ctrexec/command/options.lua:1: unexpected symbol near <eof>"
    site:write("modules/ctrexec/command/options.lua", "error 'boom'")
    assert_fails "/etc/ctrexec/modules/ctrexec/command/options.lua:1: boom"
    site:write("modules/ctrexec/command/options.lua", "return require 'original.ctrexec.command.options'")
    site:write("modules/ctrexec/policy/gate.lua", "return 5")
    site:write("policy.d/p.lua", "return { check = function() end }")
    assert_fails "attempt to index a number value"
  end)

  check("is also what the policies' process and the watcher run", function()
    site:write("config.lua", ([[return { module_directory = "/etc/ctrexec/modules", audit = { file = %q } }]])
      :format(site.dir .. "/events"))
    site:write("modules/ctrexec/policy/audit.lua", [[
      local audit = require "original.ctrexec.policy.audit"
      local write = audit.write
      function audit.write(settings, event)
        event.site = "mine"
        return write(settings, event)
      end
      return audit]])
    assert.equal(0, run({ "exec", "-d", "ct", "true" }).code)
    assert.equal("mine", site:wait_for_event "exit".site)
    assert.equal("mine", site:wait_for_event "accept".site)
  end)
end)
