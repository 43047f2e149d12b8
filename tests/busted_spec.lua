-- The fixture and the assertions that users get from ctrexec.busted, on containers of each runtime that runs here.

local containers = require "tests.lib.containers"
local fixture = require "ctrexec.busted"
local lfs = require "lfs"
local tool = require "tests.lib.tool"

-- The message of a failing assertion.
local function failure(name, ...)
  local ok, message = pcall(assert[name], ...)
  assert.is_false(ok)
  return tostring(message)
end

local function define(runtime)
  describe("ctrexec.busted with " .. runtime, function ()
    local ct

    setup(function ()
      ct = fixture.container { runtime = runtime, files = { ["/etc/motd"] = "hello\nworld\n" } }
    end)

    teardown(function ()
      assert(ct:remove())
    end)

    it("runs a command", function ()
      local result = assert.exec_ok(ct, { "test", "-f", "/etc/motd" })
      assert.equal(0, result.code)
    end)

    it("negates", function ()
      assert.is_not.exec_ok(ct, { "false" })
      assert.is_not.exec_outputs(ct, { "echo", "a" }, "b")
      assert.is_not.exec_denied(ct, { "true" })
    end)

    it("compares output", function ()
      assert.exec_outputs(ct, { "cat", "/etc/motd" }, "hello\nworld")
      assert.exec_outputs(ct, { "cat", "/etc/motd" }, "hello\nworld\n")
      assert.exec_outputs(ct, { "cat", "/etc/motd" }, { pattern = "^hel+o\nw" })
      assert.exec_outputs(ct, { "id", "-u", user = "1000" }, "1000")
    end)

    it("shows what a failing command said", function ()
      local message = failure("exec_ok", ct, { "sh", "-c", "echo out; echo err >&2; exit 3" })
      assert.matches("container ct: sh -c 'echo out; echo err >&2; exit 3'", message, 1, true)
      assert.matches("exit status: 3", message, 1, true)
      assert.matches("stdout:\n    out", message, 1, true)
      assert.matches("stderr:\n    err", message, 1, true)
    end)

    it("shows why a command was not started", function ()
      local message = failure("exec_ok", ct, { "/no/such/program" })
      assert.matches("not started (not_found)", message, 1, true)
      assert.matches("/no/such/program", message, 1, true)
    end)

    it("shows the expected output", function ()
      local message = failure("exec_outputs", ct, { "echo", "a" }, "b")
      assert.matches("stdout:\n    a", message, 1, true)
      assert.matches("expected stdout:\n    b", message, 1, true)
      assert.matches("expected pattern: ^b", failure("exec_outputs", ct, { "echo", "a" }, { pattern = "^b" }), 1, true)
      assert.matches("exit status: 137 (ended by its timeout)",
        failure("exec_ok", ct, { "sleep", "60", timeout = 0.1 }), 1, true)
      assert.matches("exec_outputs: expected a string or { pattern", failure("exec_outputs", ct, { "true" }), 1, true)
    end)

    it("points to the test that misspelt a field", function ()
      local line = debug.getinfo(1, "l").currentline
      for _, call in ipairs {
        function () assert.exec_ok(ct, { "true", usr = "alice" }) end,
        function () assert.exec_outputs(ct, { "true", usr = "alice" }, "") end,
        function () assert.is_not.exec_denied(ct, { "true", usr = "alice" }) end,
        function () ct:exec { "true", usr = "alice" } end,
        function () fixture.container { usr = "alice" } end,
      } do
        line = line + 1
        local ok, message = pcall(call)
        assert.is_false(ok)
        assert.matches(("^[^\n]*busted_spec.lua:%d: [^\n]*usr: unknown field[^\n]*$"):format(line + 1), message)
      end
    end)

    it("does not take a failure for a denial", function ()
      assert.matches("expected a policy to deny", failure("exec_denied", ct, { "/no/such/program" }), 1, true)
    end)
  end)

  describe("fixture of ctrexec.busted with " .. runtime, function ()
    it("leaves nothing", function ()
      local ct = fixture.container { runtime = runtime }
      local dir = ct.dir
      local group = containers.cgroup_name(ct)
      assert(ct:remove())
      assert(ct:remove())
      assert.is_nil(lfs.attributes(dir))
      for _, path in ipairs { "/sys/fs/cgroup/", "/sys/fs/cgroup/unified/", "/sys/fs/cgroup/memory/" } do
        assert.is_nil(lfs.attributes(path .. group))
      end
    end)

    it("removes itself at the end of its scope", function ()
      local dir
      do
        local ct <close> = fixture.container { runtime = runtime }
        dir = ct.dir
        assert.equal("directory", lfs.attributes(dir, "mode"))
      end
      assert.is_nil(lfs.attributes(dir))
    end)

    it("changes the configuration as told", function ()
      local ct <close> = fixture.container {
        runtime = runtime, id = "other",
        config = function (config) config.process.env = { "PATH=/bin", "FROM=config" } end,
        rootfs = function (path) assert(lfs.mkdir(path .. "/made")) end,
      }
      assert.exec_outputs(ct, { "sh", "-c", "echo $FROM; ls -d /made" }, "config\n/made")
    end)

    it("says what the runtime said", function ()
      local ok, message = pcall(fixture.container, {
        runtime = runtime, config = function (config) config.root.path = "nowhere" end })
      assert.is_false(ok)
      assert.matches("fixture: .*" .. runtime .. ".*nowhere", message)
    end)

    it("is reaped when its owner was killed", function ()
      local folder = tool.folder()
      local output = folder .. "/output"
      os.execute(([[lua5.4 -e 'package.path = %q
        local ct = require "ctrexec.busted".container { runtime = %q }
        io.open(%q, "w"):write(ct.dir):close()
        os.execute("kill -9 $PPID")' >/dev/null 2>&1]]):format(package.path, runtime, output):gsub("\\\n", "\n"))
      local dir = tool.read(output)
      tool.remove(folder)
      assert.equal("directory", lfs.attributes(dir, "mode"))
      fixture.reap()
      assert.is_nil(lfs.attributes(dir))
    end)

    it("is reaped when the runtime no longer knows it", function ()
      local ct = fixture.container { runtime = runtime }
      os.execute("mv " .. tool.quote(ct.root .. "/ct") .. " " .. tool.quote(ct.root .. "/other"))
      local pid = ct.pid
      assert(ct:remove())
      assert.is_nil(lfs.attributes("/proc/" .. pid .. "/root/bin"))
    end)
  end)
end

for _, runtime in ipairs { "runc", "crun" } do
  local reason = containers.missing(runtime)
  if reason then
    it("ctrexec.busted with " .. runtime, function ()
      pending(reason)
    end)
  else
    define(runtime)
  end
end
