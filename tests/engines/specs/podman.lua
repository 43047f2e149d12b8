-- podman, with ctrexec as its runtime.

local support = require "tests.engines.specs.support"

local engine = { name = "podman" }
local podman

function engine.start()
  local here = engine.here
  -- Debian's, without which it trusts no image.
  here:must(("cp -a %s/etc/containers /etc/ 2>/dev/null; test -e /etc/containers/policy.json"):format(
    os.getenv "ENGINES_ROOT"))
  podman = ("podman --root %s/root --runroot %s/run --tmpdir %s/tmp --cgroup-manager cgroupfs --events-backend file "
    .. "--storage-driver vfs "):format(here.dir, here.dir, here.dir)
  here:must(("%s load --input %s/image.tar"):format(podman, os.getenv "ENGINES"))
  -- The limits are for a root that may not raise its own.
  local run = "run --detach --network none --cgroup-parent ctrexec-engines --ulimit nofile=1000:1000 "
    .. "--ulimit nproc=1000:1000 "
  here:must(("%s --runtime %s %s --name web %s"):format(podman, support.front(), run, support.image))
  here:must(("%s --runtime runc %s --name plain %s"):format(podman, run, support.image))
end

function engine.stop() engine.here:sh(podman .. "rm --force --time 0 web plain") end

function engine.exec(options, argv, container) return support.cli(podman, options, argv, container) end

describe("podman with ctrexec as its runtime", function ()
  support.define(_ENV, support.missing { "podman", "conmon" }, engine)
end)
