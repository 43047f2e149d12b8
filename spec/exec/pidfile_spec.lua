local core = require "ctrexec.core"
local pidfile = require "ctrexec.exec.pidfile"
local tool = require "tests.lib.tool"

local folder

before_each(function() folder = tool.folder() end)
after_each(function() tool.remove(folder) end)

local function assert_fails(message, ok, text, code)
  assert.is_nil(ok)
  assert.equal(message, text)
  assert.equal("system", code)
end

describe("pidfile.check", function()
  it("finds nothing wrong with a new file or an old one, and changes nothing", function()
    assert.is_true(pidfile.check(folder .. "/pid"))
    assert.same({}, core.file.list(folder))
    tool.write(folder .. "/pid", "old")
    assert.is_true(pidfile.check(folder .. "/pid"))
    assert.equal("old", tool.read(folder .. "/pid"))
    assert.is_true(pidfile.check "no-such-file-of-the-working-directory")
  end)

  it("refuses a folder, in runc's words", function()
    tool.sh("mkdir %s", folder .. "/pid")
    assert_fails(("rename %s/.pid %s/pid: file exists"):format(folder, folder), pidfile.check(folder .. "/pid"))
    assert_fails(("rename %s/.lua %s/lua: file exists"):format(tool.repository, tool.repository), pidfile.check "lua")
  end)

  it("refuses a folder that is not there, in runc's words", function()
    assert_fails(("open %s/none/.pid: no such file or directory"):format(folder),
      pidfile.check(folder .. "/none/pid"))
    assert_fails(("open %s/none/.pid: no such file or directory"):format(tool.repository), pidfile.check "none/pid")
    tool.write(folder .. "/file", "")
    assert_fails(("open %s/file/.pid: not a directory"):format(folder), pidfile.check(folder .. "/file/pid"))
  end)
end)

describe("pidfile.write", function()
  it("writes the digits only, for everyone to read", function()
    assert.is_true(pidfile.write(folder .. "/pid", 1234567))
    assert.equal("1234567", tool.read(folder .. "/pid"))
    assert.equal(tool.line "printf '%o' $((0644 & ~$(umask)))",
      ("%o"):format(core.file.stat(folder .. "/pid").mode & tonumber("777", 8)))
    assert.same({ "pid" }, core.file.list(folder))
  end)

  it("puts a new file in the place of what was there", function()
    tool.write(folder .. "/other", "other's")
    tool.sh("ln -s other %s", folder .. "/pid")
    tool.write(folder .. "/old", "a longer text")
    local old <close> = assert(core.file.open(folder .. "/old"))
    for _, name in ipairs { "/pid", "/old" } do assert.is_true(pidfile.write(folder .. name, 5)) end
    assert.equal("5", tool.read(folder .. "/pid"))
    assert.equal("other's", tool.read(folder .. "/other"))
    assert.equal("5", tool.read(folder .. "/old"))
    assert.equal("a longer text", core.fd.read(old, 100))
  end)

  it("says why there is none, and leaves nothing", function()
    assert_fails(("open %s/none/.pid: no such file or directory"):format(folder),
      pidfile.write(folder .. "/none/pid", 5))
    tool.sh("mkdir %s", folder .. "/pid")
    assert.is_nil(pidfile.write(folder .. "/pid", 5))
    assert.same({ "pid" }, core.file.list(folder))
  end)
end)
