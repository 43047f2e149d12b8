--- The site's rules for the command: the configuration, and containers opened under the site's policies.
-- @module ctrexec.command.open
local config = require "ctrexec.site.config"
local late = require "ctrexec.lib.late"
local chains = late "ctrexec.policy" -- a site may have no policies
local modules = late "ctrexec.site.modules" -- only a site that replaces modules needs it
local public = late "ctrexec" -- loaded once the site's modules can replace its parts

local site = {}

local Site = {}
Site.__index = Site

--- Reads the site's configuration; from here on the site's modules replace those of ctrexec.
--
-- It does not fail: under a configuration that cannot be used every exec is denied.
-- @tparam[opt] string directory instead of /etc/ctrexec, for programs that call this; no option of the command sets it
-- @treturn table site: `settings` of `ctrexec.site.config.load`; `fault`, a message where the configuration is unusable
function site.load(directory)
  local settings, fault = config.load(directory)
  if settings and settings.module_directory then
    modules.install(settings.module_directory)
    settings.setup = modules.setup(settings.module_directory)
  end
  return setmetatable({ settings = settings or config.defaults(), fault = fault }, Site)
end

-- The chain of an exec; nil when neither the site nor the caller has policies, limits, recordings or an audit trail.
local function chain_of(self, files)
  local settings = self.settings
  if self.fault then return chains.refusal(self.fault) end
  if #settings.policy_directories == 0 and not files and not settings.audit and not settings.record
    and not settings.limits.exec_timeout then
    return nil
  end
  return chains.load(settings, files)
end

--- Opens a container; every exec in it passes the site's policies.
-- @tparam string id
-- @tparam table options of `ctrexec.open`: `root` (an empty one counts as none), `pid`
-- @tparam[opt] {string,...} files further policies
-- @treturn[1] container of the public module; closing the container ends the policies' process
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string code
function Site:open(id, options, files)
  -- The chain comes first: its process compiles the policies while this one looks for the container.
  local chain = chain_of(self, files)
  local container, message, code = public.open(id, {
    root = options.root ~= "" and options.root or nil, pid = options.pid, roots = self.settings.roots, policy = chain,
    digest = not self.settings.module_directory, -- a replaced reader may read the state in another way
  })
  if not container then
    if chain then chain:close() end
    return nil, message, code
  end
  container.owns_policy, container.one_exec = chain ~= nil, true
  return container
end

return site
