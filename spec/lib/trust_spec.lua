-- The check of ownership of all files that ctrexec obeys, under the rules of its two users: the state of containers,
-- which is opened step by step, and the site's files, which a reader finds by their path.
local core = require "ctrexec.core"
local readers = require "ctrexec.lib.reader"
local trust = require "ctrexec.lib.trust"
local unwind = require "ctrexec.lib.unwind"
local tool = require "tests.lib.tool"

local is_root = core.process.ids().euid == 0

describe("trust", function ()
  local path

  before_each(function ()
    path = tool.folder()
    tool.sh("mkdir %s", path .. "/folder")
    tool.write(path .. "/folder/file", "text")
    tool.sh("chmod -R u=rwX,go=rX %s", path .. "/folder")
  end)
  after_each(function () tool.remove(path) end)

  local function change(command, name)
    tool.sh(command .. " %s", path .. "/" .. name)
  end

  -- The results of a function that unwinds.
  local function results(f, ...)
    return { unwind.guarded(f, ...) }
  end

  local function directory(name)
    return (assert(trust.directory(path .. "/" .. name)))
  end

  describe("demands of a directory", function ()
    local function demanded(rules)
      local fd <close> = directory "folder"
      return select(2, unwind.guarded(trust.demand, fd, "PATH", rules)) or true
    end

    it("that nobody else can write it", function ()
      assert.is_true(demanded())
      change("chmod 775", "folder")
      assert.equal("PATH: can be written by group or others (mode 0775)", demanded())
      change("chmod 757", "folder")
      assert.equal("PATH: can be written by group or others (mode 0757)", demanded())
    end)

    it("no less where it is sticky, unless the rules allow that", function ()
      change("chmod 1777", "folder")
      assert.equal("PATH: can be written by group or others (mode 1777)", demanded())
      assert.is_true(demanded { sticky = true })
      change("chmod 777", "folder")
      assert.equal("PATH: can be written by group or others (mode 0777)", demanded { sticky = true })
    end)

    it("that it is root's or one's own, or somebody's whom the rules allow", function ()
      if not is_root then return pending "only root can give a folder away" end
      change("chown 12345", "folder")
      assert.equal("PATH: is owned by user 12345, must be owned by root", demanded())
      assert.equal("PATH: is owned by user 12345, must be owned by root",
        demanded { owner = function (uid) return uid == 12346 end })
      assert.is_true(demanded { owner = function (uid) return uid == 12345 end })
    end)
  end)

  describe("opens", function ()
    it("a directory, a directory in it and a file", function ()
      local root <close> = directory ""
      local folder <close> = assert(trust.entry(root, "folder", "PATH"))
      local file <close> = assert(trust.file(folder, "file", "PATH"))
      local text, status = trust.read(file, "PATH")
      assert.equal("text", text)
      assert.equal(4, status.size)
    end)

    it("nothing where there is nothing", function ()
      local root <close> = directory ""
      assert.same({}, results(trust.directory, path .. "/none"))
      assert.same({}, results(trust.entry, root, "none", "PATH"))
      assert.same({}, results(trust.file, root, ("x"):rep(300), "PATH"))
    end)

    it("no symbolic link in a directory", function ()
      tool.sh("ln -s %s %s", path .. "/folder", path .. "/link")
      tool.sh("ln -s %s %s", path .. "/folder/file", path .. "/linked")
      local root <close> = directory ""
      assert.same({ nil, "PATH: is a symbolic link", "bad_state" }, results(trust.file, root, "linked", "PATH"))
      assert.is_nil(trust.entry(root, "link", "PATH")) -- not a directory
      local followed <close> = assert(trust.directory(path .. "/link"))
      assert.is_truthy(followed)
    end)
  end)

  describe("reads", function ()
    local function read(name, rules)
      local root <close> = directory "folder"
      local file <close> = trust.file(root, name, "PATH")
      return results(trust.read, file, "PATH", rules)
    end

    it("a plain file alone, and does not wait for a fifo", function ()
      tool.sh("mkdir %s", path .. "/folder/inner")
      tool.sh("mkfifo %s", path .. "/folder/fifo")
      assert.same({ nil, "read PATH: is a directory", "bad_state" }, read "inner")
      assert.same({ nil, "PATH: is a fifo, must be a plain file", "bad_state" }, read "fifo")
      assert.same({ nil, "PATH: is a fifo, must be a plain file", "other" }, read("fifo", { code = "other" }))
    end)

    it("what nobody else can write", function ()
      change("chmod 664", "folder/file")
      assert.same({ nil, "PATH: can be written by group or others (mode 0664)", "untrusted" }, read "file")
    end)

    it("no more than the rules allow", function ()
      tool.sh("truncate -s 1048577 %s", path .. "/folder/file")
      assert.equal(1048577, #read "file"[1])
      assert.same({ nil, "PATH: larger than 1 MiB", "bad_state" }, read("file", { max_size = 1 << 20 }))
      tool.sh("truncate -s 16777217 %s", path .. "/folder/file")
      assert.same({ nil, "PATH: larger than 16 MiB", "bad_state" }, read "file")
    end)
  end)

  describe("has a reader that", function ()
    local function read(name)
      local reader <close> = readers.new()
      return { reader:read(path .. "/" .. name) }
    end

    it("reads a file by its path, and says where it really lies", function ()
      tool.sh("ln -s %s %s", path .. "/folder", path .. "/link")
      assert.same({ "text", path .. "/folder/file" }, read "link/file")
    end)

    it("lists a folder, and reads what lies in it", function ()
      tool.write(path .. "/folder/another", "x")
      tool.sh("ln -s %s %s", path .. "/folder/file", path .. "/folder/link")
      local reader <close> = readers.new()
      local names, real = reader:list(path .. "/folder")
      assert.same({ "another", "file", "link" }, names)
      assert.equal(path .. "/folder", real)
      assert.equal("text", (reader:read(path .. "/folder/file")))
      assert.same({ "text", path .. "/folder/file" }, { reader:read(path .. "/folder/link") })
      assert.equal("not_found", (select(3, reader:read(path .. "/folder/none"))))
    end)

    it("demands of a folder further up what it demands of the file, but that it may be sticky", function ()
      tool.sh("mkdir %s", path .. "/folder/inner")
      tool.write(path .. "/folder/inner/file", "x")
      change("chmod go-w", "folder/inner/file")
      change("chmod 777", "folder")
      assert.same({ nil, path .. "/folder: can be written by group or others (mode 0777)", "untrusted" },
        read "folder/inner/file")
      change("chmod 1777", "folder")
      assert.equal("x", read "folder/inner/file"[1])
      assert.same({ nil, path .. "/folder: can be written by group or others (mode 1777)", "untrusted" },
        read "folder/file")
      local reader <close> = readers.new()
      assert.equal("x", (reader:read(path .. "/folder/inner/file")))
      assert.is_nil((reader:folder(path .. "/folder")))
    end)

    it("tells what is missing from what is refused", function ()
      assert.equal("not_found", read "folder/none"[3])
      assert.equal("not_found", read "folder/file/none"[3])
      assert.same({ nil, ("read %s/folder: is a directory"):format(path), "untrusted" }, read "folder")
      local reader <close> = readers.new()
      assert.same({ nil, "read /: is a directory", "untrusted" }, { reader:read "/" })
      tool.sh("truncate -s 1048577 %s", path .. "/folder/file")
      assert.same({ nil, path .. "/folder/file: larger than 1 MiB", "untrusted" }, read "folder/file")
    end)

    it("checks a program without reading it", function ()
      local reader <close> = readers.new()
      local real, status = reader:program(path .. "/folder/file")
      assert.equal(path .. "/folder/file", real)
      assert.equal(4, status.size)
      change("chmod 722", "folder/file")
      assert.is_nil((reader:program(path .. "/folder/file")))
      assert.same({ nil, ("read %s/folder: is a directory"):format(path), "untrusted" },
        { reader:program(path .. "/folder") })
    end)

    it("leaves no descriptor open", function ()
      local function count() return #core.file.list "/proc/self/fd" end
      collectgarbage()
      local before = count()
      for _ = 1, 5 do
        read "folder/file"
        read "folder"
        local reader <close> = readers.new()
        reader:list(path .. "/folder")
        reader:program(path .. "/folder/file")
      end
      collectgarbage()
      assert.equal(before, count())
    end)
  end)
end)
