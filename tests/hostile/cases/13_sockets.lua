-- Peers of the sockets that do not do their part.

local lib = require "tests.hostile.lib"

local function detached(t, ct, options)
  local words = table.move(options, 1, #options, 3, { "exec", "-d" })
  table.move({ ct.id, "true" }, 1, 2, #words + 1, words)
  local status, _, err = t:command(ct, words, { seconds = 30 })
  return status, err:match 'msg="(.*)"' or err
end

local function seccomp(path, call)
  return function (config)
    config.linux.seccomp = {
      defaultAction = "SCMP_ACT_ALLOW", listenerPath = path,
      syscalls = { { names = { call }, action = "SCMP_ACT_NOTIFY" } },
    }
  end
end

-- The runtime must not need the agent itself: the profile comes with the state only.
local function with_profile(t, path, call)
  local ct = t:container()
  local name = ct.root .. "/" .. ct.id .. "/state.json"
  local cjson = require "cjson"
  local state = cjson.decode(lib.read(name))
  local holder = { linux = {} }
  seccomp(path(ct), call)(holder)
  local profile = holder.linux.seccomp
  state.config.seccomp = {
    default_action = 5, architectures = {}, listener_path = profile.listenerPath, listener_metadata = "",
    syscalls = { { name = call, action = 7, args = {} } },
  }
  lib.write(name, cjson.encode(state))
  return ct
end

return {
  {
    name = "the console socket accepts nobody and its queue is full",
    without = { "lua:socket_deadline" },
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
    without = { "lua:socket_deadline" },
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
    name = "the seccomp agent accepts nobody and its queue is full",
    without = { "lua:socket_deadline", "lua:entry_deadline" },
    hangs = true,
    attack = function (t)
      local ct = with_profile(t, function (ct) return ct.dir .. "/agent" end, "getpriority")
      t:background("backlog", ct.dir .. "/agent")
      local result, message = ct:exec { "true" }
      return result ~= nil, message
    end,
  },
  {
    name = "the seccomp agent never answers what it is asked about the execve",
    without = { "lua:entry_deadline" },
    hangs = true,
    attack = function (t)
      local ct = with_profile(t, function (ct) return ct.dir .. "/agent" end, "execve")
      t:background("agent", ct.dir .. "/agent")
      local result, message = ct:exec { "true" }
      return result ~= nil, message
    end,
  },
}
