-- The messages that journald and syslog get; the test's own sockets stand for the two.
local core = require "ctrexec.core"
local journal = require "ctrexec.lib.journal"

describe("journal", function ()
  local sent, send

  before_each(function ()
    send = core.datagram.send
    function core.datagram.send(path, data)
      sent = { path, data }
      return true
    end
  end)
  after_each(function () core.datagram.send = send end)

  it("writes a line to syslog, with its facility and level", function ()
    for _, case in ipairs { { "user", "error", 11 }, { "user", "debug", 15 }, { "authpriv", "info", 86 },
      { "authpriv", "warning", 84 } } do
      assert.is_true(journal.syslog(case[1], case[2], "tag", "text"))
      assert.equal("/dev/log", sent[1])
      assert.matches(("^<%d>%%u%%l%%l [ %%d]%%d %%d%%d:%%d%%d:%%d%%d tag: text$"):format(case[3]), sent[2])
    end
  end)

  it("writes the journal's native form, with the further fields in the order of their names", function ()
    assert.is_true(journal.journald("warning", "tag", "two\nlines", { B = "2", A = "1" }))
    assert.same({ "/run/systemd/journal/socket", "PRIORITY=4\nSYSLOG_IDENTIFIER=tag\nA=1\nB=2\nMESSAGE\n"
      .. string.pack("<s8", "two\nlines") .. "\n" }, sent)
  end)

  it("lets no name and no field end early", function ()
    journal.journald("info", "a\nb", "text", { ID = "c\nPRIORITY=0" })
    assert.equal("PRIORITY=6\nSYSLOG_IDENTIFIER=a b\nID=c PRIORITY=0\nMESSAGE\n" .. string.pack("<s8", "text") .. "\n",
      sent[2])
    journal.syslog("user", "info", "a\nb", "text")
    assert.matches(" a b: text$", sent[2])
  end)

  it("says when nobody listens", function ()
    core.datagram.send = send
    journal.SYSLOG_SOCKET, journal.JOURNALD_SOCKET = "/nonexistent/log", "/nonexistent/journal"
    local ok, message, errno = journal.syslog("user", "info", "tag", "text")
    local other, other_message = journal.journald("info", "tag", "text")
    journal.SYSLOG_SOCKET, journal.JOURNALD_SOCKET = "/dev/log", "/run/systemd/journal/socket"
    assert.is_nil(ok)
    assert.equal("send to /nonexistent/log: No such file or directory", message)
    assert.equal(core.errno.ENOENT, errno)
    assert.is_nil(other)
    assert.matches("^send to /nonexistent/journal: ", other_message)
  end)
end)
