local core = require "ctrexec.core"
local support = require "spec.core.support"
local tool = require "tests.lib.tool"

describe("precompiled", function ()
  local directory

  before_each(function ()
    directory = tool.folder()
  end)

  after_each(function ()
    tool.remove(directory)
  end)

  local function write(name, data)
    local path = directory .. "/" .. name
    tool.write(path, data)
    return path
  end

  -- What scripts/precompile.lua writes for one module.
  local function bundle(name, about, code, length)
    local index = string.pack("j", 1) .. string.pack("s1jnjj", name, about.size, about.mtime, 0, length or #code)
    return write("bundle", string.pack("s", index) .. code)
  end

  local function code_of(text)
    return string.dump(assert(load(text)), true)
  end

  local function search(path, name)
    local place = { path = directory .. "/none/?.lua;" .. directory .. "/?.lua" }
    return assert(core.precompiled.searcher(path, place))(name)
  end

  it("loads the compiled form of the source that is there", function ()
    local source = write("module.lua", "return 'source'")
    local loader, where = search(bundle("module", core.file.stat(source), code_of "return 'compiled', ..."), "module")
    assert.equal(source, where)
    local value, name = loader "module"
    assert.equal("compiled", value)
    assert.equal("module", name)
  end)

  it("gives way to a source that was edited", function ()
    local source = write("module.lua", "return 'source'")
    local path = bundle("module", core.file.stat(source), code_of "return 'compiled'")
    write("module.lua", "return 'edited'")
    assert.matches("another source", search(path, "module"))
  end)

  it("gives way to a source that is found first", function ()
    local source = write("module.lua", "return 'source'")
    local path = bundle("module", core.file.stat(source), code_of "return 'compiled'")
    os.execute("mkdir " .. directory .. "/none")
    write("none/module.lua", "return 'the other source'")
    assert.matches("another source", search(path, "module"))
  end)

  it("does not know other modules, nor one without a source", function ()
    local source = write("module.lua", "return 'source'")
    local path = bundle("module", core.file.stat(source), code_of "return 'compiled'")
    assert.matches("no compiled form", search(path, "modul"))
    assert.matches("no compiled form", search(path, "module.sub"))
    os.remove(source)
    assert.matches("another source", search(path, "module"))
  end)

  it("refuses code that is cut short or none", function ()
    local about = core.file.stat(write("module.lua", "return 'source'"))
    assert.is_string(search(bundle("module", about, code_of "return 1", 100000), "module"))
    assert.is_string(search(bundle("module", about, "return 'text'"), "module"))
    assert.is_string(search(bundle("module", about, ""), "module"))
  end)

  it("refuses a file that is none of its kind", function ()
    for _, data in ipairs { "", "short", string.pack("j", 1 << 40) .. "x", string.pack("j", -1) .. "x" } do
      local searcher, _, errno = core.precompiled.searcher(write("bundle", data), package)
      assert.is_nil(searcher)
      assert.equal(support.errno.EINVAL, errno)
    end
    assert.equal(support.errno.ENOENT, select(3, core.precompiled.searcher(directory .. "/nothing", package)))
    -- an index that promises more modules than it has
    assert.matches("no compiled form", search(write("bundle", string.pack("s", string.pack("j", 9) .. "\5ab")), "ab"))
  end)
end)
