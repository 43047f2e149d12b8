-- The command with the interpreter inside (build/ctrexec) does what scripts/ctrexec.lua does.

local fixture = require "ctrexec.busted"
local site = require "tests.lib.site"
local tool = require "tests.lib.tool"

local LAUNCHER = tool.build .. "/ctrexec"
local built = tool.read(LAUNCHER) ~= nil

if built then
  require "tests.lib.matrix".define("runc", {
    require "tests.lib.rows.options",
    require "tests.lib.rows.streams",
    require "tests.lib.rows.terminal",
  }, _ENV, tool.quote(LAUNCHER))
end

describe("the launcher", function ()
  local reason = not built and "not built: sanitized, or a static archive is missing" or site.missing()
  if reason then
    it("runs", function () pending(reason) end)
    return
  end

  local ct, place

  setup(function ()
    ct, place = fixture.container { runtime = "runc" }, site.new()
  end)

  teardown(function ()
    if ct then ct:remove() end
    if place then place:remove() end
  end)

  -- Runs it in a mount namespace where /etc is the site's.
  local function run(words, environment, program)
    local inner = ("mount --bind %s/etc /etc && exec env %s %s --root %s %s"):format(place.dir, environment or "",
      tool.quote(program or LAUNCHER), ct.root, tool.quote_all(words))
    local pipe = io.popen(("timeout -k 1 20 unshare --mount --propagation private sh -c %s 2>&1")
      :format(tool.quote(inner)))
    local output = pipe:read "a"
    local _, how, status = pipe:close()
    return output, how == "exit" and status or 128 + status
  end

  it("runs without a site", function ()
    assert(os.execute("rm -r " .. place.folder))
    local output, code = run { "exec", "ct", "sh", "-c", "echo $0; exit 7" }
    assert.equal("sh\n", output)
    assert.equal(7, code)
  end)

  it("takes nothing from the environment", function ()
    tool.write(place.dir .. "/evil.lua", "os.exit(66)")
    local output, code = run({ "exec", "ct", "echo", "fine" },
      ("LUA_INIT=@%s/evil.lua LUA_PATH=%s/?.lua"):format(place.dir, place.dir))
    assert.equal("fine\n", output)
    assert.equal(0, code)
  end)

  it("obeys the policies of a site, also one that needs a module in C", function ()
    assert(os.execute("umask 022; mkdir -p " .. place.folder .. "/policy.d"))
    place:write("policy.d/p.lua", [[
      return { name = "p", check = function (request)
        if request.process.args[1] == "true" then return deny "no" end
      end }]])
    local output, code = run { "exec", "ct", "true" }
    assert.matches("denied by policy p: no", output)
    assert.equal(255, code)
    place:write("config.lua", 'return { module_directory = "/etc/ctrexec/modules" }')
    place:write("modules/ctrexec/streams.lua", [[
      assert(require "lfs".currentdir())
      io.stderr:write "replaced\n"
      return require "original.ctrexec.streams"]])
    assert.equal("replaced\nfine\n", (run { "exec", "ct", "echo", "fine" }))
  end)

  it("stands in front of a runtime, with and without a site", function ()
    local name = place.dir .. "/runc"
    assert(os.execute(("ln -sf %s %s"):format(tool.quote(LAUNCHER), name)))
    local version = tool.output "runc --version"
    for _, with_site in ipairs { false, true } do
      assert(os.execute("rm -rf " .. place.folder))
      if with_site then
        place:write("policy.d/p.lua", 'return { name = "p", check = function () return deny "no" end }')
      end
      assert.equal(version, (run({ "--version" }, nil, name)):match "^[^\n]*")
      local output = run({ "exec", "ct", "echo", "fine" }, nil, name)
      assert.matches(with_site and "denied by policy p: no" or "^fine\n$", output)
    end
  end)

  it("finds no module in the caller's directory", function ()
    assert(os.execute("rm -rf " .. place.folder))
    assert(os.execute(("mkdir -p %s/ctrexec && echo 'os.exit(66)' >%s/ctrexec/site.lua"):format(place.dir, place.dir)))
    assert.equal("fine\n", (run({ "exec", "ct", "echo", "fine" }, "--chdir=" .. place.dir)))
  end)

  it("takes policies from the command line", function ()
    assert(os.execute("rm -rf " .. place.folder))
    place:write("mine.lua", 'return { name = "m", check = function () return deny "never" end }')
    assert.matches("denied by policy m: never", (run { "exec", "--policy", "/etc/ctrexec/mine.lua", "ct", "true" }))
  end)
end)
