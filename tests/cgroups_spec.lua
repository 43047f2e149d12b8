--- Control groups, besides the comparisons of tests/lib/rows/options.lua: removed cgroups, cgroups that are frozen from
-- above, containers without a cgroup or without memory. Tests of version 2 controllers are in
-- tests/vm/specs/cgroups.lua.

local cjson = require "cjson"
local containers = require "tests.lib.containers"
local matrix = require "tests.lib.matrix"
local suite = require "tests.lib.suite"
local tool = require "tests.lib.tool"
local variants = require "tests.lib.variants"

local view = tool.view()
local reference = tool.runtime()
local reason = variants.missing(reference)

matrix.define("runc", { {
  { name = "--cgroup with two colons", args = { "--cgroup", "pids:a:b" }, fails = true },
  { name = "--cgroup twice, without controllers", args = { "--cgroup", "/", "--cgroup", "/" }, fails = true },
  { name = "--cgroup twice, one without a controller", args = { "--cgroup", "pids:/", "--cgroup", "/" }, fails = true,
    view = "hybrid" },
  { name = "--cgroup twice for one controller: the last", on = "cgroups", view = "hybrid",
    args = { "--cgroup", "pids:nosuch", "--cgroup", "pids:sub" } },
  { name = "--cgroup of an empty controller", on = "cgroups", args = { "--cgroup", ":sub" } },
} }, _ENV)

describe("exec and cgroups", function ()
  lazy_teardown(variants.remove_all)

  local test = suite(_ENV, reason)

  local exec, name_of = variants.exec, containers.cgroup_name

  -- Below a cgroup of its own, so that a test may do what it likes there.
  local function nested(config)
    config.linux.cgroupsPath = config.linux.cgroupsPath .. "/own"
  end

  local HYBRID = view == "v2" and "version 1 is not in this view" or nil

  test("fall back to where the init now is when a group of version 1 is gone", function ()
    variants.define("moved in version 1", { config = nested, after = function (ct)
      tool.sh("cd /sys/fs/cgroup/freezer/%s && mkdir other && echo %s >other/cgroup.procs && rmdir own", name_of(ct),
        ct.init)
    end })
    local ct = variants.get("moved in version 1", reference)
    local status, output, errors = exec(ct, ct.id .. " cat /proc/self/cgroup")
    assert.same({ 0, "" }, { status, errors })
    assert.equal(tool.read(("/proc/%d/cgroup"):format(ct.pid)), output)
    assert.matches((":freezer:/%s/other\n"):format(name_of(ct)), output, 1, true)

    status, output, errors = exec(ct, ("--cgroup / %s true"):format(ct.id))
    assert.same({ 255, "" }, { status, output })
    assert.matches("^unable to start container process: error adding pid %d+ to cgroups: failed to write %d+: openat2 "
      .. "/sys/fs/cgroup/freezer/[^ ]+/own/cgroup.procs: no such file or directory$", errors)
  end, HYBRID)

  -- Frozen, but not by its runtime.
  test("see that a group above is frozen", function ()
    variants.define("frozen above", { config = nested })
    local ct = variants.get("frozen above", reference)
    local folder = view == "v2" and "/sys/fs/cgroup/" .. name_of(ct) or "/sys/fs/cgroup/freezer/" .. name_of(ct)
    local function freeze(on)
      if view == "v2" then
        tool.sh("echo %s >%s/cgroup.freeze", on and 1 or 0, folder)
      else
        tool.sh("echo %s >%s/freezer.state", on and "FROZEN" or "THAWED", folder)
      end
    end
    local function is_frozen()
      return (tool.read(folder .. "/own/cgroup.events") or tool.read(folder .. "/own/freezer.state")):find "frozen 1"
        or (tool.read(folder .. "/own/freezer.state") or ""):find "FROZEN"
    end
    freeze(true)
    tool.eventually(is_frozen, "frozen")
    local refused = { exec(ct, ct.id .. " true") }
    freeze(false)
    assert.same({ 255, "", "cannot exec in a paused container (use --ignore-paused to override)" }, refused)
    tool.eventually(function () return not is_frozen() end, "thawed")
    assert.same({ 0, "", "" }, { exec(ct, ct.id .. " true") })
  end)

  test("take nothing for a cgroup that is none", function ()
    local ct = variants.get("plain", reference)
    local root, fake = variants.directory "root", variants.directory "fake"
    tool.sh("cp -r %s/%s %s/ && mkdir %s/own && ln -s /sys/fs/cgroup/freezer %s/own/link && echo >%s/own/cgroup.procs",
      ct.root, ct.id, root, fake, fake, fake)
    local path = ("%s/%s/state.json"):format(root, ct.id)
    local state = cjson.decode(tool.read(path))
    state.cgroup_paths = { [""] = fake .. "/own" }
    tool.write(path, cjson.encode(state))
    for _, below in ipairs { "/", "link", "link/" .. name_of(ct) } do
      local status, output, errors = exec(ct, ("--cgroup %s %s true"):format(below, ct.id), { root = root })
      assert.same({ below, 255, "" }, { below, status, output })
      assert.matches("adding pid %d+ to cgroups: failed to write ", errors)
    end
    assert.equal("\n", tool.read(fake .. "/own/cgroup.procs"))
  end, reference == "crun" and "crun's state has no directories")

  -- Files in memory cannot be freed and belong to no process, so the process that enters is killed first when memory is
  -- used up.
  test("say that the container is out of memory", function ()
    variants.define("full", { after = function (ct)
      assert(ct:run_runtime("exec", "sh", "-c", "head -c 20000000 /dev/zero >/dev/shm/fill"))
      tool.sh("cd /sys/fs/cgroup/memory/%s && echo 1 >memory.force_empty && "
        .. "cat memory.usage_in_bytes >memory.limit_in_bytes", name_of(ct))
    end })
    local ct = variants.get("full", reference)
    local directory = variants.directory "process"
    tool.write(directory .. "/process.json",
      cjson.encode { args = { "/bin/true" }, cwd = "/", oomScoreAdj = 1000, env = { "A=1" } })
    local status, output, errors = exec(ct, ("--process %s/process.json %s"):format(directory, ct.id))
    assert.same({ 255, "" }, { status, output })
    assert.equal("unable to start container process: the process was killed by signal 9 before the command could start "
      .. "(out of memory: the container has had 1 kills for lack of memory)", errors)
  end, HYBRID)
end)
