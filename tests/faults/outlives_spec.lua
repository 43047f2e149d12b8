-- The helper dies with its caller, and the command does not, whatever the seccomp profile allows.

local containers = require "tests.lib.containers"
local session = require "tests.lib.session"
local suite = require "tests.lib.suite"
local tool = require "tests.lib.tool"

local check = suite(_ENV, containers.missing())

describe("a detached command", function ()
  check("outlives its caller under a profile without prctl(2)", function ()
    local ct <close> = containers.new { config = function (config)
      config.linux.seccomp = { defaultAction = "SCMP_ACT_ALLOW",
        architectures = { "SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64" },
        syscalls = { { names = { "prctl" }, action = "SCMP_ACT_ERRNO" } } }
    end }
    local go = ct.rootfs .. "/tmp/go"
    tool.sh("mkfifo %s", go)
    local words = { "-d", "--no-new-privs", "--", "sh", "-c", "read word </tmp/go; echo $word >/tmp/mark" }
    local caller <close> = session.start(session.exec("ctrexec", ct, words, "</dev/null >/dev/null;"))
    assert.same({ "exited", 0 }, { caller:wait() })
    local fifo <close> = assert(io.open(go, "r+"))
    assert(fifo:write "on\n")
    fifo:flush()
    tool.eventually(function () return tool.read(ct.rootfs .. "/tmp/mark") == "on\n" end, "the command's mark")
  end)
end)
