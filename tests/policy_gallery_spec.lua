-- Every policy of the gallery on a real container: an exec that it lets through, one that it denies or changes, what
-- explain says, and the lines of the audit trail. Then the four tasks for which people wrap a runtime by hand today.

local policies = require "tests.lib.policies"
local site_of = require "tests.lib.site"
local tool = require "tests.lib.tool"

local site, ct
local ANNOTATIONS = { ["ctrexec.commands"] = "id cat env sleep sh grep", ["ctrexec.timeout"] = "1" }

local at = policies.suite(_ENV, function (made, container) site, ct = made, container end, { config = function(config)
  config.annotations = ANNOTATIONS
  table.insert(config.process.env, "DB_PASSWORD=secret")
  table.insert(config.process.env, "DB_HOST=db")
end }, function () site:record_events() end)
local check, run, assert_denied = at.check, at.run, at.assert_denied

local function explained(words, name)
  local report = site:explain(ct, words)
  for _, entry in ipairs(report.policies) do
    if entry.name == name then return entry, report end
  end
  error("explain does not name " .. name)
end

local function as_login(uid)
  return "sh -c 'echo " .. uid .. " >/proc/self/loginuid && exec \"$@\"' sh"
end

local function can_log_in()
  return os.execute("(echo 1 >/proc/self/loginuid) 2>/dev/null && grep -qx 1 /proc/self/loginuid; "
    .. "sh -c 'echo 1 >/proc/self/loginuid' 2>/dev/null") == true
end

check("no-root", function()
  site:gallery "no-root"
  local allowed = run { "exec", "-u", "1000:1000", "ct", "id", "-u" }
  assert.equal("1000\n", allowed.stdout, allowed.stderr)
  assert_denied(run { "exec", "ct", "id" }, "no-root: commands must not run as root here")
  assert.equal("denied", explained({ "ct", "id" }, "no-root").result)
  assert.same({ "accept", "exit", "reject" }, site:kinds())
  local event = site:events "reject"[1]
  assert.equal("no-root", event.policy)
  assert.same({ "id" }, event.what.args)
  assert.equal("ct", event.where.id)
  assert.equal(0, event.who.uid)
end)

check("allow-commands", function()
  site:gallery "allow-commands"
  assert.equal(0, run({ "exec", "ct", "id" }).code)
  assert_denied(run { "exec", "ct", "ls" }, "allow-commands: ls is not among the commands of this container")
  assert.equal("denied", explained({ "ct", "ls" }, "allow-commands").result)
  assert.same({ "accept", "exit", "reject" }, site:kinds())
  assert_denied(run { "exec", "--tool", "/bin/busybox:/bin/id", "ct", "id" },
    "allow-commands: a lent file could take the place of an allowed command")
end)

check("drop-capabilities", function()
  local status = { "exec", "ct", "grep", "-E", "CapBnd|NoNewPrivs", "/proc/self/status" }
  local before = run(status).stdout
  site:gallery "drop-capabilities"
  local after = run(status)
  assert.equal(0, after.code, after.stderr)
  local function bounding(text) return tonumber(text:match "CapBnd:%s*(%x+)", 16) end
  assert.equal(bounding(before) & ~(1 << 13 | 1 << 27), bounding(after.stdout)) -- CAP_NET_RAW, CAP_MKNOD
  assert.matches("NoNewPrivs:%s*1", after.stdout)
  local entry = explained({ "ct", "id" }, "drop-capabilities")
  assert.equal("changed", entry.result)
  local paths = {}
  for _, change in ipairs(entry.changes) do paths[change.path] = true end
  assert.is_true(paths["process.capabilities.bounding"])
  assert.is_true(paths["process.noNewPrivileges"])
  local accepts = site:events "accept"
  assert.same({ "drop-capabilities" }, accepts[#accepts].changed_by)
end)

check("read-only-env", function()
  assert.matches("DB_PASSWORD=secret", run({ "exec", "ct", "env" }).stdout)
  site:gallery "read-only-env"
  local result = run({ "exec", "-e", "API_TOKEN=1", "--host-env", "CTREXEC_TEST_SECRET", "ct", "env" },
    { before = "env CTREXEC_TEST_SECRET=of-the-host" })
  assert.equal(0, result.code, result.stderr)
  assert.matches("DB_HOST=db", result.stdout)
  assert.is_nil(result.stdout:find "secret")
  assert.is_nil(result.stdout:find "TOKEN")
  assert.is_nil(result.stdout:find "of%-the%-host")
  local entry = explained({ "ct", "env" }, "read-only-env")
  assert.equal("process.env.DB_PASSWORD", entry.changes[1].path)
  assert.equal("secret", entry.changes[1].before)
  assert.same({ "accept", "exit", "accept", "exit" }, site:kinds())
end)

check("prompt", function()
  site:write("cluster", "production\n")
  site:gallery "prompt"
  local plain = run { "exec", "ct", "env" }
  assert.is_nil(plain.stdout:find "PS1=")
  local seen = site:run_on_terminal(ct, { "exec", "--tty", "ct", "env" })
  assert.matches("PS1=%[production/ct%] # ", seen.stdout)
  assert.matches("CLUSTER=production", seen.stdout)
  local entry = explained({ "--tty", "ct", "env" }, "prompt")
  assert.equal("changed", entry.result)
  assert.same({ "accept", "exit", "accept", "exit" }, site:kinds())
  assert.is_true(site:events "accept"[2].what.terminal)
end)

check("directives", function()
  site:gallery "directives"
  local words = { "exec", "-u", "1000", "ct", "EXEC_USER=root", "EXEC_PRIVILEGED=true", "EXEC_REASON=ticket 42", "sh",
    "-c", "id -u; grep CapEff /proc/self/status" }
  local result = run(words)
  assert.equal(0, result.code, result.stderr)
  assert.matches("^0\n", result.stdout)
  assert.equal(1 << 21, tonumber(result.stdout:match "CapEff:%s*(%x+)", 16) & 1 << 21) -- CAP_SYS_ADMIN
  assert_denied(run { "exec", "ct", "EXEC_MAGIC=1", "id" }, "directives: unknown directive EXEC_MAGIC")
  local entry, report = explained({ table.unpack(words, 2) }, "directives")
  assert.equal("changed", entry.result)
  assert.equal("sh", report.after.process.args[1])
  assert.equal("EXEC_USER=root", report.before.process.args[1])
  assert.same({ "accept", "exit", "reject" }, site:kinds())
  assert.equal("ticket 42", site:events "accept"[1].fields.reason)
  assert.equal("ticket 42", site:events "exit"[1].fields.reason)
end)

check("directives, for somebody who is logged in and not listed", function()
  if not can_log_in() then return pending "the login uid cannot be set here" end
  site:gallery "directives"
  assert_denied(run({ "exec", "ct", "EXEC_USER=root", "id" }, { before = as_login(1) }),
    "directives: EXEC_USER and EXEC_PRIVILEGED are not for you")
  assert.equal(1, site:events "reject"[1].who.login_uid)
end)

check("require-reason", function()
  site:gallery "require-reason"
  local denied = site:run_on_terminal(ct, { "exec", "-t", "ct", "id" })
  assert.matches("denied by policy require%-reason: interactive root needs a reason", denied.stdout)
  assert.is_nil(denied.stdout:find "uid=")
  local allowed = site:run_on_terminal(ct, { "exec", "-t", "ct", "EXEC_REASON=look at it", "id" })
  assert.matches("uid=0", allowed.stdout)
  assert.equal(0, run({ "exec", "ct", "id" }).code)
  assert.equal("denied", explained({ "-t", "ct", "id" }, "require-reason").result)
  assert.same({ "reject", "accept", "exit", "accept", "exit" }, site:kinds())
  assert.equal("look at it", site:events "accept"[1].fields.reason)
end)

check("login-uid", function()
  if not can_log_in() then return pending "the login uid cannot be set here" end
  site:gallery "login-uid"
  local result = run({ "exec", "ct", "cat", "/proc/self/loginuid" }, { before = as_login(1) })
  assert.equal("1", result.stdout, result.stderr)
  local probe = run { "exec", "ct", "id" }
  assert.equal(0, probe.code, probe.stderr)
  local alone = site:run_on_terminal(ct, { "exec", "-t", "ct", "id" })
  assert.matches("denied by policy login%-uid: there is no login behind this terminal", alone.stdout)
  assert.equal("unchanged", explained({ "ct", "id" }, "login-uid").result)
  assert.same({ "accept", "exit", "accept", "exit", "reject" }, site:kinds())
  assert.equal(1, site:events "accept"[1].who.login_uid)
end)

check("business-hours", function()
  site:gallery("business-hours", { ['os.date "*t"'] = "{ wday = 3, hour = 19 }" })
  assert.equal(0, run({ "exec", "ct", "id" }).code)
  local late = site:run_on_terminal(ct, { "exec", "-t", "ct", "id" })
  assert.matches("denied by policy business%-hours: interactive use is from 8 to 18 h", late.stdout)
  assert.equal("denied", explained({ "-t", "ct", "id" }, "business-hours").result)
  site:gallery("business-hours", { ['os.date "*t"'] = "{ wday = 3, hour = 9 }" })
  assert.matches("uid=0", site:run_on_terminal(ct, { "exec", "-t", "ct", "id" }).stdout)
  assert.same({ "accept", "exit", "reject", "accept", "exit" }, site:kinds())
end)

check("time-limit", function()
  site:gallery "time-limit"
  assert.equal(0, run({ "exec", "ct", "id" }).code)
  assert.equal(124, run({ "exec", "ct", "sleep", "1000" }).code)
  local entry, report = explained({ "ct", "id" }, "time-limit")
  assert.equal("changed", entry.result)
  assert.equal(1, report.after.options.timeout)
  local exits = site:events "exit"
  assert.equal(0, exits[1].outcome.status)
  assert.equal(15, exits[2].outcome.signal)
end)

check("audit-json", function()
  site:gallery("audit-json", { ["/var/log/ctrexec-exec.jsonl"] = site.dir .. "/hook" })
  assert.equal(0, run({ "exec", "ct", "id" }).code)
  assert.equal(255, run({ "exec", "ct", "nothing" }).code)
  assert.equal("unchanged", explained({ "ct", "id" }, "audit-json").result)
  local kinds, cjson = {}, require "cjson"
  for line in io.lines(site.dir .. "/hook") do kinds[#kinds + 1] = cjson.decode(line).kind end
  assert.same({ "accept", "exit", "accept", "error" }, kinds)
  assert.same(kinds, site:kinds())
  site:gallery("audit-json", { ["/var/log/ctrexec-exec.jsonl"] = "/nowhere/x" })
  assert_denied(run { "exec", "ct", "id" }, "audit: audit of policy audit-json")
end)

check("lend-shell", function()
  local bare <close> = site_of.container(policies.bare())
  local busybox = tool.line "command -v busybox"
  assert.equal(255, site:run(bare, { "exec", "ct", "sh", "-c", "echo hello" }).code)
  site:gallery("lend-shell", { ["/usr/bin/busybox"] = busybox })
  local result = site:run(bare, { "exec", "ct", "sh", "-c", "echo hello; ls /proc/1/exe" })
  assert.equal("hello\n/proc/1/exe\n", result.stdout, result.stderr)
  -- the container's own processes see nothing of it, and an exec of something else does not, either
  assert.is_false(tool.exists(("/proc/%d/root%s"):format(bare.pid, busybox)))
  assert.equal(255, site:run(bare, { "exec", "ct", busybox, "true" }).code)
  local report = site:explain(bare, { "ct", "sh" })
  assert.equal("changed", report.policies[1].result)
  assert.same({ busybox }, report.after.options.tools)
  assert.same({ "error", "accept", "exit", "error" }, (function()
    local kinds = site:kinds()
    return { kinds[2], kinds[3], kinds[4], kinds[6] }
  end)())
  assert.equal(busybox, site:events "accept"[2].fields.lent)
  -- a container with a shell uses its own
  assert.equal("unchanged", explained({ "ct", "sh" }, "lend-shell").result)
end)

-- On a container as its runtime (runc, in the pure v2 view crun) recorded it, and as youki would have.
local function on_each_record(title, test)
  check(title, function() return test(ct) end)
  check(title .. " (youki's record)", function() return test(site_of.youki(ct)) end)
end

describe("what people wrap runtimes for:", function()
  on_each_record("variables and a prompt for every shell", function(on)
    site:write("cluster", "blue\n")
    site:gallery "prompt"
    site:write("policy.d/region.lua", [[return { check = function(request) request.env.REGION = "eu" end }]])
    assert.matches("REGION=eu", site:run(on, { "exec", "ct", "env" }).stdout)
    local shell = site:run_on_terminal(on, { "exec", "-t", "ct", "sh" }, { input = "exit\n" })
    assert.matches("%[blue/ct%] # ", shell.stdout)
  end)

  on_each_record("EXEC_USER=root and EXEC_PRIVILEGED=true in front of the command, with a reason", function(on)
    site:gallery "directives"
    site:gallery "require-reason"
    local function as_root(...)
      local words = { "exec", "-t", "-u", "1000", "ct", "EXEC_USER=root", "EXEC_PRIVILEGED=true", ... }
      return site:run_on_terminal(on, words)
    end
    assert.matches("denied by policy require%-reason: interactive root needs a reason", as_root("id").stdout)
    assert.matches("uid=0", as_root("EXEC_REASON=ticket forty two", "id").stdout)
    assert.equal("ticket forty two", site:events "accept"[1].fields.reason)
  end)

  on_each_record("a message of the day, and the login uid for auditd", function(on)
    if not can_log_in() then return pending "the login uid cannot be set here" end
    site:gallery "login-uid"
    site:write("policy.d/motd.lua", [[
      return { check = function(request)
        if not request.process.terminal then return end
        request:prepend { "sh", "-c", 'echo "You are in $MOTD_PLACE: be careful"; exec "$@"', "sh" }
        request.env.MOTD_PLACE = request.container.id
      end }]])
    local result = site:run_on_terminal(on, { "exec", "-t", "ct", "cat", "/proc/self/loginuid" })
    assert.matches("denied by policy login%-uid", result.stdout)
    assert.equal("1", site:run(on, { "exec", "ct", "cat", "/proc/self/loginuid" }, { before = as_login(1) }).stdout)
    os.remove(site.folder .. "/policy.d/login-uid.lua")
    result = site:run_on_terminal(on, { "exec", "-t", "ct", "id" })
    assert.matches("You are in ct: be careful\nuid=0", result.stdout)
  end)

  check("a shell for an image that has none", function()
    local bare <close> = site_of.container(policies.bare())
    site:gallery("lend-shell", { ["/usr/bin/busybox"] = tool.line "command -v busybox" })
    for _, on in ipairs { bare, site_of.youki(bare) } do
      local result = site:run(on, { "exec", "ct", "sh" }, { input = "echo $((6 * 7)); id -u\n" })
      assert.equal("42\n0\n", result.stdout, result.stderr)
    end
  end)

  check("each on the container of the runtime that its events name", function()
    local runtime = tool.runtime()
    for _, case in ipairs { { ct, runtime }, { site_of.youki(ct), "youki" } } do
      assert.equal(0, site:run(case[1], { "exec", "ct", "true" }).code)
      local events = site:events "accept"
      assert.equal(case[2], events[#events].where.runtime)
    end
  end)
end)
