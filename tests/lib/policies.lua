--- Common to the spec files about policies: a site of their own, one container under it, and the form of a denial.

local containers = require "tests.lib.containers"
local site_of = require "tests.lib.site"
local suite = require "tests.lib.suite"
local tool = require "tests.lib.tool"

local policies = {}

--- Options of a container whose image has only one static program.
function policies.bare()
  return {
    args = { "/sleep", "1000000" },
    rootfs = function (rootfs)
      tool.sh("cd %s && mv bin/busybox sleep && rm -rf bin etc", rootfs)
    end,
  }
end

--- Opens a spec file.
-- @tparam table env the spec file's `_ENV`, with busted's functions
-- @tparam func keep called with the site and the container once they are there
-- @tparam[opt] table options of the container
-- @tparam[opt] func clear called with the site before each test, once the site is empty again
-- @treturn table `check(title, test)`, as busted's `it`, which skips with the reason where no test can run here;
-- `run(words, options)`, ctrexec on the container; `ran()`, whether what `TOUCH` runs has run;
-- `assert_denied(result, message)`, where the message begins with the policy's name
function policies.suite(env, keep, options, clear)
  local assert = env.assert
  local site, ct
  local at = { TOUCH = { "exec", "ct", "touch", "/ran" } }
  at.check = suite(env, containers.missing(), function ()
    site = site_of.new()
    ct = site_of.container(options)
    keep(site, ct)
    return ct
  end, function ()
    site:clear()
    os.remove(ct.rootfs .. "/ran")
    if clear then clear(site) end
  end)
  env.teardown(function ()
    if site then site:remove() end
  end)

  function at.run(words, more) return site:run(ct, words, more) end

  function at.ran() return tool.exists(ct.rootfs .. "/ran") end

  function at.assert_denied(result, message)
    assert.equal(255, result.code, result.stderr)
    assert.equal("", result.stdout)
    assert.is_truthy(result.stderr:find("exec failed: denied by policy " .. message, 1, true), result.stderr)
    assert.is_false(at.ran())
  end

  return at
end

return policies
