local core = require "ctrexec.core"
local support = require "spec.core.support"
local tool = require "tests.lib.tool"

local fd, fdpass, errno = core.fd, core.fdpass, support.errno

describe("descriptors over a socket", function ()
  local left, right

  before_each(function ()
    left, right = fd.socketpair()
  end)

  after_each(function ()
    left:close()
    right:close()
  end)

  it("arrive as the same files, in order, close-on-exec", function ()
    local reader, writer <close> = fd.pipe()
    assert.equal(5, fdpass.send(left, { reader, writer:fd() }, "hello"))
    local data, fds = fdpass.receive(right, 100, 10)
    assert.equal("hello", data)
    assert.equal(2, #fds)
    assert.not_equal(reader:fd(), fds[1]:fd())
    assert.is_true(fd.cloexec(fds[1]) and fd.cloexec(fds[2]))
    fd.write(fds[2], "through")
    assert.equal("through", fd.read(reader, 100))
    assert.equal(core.file.stat(reader).ino, core.file.stat(fds[1]).ino)
  end)

  it("need not come with the bytes", function ()
    assert.equal(3, fdpass.send(left, {}, "a\0b"))
    assert.same({ "a\0b", {} }, { fdpass.receive(right, 100, 4) })
  end)

  it("come with the first byte", function ()
    fdpass.send(left, { left }, "hello")
    local data, fds = fdpass.receive(right, 1, 4)
    assert.equal("h", data)
    assert.equal(1, #fds)
    assert.same({ "ello", {} }, { fdpass.receive(right, 100, 4) })
  end)

  it("may be as many as the kernel lets through", function ()
    local many = {}
    for i = 1, 253 do
      many[i] = left
    end
    assert.equal(1, fdpass.send(left, many, "x"))
    local _, fds = fdpass.receive(right, 1, 253)
    assert.equal(253, #fds)
    many[254] = left
    assert.error_matches(function () fdpass.send(left, many, "x") end, "too many descriptors")
  end)

  it("are closed beyond what is asked for", function ()
    for sent = 1, 5 do
      for wanted = 0, 5 do
        local list = {}
        for i = 1, sent do
          list[i] = left
        end
        fdpass.send(left, list, "x")
        local before = support.open_descriptors()
        local data, fds = fdpass.receive(right, 10, wanted)
        assert.equal("x", data)
        assert.equal(math.min(sent, wanted), #fds)
        assert.equal(before + #fds, support.open_descriptors())
        for _, received in ipairs(fds) do
          received:close()
        end
      end
    end
  end)

  it("are owned by what is received", function ()
    fdpass.send(left, { left, right }, "x")
    local before = support.open_descriptors()
    fdpass.receive(right, 1, 2)
    assert.equal(before, support.open_descriptors())
  end)

  it("end with the peer", function ()
    left:close()
    assert.same({ "", {} }, { fdpass.receive(right, 10, 1) })
  end)

  it("are not sent to a peer that is gone, without a signal", function ()
    local program = [[
      local core = require "ctrexec.core"
      local left, right = core.fd.socketpair()
      right:close()
      local count, message, code = core.fdpass.send(left, { 0 }, "x")
      io.write(tostring(count), " ", message, " ", code)
    ]]
    assert.equal("nil send descriptors: Broken pipe 32", support.lua("env --default-signal=PIPE", program))
  end)

  it("say why not", function ()
    fd.set_nonblock(right, true)
    local before = support.open_descriptors()
    assert.same({ nil, "receive descriptors: Resource temporarily unavailable", errno.EAGAIN },
      { fdpass.receive(right, 1, 9) })
    assert.equal(before, support.open_descriptors())
    local reader <close> = fd.pipe()
    assert.equal(88, select(3, fdpass.send(reader, {}, "x")))
    assert.equal(88, select(3, fdpass.receive(reader, 1, 1)))
    assert.equal(errno.EBADF, select(3, fdpass.send(left, { 1000 }, "x")))
  end)

  it("are checked", function ()
    local closed = fd.pipe()
    closed:close()
    for _, wrong in ipairs { closed, "0", -1, false } do
      assert.error_matches(function () fdpass.send(left, { wrong }, "x") end,
        "bad argument #2 to 'send' %(open descriptors expected%)")
    end
    assert.error_matches(function () fdpass.send(left, {}, "") end, "at least one byte expected")
    assert.error(function () fdpass.send(left, nil, "x") end)
    assert.error_matches(function () fdpass.receive(right, 0, 1) end, "must be positive")
    assert.error_matches(function () fdpass.receive(right, 1, -1) end, "out of range")
    assert.error_matches(function () fdpass.receive(right, 1, 254) end, "out of range")
  end)
end)

describe("fdpass.connect", function ()
  local directory, listener

  before_each(function ()
    directory = tool.folder()
    listener = nil
  end)

  after_each(function ()
    if listener then
      support.finish(listener)
    end
    tool.remove(directory)
  end)

  -- Starts a program that listens on `path` and then runs the Perl code `serve`.
  local function listen(path, backlog, serve)
    local program = ([[
      use IO::Socket::UNIX;
      $| = 1;
      alarm 20;
      my $listener = IO::Socket::UNIX->new(Type => SOCK_STREAM, Local => $ARGV[0], Listen => %d) or die;
      print "listening\n";
      %s
      sleep 20;]]):format(backlog, serve or "")
    listener = support.child(("exec perl -e %s %s"):format(tool.quote(program), tool.quote(path)))
    assert.equal("listening", listener.stdout:read "l")
  end

  it("connects to a stream socket, close-on-exec", function ()
    listen(directory .. "/socket", 5, "my $peer = $listener->accept; $peer->syswrite('hello'); close $peer;")
    local socket <close> = assert(fdpass.connect(directory .. "/socket"))
    assert.is_true(fd.cloexec(socket))
    assert.same({ "hello", {} }, { fdpass.receive(socket, 100, 1) })
    assert.same({ "", {} }, { fdpass.receive(socket, 100, 1) })
  end)

  it("takes nothing from the peer of a socket that is only sent to", function ()
    listen(directory .. "/socket", 5, [[
      $SIG{PIPE} = "IGNORE";
      my $peer = $listener->accept;
      print defined $peer->syswrite("x") ? "sent\n" : "$!\n";
      $peer->sysread(my $data, 5);
      print "$data\n";]])
    local socket <close> = assert(fdpass.connect(directory .. "/socket", 5000, true))
    assert.equal("Broken pipe", listener.stdout:read "l")
    assert.equal(5, fdpass.send(socket, {}, "hello"))
    assert.equal("hello", listener.stdout:read "l")
  end)

  it("says why not", function ()
    local before = support.open_descriptors()
    local path = directory .. "/none"
    assert.same({ nil, "connect " .. path .. ": No such file or directory", errno.ENOENT }, { fdpass.connect(path) })
    tool.output("touch " .. path)
    assert.same({ nil, "connect " .. path .. ": Connection refused", errno.ECONNREFUSED }, { fdpass.connect(path) })
    for _, name in ipairs { "", "\0abstract", path .. "\0" } do
      assert.equal(errno.ENOENT, select(3, fdpass.connect(name)))
    end
    assert.equal(before, support.open_descriptors())
    assert.error_matches(function () fdpass.connect(path, 0) end, "must be positive")
  end)

  it("takes a path of 107 bytes and no longer one", function ()
    local path = directory .. "/" .. ("s"):rep(107 - #directory - 1)
    listen(path, 5)
    assert(fdpass.connect(path)):close()
    assert.equal(errno.ENAMETOOLONG, select(3, fdpass.connect(path .. "s")))
  end)

  it("does not wait for ever for a peer that never accepts", function ()
    listen(directory .. "/socket", 1)
    local waiting = {}
    local socket, _, code
    repeat
      socket, _, code = fdpass.connect(directory .. "/socket", 20)
      waiting[#waiting + 1] = socket
    until not socket or #waiting > 100
    assert.equal(errno.ETIMEDOUT, code)
  end)

  it("does not wait for ever for a peer that neither reads nor writes", function ()
    listen(directory .. "/socket", 5)
    local socket <close> = assert(fdpass.connect(directory .. "/socket", 20))
    assert.equal(errno.EAGAIN, select(3, fdpass.receive(socket, 1, 1)))
    local data = ("x"):rep(1 << 20)
    local rounds, count, _, code = 0
    repeat
      rounds = rounds + 1
      count, _, code = fdpass.send(socket, { socket }, data)
    until not count or rounds > 1000
    assert.equal(errno.EAGAIN, code)
  end)
end)
