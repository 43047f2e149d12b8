--- Gives the seccomp listener of a command to the agent that the container's profile names.
-- OCI runtime specification, config-linux.md "Container process state" and "Seccomp": listenerPath, listenerMetadata.
-- @module ctrexec.listener
local listener = {}

local OCI_VERSION = "1.0.2" -- the first with the container process state, which has not changed since

local function object_or_nil(map)
  return map and next(map) and map or nil
end

--- The container process state as JSON.
-- @tparam table record the container
-- @tparam integer pid of the command
-- @tparam ?string metadata the profile's listenerMetadata
-- @treturn string
function listener.state(record, pid, metadata)
  return (require "cjson".encode {
    ociVersion = OCI_VERSION,
    fds = { "seccompFd" },
    pid = pid,
    metadata = metadata or "",
    state = {
      ociVersion = OCI_VERSION, id = record.id, status = record.status, pid = record.pid, bundle = record.bundle,
      annotations = object_or_nil(record.annotations),
    },
  })
end

--- Sends the listener.
-- @tparam string path of the agent's AF_UNIX stream socket
-- @tparam fd fd the listener
-- @tparam integer pid of the command
-- @tparam table record the container
-- @tparam ?string metadata
-- @treturn[1] boolean true
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string code "system"
function listener.send(path, fd, pid, record, metadata)
  local fdpass = require "ctrexec.core".fdpass
  local socket <close>, message = fdpass.connect(path)
  local ok
  if socket then
    ok, message = fdpass.send(socket, { fd }, listener.state(record, pid, metadata))
  end
  if ok then return true end
  return nil, ("unable to start container process: unable to init seccomp: seccomp listener %s: %s")
    :format(path, require "ctrexec.wording".reason(message)), "system"
end

return listener
