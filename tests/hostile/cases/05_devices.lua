-- Files in the place of the container's devices (CVE-2025-52565, CVE-2025-31133): ctrexec must not open such a file as
-- the terminal, must not block in an open, and must not change the owner of a device of the host.

local lib = require "tests.hostile.lib"

-- The container watches its own files with inotify(7), which reports in order; the case itself opens the last file.
local LAST = "/last"

local function opened(t, ct, ...)
  lib.write(ct.rootfs .. LAST, "")
  local handle <close> = t:attack(ct, "watch", LAST, ...)
  t:log(ct, "ready")
  local result, message = ct:exec { "true", terminal = true }
  ct:exec { "true", stdout = "null" }
  lib.read(ct.rootfs .. LAST)
  local others = t:log(ct, "opened " .. LAST):gsub("opened " .. LAST, "")
  local file = others:match "opened (%C+)"
  handle:kill "KILL"
  handle:wait(5)
  return file ~= nil, file and "the container's own " .. file .. " was opened" or message or "status " .. result.code
end

-- A file that shell text, as one that makes a device node, puts in their place must not be opened.
local function replaced(command, kind)
  return function (t)
    local ct = t:container()
    local names = { "pts/ptmx", "ptmx", "console", "null" }
    local text = "mount -t tmpfs none /dev/pts; cd /dev; rm -f ptmx console null"
    for _, name in ipairs(names) do text = ("%s; %s %s %s"):format(text, command, name, kind or "") end
    lib.inside(ct, text)
    for index, name in ipairs(names) do names[index] = "/dev/" .. name end
    return opened(t, ct, table.unpack(names))
  end
end

return {
  {
    name = "/dev/pts is a tmpfs, its ptmx a file, as are /dev/ptmx, /dev/console and /dev/null",
    without = { "devpts" },
    attack = replaced "touch",
  },
  {
    name = "the same, and all of them are fifos",
    without = { "devpts" },
    attack = replaced "mkfifo",
  },
  {
    name = "the same, and all of them are another device",
    without = { "devpts" },
    attack = replaced("mknod -m 666", "c 1 5"),
  },
  {
    name = "/dev/pts is a link to a folder whose ptmx is a link",
    without = { "devpts" },
    attack = function (t)
      local ct = t:container()
      lib.inside(ct, "umount /dev/pts; rmdir /dev/pts; mkdir /farm; touch /bait; ln -s /bait /farm/ptmx; "
        .. "ln -s /farm /dev/pts")
      return opened(t, ct, "/bait")
    end,
  },
  {
    name = "something is mounted over the ptmx of a real devpts",
    without = { "devpts" },
    attack = function (t)
      local ct = t:container()
      lib.inside(ct, "touch /bait; mount --bind /bait /dev/pts/ptmx")
      return opened(t, ct, "/bait")
    end,
  },
  {
    name = "/dev/pts is a file system that never answers",
    without = { "entry_deadline" },
    hangs = true,
    waits = true,
    attack = function (t)
      local ct = lib.silent(t, "/dev/pts")
      local result, message = ct:exec { "true", terminal = true }
      return result ~= nil, message
    end,
  },
  {
    name = "a device of the host is the command's stream: it gets a new owner",
    without = { "chown_devices" },
    attack = function (t)
      local ct = t:container()
      local node = ct.dir .. "/null"
      t:device(node, "c", 1, 3)
      local status, _, err = t:command(ct, { "exec", "-u", "1000", ct.id, "true" }, { stdin = node })
      assert(status == 0, err)
      local owner = require "ctrexec.core".file.stat(node).uid
      return owner ~= 0, "the device belongs to user " .. owner
    end,
  },
}
