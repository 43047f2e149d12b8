--- The sockets at which a container manager waits for a command's terminal or pidfd: `--console-socket` and
-- `--pidfd-socket`.
-- @module ctrexec.exec.sockets
local core = require "ctrexec.core"
local late = require "ctrexec.lib.late"
local wording = late "ctrexec.lib.wording" -- only a refusal needs it

local fdpass = core.fdpass

local sockets = {}

-- Milliseconds for the listener of a socket to accept: enough on a busy machine, and an end if it never does.
local TIMEOUT = 5000 -- guard: socket_deadline

--- Connects to the sockets that a spec names, before anything is started.
-- @tparam table spec `console_socket`, `pidfd_socket`: paths
-- @treturn[1] table `console`, `pidfd`: fd objects, absent where no path is named
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string code "system"
function sockets.connect(spec)
  local connected = {}
  for _, name in ipairs { "console", "pidfd" } do
    local path = spec[name .. "_socket"]
    if path then
      local socket, message = fdpass.connect(path, TIMEOUT, true)
      if not socket then return nil, ("dial unix %s: connect: %s"):format(path, wording.reason(message)), "system" end
      connected[name] = socket
    end
  end
  return connected
end

--- Sends a descriptor and closes the socket.
-- @tparam fd socket
-- @tparam fd fd what is sent: SCM_RIGHTS of unix(7)
-- @tparam string name the bytes that go with it
-- @treturn[1] boolean true
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string code "system"
function sockets.send(socket, fd, name)
  local ok, message = fdpass.send(socket, { fd }, name)
  socket:close()
  if not ok then return nil, "unable to start container process: " .. wording.reason(message), "system" end
  return true
end

return sockets
