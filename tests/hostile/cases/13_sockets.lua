-- The programs at the other end of ctrexec's sockets do not answer as they should.

local lib = require "tests.hostile.lib"
local cjson = require "cjson"

local SIGPIPE = 128 + 13

local function detached(t, ct, options)
  local words = table.move(options, 1, #options, 3, { "exec", "-d" })
  table.move({ ct.id, "true" }, 1, 2, #words + 1, words)
  local status, _, err = t:command(ct, words)
  return status, err:match 'msg="(.*)"' or err
end

-- The options of an exec that sends its terminal or its pidfd to a socket.
local function words_for(option, path)
  return option == "--console-socket" and { "-t", option, path } or { option, path }
end

local function closed(option)
  return function (t)
    local ct = t:container()
    local path = ct.dir .. "/socket"
    t:background("closer", path)
    for _ = 1, lib.TRIES do -- the attack is not always in time
      local status, message = detached(t, ct, words_for(option, path))
      if status == SIGPIPE then return true, "the caller was killed by a signal" end
      assert(status == 0 or status == 255 and message:find "broken pipe", message)
      if status == 255 then return false, message end
    end
    t:cannot "it was never closed in time"
  end
end

local function returned(option)
  return function (t)
    local ct = t:container()
    local path = ct.dir .. "/socket"
    t:background("returner", path)
    for _ = 1, t:tries(20) do
      local status, message = detached(t, ct, words_for(option, path))
      assert(status == 0 or status == 124, message)
      if status == 124 then return true, "the caller did not come back" end
    end
    return false, "nothing is taken from it"
  end
end

-- The numbers of seccomp actions in runc's state (configs.Action).
local ALLOW, NOTIFY = 4, 7

-- Makes a container whose profile asks the agent at `path` about a call. The profile is written into the state only, so
-- that the runtime needs no agent to start the container.
local function with_profile(t, call)
  local ct = t:container()
  local name, path = ct.root .. "/" .. ct.id .. "/state.json", ct.dir .. "/agent"
  local state = cjson.decode(lib.read(name))
  state.config.seccomp = {
    default_action = ALLOW, architectures = {}, listener_path = path, listener_metadata = "",
    syscalls = { { name = call, action = NOTIFY, args = {} } },
  }
  lib.write(name, cjson.encode(state))
  return ct, path
end

return {
  {
    name = "the console socket accepts nobody and its queue is full",
    without = { "socket_deadline" },
    hangs = true,
    attack = function (t)
      local ct = t:container()
      local path = ct.dir .. "/console"
      t:background("backlog", path)
      local status, message = detached(t, ct, { "-t", "--console-socket", path })
      return status == 0, message
    end,
  },
  {
    name = "the pidfd socket accepts nobody and its queue is full",
    without = { "socket_deadline" },
    hangs = true,
    attack = function (t)
      local ct = t:container()
      local path = ct.dir .. "/pidfd"
      t:background("backlog", path)
      local status, message = detached(t, ct, { "--pidfd-socket", path })
      return status == 0, message
    end,
  },
  {
    name = "the console socket takes the connection and closes it",
    without = { "no_sigpipe" },
    attack = closed "--console-socket",
  },
  {
    name = "the pidfd socket takes the connection and closes it",
    without = { "no_sigpipe" },
    attack = closed "--pidfd-socket",
  },
  {
    name = "the console socket sends a socket back whose close takes an hour",
    without = { "send_only" },
    hangs = true,
    attack = returned "--console-socket",
  },
  {
    name = "the pidfd socket sends one back",
    without = { "send_only" },
    hangs = true,
    attack = returned "--pidfd-socket",
  },
  {
    name = "the seccomp agent accepts nobody and its queue is full",
    without = { "agent_deadline", "entry_deadline" },
    hangs = true,
    attack = function (t)
      local ct, path = with_profile(t, "getpriority")
      t:background("backlog", path)
      local result, message = ct:exec { "true" }
      return result ~= nil, message
    end,
  },
  {
    name = "the seccomp agent never answers what it is asked about the execve",
    without = { "entry_deadline" },
    hangs = true,
    waits = true,
    attack = function (t)
      local ct, path = with_profile(t, "execve")
      t:background("agent", path)
      local result, message = ct:exec { "true" }
      return result ~= nil, message
    end,
  },
}
