local core = require "ctrexec.core"
local listening = require "tests.lib.sockets"
local sockets = require "ctrexec.exec.sockets"
local support = require "spec.core.support"
local tool = require "tests.lib.tool"

local folder

before_each(function() folder = tool.folder() end)
after_each(function() tool.remove(folder) end)

local function listen(name)
  return listening.listen(folder .. "/" .. name)
end

local function assert_fails(message, ok, text, code)
  assert.is_nil(ok)
  assert.equal(message, text)
  assert.equal("system", code)
end

describe("sockets.connect", function()
  it("connects to nothing where none is named", function()
    assert.same({}, sockets.connect {})
  end)

  it("connects to each that is named", function()
    local console <close> = listen "console"
    local pidfd <close> = listen "pidfd"
    for _, case in ipairs { { console_socket = console.path }, { pidfd_socket = pidfd.path } } do
      local connected = assert(sockets.connect(case))
      assert.same({ case.console_socket ~= nil, case.pidfd_socket ~= nil },
        { connected.console ~= nil, connected.pidfd ~= nil })
    end
    local both = assert(sockets.connect { console_socket = console.path, pidfd_socket = pidfd.path })
    assert.is_true(core.fd.cloexec(both.console) and core.fd.cloexec(both.pidfd))
  end)

  it("takes nothing that whoever listens sends", function()
    local server <close> = listen "console"
    local connected = assert(sockets.connect { console_socket = server.path })
    local peer <close> = server:accept()
    assert.equal(support.errno.EPIPE, select(3, core.fdpass.send(peer, { 1 }, "x")))
    connected.console:close()
  end)

  it("says where nobody listens, and leaves nothing open", function()
    local console <close> = listen "console"
    local before = support.open_descriptors()
    assert_fails(("dial unix %s/none: connect: no such file or directory"):format(folder),
      sockets.connect { console_socket = console.path, pidfd_socket = folder .. "/none" })
    tool.write(folder .. "/file", "")
    assert_fails(("dial unix %s/file: connect: connection refused"):format(folder),
      sockets.connect { console_socket = folder .. "/file" })
    assert.equal(before, support.open_descriptors())
  end)
end)

describe("sockets.send", function()
  it("sends the descriptor with its name, and closes the socket", function()
    local server <close> = listen "pidfd"
    local connected = assert(sockets.connect { pidfd_socket = server.path })
    local file <close> = assert(core.file.open "/dev/null")
    assert.is_true(sockets.send(connected.pidfd, file, "name"))
    assert.equal(-1, connected.pidfd:fd())
    assert.is_true(core.fd.is_open(file))
    local peer <close> = server:accept()
    local bytes, fds = core.fdpass.receive(peer, 100, 8)
    assert.equal("name", bytes)
    assert.equal(1, #fds)
    assert.equal(core.file.stat(file).ino, core.file.stat(fds[1]).ino)
    assert.equal("", core.fd.read(peer, 1))
  end)

  it("says that the other side has gone, and closes the socket", function()
    local server <close> = listen "pidfd"
    local connected = assert(sockets.connect { pidfd_socket = server.path })
    server:accept():close()
    assert_fails("unable to start container process: broken pipe", sockets.send(connected.pidfd, connected.pidfd, "x"))
    assert.equal(-1, connected.pidfd:fd())
  end)
end)
