local core = require "ctrexec.core"
local support = require "spec.core.support"
local tool = require "tests.lib.tool"

local fd, errno = core.fd, support.errno

-- The number of an open Lua file, which Lua itself does not tell.
local function number_of(path)
  for _, name in ipairs(core.file.list "/proc/self/fd") do
    if core.file.realpath("/proc/self/fd/" .. name) == path then
      return math.tointeger(tonumber(name))
    end
  end
end

describe("a descriptor object", function ()
  it("tells its number and that it is closed", function ()
    local reader, writer <close> = fd.pipe()
    assert.is_true(fd.is_open(reader:fd()))
    assert.equal(("fd (%d)"):format(reader:fd()), tostring(reader))
    local number = writer:fd()
    assert.is_true(writer:close())
    assert.is_false(fd.is_open(number))
    assert.equal(-1, writer:fd())
    assert.equal("fd (closed)", tostring(writer))
    assert.is_true(writer:close())
  end)

  it("does not close a number twice", function ()
    local first = fd.pipe()
    local number = first:fd()
    first:close()
    local second <close> = fd.dup(0)
    assert.equal(number, second:fd())
    first:close()
    assert.is_true(fd.is_open(second))
  end)

  it("is closed at the end of its scope, also by an error", function ()
    local number
    local ok = pcall(function ()
      local reader <close> = fd.pipe()
      number = reader:fd()
      error "leave"
    end)
    assert.is_false(ok)
    assert.is_false(fd.is_open(number))
  end)

  it("is closed by the collector", function ()
    local before = support.open_descriptors()
    for _ = 1, 20 do
      fd.pipe()
    end
    assert.equal(before, support.open_descriptors())
  end)

  it("is taken wherever a number is, and refused once closed", function ()
    local reader, writer <close> = fd.pipe()
    assert.equal(1, fd.write(writer:fd(), "x"))
    assert.equal("x", fd.read(reader, 1))
    reader:close()
    assert.error_matches(function () fd.read(reader, 1) end, "bad argument #1 to 'read' %(closed descriptor%)")
  end)

  it("is nothing but a descriptor", function ()
    for _, wrong in ipairs { -1, 1 << 31, 1.5, "0", true, io.stdout } do
      assert.error_matches(function () fd.is_open(wrong) end, "bad argument #1 to 'is_open' %(descriptor expected%)")
    end
    assert.error_matches(function () fd.is_open(nil) end, "descriptor expected")
    local reader <close> = fd.pipe()
    assert.error(function () reader.close(io.stdout) end)
  end)
end)

describe("fd.wrap", function ()
  it("owns a number and makes it close-on-exec", function ()
    local file = assert(io.open("/proc/self/limits"))
    local number = number_of(core.file.realpath "/proc/self/limits")
    assert.is_false(fd.cloexec(number))
    local owner = assert(fd.wrap(number))
    assert.is_true(fd.cloexec(number))
    assert.equal(number, owner:fd())
    owner:close()
    assert.is_false(fd.is_open(number))
    file:close()
  end)

  it("refuses what is not open and what is owned", function ()
    local reader = fd.pipe()
    local number = reader:fd()
    assert.error_matches(function () fd.wrap(reader) end, "integer expected")
    reader:close()
    local owner, message, code = fd.wrap(number)
    assert.is_nil(owner)
    assert.equal(("descriptor %d: Bad file descriptor"):format(number), message)
    assert.equal(errno.EBADF, code)
  end)
end)

describe("fd.dup", function ()
  it("gives another number for the same file, close-on-exec and past the standard streams", function ()
    local reader, writer <close> = fd.pipe()
    local copy <close> = fd.dup(writer)
    assert.not_equal(writer:fd(), copy:fd())
    assert.is_true(copy:fd() > 2)
    assert.is_true(fd.cloexec(copy))
    writer:close()
    fd.write(copy, "through the copy")
    assert.equal("through the copy", fd.read(reader, 100))
  end)

  it("does not fill a hole among the standard streams", function ()
    local program = [[
      local core = require "ctrexec.core"
      assert(core.fd.wrap(0)):close()
      io.write(core.fd.dup(1):fd() > 2 and "past" or "into")
    ]]
    assert.equal("past", support.lua("", program))
  end)

  it("says why not", function ()
    local reader = fd.pipe()
    local number = reader:fd()
    reader:close()
    assert.same({ nil, ("duplicate descriptor %d: Bad file descriptor"):format(number), errno.EBADF },
      { fd.dup(number) })
    assert.same({ nil, ("descriptor %d: Bad file descriptor"):format(number), errno.EBADF }, { fd.cloexec(number) })
  end)
end)

describe("a pipe", function ()
  it("is close-on-exec at both ends", function ()
    local reader, writer <close> = fd.pipe()
    assert.is_true(fd.cloexec(reader) and fd.cloexec(writer))
    assert.equal("fifo", core.file.stat(reader).type)
  end)

  it("carries bytes as they are, up to what is asked for", function ()
    local reader, writer <close> = fd.pipe()
    assert.equal(6, fd.write(writer, "a\0b\nc\255"))
    assert.equal("a\0b", fd.read(reader, 3))
    assert.equal("\nc\255", fd.read(reader, 1 << 40))
    writer:close()
    assert.equal("", fd.read(reader, 10))
  end)

  it("is drained in large pieces", function ()
    local reader, writer <close> = fd.pipe()
    local data = ("0123456789abcdef"):rep(4096)
    assert.equal(#data, fd.write(writer, data))
    assert.equal(data, fd.read(reader, #data))
  end)

  it("may be non-blocking", function ()
    local reader, writer <close> = fd.pipe()
    assert.is_true(fd.set_nonblock(reader, true))
    assert.same({ nil, ("read descriptor %d: Resource temporarily unavailable"):format(reader:fd()), errno.EAGAIN },
      { fd.read(reader, 1) })
    assert.is_true(fd.set_nonblock(writer, true))
    local count = fd.write(writer, ("x"):rep(1 << 20))
    assert.is_true(count > 0 and count < 1 << 20)
    assert.equal(errno.EAGAIN, select(3, fd.write(writer, "x")))
    assert.is_true(fd.set_nonblock(reader, false))
    local info = ("/proc/%d/fdinfo/%d"):format(core.process.ids().pid, reader:fd())
    local flags = tonumber(tool.output("grep flags: " .. info):match "%d+", 8)
    assert.equal(0, flags & 0x800)
  end)

  it("checks its arguments", function ()
    local reader <close> = fd.pipe()
    assert.error_matches(function () fd.read(reader, 0) end, "bad argument #2 to 'read' %(must be positive%)")
    assert.error(function () fd.read(reader, -1) end)
    assert.error(function () fd.write(reader, {}) end)
    assert.error(function () fd.set_nonblock(reader, 1) end)
    assert.equal(errno.EBADF, select(3, fd.write(reader, "the wrong end")))
  end)
end)

describe("writing where nobody reads", function ()
  local program = [[
    local core = require "ctrexec.core"
    local reader, writer = core.fd.pipe()
    reader:close()
    local count, message, code = core.fd.write(writer, "x")
    io.write(tostring(count), " ", code, " ", message:match ": (.*)", "\n")
    for line in io.lines "/proc/self/status" do
      if line:find "^SigPnd" or line:find "^ShdPnd" or line:find "^SigBlk" then
        io.write(line:match "%x+$", "\n")
      end
    end
  ]]
  local none, pipe = "0000000000000000", "0000000000001000"

  it("is an error and no signal", function ()
    assert.equal(("nil 32 Broken pipe\n%s\n%s\n%s\n"):format(none, none, none),
      support.lua("env --default-signal=PIPE", program))
  end)

  it("leaves no signal pending where the program blocks it", function ()
    assert.equal(("nil 32 Broken pipe\n%s\n%s\n%s\n"):format(none, none, pipe),
      support.lua("env --default-signal=PIPE --block-signal=PIPE", program))
  end)
end)

describe("a place in a file", function ()
  it("can be read, and told after a write at the end", function ()
    local folder = tool.folder()
    local path = folder .. "/file"
    local file <close> = core.file.open(path, { read = true, write = true, append = true, create = true }, 420)
    local other <close> = core.file.open(path, { write = true, append = true })
    tool.remove(folder)
    assert.equal(0, fd.offset(file))
    fd.write(other, "abc")
    fd.write(file, "de")
    fd.write(other, "f")
    assert.equal(5, fd.offset(file))
    assert.equal("cd", fd.read_at(file, 2, 2))
    assert.equal("", fd.read_at(file, 6, 2))
    assert.equal(support.errno.EBADF, select(3, fd.read_at(other, 0, 1)))
    local pipe <close> = fd.pipe()
    assert.equal(29, (select(3, fd.offset(pipe)))) -- ESPIPE
  end)
end)

describe("a socket pair", function ()
  it("carries bytes both ways and is close-on-exec", function ()
    local left, right <close> = fd.socketpair()
    assert.is_true(fd.cloexec(left) and fd.cloexec(right))
    assert.equal("socket", core.file.stat(left).type)
    fd.write(left, "ping")
    assert.equal("ping", fd.read(right, 10))
    fd.write(right, "pong")
    assert.equal("pong", fd.read(left, 10))
  end)
end)

describe("without descriptors left", function ()
  it("every call says so and owns nothing", function ()
    local program = [[
      local core = require "ctrexec.core"
      local kept = {}
      collectgarbage "stop" -- or a descriptor that nobody keeps is given back in between
      repeat
        kept[#kept + 1] = core.fd.dup(0)
      until not core.fd.dup(0)
      for _, call in ipairs { core.fd.pipe, core.fd.socketpair, function () return core.fd.dup(0) end,
          function () return core.file.open "/dev/null" end, function () return core.pidfd.open(1) end } do
        io.write(select(3, call()), " ")
      end
    ]]
    assert.equal(("24 "):rep(5), support.lua("prlimit --nofile=32", program))
  end)
end)
