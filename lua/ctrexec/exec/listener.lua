--- Gives the seccomp listener of a command to the agent that the container's profile names.
-- OCI runtime specification, config-linux.md "Container process state" and "Seccomp": listenerPath, listenerMetadata.
-- @module ctrexec.exec.listener
local core = require "ctrexec.core"
local json = require "ctrexec.lib.json"
local late = require "ctrexec.lib.late"
local wording = late "ctrexec.lib.wording" -- only a refusal needs it

local fdpass = core.fdpass

local listener = {}

local OCI_VERSION = "1.0.2" -- the first with the container process state, which has not changed since

-- Milliseconds for the agent to take the connection and the state.
local TIMEOUT = 5000 -- guard: agent_deadline

local function object_or_nil(map)
  return map and next(map) and map or nil
end

--- The container process state as JSON.
-- @tparam table container the container
-- @tparam integer pid of the command
-- @tparam ?string metadata the profile's listenerMetadata
-- @treturn string
function listener.state(container, pid, metadata)
  return json.encode {
    ociVersion = OCI_VERSION,
    fds = { "seccompFd" },
    pid = pid,
    metadata = metadata ~= "" and metadata or nil,
    state = {
      ociVersion = OCI_VERSION, id = container.id, status = container.status, pid = container.pid,
      bundle = container.bundle,
      annotations = object_or_nil(container.annotations),
    },
  }
end

--- Sends the listener.
-- @tparam string path of the agent's AF_UNIX stream socket
-- @tparam fd fd the listener
-- @tparam integer pid of the command
-- @tparam table container the container
-- @tparam ?string metadata
-- @treturn[1] boolean true
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string code "system"
function listener.send(path, fd, pid, container, metadata)
  local socket <close>, message = fdpass.connect(path, TIMEOUT, true)
  if not socket then
    return nil, ("unable to start container process: failed to connect with seccomp agent specified in the seccomp "
      .. "profile: dial unix %s: connect: %s"):format(path, wording.reason(message)), "system"
  end
  local state = listener.state(container, pid, metadata)
  local sent
  sent, message = fdpass.send(socket, { fd }, state)
  if sent == #state then return true end
  return nil, ("unable to start container process: cannot send seccomp fd to %s: %s")
    :format(path, sent and "connection timed out" or wording.reason(message)), "system"
end

return listener
