local command = require "ctrexec.command.policy"
local tool = require "tests.lib.tool"

local SETTINGS = { policy_directories = {}, limits = { policy_time = 1, policy_memory = 8 << 20 } }

describe("policy check", function()
  local folder

  before_each(function()
    folder = tool.folder()
  end)
  after_each(function() tool.remove(folder) end)

  local function write(name, text)
    local path = folder .. "/" .. name
    tool.write(path, text, "644")
    return path
  end

  local function check(...)
    local lines = {}
    local out = { write = function(_, ...) lines[#lines + 1] = table.concat { ... } end }
    return command.check(SETTINGS, { ... }, out), table.concat(lines)
  end

  it("says of each file whether an exec could use it", function()
    local good = write("good.lua", "return { name = 'fine', check = function() end, audit = function() end }")
    local bad = write("bad.lua", "return 5")
    local ok, text = check(bad, good)
    assert.is_false(ok)
    assert.equal(bad .. ": the file must return a table, not a number\n" .. good .. ": ok: fine (check, audit)\n", text)
    assert.is_true((check(good)))
  end)

  it("judges owner and mode as an exec does", function()
    local path = write("a.lua", "return { check = function() end }")
    os.execute(("chmod 666 '%s'"):format(path))
    local ok, text = check(path)
    assert.is_false(ok)
    assert.matches("can be written by group or others", text)
  end)

  it("passes every policy of the gallery as far as its text goes", function()
    local count = 0
    for path in tool.output "ls scripts/policies/*.lua":gmatch "[^\n]+" do
      count = count + 1
      local copied = write(path:match "[^/]*$", tool.read(path))
      local ok, text = check(copied)
      assert.is_true(ok, text)
    end
    assert.is_true(count >= 12)
  end)

  it("runs specs that find the ready-made requests", function()
    write("p.lua", "return { check = function(r) if r.process.user.uid == 0 then return deny 'no' end end }")
    local spec = [[
      it("denies root", function()
        local policy = ctrexec_policy "%s/p.lua"
        assert.equal("reject", policy:check(ctrexec_request { user = "0:0", args = { "id" } }).decision)
        assert.equal("%s", policy:check(ctrexec_request { user = "5:5" }).decision)
      end)]]
    write("p_spec.lua", spec:format(folder, "accept"))
    local function quiet(path)
      -- busted's own report would be mixed into ours.
      local execute = os.execute
      os.execute = function(line) return execute(line .. " >/dev/null 2>&1") end -- luacheck: ignore 122
      local status, message = command.test(path)
      os.execute = execute -- luacheck: ignore 122
      return status, message
    end
    if not tool.has "busted" then pending "busted is not on the PATH" end
    assert.equal(0, (quiet(folder)))
    write("p_spec.lua", spec:format(folder, "reject"))
    assert.is_true(quiet(folder) > 0)
  end)
end)
