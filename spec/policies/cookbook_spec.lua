local config = require "ctrexec.site.config"
local testing = require "ctrexec.policy.testing"
local tool = require "tests.lib.tool"

-- The paths of the gallery's policies.
local function gallery()
  local paths = {}
  for path in tool.output "ls scripts/policies/*.lua":gmatch "[^\n]+" do paths[#paths + 1] = path end
  return paths
end

describe("the policy cookbook", function()
  local cookbook = tool.read "docs/policy-cookbook.md"

  it("shows every policy of the gallery as it is", function()
    for _, path in ipairs(gallery()) do
      assert.is_truthy(cookbook:find(tool.read(path), 1, true), path .. " differs from docs/policy-cookbook.md")
    end
    assert.is_true(#gallery() >= 12)
  end)

  it("is about policies of ten to forty lines", function()
    for _, path in ipairs(gallery()) do
      local _, lines = tool.read(path):gsub("\n", "")
      assert.is_true(lines >= 10 and lines <= 40, ("%s has %d lines"):format(path, lines))
    end
  end)
end)

describe("the policy guide", function()
  local guide = tool.read "docs/policy.md"
  local blocks = {}
  for block in guide:gmatch "```lua\n(.-)```" do blocks[#blocks + 1] = block end

  local function in_folder(name, text, test)
    local folder = tool.folder()
    tool.write(folder .. "/" .. name, text, "644")
    local ok, problem = pcall(test, folder)
    tool.remove(folder)
    assert.is_true(ok, problem)
  end

  it("starts with a policy that works", function()
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
    local shown = {}
    for _, block in ipairs(blocks) do
      if block:find("-- /etc/ctrexec/config.lua\n", 1, true) == 1 then
        in_folder("config.lua", block, function(folder)
          shown[#shown + 1] = assert(config.load(folder))
        end)
      end
    end
    assert.equal("/var/log/ctrexec.jsonl", shown[1].audit.file)
    assert.equal("/etc/ctrexec/modules", shown[2].module_directory)
  end)
end)
