-- The launcher (build/ctrexec) does what scripts/ctrexec.lua does.

local containers = require "tests.lib.containers"
local fixture = require "ctrexec.busted"
local site = require "tests.lib.site"
local suite = require "tests.lib.suite"
local tool = require "tests.lib.tool"

local LAUNCHER = tool.build .. "/ctrexec"
local missing = not tool.exists(LAUNCHER) and "not built: sanitized, or a static archive is missing"
  or containers.missing "runc"

if not missing then
  require "tests.lib.matrix".define("runc", {
    require "tests.lib.rows.options",
    require "tests.lib.rows.streams",
    require "tests.lib.rows.terminal",
  }, _ENV, tool.quote(LAUNCHER))
end

describe("the launcher", function ()
  local ct, place

  local check = suite(_ENV, missing, function ()
    place = site.new()
    ct = fixture.container { runtime = "runc" }
    return ct
  end)

  teardown(function ()
    if place then place:remove() end
  end)

  -- Runs it in a mount namespace where /etc is the site's; `before` is done there first.
  local function run(words, environment, program, before)
    local result = place:shell(("%s exec 2>&1 env %s %s --root %s %s"):format(before and before .. " &&" or "",
      environment or "", tool.quote(program or LAUNCHER), ct.root, tool.quote_all(words)))
    return result.stdout, result.code
  end

  check("runs without a site", function ()
    tool.remove(place.folder)
    local output, code = run { "exec", "ct", "sh", "-c", "echo $0; exit 7" }
    assert.equal("sh\n", output)
    assert.equal(7, code)
  end)

  check("takes nothing from the environment", function ()
    tool.write(place.dir .. "/evil.lua", "os.exit(66)")
    local output, code = run({ "exec", "ct", "echo", "fine" },
      ("LUA_INIT=@%s/evil.lua LUA_PATH=%s/?.lua"):format(place.dir, place.dir))
    assert.equal("fine\n", output)
    assert.equal(0, code)
  end)

  -- Which program it is that asks the policies.
  local WHO = [[return { name = "who", check = function (request)
    local pipe = io.popen "readlink /proc/$(sed -n 's/^PPid:.//p' /proc/$PPID/status)/exe"
    request.process.args = { "echo", pipe:read "l" }
    pipe:close()
    warn(require "of_site")
  end }]]

  local function write_policies()
    assert(os.execute("umask 022; mkdir -p " .. place.folder .. "/policy.d"))
    place:write("policy.d/who.lua", WHO)
    place:write("policy.d/modules/of_site.lua", "return 'a module in Lua'")
  end

  check("runs the policies of a site and their modules itself", function()
    write_policies()
    local output, code = run { "exec", "ct", "true" }
    assert.matches("policy who: a module in Lua", output)
    assert.is_truthy(output:find(LAUNCHER .. "\n", 1, true), output)
    assert.equal(0, code)
    place:write("policy.d/x.lua", 'return { name = "x", check = function () return deny "no" end }')
    output, code = run { "exec", "ct", "true" }
    assert.matches("denied by policy x: no", output)
    assert.equal(255, code)
  end)

  check("loads no module in C for a policy, nor does the script", function()
    place:write("policy.d/x.lua", 'require "lfs" return { name = "x", check = function () end }')
    for _, program in ipairs { LAUNCHER, tool.repository .. "/scripts/ctrexec.lua" } do
      local output, code = run({ "exec", "ct", "true" }, nil, program)
      assert.matches('denied by policy x: x:1: module \\"lfs\\" not found', output)
      assert.equal(255, code)
    end
    os.remove(place.folder .. "/policy.d/x.lua")
  end)

  check("hands over to the script where the site replaces modules, which may need modules in C", function()
    place:write("config.lua", 'return { module_directory = "/etc/ctrexec/modules" }')
    place:write("modules/ctrexec/exec/streams.lua", [[
      assert(require "lfs".currentdir())
      io.stderr:write "replaced\n"
      return require "original.ctrexec.exec.streams"]])
    local output = run { "exec", "ct", "true" }
    assert.matches("^replaced\n", output)
    assert.matches("/lua5%.4\n", output)
    assert.matches("policy who: a module in Lua", output)
  end)

  check("does nothing but fail where it cannot hand over, and says so in the log", function()
    write_policies()
    local before = "mount --bind /dev/null " .. tool.repository .. "/scripts/ctrexec.lua"
    local log = place.dir .. "/log"
    local words = { "--log", log, "--log-format", "json", "exec", "ct", "echo", "ran" }
    local output, code = run(words, nil, LAUNCHER, before)
    assert.matches('"level":"error"', tool.read(log))
    assert.matches("which the site's modules need, cannot be run", tool.read(log))
    assert.is_nil(output:find "ran\n")
    assert.equal(255, code)
  end)

  check("stands in front of a runtime, with and without a site", function ()
    local name = place.dir .. "/runc"
    assert(os.execute(("ln -sf %s %s"):format(tool.quote(LAUNCHER), name)))
    local version = tool.line "runc --version"
    for _, with_site in ipairs { false, true } do
      tool.remove(place.folder)
      if with_site then
        place:write("policy.d/p.lua", 'return { name = "p", check = function () return deny "no" end }')
      end
      assert.equal(version, (run({ "--version" }, nil, name)):match "^[^\n]*")
      local output = run({ "exec", "ct", "echo", "fine" }, nil, name)
      assert.matches(with_site and "denied by policy p: no" or "^fine\n$", output)
    end
  end)

  check("finds no module in the caller's directory", function ()
    tool.remove(place.folder)
    local folder = place.dir .. "/ctrexec/command"
    assert(os.execute(("mkdir -p %s && echo 'os.exit(66)' >%s/open.lua"):format(folder, folder)))
    assert.equal("fine\n", (run({ "exec", "ct", "echo", "fine" }, "--chdir=" .. place.dir)))
  end)

  check("takes policies from the command line", function ()
    tool.remove(place.folder)
    place:write("mine.lua", 'return { name = "m", check = function () return deny "never" end }')
    assert.matches("denied by policy m: never", (run { "exec", "--policy", "/etc/ctrexec/mine.lua", "ct", "true" }))
  end)
end)
