local container = require "ctrexec.container"
local core = require "ctrexec.core"
local support = require "spec.container.support"
local tool = require "tests.lib.tool"

local function is_root()
  return core.process.ids().euid == 0
end

describe("ctrexec.container", function()
  local scratch, root
  before_each(function()
    scratch = tool.folder()
    root = scratch .. "/root"
  end)
  after_each(function() tool.remove(scratch) end)

  local function refused(code, message, id, opts)
    local record, text, got = container.open(id, opts or { root = root })
    assert.is_nil(record)
    assert.equal(message, text)
    assert.equal(code, got)
  end

  describe("open", function()
    it("refuses an id in runc's words", function()
      refused("invalid", "container id cannot be empty", "")
      for _, id in ipairs { ".", "..", "../web", "a/b", "a b", "web\n", "web\0", "wéb", "/", "~" } do
        refused("invalid", "invalid container ID format", id)
      end
      for _, id in ipairs { "web", "a..b", "A_z0+1-2.3,4", ".hidden", "-x", ("a"):rep(300) } do
        refused("no_such_container", "container does not exist", id)
      end
    end)

    it("raises for what no id is, in the caller's line", function()
      assert.has_error(function() container.open(7) end, "id: expected a string, got a number")
      local _, message = pcall(function() container.open() end)
      assert.matches("container_spec.lua:%d+: id: expected a string, got nothing", message)
    end)

    it("finds nothing where there is no root, no directory and no state file", function()
      refused("no_such_container", "container does not exist", "web", { root = scratch .. "/nowhere" })
      tool.sh("mkdir -p %s", root .. "/empty")
      refused("no_such_container", "container does not exist", "empty")
      tool.write(root .. "/file", "")
      refused("no_such_container", "container does not exist", "file")
    end)

    it("finds a container by the beginning of its id, but not under --root", function()
      support.install("runc-1.5-hybrid", root, "web-frontend")
      local record <close> = assert(container.open("web-f", { roots = { root } }))
      assert.equal("web-frontend", record.id)
      assert.equal(root, record.root)
      refused("no_such_container", "container does not exist", "web-f")
    end)

    it("prefers the whole id to a longer one", function()
      support.install("runc-1.5-hybrid", root, "web")
      support.install("runc-1.5-hybrid", root, "web2")
      local record <close> = assert(container.open("web", { roots = { root } }))
      assert.equal("web", record.id)
    end)

    it("lists all that an id may mean", function()
      local other = scratch .. "/other"
      support.install("runc-1.5-hybrid", root, "web1")
      support.install("crun-1.27-v2-userns", other, "web2")
      tool.sh("mkdir %s", root .. "/web3")
      refused("ambiguous", ("container web is ambiguous: web1 (%s), web2 (%s)"):format(root, other), "web",
        { roots = { root, other } })
      support.install("runc-1.5-hybrid", other, "web1")
      refused("ambiguous", ("container web1 is ambiguous: web1 (%s), web1 (%s)"):format(root, other), "web1",
        { roots = { root, other } })
    end)

    it("counts a root once, however it is called", function()
      support.install("runc-1.5-hybrid", root, "web")
      tool.sh("ln -s %s %s", root, scratch .. "/link")
      local record <close> = assert(container.open("web", { roots = { root, scratch .. "/link", root .. "/" } }))
      assert.equal(root, record.root)
    end)

    it("takes a relative root", function()
      support.install("runc-1.5-hybrid", root, "web")
      local up = tool.line "pwd":gsub("[^/]+", ".."):gsub("^/", "")
      local record <close> = assert(container.open("web", { root = up .. root .. "//" }))
      assert.equal(root, record.root)
      assert.equal(root .. "/web", record.dir)
    end)

    it("says whose state it is", function()
      support.install("runc-1.5-hybrid", root, "web")
      local record <close> = assert(container.open("web", { root = root }))
      local uid = core.process.ids().euid
      assert.equal(uid == 0 and "root" or "#" .. uid, record.owner)
    end)
  end)

  describe("identity", function()
    for _, fixture in ipairs { "runc-1.1.5-hybrid", "runc-1.5-v2-userns", "crun-1.8.1-v2" } do
      it("is a pid with the recorded start time: " .. fixture, function()
        local dir = support.install(fixture, root, "web")
        local process = support.process()
        finally(process.stop)
        support.adopt(dir, process)
        local record <close> = assert(container.open("web", { root = root }))
        assert.equal("running", record.status)
        assert.equal(process.pid, core.pidfd.pid(record.pidfd))
        assert.equal("running", record:refresh())
        process.start_time = process.start_time + 1
        support.adopt(dir, process)
        local recycled <close> = assert(container.open("web", { root = root }))
        assert.equal("stopped", recycled.status)
        assert.is_nil(recycled.pidfd)
        assert.equal("stopped", recycled:refresh())
      end)
    end

    it("takes an exec fifo for a container that was not started", function()
      local dir = support.install("runc-1.5-hybrid", root, "web")
      local process = support.process()
      finally(process.stop)
      support.adopt(dir, process)
      tool.sh("mkfifo %s", dir .. "/exec.fifo")
      local record <close> = assert(container.open("web", { root = root }))
      assert.equal("created", record.status)
      core.file.remove(dir .. "/exec.fifo")
      assert.equal("running", record:refresh())
    end)

    it("is lost when the process ends, also before it is reaped", function()
      local dir = support.install("runc-1.5-hybrid", root, "web")
      local process = support.process()
      support.adopt(dir, process)
      local record <close> = assert(container.open("web", { root = root }))
      process.stop()
      assert.equal("stopped", record:refresh())
      assert.is_nil(record.pidfd)
      local again <close> = assert(container.open("web", { root = root }))
      assert.equal("stopped", again.status)
    end)

    it("takes a zombie for stopped", function()
      local dir = support.install("runc-1.5-hybrid", root, "web")
      -- The shell starts a child, becomes sleep and never waits for it.
      local parent = support.process(nil, "sh -c 'true & exec \"$@\"' sh")
      finally(parent.stop)
      support.adopt(dir, tool.eventually(function()
        local children = tool.read(("/proc/%d/task/%d/children"):format(parent.pid, parent.pid))
        local pid = math.tointeger(tonumber(children:match "%d+"))
        local stat = pid and core.process.stat(pid)
        return stat and stat.state == "Z" and { pid = pid, start_time = stat.start_time }
      end, "a zombie"))
      local record <close> = assert(container.open("web", { root = root }))
      assert.equal("stopped", record.status)
    end)

    it("takes pids that cannot be for stopped", function()
      local dir = support.install("runc-1.5-hybrid", root, "web")
      for _, pid in ipairs { 0, -1, 99999999, 2 ^ 40 } do
        support.edit(dir .. "/state.json", function(tree) tree.init_process_pid = pid end)
        local record <close> = assert(container.open("web", { root = root }))
        assert.equal("stopped", record.status)
      end
    end)

    local function paused_in(controller, freeze, thaw)
      local mount = (core.cgroup.mounts() or {})[controller]
      local path = mount and ("%s/%s"):format(mount, tool.unique_name())
      if not mount or not os.execute(("mkdir %s 2>/dev/null"):format(path)) then
        return pending("no cgroup can be made for the controller \"" .. controller .. "\"")
      end
      local dir = support.install("runc-1.5-hybrid", root, "web")
      local process = support.process()
      finally(function()
        tool.sh(("echo %s >%s/%s"):format(thaw[2], path, thaw[1]))
        process.stop()
        core.file.remove(path)
      end)
      tool.sh(("echo %d >%s/cgroup.procs"):format(process.pid, path))
      support.adopt(dir, process)
      support.edit(dir .. "/state.json", function(tree) tree.cgroup_paths = { [controller] = path } end)
      local record <close> = assert(container.open("web", { root = root }))
      assert.equal("running", record.status)
      tool.sh(("echo %s >%s/%s"):format(freeze[2], path, freeze[1]))
      tool.eventually(function() return record:refresh() == "paused" end, "paused")
      assert.equal("paused", record.status)
      assert.is_truthy(record.pidfd)
      tool.sh(("echo %s >%s/%s"):format(thaw[2], path, thaw[1]))
      tool.eventually(function() return record:refresh() == "running" end, "running")
      assert.equal("running", record.status)
    end

    it("sees a container paused by the freezer of version 1", function()
      paused_in("freezer", { "freezer.state", "FROZEN" }, { "freezer.state", "THAWED" })
    end)

    it("sees a container paused by the freezer of version 2", function()
      paused_in("", { "cgroup.freeze", "1" }, { "cgroup.freeze", "0" })
    end)
  end)

  describe("a record of runc", function()
    it("has its configuration in the bundle", function()
      support.install("runc-1.5-hybrid", root, "web")
      local record <close> = assert(container.open("web", { root = root }))
      assert.same({ "sleep", "1000" }, record:process().args)
      assert.equal("integer", math.type(record:process().user.uid))
      record:process().args[1] = "changed"
      assert.equal("sleep", record:process().args[1])
      assert.equal(record:config(), record:config())
    end)

    local function no_process(code, message, prepare)
      local _, bundle = support.install("runc-1.5-hybrid", root, "web")
      prepare(bundle)
      local record <close> = assert(container.open("web", { root = root }))
      local process, text, got = record:process()
      assert.is_nil(process)
      assert.equal((message:gsub("^[/:]", bundle .. "%0")), text)
      assert.equal(code, got)
    end

    it("says what is wrong with the bundle", function()
      no_process("bad_state", "/config.json: no such file or directory", function(bundle)
        core.file.remove(bundle .. "/config.json")
      end)
      no_process("bad_state", "EOF", function(bundle)
        tool.write(bundle .. "/config.json", "")
      end)
      no_process("bad_state", "/config.json: process: missing", function(bundle)
        tool.write(bundle .. "/config.json", "{}")
      end)
      no_process("bad_state", "/config.json: process: expected an object, got a string", function(bundle)
        tool.write(bundle .. "/config.json", '{"process":"x"}')
      end)
      no_process("untrusted", "/config.json: can be written by group or others (mode 0666)", function(bundle)
        tool.sh("chmod 666 %s", bundle .. "/config.json")
      end)
      no_process("untrusted", ": can be written by group or others (mode 0777)", function(bundle)
        tool.sh("chmod 777 %s", bundle)
      end)
      no_process("bad_state", ": no such directory", function(bundle) tool.sh("rm -r %s", bundle) end)
    end)

    it("trusts a bundle directory of the container's own root", function()
      if not is_root() then return pending "only root can give a file away" end
      local dir, bundle = support.install("runc-1.5-v2-userns", root, "web")
      tool.sh("chown 100000 %s", bundle)
      local record <close> = assert(container.open("web", { root = root }))
      assert.is_table(record:process())
      support.edit(dir .. "/state.json", function(tree) tree.config.uid_mappings = nil end)
      local other <close> = assert(container.open("web", { root = root }))
      local process, message, code = other:process()
      assert.is_nil(process)
      assert.equal(bundle .. ": is owned by user 100000, must be owned by root", message)
      assert.equal("untrusted", code)
    end)
  end)

  describe("with a malformed state file", function()
    local function malformed_as_runc(message, prepare, code)
      local dir = support.install("runc-1.5-hybrid", root, "web")
      prepare(dir .. "/state.json")
      refused(code or "bad_state", (message:gsub("PATH", dir .. "/state.json")), "web")
      tool.sh("rm -r %s", dir)
    end

    local function malformed(message, prepare, code)
      malformed_as_runc("PATH: " .. message, prepare, code)
    end

    it("says in a line what is wrong", function()
      malformed_as_runc("EOF", function(path) tool.write(path, "") end)
      malformed_as_runc("unexpected EOF", function(path) tool.write(path, '{\n"id": "web",\n"config":') end)
      malformed("line 3, column 10: expected value but found ]", function(path)
        tool.write(path, '{\n"id": "web",\n"config":]')
      end)
      malformed("expected an object, got an array", function(path) tool.write(path, "[1]") end)
      malformed("line 1, column 74: found too many nested data structures (65)", function(path)
        tool.write(path, '{"config":' .. ("["):rep(100000) .. ("]"):rep(100000) .. "}")
      end)
      malformed("larger than 16 MiB", function(path) tool.sh("truncate -s 100M %s", path) end)
      malformed("larger than 16 MiB", function(path) tool.sh("truncate -s 16777217 %s", path) end)
      malformed("init_process_pid: expected an integer, got a string", function(path)
        support.edit(path, function(tree) tree.init_process_pid = "7" end)
      end)
      malformed("is a fifo, must be a plain file", function(path)
        core.file.remove(path)
        tool.sh("mkfifo %s", path)
      end)
      malformed_as_runc("read PATH: is a directory", function(path)
        core.file.remove(path)
        tool.sh("mkdir %s", path)
      end)
      malformed("is a symbolic link", function(path)
        tool.sh("mv %s %s", path, path .. ".real")
        tool.sh("ln -s %s %s", path .. ".real", path)
      end)
    end)

    it("keeps to one line, whatever the file has in it", function()
      malformed([=[cgroup_paths["a\nb"]: expected a string, got a number]=], function(path)
        support.edit(path, function(tree) tree.cgroup_paths = { ["a\nb"] = 1 } end)
      end)
    end)

    it("does not follow a link to a state directory", function()
      local dir = support.install("runc-1.5-hybrid", root, "web")
      tool.sh("ln -s %s %s", dir, root .. "/link")
      refused("no_such_container", "container does not exist", "link")
    end)
  end)

  describe("trust", function()
    it("ends where others can write", function()
      local dir = support.install("runc-1.5-hybrid", root, "web")
      for _, path in ipairs { dir .. "/state.json", dir, root } do
        for _, mode in ipairs { "0602", "0620" } do
          local directory = core.file.stat(path).type == "directory"
          if directory then mode = mode:gsub("6", "7", 1):gsub("2", "3") end
          local before = ("%o"):format(core.file.stat(path).mode)
          tool.sh("chmod " .. mode .. " %s", path)
          refused("untrusted", ("%s: can be written by group or others (mode %s)"):format(path, mode), "web")
          tool.sh("chmod " .. before .. " %s", path)
        end
      end
      tool.sh("chmod 1777 %s", root)
      local record <close> = assert(container.open("web", { root = root }))
      assert.equal("web", record.id)
    end)

    it("ends where another user owns something", function()
      if not is_root() then return pending "only root can give a file away" end
      local dir = support.install("runc-1.5-hybrid", root, "web")
      for _, path in ipairs { dir .. "/state.json", dir, root } do
        tool.sh("chown 65534 %s", path)
        refused("untrusted", path .. ": is owned by user 65534, must be owned by root", "web")
        tool.sh("chown 0 %s", path)
      end
      tool.sh("chown 65534 %s", dir)
      local record = container.list { root = root }[1]
      assert.equal("unknown", record.status)
      assert.equal("untrusted", record.code)
    end)

    -- Runs a piece of Lua as an unprivileged user, with what this spec has loaded; nil where that cannot be done.
    local function as_user(uid, environment, code)
      local lua = tool.line "readlink /proc/$PPID/exe"
      local script = scratch .. "/script.lua"
      tool.write(script, ("package.path, package.cpath = %q, %q\n%s"):format(package.path, package.cpath, code), "644")
      local result = tool.run(("exec 2>&1 setpriv --reuid=%d --regid=%d --clear-groups env %s %s %s")
        :format(uid, uid, environment, lua, script))
      return (result.stdout:gsub("\n$", ""))
    end

    it("includes one's own containers for a user who is not root", function()
      if not is_root() then return pending "only root can become another user" end
      if not as_user(65534, "", "io.write(type(require 'ctrexec.container'))"):match "^table$" then
        return pending "another user cannot read this checkout"
      end
      local runtime = scratch .. "/runtime"
      local dir = support.install("crun-1.27-v2-userns", runtime .. "/crun", "web")
      tool.sh("chown -R 65534 %s", runtime)
      local code = [[
        local record, message, code = require "ctrexec.container".open("we")
        print(record and record.id, record and record.owner, record and record.rootless, message, code)]]
      assert.equal("web\troot\ttrue\tnil\tnil", as_user(65534, "XDG_RUNTIME_DIR=" .. runtime, code))
      tool.sh("chown 65533 %s", dir)
      assert.equal(("nil\tnil\tnil\t%s: is owned by user 65533, must be owned by root or user 65534\tuntrusted")
        :format(dir), as_user(65534, "XDG_RUNTIME_DIR=" .. runtime, code))
      tool.sh("chown 65534 %s", dir)
      tool.sh("chown 0 %s", dir .. "/config.json")
      assert.matches("^web\t", as_user(65534, "XDG_RUNTIME_DIR=" .. runtime, code))
      assert.matches("no_such_container$", as_user(65534, "XDG_RUNTIME_DIR=", code))
      -- Root's counts where it is root's: rootless podman calls its runtime as root of a user namespace.
      assert.matches("no_such_container$", as_user(0, "XDG_RUNTIME_DIR=" .. runtime, code))
      tool.sh("chown -R 0 %s", runtime)
      assert.matches("^web\t", as_user(0, "XDG_RUNTIME_DIR=" .. runtime, code))
    end)

    it("says that a root may not be looked at", function()
      if not is_root() then return pending "only root can become another user" end
      support.install("runc-1.5-hybrid", root, "web")
      tool.sh("chmod 700 %s", root)
      local code = ('print(require "ctrexec.container".open("web", { root = %q }))'):format(root)
      local output = as_user(65534, "", code)
      if output:find "module 'ctrexec" then return pending "another user cannot read this checkout" end
      assert.equal(("nil\topen %s/web: permission denied\tsystem"):format(root), output)
    end)
  end)

  describe("list", function()
    it("has all containers, the broken ones too", function()
      support.install("runc-1.5-hybrid", root, "a")
      support.install("crun-1.27-v2-userns", root, "b")
      support.install("youki", root, "c")
      tool.write(support.install("runc-1.5-hybrid", root, "d") .. "/state.json", "{")
      tool.sh("mkdir %s", root .. "/e")
      tool.write(root .. "/f", "")
      local dir = support.install("runc-1.5-hybrid", root, "g")
      tool.sh("ln -sf /etc/passwd %s", dir .. "/state.json")
      local records = assert(container.list { root = root })
      local seen = {}
      for index, record in ipairs(records) do
        seen[index] = { record.id, record.runtime or "", record.status, record.code or "" }
      end
      assert.same({
        { "a", "runc", "stopped", "" }, { "b", "crun", "stopped", "" }, { "c", "youki", "stopped", "" },
        { "d", "", "unknown", "bad_state" }, { "g", "", "unknown", "bad_state" },
      }, seen)
      local broken = records[4]
      assert.equal(root .. "/d", broken.dir)
      assert.equal("unexpected EOF", broken.error)
      local config, message, code = broken:config()
      assert.is_nil(config)
      assert.equal(broken.error, message)
      assert.equal("bad_state", code)
      assert.equal("unknown", broken:refresh())
      broken:close()
    end)

    it("searches the configured roots before those of the system", function()
      support.install("runc-1.5-hybrid", root, "ctrexec-spec-a")
      local records = assert(container.list { roots = { scratch .. "/nowhere", root } })
      assert.equal("ctrexec-spec-a", records[1].id)
    end)

    it("is empty where there is no root", function()
      assert.same({}, container.list { root = scratch .. "/nowhere" })
    end)
  end)

  it("leaves no descriptor open", function()
    local dir = support.install("runc-1.5-hybrid", root, "web")
    support.install("crun-1.27-v2-userns", root, "web2")
    local process = support.process()
    support.adopt(dir, process)
    finally(process.stop)
    local function count() return #core.file.list "/proc/self/fd" end
    collectgarbage()
    collectgarbage "stop"
    local before = count()
    for _ = 1, 10 do
      container.open("web", { root = root }):close()
      container.open("none", { root = root })
      container.open("web", { roots = { root } }):close()
      container.open("we", { roots = { root } })
      for _, record in ipairs(container.list { root = root }) do record:close() end
      do
        local record <close> = container.open("web", { root = root })
        record:process()
      end
    end
    local after = count()
    collectgarbage "restart"
    assert.equal(before, after)
  end)
end)
