--- Replaces modules of ctrexec by those of the site, one by one: `module_directory` of the configuration.
--
-- `require "ctrexec.command.options"` takes DIRECTORY/ctrexec/command/options.lua where that file exists and satisfies
-- `ctrexec.lib.trust`; `require "original.ctrexec.command.options"` still gives ctrexec's own module. The modules that
-- read the configuration are loaded before that and cannot be replaced: `ctrexec.command`, `ctrexec.site.config`,
-- `ctrexec.lib.reader`, this module and the C core.
-- @module ctrexec.site.modules
local core = require "ctrexec.core"
local readers = require "ctrexec.lib.reader"

local replace = {}

-- The names of the modules in ctrexec 0.1. A site's file under its old name must still be used: ignoring it would
-- silently drop whatever it enforces.
local NAMES_OF_0_1 = {
  audit = "policy.audit", child = "exec.handle", communicate = "exec.capture", completion = "command.completion",
  explain = "policy.explain", failure = "exec.failure", gate = "policy.gate", help = "command.help",
  hostenv = "exec.hostenv", inside = "container.inside", json = "lib.json", listener = "exec.listener",
  log = "command.log", members = "container.members", options = "command.options", plan = "exec.plan",
  process = "oci.process", ps = "container.ps", record = "policy.recording", start = "exec.start",
  streams = "exec.streams", tools = "exec.tools", tree = "exec.tree", users = "oci.users", watch = "policy.keeper",
  wording = "lib.wording",
}
local OLD_NAMES = {}
for old, new in pairs(NAMES_OF_0_1) do OLD_NAMES["ctrexec." .. new] = "ctrexec." .. old end

-- The present name of a module that is asked for by its name in ctrexec 0.1; nil for any other name.
local function renamed(name)
  local original, old = name:match "^(%w-%.?)ctrexec%.(%w+)$"
  local new = NAMES_OF_0_1[old]
  return new and original .. "ctrexec." .. new
end

local ENOENT = core.errno.ENOENT
-- The place of the search for the site's modules: after package.preload, before all that find ctrexec's own.
local POSITION = 2

local function path_of(directory, name)
  local path = ("%s/%s.lua"):format(directory, name:gsub("%.", "/"))
  local _, message, errno = core.file.stat(path, true)
  return path, errno == ENOENT, message
end

local function site_loader(directory, name)
  local path, missing, message = path_of(directory, name)
  if missing and OLD_NAMES[name] then path, missing, message = path_of(directory, OLD_NAMES[name]) end
  if missing then return ("no file '%s'"):format(path) end
  local reader <close> = readers.new()
  local text, real = reader:read(path)
  if not text then error(message or real, 0) end
  local chunk, problem = load(text, "@" .. path, "t")
  if not chunk then error(problem, 0) end
  return chunk, path
end

-- Finds the module that the site's replaces: asks the searchers that come after `ours`, the site's.
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

--- Has `require` find the modules of a directory before ctrexec's own, for the rest of this process.
-- @tparam string directory
function replace.install(directory)
  local function search(name)
    local new = renamed(name)
    if new then return function() return require(new) end end
    if name:find "^ctrexec%." then return site_loader(directory, name) end
    local original = name:match "^original%.(ctrexec%..*)$"
    if original then return original_loader(search, original) end
  end
  table.insert(package.searchers, POSITION, search)
end

--- Lua code that replaces the same modules in another Lua state, as the keeper's.
-- @tparam string directory
-- @treturn string
function replace.setup(directory)
  return ('require "ctrexec.site.modules".install(%q)'):format(directory)
end

return replace
