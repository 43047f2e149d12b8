-- Recorded sessions: the content of the file, the end of a session whose file cannot be written, and who may ask for a
-- recording.

local cjson = require "cjson"
local containers = require "tests.lib.containers"
local core = require "ctrexec.core"
local ctrexec = require "ctrexec"
local session = require "tests.lib.session"
local site_of = require "tests.lib.site"
local tool = require "tests.lib.tool"

local site, ct, dir
local count = 0

local check = session.suite(_ENV, function(made)
  ct, site, dir = made, site_of.new(), tool.folder()
end)

teardown(function()
  if not site then return end
  site:remove()
  tool.remove(dir)
end)

before_each(function()
  if not site then return end
  site:clear()
  os.remove(ct.rootfs .. "/ran")
end)

local function new_path()
  count = count + 1
  return ("%s/%d.cast"):format(dir, count)
end

-- Decodes the text of a recording; each of its lines must be whole, and an event.
local function parse(text)
  assert.equal("\n", text:sub(-1), text)
  local result = { events = {}, sizes = {}, o = {}, i = {} }
  for line in text:gmatch "([^\n]*)\n" do
    assert.is_nil(line:find "[%z\1-\31\127]", "a raw control character")
    assert.is_truthy(utf8.len(line), line)
    local value = cjson.decode(line)
    if not result.header then
      result.header = value
    else
      assert.equal("number", type(value[1]))
      table.insert(result.events, value)
      table.insert(value[2] == "r" and result.sizes or result[value[2]], value[3])
    end
  end
  assert.equal(2, result.header.version)
  result.output, result.input = table.concat(result.o), table.concat(result.i)
  return result
end

local function recording(path)
  return parse(assert(tool.read(path)))
end

-- The same text on a screen: the caller's terminal adds a return to each newline, a recording to those without.
local function as_shown(text)
  return (text:gsub("\r*\n", "\r\n"))
end

local function start_at_terminal(argv)
  return session.start(argv, { pty = session.pty(33, 77) })
end

local function start(words)
  return start_at_terminal(session.exec("ctrexec", ct, words))
end

-- At a terminal and under the site; `text` runs ctrexec with "$@", the words.
local function start_in_site(words, text)
  text = text or ("exec %s --root %s \"$@\""):format(tool.ctrexec(), ct.root)
  return start_at_terminal { "sh", "-c", ("exec %s sh \"$@\""):format(site:command(text)), "sh", table.unpack(words) }
end

local function shell(path, text)
  return { "-t", "--record", path, "--", "sh", "-c", text }
end

-- Without a terminal.
local function run(words)
  return site:run(ct, words)
end

local function body(code)
  return "return { check = function(request) " .. code .. " end }"
end

-- A folder that root alone can write.
local function make_folder()
  count = count + 1
  local folder = ("%s/%d"):format(dir, count)
  assert(os.execute(("umask 022; mkdir %s"):format(tool.quote(folder))))
  return folder
end

local function only_file(folder)
  local names = core.file.list(folder)
  assert.equal(1, #names, table.concat(names, " "))
  return folder .. "/" .. names[1]
end

local function config(folder, more)
  return ("return { audit = { file = %q }, record = { folder = %q, %s } }"):format(site.dir .. "/events", folder,
    more or "")
end

-- A file system of 256 KiB for the recording, in a mount namespace of its own; the file is copied out of it at the end.
local function run_on_small_disk(words, required)
  local folder, copy = make_folder(), new_path()
  site:write("config.lua", config(folder, "required = " .. tostring(required)))
  site:write("policy.d/r.lua", body "request.options.record = true")
  local text = ("mount -t tmpfs -o size=256k,mode=755 none %s && %s --root %s \"$@\"; "
    .. "status=$?; cp %s/*.cast %s; exit $status"):format(folder, tool.ctrexec(), ct.root, folder, copy)
  return start_in_site(words, text), copy
end

describe("a recorded terminal session", function()
  check("has what the caller saw, and a header that says who, where and what", function()
    local path = new_path()
    local text = "stty size; printf '\\033[1mbold\\033[0m \\303\\251\\342\\202\\254 \"\\\\ \\377\\n'\n"
      .. "seq 1 3000; exit 7"
    local tty <close> = start(shell(path, text))
    assert.same({ "exited", 7 }, { tty:wait() })
    assert.same(tty.before, tty:settings())
    local got = recording(path)
    assert.equal(as_shown(tty.output:gsub("\xff", "\u{fffd}")), got.output)
    assert.is_truthy(got.output:find("33 77\r\n\27[1mbold\27[0m \u{e9}\u{20ac} \"\\ \u{fffd}\r\n", 1, true))
    local header = got.header
    assert.same({ 33, 77 }, { header.height, header.width })
    assert.same({ ct.id .. ": sh", "sh -c " .. text }, { header.title, header.command })
    assert.is_true(math.abs(header.timestamp - os.time()) < 3600)
    assert.same({ ct.id, "runc", "0:0", 0 }, { header.ctrexec.container, header.ctrexec.runtime, header.ctrexec.user,
      header.ctrexec.caller.uid })
    local status = core.file.stat(path)
    assert.same({ tonumber("600", 8), 0, 1 }, { status.mode, status.uid, status.nlink })
  end)

  check("has the sizes of the terminal", function()
    local path = new_path()
    local tty <close> = start(shell(path, [[trap 'stty size; n=$((n+1)); [ $n = 2 ] && exit 0' WINCH; echo ready
      while :; do sleep 0.01; done]]))
    tty:expect "ready"
    assert(core.terminal.set_size(tty.master, 44, 99))
    tty:expect "44 99"
    assert(core.terminal.set_size(tty.master, 20, 60))
    tty:expect "20 60"
    assert.same({ "exited", 0 }, { tty:wait() })
    assert.same({ "99x44", "60x20" }, recording(path).sizes)
  end)

  check("loses nothing of a large output", function()
    local path = new_path()
    local tty <close> = start(shell(path, "seq 1 100000"))
    assert.same({ "exited", 0 }, { tty:wait() })
    assert.is_true(as_shown(tty.output) == recording(path).output, "the recording is not what was shown")
  end)

  check("has no input unless that is asked for", function()
    local path = new_path()
    local tty <close> = start(shell(path, "stty -echo; echo ready; read line; echo got $line | tr a-z A-Z"))
    tty:expect "ready"
    tty:send "typed\r"
    tty:expect "GOT TYPED"
    tty:wait()
    assert.same({}, recording(path).i)
    assert.is_nil(tool.read(path):find "typed\\r")
  end)

  for _, case in ipairs {
    { "but for what is not echoed", "input = true", false },
    { "with what is not echoed, if that is asked for, too", "input = true, passwords = true", true },
  } do
    check("has its input, " .. case[1], function()
      local folder = make_folder()
      site:write("config.lua", config(folder, case[2]))
      site:write("policy.d/r.lua", body "request.options.record = true")
      local tty <close> = start_in_site { "exec", "-t", ct.id, "sh", "-c", [[echo first; read line
        stty -echo; printf 'Password: '; read password; stty echo; echo; echo last; read line; echo end]] }
      tty:expect "first"
      tty:send "one\r"
      tty:expect "Password: "
      tty:send "secret\r"
      tty:expect "last"
      tty:send "two\r"
      tty:expect "end"
      assert.same({ "exited", 0 }, { tty:wait() })
      local path = only_file(folder)
      assert.equal(case[3] and "one\rsecret\rtwo\r" or "one\rtwo\r", recording(path).input)
      assert.equal(case[3], tool.read(path):find "secret" ~= nil)
    end)
  end

  check("is whole when the command is killed", function()
    local path = new_path()
    local tty <close> = start(shell(path, "echo before; kill -9 $$"))
    assert.same({ "exited", 137 }, { tty:wait() })
    assert.equal("before\r\n", recording(path).output)
  end)

  check("has all but the last moment when ctrexec is killed, up to the end of a line", function()
    local path = new_path()
    local tty <close> = start(shell(path, "echo before; exec sleep 1000"))
    tty:expect "before"
    tool.eventually(function() return recording(path).output == "before\r\n" end, "the output in the file")
    tty:kill "KILL"
    assert.same({ "killed", 9 }, { tty:wait() })
    assert.equal("before\r\n", recording(path).output)
    containers.await_empty(ct)
  end)

  check("is nothing that the command can reach, or put an event into", function()
    local path = new_path()
    local tty <close> = start(shell(path, [[ls -l /proc/self/fd /proc/1/fd 2>&1 | grep -c cast
      printf '"]\n[0.0, "o", "forged"]\n\\"], [1, "r", "1x1"]\n']]))
    assert.same({ "exited", 1 - 1 }, { tty:wait() })
    local got = recording(path)
    assert.equal('0\r\n"]\r\n[0.0, "o", "forged"]\r\n\\"], [1, "r", "1x1"]\r\n', got.output)
    assert.same({}, got.sizes)
  end)
end)

describe("a recorded command without a terminal", function()
  check("has both its outputs, which arrive as they are", function()
    local path = new_path()
    local result = run { "exec", "--record", path, ct.id, "sh", "-c",
      "printf 'out\\000\\377'; echo err >&2; cat; exit 4" }
    assert.same({ 4, "out\0\xff", "err\n" }, { result.code, result.stdout, result.stderr })
    local output = recording(path).output
    assert.is_truthy(output:find("out\0\u{fffd}", 1, true))
    assert.is_truthy(output:find("err\r\n", 1, true))
  end)

  check("keeps the order of what goes to one file", function()
    local path = new_path()
    local text = "for i in $(seq 1 200); do echo o$i; echo e$i >&2; done"
    local result = tool.run(("exec 2>&1 %s --root %s exec --record %s %s sh -c %s"):format(tool.ctrexec(), ct.root,
      path, ct.id, tool.quote(text)))
    local expected = {}
    for i = 1, 200 do expected[i] = ("o%d\ne%d\n"):format(i, i) end
    assert.equal(table.concat(expected), result.stdout)
    assert.equal(as_shown(table.concat(expected)), recording(path).output)
  end)

  check("gets the caller's stdin", function()
    local path, folder = new_path(), make_folder()
    local result = site:run(ct, { "exec", "--record", path, ct.id, "cat" }, { input = "text\n" })
    assert.same({ 0, "text\n" }, { result.code, result.stdout })
    assert.same({}, recording(path).i)
    site:write("config.lua", config(folder, "input = true"))
    path = new_path()
    result = site:run(ct, { "exec", "--record", path, ct.id, "cat" }, { input = "text\n" })
    assert.same({ 0, "text\n" }, { result.code, result.stdout })
    assert.same({ "text\n", "text\r\n" }, { recording(path).input, recording(path).output })
  end)
end)

describe("a recorded command's stdin", function()
  check("is no way past the recording", function()
    local path, side = new_path(), new_path()
    tool.run(("exec %s --root %s exec --record %s %s sh -c 'echo secret >&0; echo secret >/dev/stdin' <>%s")
      :format(tool.ctrexec(), ct.root, path, ct.id, side))
    assert.same({}, recording(path).i)
    assert.is_nil(tool.read(side):find("secret", 1, true))
  end)
end)

describe("when a recording cannot be written,", function()
  check("the session ends, with its terminal as it was and nothing running", function()
    local tty <close>, copy = run_on_small_disk({ "exec", "-t", ct.id, "sh", "-c",
      "(trap '' HUP; exec sleep 1000) & while :; do echo 0123456789; done" }, true)
    assert.same({ "exited", 255 }, { tty:wait() })
    assert.is_truthy(tty.output:find "exec failed: the recording ends early: [^\n]*%.cast: write: [Nn]o space left",
      tty.output:sub(-300))
    assert.same(tty.before, tty:settings())
    containers.await_empty(ct)
    assert.is_true(#recording(copy).events > 0)
    local event = site:events "exit"[1]
    assert.same({ core.file.stat(copy).size, 9 }, { event.recording.size, event.outcome.signal })
    assert.is_truthy(event.recording.error)
  end)

  check("the same without a terminal", function()
    local tty <close> = run_on_small_disk({ "exec", ct.id, "sh", "-c", "while :; do echo 0123456789 >&2; done" }, true)
    assert.same({ "exited", 255 }, { tty:wait() })
    containers.await_empty(ct)
  end)

  check("the session goes on if the site says so", function()
    local tty <close>, copy = run_on_small_disk({ "exec", "-t", ct.id, "sh", "-c", "seq 1 100000; exit 3" }, false)
    assert.same({ "exited", 3 }, { tty:wait() })
    assert.is_truthy(tty.output:find("100000\r\n", 1, true))
    assert.is_truthy(tty.output:find "the recording ends early: [^\n]*: write: [Nn]o space left", tty.output:sub(-300))
    assert.is_true(#recording(copy).events > 0)
    assert.is_truthy(site:events "exit"[1].recording.error)
  end)

  check("because it may not be larger, the session ends", function()
    local folder = make_folder()
    site:write("config.lua", config(folder, "max_size = 200000"))
    site:write("policy.d/r.lua", body "request.options.record = true")
    local result = run { "exec", ct.id, "sh", "-c", "while :; do echo 0123456789; done" }
    assert.equal(255, result.code)
    assert.is_truthy(result.stderr:find "the recording ends early: [^\n]*%.cast: write: file too large", result.stderr)
    containers.await_empty(ct)
    local path = only_file(folder)
    local size = core.file.stat(path).size
    assert.is_true(size > 100000 and size <= 200000)
    assert.is_truthy(recording(path).output:find("0123456789\r\n", 1, true))
  end)

  check("and not even begun, nothing is run", function()
    local taken, link = new_path(), new_path()
    tool.write(taken, "mine")
    assert(os.execute(("ln -s %s/target %s"):format(dir, link)))
    for _, case in ipairs {
      { taken, "File exists" }, { link, "File exists" }, { dir .. "/nosuch/x", "No such file or directory" },
      { "/dev/full", "File exists" }, { dir, "File exists" },
    } do
      local result = run { "exec", "--record", case[1], ct.id, "touch", "/ran" }
      assert.equal(255, result.code)
      assert.matches(('^[^\n]*exec failed: the session cannot be recorded: open %s: %s"\n$'):format(
        case[1]:gsub("%p", "%%%0"), case[2]), result.stderr)
      assert.is_false(tool.exists(ct.rootfs .. "/ran"))
    end
    assert.equal("mine", tool.read(taken))
    assert.is_false(tool.exists(dir .. "/target"))
  end)

  check("there is none of a command that was never started", function()
    local path = new_path()
    assert.equal(255, run({ "exec", "--record", path, ct.id, "nosuch" }).code)
    assert.is_false(tool.exists(path))
  end)
end)

describe("a policy that wants a recording", function()
  local TOUCH = { "exec", "ct", "touch", "/ran" }

  local function assert_denied(result, message)
    assert.equal(255, result.code, result.stderr)
    assert.is_truthy(result.stderr:find("denied by policy " .. message, 1, true), result.stderr)
    assert.is_false(tool.exists(ct.rootfs .. "/ran"))
  end

  check("gets it in the site's folder, and the audit trail says where and how large", function()
    local folder = make_folder()
    site:write("config.lua", config(folder))
    site:write("policy.d/r.lua", body "request.options.record = true")
    local result = run { "exec", "ct", "echo", "hello" }
    assert.same({ 0, "hello\n" }, { result.code, result.stdout })
    local path = only_file(folder)
    assert.matches("/%d+T%d+Z%-ct%-%d+%-%x+%.cast$", path)
    local got = recording(path)
    assert.equal("hello\r\n", got.output)
    local accept, exit = site:events "accept"[1], site:events "exit"[1]
    assert.same({ file = path }, accept.recording)
    assert.same({ file = path, size = core.file.stat(path).size }, exit.recording)
    assert.equal(accept.id, got.header.ctrexec.event)
  end)

  check("hides in the header what the audit trail hides", function()
    local folder = make_folder()
    for command, expected in pairs { ["true"] = "echo --password=[redacted]", ["false"] = "nothing" } do
      site:clear()
      site:write("config.lua", ("return { audit = { redact = { 'password=(%%S+)' }, command = %s }, "
        .. "record = { folder = %q } }"):format(command, folder))
      site:write("policy.d/r.lua", body "request.options.record = true")
      assert.equal(0, run({ "exec", "ct", "echo", "--password=hunter2" }).code)
      local path = only_file(folder)
      assert.equal(expected, recording(path).header.command or "nothing")
      assert(os.remove(path))
    end
  end)

  check("denies what cannot be recorded", function()
    local folder = make_folder()
    site:write("policy.d/r.lua", body "request.options.record = true")
    assert_denied(run(TOUCH), "r: record: no folder is configured")
    site:write("config.lua", config(folder))
    assert_denied(run { "exec", "-d", "ct", "touch", "/ran" },
      "r: options.record: nobody would be there to record a detached command")
    assert_denied(run { "exec", "--preserve-fds", "1", "ct", "touch", "/ran" },
      "r: options.record: what goes to descriptors of --preserve-fds would not pass by the recorder")
    local container <close> = ctrexec.open(ct.id, { root = ct.root, policy = { site.folder .. "/policy.d/r.lua" } })
    local handle, message, code = container:spawn { "touch", "/ran" }
    assert.is_nil(handle)
    assert.equal("denied", code)
    assert.is_truthy(message:find("r: options.record: the command's streams would not pass by", 1, true), message)
    assert.same({}, core.file.list(folder))
    assert.is_false(tool.exists(ct.rootfs .. "/ran"))
  end)

  check("denies every exec while its folder cannot be trusted", function()
    local folder = make_folder()
    site:write("policy.d/r.lua", body "request.options.record = true")
    local function assert_fails(pattern)
      local result = run(TOUCH)
      assert.equal(255, result.code)
      assert.is_truthy(result.stderr:find("the session cannot be recorded: [^\n]*" .. pattern), result.stderr)
      assert.is_false(tool.exists(ct.rootfs .. "/ran"))
      assert.equal("error", site:events()[#site:events()].kind)
    end
    site:write("config.lua", config(folder))
    assert(os.execute("chmod 777 " .. folder))
    assert_fails "can be written by group or others"
    assert(os.execute(("chmod 755 %s; chown 1000 %s"):format(folder, folder)))
    assert_fails "is owned by user 1000"
    site:write("config.lua", config(folder .. "/nosuch"))
    assert_fails "No such file or directory"
    -- A file that a policy names lies in such a folder, too.
    site:write("policy.d/r.lua", body(("request.options.record = %q"):format(folder .. "/x")))
    assert_fails "is owned by user 1000"
    assert.same({}, core.file.list(folder))
  end)

  check("takes the place of the caller's own, and no later policy takes it away", function()
    local folder, path = make_folder(), new_path()
    site:write("config.lua", config(folder))
    site:write("policy.d/1.lua", body "request.options.record = true")
    assert.equal(0, run({ "exec", "--record", path, "ct", "true" }).code)
    assert.is_false(tool.exists(path))
    assert.equal(0, #recording(only_file(folder)).events)
    for code, message in pairs {
      ["request.options.record = nil"] = "2: options.record cannot be removed",
      ["request.options.record = { file = '/tmp/x' }"] = "2: options.record was set by an earlier policy",
      ["request.options.record = { input = true }"] = "2: options.record was set by an earlier policy",
      ["request.options.record = 7"] = "2: options.record: expected true, an absolute path, or a table",
      ["request.options.record = { fodler = '/x' }"] = "2: options.record.fodler: unknown field (did you mean folder?)",
    } do
      site:write("policy.d/2.lua", body(code))
      assert_denied(run(TOUCH), message)
    end
    -- Other policies may do what they like, and the right one is named.
    site:write("policy.d/2.lua", body "request.env.A = 'b'")
    assert_denied(run { "exec", "-d", "ct", "touch", "/ran" }, "1: options.record: nobody")
  end)

  check("is in the gallery: record-root", function()
    local folder = make_folder()
    site:write("config.lua", config(folder))
    site:gallery "record-root"
    local tty <close> = start_in_site { "exec", "-t", ct.id, "id", "-u" }
    assert.same({ "exited", 0 }, { tty:wait() })
    assert.equal("0\r\n", recording(only_file(folder)).output)
    assert.same({ file = only_file(folder) }, site:events "accept"[1].recording)
    assert.is_truthy(site:events "exit"[1].recording.size > 0)
    local other <close> = start_in_site { "exec", "-t", "-u", "1000", ct.id, "id", "-u" }
    assert.same({ "exited", 0 }, { other:wait() })
    assert.equal(0, run({ "exec", ct.id, "id" }).code)
    only_file(folder)
    assert_denied(run { "exec", "-t", "-d", "--console-socket", dir .. "/none", ct.id, "touch", "/ran" },
      "record-root: root's terminals are recorded here")
    assert.equal("reject", site:events()[#site:events()].kind)
    local result = run { "explain", "exec", "-t", "ct", "true" }
    assert.is_truthy(result.stdout:find("policy record-root: changed\n", 1, true), result.stdout)
  end)

  check("is shown by explain, which makes no file", function()
    local folder = make_folder()
    site:write("config.lua", config(folder, "input = true"))
    site:write("policy.d/r.lua", body "request.options.record = true")
    local result = run { "explain", "exec", "ct", "true" }
    assert.equal(0, result.code)
    assert.is_truthy(result.stdout:find("  options.record: (none) -> true\n", 1, true), result.stdout)
    assert.is_truthy(result.stdout:find("  recording         output and echoed input, in a new file in " .. folder, 1,
      true), result.stdout)
    assert.same({}, core.file.list(folder))
  end)
end)

describe("container:exec", function()
  local container
  setup(function() container = assert(ctrexec.open(ct.id, { root = ct.root })) end)
  teardown(function() container:close() end)

  check("records what it captures, streams or drops", function()
    local spec = { "sh", "-c", "cat; printf '\\303'; sleep 0.01; printf '\\251\\n'; echo err >&2", input = "in\n" }
    local streamed = {}
    for _, more in ipairs { {}, { stdout = function(data) streamed[#streamed + 1] = data end }, { stdout = "null" },
      { stderr = "stdout" } } do
      local path = new_path()
      more.record = { file = path, input = true }
      local result = assert(container:exec(setmetatable(more, { __index = spec })))
      assert.equal(0, result.code)
      local got = recording(path)
      assert.equal("in\n", got.input)
      assert.equal(1, select(2, got.output:gsub("in\r\n\u{e9}\r\n", "")))
      assert.equal(1, select(2, got.output:gsub("err\r\n", "")))
      assert.equal(got.output:gsub("err\r\n", ""), "in\r\n\u{e9}\r\n")
      if not more.stdout and not more.stderr then assert.equal("in\n\u{e9}\n", result.stdout) end
      if more.stdout == "null" then assert.is_nil(result.stdout) end
    end
    assert.equal("in\n\u{e9}\n", table.concat(streamed))
  end)

  check("records a terminal", function()
    local path = new_path()
    local result = assert(container:exec { "tty", terminal = true, consoleSize = { height = 10, width = 40 },
      record = path })
    assert.equal("/dev/pts/0\r\n", result.stdout)
    local got = recording(path)
    assert.same({ "/dev/pts/0\r\n", 10, 40 }, { got.output, got.header.height, got.header.width })
  end)

  check("records what a policy makes of the terminal", function()
    for _, terminal in ipairs { true, false } do
      local path, file = new_path(), new_path()
      tool.write(file, body("request.process.terminal = " .. tostring(terminal)))
      local guarded <close> = ctrexec.open(ct.id, { root = ct.root, policy = { file } })
      local result = assert(guarded:exec { "tty", terminal = not terminal, stdout = "null", record = path })
      assert.equal(terminal and "/dev/pts/0\r\n" or "not a tty\r\n", recording(path).output)
      assert.equal(terminal and "/dev/pts/0\r\n" or nil, result.stdout)
    end
  end)

  check("refuses what it could not record", function()
    local path = new_path()
    for _, spec in ipairs {
      { stdout = "inherit" }, { stderr = 2 }, { stdin = "inherit" }, { stdin = 0 },
      { record = "relative" }, { record = true },
      { record = {} }, { record = { file = path, inputs = true } }, { record = { folder = dir .. "/nosuch" } },
    } do
      spec.args, spec.record = { "touch", "/ran" }, spec.record or path
      local result, message, code = container:exec(spec)
      assert.is_nil(result)
      assert.is_true(code == "invalid" or code == "system", message)
      assert.is_false(tool.exists(path))
      assert.is_false(tool.exists(ct.rootfs .. "/ran"))
    end
  end)

  check("ends a command whose recording cannot be written", function()
    local path = new_path()
    local result, message, code = container:exec { "sh", "-c", "sleep 1000 & while :; do echo 0123456789; done",
      stdout = function() end, record = { file = path, max_size = 100000 }, timeout = tool.DEADLINE }
    assert.is_nil(result)
    assert.equal(("the recording ends early: %s: write: File too large"):format(path), message)
    assert.equal("system", code)
    containers.await_empty(ct)
    assert.is_true(core.file.stat(path).size <= 100000)
  end)

  check("keeps no descriptor and no memory of its recordings", function()
    local function record_some()
      for _ = 1, 20 do
        local path = new_path()
        assert(container:exec { "echo", "hello", record = path })
        assert(os.remove(path))
      end
      collectgarbage()
      collectgarbage()
      return #core.file.list "/proc/self/fd", collectgarbage "count"
    end
    local descriptors, memory = record_some()
    local descriptors_after, memory_after = record_some()
    assert.equal(descriptors, descriptors_after)
    assert.is_true(memory_after - memory < 100, ("%d KiB more"):format(memory_after - memory)) -- less than one recorder
  end)

  check("leaves the streams of a spawned command to a program that says it records them", function()
    local path = new_path()
    local process <close> = assert(container:spawn { "sh", "-c", "echo hello", stdin = "null", stdout = "pipe",
      record = path, records = true })
    assert.is_truthy(process:wait(20))
    process.recording.core:record("output", core.fd.read(process.stdout, 100))
    assert.is_true(process.recording:finish(process.warnings))
    assert.equal("hello\r\n", recording(path).output)
    path = new_path()
    local prepared = assert(container:prepare { "touch", "/ran", record = path, records = true })
    assert.is_true(tool.exists(path))
    prepared:close()
    assert.is_false(tool.exists(path))
    assert.is_false(tool.exists(ct.rootfs .. "/ran"))
  end)
end)

describe("record.settings", function()
  check("finds the folder that a policy's file is to be in", function()
    for file, expected in pairs { ["/x.cast"] = { "/", "x.cast" }, ["/var/log//a.cast"] = { "/var/log", "a.cast" } } do
      local settings = assert(require "ctrexec.policy.recording".settings(file, nil, "ct", true))
      assert.same(expected, { settings.folder, settings.name })
    end
  end)
end)

describe("replay", function()
  local function make(text)
    local path = new_path()
    tool.write(path, text)
    return path
  end

  local function replay(path, options)
    local words = { "replay", path }
    for index, word in ipairs(options or {}) do table.insert(words, index + 1, word) end
    return run(words)
  end

  check("shows what the session showed", function()
    local path = new_path()
    local tty <close> = start(shell(path, "printf '\\033[1mbold\\033[0m\\n'; seq 1 2000; printf '\\303\\251'"))
    assert.same({ "exited", 0 }, { tty:wait() })
    local result = replay(path, { "--speed", "10" })
    assert.same({ 0, "" }, { result.code, result.stderr })
    assert.equal(as_shown(tty.output), result.stdout)
  end)

  check("keeps the times, divided by the speed", function()
    local path = make('{"version": 2, "width": 80, "height": 24}\n[0.0, "o", "a"]\n[3000.0, "i", "x"]\n'
      .. '[3000.0, "o", "b"]\n')
    local result = replay(path, { "--speed", "100000" })
    assert.same({ 0, "ab" }, { result.code, result.stdout })
    local tty <close> = start_at_terminal { "sh", "-c", "exec " .. tool.ctrexec() .. " replay " .. path }
    tty:expect "a"
    tty:send "\27[1;1Rq"
    assert.is_true(tty:is_running())
    tty:send "\3"
    assert.same({ "exited", 130 }, { tty:wait() })
    assert.same({ "a", tty.before }, { tty.output, tty:settings() })
  end)

  check("refuses what is no recording, in one line", function()
    local header = '{"version": 2, "width": 80, "height": 24}\n'
    for text, message in pairs {
      [""] = "is no recording (asciicast version 2)",
      ["text\n"] = "is no recording (asciicast version 2)",
      ['{"version": 1, "width": 80}\n'] = "is no recording (asciicast version 2)",
      ['[1, "o", "x"]\n'] = "is no recording (asciicast version 2)",
      [header .. "x\n"] = "line 2 is no event",
      [header .. '[0, "o", "ok"]\n[-1, "o", "x"]\n'] = "line 3 is no event",
      [header .. '[0, "o"]\n'] = "line 2 is no event",
      [header .. '[0, "o", "ok"]\n[0.5, "o", "cut'] = "is cut short in line 3",
    } do
      local path = make(text)
      local result = replay(path)
      assert.equal(1, result.code, text)
      assert.equal(text:find "ok" and "ok" or "", result.stdout)
      assert.matches('^[^\n]* level=error msg="replay failed: ' .. path:gsub("%p", "%%%0") .. ": "
        .. message:gsub("%p", "%%%0") .. '"\n$', result.stderr)
    end
    assert(os.execute(("%s replay %s >/dev/full 2>%s/errors; [ $? = 1 ]")
      :format(tool.ctrexec(), make(header .. '[0, "o", "ok"]\n'), dir)))
    assert.matches('replay failed: [^\n]*: write: no space left on device"\n$', tool.read(dir .. "/errors"))
    for _, words in ipairs { { "replay" }, { "replay", "a", "b" }, { "replay", "--speed", "0", "a" },
      { "replay", "--speed", "x", "a" }, { "replay", "/nosuch" }, { "replay", dir }, { "replay", "/dev/zero" } } do
      local result = run(words)
      assert.equal(1, result.code)
      assert.matches("^[^\n]*\n$", result.stderr)
    end
  end)

  check("is not the only player: asciinema", function()
    local path = new_path()
    local tty <close> = start(shell(path, "printf '\\303\\251\\n'; seq 1 100; printf '\\377'"))
    assert.same({ "exited", 0 }, { tty:wait() })
    local player <close> = start_at_terminal { "asciinema", "play", path }
    assert.same({ "exited", 0 }, { player:wait() })
    assert.equal(recording(path).output, as_shown(player.output))
  end, tool.missing "asciinema")
end)
