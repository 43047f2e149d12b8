local containers = require "tests.lib.containers"
local core = require "ctrexec.core"
local tool = require "tests.lib.tool"

local ct, container
local check = containers.suite(_ENV, function (made) ct, container = made, made:open() end)

local function run_out(spec)
  local result = assert(container:exec(spec))
  assert.is_true(result.timed_out)
  return result
end

-- Seen from the host: nothing runs in the container's pid namespace but its init, and its cgroups are as before.
local function assert_nothing_left()
  assert.same({}, containers.inside(ct))
  assert.same({}, containers.leaves(ct))
  assert.equal("running", container:status())
end

describe("a time-out", function ()
  after_each(function ()
    if ct then containers.clear(ct) end
  end)

  check("does not touch a command that ends before", function ()
    local result = assert(container:exec { "echo", "done", timeout = 30, kill_after = 5 })
    assert.equal("done\n", result.stdout)
    assert.is_nil(result.timed_out)
    assert_nothing_left()
  end)

  check("leaves no cgroup when the command cannot be started", function ()
    for _, name in ipairs { "exec", "spawn", "prepare" } do
      local keeps = name ~= "exec" or nil
      local result, _, code = container[name](container, { "/no/such", timeout = 30, keeps_limits = keeps })
      if name == "prepare" then result, _, code = result:start() end
      assert.is_nil(result)
      assert.equal("not_found", code)
      assert.same({}, containers.leaves(ct))
    end
  end)

  check("kills the command", function ()
    local result = run_out { "sh", "-c", "echo begun; sleep 1000", timeout = 0.3 }
    assert.equal(137, result.code)
    assert.equal("begun\n", result.stdout)
    assert_nothing_left()
  end)

  check("ends a fork bomb", function ()
    run_out { "sh", "-c", "ulimit -u 400 2>/dev/null; bomb() { bomb | bomb & }; bomb; sleep 1000", timeout = 0.5,
      max_output = 0, rlimits = { { type = "RLIMIT_NPROC", soft = 400, hard = 400 } },
      user = { uid = tool.unique_uid(), gid = 4321 } }
    assert_nothing_left()
  end)

  check("ends a daemon that forked twice and changed its session", function ()
    run_out { "sh", "-c", "setsid sh -c 'setsid sleep 1000 >/dev/null 2>&1 & sleep 1000 &' & sleep 1000",
      timeout = 0.4 }
    assert_nothing_left()
  end)

  check("ends a daemon whose parent ended at TERM", function ()
    local result = run_out { "sh", "-c", "setsid sh -c 'trap \"\" TERM; sleep 1000; sleep 1000' & sleep 1000",
      timeout = 0.4, kill_after = 0.3 }
    assert.equal(15, result.signal)
    assert_nothing_left()
  end)

  check("ends a command that ignores TERM", function ()
    local result = run_out { "sh", "-c", "trap '' TERM; while :; do sleep 1000; done", timeout = 0.3, kill_after = 0.3 }
    assert.equal(9, result.signal)
    assert_nothing_left()
  end)

  check("lets a command end at TERM as it likes, and what it started end too", function ()
    local result = run_out { "sh", "-c", [[
      sh -c 'trap "sleep 0.2; touch /work/child; exit" TERM; while :; do sleep 0.05; done' &
      trap 'echo bye; exit 5' TERM; while :; do sleep 0.05; done]], timeout = 0.4, kill_after = 20 }
    assert.equal(5, result.code)
    assert.equal("bye\n", result.stdout)
    assert.is_not_nil(core.file.stat(ct.rootfs .. "/work/child"))
    assert_nothing_left()
  end)

  check("ends what stopped itself", function ()
    run_out { "sh", "-c", "sleep 1000 & kill -STOP $! $$", timeout = 0.3 }
    assert_nothing_left()
  end)

  check("ends a command that has left its own cgroup", function ()
    local path
    local handle <close> = assert(container:spawn { "sleep", "1000", tree = true })
    for _, leaf in ipairs(containers.leaves(ct)) do path = leaf:match "^(.*)/" end
    tool.write(path .. "/cgroup.procs", tostring(handle.pid))
    handle:kill { tree = true }
    assert.equal(9, (handle:wait(20) or {}).signal)
    handle:close()
    assert_nothing_left()
  end)

  check("ends only what this command started", function ()
    local other <close> = assert(container:spawn { "sleep", "1000" })
    run_out { "sleep", "1000", timeout = 0.1 }
    assert.is_false(other:wait(0))
    other:kill "KILL"
    other:wait()
    assert_nothing_left()
  end)

  check("ends processes below the command where no cgroup can be made", function ()
    local paths = container.container.cgroup_paths
    container.container.cgroup_paths = {}
    local result = container:exec { "sh", "-c", "sh -c 'sleep 1000; :' & sleep 1000", timeout = 0.3 }
    container.container.cgroup_paths = paths
    assert.is_true(result.timed_out)
    containers.await_empty(ct)
  end)

  -- Where there is no v2 hierarchy to make the cgroup in, that of the v1 freezer does the same by other means.
  check("ends a fork bomb with the freezer of version 1", function ()
    local paths = container.container.cgroup_paths
    if not paths.freezer then return pending "no version 1 freezer in this view" end
    local only = {}
    for controller, path in pairs(paths) do only[controller] = controller ~= "" and path or nil end
    container.container.cgroup_paths = only
    local result = container:exec { "sh", "-c", "bomb() { bomb | bomb & }; bomb; setsid sleep 1000 & sleep 1000",
      timeout = 0.4, max_output = 0, rlimits = { { type = "RLIMIT_NPROC", soft = 200, hard = 200 } },
      user = { uid = tool.unique_uid(), gid = 4322 } }
    container.container.cgroup_paths = paths
    assert.is_true(result.timed_out)
    assert_nothing_left()
  end)
end)

describe("the command line's time-out", function ()
  check("is 124, and leaves nothing behind", function ()
    local script = "setsid sh -c 'trap \"\" TERM; sleep 1000; :' & sleep 1000"
    assert.equal(124, tool.run(("exec env %s %s --root %s exec --timeout 0.4 --kill-after 0.3 ct sh -c %s"):format(
      tool.lua_paths(), tool.ctrexec(), tool.quote(ct.root), tool.quote(script))).code)
    assert_nothing_left()
  end)
end)
