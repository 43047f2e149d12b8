-- Execs in a container of its own: lua5.4 tests/valgrind/execs.lua COUNT
package.path = "./lua/?.lua;./lua/?/init.lua;./?.lua;" .. package.path
package.cpath = "./build/lua/?.so;" .. package.cpath

local ct = require "tests.lib.containers".new()
local ok, message = pcall(assert(loadfile "tests/module/host_script.lua"), ct.root, "ct", arg[1], 1)
ct:remove()
if not ok then
  print(message)
  os.exit(1, true)
end
