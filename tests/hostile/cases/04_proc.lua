-- The container's /proc is a fake one (CVE-2019-16884, CVE-2025-52881). What ctrexec writes to /proc for the command
-- must reach the command and no other process.

local lib = require "tests.hostile.lib"

local SCORE, LOGIN = "777", "4242"

-- The login uid and the oom score of a command that was started with both.
local function values(ct)
  local handle <close>, message = ct:spawn {
    "sleep", "1000", oomScoreAdj = tonumber(SCORE), login_uid = tonumber(LOGIN),
    stdin = "null", stdout = "null", stderr = "null",
  }
  if not handle then return nil, message end
  local function value(name) return (lib.read(("/proc/%d/%s"):format(handle.pid, name)):gsub("%s", "")) end
  local score, login = value "oom_score_adj", value "loginuid"
  handle:kill "KILL"
  handle:wait(5)
  return score, login
end

-- Both values of a command and the score of init, when the container's /proc/self leads to init's files.
local function redirected(t, setup)
  local ct = t:container()
  lib.inside(ct, "mkdir /real; mount -t proc none /real; mount -t tmpfs none /proc; mkdir /proc/self; " .. setup)
  local score, login = values(ct) -- no process can write the login uid of another
  local init = lib.read(("/proc/%d/oom_score_adj"):format(ct.pid)):gsub("%s", "")
  return init == SCORE, ("oom_score_adj of the container's init %s, of the command %s"):format(init, score or login)
end

return {
  {
    name = "/proc is a tmpfs with files of the same names: what is written is lost",
    without = { "host_proc" },
    attack = function (t)
      local ct = t:container()
      lib.inside(ct, "mount -t tmpfs none /proc; mkdir /proc/self; echo none >/proc/self/oom_score_adj; "
        .. "echo none >/proc/self/loginuid")
      local score, login = values(ct)
      assert(score, login)
      local good = score == SCORE and login == LOGIN
      return not good, ("oom_score_adj %s, loginuid %s"):format(score, login)
    end,
  },
  {
    name = "/proc is a farm of links to another process's files: what is written lands there",
    without = { "host_proc" },
    attack = function (t)
      return redirected(t, "ln -s /real/1/oom_score_adj /proc/self/oom_score_adj; echo none >/proc/self/loginuid")
    end,
  },
  {
    name = "/proc/self is a bind of another process's folder: what is written lands there",
    without = { "host_proc" },
    attack = function (t)
      return redirected(t, "mount --bind /real/1 /proc/self")
    end,
  },
  {
    name = "the same for a label: attr/exec, attr/keycreate",
    without = { "host_proc" },
    attack = function (t)
      local ct = t:container()
      lib.inside(ct, "mount -t tmpfs none /proc; mkdir -p /proc/self/attr; echo none >/proc/self/attr/exec")
      local result, message = ct:exec { "true", apparmorProfile = "ctrexec-none" }
      local trap = lib.read(ct.rootfs .. "/../rootfs/proc/self/attr/exec")
      if not result and message:find "apparmor is not" then t:cannot("this kernel has no AppArmor and no SELinux") end
      -- Without an LSM the kernel refuses the write: it must be refused, not lost in the container's file.
      return result ~= nil or trap ~= nil and trap ~= "none\n", message or "the label was lost, the command ran without"
    end,
  },
}
