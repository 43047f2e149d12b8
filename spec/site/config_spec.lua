local config = require "ctrexec.site.config"
local tool = require "tests.lib.tool"

describe("config.load", function()
  local folder

  local function write(text, mode)
    tool.write(folder .. "/config.lua", text, mode or "644")
  end

  before_each(function()
    folder = tool.folder()
  end)

  after_each(function() tool.remove(folder) end)

  it("has defaults where there is no file", function()
    local settings = assert(config.load(folder))
    assert.same({ folder .. "/policy.d" }, settings.policy_directories)
    assert.same({}, settings.roots)
    assert.equal(2, settings.limits.policy_time)
    assert.equal(32 << 20, settings.limits.policy_memory)
    assert.same(settings, assert(config.load(folder)))
    assert.is_table(config.load(folder .. "/nothing/here"))
  end)

  it("reads every field", function()
    write [[return {
      roots = { "/run/x" }, policy_directories = { "/etc/p" }, runtime = "/usr/sbin/runc", module_directory = "/etc/m",
      audit = { file = "/var/log/x", syslog = true, journald = false, required = false, redact = { "a(b)" },
        command = false },
      limits = { policy_time = 0.5, exec_timeout = 60 },
      record = { folder = "/var/log/x", input = true, passwords = false, required = false },
    }]]
    local settings = assert(config.load(folder))
    assert.same({ "/run/x" }, settings.roots)
    assert.equal("/usr/sbin/runc", settings.runtime)
    assert.equal("a(b)", settings.audit.redact[1])
    assert.same({ folder = "/var/log/x", input = true, passwords = false, required = false }, settings.record)
    assert.same({ policy_time = 0.5, exec_timeout = 60, policy_memory = 32 << 20 }, settings.limits)
  end)

  it("does not look at the environment", function()
    -- The user who starts ctrexec must not be able to choose the site's policies.
    local source = tool.read "lua/ctrexec/site/config.lua"
    assert.is_nil(source:find("getenv", 1, true))
  end)

  local cases = {
    { "return {", "unexpected symbol near <eof>" },
    { "return 1 + {}", "config.lua:1: attempt to perform arithmetic on a table value" },
    { "return 5", "config: expected an object, got a number" },
    { "return", "config: expected an object, got nothing" },
    { "while true do end", "config.lua: runs for too long" },
    { "return os.getenv 'HOME'", "attempt to index a nil value" },
    { "return { root = {} }", "config.root: unknown field" },
    { "return { roots = '/x' }", "config.roots: expected an array, got a string" },
    { "return { roots = { 'x' } }", 'config.roots[1]: expected an absolute path, got "x"' },
    { "return { roots = { 5 } }", "config.roots[1]: expected a string, got a number" },
    { "return { roots = { a = '/x' } }", 'config.roots: expected an array, got an object with the key "a"' },
    { "return { runtime = 'runc' }", 'config.runtime: expected an absolute path, got "runc"' },
    { "return { audit = { file = 'x' } }", 'config.audit.file: expected an absolute path, got "x"' },
    { "return { audit = { syslog = 'yes' } }", "config.audit.syslog: expected a boolean, got a string" },
    { "return { audit = { redact = { '(' } } }", "config.audit.redact[1]: " },
    { "return { record = { folder = 'x' } }", 'config.record.folder: expected an absolute path, got "x"' },
    { "return { record = { file = '/x' } }", "config.record.file: unknown field" },
    { "return { record = { max_size = 0.5 } }", "config.record.max_size: expected an integer, got 0.5" },
    { "return { record = { max_size = 0 } }", "config.record.max_size: must be at least 1, got 0" },
    { "return { record = true }", "config.record: expected an object, got a boolean" },
    { "return { limits = { policy_time = 0 } }", "config.limits.policy_time: must be greater than 0" },
    { "return { limits = { policy_time = 1/0 } }", "config.limits.policy_time: expected a number of seconds, got inf" },
    { "return { limits = { policy_time = 2e12 } }", "config.limits.policy_time: must be at most 1e+12 seconds" },
    { "return { limits = { policy_memory = '1G' } }",
      "config.limits.policy_memory: expected a number of bytes, got a string" },
  }
  for _, case in ipairs(cases) do
    it("refuses " .. case[1], function()
      write(case[1])
      local settings, message, code = config.load(folder)
      assert.is_nil(settings)
      assert.is_truthy(message:find(case[2], 1, true), message)
      assert.equal("invalid", code)
    end)
  end

  it("refuses a file or a folder that others can write", function()
    write("return {}", "666")
    local settings, message, code = config.load(folder)
    assert.is_nil(settings)
    assert.matches("config.lua: can be written by group or others", message)
    assert.equal("untrusted", code)
    write "return {}"
    os.execute(("chmod 777 '%s'"):format(folder))
    assert.equal("untrusted", (select(3, config.load(folder))))
  end)

  it("refuses a dangling link rather than taking the defaults", function()
    os.execute(("ln -s nowhere '%s/config.lua'"):format(folder))
    local settings, _, code = config.load(folder)
    assert.is_nil(settings)
    assert.equal("untrusted", code)
  end)
end)
