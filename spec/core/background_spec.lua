local core = require "ctrexec.core"
local support = require "spec.core.support"
local tool = require "tests.lib.tool"

local start, errno = core.background.start, support.errno

describe("background.start", function()
  it("returns when the chunk says that it is ready, which then goes on", function()
    local directory = tool.folder()
    local before = support.open_descriptors()
    local reader, writer = core.fd.pipe()
    assert.is_true(start([[
      local folder, ready = ...
      local core = require "ctrexec.core"
      assert(io.open(folder .. "/begun", "w")):close()
      ready()
      core.fd.read(3, 1)
      os.rename(folder .. "/begun", folder .. "/done")]], directory, reader))
    assert.is_not_nil(core.file.stat(directory .. "/begun"))
    core.fd.write(writer, "x")
    tool.eventually(function() return core.file.stat(directory .. "/done") end)
    reader:close()
    writer:close()
    assert.equal(before, support.open_descriptors())
    tool.remove(directory)
  end)

  it("says so when the process ends before it is ready", function()
    local before = support.open_descriptors()
    for _, chunk in ipairs { "", "error 'no'", "no Lua", "require 'no.such.module'; (select(2, ...))()" } do
      local ok, message, code = start(chunk, 1)
      assert.is_nil(ok, chunk)
      assert.equal("start a process in the background: Operation canceled", message)
      assert.equal(errno.ECANCELED, code)
    end
    assert.equal(before, support.open_descriptors())
  end)

  it("says so when there can be no process, also where SIGCHLD is ignored", function()
    if core.process.ids().euid ~= 0 then return pending "needs root, to become a user with few processes" end
    local script = [[print(require "ctrexec.core".background.start("(select(2, ...))()", 1))]]
    -- Itself and the first child of two; from a copy, because the checkout may lie where only root can look.
    local line = ("folder=$(mktemp -d) && trap 'rm -r \"$folder\"' EXIT && chmod 755 $folder && mkdir $folder/ctrexec "
      .. "&& cp %s $folder/ctrexec && cd / && LUA_CPATH=$folder/?.so setpriv --reuid %d --clear-groups "
      .. "prlimit --nproc=2 env --ignore-signal=CHLD lua5.4 -e %s"):format(
      tool.quote(package.searchpath("ctrexec.core", package.cpath)), tool.unique_uid(), tool.quote(script))
    assert.equal("nil\tstart a process in the background: Resource temporarily unavailable\t11\n",
      tool.output(line))
  end)
end)
