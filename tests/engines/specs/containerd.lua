-- containerd and its client ctr, with ctrexec as the runtime.

local support = require "tests.engines.specs.support"
local tool = require "tests.lib.tool"

local engine = { name = "containerd", denied = 1, lacks = { env = true } }
local ctr, count = nil, 0

local CONFIG = [[
version = 2
root = "DIR/root"
state = "DIR/state"
[grpc]
  address = "DIR/socket"
]]

function engine.start()
  local here = engine.here
  ctr = ("ctr --address %s/socket --namespace ctrexec-engines "):format(here.dir)
  tool.write(here.dir .. "/config.toml", (CONFIG:gsub("DIR", here.dir)))
  here:daemon({ "containerd", "--config", here.dir .. "/config.toml" }, ctr .. "version")
  here:must(("%s images import --snapshotter native %s/image.tar"):format(ctr, os.getenv "ENGINES"))
  local run = ctr .. "run --detach --snapshotter native "
  here:must(("%s --runc-binary %s %s web"):format(run, support.front(), support.image))
  here:must(("%s %s plain"):format(run, support.image))
end

function engine.stop()
  for _, name in ipairs { "web", "plain" } do
    engine.here:sh(("%s task delete --force %s; %s container delete %s"):format(ctr, name, ctr, name))
  end
end

function engine.exec(options, argv, container)
  count = count + 1
  local words = { "--exec-id", "e" .. count }
  if options.user then table.move({ "--user", options.user }, 1, 2, #words + 1, words) end
  if options.cwd then table.move({ "--cwd", options.cwd }, 1, 2, #words + 1, words) end
  if options.tty then words[#words + 1] = "--tty" end
  if options.detach then words[#words + 1] = "--detach" end
  return ("%s task exec %s %s %s"):format(ctr, tool.quote_all(words), container, tool.quote_all(argv))
end

describe("containerd with ctrexec as its runtime", function ()
  local check = support.define(_ENV, support.missing { "containerd", "ctr" }, engine)

  check("controls the container as before", function ()
    local here = engine.here
    local function status() return here:must(ctr .. "task list"):match "web +%d+ +(%u+)" end
    here:must(ctr .. "task pause web")
    assert.equal("PAUSED", status())
    assert.not_equal(0, here:sh(engine.exec({}, { "true" }, "web")).code)
    here:must(ctr .. "task resume web")
    assert.equal("hello\n", here:must(engine.exec({}, { "echo", "hello" }, "web")))
    here:must(ctr .. "task kill --signal KILL web")
    tool.eventually(function () return status() == "STOPPED" end)
    here:must(ctr .. "task delete web || true")
    here:must(ctr .. "task start --detach web")
    assert.equal("RUNNING", status())
  end)
end)
