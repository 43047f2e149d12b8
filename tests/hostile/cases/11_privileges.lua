-- Privileges that the command must not get.

local lib = require "tests.hostile.lib"

local CAP_NET_RAW = 13

return {
  {
    name = "a file with inheritable capabilities, run by a user without any (CVE-2022-29162)",
    without = { "capability_sets" },
    attack = function (t)
      local ct = t:container()
      if not lib.host("build-hostile/attack file-capability %s %s", ct.rootfs .. "/attack", tostring(CAP_NET_RAW)) then
        t:cannot "the file system of the temporary folder has no file capabilities"
      end
      local result, message = ct:exec { "/attack", "show", user = "1000:1000" }
      assert(result and result.code == 0, message)
      return not result.stdout:find "inh=0 eff=0 amb=0", result.stdout:sub(1, -2)
    end,
  },
  {
    name = "a setuid program, run by a user who may gain nothing (no_new_privs)",
    without = { "no_new_privs" },
    attack = function (t)
      local ct = t:container { rootfs = function (rootfs) assert(lib.host("chmod 4755 %s", rootfs .. "/attack")) end }
      local result, message = ct:exec { "/attack", "show", user = "1000:1000", noNewPrivileges = true }
      assert(result and result.code == 0, message)
      return not result.stdout:find "euid=1000", result.stdout:sub(1, -2)
    end,
  },
}
