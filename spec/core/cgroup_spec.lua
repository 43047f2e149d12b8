local cgroups = require "tests.lib.cgroups"
local core = require "ctrexec.core"
local support = require "spec.core.support"
local tool = require "tests.lib.tool"

local cgroup, errno = core.cgroup, support.errno

local mounts = assert(cgroup.mounts())

-- The functions that undo what a test did; the last one is called first.
local undo = {}

local function later(action)
  undo[#undo + 1] = action
end

after_each(function ()
  while #undo > 0 do
    table.remove(undo)()
  end
end)

-- Makes a cgroup that is removed at the end of the test.
local function create(parent, name)
  local group = assert(cgroup.create(parent, name))
  later(function ()
    group:close()
    tool.eventually(function ()
      local removed, _, code = cgroup.remove(parent, name)
      return removed or code == errno.ENOENT
    end)
  end)
  return group
end

-- Declares a test that gets a cgroup of its own below the root of hierarchy `key`, and its name.
local function with_cgroup(key, title, test)
  it(title, function ()
    local own, reason = cgroups.new(key)
    if not own then
      return pending(reason)
    end
    later(function ()
      own:close()
    end)
    return test(own.fd, own.name)
  end)
end

-- Puts a child into a cgroup; it ends with the test.
local function enter(group, child)
  later(function ()
    support.finish(child)
  end)
  assert(cgroup.write(group, "cgroup.procs", tostring(child.pid)))
  return child
end

local function sleeper_in(group)
  return enter(group, support.sleeper())
end

local function directory()
  local path = tool.folder()
  later(function ()
    tool.remove(path)
  end)
  return path
end

-- The lines of cgroup.mounts() in a mount namespace of its own, sorted.
local function mounts_after(setup)
  return support.lua_in_mounts(setup, [[
    local lines = {}
    for name, point in pairs(require "ctrexec.core".cgroup.mounts()) do
      lines[#lines + 1] = ("%s=%q"):format(name, point)
    end
    table.sort(lines)
    io.write(table.concat(lines, "\n"))]])
end

describe("cgroup.mounts", function ()
  it("gives each hierarchy where it is", function ()
    local count = 0
    for name, point in pairs(mounts) do
      local fd <close> = assert(core.file.open(point, { path = true }))
      assert.equal(name == "" and 0x63677270 or 0x27e0eb, core.file.fstype(fd))
      count = count + 1
    end
    assert.is_true(count > 0)
    for _, entry in ipairs(cgroup.of(core.process.ids().pid)) do
      for _, controller in ipairs(entry.controllers) do
        if os.execute(("grep -qE ' - cgroup .*[ ,]%s(,|$)' /proc/self/mountinfo"):format(controller)) then
          assert.is_string(mounts[controller], controller)
        end
      end
    end
  end)

  it("finds version 2 alone", function ()
    local output, reason = mounts_after "umount -R /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup"
    if not output then
      return pending(reason)
    end
    assert.equal('="/sys/fs/cgroup"', output)
  end)

  it("finds version 2 beside version 1, wherever it is", function ()
    local path = directory()
    local output, reason = mounts_after(("umount -R /sys/fs/cgroup; mount -t cgroup2 none %s"):format(path))
    if not output then
      return pending(reason)
    end
    assert.equal(("=%q"):format(path), output)
  end)

  it("finds nothing where nothing is mounted", function ()
    local output, reason = mounts_after "umount -R /sys/fs/cgroup"
    if not output then
      return pending(reason)
    end
    assert.equal("", output)
  end)

  it("does not give a mount that another hides", function ()
    local output, reason = mounts_after "mount -t tmpfs none /sys/fs/cgroup"
    if not output then
      return pending(reason)
    end
    assert.equal("", output)
  end)

  it("reads a mount point with unusual characters", function ()
    local path = directory()
    local output, reason = mounts_after(([[
      umount -R /sys/fs/cgroup
      point="%s/$(printf 'a b\tc\\040d\ne\\')"
      mkdir "$point"
      mount -t cgroup2 none "$point"]]):format(path))
    if not output then
      return pending(reason)
    end
    assert.equal(("=%q"):format(path .. "/a b\tc\\040d\ne\\"), output)
  end)

  it("reads a mount without a source", function ()
    local output, reason = mounts_after "umount -R /sys/fs/cgroup; mount -t cgroup2 '' /sys/fs/cgroup"
    if not output then
      return pending(reason)
    end
    assert.equal('="/sys/fs/cgroup"', output)
  end)

  with_cgroup("", "prefers a mount of the whole hierarchy to one of a part", function (_, name)
    local path = directory()
    tool.output(("mkdir %s/part %s/whole"):format(path, path))
    local part = ([[
      mount --bind %s/%s %s/part
      umount -R /sys/fs/cgroup
    ]]):format(mounts[""], name, path)
    local output, reason = mounts_after(part)
    if not output then
      return pending(reason)
    end
    assert.equal(("=%q"):format(path .. "/part"), output)
    assert.equal(("=%q"):format(path .. "/whole"),
      (mounts_after(part .. "mount -t cgroup2 none " .. path .. "/whole")))
  end)

  it("takes controllers that are mounted together, named hierarchies and no other option", function ()
    if not mounts.freezer or not mounts.pids then
      return pending "no version 1 freezer and pids hierarchies are mounted"
    end
    -- The kernel's own table with the options of two version 1 mounts replaced.
    local output, reason = mounts_after([[
      table=$(mktemp)
      sed -E -e '/ - cgroup .*[ ,]freezer$/s/[^ ]*$/rw,seclabel,xattr,cpu,cpuacct,noprefix,release_agent=\/bin\/x/' \
        -e '/ - cgroup .*[ ,]pids$/s/[^ ]*$/rw,clone_children,none,name=elogind/' \
        -e '/ - cgroup .*[ ,](cpu|cpuacct)$/d' -e '/name=systemd$/d' /proc/$$/task/$$/mountinfo >"$table"
      mount --bind "$table" /proc/$$/task/$$/mountinfo
      rm "$table"]])
    if not output then
      return pending(reason)
    end
    local expected = {}
    for name, point in pairs(mounts) do
      if name == "freezer" then
        expected[#expected + 1] = ("cpu=%q"):format(point)
        expected[#expected + 1] = ("cpuacct=%q"):format(point)
      elseif name == "pids" then
        expected[#expected + 1] = ("name=elogind=%q"):format(point)
      elseif name ~= "cpu" and name ~= "cpuacct" and name ~= "name=systemd" then
        expected[#expected + 1] = ("%s=%q"):format(name, point)
      end
    end
    table.sort(expected)
    assert.equal(table.concat(expected, "\n"), output)
  end)

  it("survives any table", function ()
    for _, lines in ipairs {
      "", "\n\n\n", "x", "1 2 0:1 / / rw - cgroup2 cgroup2", "1 2 0:1 / / rw cgroup2 none rw",
      "99999999999999999999 2 0:1 / / rw - cgroup2 none rw", "1 2 0:1 / \\057sys\\000 rw - cgroup2 none rw",
      "1 2 0:1 / /" .. ("x"):rep(5000) .. " rw - cgroup2 none rw", "1 2 0:1 / /\\4 rw - cgroup none rw,cpu",
      "- - - - - - - - - - -", "1 2 0:1 / / rw - cgroup none ,,,=,name=",
    } do
      local output, reason = mounts_after(("table=$(mktemp)\nprintf %%s %s >$table\n"):format(tool.quote(lines))
        .. "mount --bind $table /proc/$$/task/$$/mountinfo; rm $table")
      if not output then
        return pending(reason)
      end
      assert.equal("", output)
    end
  end)
end)

describe("cgroup.of", function ()
  it("gives what the kernel says", function ()
    local child = support.sleeper()
    later(function () support.finish(child) end)
    local lines = {}
    for i, entry in ipairs(assert(cgroup.of(child.pid))) do
      lines[i] = ("%d:%s:%s\n"):format(entry.hierarchy, table.concat(entry.controllers, ","), entry.path)
    end
    assert.equal(tool.output(("cat /proc/%d/cgroup"):format(child.pid)), table.concat(lines))
  end)

  with_cgroup("", "gives the path below the mount", function (group, name)
    local odd = create(group, "a b:c,d\\x")
    local child = sleeper_in(odd)
    local path
    for _, entry in ipairs(cgroup.of(child.pid)) do
      if entry.hierarchy == 0 then
        assert.same({}, entry.controllers)
        path = entry.path
      end
    end
    assert.equal("/" .. name .. "/a b:c,d\\x", path)
    local again <close> = assert(cgroup.open(mounts[""], path))
    assert.same({ child.pid }, cgroup.procs(again))
  end)

  it("splits controllers that are mounted together, and passes over what is malformed", function ()
    local child = support.sleeper()
    later(function () support.finish(child) end)
    local output, reason = support.lua_in_mounts(([[
      table=$(mktemp)
      printf '%%s\n' 5:cpu,cpuacct:/a 3:name=systemd:/b x '' x:y:/z 7:net_cls 8:pids:relative 0::/c:d >$table
      mount --bind $table /proc/%d/cgroup
      rm $table]]):format(child.pid), ([[
      for _, entry in ipairs(require "ctrexec.core".cgroup.of(%d)) do
        print(entry.hierarchy, table.concat(entry.controllers, "+"), #entry.controllers, entry.path)
      end]]):format(child.pid))
    if not output then
      return pending(reason)
    end
    assert.equal("5\tcpu+cpuacct\t2\t/a\n3\tname=systemd\t1\t/b\n0\t\t0\t/c:d\n", output)
  end)

  it("says that there is no such process", function ()
    for _, pid in ipairs { 0, -1, 1 << 31, (1 << 32) + 1 } do
      assert.same({ nil, "process -1: No such process", errno.ESRCH }, { cgroup.of(pid) })
    end
  end)
end)

describe("cgroup.open", function ()
  with_cgroup("", "opens a cgroup below a mount, close-on-exec", function (group, name)
    for _, path in ipairs { "/" .. name, "//" .. name .. "/", "/" .. name .. "/../" .. name } do
      local fd <close> = assert(cgroup.open(mounts[""], path))
      assert.equal(core.file.stat(group).ino, core.file.stat(fd).ino)
      assert.is_true(core.fd.cloexec(fd))
    end
    local root <close> = assert(cgroup.open(mounts[""], "/"))
    assert.equal(core.file.stat(mounts[""]).ino, core.file.stat(root).ino)
  end)

  with_cgroup("", "does not lead out of the mount", function (_, name)
    local before = support.open_descriptors()
    for path, code in pairs {
      ["/.."] = errno.EXDEV, ["/" .. name .. "/../../unified"] = errno.EXDEV, [""] = errno.ENOENT,
      [name] = errno.ENOENT, ["/" .. name .. "\0/.."] = errno.ENOENT, ["/" .. name .. "/none"] = errno.ENOENT,
      ["/cgroup.procs"] = errno.ENOTDIR,
    } do
      assert.equal(code, select(3, cgroup.open(mounts[""], path)), path)
    end
    assert.same({ nil, ("cgroup /none in %s: No such file or directory"):format(mounts[""]), errno.ENOENT },
      { cgroup.open(mounts[""], "/none") })
    assert.equal(before, support.open_descriptors())
  end)

  with_cgroup("", "crosses no mount", function (_, name)
    local output, reason = support.lua_in_mounts(("mount -t tmpfs none %s/%s"):format(mounts[""], name), ([[
      io.write(select(3, require "ctrexec.core".cgroup.open(%q, "/%s")))]]):format(mounts[""], name))
    if not output then
      return pending(reason)
    end
    assert.equal(tostring(errno.EXDEV), output)
  end)

  it("takes nothing else for a cgroup file system", function ()
    local path = directory()
    tool.output(("mkdir %s/group"):format(path))
    assert.same({ nil, ("cgroup /group in %s: Invalid argument"):format(path), errno.EINVAL },
      { cgroup.open(path, "/group") })
    assert.equal(errno.ENOENT, select(3, cgroup.open(path .. "/none", "/")))
  end)
end)

describe("cgroup control files", function ()
  with_cgroup("", "are read and written", function (group)
    local child = sleeper_in(group)
    assert.equal(child.pid .. "\n", cgroup.read(group, "cgroup.procs"))
    assert.same({ child.pid }, cgroup.procs(group))
    local fd <close> = assert(cgroup.file(group, "cgroup.procs", "r"))
    assert.is_true(core.fd.cloexec(fd))
    assert.equal(child.pid .. "\n", core.file.read_all(fd, 100))
    local root <close> = assert(cgroup.open(mounts[""], "/"))
    local writer <close> = assert(cgroup.file(root, "cgroup.procs", "w"))
    core.fd.write(writer, tostring(child.pid))
    assert.same({}, cgroup.procs(group))
  end)

  with_cgroup("", "say why not", function (group)
    assert.same({ nil, "cgroup file cgroup.none: No such file or directory", errno.ENOENT },
      { cgroup.read(group, "cgroup.none") })
    assert.same({ nil, "cgroup file cgroup.none: No such file or directory", errno.ENOENT },
      { cgroup.write(group, "cgroup.none", "1") })
    assert.equal(errno.EXDEV, select(3, cgroup.read(group, "../cgroup.procs")))
    assert.equal(errno.EXDEV, select(3, cgroup.write(group, "../cgroup.procs", "0")))
    assert.equal(errno.EXDEV, select(3, cgroup.file(group, "/etc/passwd", "r")))
    assert.equal(errno.EINVAL, select(3, cgroup.write(group, "cgroup.procs", "x")))
    assert.equal(errno.ESRCH, select(3, cgroup.write(group, "cgroup.procs", tostring((1 << 31) - 1))))
    assert.error(function () cgroup.file(group, "cgroup.procs", "rw") end)
  end)
end)

describe("cgroup.create and cgroup.remove", function ()
  with_cgroup("", "make and delete one level", function (group)
    local inner = create(group, "inner")
    assert.is_true(core.fd.cloexec(inner))
    assert.same({}, cgroup.procs(inner))
    assert.same({ nil, "create cgroup inner: File exists", errno.EEXIST }, { cgroup.create(group, "inner") })
    local child = sleeper_in(inner)
    assert.same({ nil, "remove cgroup inner: Device or resource busy", errno.EBUSY }, { cgroup.remove(group, "inner") })
    core.pidfd.send_signal(child.pidfd, core.signal.numbers.KILL)
    core.pidfd.wait(child.pidfd)
    tool.eventually(function () return cgroup.remove(group, "inner") end)
    assert.equal(errno.ENOENT, select(3, cgroup.remove(group, "inner")))
    assert.equal(errno.ENOENT, select(3, cgroup.procs(inner)))
    for _, name in ipairs { "", ".", "..", "a/b", "/", "../x", "x\0y" } do
      assert.equal(errno.EINVAL, select(3, cgroup.create(group, name)), name)
      assert.equal(errno.EINVAL, select(3, cgroup.remove(group, name)), name)
    end
  end)
end)

describe("cgroup.procs", function ()
  with_cgroup("", "does not give a process that we cannot see", function (group, name)
    if not os.execute "unshare --pid --fork --mount-proc true 2>/dev/null" then
      return pending "no pid namespace can be made here"
    end
    sleeper_in(group)
    assert.equal("0\n0", support.lua("exec unshare --pid --fork --mount-proc", ([[
      local cgroup = require "ctrexec.core".cgroup
      local group = assert(cgroup.open(%q, "/%s"))
      io.write(cgroup.read(group, "cgroup.procs"), #cgroup.procs(group))]]):format(mounts[""], name)))
  end)

  with_cgroup("", "gives all", function (group)
    local expected = {}
    for i = 1, 20 do
      expected[i] = sleeper_in(group).pid
    end
    local pids = cgroup.procs(group)
    table.sort(expected)
    table.sort(pids)
    assert.same(expected, pids)
  end)
end)

describe("cgroup.frozen", function ()
  with_cgroup("", "follows the freezer of version 2", function (group)
    assert.is_false(cgroup.frozen(group))
    local inner = create(group, "inner")
    sleeper_in(inner)
    assert(cgroup.write(group, "cgroup.freeze", "1"))
    assert.is_true(cgroup.frozen(group))
    tool.eventually(function () return cgroup.frozen(inner) end)
    assert(cgroup.write(group, "cgroup.freeze", "0"))
    assert.is_false(cgroup.frozen(group))
    tool.eventually(function () return not cgroup.frozen(inner) end)
  end)

  with_cgroup("freezer", "follows the freezer of version 1", function (group)
    assert.is_false(cgroup.frozen(group))
    local inner = create(group, "inner")
    sleeper_in(inner)
    assert(cgroup.write(group, "freezer.state", "FROZEN"))
    assert.is_true(cgroup.frozen(group))
    assert.is_true(cgroup.frozen(inner))
    assert(cgroup.write(group, "freezer.state", "THAWED"))
    assert.is_false(cgroup.frozen(group))
    assert.is_false(cgroup.frozen(inner))
  end)

  it("is false for the root of a hierarchy that can freeze", function ()
    for _, key in ipairs { "", "freezer" } do
      if mounts[key] then
        local root <close> = assert(cgroup.open(mounts[key], "/"))
        assert.is_false(cgroup.frozen(root))
      end
    end
  end)

  with_cgroup("pids", "is unknown in another hierarchy", function (group)
    assert.same({ nil, "cgroup freezer: No such file or directory", errno.ENOENT }, { cgroup.frozen(group) })
  end)

  it("is unknown elsewhere", function ()
    local fd <close> = assert(core.file.open("/", { path = true }))
    assert.same({ nil, "cgroup freezer: Invalid argument", errno.EINVAL }, { cgroup.frozen(fd) })
    assert.equal(errno.EBADF, select(3, cgroup.frozen(1000)))
  end)
end)

describe("cgroup.kill", function ()
  with_cgroup("", "kills all that is in a cgroup and below it", function (group)
    if not cgroup.file(group, "cgroup.kill", "w") then
      return pending "the kernel is older than Linux 5.14"
    end
    local inner = create(group, "inner")
    local first, second = sleeper_in(group), sleeper_in(inner)
    assert.is_true(cgroup.kill(group))
    for _, child in ipairs { first, second } do
      local result = core.pidfd.wait(child.pidfd)
      assert.equal("killed", result.reason)
      assert.equal(core.signal.numbers.KILL, result.status)
    end
  end)

  with_cgroup("pids", "says that version 1 has no such thing", function (group)
    assert.same({ nil, "cgroup.kill: No such file or directory", errno.ENOENT }, { cgroup.kill(group) })
  end)
end)

describe("cgroup.oom_kills", function ()
  local function count(group, limits)
    for name, value in pairs(limits) do
      assert(cgroup.write(group, name, value))
    end
    assert.equal(0, cgroup.oom_kills(group))
    local child = enter(group, support.child [[kill -STOP $$; exec perl -e '$x = "x" x (256 << 20); sleep 20']])
    tool.eventually(function () return core.process.stat(child.pid).state == "T" end)
    core.pidfd.send_signal(child.pidfd, core.signal.numbers.CONT)
    assert.equal(core.signal.numbers.KILL, core.pidfd.wait(child.pidfd).status)
    assert.equal(1, cgroup.oom_kills(group))
  end

  with_cgroup("memory", "counts in version 1", function (group)
    count(group, { ["memory.limit_in_bytes"] = "8388608", ["memory.swappiness"] = "0" })
  end)

  with_cgroup("", "counts in version 2", function (group)
    if not cgroup.read(group, "memory.max") then
      return pending "the memory controller is not in version 2"
    end
    count(group, { ["memory.max"] = "8388608", ["memory.swap.max"] = "0" })
  end)

  with_cgroup("", "says when the controller is not there", function (group)
    if cgroup.read(group, "memory.events") then
      return pending "the memory controller is in version 2"
    end
    assert.same({ nil, "cgroup memory events: No such file or directory", errno.ENOENT }, { cgroup.oom_kills(group) })
  end)
end)
