--- Builds a test-only module from tests/helpers and loads it: what specs need of C that is no part of the product.
local support = require "spec.core.support"

--- The module `name` from tests/helpers/NAME.c; `libraries` are linker flags.
return function (name, libraries)
  local directory, remove = support.directory()
  local object = directory .. "/" .. name .. ".so"
  support.output(("gcc -std=c11 -D_GNU_SOURCE -fPIC -shared -O1 -I/usr/include/lua5.4 -o %s tests/helpers/%s.c %s")
    :format(support.quote(object), name, libraries or ""))
  local open = assert(package.loadlib(object, "luaopen_" .. name))
  remove()
  return open()
end
