--- At least one test for every error code of docs/embedding.md, with the cause that the code has in real use.
local containers = require "tests.lib.containers"
local core = require "ctrexec.core"
local ctrexec = require "ctrexec"
local support = require "tests.module.support"
local tool = require "tests.lib.tool"

local ct, container
local check = containers.suite(_ENV, function (made) ct, container = made, made:open() end, {
  files = { ["/work/text"] = "no program\n" },
  rootfs = function (rootfs) tool.write(rootfs .. "/work/script", "#!/no/such/interpreter\n", "755") end,
})
local seen = {}

-- What a failed call returns: nil, a message for people, and the code.
local function assert_code(expected, pattern, value, message, code)
  assert.is_nil(value)
  assert.is_string(message)
  assert.equal(expected, code, message)
  assert.matches(pattern, message)
  seen[code] = true
end

local function state_file()
  return ct.root .. "/ct/" .. (tool.runtime() == "crun" and "status" or "state.json")
end

-- The container's directory as a root of its own, in which things can be put wrong.
local function copy_of_root()
  local root = tool.folder(ct.dir)
  tool.sh("cp -a %s/ct %s/ct", ct.root, root)
  return root, root .. "/ct/" .. state_file():match "[^/]+$"
end

describe("a failed call", function ()
  check("no_such_container", function ()
    assert_code("no_such_container", "does not exist", ctrexec.open("no-such-container"))
    assert_code("no_such_container", "process %d+ does not exist", ctrexec.open(nil, { pid = 4194300 }))
  end)

  check("invalid: an id, a process object", function ()
    assert_code("invalid", "invalid container ID", ctrexec.open "../etc")
    assert_code("invalid", "[Cc]wd", container:exec { "true", cwd = "relative" })
    assert_code("invalid", "args", container:exec {})
    assert_code("invalid", "env", container:exec { "true", env = { A = {} } })
    assert_code("invalid", "user", container:exec { "true", user = "no-such-user" })
    assert_code("invalid", "stdout", container:exec { "true", stdout = "nowhere" })
    assert_code("invalid", "NUL", container:exec { "tr\0ue" })
    local process <close> = assert(container:spawn { "true" })
    assert_code("invalid", "unknown signal", process:kill "NOSUCH")
    assert_code("invalid", "no terminal", process:resize(1, 1))
    process:wait()
  end)

  check("ambiguous", function ()
    local root = copy_of_root()
    assert(os.execute(("mv %s/ct %s/ct-one && cp -a %s/ct-one %s/ct-two"):format(root, root, root, root)))
    assert_code("ambiguous", "ct%-one.*ct%-two", require "ctrexec.container".open("ct-", { roots = { root } }))
  end)

  check("bad_state", function ()
    local root, file = copy_of_root()
    for _, content in ipairs { "", "{", "[]", '{"init_process_pid":"one"}' } do
      tool.write(file, content)
      assert_code("bad_state", "", ctrexec.open("ct", { root = root }))
    end
  end)

  check("untrusted", function ()
    local root, file = copy_of_root()
    assert(os.execute("chmod 666 " .. tool.quote(file)))
    assert_code("untrusted", "can be written", ctrexec.open("ct", { root = root }))
    local records = assert(ctrexec.list { root = root })
    assert.equal("untrusted", records[1].code)
  end)

  check("stopped", function ()
    local other = support.container()
    local handle = other:open()
    assert(other:run_runtime("kill", "KILL"))
    tool.eventually(function () return handle:status() == "stopped" end, "the end of the container")
    assert_code("stopped", "stopped", handle:exec { "true" })
    assert_code("stopped", "stopped", handle:ps())
    assert(other:remove())
  end)

  check("stopped: the pid belongs to another process now", function ()
    local root, file = copy_of_root()
    local key = tool.runtime() == "crun" and "process%-start%-time" or "init_process_start"
    local content, count = tool.read(file):gsub('("' .. key .. '" ?: ?)%d+', "%11")
    assert.equal(1, count)
    tool.write(file, content)
    local handle <close> = assert(ctrexec.open("ct", { root = root }))
    assert_code("stopped", "stopped", handle:exec { "true" })
  end)

  check("paused", function ()
    assert(ct:run_runtime "pause")
    local status = container:status()
    local value, message, code = container:exec { "true" }
    assert(ct:run_runtime "resume")
    assert.equal("running", container:status())
    assert.equal("paused", status)
    assert_code("paused", "paused", value, message, code)
  end)

  check("unsupported", function ()
    local child <close> = assert(io.popen "echo $$; exec sleep 20")
    local pid = math.tointeger(tonumber(child:read "l"))
    local neighbour <close> = assert(ctrexec.open(nil, { pid = pid }))
    assert_code("unsupported", "cannot be told", neighbour:ps())
    core.pidfd.send_signal(neighbour.container.pidfd, core.signal.numbers.KILL)
  end)

  check("not_found", function ()
    assert_code("not_found", "executable file not found in %$PATH", container:exec { "no-such-program" })
    assert_code("not_found", "no such file or directory", container:exec { "/no/such/program" })
    assert_code("not_found", "no such file or directory", container:spawn { "/work/script" })
  end)

  check("not_executable", function ()
    assert_code("not_executable", "permission denied", container:exec { "/work/text" })
    assert_code("not_executable", "", container:exec { "/work" })
  end)

  check("no_cwd", function ()
    assert_code("no_cwd", "no such file or directory", container:exec { "true", cwd = "/no/such/folder" })
  end)

  check("denied", function ()
    local policy = ct.dir .. "/policy.lua"
    tool.write(policy, 'return { name = "no-one", check = function() return deny "not today" end }\n')
    assert(os.execute("chmod 644 " .. tool.quote(policy)))
    local governed <close> = assert(ctrexec.open("ct", { root = ct.root, policy = { policy } }))
    assert_code("denied", "denied by policy no%-one: not today", governed:exec { "true" })
    assert_code("denied", "not today", governed:spawn { "true" })
  end)

  check("timeout: the container does not let the command in", function ()
    local start = require "ctrexec.exec.start"
    local paths = container.container.cgroup_paths
    local object = assert(require "ctrexec.oci.process".build(container.container, { "true" }))
    assert(ct:run_runtime "pause")
    local plan = require "ctrexec.exec.plan".build(container.container, object, {})
    local value, message, code = start.run(plan, { seconds = 0.2, cgroup_paths = paths })
    assert(ct:run_runtime "resume")
    assert.equal("running", container:status())
    assert_code("timeout", "did not start within 0%.2 seconds", value, message, code)
  end)

  check("system", function ()
    assert_code("system", "pid", container:exec { "true", pid_file = "/no/such/folder/pid" })
    local process <close> = assert(container:spawn { "true" })
    process:wait()
    assert_code("system", "send signal", process:kill "TERM")
  end)

  check("system: the exit status is lost", function ()
    local process <close> = assert(container:spawn { "true" })
    local wait = core.pidfd.wait
    -- What Linux before 6.15 answers when the host program has reaped the child.
    core.pidfd.wait = function () return nil, "wait: No child processes", 10 end -- luacheck: ignore 122
    local value, message, code = process:wait()
    core.pidfd.wait = wait -- luacheck: ignore 122
    assert_code("system", "the exit status is lost", value, message, code)
    assert.equal(0, process:wait().code)
  end)

  check("has a test for every documented code", function ()
    local guide = assert(tool.read "docs/embedding.md")
    local section = assert(guide:match "\n## Errors\n(.-)\n## ")
    seen.usage = select(3, require "ctrexec.command.options".parse { "exec" }) == "usage" or nil
    local count = 0
    for code in section:gmatch "\n| `([a-z_]+)` |" do
      count = count + 1
      assert.is_true(seen[code], code)
    end
    assert.is_true(count >= 14)
  end)
end)
