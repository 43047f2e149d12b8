local core = require "ctrexec.core"
local support = require "spec.core.support"

local program = core.program

describe("program.replace", function ()
  it("gives the reason when there is nothing to run", function ()
    for path, errno in pairs { ["/no/such"] = "ENOENT", ["/etc"] = "EACCES", ["/etc/passwd/x"] = "ENOTDIR",
      ["/bin/sh\0x"] = "ENOENT" } do
      local ok, message, number = program.replace(path, { "x" })
      assert.is_nil(ok)
      assert.equal(support.errno[errno], number)
      assert.is_string(message)
    end
  end)

  it("refuses what is no argument list", function ()
    for _, arguments in ipairs { {}, { 1 }, { "a", {} }, { "a\0b" } } do
      assert.has_error(function () program.replace("/bin/false", arguments) end)
    end
  end)

  it("runs a program in place of this one, with these arguments and none of its own descriptors", function ()
    local output = support.lua("echo $$; exec", [[
      local core = require "ctrexec.core"
      local reader, writer = core.fd.pipe()
      core.program.replace("/bin/sh", { "name", "-c", "echo $$; printf '%s,' \"$0\" \"$@\"; "
        .. "for fd in 0 " .. reader:fd() .. " " .. writer:fd() .. "; do [ ! -e /proc/$$/fd/$fd ] || echo $fd; done",
        "zero", "", "a b" })]])
    local before, after, arguments, descriptors = output:match "^(%d+)\n(%d+)\n(.*),(.-)\n$"
    assert.equal(before, after)
    assert.equal("zero,,a b", arguments)
    assert.equal("0", descriptors)
  end)

  it("sets a variable, once, and leaves the others as they are", function()
    local output = support.lua("export A=1 NAMES=x NAME=old Z=; exec env -u _", [[
      require "ctrexec.core".program.replace("/usr/bin/env", { "env" }, "NAME=a=b")]])
    assert.matches("\nA=1\n", "\n" .. output)
    assert.matches("\nNAMES=x\n", output)
    assert.matches("\nZ=\n", output)
    local _, count = ("\n" .. output):gsub("\nNAME=", "")
    assert.equal(1, count)
    assert.matches("\nNAME=a=b\n", output)
    assert.has_error(function() program.replace("/bin/false", { "x" }, "NAME") end)
  end)
end)
