--- Sockets that a test serves; ctrexec, runc or a program in a container connects to them.

local core = require "ctrexec.core"
local peers = require "peers"
local tool = require "tests.lib.tool"

local sockets = {}

local methods = {}
local class = { __index = methods, __name = "tests.server" }

--- A listening socket: `path`, `fd`.
function sockets.listen(path)
  return setmetatable({ path = path, fd = core.fd.wrap(peers.listen(path)) }, class)
end

--- Takes the next connection.
-- @tparam[opt] session exec the exec that must connect; its output is shown when it does not
function methods:accept(exec)
  local ok, message = pcall(tool.await_readable, self.fd, self.path)
  if not ok then error(message .. (exec and ": " .. exec.text() or ""), 2) end
  return core.fd.wrap(peers.accept(self.fd:fd()))
end

--- Receives one message of a client.
-- @treturn string the bytes
-- @treturn table the descriptors
function methods:receive(exec)
  local connection <close> = self:accept(exec)
  return core.fdpass.receive(connection, 65536, 8)
end

--- Fills the queue of the socket: connects until a client waits in vain, as no connection is accepted.
-- @treturn table the clients
function methods:fill()
  local waiting = {}
  repeat
    local client = core.fdpass.connect(self.path, 100)
    waiting[#waiting + 1] = client
  until not client
  return waiting
end

--- Closes the socket and removes its file.
function methods:close()
  self.fd:close()
  os.remove(self.path)
end

class.__close = methods.close

return sockets
