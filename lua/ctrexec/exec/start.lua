--- Starts the helper with a plan, and follows its events until the command runs.
-- @module ctrexec.exec.start
local core = require "ctrexec.core"
local late = require "ctrexec.lib.late"
local plans = require "ctrexec.exec.plan"
local failure = late "ctrexec.exec.failure" -- only a failed start needs it

local start = {}

local EINTR, ENOMEM, EPIPE = core.errno.EINTR, core.errno.ENOMEM, core.errno.EPIPE

-- The time for an entry: more than any needs. A process of the container may have stopped the process that enters, and
-- the caller must not wait for ever.
local ENTRY_SECONDS = 60 -- guard: entry_deadline

-- The helper's steps that join a cgroup. They fail where the cgroup is gone, takes no process because its children have
-- domain controllers, or gives a rootless caller no right.
local JOINS = { cgroup = true, tasks = true }

--- A command that is on its way in or has started.
-- @table started
-- @field pid of the command, in the caller's pid namespace
-- @field pidfd of the command (fd object)
-- @field terminal the pty's master (fd object), with `terminal` in the plan
-- @field entry the core's entry; nil once the command runs

local answer = {}

local function failed_call(message)
  return nil, failure.of_call(message)
end

-- Tells the helper to go on. EPIPE means that the helper has ended: the next event will say why.
local function go(state)
  local ok, message, errno = state.entry:go()
  if ok or errno == EPIPE then return true end
  return failed_call(message)
end

-- The command's process and the process that started it send events independently. So an event of the first, which
-- waits for an answer, may come before this event of the other: it was kept in `state.early`.
function answer.child(state, event)
  local message
  state.pid = event.pid
  state.pidfd, message = state.entry:pidfd()
  if not state.pidfd then return failed_call(message) end
  local early = state.early
  if not early then return true end
  state.early = nil
  return answer[early.event](state, early)
end

function answer.terminal(state, event)
  state.terminal = event.fd
  return true
end

function answer.listener(state, event)
  if not state.hooks.listener then
    return nil, "the seccomp profile wants a listener but names no listenerPath", "invalid"
  end
  local ok, message, code = state.hooks.listener(event.fd, state)
  event.fd:close()
  if not ok then return nil, message, code end
  return go(state)
end

function answer.ready(state)
  if state.hooks.ready then
    local ok, message, code = state.hooks.ready(state)
    if not ok then return nil, message, code end
  end
  if state.hooks.pause then
    state.hooks.pause = nil
    return "pause"
  end
  return go(state)
end

local WAITS = { listener = true, ready = true }

local function answer_to(state, event)
  if not state.pidfd and WAITS[event.event] then
    state.early = event
    return true
  end
  return answer[event.event](state, event)
end

-- How many processes of the container the kernel has killed for lack of memory; nil when the event has another cause.
-- The killed process may be the one that enters, or the container's init.
local function oom_kills(event, paths)
  if event.event ~= "died" and event.errno ~= ENOMEM then return nil end
  local base = paths and (paths.memory or paths[""])
  local folder <close> = base and core.cgroup.open(base, "/") or nil
  local count
  if folder then count = core.cgroup.oom_kills(folder) end -- guard: oom_kills
  return count or 0
end

local function close(state)
  state.entry:abort()
  if state.plan.tree then state.plan.tree:close() end
  for _, name in ipairs { "pidfd", "terminal" } do
    if state[name] then state[name]:close() end
    state[name] = nil
  end
end

-- Handles events until the command runs, waits at a pause or has failed.
local function follow(state)
  local clock = core.clock.now
  local deadline = state.hooks.seconds and clock() + state.hooks.seconds
  while true do
    local left = deadline and math.max(0, math.ceil((deadline - clock()) * 1000)) or nil
    local event, message, errno = state.entry:next(left)
    if event and answer[event.event] then
      local ok, why, code = answer_to(state, event)
      if not ok then
        close(state)
        return nil, why, code or "system"
      elseif ok == "pause" then
        return state
      end
    elseif event and event.event == "started" then
      state.entry = nil
      return state
    elseif event then
      close(state)
      state.failed = event
      return nil, failure.describe(event, state.plan, oom_kills(event, state.hooks.cgroup_paths))
    elseif event == false then
      close(state)
      return nil, ("the command did not start within %g seconds"):format(state.hooks.seconds), "timeout"
    elseif errno ~= EINTR then -- EINTR: a signal handler of the host program ran
      close(state)
      return failed_call(message)
    end
  end
end

local FAILED = "unable to start container process: "

local function begin(plan, hooks)
  -- core.spawn.start raises an error for what does not fit into a plan, such as an argument of 40 MiB.
  local ok, entry, message = pcall(core.spawn.start, plan)
  if not (ok and entry) then plans.discard(plan) end
  if not ok then return nil, FAILED .. entry, "invalid" end
  if not entry then return failed_call(message) end
  plans.close(plan) -- the helper has its own copies
  local state = { entry = entry, plan = plan, hooks = hooks }
  local started, why, code = follow(state)
  return started, why, code, state
end

--- Starts a plan and waits until the command runs.
-- @tparam table plan from `ctrexec.exec.plan`
-- @tparam table hooks `listener(fd, started)`: takes the seccomp listener; `ready(started)`: with `wait` in the plan,
-- called when all is done but the start; `pause`: return at that point, `resume` goes on; `seconds`: how long the
-- entry may take, false for no limit; `fallback(message)`: gives the plan to try instead when a cgroup of this one
-- cannot be joined, or nil; `cgroup_paths`: for the message of an out-of-memory kill
-- @treturn[1] started
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string code
function start.run(plan, hooks)
  if hooks.seconds == nil then hooks.seconds = ENTRY_SECONDS end
  while true do
    local started, message, code, state = begin(plan, hooks)
    local failed = state and state.failed
    if started or not (failed and JOINS[failed.step]) then return started, message, code end
    plan = hooks.fallback and hooks.fallback(message)
    if not plan then return nil, message, code end
  end
end

--- Lets a command that was started with `pause` run.
-- @tparam started state
-- @treturn[1] started
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string code
function start.resume(state)
  local ok, message, code = go(state)
  if not ok then
    close(state)
    return nil, message, code
  end
  return follow(state)
end

--- Ends a command that waits at a pause; does nothing to one that runs.
-- @tparam started state
function start.abort(state)
  if state.entry then close(state) end
end

return start
