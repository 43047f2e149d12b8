#!/usr/bin/lua5.4 -E
-- The ctrexec command. -E: what it does must not depend on the environment of the engine that calls it.
collectgarbage("stop") -- too short a life to be worth cleaning up after

-- In the source tree the modules lie beside this script; installed, Lua finds them by itself.
local root = (arg[0]:match "^(.*)/[^/]*$" or ".") .. "/.."
local tree = io.open(root .. "/lua/ctrexec/init.lua")
if tree then
  tree:close()
  package.path = ("%s/lua/?.lua;%s/lua/?/init.lua;%s"):format(root, root, package.path)
  package.cpath = ("%s/build/lua/?.so;%s"):format(root, package.cpath)
end

-- Compiling the sources takes longer than the rest of an exec. The compiled form is taken while the source that would
-- be loaded is the very file it was made from.
local core = require "ctrexec.core"
local compiled = loadfile(package.searchpath("ctrexec.core", package.cpath):gsub("core%.so$", "precompiled"), "b")
if compiled then
  local modules = compiled()
  table.insert(package.searchers, 2, function(name)
    local module = modules[name]
    local path = module and package.searchpath(name, package.path)
    local about = path and core.file.stat(path)
    if about and about.size == module.size and about.mtime == module.mtime then
      return load(module.code, "=" .. name, "b"), path
    end
  end)
end

os.exit(require("ctrexec.command").main(arg))
