#!/usr/bin/lua5.4 -E
-- The ctrexec command. -E: what it does must not depend on the environment of the engine that calls it.
collectgarbage("stop") -- too short a life to be worth cleaning up after

-- What lies in the caller's directory is nobody's module: it may be anybody's.
package.path, package.cpath = package.path:gsub(";%./[^;]*", ""), package.cpath:gsub(";%./[^;]*", "")

-- In the source tree the modules lie beside this script; installed, Lua finds them by itself.
local root = (arg[0]:match "^(.*)/[^/]*$" or ".") .. "/.."
local tree = io.open(root .. "/lua/ctrexec/init.lua")
if tree then
  tree:close()
  package.path = ("%s/lua/?.lua;%s/lua/?/init.lua;%s"):format(root, root, package.path)
  package.cpath = ("%s/build/lua/?.so;%s"):format(root, package.cpath)
end

-- The launcher (scripts/ctrexec.c) gives way to this script, and says under which name it was called.
local words = arg
if arg[1] == "--launched-as" then words = table.move(arg, 3, #arg, 1, { [0] = arg[2] }) end

-- Modules in C, which would be looked for as sources first, in every place.
table.insert(package.searchers, 2, function(name)
  local path = (name == "cjson" or name:find "^ctrexec%.core") and package.searchpath(name, package.cpath)
  return path and package.loadlib(path, "luaopen_" .. name:gsub("%.", "_")), path
end)

-- Compiling the sources takes longer than the rest of an exec.
local core, path = require "ctrexec.core"
local search = core.precompiled.searcher(path:gsub("core%.so$", "precompiled"), package)
if search then table.insert(package.searchers, 2, search) end

os.exit(require("ctrexec.command").main(words))
