-- Containers whose cgroup systemd manages: tests/vm/run.
local support = require "tests.vm.specs.support"
local tool = require "tests.lib.tool"

for _, runtime in ipairs { "runc", "crun" } do
  describe("exec into a container of " .. runtime .. " in a systemd scope", function()
    local ct, folder

    lazy_setup(function()
      folder = tool.folder()
      local wrapper = folder .. "/" .. runtime
      tool.write(wrapper, ("#!/bin/sh\nexec %s --systemd-cgroup \"$@\"\n"):format(runtime), "755")
      ct = support.fixture.container { runtime = wrapper, id = "scope-" .. runtime, config = function(config, self)
        config.linux.cgroupsPath = ("system.slice:ctrexec:%s"):format(self.id)
      end }
    end)
    lazy_teardown(function()
      if ct then ct:remove() end
      tool.remove(folder)
    end)

    it("joins the scope", function()
      local output, code = support.exec("ctrexec", ct, ct.id .. " cat /proc/self/cgroup")
      assert.equal(0, code)
      local init = support.shell(("cat /proc/%d/cgroup"):format(ct.pid))
      local result = assert(ct:spawn { "sleep", "5" })
      local seen = support.shell(("cat /proc/%d/cgroup"):format(result.pid))
      result:kill "KILL"
      result:wait()
      assert.equal(init, seen)
      assert.matches("ctrexec%-scope%-" .. runtime .. "%.scope", seen)
      assert.equal(output, output:match "^0::/.*$")
    end)

    it("takes --systemd-cgroup as runc does", function()
      local output, code = support.shell(("scripts/ctrexec.lua --root %s --systemd-cgroup exec %s true")
        :format(ct.root, ct.id))
      assert.equal("", output)
      assert.equal(0, code)
    end)

    it("ends a whole tree at a time-out", function()
      local result = assert(ct:exec { "sh", "-c", "(setsid sleep 77 &); sleep 78", timeout = 0.5 })
      assert.is_true(result.timed_out)
      assert.equal("", (support.shell("pgrep -f 'sleep 7[78]$' | grep -v $$ || true")))
    end)
  end)
end
