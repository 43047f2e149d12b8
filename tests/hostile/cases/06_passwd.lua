-- The container's passwd and group are no plain files. ctrexec takes HOME from passwd, and looks names up in passwd and
-- in group.

local lib = require "tests.hostile.lib"

local HOME = { "sh", "-c", "echo $HOME" }

-- The case replaces the files while the container runs, because the runtime starts no container with such a passwd.
local function container(t, text, options)
  local ct = t:container(options)
  assert(lib.host("cd %s && rm -f etc/passwd && " .. text:gsub("@DIR@", ct.dir):gsub("@PID@", lib.PID), ct.rootfs))
  return ct
end

-- The attack has worked when the exec does not end in time, or HOME differs from the one that an empty file gives.
local function home(text, options)
  return function (t)
    local ct = container(t, text, options)
    local result, message = ct:exec { args = HOME, env = { "PATH=/bin" } }
    if not result then return message:find "did not start within" ~= nil, message end
    return result.stdout ~= "/\n", "HOME=" .. result.stdout:sub(1, -2)
  end
end

local function with_host_proc(config)
  table.insert(config.mounts,
    { destination = "/host/proc", type = "bind", source = "/proc", options = { "rbind", "ro" } })
end

local function by_name(_, ct)
  local result, message = ct:exec { "true", user = "alice" }
  return result ~= nil, message
end

return {
  { name = "/etc/passwd is a fifo", without = { "regular_only" }, waits = true, attack = home "mkfifo etc/passwd" },
  { name = "/etc/passwd is a device without end", without = { "regular_only", "file_limit" }, waits = true,
    attack = home "mknod etc/passwd c 1 5" },
  { name = "/etc/passwd is a sparse file of a terabyte", without = { "file_limit" }, waits = true,
    attack = home "truncate -s 1T etc/passwd" },
  {
    name = "/etc/passwd is a link by way of /proc/PID/root to a file of the host",
    without = { "regular_only" },
    attack = home("echo 'x:x:0:0::/secret of the host:' >@DIR@/mark && "
      .. "ln -s /host/proc/@PID@/root@DIR@/mark etc/passwd",
      { config = with_host_proc }),
  },
  {
    name = "/etc/passwd is a fifo, and a user is given by name",
    without = { "regular_only", "read_deadline" },
    hangs = true,
    attack = function (t) return by_name(t, container(t, "mkfifo etc/passwd")) end,
  },
  {
    name = "/etc/group is one line of 300 MB, and groups are given by name",
    without = { "file_limit", "read_limit", "read_deadline" },
    attack = function (t)
      local ct = t:container()
      assert(lib.host("truncate -s 300M %s", ct.rootfs .. "/etc/group"))
      local _, message = ct:exec { "true", user = "1000:adm" }
      local peak = math.tointeger(tonumber(lib.read "/proc/self/status":match "VmHWM:%s*(%d+)"))
      return peak > 300 << 10, ("%d MiB of memory: %s"):format(peak >> 10, message or "the group was found")
    end,
  },
  {
    name = "/etc is a file system that never answers, and a user is given by name",
    without = { "read_deadline" },
    hangs = true,
    attack = function (t) return by_name(t, lib.silent(t, "/etc")) end,
  },
  {
    name = "/etc/group is a fifo, and groups are given by name",
    without = { "regular_only", "read_deadline" },
    hangs = true,
    attack = function (t)
      local ct = t:container()
      assert(lib.host("cd %s && rm -f etc/group && mkfifo etc/group", ct.rootfs))
      local result, message = ct:exec { "true", user = "1000:adm" }
      return result ~= nil, message
    end,
  },
}
