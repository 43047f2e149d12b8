-- exec --process-label in a kernel that has SELinux, with the small policy of tests/vm/guest/policy.cil: tests/vm/run.
local support = require "tests.vm.specs.support"

local LABEL = "system_u:system_r:container_t:s0:c1,c2"
local CURRENT = "cat /proc/self/attr/current"

local function trim(text) return (text:gsub("%z*$", "")) end

describe("exec in a guest with SELinux", function()
  local ct, labelled

  lazy_setup(function()
    ct = support.fixture.container {}
    labelled = support.fixture.container { id = "labelled", config = function(config)
      config.process.selinuxLabel = LABEL
    end }
  end)
  lazy_teardown(function()
    if ct then ct:remove() end
    if labelled then labelled:remove() end
  end)

  for _, program in ipairs { "ctrexec", "runc" } do
    describe(program, function()
      it("enters the label of --process-label", function()
        local words = ("--process-label %s %s %s"):format(LABEL, ct.id, CURRENT)
        assert.equal(LABEL, trim((support.exec(program, ct, words))))
      end)

      it("enters the container's own label", function()
        assert.equal(LABEL, trim((support.exec(program, labelled, labelled.id .. " " .. CURRENT))))
      end)

      it("refuses a label that the policy does not know", function()
        local _, code = support.exec(program, ct,
          ("--process-label system_u:system_r:nothing_t:s0 %s true"):format(ct.id))
        assert.equal(255, code)
      end)
    end)
  end

  it("says which label was refused, in one line", function()
    local output = support.exec("ctrexec", ct, ("--process-label system_u:system_r:nothing_t:s0 %s true"):format(ct.id))
    assert.matches("set process label: write /proc/self/attr/exec: invalid argument", output)
    assert.is_nil(output:find("\n", 1, true))
  end)

  it("does not change the caller's own label", function()
    local before = support.shell(CURRENT)
    support.exec("ctrexec", ct, ("--process-label %s %s true"):format(LABEL, ct.id))
    assert.equal(before, (support.shell(CURRENT)))
  end)
end)
