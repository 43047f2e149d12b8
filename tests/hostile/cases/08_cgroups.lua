-- Ways out of the container's cgroup.

local lib = require "tests.hostile.lib"

local function cgroups_of(handle)
  return lib.read(("/proc/%d/cgroup"):format(handle.pid))
end

-- Runs a command for a moment, and returns the hierarchies in which it is outside of the container's cgroup.
local function outside(ct, spec)
  local handle <close>, message = ct:spawn { "sleep", "1000", stdin = "null", stdout = "null", stderr = "null",
    cgroup = spec.cgroup }
  if not handle then return nil, message end
  local list = {}
  for name, path in cgroups_of(handle):gmatch "%d+:([^:]*):([^\n]*)" do
    if not path:find(ct.cgroup, 1, true) then list[#list + 1] = name == "" and "v2" or name end
  end
  handle:kill "KILL"
  handle:wait(5)
  return list
end

return {
  {
    name = "--cgroup with .. in it",
    without = { "sub_path", "cgroup_beneath" },
    attack = function (t)
      local ct = t:container()
      local list, message = outside(ct, { cgroup = { ".." } })
      return list and #list > 0, list and "outside in " .. table.concat(list, ", ") or message
    end,
  },
  {
    name = "init has moved itself to other cgroups",
    without = { "recorded_cgroup" },
    attack = function (t)
      local ct = t:container()
      for _, name in ipairs { "pids", "memory", "unified", "." } do
        local path = "/sys/fs/cgroup/" .. name .. "/cgroup.procs"
        if lib.exists(path) then lib.host("echo %s >%s", tostring(ct.pid), path) end
      end
      local list, message = outside(ct, {})
      assert(list, message)
      return #list > 0, #list > 0 and "outside in " .. table.concat(list, ", ") or "inside in all"
    end,
  },
  {
    name = "a sub-cgroup that is a mount of another cgroup, of the container's own making",
    without = { "sub_path", "cgroup_beneath" },
    view = "shared",
    attack = function (t)
      local mounts = require "ctrexec.core".cgroup.mounts()
      local base, sub = mounts[""], "sub"
      if mounts.pids then base, sub = mounts.pids, "pids:sub" end
      -- What the container mounts there is mounted for the caller, too: a volume with shared propagation.
      local ct = t:container { config = function (config)
        config.linux.rootfsPropagation = "rshared"
        table.insert(config.mounts,
          { destination = "/cgroups", type = "bind", source = base, options = { "rbind", "rshared", "rw" } })
      end }
      local elsewhere = base .. "/ctrexec-elsewhere." .. ct.dir:match "[^.]+$"
      local place = ct.cgroup .. "/sub"
      lib.host("mkdir %s %s", elsewhere, base .. "/" .. place)
      lib.inside(ct, ("mount --bind /cgroups/%s /cgroups/%s"):format(elsewhere:match "[^/]+$", place))
      local list, message = outside(ct, { cgroup = { sub } })
      local mounted = lib.read "/proc/self/mounts":find("/" .. place .. " ", 1, true)
      lib.inside(ct, "umount /cgroups/" .. place)
      lib.host("rmdir %s", elsewhere)
      assert(mounted, "the mount did not reach the caller")
      return list and #list > 0, list and "outside in " .. table.concat(list, ", ") or message
    end,
  },
}
