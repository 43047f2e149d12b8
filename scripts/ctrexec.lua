#!/usr/bin/lua5.4 -E
-- The ctrexec command. -E, because the environment of the engine that calls it must not change what it does.
collectgarbage("stop") -- the process ends soon: collecting garbage costs more than it saves

-- Modules are never loaded from the caller's working directory, where any user's files may lie.
package.path, package.cpath = package.path:gsub(";%./[^;]*", ""), package.cpath:gsub(";%./[^;]*", "")

-- In the source tree the modules lie beside this script. When ctrexec is installed, Lua finds them by itself.
local root = (arg[0]:match "^(.*)/[^/]*$" or ".") .. "/.."
local tree = io.open(root .. "/lua/ctrexec/init.lua")
if tree then
  tree:close()
  package.path = ("%s/lua/?.lua;%s/lua/?/init.lua;%s"):format(root, root, package.path)
  package.cpath = ("%s/build/lua/?.so;%s"):format(root, package.cpath)
end

-- The launcher (scripts/ctrexec.c) executes this script where a site has its own modules, and passes on the name under
-- which the launcher was called.
local words = arg
if arg[1] == "--launched-as" then words = table.move(arg, 3, #arg, 1, { [0] = arg[2] }) end

-- Finds modules in C at once: `require` alone would first look for a source of that name in every place.
table.insert(package.searchers, 2, function(name)
  local path = (name == "cjson" or name:find "^ctrexec%.core") and package.searchpath(name, package.cpath)
  return path and package.loadlib(path, "luaopen_" .. name:gsub("%.", "_")), path
end)

-- Finds the precompiled modules: compiling their sources takes longer than the rest of an exec.
local core, path = require "ctrexec.core"
local search = core.precompiled.searcher(path:gsub("core%.so$", "precompiled"), package)
if search then table.insert(package.searchers, 2, search) end

os.exit(require("ctrexec.command").main(words))
