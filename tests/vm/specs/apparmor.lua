-- exec --apparmor in a kernel that has AppArmor: tests/vm/run.
local support = require "tests.vm.specs.support"
local tool = require "tests.lib.tool"

local CURRENT = "cat /proc/self/attr/current"

local PROFILES = [[
profile ctrexec-lenient flags=(attach_disconnected,mediate_deleted) {
  file, capability, network, signal, ptrace, mount, unix,
}
profile ctrexec-strict flags=(attach_disconnected,mediate_deleted) {
  file, capability, network, signal, ptrace, mount, unix,
  deny /secret r,
}
]]

describe("exec in a guest with AppArmor", function()
  local ct, confined

  lazy_setup(function()
    local folder = tool.folder()
    tool.write(folder .. "/profiles", PROFILES)
    tool.sh("apparmor_parser --replace %s", folder .. "/profiles")
    tool.remove(folder)
    local files = { ["/secret"] = "hidden\n" }
    ct = support.fixture.container { files = files }
    confined = support.fixture.container { files = files, id = "confined", config = function(config)
      config.process.apparmorProfile = "ctrexec-strict"
    end }
  end)
  lazy_teardown(function()
    if ct then ct:remove() end
    if confined then confined:remove() end
  end)

  for _, program in ipairs { "ctrexec", "runc" } do
    describe(program, function()
      it("is unconfined without a profile", function()
        assert.equal("unconfined", (support.exec(program, ct, ct.id .. " " .. CURRENT)))
      end)

      it("enters the profile of --apparmor", function()
        assert.equal("ctrexec-lenient (enforce)",
          (support.exec(program, ct, ("--apparmor ctrexec-lenient %s %s"):format(ct.id, CURRENT))))
      end)

      it("is held to what the profile denies", function()
        local output, code = support.exec(program, ct, ("--apparmor ctrexec-strict %s cat /secret"):format(ct.id))
        assert.matches("Permission denied", output)
        assert.equal(1, code)
      end)

      it("enters the container's own profile", function()
        assert.equal("ctrexec-strict (enforce)", (support.exec(program, confined, confined.id .. " " .. CURRENT)))
      end)

      it("enters it under no_new_privs, too", function()
        assert.equal("ctrexec-strict (enforce)",
          (support.exec(program, confined, ("--no-new-privs %s %s"):format(confined.id, CURRENT))))
      end)

      it("refuses an unknown profile", function()
        local output, code = support.exec(program, ct, ("--apparmor ctrexec-none %s true"):format(ct.id))
        assert.equal(255, code)
        assert.matches("apparmor failed to apply profile: write /proc/self/attr/[%w/]*exec: no such file or directory",
          output)
      end)
    end)
  end

  it("does not confine the caller", function()
    support.exec("ctrexec", ct, ("--apparmor ctrexec-lenient %s true"):format(ct.id))
    assert.equal("unconfined", (support.shell(CURRENT)))
  end)

  it("writes the label past a container that covered its own /proc", function()
    assert(ct:exec { "mount", "-t", "tmpfs", "none", "/proc", caps = { "CAP_SYS_ADMIN" } }.code == 0)
    local output = support.exec("ctrexec", ct, ("--apparmor ctrexec-strict %s cat /secret"):format(ct.id))
    assert.matches("Permission denied", output)
  end)
end)
