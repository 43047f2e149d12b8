#!/usr/bin/lua5.4 -E
-- The ctrexec command. -E: what it does must not depend on the environment of the engine that calls it.

-- In the source tree the modules lie beside this script; installed, Lua finds them by itself.
local root = (arg[0]:match "^(.*)/[^/]*$" or ".") .. "/.."
local tree = io.open(root .. "/lua/ctrexec/init.lua")
if tree then
  tree:close()
  package.path = ("%s/lua/?.lua;%s/lua/?/init.lua;%s"):format(root, root, package.path)
  package.cpath = ("%s/build/lua/?.so;%s"):format(root, package.cpath)
end
collectgarbage("setpause", 1000) -- too short a life to be worth cleaning up after

os.exit(require("ctrexec.command").main(arg))
