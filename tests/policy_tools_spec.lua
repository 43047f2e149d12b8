-- Files that the host lends to a command (`--tool PATH[:DEST]`, request.options.tools): no other process sees them.

local core = require "ctrexec.core"
local policies = require "tests.lib.policies"
local site_of = require "tests.lib.site"
local tool = require "tests.lib.tool"

local BUSYBOX = tool.line "command -v busybox"
local site, bare

local at = policies.suite(_ENV, function (made, container) site, bare = made, container end, policies.bare())
local check, run = at.check, at.run

local function mounts_of(pid)
  return assert(tool.read(("/proc/%s/mountinfo"):format(pid)))
end

describe("a lent program", function()
  check("runs in an image that has nothing but one static program", function()
    assert.equal(255, run({ "exec", "ct", "sh", "-c", "echo hello" }).code)
    local result = run { "exec", "--tool", BUSYBOX, "ct", "sh", "-c", "echo $((6 * 7)); ls -d /sleep; id -u" }
    assert.equal("42\n/sleep\n0\n", result.stdout, result.stderr)
    assert.equal(0, result.code)
  end)

  check("is found where it is wanted", function()
    local place = "/opt/tools/busybox"
    local result = run { "exec", "--tool", BUSYBOX .. ":" .. place, "ct", place, "echo", "here" }
    assert.equal("here\n", result.stdout, result.stderr)
  end)

  check("is there for its command alone, and nothing of it stays", function()
    local init, host = mounts_of(bare.pid), mounts_of "self"
    local before = tool.line(("cd %s && find . | sort | md5sum"):format(bare.rootfs))
    local pid_file = site.dir .. "/pid"
    assert.equal(0, run({ "exec", "-d", "--pid-file", pid_file, "--tool", BUSYBOX, "ct", "sh", "-c",
      "while :; do sleep 1; done" }).code)
    local pid = tool.read(pid_file)
    local pidfd <close> = assert(core.pidfd.open(tonumber(pid)))
    assert.is_truthy(core.file.stat(("/proc/%s/root%s"):format(pid, BUSYBOX)))
    assert.not_equal(init, mounts_of(pid))
    -- neither the container's first process nor the next command nor the host sees it
    local function nobody_else()
      assert.is_nil(core.file.stat(("/proc/%d/root%s"):format(bare.pid, BUSYBOX)))
      assert.equal(init, mounts_of(bare.pid))
      assert.equal(host, mounts_of "self")
      assert.equal(255, run({ "exec", "ct", BUSYBOX, "true" }).code)
    end
    nobody_else()
    assert(core.pidfd.send_signal(pidfd, core.signal.numbers.KILL))
    tool.eventually(function () return not core.pidfd.alive(pidfd) end, "its end")
    nobody_else()
    assert.equal(before, tool.line(("cd %s && find . | sort | md5sum"):format(bare.rootfs)))
  end)

  check("cannot be written, not even by root with all capabilities that a container may have", function()
    local lent = site.dir .. "/lent"
    assert(os.execute(("install -m 755 %s %s"):format(BUSYBOX, lent)))
    local before = tool.line("md5sum " .. lent)
    local attack = "chmod 777 /lent; echo x >>/lent; mount -o remount,bind,rw /lent; echo x >>/lent; "
      .. "cat /lent >/dev/null && echo tried"
    for _, cap in ipairs { "CAP_NET_RAW", "CAP_SYS_ADMIN" } do
      local result = run { "exec", "--cap", cap, "--cap", "CAP_DAC_OVERRIDE", "--tool", BUSYBOX, "--tool",
        lent .. ":/lent", "ct", "sh", "-c", attack }
      assert.equal("tried\n", result.stdout, result.stderr)
      assert.equal(before, tool.line("md5sum " .. lent))
      assert.equal("755", tool.line("stat -c %a " .. lent))
    end
  end)

  -- The command has no CAP_SYS_ADMIN, its neighbour has, and joins its mount namespace.
  check("cannot be written by another process of a container that may mount", function()
    local lent = site.dir .. "/lent"
    assert(os.execute(("install -m 755 %s %s"):format(BUSYBOX, lent)))
    local before = tool.line("md5sum " .. lent)
    local ct <close> = site_of.container {
      id = "mounter",
      config = function(config)
        for _, set in ipairs { "bounding", "effective", "permitted" } do
          local list = config.process.capabilities[set]
          for _, name in ipairs { "CAP_SYS_ADMIN", "CAP_SYS_CHROOT", "CAP_SYS_PTRACE" } do list[#list + 1] = name end
        end
      end,
    }
    local plain = '{"cwd": "/", "args": ["sleep", "1000"], "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}, '
      .. '"capabilities": {"bounding": [], "effective": [], "permitted": []}}'
    local process_file, pid_file = site.dir .. "/plain.json", site.dir .. "/pid"
    tool.write(process_file, plain)
    local result = site:run(ct, { "exec", "-d", "--pid-file", pid_file, "--process", process_file,
      "--tool", lent .. ":/lent", "mounter" })
    assert.equal(0, result.code, result.stderr)
    local attack = [[
      for process in /proc/[0-9]*; do
        grep -qs "^sleep.1000.$" $process/cmdline && target=${process#/proc/}
      done
      nsenter -t $target -m sh -c "mount -o remount,bind,rw /lent; echo x >>/lent; test -e /lent" \
        2>/dev/null && echo tried]]
    result = assert(ct:exec { "sh", "-c", attack, timeout = 30 })
    assert.equal("tried\n", result.stdout, result.stderr)
    assert.equal(before, tool.line("md5sum " .. lent))
  end)

  check("goes by no link of the container's, which might lead out of it", function()
    assert(os.execute(("ln -sfn ../../../../../../..%s %s/out && ln -sfn /proc/1/root/../.. %s/up"):format(site.dir,
      bare.rootfs, bare.rootfs)))
    for _, place in ipairs { "/out/busybox", "/up/busybox" } do
      local result = run { "exec", "--tool", BUSYBOX .. ":" .. place, "ct", place, "true" }
      assert.equal(255, result.code)
      assert.matches("unable to start container process: mount /", result.stderr)
      assert.is_nil(core.file.stat(site.dir .. "/busybox", true))
      assert.is_nil(core.file.stat("/busybox", true))
    end
  end)

  check("is refused in plain words when it is not there, or no place for it is named", function()
    for _, case in ipairs {
      { "/no/where", "tool /no/where: " }, { "/dev/null", "tool /dev/null: neither a file nor a directory" },
      { "busybox", "tool" }, { BUSYBOX .. ":/a/../b", "without . and .." }, { BUSYBOX .. ":relative", "tool" },
    } do
      local text, message = table.unpack(case)
      local result = run { "exec", "--tool", text, "ct", "sh" }
      assert.equal(255, result.code, text)
      assert.is_truthy(result.stderr:find(message, 1, true), result.stderr)
    end
  end)

  check("is shown by explain", function()
    local report = site:explain(bare, { "--tool", BUSYBOX, "ct", "sh" })
    local words = {}
    for _, line in ipairs(report.plan) do words[#words + 1] = table.concat(line, " ") end
    assert.is_truthy(table.concat(words, "\n"):find(BUSYBOX, 1, true), table.concat(words, "\n"))
  end)
end)
