--- What the spec files about policies have in common: a site of their own, one container under it, and what a denial
-- looks like.

local site_of = require "tests.lib.site"
local suite = require "tests.lib.suite"

local policies = {}

local function exists(path)
  local file = io.open(path)
  if file then file:close() end
  return file ~= nil
end

--- Opens a spec file.
-- @tparam table env the file's `_ENV`, which has what busted gives it
-- @tparam func make is given the site, keeps it, makes the container and returns it
-- @tparam[opt] func clear called with the site before each test, when nothing of the test before is left in it
-- @treturn table `check(title, test)`, as busted's `it`, with the reason where nothing can be tested here;
-- `run(words, options)`, ctrexec on the container; `ran()`, whether what `TOUCH` runs has run;
-- `assert_denied(result, message)`, where the message begins with the policy's name
function policies.suite(env, make, clear)
  local assert = env.assert
  local site, ct
  local at = { TOUCH = { "exec", "ct", "touch", "/ran" } }
  at.check = suite(env, site_of.missing(), function ()
    site = site_of.new()
    ct = make(site)
    return ct
  end, function ()
    site:clear()
    os.remove(ct.rootfs .. "/ran")
    if clear then clear(site) end
  end)
  env.teardown(function ()
    if site then site:remove() end
  end)

  function at.run(words, options) return site:run(ct, words, options) end

  function at.ran() return exists(ct.rootfs .. "/ran") end

  function at.assert_denied(result, message)
    assert.equal(255, result.code, result.stderr)
    assert.equal("", result.stdout)
    assert.is_truthy(result.stderr:find("exec failed: denied by policy " .. message, 1, true), result.stderr)
    assert.is_false(at.ran())
  end

  return at
end

return policies
