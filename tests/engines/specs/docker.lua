-- docker, with ctrexec as a runtime of the daemon.

local cjson = require "cjson"
local support = require "tests.engines.specs.support"
local tool = require "tests.lib.tool"

local engine = { name = "docker", denied = 126 }
local docker

function engine.start()
  local here = engine.here
  docker = ("docker --host unix://%s/socket "):format(here.dir)
  tool.write(here.dir .. "/daemon.json", cjson.encode {
    ["data-root"] = here.dir .. "/data", ["exec-root"] = here.dir .. "/exec", pidfile = here.dir .. "/pid",
    hosts = { "unix://" .. here.dir .. "/socket" }, iptables = false, ip6tables = false, bridge = "none",
    ["storage-driver"] = "vfs", ["cgroup-parent"] = "/ctrexec-engines",
    ["exec-opts"] = { "native.cgroupdriver=cgroupfs" }, runtimes = { ctrexec = { path = support.front() } },
    ["default-runtime"] = "ctrexec",
  })
  here:daemon({ "dockerd", "--config-file", here.dir .. "/daemon.json" }, docker .. "version")
  here:must(("%s load --input %s/image.tar"):format(docker, os.getenv "ENGINES"))
  local run = docker .. "run --detach --network none "
  here:must(run .. "--name web box:1")
  here:must(run .. "--runtime runc --name plain box:1")
end

function engine.stop() engine.here:sh(docker .. "rm --force web plain") end

function engine.exec(options, argv, container) return support.cli(docker, options, argv, container) end

function engine.control(words) return docker .. tool.quote_all(words) end

describe("docker with ctrexec as its runtime", function ()
  local check = support.define(_ENV, support.missing { "dockerd", "docker", "containerd" }, engine)
  support.define_control(assert, check, engine)

  check("keeps the containers' state where ctrexec looks for it", function ()
    local words = ("--root %s/exec/runtime-runc/moby list --quiet"):format(engine.here.dir)
    assert.matches("^%x+\n%x+\n$", engine.here:must(support.front():gsub("lib/ctrexec/runc$", "bin/ctrexec ") .. words))
  end)
end)
