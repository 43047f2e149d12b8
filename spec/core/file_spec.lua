local core = require "ctrexec.core"
local support = require "spec.core.support"
local tool = require "tests.lib.tool"

local file, errno = core.file, support.errno

-- Asserts nil, a message that ends as given, and the errno.
local function assert_fails(code, message, ...)
  local value, text, number = ...
  assert.is_nil(value)
  assert.equal(code, number)
  assert.equal(message, text)
end

describe("file", function ()
  local directory

  before_each(function ()
    directory = tool.folder()
  end)

  after_each(function ()
    tool.remove(directory)
  end)

  local function path(name)
    return directory .. "/" .. name
  end

  local function write(name, data)
    tool.write(path(name), data)
    return path(name)
  end

  local function read(name)
    return tool.read(path(name))
  end

  describe("open", function ()
    it("reads by default, close-on-exec", function ()
      local fd <close> = assert(file.open(write("a", "text")))
      assert.is_true(core.fd.cloexec(fd))
      assert.equal("text", core.fd.read(fd, 100))
      assert.equal(errno.EBADF, select(3, core.fd.write(fd, "x")))
    end)

    it("creates with the mode given, less the umask", function ()
      local program = ("require 'ctrexec.core'.file.open(%q, { write = true, create = true }, 438)"):format(path "new")
      support.lua("umask 027;", program)
      assert.equal(tonumber("640", 8), file.stat(path "new").mode)
      assert(file.open(path "private", { write = true, create = true })):close()
      assert.equal(tonumber("600", 8), file.stat(path "private").mode)
    end)

    it("obeys every flag", function ()
      local name = write("a", "one")
      do
        local fd <close> = assert(file.open(name, { append = true }))
        core.fd.write(fd, " two")
      end
      assert.equal("one two", read "a")
      do
        local fd <close> = assert(file.open(name, { read = true, write = true }))
        core.fd.write(fd, "ONE")
        assert.equal(" two", core.fd.read(fd, 100))
      end
      assert(file.open(name, { write = true, truncate = true })):close()
      assert.equal("", read "a")
      assert_fails(errno.EEXIST, "open " .. name .. ": File exists",
        file.open(name, { write = true, create = true, exclusive = true }))
      assert_fails(errno.ENOTDIR, "open " .. name .. ": Not a directory", file.open(name, { directory = true }))
      tool.output(("ln -s a %s; mkfifo %s"):format(path "link", path "fifo"))
      assert_fails(errno.ELOOP, "open " .. path "link" .. ": Too many levels of symbolic links",
        file.open(path "link", { nofollow = true }))
      local link <close> = assert(file.open(path "link", { path = true, nofollow = true }))
      assert.equal("link", file.stat(link).type)
      assert.equal(errno.EBADF, select(3, core.fd.read(link, 1)))
      local fifo <close> = assert(file.open(path "fifo", { nonblock = true }))
      assert.equal("", core.fd.read(fifo, 1))
    end)

    it("takes false for a flag that is not set", function ()
      assert_fails(errno.ENOENT, "open " .. path "none" .. ": No such file or directory",
        file.open(path "none", { create = false }))
    end)

    it("refuses a flag that it does not know", function ()
      assert.error_matches(function () file.open(directory, { nofolow = true }) end,
        "bad argument #2 to 'open' %(unknown flag 'nofolow'%)")
      assert.error_matches(function () file.open(directory, { "read" }) end, "flags are named")
      assert.error(function () file.open(directory, "r") end)
      assert.error_matches(function () file.open(directory, {}, 65536) end, "mode out of range")
    end)

    it("never cuts a path at a NUL byte", function ()
      local name = write("a", "text")
      assert.equal(errno.ENOENT, select(3, file.open(name .. "\0.txt")))
      assert.equal(errno.ENOENT, select(3, file.stat(name .. "\0")))
      assert.equal(errno.ENOENT, select(3, file.remove(name .. "\0")))
      assert.equal(errno.ENOENT, select(3, file.rename(name, name .. "\0")))
      assert.equal(errno.ENOENT, select(3, file.realpath(name .. "\0")))
      assert.equal(errno.ENOENT, select(3, file.list(directory .. "\0")))
      assert.equal(errno.ENOENT, select(3, file.write_atomic(name .. "\0", "other")))
      assert.equal("text", read "a")
    end)
  end)

  describe("openat", function ()
    local dir

    before_each(function ()
      tool.output(("mkdir %s; ln -s /proc/self/exe %s; ln -s in/file %s; ln -s .. %s")
        :format(path "in", path "out", path "inner", path "in/up"))
      write("in/file", "inside")
      dir = assert(file.open(directory, { path = true, directory = true }))
    end)

    after_each(function ()
      dir:close()
    end)

    local function open(name, resolve)
      local fd, message, code = file.openat(dir, name, nil, resolve)
      if not fd then
        return nil, message, code
      end
      local data = core.fd.read(fd, 100)
      assert.is_true(core.fd.cloexec(fd))
      fd:close()
      return data
    end

    it("opens below a directory", function ()
      assert.equal("inside", open "in/file")
      assert.equal("inside", open("inner", { beneath = true }))
    end)

    it("stays beneath", function ()
      for _, name in ipairs { "..", "in/up/..", "/etc/passwd", "out" } do
        assert.equal(errno.EXDEV, select(3, open(name, { beneath = true })), name)
      end
    end)

    it("takes the directory for the root", function ()
      local fd <close> = assert(file.openat(dir, "in/up/../../..", { directory = true }, { in_root = true }))
      assert.equal(file.stat(dir).ino, file.stat(fd).ino)
    end)

    it("meets no link that is not allowed", function ()
      assert.equal(errno.ELOOP, select(3, open("inner", { no_symlinks = true })))
      assert.equal(errno.ELOOP, select(3, open("out", { no_magiclinks = true })))
      assert.equal("inside", open("inner", { no_magiclinks = true }))
    end)

    it("says what to do where openat2 is refused, whatever the filter's answer", function ()
      local deny = "build/tests/deny openat2 "
      if not file.stat "build/tests/deny" then return pending "needs tests/helpers/deny (make test-helpers)" end
      local program = [[
        local core = require "ctrexec.core"
        local _, message, number = core.file.openat(core.file.open("/", { path = true }), "etc", { path = true })
        io.write(message, " ", number)]]
      for _, refusal in ipairs { errno.ENOSYS, errno.EPERM } do
        assert.equal("open etc: openat2(2) is refused to ctrexec, allow it in the seccomp profile that ctrexec runs "
          .. "under " .. errno.ENOSYS, support.lua(deny .. refusal, program))
      end
    end)

    it("crosses no mount", function ()
      local root <close> = assert(file.open("/", { path = true }))
      assert_fails(errno.EXDEV, "open proc/self: Invalid cross-device link",
        file.openat(root, "proc/self", { path = true }, { no_xdev = true }))
      assert(file.openat(root, "proc/self", { path = true })):close()
    end)

    it("creates with a mode", function ()
      assert(file.openat(dir, "made", { write = true, create = true }, { beneath = true }, 256)):close()
      assert.equal(256, file.stat(path "made").mode)
    end)

    it("refuses a protection that it does not know", function ()
      assert.error_matches(function () open("in", { no_symlink = true }) end,
        "bad argument #4 to 'openat' %(unknown flag 'no_symlink'%)")
    end)
  end)

  describe("stat", function ()
    it("tells what a file is", function ()
      local name = write("a", "12345")
      tool.output(("chmod 4751 %s; touch -d @1234567890.5 %s; ln %s %s"):format(name, name, name, path "b"))
      local status = assert(file.stat(name))
      local uid, gid, dev, ino, changed = tool.output("stat -c '%u %g %d %i %Z' " .. name)
        :match "(%d+) (%d+) (%d+) (%d+) (%d+)"
      assert.equal(tonumber(changed), status.ctime // 1)
      status.ctime = nil
      assert.same({
        type = "file", uid = tonumber(uid), gid = tonumber(gid), mode = tonumber("4751", 8), dev = tonumber(dev),
        ino = tonumber(ino), size = 5, nlink = 2, mtime = 1234567890.5,
      }, status)
      local fd <close> = file.open(name)
      assert.same(file.stat(name), file.stat(fd))
      assert.same(file.stat(name), file.stat(fd:fd()))
    end)

    it("tells the types apart", function ()
      tool.output(("mkfifo %s; ln -s fifo %s"):format(path "fifo", path "link"))
      assert.equal("directory", file.stat(directory).type)
      assert.equal("char", file.stat("/dev/null").type)
      assert.equal("fifo", file.stat(path "link").type)
      assert.equal("link", file.stat(path "link", true).type)
      local socket <close> = core.fd.socketpair()
      assert.equal("socket", file.stat(socket).type)
    end)

    it("says why not", function ()
      assert_fails(errno.ENOENT, "stat " .. path "none" .. ": No such file or directory", file.stat(path "none"))
      assert_fails(errno.EBADF, "stat descriptor 1000: Bad file descriptor", file.stat(1000))
      assert.error(function () file.stat(nil) end)
    end)
  end)

  describe("read_all", function ()
    local function read_all(name, limit)
      local fd <close> = assert(file.open(name))
      return file.read_all(fd, limit)
    end

    it("reads to the end, whatever the size", function ()
      for _, size in ipairs { 0, 1, 8191, 8192, 8193, 100000, 1 << 20 } do
        local data = ("\0\255ab"):rep(size // 4 + 1):sub(1, size)
        assert.is_true(data == read_all(write("a", data), size))
      end
    end)

    it("takes no more than the limit", function ()
      for _, size in ipairs { 1, 2, 8192, 8193, 100000 } do
        local value, _, code = read_all(write("a", ("x"):rep(size)), size - 1)
        assert.is_nil(value)
        assert.equal(errno.EFBIG, code)
      end
      assert.equal("", read_all(write("a", ""), 0))
    end)

    it("stops at the limit of an endless file", function ()
      assert.equal(errno.EFBIG, select(3, read_all("/dev/zero", 100000)))
    end)

    it("reads a pipe and what /proc makes up", function ()
      local reader, writer <close> = core.fd.pipe()
      core.fd.write(writer, "one")
      writer:close()
      assert.equal("one", file.read_all(reader, 10))
      assert.equal(tool.output "cat /proc/version", read_all("/proc/version", 1 << 20))
    end)

    it("says why not", function ()
      local fd <close> = assert(file.open(directory))
      assert_fails(21, ("read descriptor %d: Is a directory"):format(fd:fd()), file.read_all(fd, 10))
      assert.error_matches(function () file.read_all(fd, -1) end, "must not be negative")
      assert.error(function () file.read_all(fd) end)
    end)
  end)

  describe("rename and remove", function ()
    it("move and delete", function ()
      write("a", "new")
      write("b", "old")
      assert.is_true(file.rename(path "a", path "b"))
      assert.equal("new", read "b")
      assert.is_true(file.remove(path "b"))
      assert.same({}, file.list(directory))
      assert_fails(errno.ENOENT, "remove " .. path "b" .. ": No such file or directory", file.remove(path "b"))
      assert_fails(errno.ENOENT, ("rename %s to %s: No such file or directory"):format(path "b", path "a"),
        file.rename(path "b", path "a"))
    end)

    it("delete an empty directory and no other", function ()
      tool.output(("mkdir -p %s"):format(path "d/e"))
      assert_fails(errno.ENOTEMPTY, "remove " .. path "d" .. ": Directory not empty", file.remove(path "d"))
      assert.is_true(file.remove(path "d/e"))
      assert.is_true(file.remove(path "d"))
    end)
  end)

  describe("fstype", function ()
    it("tells procfs from others, also by O_PATH", function ()
      local proc <close> = file.open("/proc", { path = true })
      assert.equal(0x9fa0, file.fstype(proc))
      local fd <close> = file.open(directory)
      assert.equal(tonumber(tool.output("stat -f -c %t " .. directory), 16), file.fstype(fd))
      assert_fails(errno.EBADF, "statfs descriptor 1000: Bad file descriptor", file.fstype(1000))
    end)
  end)

  describe("list", function ()
    it("gives all names, by path and by descriptor", function ()
      local expected = {}
      for i = 1, 1500 do
        expected[i] = ("%04d-%s"):format(i, ("n"):rep(i % 40))
        write(expected[i], "")
      end
      write(".hidden", "")
      table.insert(expected, 1, ".hidden")
      local fd <close> = file.open(directory, { path = true })
      for _, dir in ipairs { directory, fd, fd:fd() } do
        local names = assert(file.list(dir))
        table.sort(names)
        assert.same(expected, names)
      end
    end)

    it("says why not, and leaks nothing", function ()
      local before = support.open_descriptors()
      assert_fails(errno.ENOENT, "open directory " .. path "none" .. ": No such file or directory",
        file.list(path "none"))
      assert_fails(errno.ENOTDIR, "open directory /dev/null: Not a directory", file.list("/dev/null"))
      file.list(directory)
      assert.equal(before, support.open_descriptors())
    end)
  end)

  describe("realpath", function ()
    it("resolves links", function ()
      tool.output(("mkdir %s; ln -s d/../d %s"):format(path "d", path "link"))
      assert.equal(tool.output("realpath " .. path "d"):gsub("\n$", ""), file.realpath(path "link/."))
      assert_fails(errno.ENOENT, "realpath " .. path "none" .. ": No such file or directory",
        file.realpath(path "none"))
    end)
  end)

  describe("write_atomic", function ()
    it("makes or replaces a file and leaves nothing else", function ()
      assert.is_true(file.write_atomic(path "a", "1\0\0002"))
      assert.equal("1\0\0002", read "a")
      assert.equal(tonumber("600", 8), file.stat(path "a").mode)
      local inode = file.stat(path "a").ino
      local old <close> = file.open(path "a")
      assert.is_true(file.write_atomic(path "a", "", tonumber("400", 8)))
      assert.equal("", read "a")
      assert.equal(tonumber("400", 8), file.stat(path "a").mode)
      assert.not_equal(inode, file.stat(path "a").ino)
      assert.equal("1\0\0002", file.read_all(old, 10))
      assert.same({ "a" }, file.list(directory))
    end)

    it("replaces a link, not what it names", function ()
      write("target", "kept")
      tool.output(("ln -s target %s"):format(path "link"))
      assert.is_true(file.write_atomic(path "link", "new"))
      assert.equal("kept", read "target")
      assert.equal("file", file.stat(path "link", true).type)
    end)

    it("works in the current directory and with the longest name", function ()
      local name = ("n"):rep(255)
      assert.is_true(file.write_atomic(path(name), "long"))
      assert.equal("long", read(name))
      local program = "assert(require 'ctrexec.core'.file.write_atomic('here', 'x'))"
      support.lua(("cd %s &&"):format(directory), program)
      assert.equal("x", read "here")
    end)

    it("leaves no temporary file when it fails", function ()
      tool.output("mkdir " .. path "d")
      assert_fails(21, "write " .. path "d" .. ": Is a directory", file.write_atomic(path "d", "x"))
      assert_fails(errno.ENOENT, "write " .. path "d/" .. ": No such file or directory",
        file.write_atomic(path "d/", "x"))
      assert_fails(errno.ENOENT, "open " .. path "none/a" .. ": No such file or directory",
        file.write_atomic(path "none/a", "x"))
      assert_fails(errno.ENAMETOOLONG, "write " .. path(("n"):rep(256)) .. ": File name too long",
        file.write_atomic(path(("n"):rep(256)), "x"))
      assert.equal(errno.ENAMETOOLONG, select(3, file.write_atomic(("d/"):rep(3000) .. "a", "x")))
      assert.same({ "d" }, file.list(directory))
      assert.same({}, file.list(path "d"))
    end)

    it("leaves the old file when the disk is full", function ()
      local output, reason = support.lua_in_mounts(("mount -t tmpfs -o size=64k none %s"):format(directory), ([[
        local core = require "ctrexec.core"
        local name = %q .. "/a"
        assert(core.file.write_atomic(name, "old"))
        local ok, message, code = core.file.write_atomic(name, ("x"):rep(1 << 20))
        local fd = core.file.open(name)
        io.write(tostring(ok), " ", code, " ", #core.file.list(%q), " ", core.file.read_all(fd, 10))
      ]]):format(directory, directory))
      if not output then
        return pending(reason)
      end
      assert.equal("nil 28 1 old", output)
    end)

    it("leaks no descriptor", function ()
      local before = support.open_descriptors()
      file.write_atomic(path "a", "x")
      file.write_atomic(path "none/a", "x")
      file.write_atomic(directory, "x")
      assert.equal(before, support.open_descriptors())
    end)
  end)
end)
