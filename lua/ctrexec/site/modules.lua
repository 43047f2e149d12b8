--- Replaces modules of ctrexec by those of the site, one by one: `module_directory` of the configuration.
--
-- `require "ctrexec.command.options"` takes DIRECTORY/ctrexec/command/options.lua where there is one, under the rules
-- of `ctrexec.lib.trust`, and `require "original.ctrexec.command.options"` still gives the one that was replaced. What
-- is needed to read the configuration is loaded by then and cannot be replaced: `ctrexec.command`,
-- `ctrexec.site.config`, `ctrexec.lib.trust`, this module and the C core.
-- @module ctrexec.site.modules
local core = require "ctrexec.core"
local trust = require "ctrexec.lib.trust"

local replace = {}

local ENOENT = core.errno.ENOENT
-- After package.preload, before everything that looks for the modules of ctrexec.
local POSITION = 2

local function site_loader(directory, name)
  local path = ("%s/%s.lua"):format(directory, name:gsub("%.", "/"))
  local _, message, errno = core.file.stat(path, true)
  if errno == ENOENT then return ("no file '%s'"):format(path) end
  local reader <close> = trust.reader()
  local text, real = reader:read(path)
  if not text then error(message or real, 0) end
  local chunk, problem = load(text, "@" .. path, "t")
  if not chunk then error(problem, 0) end
  return chunk, path
end

-- What the searchers after ours find, under the name that the module has there.
local function original_loader(ours, name)
  local found = false
  for _, search in ipairs(package.searchers) do
    if found then
      local loader, where = search(name)
      if type(loader) == "function" then return function() return loader(name, where) end, where end
    end
    found = found or search == ours
  end
  return ("no original of '%s'"):format(name)
end

--- Puts a directory's modules before ctrexec's own for the rest of this process.
-- @tparam string directory
function replace.install(directory)
  local function search(name)
    if name:find "^ctrexec%." then return site_loader(directory, name) end
    local original = name:match "^original%.(ctrexec%..*)$"
    if original then return original_loader(search, original) end
  end
  table.insert(package.searchers, POSITION, search)
end

--- The Lua code by which another Lua state of ctrexec has the same modules replaced.
-- @tparam string directory
-- @treturn string
function replace.setup(directory)
  return ('require "ctrexec.site.modules".install(%q)'):format(directory)
end

return replace
