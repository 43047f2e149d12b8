--- Containers of an unprivileged user, and of root of that user's user namespace: `ctrexec exec` as that caller against
-- the runtime's exec, line by line; and what the runtimes have no counterpart for.

local matrix = require "tests.lib.matrix"
local rows = require "tests.lib.rows.rootless"
local suite = require "tests.lib.suite"
local tool = require "tests.lib.tool"
local variants = require "tests.lib.variants"
local world = require "tests.lib.world"

local MOUNTS_FOR_ROOT = { ["/sys"] = true, ["/sys/fs/cgroup"] = true }

-- Removes from `runc spec` what a caller without the rights of root cannot have.
local function rootless(mappings)
  return function (config)
    local kept, namespaces = {}, {}
    variants.drop_terminal_group(config)
    for _, mount in ipairs(config.mounts) do
      if not MOUNTS_FOR_ROOT[mount.destination] then
        kept[#kept + 1] = mount
      end
    end
    for _, namespace in ipairs(config.linux.namespaces) do
      if namespace.type ~= "cgroup" and namespace.type ~= "user" then
        namespaces[#namespaces + 1] = namespace
      end
    end
    config.mounts, config.linux.namespaces = kept, namespaces
    config.linux.cgroupsPath = nil
    if mappings then
      table.insert(namespaces, { type = "user" })
      config.linux.uidMappings, config.linux.gidMappings = mappings(world.SUB_UID), mappings(world.SUB_GID)
    end
  end
end

local function one_id()
  return { { containerID = 0, hostID = world.UID, size = 1 } }
end

local function many_ids(first)
  return { { containerID = 0, hostID = world.UID, size = 1 },
    { containerID = 1, hostID = first, size = world.SUB_COUNT } }
end

local reference = tool.runtime()

-- One set of rows for a kind of caller.
local function compare(name, options, mappings, has)
  local reason = world.missing(options.subids or options.inside)
  if reason then
    it("exec of a rootless caller: " .. name, function ()
      pending(reason)
    end)
  else
    variants.define(name, { world = function () return world.new(options) end, config = rootless(mappings) })
    matrix.define(reference, { rows(name, has) }, _ENV)
  end
end

-- runc's state names a cgroup that it could not make, crun's none.
local outside = reference == "runc"

compare("single", {}, one_id, { outside = outside })
compare("subids", { subids = true }, many_ids, { ids = 65537, outside = outside })
compare("inside", { inside = true }, nil, { ids = 65536, groups = true, outside = outside })
compare("delegated", { subids = true, delegated = true }, many_ids, { ids = 65537, few = true })

-- What has no counterpart in the runtimes.
describe("exec of a rootless caller", function ()
  for name, subids in pairs { ["one id"] = false, ["subordinate ids"] = true } do
    local reason = world.missing(subids) or variants.missing(reference)
    local check = suite(_ENV, reason)
    local function test(title, run)
      check(("%s (%s)"):format(title, name), run)
    end

    describe("with " .. name, function ()
      local ct, directory

      lazy_setup(function ()
        if reason then
          return
        end
        variants.define(name, { config = rootless(subids and many_ids or one_id),
          world = function () return world.new { subids = subids } end })
        ct, directory = variants.get(name, reference), variants.directory "other"
        -- Where its runtime would have put it.
        tool.sh("cd %s/run && rm -rf %s && ln -s %s %s", ct.world.dir, reference, ct.root, reference)
      end)
      lazy_teardown(variants.remove_all)

      local function ctrexec(arguments)
        return variants.run(arguments, { program = ct.world:command(tool.ctrexec()), directory = directory })
      end

      test("finds the container below XDG_RUNTIME_DIR", function ()
        assert.same({ 0, "found\n", "" }, { ctrexec "exec ct echo found" })
        assert.same({ 0, "found\n", "" }, { ctrexec "exec c echo found" })
        local status, list = ctrexec "list"
        assert.equal(0, status)
        assert.matches("\nct +" .. ct.pid .. " +running ", list)
      end)

      test("does not take another user's state for its own", function ()
        ct.world:own(directory)
        tool.sh("cd %s && cp -r %s copy && chown -R 54321 copy/ct && chown %s copy && chmod -R a+rX copy", directory,
          ct.root, world.UID)
        local status, _, message = ctrexec(("--root %s/copy exec ct true"):format(directory))
        assert.equal(255, status)
        assert.matches("/copy/ct: is owned by user 54321, must be owned by root or user 12345", message, 1, true)
      end)

      test("looks names up in the container", function ()
        local status, output, message = ctrexec "exec --user alice ct id -u"
        if subids then
          assert.same({ 0, "1000\n", "" }, { status, output, message })
        else
          assert.equal(255, status)
          assert.matches("cannot set uid to unmapped user in user namespace", message, 1, true)
        end
      end)

      test("enters by a pid", function ()
        local status, output = ctrexec(("exec --pid %d sh -c 'id -u; hostname; readlink /proc/1/exe'"):format(ct.pid))
        assert.same({ 0, ("0\n%s\n/bin/busybox\n"):format(reference) }, { status, output })
      end)

      test("ends the tree of a command at a time-out", function ()
        assert.equal(124, (ctrexec "exec --timeout 0.3 ct sh -c 'sleep 4321 & sleep 4321'"))
        local status, output = ctrexec "exec ct ps -o args"
        assert.equal(0, status)
        assert.is_nil(output:find("sleep 4321", 1, true))
      end)
    end)
  end
end)
