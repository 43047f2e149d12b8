local function contents(path)
  local file = assert(io.open(path))
  local text = file:read "a"
  file:close()
  return text
end

describe("the policy cookbook", function()
  local cookbook = contents "docs/policy-cookbook.md"

  it("shows every policy of the gallery as it is", function()
    local list = io.popen "ls scripts/policies/*.lua"
    local count = 0
    for path in list:lines() do
      count = count + 1
      assert.is_truthy(cookbook:find(contents(path), 1, true), path .. " differs from docs/policy-cookbook.md")
    end
    list:close()
    assert.is_true(count >= 12)
  end)

  it("is about policies of ten to forty lines", function()
    local list = io.popen "ls scripts/policies/*.lua"
    for path in list:lines() do
      local _, lines = contents(path):gsub("\n", "")
      assert.is_true(lines >= 10 and lines <= 40, ("%s has %d lines"):format(path, lines))
    end
    list:close()
  end)
end)

describe("the policy guide", function()
  local guide = contents "docs/policy.md"
  local blocks = {}
  for block in guide:gmatch "```lua\n(.-)```" do blocks[#blocks + 1] = block end

  local function in_folder(name, text, test)
    local folder = os.tmpname()
    os.remove(folder)
    os.execute(("umask 022; mkdir '%s'"):format(folder))
    local file = assert(io.open(folder .. "/" .. name, "w"))
    file:write(text)
    file:close()
    os.execute(("chmod 644 '%s/%s'"):format(folder, name))
    local ok, problem = pcall(test, folder)
    os.execute(("rm -rf '%s'"):format(folder))
    assert.is_true(ok, problem)
  end

  it("starts with a policy that works", function()
    local there, core = pcall(require, "ctrexec.core")
    if not there then pending(tostring(core)) end
    local testing = require "ctrexec.policy.testing"
    in_folder("no-root.lua", blocks[1], function(folder)
      local policy = testing.policy(folder .. "/no-root.lua")
      assert.equal("denied by policy no-root: not as root", policy:check(testing.request()).message)
      assert.equal("accept", policy:check(testing.request { user = "1000" }).decision)
      assert.error_matches(function() testing.request { usr = "1000" } end,
        "^spec.usr: unknown field %(did you mean user%?%)$")
      assert.same({ terminal = true, detach = false, timeout = 5 },
        testing.request({ terminal = true, options = { timeout = 5 } }).options)
    end)
  end)

  it("shows configurations that load", function()
    local there, core = pcall(require, "ctrexec.core")
    if not there then pending(tostring(core)) end
    local shown = {}
    for _, block in ipairs(blocks) do
      if block:find("-- /etc/ctrexec/config.lua\n", 1, true) == 1 then
        in_folder("config.lua", block, function(folder)
          shown[#shown + 1] = assert(require "ctrexec.site.config".load(folder))
        end)
      end
    end
    assert.equal("/var/log/ctrexec.jsonl", shown[1].audit.file)
    assert.equal("/etc/ctrexec/modules", shown[2].module_directory)
  end)
end)
