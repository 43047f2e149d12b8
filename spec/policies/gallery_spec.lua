local cjson = require "cjson"
local testing = require "ctrexec.policy.testing"
local tool = require "tests.lib.tool"

local function gallery(name, prelude)
  return testing.policy(("scripts/policies/%s.lua"):format(name), prelude)
end

local function accepted(policy, spec)
  local result = policy:check(testing.request(spec))
  assert.equal("accept", result.decision, result.message)
  return result
end

local function denied(policy, spec, pattern)
  local result = policy:check(testing.request(spec))
  assert.equal("reject", result.decision)
  assert.matches(pattern, result.message)
  return result
end

local function value_of(process, name)
  for _, entry in ipairs(process.env) do
    local value = entry:match("^" .. name .. "=(.*)$")
    if value then return value end
  end
end

local function has(list, name)
  for _, item in ipairs(list) do
    if item == name then return true end
  end
  return false
end

describe("no-root", function()
  local policy = gallery "no-root"

  it("denies root and accepts others", function()
    denied(policy, {}, "^denied by policy no%-root: commands must not run as root here")
    accepted(policy, { user = "1000" })
  end)

  it("denies another user who keeps what leads to root", function()
    local function ambient(name)
      return { user = "1000", capabilities = { bounding = { name }, permitted = { name }, effective = { name },
        inheritable = { name }, ambient = { name } } }
    end
    denied(policy, ambient "CAP_SETUID", "commands must not keep CAP_SETUID")
    denied(policy, ambient "CAP_DAC_OVERRIDE", "commands must not keep CAP_DAC_OVERRIDE")
    accepted(policy, ambient "CAP_NET_BIND_SERVICE")
  end)

  it("lets a container allow it", function()
    accepted(policy, { container = { annotations = { ["ctrexec.allow-root"] = "true" } } })
    denied(policy, { container = { annotations = { ["ctrexec.allow-root"] = "yes" } } }, "root")
  end)
end)

describe("allow-commands", function()
  local policy = gallery "allow-commands"
  local function spec(...)
    return { args = { ... }, container = { annotations = { ["ctrexec.commands"] = "nginx, /bin/cat" } } }
  end

  it("allows what is listed, a name wherever it lies, a path alone", function()
    accepted(policy, spec("nginx", "-t"))
    accepted(policy, spec("/usr/sbin/nginx"))
    accepted(policy, spec "/bin/cat")
    denied(policy, spec "cat", "cat is not among the commands of this container: nginx, /bin/cat")
    denied(policy, spec "/tmp/cat", "/tmp/cat is not among")
    denied(policy, spec "sh", "sh is not among")
  end)

  it("allows them behind the words that directives.lua takes off, whichever comes first", function()
    accepted(policy, spec("EXEC_REASON=ticket 42", "nginx"))
    denied(policy, spec("EXEC_REASON=ticket 42", "sh"), "sh is not among")
    denied(policy, spec "EXEC_REASON=nginx", "EXEC_REASON=nginx is not among")
  end)

  it("allows all without the annotation", function() accepted(policy, { args = { "sh" } }) end)

  it("is not passed by the number of the container's process, nor by lending another program", function()
    denied(policy, { args = { "nginx" }, container = { runtime = "pid" } }, "--pid shows no annotations")
    local request = spec "nginx"
    request.options = { tools = { "/bin/sh:/usr/sbin/nginx" } }
    denied(policy, request, "a lent file could take the place of an allowed command")
  end)
end)

describe("drop-capabilities", function()
  it("takes the unwanted ones out of every set", function()
    local process = accepted(gallery "drop-capabilities").process
    for _, set in pairs(process.capabilities) do
      assert.is_false(has(set, "CAP_NET_RAW"))
      assert.is_false(has(set, "CAP_MKNOD"))
      assert.is_true(has(set, "CAP_CHOWN"))
    end
    assert.is_true(process.noNewPrivileges)
  end)
end)

describe("read-only-env", function()
  it("strips secrets and nothing else", function()
    local process = accepted(gallery "read-only-env", { env = { DB_PASSWORD = "x", API_TOKEN = "y", aws_secret = "z",
      SSH_KEY = "k", KEYBOARD = "us", HOME = "/root" } }).process
    for _, name in ipairs { "DB_PASSWORD", "API_TOKEN", "aws_secret", "SSH_KEY" } do
      assert.is_nil(value_of(process, name))
    end
    assert.equal("us", value_of(process, "KEYBOARD"))
    assert.equal("/root", value_of(process, "HOME"))
    assert.matches("/bin", value_of(process, "PATH"))
  end)
end)

describe("prompt", function()
  local policy = gallery("prompt", [[local open = io.open io.open = function(path)
    local file = io.tmpfile() file:write(path == "/etc/ctrexec/cluster" and "production\n" or "wrong\n")
    file:seek "set" return file end]])

  it("sets the prompt of an interactive shell", function()
    local process = accepted(policy, { terminal = true, container = { id = "0123456789abcdef" } }).process
    assert.equal("[production/0123456789ab] # ", value_of(process, "PS1"))
    assert.equal("production", value_of(process, "CLUSTER"))
    process = accepted(policy, { terminal = true, user = "5" }).process
    assert.equal("[production/test] $ ", value_of(process, "PS1"))
  end)

  it("leaves others alone", function()
    assert.is_nil(value_of(accepted(policy).process, "PS1"))
  end)

  it("does without the file", function()
    local process = accepted(gallery("prompt", "io.open = function() end"), { terminal = true }).process
    assert.equal("[unknown/test] # ", value_of(process, "PS1"))
  end)
end)

describe("directives", function()
  local policy = gallery "directives"
  local alice = { uid = 1000, login_uid = 1000, login_user = "alice" }

  it("takes them off the command and obeys", function()
    local result = accepted(policy, { user = "5:5", caller = alice,
      args = { "EXEC_USER=root", "EXEC_PRIVILEGED=true", "EXEC_REASON=ticket 42", "sh", "EXEC_USER=kept" } })
    assert.same({ "sh", "EXEC_USER=kept" }, result.process.args)
    assert.equal(0, result.process.user.uid)
    assert.equal(0, result.process.user.gid)
    assert.is_true(has(result.process.capabilities.effective, "CAP_SYS_ADMIN"))
    assert.same({ reason = "ticket 42" }, result.options.audit)
  end)

  it("takes a number for the user, and a name of the container", function()
    assert.equal(33, accepted(policy, { args = { "EXEC_USER=33", "id" } }).process.user.uid)
    local lookup = function(kind, name) return kind == "user" and name == "www" and { uid = 33, gid = 34 } or nil end
    local user = accepted(policy, { args = { "EXEC_USER=www", "id" }, lookup = lookup }).process.user
    assert.equal(33, user.uid)
    assert.equal(34, user.gid)
  end)

  it("is only for those who may", function()
    denied(policy, { args = { "EXEC_USER=root", "sh" }, caller = { uid = 1000 } }, "not for you")
    denied(policy, { args = { "EXEC_PRIVILEGED=true", "sh" }, caller = { login_uid = 1001, login_user = "eve" } },
      "not for you")
    denied(policy, { args = { "EXEC_USER=root", "sh" }, caller = { login_uid = 1001 } }, "not for you")
    accepted(policy, { args = { "EXEC_REASON=x", "sh" }, caller = { login_uid = 1001, login_user = "eve" } })
  end)

  it("denies what it does not know, and directives without a command", function()
    denied(policy, { args = { "EXEC_USR=root", "sh" } }, "unknown directive EXEC_USR")
    denied(policy, { args = { "EXEC_REASON=x" } }, "args must not be empty")
  end)
end)

describe("require-reason", function()
  local policy = gallery "require-reason"

  it("denies interactive root without a reason", function()
    denied(policy, { terminal = true }, "needs a reason")
    denied(policy, { terminal = true, args = { "EXEC_REASON=x", "sh" } }, "needs a reason")
    for _, args in ipairs { { "sh" }, { "/bin/bash", "-i" }, { "sh", "-ic", "id" }, { "sh", "-" }, { "busybox", "sh" },
      { "bash", "--login" }, { "sh", "-s", "x" } } do
      denied(policy, { args = args }, "needs a reason")
    end
  end)

  it("takes the reason off the command and into the audit", function()
    local result = accepted(policy, { terminal = true, args = { "EXEC_REASON=ticket 42", "sh" } })
    assert.same({ "sh" }, result.process.args)
    assert.equal("ticket 42", result.options.audit.reason)
  end)

  it("lets others pass", function()
    accepted(policy, { terminal = true, user = "5" })
    accepted(policy, { args = { "id" } })
    accepted(policy, { args = { "sh", "-c", "id" } })
    accepted(policy, { terminal = true, options = { audit = { reason = "from directives" } } })
  end)
end)

describe("login-uid", function()
  local policy = gallery "login-uid"

  it("hands the login uid on", function()
    assert.equal(1000, accepted(policy, { caller = { login_uid = 1000 } }).options.login_uid)
  end)

  it("denies a terminal without a login, and lets machines pass", function()
    denied(policy, { caller = { terminal = true } }, "no login behind this terminal")
    assert.is_nil(accepted(policy, {}).options.login_uid)
  end)
end)

describe("lend-shell", function()
  local policy = gallery "lend-shell"

  it("lends busybox where there is no shell", function()
    local result = accepted(policy, { args = { "sh" } })
    assert.same({ "/usr/bin/busybox" }, result.options.tools)
    assert.equal("/usr/bin/busybox", result.options.audit.lent)
  end)

  it("keeps what another policy noted", function()
    local result = accepted(policy, { args = { "sh" }, options = { audit = { reason = "ticket 42" } } })
    assert.same({ reason = "ticket 42", lent = "/usr/bin/busybox" }, result.options.audit)
  end)

  it("does not where there is one, or for another command", function()
    assert.is_nil(accepted(policy, { args = { "sh" }, files = { ["/bin/sh"] = { type = "file" } } }).options.tools)
    assert.is_nil(accepted(policy, { args = { "nginx" } }).options.tools)
    assert.is_nil(accepted(policy, { args = { "/bin/sh" } }).options.tools)
  end)
end)

describe("business-hours", function()
  local function at(wday, hour)
    return gallery("business-hours", ("os.date = function() return { wday = %d, hour = %d } end"):format(wday, hour))
  end

  it("denies people at night and at weekends", function()
    denied(at(2, 7), { terminal = true }, "from 8 to 18 h")
    denied(at(2, 18), { terminal = true }, "from 8 to 18 h")
    denied(at(1, 12), { terminal = true }, "weekends")
    denied(at(7, 12), { terminal = true }, "weekends")
  end)

  it("accepts them by day, and machines always", function()
    accepted(at(2, 8), { terminal = true })
    accepted(at(6, 17), { terminal = true })
    accepted(at(1, 3), { args = { "id" } })
    denied(at(1, 3), { args = { "sh", "-i" } }, "weekends")
  end)
end)

describe("time-limit", function()
  local policy = gallery "time-limit"
  local function limit(spec)
    return accepted(policy, spec).options.timeout
  end

  it("limits people, machines and what the container says", function()
    assert.equal(3600, limit { terminal = true })
    assert.equal(60, limit {})
    assert.equal(5, limit { container = { annotations = { ["ctrexec.timeout"] = "5" } } })
    assert.equal(10, accepted(policy, {}).options.kill_after)
  end)

  it("leaves a shorter limit, cuts a longer one, also of a detached command", function()
    assert.equal(3, limit { options = { timeout = 3 } })
    assert.equal(60, limit { options = { timeout = 300 } })
    assert.equal(60, limit { options = { detach = true } })
  end)

  it("leaves a shorter grace, cuts a longer one", function()
    assert.equal(3, accepted(policy, { options = { kill_after = 3 } }).options.kill_after)
    assert.equal(10, accepted(policy, { options = { kill_after = 300 } }).options.kill_after)
  end)
end)

describe("audit-json", function()
  it("writes an event a line", function()
    local folder = tool.folder()
    local path = folder .. "/events"
    local prelude = ("local open = io.open io.open = function(_, mode) return open(%q, mode) end"):format(path)
    local policy = gallery("audit-json", prelude)
    assert.is_true(policy:audit { kind = "accept", what = { args = { "sh", 'a"\n' } }, n = 5, ok = true })
    assert.is_true(policy:audit { kind = "exit" })
    local first, second, rest = tool.read(path):match "^([^\n]*)\n([^\n]*)\n(.*)$"
    tool.remove(folder)
    assert.same({ kind = "accept", what = { args = { "sh", 'a"\n' } }, n = 5, ok = true }, cjson.decode(first))
    assert.same({ kind = "exit" }, cjson.decode(second))
    assert.equal("", rest)
  end)

  it("fails when it cannot write", function()
    local policy = gallery("audit-json", [[io.open = function() return nil, "disk full" end]])
    local ok, message = policy:audit { kind = "accept" }
    assert.is_nil(ok)
    assert.matches("disk full", message)
  end)
end)
