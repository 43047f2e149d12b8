local cjson = require "cjson"
local core = require "ctrexec.core"
local log = require "ctrexec.command.log"
local tool = require "tests.lib.tool"

local directory

local function path(name) return directory .. "/" .. name end

-- Runs shell text, and returns its status and its standard error; its standard output is in `path "stdout"`.
local function shell(command, environment)
  local result = tool.run(("%s %s"):format(environment and "export " .. environment .. ";" or "", command),
    { files = directory })
  return result.code, result.stderr
end

-- The program of a new interpreter, which opens a log and writes to it. The test reads its standard error.
local PROGRAM = [[
  package.path, package.cpath = arg[1], arg[2]
  local settings, calls = load("return " .. arg[3])(), load("return " .. arg[4])()
  local logger, message, code = require("ctrexec.command.log").open(settings)
  if not logger then
    io.stderr:write(code, " ", message)
    os.exit(1)
  end
  for _, call in ipairs(calls) do logger[call[1] ] (logger, call[2]) end
  logger:close()
]]

local function literal(value)
  if type(value) ~= "table" then return ("%q"):format(value) end
  local parts = {}
  for key, item in pairs(value) do parts[#parts + 1] = ("[%s]=%s"):format(literal(key), literal(item)) end
  return "{" .. table.concat(parts, ",") .. "}"
end

local function program(settings, calls)
  tool.write(path "program.lua", PROGRAM)
  local words = { "lua5.4", path "program.lua", package.path, package.cpath, literal(settings), literal(calls) }
  return tool.quote_all(words)
end

local STAMP = "%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d"

local function without_time(text)
  return (text:gsub('time="' .. STAMP .. '[^"]*"', 'time="T"'):gsub('"time":"' .. STAMP .. '[^"]*"', '"time":"T"'))
end

-- message -> what logrus makes of it, in text and in JSON. Measured on runc 1.1.5 (Go 1.19).
local MESSAGES = {
  { "plain", "plain", '"plain"' },
  { "a-b.c_d/e@f^g+h", "a-b.c_d/e@f^g+h", '"a-b.c_d/e@f^g+h"' },
  { "two words", '"two words"', '"two words"' },
  { "a:b", '"a:b"', '"a:b"' },
  { "a=b", '"a=b"', '"a=b"' },
  { 'exec: "x"', [["exec: \"x\""]], [["exec: \"x\""]] },
  { [[a\b]], [["a\\b"]], [["a\\b"]] },
  { "\a\b\f\n\r\t\v", [["\a\b\f\n\r\t\v"]], [["\u0007\u0008\u000c\n\r\t\u000b"]] },
  { "\0\1\27\127", [["\x00\x01\x1b\x7f"]], '"\\u0000\\u0001\\u001b\127"' },
  { "<>&'", [["<>&'"]], [["\u003c\u003e\u0026'"]] },
  { "é😀", '"é😀"', '"é😀"' },
  { "\u{A0}\u{85}\u{200B}\u{FEFF}\u{202E}", [["\u00a0\u0085\u200b\ufeff\u202e"]],
    '"\u{A0}\u{85}\u{200B}\u{FEFF}\u{202E}"' },
  { "\u{2028}\u{2029}", [["\u2028\u2029"]], [["\u2028\u2029"]] },
  { "\u{100000}\u{E0001}", [["\U00100000\U000e0001"]], '"\u{100000}\u{E0001}"' },
  { "a\xffb", [["a\xffb"]], [["a\ufffdb"]] },
  { "\xc3", [["\xc3"]], [["\ufffd"]] },
  { "\xc0\x80", [["\xc0\x80"]], [["\ufffd\ufffd"]] },
  { "\xed\xa0\x80", [["\xed\xa0\x80"]], [["\ufffd\ufffd\ufffd"]] },
  { "\xf4\x90\x80\x80x", [["\xf4\x90\x80\x80x"]], [["\ufffd\ufffd\ufffd\ufffdx"]] },
  { "\xe2\x82é\xe2\x82\xac", [["\xe2\x82é€"]], '"\\ufffd\\ufffdé€"' },
  { "\u{FFFD}", '"\u{FFFD}"', '"\u{FFFD}"' },
}

describe("log", function()
  setup(function()
    directory = tool.folder()
  end)
  teardown(function() tool.remove(directory) end)
  before_each(function() tool.sh("rm -rf %s/*", directory) end)

  for _, row in ipairs(MESSAGES) do
    it(("writes %q as logrus does"):format(row[1]), function()
      for _, format in ipairs { "text", "json" } do
        local logger = assert(log.open { file = path(format), format = format })
        logger:warn(row[1])
        logger:close()
      end
      assert.equal('time="T" level=warning msg=' .. row[2] .. "\n", without_time(tool.read(path "text")))
      local line = tool.read(path "json")
      assert.equal('{"level":"warning","msg":' .. row[3] .. ',"time":"T"}\n', without_time(line))
      local entry = cjson.decode(line)
      assert.truthy(utf8.len(entry.msg))
      if utf8.len(row[1]) then assert.equal(row[1], entry.msg) end
    end)
  end

  it("makes one line of every message that bytes can make", function()
    math.randomseed(11)
    local logger = assert(log.open { file = path "log", format = "json" })
    for _ = 1, 500 do
      local bytes = {}
      for i = 1, math.random(0, 40) do bytes[i] = string.char(math.random(0, 255)) end
      logger:warn(table.concat(bytes))
    end
    logger:close()
    local count = 0
    for line in io.lines(path "log") do
      assert.truthy(utf8.len(cjson.decode(line).msg))
      count = count + 1
    end
    assert.equal(500, count)
  end)

  it("drops what is below the level", function()
    local wanted = {
      debug = { "debug", "info", "warning" }, info = { "info", "warning" }, warning = { "warning" }, error = {},
    }
    for level, names in pairs(wanted) do
      local logger = assert(log.open { file = path(level), level = level })
      logger:debug "m"
      logger:info "m"
      logger:warn "m"
      logger:close()
      local lines = {}
      for line in io.lines(path(level)) do lines[#lines + 1] = line:match "level=(%l+)" end
      assert.same(names, lines, level)
    end
  end)

  it("takes info for the level when none is given", function()
    local logger = assert(log.open { file = path "log" })
    logger:debug "no"
    logger:info "yes"
    logger:close()
    assert.equal('time="T" level=info msg=yes\n', without_time(tool.read(path "log")))
  end)

  it("appends to a file, which it makes at once with mode 0644", function()
    local logger = assert(log.open { file = path "log" })
    assert.equal("", tool.read(path "log"))
    local stat = assert(core.file.stat(path "log"))
    assert.equal(420, stat.mode | 420)
    assert.equal(0, stat.mode & ~420)
    logger:warn "one"
    logger:close()
    logger = assert(log.open { file = "file:" .. path "log" })
    logger:warn "two"
    logger:close()
    local text = without_time(tool.read(path "log"))
    assert.equal('time="T" level=warning msg=one\ntime="T" level=warning msg=two\n', text)
  end)

  it("does not pass the file on", function()
    local logger <close> = assert(log.open { file = path "log" })
    assert.truthy(core.fd.cloexec(logger.fd))
  end)

  it("leaves lines of many writers whole", function()
    local calls = {}
    for i = 1, 50 do calls[i] = { "warn", ("x"):rep(300) } end
    local one = program({ file = path "log", format = "json" }, calls)
    assert.equal(0, (shell(("for i in 1 2 3 4 5 6 7 8; do %s & done; wait"):format(one))))
    local count = 0
    for line in io.lines(path "log") do
      assert.equal(300, #cjson.decode(line).msg)
      count = count + 1
    end
    assert.equal(400, count)
  end)

  it("writes an error to the file and its bare message to standard error", function()
    for _, format in ipairs { "text", "json" } do
      local status, errors = shell(program({ file = path(format), format = format },
        { { "error", "two words" }, { "warn", "careful" }, { "info", "news" } }))
      assert.equal(0, status, errors)
      assert.equal("two words\n", errors)
    end
    assert.equal('time="T" level=error msg="two words"\ntime="T" level=warning msg=careful\n'
      .. 'time="T" level=info msg=news\n', without_time(tool.read(path "text")))
    assert.truthy(tool.read(path "json"):find '^{"level":"error","msg":"two words","time":"[^"]*"}\n{"level":"warning"')
  end)

  it("writes to standard error without a file", function()
    for _, file in ipairs { "", false } do
      local _, errors = shell(program({ file = file or nil, level = "debug" },
        { { "error", "two words" }, { "debug", "detail" } }))
      assert.equal('time="T" level=error msg="two words"\ntime="T" level=debug msg=detail\n', without_time(errors))
    end
    local _, errors = shell(program({ format = "json" }, { { "error", "two words" } }))
    assert.equal('{"level":"error","msg":"two words","time":"T"}\n', without_time(errors))
  end)

  it("writes one line with one write", function()
    if not os.execute "command -v strace >/dev/null 2>&1" then pending "strace is not installed" end
    local command = program({ file = path "log" }, { { "error", "two words" } })
    local status = shell(("strace -f -s 200 -o %s -e trace=write %s"):format(path "trace", command))
    if status ~= 0 then pending "strace may not trace here" end
    local writes = {}
    for line in io.lines(path "trace") do writes[#writes + 1] = line:match "write%((%d+), \"[^\n]*\\n\", %d+%)" end
    assert.equal(2, #writes)
    assert.equal("2", writes[2])
  end)

  it("gives the time in the zone of the environment", function()
    for zone, suffix in pairs { UTC0 = "Z", ["XXX-5:30"] = "%+05:30", ["XXX+3"] = "%-03:00", ["XXX-0"] = "Z" } do
      local _, errors = shell(program({}, { { "error", "x" } }), "TZ=" .. zone)
      assert.truthy(errors:find('^time="' .. STAMP .. suffix .. '" level=error msg=x\n$'), zone .. ": " .. errors)
    end
  end)

  it("refuses a file that cannot be opened, in runc's words", function()
    for file, reason in pairs {
      [directory] = "is a directory",
      [path "no/log"] = "no such file or directory",
      ["/dev/null/x"] = "not a directory",
    } do
      local logger, message, code = log.open { file = file }
      assert.is_nil(logger)
      assert.equal(("open %s: %s"):format(file, reason), message)
      assert.equal("usage", code)
    end
  end)

  it("says once that it cannot write", function()
    local status, errors = shell(program({ file = "/dev/full" }, { { "error", "one" }, { "error", "two" } }))
    assert.equal(0, status)
    assert.equal("Failed to write to log, write /dev/full: no space left on device\none\ntwo\n", errors)
  end)

  it("goes to standard error once closed", function()
    local file = path "log"
    local logger = assert(log.open { file = file })
    logger:close()
    logger:close()
    local _, errors = shell(program({ file = file }, { { "close" }, { "error", "late" } }))
    assert.equal('time="T" level=error msg=late\n', without_time(errors))
    assert.equal("", tool.read(file))
  end)

  describe("on a terminal", function()
    local function on_terminal(command)
      if not os.execute "command -v script >/dev/null 2>&1" then pending "script(1) is not installed" end
      shell(("script -qec %s /dev/null"):format(tool.quote(command)))
      return tool.read(path "stdout")
    end

    it("is coloured and padded", function()
      local text = on_terminal(program({}, { { "error", "exec failed: container does not exist" } }))
      assert.equal("\27[31mERRO\27[0m[0000] exec failed: container does not exist        \r\n",
        (text:gsub("%[%d%d%d%d%]", "[0000]")))
      text = on_terminal(program({ level = "debug" },
        { { "warn", "w" }, { "info", ("i"):rep(50) }, { "debug", "d" } }))
      assert.truthy(text:find("\27[33mWARN\27[0m[", 1, true))
      assert.truthy(text:find "\27%[36mINFO\27%[0m%[%d+%] i+ \r\n")
      assert.truthy(text:find("\27[37mDEBU\27[0m[", 1, true))
    end)

    it("cannot be driven by a message", function()
      for _, settings in ipairs { {}, { file = path "log" } } do
        local text = on_terminal(program(settings, { { "error", "a\27]0;title\7\u{9b}2J\r\n\"b\"\xff" } }))
        text = text:gsub("^\27%[31mERRO\27%[0m", ""):gsub("\r\n$", "")
        assert.is_nil(text:find "%c", text)
        assert.truthy(text:find([[a\x1b]0;title\a\u009b2J\r\n"b"\xff]], 1, true), text)
      end
    end)
  end)

  -- The journal and syslog are services of the host: each is played by a socket in a mount namespace of its own.
  describe("of the journal and of syslog", function()
    local function capture(socket, command)
      local reason = tool.missing("python3", "unshare")
      if reason then pending(reason) end
      if not os.execute "unshare --mount true 2>/dev/null" then pending "no mount namespace may be made here" end
      tool.write(path "receiver.py", [==[
import os, socket, subprocess, sys
where = sys.argv[1]
os.makedirs(os.path.dirname(where), exist_ok=True)
if os.path.lexists(where):
    os.unlink(where)
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(where)
s.settimeout(5)
subprocess.run(["sh", "-c", sys.argv[2]], check=True)
sys.stdout.buffer.write(s.recv(65536))
]==])
      -- A tmpfs stands over the socket's directory; /dev keeps what a program needs.
      local mount = socket == "/dev/log"
        and "mount -t tmpfs none /dev && mknod -m 666 /dev/null c 1 3" or "mount -t tmpfs none /run"
      local status, errors = shell(("unshare --mount --propagation private sh -c %s"):format(tool.quote(
        ("%s && exec python3 %s %s %s"):format(mount, path "receiver.py", socket, tool.quote(command)))))
      if status ~= 0 and errors:find "mount" then pending("cannot mount here: " .. errors) end
      assert.equal(0, status, errors)
      return tool.read(path "stdout"), errors
    end

    it("sends the journal's native form", function()
      local data, errors = capture("/run/systemd/journal/socket",
        program({ file = "journald:tag", id = "web" }, { { "error", "two\nlines" } }))
      assert.equal("PRIORITY=3\nSYSLOG_IDENTIFIER=tag\nID=web\nMESSAGE\n" .. string.pack("<s8", "two\nlines") .. "\n",
        data)
      assert.equal("two\nlines\n", errors)
    end)

    it("sends the journal JSON when that is the format", function()
      local data = capture("/run/systemd/journal/socket",
        program({ file = "journald:", format = "json" }, { { "warn", "x" } }))
      local prefix = "PRIORITY=4\nSYSLOG_IDENTIFIER=ctrexec\nMESSAGE\n"
      assert.equal(prefix, data:sub(1, #prefix))
      assert.equal("x", cjson.decode((string.unpack("<s8", data, #prefix + 1))).msg)
    end)

    it("sends syslog a line", function()
      local data = capture("/dev/log", program({ file = "syslog:tag" }, { { "warn", "a\nb" } }))
      assert.truthy(data:find "^<12>%u%l%l [ %d]%d %d%d:%d%d:%d%d tag: a\\nb$", data)
    end)

    it("takes the container's id for a name", function()
      local data = capture("/dev/log", program({ file = "syslog:", id = "web" }, { { "error", "x" } }))
      assert.truthy(data:find "^<11>.* web: x$", data)
    end)

    it("says once when nobody listens", function()
      if not os.execute "unshare --mount true 2>/dev/null" then pending "no mount namespace may be made here" end
      local command = program({ file = "journald:x" }, { { "error", "one" }, { "error", "two" } })
      local status, errors = shell("unshare --mount --propagation private sh -c "
        .. tool.quote("mount -t tmpfs none /run && " .. command))
      if status ~= 0 then pending("cannot mount here: " .. errors) end
      assert.truthy(errors:find "^Failed to write to log, [^\n]*no such file or directory\none\ntwo\n$", errors)
    end)
  end)

  describe("of runc", function()
    -- The outputs of both for the same failure, without the time.
    local function compare(global, settings, environment)
      if not os.execute "command -v runc >/dev/null 2>&1" then pending "runc is not installed" end
      local message = "exec failed: container does not exist"
      local root = path "root"
      shell("mkdir " .. root)
      local _, expected = shell(("runc --root %s %s exec nosuch true"):format(root, global), environment)
      local expected_log = tool.read(path "log") or "none"
      os.remove(path "log")
      local _, errors = shell(program(settings, { { "error", message } }), environment)
      assert.equal(without_time(expected), without_time(errors))
      assert.equal(without_time(expected_log), without_time(tool.read(path "log") or "none"))
      assert.equal(expected:match 'T%d%d:%d%d:%d%d([^"]*)"', errors:match 'T%d%d:%d%d:%d%d([^"]*)"')
    end

    it("is the same on standard error", function() compare("", {}) end)
    it("is the same in JSON", function() compare("--log-format json", { format = "json" }) end)
    it("is the same in a file", function() compare("--log " .. path "log", { file = path "log" }) end)
    it("is the same in a JSON file", function()
      compare("--log-format=json --log " .. path "log", { file = path "log", format = "json" })
    end)
    it("is the same in another zone", function() compare("", {}, "TZ=Asia/Kolkata") end)
    it("is the same for a file that is full", function() compare("--log /dev/full", { file = "/dev/full" }) end)
  end)
end)
