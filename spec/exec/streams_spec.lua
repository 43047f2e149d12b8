local core = require "ctrexec.core"
local streams = require "ctrexec.exec.streams"
local support = require "spec.core.support"

describe("streams.open", function()
  it("leaves alone what is inherited", function()
    assert.same({ theirs = {}, ours = {}, opened = {} }, streams.open { stdout = "inherit" })
  end)

  it("makes pipes in the right direction", function()
    local set = assert(streams.open { stdin = "pipe", stdout = "pipe" })
    core.fd.write(set.ours.stdin, "in")
    assert.equal("in", core.fd.read(set.theirs.stdin, 10))
    core.fd.write(set.theirs.stdout, "out")
    assert.equal("out", core.fd.read(set.ours.stdout, 10))
    assert.is_nil(set.ours.stderr)
    streams.close(set)
  end)

  it("opens /dev/null", function()
    local set = assert(streams.open { stdin = "null", stderr = "null" })
    assert.equal("", core.fd.read(set.theirs.stdin, 10))
    assert.equal(1, core.fd.write(set.theirs.stderr, "x"))
    assert.same({}, set.ours)
    streams.close(set)
  end)

  it("takes descriptors as they are", function()
    local reader <close>, writer = core.fd.pipe()
    local _ <close> = writer
    local set = assert(streams.open { stdin = reader, stdout = 1, stderr = writer })
    assert.equal(reader, set.theirs.stdin)
    assert.equal(1, set.theirs.stdout)
    streams.close(set)
    assert.is_true(core.fd.is_open(reader:fd()) and core.fd.is_open(1), "they are the caller's")
  end)

  it("sends stderr where stdout goes", function()
    local set = assert(streams.open { stdout = "pipe", stderr = "stdout" })
    assert.equal(set.theirs.stdout, set.theirs.stderr)
    streams.close(set)
    assert.equal(1, assert(streams.open { stderr = "stdout" }).theirs.stderr)
  end)

  it("refuses anything else by name, and leaves nothing open", function()
    for _, wrong in ipairs { "pipes", "", "stdout", 1.5, -1, true, {} } do
      local before = support.open_descriptors()
      local set, message, code = streams.open { stdin = "pipe", stdout = wrong }
      assert.is_nil(set)
      assert.equal('stdout: expected "inherit", "null", "pipe" or a descriptor', message)
      assert.equal("invalid", code)
      assert.equal(before, support.open_descriptors())
    end
  end)
end)

describe("streams.close_theirs", function()
  it("closes the command's ends only", function()
    local set = assert(streams.open { stdout = "pipe" })
    streams.close_theirs(set)
    assert.equal("", core.fd.read(set.ours.stdout, 10))
    streams.close(set)
  end)
end)
