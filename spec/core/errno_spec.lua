local core = require "ctrexec.core"

-- As `man 3 errno` has them for Linux on x86-64 and arm64, one of each range of numbers.
local KNOWN = {
  EPERM = 1, ENOENT = 2, EINTR = 4, ENOMEM = 12, EACCES = 13, EPIPE = 32, ENAMETOOLONG = 36, ELOOP = 40,
  EWOULDBLOCK = 11, EDEADLOCK = 35, ENOTSUP = 95, EOPNOTSUPP = 95, ETIMEDOUT = 110, ECANCELED = 125, ERFKILL = 132,
  EHWPOISON = 133,
}

describe("errno", function()
  it("has the numbers of this system", function()
    for name, number in pairs(KNOWN) do assert.equal(number, core.errno[name], name) end
  end)

  it("has what the other bindings return", function()
    local _, _, number = core.file.open "/no/such"
    assert.equal(core.errno.ENOENT, number)
    _, _, number = core.file.open("/etc/passwd/x")
    assert.equal(core.errno.ENOTDIR, number)
  end)

  it("raises an error for a name that there is none, and for what is no name", function()
    assert.has_error(function() return core.errno.ENOET end, "there is no error 'ENOET'")
    for _, key in ipairs { 2, true, {} } do
      assert.has_error(function() return core.errno[key] end)
    end
    assert.has_error(function() return core.errno[""] end)
  end)
end)
