--- Ready-made requests for the specs of policies: `ctrexec policy test` loads this before the specs.
--
-- A spec finds `ctrexec_request` and `ctrexec_policy` as globals; a spec run by busted alone gets them as
-- `require("ctrexec.policy.testing").request` and `.policy`. Nothing is started in a container.
-- @module ctrexec.policy.testing
local fields = require "ctrexec.exec.fields"
local policy = require "ctrexec.policy"
local process = require "ctrexec.oci.process"
local requests = require "ctrexec.policy.request"

local testing = {}

-- The capabilities that docker gives a container by default.
local DEFAULT_CAPABILITIES = { "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW",
  "CAP_SETGID", "CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL",
  "CAP_AUDIT_WRITE" }

local LIMITS = { policy_time = 5, policy_memory = 32 * 1024 * 1024 }

local function copy(source, changes)
  local result = {}
  for name, value in pairs(source) do result[name] = value end
  for name, value in pairs(changes or {}) do result[name] = value end
  return result
end

local function defaults()
  local sets = {}
  for _, set in ipairs { "bounding", "effective", "permitted" } do sets[set] = copy(DEFAULT_CAPABILITIES) end
  return { cwd = "/", env = { "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" },
    user = { uid = 0, gid = 0 }, capabilities = sets }
end

--- Makes a request as `chain:check` takes it.
-- @tparam[opt] table spec the fields of a spec for `container:exec` (`args`, `env`, `user`, `terminal`, ...; by default
-- `sh` as root with docker's capabilities); `options`, which replace the options that the spec gives; `container`
-- (`annotations`, `labels`, `id`, ...) and `caller`, whose fields replace plain defaults; `config`; `files`, which maps
-- paths in the container to what `request:stat` returns for them
-- @treturn table request
-- @raise when the spec is not valid, or has an unknown field
function testing.request(spec)
  local wanted, own = copy(spec or {}), {}
  for _, name in ipairs { "options", "container", "caller", "config", "files" } do
    own[name], wanted[name] = wanted[name], nil
  end
  fields.demand(wanted, "check", {}, 2)
  if #wanted == 0 and not wanted.args and not wanted.process then wanted.args = { "sh" } end
  local object, message = process.build({ runtime = "runc", settings = {}, process = defaults }, wanted)
  if not object then error("ctrexec_request: " .. message, 2) end
  return {
    process = object, options = copy(requests.options(wanted), own.options),
    container = copy({ id = "test", runtime = "runc", root = "/run/runc", bundle = "/var/lib/test", pid = 1,
      status = "running", annotations = {}, labels = {} }, own.container),
    caller = copy({ uid = 0, gid = 0, user = "root", pid = 1, terminal = false, ancestry = {} }, own.caller),
    config = own.config or {}, lookup = wanted.lookup,
    stat = function(path) return (own.files or {})[path] end,
  }
end

local Policy = {}
Policy.__index = Policy

--- Has this policy, and no other, check a request.
-- @tparam table request of `testing.request`
-- @treturn table as `chain:check` returns
function Policy:check(request)
  local chain <close> = policy.from_sources({ limits = LIMITS }, self.sources)
  return chain:check(request)
end

--- Gives an event to the policy's `audit` function.
-- @tparam table event
-- @treturn[1] boolean true
-- @treturn[2] nil
-- @treturn[2] string message
function Policy:audit(event)
  local chain <close> = policy.from_sources({ limits = LIMITS }, self.sources)
  return chain:audit(event)
end

--- Reads a policy. Its file may belong to any user.
-- @tparam string path
-- @tparam[opt] string prelude Lua source that runs before the policy's own and with its globals: to set the clock
-- (`os.date = ...`) or to replace the path of a file
-- @treturn table policy, with `check` and `audit`
-- @raise when the file cannot be read
function testing.policy(path, prelude)
  local file, message = io.open(path)
  if not file then error("ctrexec_policy: " .. message, 2) end
  local source = file:read "a"
  file:close()
  -- The prelude goes onto the policy's first line, so that messages name the right lines.
  source = prelude and prelude:gsub("\n", " ") .. " " .. source or source
  local name = path:match "([^/]*)$":gsub("%.lua$", "")
  return setmetatable({ sources = { { name = name, source = source, folder = path:match "^(.*)/" or "." } } }, Policy)
end

rawset(_G, "ctrexec_request", testing.request)
rawset(_G, "ctrexec_policy", testing.policy)

return testing
