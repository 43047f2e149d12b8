local core = require "ctrexec.core"
local cjson = require "cjson"
local audit = require "ctrexec.policy.audit"
local caller = require "ctrexec.policy.caller"
local journal = require "ctrexec.lib.journal"
local support = require "spec.core.support"
local tool = require "tests.lib.tool"

local function details(changes)
  local result = {
    id = "1", caller = { uid = 1000, user = "alice", login_uid = 1000, sudo_user = "bob", pid = 9, engine = "docker" },
    container = { id = "web", runtime = "runc", bundle = "/b", pid = 5, settings = {} },
    process = { args = { "sh", "-c", "x" }, cwd = "/", user = { uid = 0, gid = 0 }, terminal = true,
      env = { "SECRET=1" } },
    result = { decision = "accept", changes = { { policy = "a" }, { policy = "a" }, { policy = "b" } } },
  }
  for name, value in pairs(changes or {}) do result[name] = value end
  return result
end

describe("audit.event", function()
  it("says who, what, where and the decision, and nothing of the environment", function()
    local event = audit.event("accept", details())
    assert.equal("accept", event.kind)
    assert.matches("^%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%dZ$", event.time)
    assert.same({ uid = 1000, user = "alice", login_uid = 1000, sudo_user = "bob", pid = 9, engine = "docker" },
      event.who)
    assert.same({ id = "web", runtime = "runc", bundle = "/b", pid = 5 }, event.where)
    assert.same({ args = { "sh", "-c", "x" }, cwd = "/", uid = 0, gid = 0, terminal = true }, event.what)
    assert.same({ "a", "b" }, event.changed_by)
    assert.is_nil(cjson.encode(event):find "SECRET")
  end)

  it("refuses a kind it does not know", function()
    assert.error_matches(function() audit.event("start", {}) end, "unknown kind start")
  end)
end)

describe("audit.write", function()
  local folder, path

  local function written(settings, event)
    settings.file = path
    assert(audit.write(settings, event))
    local text = tool.read(path)
    os.remove(path)
    return cjson.decode(text), text
  end

  before_each(function()
    folder = tool.folder()
    path = folder .. "/events"
  end)
  after_each(function() tool.remove(folder) end)

  it("appends one line an event, in a file of mode 0600", function()
    local event = audit.event("reject", details { result = { decision = "reject", policy = "p", reason = "a\nb" } })
    assert(audit.write({ file = path }, event))
    assert(audit.write({ file = path }, audit.event("exit", { outcome = { status = 3 } })))
    local lines = {}
    for line in io.lines(path) do lines[#lines + 1] = cjson.decode(line) end
    assert.equal(2, #lines)
    assert.equal("a\nb", lines[1].reason)
    assert.equal(3, lines[2].outcome.status)
    assert.equal(tonumber("600", 8), core.file.stat(path).mode)
  end)

  it("follows a rotated file", function()
    local event = audit.event("exit", {})
    assert(audit.write({ file = path }, event))
    os.rename(path, path .. ".1")
    assert(audit.write({ file = path }, event))
    for _, name in ipairs { path, path .. ".1" } do
      local count = 0
      for _ in io.lines(name) do count = count + 1 end
      assert.equal(1, count)
    end
    os.remove(path .. ".1")
  end)

  it("redacts what patterns match, or capture", function()
    local event = audit.event("accept", details {
      process = { args = { "login", "--password=hunter2", "token=a token=b", "card 1234" } },
      fields = { note = "password=x", n = 5 } })
    local line = written({ redact = { "password=(%S+)", "token=(%S+)", "%d%d%d%d" } }, event)
    assert.same({ "login", "--password=[redacted]", "token=[redacted] token=[redacted]", "card [redacted]" },
      line.what.args)
    assert.same({ note = "password=[redacted]", n = 5 }, line.fields)
    assert.equal("--password=hunter2", event.what.args[2])
  end)

  it("writes JSON whatever bytes a command has", function()
    local event = audit.event("accept", details { process = { args = { "a\xff\xc3(b\u{E9}" } } })
    assert.equal("a\u{FFFD}\u{FFFD}(b\u{E9}", written({}, event).what.args[1])
    assert.equal("a\xff\xc3(b\u{E9}", event.what.args[1])
  end)

  it("hides every capture, and the whole match where it is not clear which piece was captured", function()
    local function hidden(pattern, text)
      return require "ctrexec.policy.audit".arguments({ text }, { redact = { pattern } })[1]
    end
    assert.equal("[redacted]", hidden("password=(%S+)", "password=password"))
    assert.equal("[redacted] rest", hidden("password=(%S+)", "password=a rest"))
    assert.equal("//[redacted]:[redacted]@host", hidden("//(%w+):(%w+)@", "//joe:secret@host"))
    assert.equal("//[redacted]@host", hidden("//((%w+):%w+)@", "//joe:secret@host"))
    assert.equal("pin [redacted]", hidden("%d*", "pin 1234"))
  end)

  it("is not held up by a pattern that matches nothing at all", function()
    assert.same({ "sh", "-c", "x" }, written({ redact = { "q*" } }, audit.event("accept", details())).what.args)
  end)

  it("can leave the arguments out", function()
    assert.is_nil(written({ command = false }, audit.event("accept", details())).what.args)
  end)

  it("shortens a line that is too long, and says so", function()
    local args = {}
    for index = 1, 1000 do args[index] = ("x"):rep(1000) end
    local line, text = written({}, audit.event("accept", details { process = { args = args } }))
    assert.is_true(#text <= 131073)
    assert.matches("^x+%[%d+ bytes omitted%]x+$", line.what.args[1])
    assert.equal("[872 more]", line.what.args[#line.what.args])
  end)

  it("shortens each string, however odd it is, before it leaves one out", function()
    local odd = "echo what was run #" .. ("\1"):rep(200000)
    local process = { args = { "sh", "-c", odd }, cwd = "/" .. ("\2"):rep(200000) }
    local line, text = written({}, audit.event("accept", details { process = process,
      fields = { ["\3" .. ("k"):rep(200000)] = ("\4"):rep(200000) } }))
    assert.is_true(#text <= 131073)
    assert.matches("^echo what was run #\1+%[%d+ bytes omitted%]", line.what.args[3])
    assert.matches("^/\2+%[%d+ bytes omitted%]", line.what.cwd)
    assert.equal(1, select(2, text:gsub("\n", "")))
  end)

  it("names no command in a message, where the site wants no record of commands", function()
    local event = audit.event("error", details { process = { args = { "/secret", "s3cret word" } },
      message = 'exec: "/secret": stat /secret: no such file or directory, after "s3cret word"' })
    local line = written({ command = false }, event)
    assert.is_nil(line.message:find "s[3e]cret")
    assert.matches("no such file or directory", line.message)
  end)

  it("reports what it cannot write", function()
    for _, bad in ipairs { "/nonexistent/x", "/dev", "/dev/null" } do
      local ok, message, code = audit.write({ file = bad }, audit.event("exit", {}))
      assert.is_nil(ok)
      assert.matches("^audit: ", message)
      assert.equal("system", code)
    end
    os.execute(("ln -s /dev/null '%s'"):format(path))
    assert.is_nil((audit.write({ file = path }, audit.event("exit", {}))))
  end)

  it("reports a daemon that is not there, and writes the other sinks all the same", function()
    local syslog, journald = journal.SYSLOG_SOCKET, journal.JOURNALD_SOCKET
    journal.SYSLOG_SOCKET, journal.JOURNALD_SOCKET = "/nonexistent/log", "/nonexistent/journal"
    local ok, message = audit.write({ file = path, syslog = true, journald = true }, audit.event("exit", {}))
    journal.SYSLOG_SOCKET, journal.JOURNALD_SOCKET = syslog, journald
    assert.is_nil(ok)
    assert.matches("/nonexistent/log: No such file or directory; .*/nonexistent/journal", message)
    assert.is_true(tool.exists(path))
  end)

  local function decoded_lines()
    local lines = {}
    for line in io.lines(path) do
      local ok, event = pcall(cjson.decode, line)
      lines[#lines + 1] = ok and event.id or line
    end
    return lines
  end

  it("writes a line once more that was joined to one that a full disk had torn", function()
    tool.write(path, '{"torn')
    for id = 1, 2 do assert(audit.write({ file = path }, audit.event("exit", { id = id }))) end
    local lines = decoded_lines()
    assert.equal('{"torn{', lines[1]:sub(1, 7))
    assert.same({ 1, 2 }, { table.unpack(lines, 2) })
  end)

  it("gives up where others go on writing parts of lines", function()
    local write = core.fd.write
    finally(function() core.fd.write = write end)
    function core.fd.write(fd, line)
      local other <close> = io.open(path, "a")
      other:write "torn"
      other:close()
      return write(fd, line)
    end
    local ok, message = audit.write({ file = path }, audit.event("exit", {}))
    assert.is_nil(ok)
    assert.matches(": others write parts of lines$", message)
  end)

  it("leaves whole lines on a disk that was full", function()
    local output, reason = support.lua_in_mounts("mount -t tmpfs -o size=8k none /mnt", "package.path = "
      .. ("%q"):format(package.path) .. [[

      local audit, core = require "ctrexec.policy.audit", require "ctrexec.core"
      local function write(id) return audit.write({ file = "/mnt/audit" }, audit.event("exit", { id = id })) end
      local function fill(name, size) os.execute(("head -c %d /dev/zero >/mnt/%s"):format(size, name)) end
      assert(write(1))
      local line = core.file.stat "/mnt/audit".size
      fill("audit", 4096 - line - line // 2)
      os.execute "printf '\\n' >>/mnt/audit"
      assert(write(2))
      fill("other", 4096)
      print(write(3))
      os.remove "/mnt/other"
      print(write(4))
      for text in io.lines "/mnt/audit" do
        local whole, event = pcall(require "cjson".decode, text)
        print(whole and math.tointeger(event.id) or "torn")
      end]])
    if not output then return pending(reason) end
    assert.equal("nil\taudit: /mnt/audit: only a part of the line was written\tsystem\ntrue\ntorn\n2\ntorn\n4\n",
      output)
  end)

  it("goes on in a file that may be written and not read", function()
    local open = core.file.open
    finally(function() core.file.open = open end)
    function core.file.open(name, flags, mode)
      if flags.read then return nil, "open: Permission denied", 13 end
      return open(name, flags, mode)
    end
    for id = 1, 2 do assert(audit.write({ file = path }, audit.event("exit", { id = id }))) end
    assert.same({ 1, 2 }, decoded_lines())
  end)

  it("keeps the lines of many writers apart", function()
    local script = ([[for _ = 1, 50 do assert(require "ctrexec.policy.audit".write({ file = %q },
      { kind = "accept", what = { args = { ("y"):rep(5000) } } })) end]]):format(path)
    local parts = {}
    for index = 1, 8 do
      parts[index] = ("lua5.4 -e 'package.path=%q package.cpath=%q %s' &"):format(package.path, package.cpath,
        script:gsub("'", [['\'']]):gsub("\n", " "))
    end
    os.execute(table.concat(parts, "\n") .. " wait")
    local count = 0
    for line in io.lines(path) do
      count = count + 1
      assert.equal("accept", cjson.decode(line).kind)
    end
    assert.equal(400, count)
  end)
end)

describe("caller.describe", function()
  it("describes this process's parent and its ancestors", function()
    local ids = core.process.ids()
    local result = caller.describe()
    assert.equal(ids.uid, result.uid)
    assert.equal(ids.ppid, result.pid)
    assert.equal(ids.ppid, result.ancestry[1].pid)
    assert.is_string(result.ancestry[1].name)
    assert.equal(ids.uid, result.ancestry[1].uid)
    assert.is_boolean(result.terminal)
    assert.is_true(result.login_uid == nil or result.login_uid < 4294967295)
  end)

  it("knows whose containers a shim of containerd keeps by its namespace", function()
    local real, found = core.process.stat, {}
    for _, namespace in ipairs { "moby", "k8s.io", "default" } do
      local shim = support.child("exec sh -c 'kill -STOP $$' shim -namespace " .. namespace .. " -id x")
      tool.eventually(function() return real(shim.pid).state == "T" end)
      core.process.stat = function(pid)
        return pid == shim.pid and { comm = "containerd-shim", ppid = 0 } or real(pid)
      end
      found[namespace] = caller.describe(shim.pid).engine
      core.process.stat = real
      support.finish(shim)
    end
    assert.same({ moby = "docker", ["k8s.io"] = "kubernetes", default = "containerd" }, found)
  end)

  it("finds an engine among the ancestors by its name", function()
    local real = core.process.stat
    local chain = { [10] = { comm = "containerd-shim", ppid = 11 }, [11] = { comm = "systemd", ppid = 0 },
      [20] = { comm = "conmon", ppid = 21 }, [21] = { comm = "podman", ppid = 0 },
      [30] = { comm = "containerd-shim", ppid = 31 }, [31] = { comm = "dockerd", ppid = 0 },
      [40] = { comm = "bash", ppid = 40 } }
    core.process.stat = function(pid) return chain[pid] or real(pid) end
    local engines = {}
    for index, pid in ipairs { 10, 20, 30 } do engines[index] = caller.describe(pid).engine end
    local looping = caller.describe(40)
    core.process.stat = real
    assert.same({ "containerd", "podman", "docker" }, engines)
    assert.is_nil(looping.engine)
    assert.is_true(#looping.ancestry <= 32)
  end)
end)
