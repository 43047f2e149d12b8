-- Control groups of version 2 with controllers, which a machine with hybrid hierarchies has not: tests/vm/run.
local cjson = require "cjson"
local matrix = require "tests.lib.matrix"
local tool = require "tests.lib.tool"
local variants = require "tests.lib.variants"

-- The rows of the comparison that need controllers, and the rows that belong to them.
local rows = {}
for _, row in ipairs(require "tests.lib.rows.options") do
  if row.name:find "^cgroup is " then
    rows[#rows + 1] = row
  end
end

for _, runtime in ipairs { "runc", "crun" } do
  matrix.define(runtime, { rows }, _ENV)

  describe("exec with controllers of version 2 (" .. runtime .. ")", function ()
    lazy_teardown(variants.remove_all)

    local exec = variants.exec

    it("joins the cgroup of the init where the container's takes no process, unless it is named", function ()
      local ct = variants.get("busy", runtime)
      assert.same({ 0, "0::/init\n0::/init\n", "" }, { exec(ct, ct.id .. " cat /proc/self/cgroup /proc/1/cgroup") })
      local status, output, errors = exec(ct, ("--cgroup / %s true"):format(ct.id))
      assert.same({ 255, "" }, { status, output })
      assert.matches("adding pid %d+ to cgroups: failed to write %d+: write .*: device or resource busy$", errors)
    end)

    it("says that the container is out of memory", function ()
      variants.define("full", { after = function (ct)
        assert(ct:run_runtime("exec", "/bin/sh", "-c", "head -c 20000000 /dev/zero >/dev/shm/fill"))
        tool.sh("cd %s && cat memory.current >memory.max && cat memory.current >memory.max", ct.cgroup)
      end })
      local ct = variants.get("full", runtime)
      local directory = variants.directory "process"
      tool.write(directory .. "/process.json",
        cjson.encode { args = { "/bin/true" }, cwd = "/", oomScoreAdj = 1000, env = { "A=1" } })
      local status, output, errors = exec(ct, ("--process %s/process.json %s"):format(directory, ct.id))
      assert.same({ 255, "" }, { status, output })
      assert.matches("out of memory: the container has had %d+ kills for lack of memory", errors)
    end)

    it("counts the command in the container's pids limit", function ()
      variants.define("few", { after = function (ct)
        tool.sh("cd %s && echo 1 >pids.max", ct.cgroup)
      end })
      local status, output, errors = exec(variants.get("few", runtime), "ct true")
      assert.same({ 255, "" }, { status, output })
      assert.matches("^unable to start container process: .*resource temporarily unavailable", errors)
    end)
  end)
end

it("exec --pid refuses a kernel thread", function ()
  assert.same({ 255, "", "process 2 is a kernel thread" }, { variants.run "exec --pid 2 true" })
  variants.remove_all()
end)
