-- podman, with ctrexec as its runtime: as root, and as a user.

local support = require "tests.engines.specs.support"
local tool = require "tests.lib.tool"

local UID = 12345

local CONFIG = [[
[engine]
runtime = "runc"
[engine.runtimes]
runc = [%q]
]]

-- A user with subordinate ids, as adduser(8) makes one; the shell words that run a program as that user.
local function as_user(here)
  here:must(([[
    cd /etc && echo tester:x:%d:%d::%s/home:/bin/sh >>passwd && echo tester:x:%d: >>group
    echo tester:300000:65536 | tee subuid >subgid
    chown %d:%d %s/home /run/engine]]):format(UID, UID, here.dir, UID, UID, UID, here.dir))
  return ("setpriv --reuid %d --regid %d --clear-groups env HOME=%s/home XDG_RUNTIME_DIR=/run/engine "
    .. "TMPDIR=/run/engine"):format(UID, UID, here.dir)
end

local function podman(title, user)
  -- The cgroups of version 1 are root's.
  local engine = { name = "podman", denied = 255, lacks = { pause = user and tool.view() ~= "v2" } }
  local client

  function engine.start()
    local here = engine.here
    -- Debian's, without which it trusts no image.
    here:must(("cp -a %s/etc/containers /etc/ 2>/dev/null; test -e /etc/containers/policy.json"):format(
      os.getenv "ENGINES_ROOT"))
    here:must(("mkdir -m 700 %s/home /run/engine"):format(here.dir))
    client = ("cd %s/home && %s podman --root %s/home/root --runroot /run/engine/run --tmpdir /run/engine/tmp "
      .. "--cgroup-manager cgroupfs --events-backend file --storage-driver vfs "):format(here.dir,
      user and as_user(here) or "exec", here.dir)
    here:must(("%s load --input %s/image.tar"):format(client, os.getenv "ENGINES"))
    tool.write("/etc/containers/containers.conf", CONFIG:format(support.front()))
    -- The limits are for a caller that may not raise its own.
    local run = "run --detach --network none --ulimit nofile=1000:1000 --ulimit nproc=1000:1000 "
      .. (user and "" or "--cgroup-parent ctrexec-engines ")
    here:must(("%s %s --name web %s"):format(client, run, support.image))
    here:must(("%s --runtime /usr/sbin/runc %s --name plain %s"):format(client, run, support.image))
  end

  function engine.stop()
    engine.here:sh(client .. " rm --force --time 0 web plain")
    if user then engine.here:sh(client .. " system migrate") end -- ends the process that keeps the user namespace
  end

  function engine.exec(options, argv, container) return support.cli(client, options, argv, container) end

  function engine.control(words) return client .. " " .. tool.quote_all(words) end

  describe(title, function ()
    local check = support.define(_ENV, support.missing { "podman", "conmon", user and "newuidmap" or "runc" }, engine)
    support.define_control(assert, check, engine)
  end)
end

podman "podman with ctrexec as its runtime"
podman("podman of a user, with ctrexec as its runtime", true)
