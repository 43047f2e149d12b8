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

-- Modules in C, which would be looked for as sources first, in every place.
table.insert(package.searchers, 2, function(name)
  local path = (name == "cjson" or name:find "^ctrexec%.core") and package.searchpath(name, package.cpath)
  return path and package.loadlib(path, "luaopen_" .. name:gsub("%.", "_")), path
end)

-- Compiling the sources takes longer than the rest of an exec. The compiled form (scripts/precompile.lua) is taken
-- while the source that would be loaded is the very file it was made from.
local file = require "ctrexec.core".file
local bundle = file.open((package.searchpath("ctrexec.core", package.cpath):gsub("core%.so$", "precompiled")))
if bundle then
  local data, modules = file.read_all(bundle, 1 << 24), {}
  local head, base = string.unpack("s", data)
  local count, at = string.unpack("j", head)
  for _ = 1, count do
    local module = {}
    module.name, module.size, module.mtime, module.offset, module.length, at = string.unpack("s1jnjj", head, at)
    modules[module.name] = module
  end
  table.insert(package.searchers, 2, function(name)
    local module = modules[name]
    local path = module and package.searchpath(name, package.path)
    local about = path and file.stat(path)
    if about and about.size == module.size and about.mtime == module.mtime then
      local first = base + module.offset
      return load(data:sub(first, first + module.length - 1), "=" .. name, "b"), path
    end
  end)
end

os.exit(require("ctrexec.command").main(arg))
