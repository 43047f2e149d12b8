-- What the specs of policies share: a chain that says and keeps what a test wants, and a keeper that notes its jobs.
local keeper = require "ctrexec.policy.keeper"

local support = {}

local methods = {}

function methods:is_empty()
  return #self.policies == 0
end

function methods:listens()
  return self.listening
end

function methods:describe()
  return self.policies
end

function methods:audit(event)
  self.events[#self.events + 1] = event
  if self.deaf then return nil, self.deaf, "system" end
  return true
end

function methods:check(request)
  self.request = request
  local result = { decision = "accept", process = request.process, options = request.options, warnings = {},
    changes = {} }
  for name, value in pairs(self.answer and self.answer(request) or {}) do result[name] = value end
  return result
end

function methods:stop()
  self.calls[#self.calls + 1] = "stop"
end

function methods:close()
  self.calls[#self.calls + 1] = "close"
end

--- A chain of `ctrexec.policy`. It accepts all; `fields` of its own: `policies`, `config`, `limits`, `hooks`;
-- `listening`: whether events are wanted; `deaf`: why they cannot be kept; `answer(request)`: what takes the place in
-- the result of a check.
-- @treturn table `events`: those that it was told; `request`: the last that it was asked; `calls`: "stop" and "close"
function support.chain(fields)
  local chain = setmetatable({ policies = {}, config = {}, limits = {}, events = {}, calls = {}, listening = true },
    { __index = methods })
  for name, value in pairs(fields or {}) do chain[name] = value end
  return chain
end

--- The kinds of the events that a chain was told.
function support.kinds(chain)
  local kinds = {}
  for index, event in ipairs(chain.events) do kinds[index] = event.kind end
  return kinds
end

local start = keeper.start

--- Takes the place of the keeper until the test is over: no process is started.
-- @tparam table env the spec file's `_ENV`
-- @tparam[opt] string fault why no keeper can be started
-- @treturn table the jobs that keepers were started with; their field `pidfd` is the command's
function support.keepers(env, fault)
  local jobs = {}
  env.finally(function() keeper.start = start end)
  function keeper.start(_, pidfd, job)
    job.pidfd = pidfd
    jobs[#jobs + 1] = job
    if fault then return nil, fault end
    return true
  end
  return jobs
end

return support
