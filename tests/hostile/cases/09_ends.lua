-- The container's init and the helper are killed or stopped at any moment, and the container's limits are used up.
-- ctrexec must never report success for a command that did not run, and must always end.

local lib = require "tests.hostile.lib"
local core = require "ctrexec.core"

local PTRACE = { "CAP_SYS_PTRACE" }
local HELPER = "ctrexec:[enter]"

local function late(message)
  return message ~= nil and message:find "did not start within" ~= nil
end

-- The children of this process that are still the helper.
local function strays()
  local list, own = {}, core.process.ids().pid
  for _, name in ipairs(require "ctrexec.core".file.list "/proc") do
    local about = name:find "^%d+$" and core.process.stat(math.tointeger(tonumber(name)))
    if about and about.ppid == own and about.comm == HELPER then list[#list + 1] = name .. " " .. about.state end
  end
  return list
end

-- Starts a single process in a process namespace, to be used with `--pid`.
local function lone_init(t)
  local command = "unshare --mount --pid --fork --kill-child --mount-proc sleep 1000 >/dev/null 2>&1 & echo $!"
  local pipe = assert(io.popen(command))
  local parent = pipe:read "n"
  pipe:close()
  t.pids[#t.pids + 1] = parent
  return lib.await(function ()
    local child = (lib.read(("/proc/%d/task/%d/children"):format(parent, parent)) or ""):match "%d+"
    return child and lib.read("/proc/" .. child .. "/comm") == "sleep\n" and tonumber(child)
  end, "a process namespace")
end

return {
  {
    name = "the entering process is killed: success is reported for what did not run",
    without = { "exec_proof" },
    attack = function (t)
      local ct = t:container { attack = { "killer" } }
      local killed, last = 0, nil
      for _ = 1, lib.TRIES do
        local before = select(2, t:said(ct):gsub("killed", ""))
        local handle <close>, message = ct:spawn { "true", stdin = "null", stdout = "null", stderr = "null" }
        if handle then handle:wait(5) end
        local now = select(2, t:said(ct):gsub("killed", ""))
        if handle and now > before then return true, "spawn reported success, the command never ran" end
        killed, last = now, message or last
        if killed >= 20 then break end
      end
      if killed == 0 then t:cannot "the process could not be caught in so many tries" end
      return false, ("%d times: %s"):format(killed, last)
    end,
  },
  {
    name = "the command has the helper's name: the caller takes it for the helper",
    without = { "exec_flag" },
    waits = true,
    attack = function (t)
      local ct = t:container()
      assert(lib.host("cp build-hostile/attack %s", ct.rootfs .. "/" .. HELPER))
      local result, message = ct:exec { "/" .. HELPER, "hog", "1", timeout = 1 }
      return late(message), message or "status " .. result.code
    end,
  },
  {
    name = "the entering process is stopped for ever",
    without = { "entry_deadline" },
    hangs = true,
    waits = true,
    attack = function (t)
      local ct = t:container { attack = { "stopper" } }
      for _ = 1, lib.TRIES do
        local result, message = ct:exec { "true" }
        if not result then return false, message end
      end
      t:cannot "the process could not be caught in so many tries"
    end,
  },
  {
    name = "its descriptors are copied and kept (pidfd_getfd): their end is never seen",
    without = { "glance" },
    waits = true,
    attack = function (t)
      local ct = t:container { attack = { "thief", "keep" }, caps = PTRACE }
      for _ = 1, lib.TRIES do
        local result, message = ct:exec { "true" }
        if late(message) then return true, message end
        assert(result and result.code == 0, message)
        if t:said(ct):find "took" then return false, "the command was seen to start, and ended with status 0" end
      end
      t:cannot "the process could not be caught in so many tries"
    end,
  },
  {
    name = "messages without end are written to the caller",
    without = { "flood" },
    hangs = true,
    waits = true,
    attack = function (t)
      local ct = t:container { attack = { "thief", "flood" }, caps = PTRACE }
      local result, message
      for _ = 1, lib.TRIES do
        result, message = ct:exec { "true" }
        if not result or t:said(ct):find "flooded" then break end
      end
      return false, message or "status " .. result.code
    end,
  },
  {
    name = "a socket whose close takes an hour is sent to the caller",
    without = { "early_close" },
    hangs = true,
    attack = function (t)
      local ct = t:container { attack = { "thief", "linger" }, caps = PTRACE }
      for _ = 1, lib.TRIES do
        local result, message = ct:exec { "true" }
        if late(message) then return true, "the caller was held up" end
        assert(result, message)
        if t:said(ct):find "took" then return false, "there is nothing to send it over" end
      end
      t:cannot "the process could not be caught in so many tries"
    end,
  },
  {
    name = "the container is frozen in the middle of the entry",
    without = { "bounded_reap" },
    hangs = true,
    waits = true,
    attack = function (t)
      local state = "/sys/fs/cgroup/freezer/%s/freezer.state"
      local ct = t:container()
      ct:open()
      state = state:format(ct.cgroup)
      if not lib.exists(state) then t:cannot "no version 1 freezer is mounted here" end
      lib.write(state, "FROZEN")
      local result, message = ct:exec { "true" }
      lib.write(state, "THAWED")
      return result ~= nil, message
    end,
  },
  {
    name = "the container's limit of processes is reached: nobody learns why nothing runs",
    without = { "tell" },
    attack = function (t)
      local ct = t:container {
        attack = { "forks" }, config = function (config) config.linux.resources.pids.limit = 12 end,
      }
      local result, message = ct:exec { "true" }
      return result ~= nil or not message:find "temporarily unavailable", message or "status " .. result.code
    end,
  },
  {
    name = "the container's memory is used up, and the kernel ends the entering process: nobody learns why",
    without = { "oom_kills" },
    attack = function (t)
      local ct = t:container()
      local file = ("/sys/fs/cgroup/memory/%s/memory."):format(ct.cgroup)
      if not lib.exists(file .. "usage_in_bytes") then t:cannot "no version 1 memory controller is mounted here" end
      ct:open()
      -- What is already in it is out of the way, so that the kernel has only one to end.
      lib.host("echo %s >/sys/fs/cgroup/memory/cgroup.procs", tostring(ct.pid))
      for _ = 1, 20 do
        lib.host("echo 0 >%s; cat %s >%s", file .. "force_empty", file .. "usage_in_bytes", file .. "limit_in_bytes")
        local result, message = ct:exec { "true" }
        if not result then return not message:find "out of memory", message end
      end
      t:cannot "the command fitted into what was left"
    end,
  },
  {
    name = "init dies, and its process namespace with it, at any moment of the entry: nobody learns why nothing runs",
    without = { "tell" },
    attack = function (t)
      local ran, refused, words = 0, 0, {}
      for round = 1, 200 do
        local pid = lone_init(t)
        local ct <close>, why = require "ctrexec".open(nil, { pid = pid })
        assert(ct, why)
        lib.host("kill -9 %s 2>/dev/null &", tostring(pid))
        local start = core.clock.now() + (round % 50) * 40e-6
        repeat until core.clock.now() >= start
        local result, message = ct:exec { "true", cwd = "/", env = { "PATH=/bin:/usr/bin" } }
        assert(not result or result.code ~= 255, "status 255 of a command that never ran")
        if message and message:find "the process ended .*before the command could start$" then
          return true, message
        end
        if result then ran = ran + 1 else refused, words[message] = refused + 1, true end
        lib.host("kill -9 %s 2>/dev/null", tostring(pid))
      end
      local left = strays()
      assert(#left == 0, "helpers are left: " .. table.concat(left, " "))
      local list = {}
      for message in pairs(words) do list[#list + 1] = message:gsub("^unable to start container process: ", "") end
      table.sort(list)
      return false, ("%d ran, %d refused: %s"):format(ran, refused, table.concat(list, "; "))
    end,
  },
  {
    name = "init executes itself, from any thread, and changes its namespaces at every step of the entry: a command "
      .. "in those of two containers",
    without = { "one_setns" },
    attack = function (t)
      local ct = t:container { attack = { "flip" }, caps = { "CAP_SYS_ADMIN" } }
      local pairs_seen, count, refused, words = {}, 0, 0, {}
      for _ = 1, t:tries(500) do
        local result, message, code = ct:exec { "sh", "-c", "cd /proc/self/ns; readlink uts; readlink ipc; exit 7" }
        if result then
          assert(result.code == 7, "status " .. result.code)
          local seen = result.stdout:gsub("%s+", " ")
          if not pairs_seen[seen] then pairs_seen[seen], count = true, count + 1 end
          if count > 2 then break end
        else
          assert(code == "stopped" or message:find "no such process$", message)
          refused, words[message] = refused + 1, true
        end
      end
      local list = {}
      for message in pairs(words) do list[#list + 1] = message end
      local figure = ("%d sets of namespaces, %d times refused %s"):format(count, refused, table.concat(list, "; "))
      assert(count >= 2, figure)
      return count > 2, figure
    end,
  },
}
