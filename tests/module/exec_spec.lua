local containers = require "tests.lib.containers"
local core = require "ctrexec.core"
local ctrexec = require "ctrexec"
local tool = require "tests.lib.tool"

local ct, container
local check = containers.suite(_ENV, function (made) ct, container = made, made:open() end,
  { files = { ["/work/lines"] = "one\ntwo\n" } })

local function output(spec)
  local result = assert(container:exec(spec))
  assert.equal(0, result.code, result.stderr)
  return result.stdout
end

describe("container:exec", function ()
  check("collects both streams and the exit status", function ()
    local result = assert(container:exec { "sh", "-c", "echo out; echo err >&2; exit 7" })
    assert.equal("out\n", result.stdout)
    assert.equal("err\n", result.stderr)
    assert.equal(7, result.code)
    assert.equal("exited", result.reason)
    assert.is_nil(result.signal)
    assert.is_false(result.truncated)
    assert.is_nil(result.timed_out)
  end)

  check("tells the signal that killed the command, as 128 and its number", function ()
    local result = assert(container:exec { "sh", "-c", "kill -USR1 $$" })
    assert.equal(128 + 10, result.code)
    assert.equal(10, result.signal)
    assert.equal("killed", result.reason)
  end)

  check("tells what the command used", function ()
    local result = assert(container:exec { "true" })
    assert.is_number(result.utime)
    assert.is_number(result.stime)
    assert.is_true(result.maxrss > 0)
  end)

  check("gives no input unless told", function ()
    assert.equal("", output { "cat" })
  end)

  check("feeds a string, also one larger than a pipe", function ()
    local text = ("0123456789abcdef"):rep(1 << 16)
    assert.equal(text, output { "cat", input = text })
    assert.equal("", output { "cat", input = "" })
  end)

  check("feeds what a function gives until nil", function ()
    local pieces = { "a", "", "b", "c" }
    assert.equal("abc", output { "cat", input = function () return table.remove(pieces, 1) end })
  end)

  check("feeds an open file", function ()
    local file <close> = assert(io.open(ct.rootfs .. "/work/lines"))
    assert.equal("one\ntwo\n", output { "cat", input = file })
  end)

  check("goes on when the command does not want its input", function ()
    assert.equal("", output { "true", input = ("x"):rep(1 << 20) })
  end)

  check("hands pieces to functions as they come", function ()
    local seen, errors = {}, {}
    local result = assert(container:exec {
      "sh", "-c", "echo one; sleep 0.1; echo two; echo bad >&2",
      stdout = function (piece) seen[#seen + 1] = piece end, stderr = function (piece) errors[#errors + 1] = piece end,
    })
    assert.equal("one\ntwo\n", table.concat(seen))
    assert.is_true(#seen >= 2)
    assert.equal("bad\n", table.concat(errors))
    assert.is_nil(result.stdout)
    assert.is_nil(result.stderr)
  end)

  check("keeps max_output bytes of each stream and reads on", function ()
    local result = assert(container:exec { "sh", "-c", "head -c 300000 /dev/zero; echo abcdef >&2; exit 3",
      max_output = 4 })
    assert.equal(3, result.code)
    assert.equal("\0\0\0\0", result.stdout)
    assert.equal("abcd", result.stderr)
    assert.is_true(result.truncated)
    assert.is_false(assert(container:exec { "echo", "abc", max_output = 4 }).truncated)
    assert.equal("", output { "echo", "abc", max_output = 0 })
  end)

  check("gives a stream to a descriptor, to nobody, or to the other stream", function ()
    local reader <close>, other = core.fd.pipe()
    local writer <close> = other
    assert(container:exec { "sh", "-c", "echo out; echo err >&2", stdout = writer, stderr = "null" })
    assert.equal("out\n", core.fd.read(reader, 100))
    local result = assert(container:exec { "sh", "-c", "echo out; echo err >&2", stdout = writer:fd(),
      stderr = "stdout" })
    assert.is_nil(result.stdout)
    assert.equal("out\nerr\n", core.fd.read(reader, 100))
  end)

  check("does not wait for what the command left behind", function ()
    local result = assert(container:exec { "sh", "-c", "sleep 30 & echo started" })
    assert.equal("started\n", result.stdout)
    assert.equal(1, #containers.inside(ct))
    containers.clear(ct)
  end)

  check("is not kept by a left process that writes without end", function ()
    local result = assert(container:exec { "sh", "-c", "yes & sleep 0.1", max_output = 10, tree = true })
    assert.equal(0, result.code)
    assert.equal("y\ny\ny\ny\ny\n", result.stdout)
  end)

  check("gives a terminal", function ()
    local result = assert(container:exec { "sh", "-c", "test -t 0 && test -t 1 && test -t 2 && stty size",
      terminal = true, consoleSize = { height = 33, width = 99 } })
    assert.equal(0, result.code)
    assert.equal("33 99\r\n", result.stdout)
    local pieces = {}
    result = assert(container:exec { "tty", terminal = true, stdout = function (data) pieces[#pieces + 1] = data end })
    assert.same({ 0, nil, "/dev/pts/0\r\n" }, { result.code, result.stdout, table.concat(pieces) })
  end)

  check("takes the short forms of an OCI process object", function ()
    assert.equal("/work\n", output { "pwd", cwd = "/work" })
    assert.equal("1 2\n", output { "sh", "-c", "echo $A $B", env = { A = "1", B = "2" } })
    assert.equal("3\n", output { "sh", "-c", "echo $A", env = { "A=3" } })
    assert.equal("1000:1001\n", output { "sh", "-c", "echo $(id -u):$(id -g)", user = "1000:1001" })
    assert.equal("1000\n", output { "id", "-u", user = "alice" })
    assert.equal("4 1000\n", output { "sh", "-c", "id -G | tr ' ' '\\n' | sort -n | xargs", user = "alice",
      groups_from_container = true })
    assert.equal("5\n", output { args = { "id", "-u" }, user = { uid = 5, gid = 6 } })
    assert.matches("NoNewPrivs:%s1", output { "grep", "NoNewPrivs", "/proc/self/status", no_new_privs = true })
    assert.matches("CapEff:%s*0*%x*20%x*", output { "grep", "CapEff", "/proc/self/status", caps = { "CAP_KILL" } })
    assert.equal("64\n", output { "sh", "-c", "ulimit -n",
      rlimits = { { type = "RLIMIT_NOFILE", soft = 64, hard = 64 } } })
  end)

  check("takes a whole OCI process object", function ()
    assert.equal("/work 7\n", output { process = { args = { "sh", "-c", "echo $PWD $(id -u) $A" }, cwd = "/work",
      user = { uid = 7, gid = 7 }, env = { "PATH=/bin" } } })
  end)

  check("leaves the spec as it was", function ()
    local spec = { "true", env = { A = "1" }, timeout = 5 }
    assert(container:exec(spec))
    assert.same({ "true", env = { A = "1" }, timeout = 5 }, spec)
    assert.is_nil(getmetatable(spec))
  end)

  check("ends the command when a callback raises, and passes the error on", function ()
    local children = #tool.children()
    local ok, message = pcall(container.exec, container, { "sh", "-c", "echo x; sleep 1000",
      stdout = function () error("enough", 0) end })
    assert.is_false(ok)
    assert.equal("enough", message)
    assert.equal(children, #tool.children())
    containers.await_empty(ct)
  end)
end)

describe("a programmer's error", function ()
  check("raises at the caller's position", function ()
    local function raises(pattern, call, ...)
      local ok, message = pcall(call, ...)
      assert.is_false(ok)
      assert.matches("exec_spec%.lua:%d+: .*" .. pattern, message)
    end
    raises("spec: expected a table, got a string", function () container:exec "true" end)
    raises("spec: expected a table, got nothing", function () container:spawn() end)
    raises("spec: expected a table", function () container:prepare(1) end)
    raises("spec.timeout", function () container:exec { "true", timeout = "1" } end)
    raises("spec.timeout", function () container:exec { "true", timeout = -1 } end)
    raises("spec.kill_after", function () container:exec { "true", kill_after = {} } end)
    raises("spec.max_output", function () container:exec { "true", max_output = "many" } end)
    raises("spec.input", function () container:exec { "true", input = 5 } end)
    raises("bad id", function () ctrexec.open(5) end)
    raises("options.pid", function () ctrexec.open(nil, { pid = "1" }) end)
    local process <close> = assert(container:spawn { "true" })
    raises("timeout: expected a number of seconds", function () process:wait "long" end)
    raises("timeout: expected a number of seconds", function () process:wait(math.huge) end)
    raises("grace: expected a number of seconds", function () process:sweep(-1) end)
    raises("kill.tre: unknown field %(did you mean tree%?%)", function () process:kill { tre = true } end)
    raises("kill.tree: expected a boolean", function () process:kill { tree = "yes" } end)
    raises("kill: expected an object, got an array", function () process:kill { "TERM" } end)
    process:wait()
    process:close()
    raises("closed", function () process:fd() end)
    raises("closed", function () process:kill() end)
    assert.equal(0, process:wait().code)
  end)
end)
