--- Common to the spec files that make one container for many tests.

--- Tests that say why they cannot run here, and a container for them that is made once and removed at the end.
-- @tparam table env the spec file's `_ENV`, with busted's functions
-- @tparam string|nil skip why nothing can be tested here
-- @tparam[opt] func make makes the container, keeps what the file needs of it, and returns it
-- @tparam[opt] func clear called with the container before each test
-- @treturn func check(title, test, unless): as busted's `it`; `unless` is why this test cannot run here, or nil
return function (env, skip, make, clear)
  local ct
  if not skip and make then
    env.setup(function () ct = make() end)
    env.teardown(function ()
      if ct then assert(ct:remove()) end
    end)
  end
  if clear then
    env.before_each(function ()
      if ct then clear(ct) end
    end)
  end
  return function (title, test, unless)
    env.it(title, function ()
      if skip or unless then return env.pending(skip or unless) end
      return test()
    end)
  end
end
