local core = require "ctrexec.core"

describe("datagram.send", function()
  it("says what is wrong with the path", function()
    local ok, message, errno = core.datagram.send("/nonexistent/socket", "x")
    assert.is_nil(ok)
    assert.equal("send to /nonexistent/socket: No such file or directory", message)
    assert.equal(core.errno.ENOENT, errno)
    assert.equal(core.errno.ENAMETOOLONG, (select(3, core.datagram.send("/" .. ("x"):rep(108), "x"))))
    assert.equal(core.errno.ENOENT, (select(3, core.datagram.send("/a\0b", "x"))))
  end)
end)
