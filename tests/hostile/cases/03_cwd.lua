-- A working directory outside the container (CVE-2024-21626).

local lib = require "tests.hostile.lib"

local MARK = "a file of the host\n"

-- Mounts the host's /proc in the container, as for monitoring agents.
local function with_host_proc(config)
  table.insert(config.mounts,
    { destination = "/host/proc", type = "bind", source = "/proc", options = { "rbind", "ro" } })
end

-- Reads a file of the host by a path that is relative to the working directory; nil when the command did not run or did
-- not find the file.
local function read_mark(ct, cwd)
  local up = ("../"):rep(20):sub(1, -2)
  local result, message = ct:exec { "cat", up .. ct.dir .. "/mark", "." .. ct.dir .. "/mark", cwd = cwd }
  return result and result.stdout:find(MARK, 1, true) ~= nil, message
end

return {
  {
    name = "cwd /proc/self/fd/N, N a descriptor of the entering process",
    without = { "early_close", "prove_directory" },
    attack = function (t)
      local ct = t:container()
      lib.write(ct.dir .. "/mark", MARK)
      local last
      for number = 0, 40 do
        local found, message = read_mark(ct, "/proc/self/fd/" .. number)
        if found then return true, ("descriptor %d leads to the host"):format(number) end
        last = message or last
      end
      return false, last
    end,
  },
  {
    name = "cwd in another root, by the host's /proc that the container sees",
    without = { "prove_directory" },
    attack = function (t)
      local ct = t:container { config = with_host_proc }
      lib.write(ct.dir .. "/mark", MARK)
      local found, message = read_mark(ct, "/host/proc/" .. lib.PID .. "/root")
      return found, found and "the command was in the root of the host" or message
    end,
  },
  {
    name = "cwd that becomes such a link while the process enters",
    without = { "prove_directory" },
    attack = function (t)
      local ct = t:container {
        attack = { "swap", "/work", "/link" }, config = with_host_proc,
        rootfs = function (rootfs) assert(lib.host("ln -s /host/proc/%s/root %s", lib.PID, rootfs .. "/link")) end,
      }
      lib.write(ct.dir .. "/mark", MARK)
      local inside, refused = 0, 0
      for _ = 1, t:tries(300) do
        local found, message = read_mark(ct, "/work")
        if found then return true, "the command was in the root of the host" end
        if message then refused = refused + 1 else inside = inside + 1 end
      end
      return false, ("%d times in the container, %d times refused"):format(inside, refused)
    end,
  },
}
