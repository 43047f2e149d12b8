--- The conversation with the process in which the policies of a chain run (core/sandbox.c says why they have one).
-- @module ctrexec.policy.exchange
local core = require "ctrexec.core"
local readers = require "ctrexec.lib.reader"

local exchange = {}

-- The chunks that run in the policies' process, by module name. The searchers of `require` find each one, so that
-- precompiled modules and modules of the site count here, too. Each is dumped once.
local dumped = {}

local function chunk_of(name)
  if dumped[name] then return dumped[name] end
  for _, search in ipairs(package.searchers) do
    local loader = search(name)
    if type(loader) == "function" then
      dumped[name] = string.dump(loader, true)
      return dumped[name]
    end
  end
  error("module '" .. name .. "' not found")
end

local MIB = 1024 * 1024

--- Starts the policies' process, for the first time or once more after a policy that broke its limits has ended it.
-- @tparam table chain of `ctrexec.policy`; where the process cannot be started, its `failure` says why
function exchange.start(chain)
  local limits = chain.limits
  local policies = {}
  for index, one in ipairs(chain.policies) do
    policies[index] = { name = one.name, source = one.source, folder = one.folder }
  end
  local sandbox, message = core.sandbox.start {
    chunk = chunk_of "ctrexec.policy.worker",
    argument = {
      policies = policies, view = chunk_of "ctrexec.policy.view",
      memory_mib = math.max(1, limits.policy_memory // MIB | 0),
    },
    time_limit = limits.policy_time,
    memory_limit = limits.policy_memory,
    -- How long the parent waits for a reply. The policies' process itself times each policy, as it loads and as it
    -- checks.
    patience = (2 * #policies + 1) * limits.policy_time + 1,
  }
  if not sandbox and not chain.failure then
    chain.failure = { name = "ctrexec", reason = "the policies cannot be run: " .. message }
  end
  chain.sandbox = sandbox
end

local function module_source(folder, name)
  if not (name and name:find "^[%w_][%w_.-]*$") or name:find("..", 1, true) then
    return { problem = "not a module's name" }
  end
  local reader <close> = readers.new()
  local path = ("%s/modules/%s.lua"):format(folder, name:gsub("%.", "/"))
  local text, message = reader:read(path)
  if not text then return { problem = message } end
  return { source = text, path = path }
end

local function called(provider, ...)
  local value = type(provider) == "function" and provider(...) or provider
  return type(value) ~= "function" and value or nil
end

local ROOT = { path = true, directory = true }
local INSIDE = { in_root = true, no_magiclinks = true }

-- O_PATH does not open the file itself: a fifo or a device of the container could block the open or act on it.
local function stat_inside(pid, path)
  local root <close> = core.file.open(("/proc/%d/root"):format(pid or 0), ROOT)
  local fd <close> = root and core.file.openat(root, path, { path = true }, INSIDE)
  return fd and core.file.stat(fd) or nil
end

local ASKED = { caller = true, names = true, origin = true, config = true }

local function answer(request, need)
  local kind, rest = need:match "^(%a+):?(.*)$"
  if ASKED[kind] then return called(request[kind]) end
  if kind == "user" or kind == "group" then return request.lookup and called(request.lookup, kind, rest) end
  if kind == "file" then
    if request.stat then return called(request.stat, rest) end
    return stat_inside((request.container or {}).pid, rest)
  end
  if kind == "module" then return module_source(rest:match "^(.*):([^:]*)$") end
end

--- Sends a job to the policies' process, answers its questions, and returns its reply. Any message that is neither a
-- question nor the reply to this job is a failure: it must not let the exec go on.
-- @tparam table chain of `ctrexec.policy`
-- @tparam string kind "check", "describe" or "audit"
-- @param job a plain value
-- @tparam table request of `chain:check`, for the answers
-- @treturn[1] table the reply
-- @treturn[2] nil
-- @treturn[2] string the policy to blame
-- @treturn[2] string why
function exchange.ask(chain, kind, job, request)
  if not chain.sandbox then exchange.start(chain) end
  local sandbox = chain.sandbox
  if not sandbox then return nil, chain.failure.name, chain.failure.reason end
  local sent, problem, errno = sandbox:send { [kind] = job }
  if not sent and not errno then return nil, "ctrexec", "the request cannot be passed to the policies" .. problem end
  while true do
    local reply, message, unit = sandbox:receive()
    if type(reply) == "table" and type(reply.need) == "string" then
      -- An answer that cannot be packed becomes nil: the policy must still get an answer.
      if not sandbox:send((answer(request, reply.need))) then sandbox:send(nil) end
    elseif type(reply) == "table" and reply.to == kind then
      return reply
    else
      sandbox:close()
      chain.sandbox = nil
      local blamed = chain.policies[unit or 0]
      if message == "timeout" then message = ("it took longer than %g s"):format(chain.limits.policy_time) end
      return nil, blamed and blamed.name or "ctrexec", message or "malformed answer"
    end
  end
end

return exchange
