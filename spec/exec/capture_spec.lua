-- Commands run to their end, with what they read and write, in the namespaces of this process itself.
local capture = require "ctrexec.exec.capture"
local cgroups = require "tests.lib.cgroups"
local core = require "ctrexec.core"
local exec = require "spec.exec.support"
local launch = require "ctrexec.exec.launch"
local tool = require "tests.lib.tool"

-- Starts the command of a spec as the public module does, and runs the capture. `options`: `object`, fields of the
-- process object; `recording`, of the handle; `container`; `ready`, called before the time runs.
local function run(spec, options)
  options = options or {}
  local running, recording = capture.new(spec), options.recording
  local object = exec.object({ table.unpack(spec) }, options.object)
  local ok, message, code = running.spec.on_process(object, recording and {})
  if not ok then return nil, message, code end
  local container = options.container or exec.container()
  local handle <close> = assert(launch.run(container, running.spec, object, nil, {}))
  handle.timeout, handle.kill_after, handle.recording, handle.warnings = spec.timeout, spec.kill_after, recording, {}
  if options.ready then options.ready() end
  return running:run(handle)
end

-- The same for a shell command.
local function shell(text, spec, options)
  spec = spec or {}
  spec[1], spec[2], spec[3] = "sh", "-c", text
  return run(spec, options)
end

-- A function that collects what it is called with.
local function collector()
  local pieces = {}
  return function(piece) pieces[#pieces + 1] = piece end, function() return table.concat(pieces) end
end

describe("what a command writes", function()
  it("is collected, each stream on its own", function()
    local result = assert(shell "echo one; echo two >&2; printf 'a\\0b'; exit 3")
    assert.equal("one\na\0b", result.stdout)
    assert.equal("two\n", result.stderr)
    assert.same({ 3, "exited" }, { result.code, result.reason })
    assert.is_false(result.truncated)
    assert.is_nil(result.timed_out)
    assert.equal("", assert(shell "true").stdout)
  end)

  it("goes to a function piece by piece", function()
    local out, out_text = collector()
    local err, err_text = collector()
    local result = assert(shell("echo one; echo two >&2", { stdout = out, stderr = err }))
    assert.same({ "one\n", "two\n" }, { out_text(), err_text() })
    assert.same({ nil, nil }, { result.stdout, result.stderr })
  end)

  it("is in one stream in the order in which it came", function()
    local result = assert(shell("echo 1; echo 2 >&2; echo 3", { stderr = "stdout" }))
    assert.equal("1\n2\n3\n", result.stdout)
    assert.is_nil(result.stderr)
  end)

  it("is dropped where that is asked for", function()
    local result = assert(shell("echo 1; echo 2 >&2", { stdout = "null", stderr = "null" }))
    assert.same({ nil, nil }, { result.stdout, result.stderr })
  end)

  it("goes to a descriptor of the caller's", function()
    local reader <close>, writer = core.fd.pipe()
    local result = assert(shell("echo 1; echo 2 >&2", { stdout = writer }))
    writer:close()
    assert.equal("1\n", tool.read_all(reader))
    assert.same({ nil, "2\n" }, { result.stdout, result.stderr })
  end)

  it("is cut at max_output, and the rest of it holds up nobody", function()
    local result = assert(shell("head -c 300000 /dev/zero; echo end >&2", { max_output = 1000 }))
    assert.equal(("\0"):rep(1000), result.stdout)
    assert.equal("end\n", result.stderr)
    assert.is_true(result.truncated)
    assert.equal(0, result.code)
    result = assert(shell("printf 12345; printf 123 >&2", { max_output = 5 }))
    assert.same({ "12345", "123", false }, { result.stdout, result.stderr, result.truncated })
    result = assert(shell("printf 12345", { max_output = 0 }))
    assert.same({ "", true }, { result.stdout, result.truncated })
  end)

  it("is all there that was in the pipe at its end, however large that is", function()
    if not tool.has "perl" then return pending "needs perl" end
    local size, pid = 0, nil
    local result = assert(run { "perl", "-e", [[
      fcntl(STDOUT, 1031, 1 << 20); # F_SETPIPE_SZ
      syswrite STDOUT, sprintf "%9d", $$;
      print "x" x 900000;]], stdout = function(piece)
      size = size + #piece
      if pid then return end
      pid = math.tointeger(tonumber(piece:sub(1, 9)))
      tool.eventually(function() return core.process.stat(pid).state == "Z" end)
    end })
    assert.equal(0, result.code)
    assert.equal(900009, size)
  end)

  it("is not waited for from what it left behind", function()
    local result = assert(shell "sleep 300 & echo $!")
    local pid = math.tointeger(tonumber(result.stdout))
    local fd <close> = assert(core.pidfd.open(pid), "it has ended")
    core.pidfd.send_signal(fd, core.signal.numbers.KILL)
  end)

  it("comes at its terminal, where it has one", function()
    local result = assert(shell("test -t 0 && echo 1; echo 2 >&2", {}, { object = { terminal = true } }))
    assert.equal("1\r\n2\r\n", result.stdout)
    assert.is_nil(result.stderr)
    local out, text = collector()
    assert.is_nil(assert(shell("echo 1", { stdout = out }, { object = { terminal = true } })).stdout)
    assert.equal("1\r\n", text())
  end)
end)

describe("what a command reads", function()
  local LONG = ("0123456789abcdef"):rep(1 << 16)

  it("is nothing unless there is something", function()
    assert.equal("", assert(run { "cat" }).stdout)
  end)

  it("is a string, however long, while it writes", function()
    for _, input in ipairs { "", "short", "a\0b", LONG } do
      assert.is_true(input == assert(run { "cat", input = input }).stdout)
    end
  end)

  it("comes from a function until that has no more", function()
    local pieces, index = { "one ", "", "two ", LONG, "" }, 0
    local result = assert(run { "cat", input = function()
      index = index + 1
      return pieces[index]
    end })
    assert.is_true("one two " .. LONG == result.stdout)
    assert.equal(6, index)
  end)

  it("comes from a file from where that is", function()
    local file <close> = assert(io.tmpfile())
    file:write("skipped", LONG)
    file:seek("set", 7)
    assert.is_true(LONG == assert(run { "cat", input = file }).stdout)
  end)

  it("need not be read", function()
    assert.equal(5, assert(shell("exit 5", { input = LONG })).code)
    assert.equal("done\n", assert(shell("exec <&-; sleep 0.1; echo done", { input = LONG })).stdout)
  end)

  it("is what the spec's stdin says", function()
    local reader <close>, writer = core.fd.pipe()
    core.fd.write(writer, "from a pipe")
    writer:close()
    assert.equal("from a pipe", assert(run { "cat", stdin = reader }).stdout)
  end)

  it("is a mistake when the function gives something else", function()
    local before = tool.children()
    assert.error_matches(function() run { "sleep", "300", input = function() return 5 end } end,
      "^input: the function must return a string or nil$")
    assert.same(before, tool.children())
  end)
end)

describe("the time limit of a command", function()
  local folder

  before_each(function() folder = tool.folder() end)
  after_each(function() tool.remove(folder) end)

  -- A shell command whose time begins when it has made the file "ready".
  local function limited(text, spec, container)
    return assert(shell(("cd %s; %s"):format(folder, text), spec, { container = container, ready = function()
      tool.eventually(function() return tool.exists(folder .. "/ready") end)
    end }))
  end

  it("ends it with all that it started", function()
    local result = limited("sleep 300 & echo $!; : >ready; wait", { timeout = 0.1 })
    assert.is_true(result.timed_out)
    assert.equal(137, result.code)
    local pid = math.tointeger(tonumber(result.stdout))
    tool.eventually(function()
      local stat = core.process.stat(pid)
      return not stat or stat.state == "Z"
    end)
  end)

  it("asks it first, with kill_after", function()
    local text = "trap 'echo asked; exit 4' TERM; : >ready; while :; do sleep 0.01; done"
    local result = limited(text, { timeout = 0.1, kill_after = 1000 })
    assert.same({ true, 4, "asked\n" }, { result.timed_out, result.code, result.stdout })
    result = limited("trap '' TERM; : >ready; while :; do sleep 0.01; done", { timeout = 0.1, kill_after = 0.1 })
    assert.same({ true, 137 }, { result.timed_out, result.code })
  end)

  it("ends what the command has left behind, too, when the grace is over", function()
    local group <close>, reason = cgroups.new ""
    if not group then return pending(reason) end
    local text = "trap 'exit 5' TERM; (trap '' TERM; : >ready; exec sleep 300) & while :; do sleep 0.01; done"
    local result = limited(text, { timeout = 0.1, kill_after = 0.1 },
      exec.container { cgroup_paths = { [""] = group.path } })
    assert.same({ true, 5 }, { result.timed_out, result.code })
    assert.same({}, group:pids())
    assert.same({}, group:names())
  end)

  it("is nothing to a command that ends before", function()
    local result = assert(shell("exit 3", { timeout = 1000 }))
    assert.same({ n = 2, nil, 3 }, { n = 2, result.timed_out, result.code })
  end)
end)

describe("what the spec of a capture tells those who start the command", function()
  it("is the caller's, with the command", function()
    local spec = capture.new({ "echo", "1", user = "5" }).spec
    assert.same({ "echo", "1" }, { table.unpack(spec) })
    assert.equal("5", spec.user)
  end)

  it("is where the streams go, once it is known whether there is a terminal", function()
    local function streams_of(spec, terminal)
      local own = capture.new(spec).spec
      assert(own.on_process { terminal = terminal })
      return { own.stdin, own.stdout, own.stderr }
    end
    assert.same({ "null", "pipe", "pipe" }, streams_of({}))
    assert.same({ "pipe", "null", "stdout" }, streams_of({ input = "", stdout = "null", stderr = "stdout" }))
    assert.same({ 5, "pipe", 6 }, streams_of({ stdin = 5, stdout = print, stderr = 6 }))
    assert.same({ "inherit", "inherit", "inherit" }, streams_of({ stdout = print }, true))
  end)

  it("is that the capture keeps the time limit", function()
    assert.is_true(capture.new({}).spec.keeps_limits)
  end)

  it("is whether all streams come by here, so that they can be recorded", function()
    local write = function() end
    for _, case in ipairs {
      { {}, true }, { { stdin = "null", stdout = "null", stderr = "null" }, true }, { { input = "x" }, true },
      { { stdin = "pipe", input = "x", stdout = write, stderr = "stdout" }, true }, { { stdout = "inherit" }, false },
      { { stdout = 1 }, false }, { { stderr = "inherit" }, false }, { { stdin = "inherit" }, false },
      { { stdin = 0 }, false }, { { stderr = "pipe" }, false },
    } do
      assert.equal(case[2], capture.new(case[1]).spec.records)
    end
  end)

  it("is what the caller's on_process says", function()
    local asked
    local object = exec.object { "true" }
    local spec = capture.new({ "true", on_process = function(...)
      asked = table.pack(...)
      return nil, "not now", "denied"
    end }).spec
    local settings = {}
    assert.same({ nil, "not now", "denied" }, { spec.on_process(object, settings) })
    assert.same({ object, settings, n = 2 }, asked)
    assert.is_true(capture.new({ "true" }).spec.on_process(object))
  end)
end)

describe("a capture that is given up", function()
  it("ends the command when a function raises an error, which passes", function()
    local before = tool.children()
    assert.error_matches(function()
      shell("echo 1; sleep 300", { stdout = function() error("enough", 0) end })
    end, "^enough$")
    assert.same(before, tool.children())
  end)

  it("ends the command when its coroutine is closed", function()
    local before = tool.children()
    local thread = coroutine.create(function()
      shell("echo 1; sleep 300", { stdout = coroutine.yield })
    end)
    assert.same({ true, "1\n" }, { coroutine.resume(thread) })
    assert.is_true(coroutine.close(thread))
    assert.same(before, tool.children())
  end)
end)

describe("a recorded command", function()
  -- A recording that keeps what it is given; `ticks` and `complete` are what it answers.
  local function recording_with(ticks, complete)
    local log = {}
    local recorder = {}
    function recorder.record(_, stream, data)
      log[stream] = (log[stream] or "") .. data
      return true
    end
    function recorder.tick() return table.unpack(ticks) end
    local recording = { core = recorder }
    function recording.finish(_, warnings)
      log.finished = warnings
      return table.unpack(complete)
    end
    return recording, log
  end

  it("has what it read and wrote in the recording", function()
    local recording, log = recording_with({ true }, { true })
    local result = assert(shell("cat; echo error >&2", { input = "text", stderr = "null" }, { recording = recording }))
    assert.equal("text", result.stdout)
    assert.is_nil(result.stderr)
    assert.same({ "text", "text", "error\n" }, { log.input, log.output, log.error })
    assert.is_table(log.finished)
  end)

  it("is ended when it can no longer be recorded", function()
    local before = tool.children()
    local recording, log = recording_with({ nil, "disk full" }, { true })
    local result, message, code = shell("sleep 300", {}, { recording = recording })
    assert.is_nil(result)
    assert.same({ "disk full", "system" }, { message, code })
    assert.same(before, tool.children())
    assert.is_table(log.finished)
  end)

  it("has no result when the recording is not complete", function()
    local recording = recording_with({ true }, { nil, "the recording ends early" })
    assert.same({ nil, "the recording ends early", "system" }, { shell("true", {}, { recording = recording }) })
  end)
end)
