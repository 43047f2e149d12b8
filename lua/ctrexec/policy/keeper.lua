--- The keeper: a background process that waits for the end of a command. It writes the exit event when no other process
-- will see the end, and ends the command, or what the command left behind, when its time is over.
--
-- The command is the child of another process, so the keeper cannot reap it. The keeper takes the status from /proc
-- while the command is a zombie, else from the kernel (Linux 6.15 keeps it for those who hold a pidfd). On older
-- kernels the parent may reap the command before the keeper looks; the event then says that the status is unknown.
-- @module ctrexec.policy.keeper
local audit = require "ctrexec.policy.audit"
local chains = require "ctrexec.policy"
local core = require "ctrexec.core"
local limits = require "ctrexec.exec.limits"
local trees = require "ctrexec.exec.tree"

local keeper = {}

local EINTR = core.errno.EINTR

-- The keeper's descriptors: the command's pidfd and, where the keeper must end the command's tree, the command's own
-- cgroup (FOLDER) and the cgroup above it (BASE).
local PIDFD, BASE, FOLDER = 3, 4, 5
local TICKS = 100 -- USER_HZ, the unit of times in /proc
-- How long the keeper waits for the parent to reap a zombie: the kernel tells the status only after that.
local REAP_MILLISECONDS = 10000
local ZOMBIE = { Z = true, X = true }

-- The fields of proc_pid_stat(5) after the name: 3 (state) is the first.
local function stat_fields(pid)
  local file <close> = io.open(("/proc/%d/stat"):format(pid))
  local text = file and file:read "a"
  local fields = {}
  for word in (text and text:match "^.*%) (.*)$" or ""):gmatch "%S+" do fields[#fields + 1] = word end
  return fields
end

local function field(fields, number)
  return math.tointeger(tonumber(fields[number - 2]))
end

-- Decodes a status as wait(2) gives it.
local function status_of(code)
  if code & 127 == 0 then return { status = code >> 8 & 255 } end
  return { signal = code & 127 }
end

local function from_zombie(pidfd)
  local pid = core.pidfd.pid(pidfd)
  local fields = pid and stat_fields(pid) or {}
  -- The pid may have been given to another process before /proc was read: the pidfd is asked once more.
  if not ZOMBIE[fields[1]] or not field(fields, 52) or core.pidfd.pid(pidfd) ~= pid then return nil end
  local outcome = status_of(field(fields, 52))
  outcome.user_time, outcome.system_time = field(fields, 14) / TICKS, field(fields, 15) / TICKS
  return outcome
end

-- A pidfd hangs up when its process is reaped; poll(2) reports a hang-up without being asked for it.
local function from_kernel(pidfd)
  core.poll.wait({ { fd = pidfd } }, REAP_MILLISECONDS)
  local result = core.pidfd.wait(pidfd, { nohang = true })
  if not result then return nil end
  return result.reason == "exited" and { status = result.status } or { signal = result.status }
end

-- Returns false when the deadline, by the monotonic clock, comes before the end of the process.
local function wait_for_end(pidfd, deadline)
  local ready, _, errno
  repeat
    local left = deadline and math.max(0, math.ceil((deadline - core.clock.now()) * 1000))
    ready, _, errno = core.poll.wait({ { fd = pidfd, read = true } }, left)
  until ready ~= nil or errno ~= EINTR
  return ready ~= false
end

local function owned_tree(about)
  local wrap = core.fd.wrap
  if not about.name then return trees.adopt() end
  return trees.adopt(wrap(BASE), wrap(FOLDER), about.name, about.controller)
end

-- Sends the signals of the time limit until the command has ended.
local function keep_limit(limit, tree)
  repeat
    local left = limit:left()
    local ended = wait_for_end(PIDFD, left and core.clock.now() + left)
    local signal = not ended and limit:due()
    if signal == "TERM" then
      tree:signal(PIDFD, core.signal.numbers.TERM)
    elseif signal then
      tree:kill(PIDFD)
    end
  until ended
end

-- The processes that the command left behind get the rest of the time limit, then its signals.
local function keep_rest(limit, tree)
  while not tree:wait_until_empty(core.clock.now() + (limit:left() or limit:grace())) do
    local signal = limit:due()
    if signal == "TERM" then
      tree:signal(PIDFD, core.signal.numbers.TERM)
    else
      return tree:kill(PIDFD)
    end
  end
end

local function tell(job, outcome)
  outcome.duration = audit.seconds(core.clock.now() - job.began)
  job.event.outcome, job.event.time = outcome, audit.timestamp()
  local chain <close> = chains.from_sources(job.config, job.policies)
  chain:audit(job.event)
end

-- The life of the keeper. It calls `ready` once all its modules are loaded: a keeper that lacks one fails before that.
local function run(job, ready)
  local limit = limits.new(job.timeout, job.kill_after)
  local tree <close> = job.tree and owned_tree(job.tree)
  ready()
  if tree then keep_limit(limit, tree) else wait_for_end(PIDFD) end
  local outcome = job.event and (from_zombie(PIDFD) or from_kernel(PIDFD) or { status_unknown = true })
  if limit:is_over() then keep_rest(limit, tree) end
  if outcome and limit:is_over() then outcome.timed_out = true end
  -- What is wrong with the trail must not be the end of the limit.
  if outcome then pcall(tell, job, outcome) end
  if job.lasting and not limit:is_over() then keep_rest(limit, tree) end
end

-- The first code of the keeper's Lua state. It sets the module paths of the program that started the keeper.
local CHUNK = [[
local job, ready = ...
package.path, package.cpath = job.path, job.cpath
if job.setup then load(job.setup)() end
require "ctrexec.policy.keeper".run(job, ready)
]]

keeper.run = run

-- Relative module paths are made absolute, because the keeper runs in another working directory.
local function absolute(templates)
  local here = core.file.realpath "."
  return (templates:gsub("[^;]+", function(template)
    return template:sub(1, 1) ~= "/" and here and here .. "/" .. template or nil
  end))
end

--- Starts a keeper and returns when it is ready.
-- @tparam table chain of `ctrexec.policy`, which gets the event
-- @tparam fd pidfd of the command
-- @tparam table job `event`, an "exit" event of `ctrexec.policy.audit.event` without its outcome, or nil when the
-- keeper writes none; `began`, when the command was started, by the monotonic clock; where the keeper must end the
-- command `tree` (of `ctrexec.exec.tree`; the keeper also removes its cgroup), `timeout` and `kill_after` (seconds);
-- `lasting`, true where the limit holds for what the command leaves behind, too
-- @treturn[1] boolean true
-- @treturn[2] nil
-- @treturn[2] string message
function keeper.start(chain, pidfd, job)
  local policies = {}
  for index, one in ipairs(job.event and chain.policies or {}) do
    policies[index] = { name = one.name, source = one.source, folder = one.folder }
  end
  local tree = job.tree
  local argument = {
    path = absolute(package.path), cpath = absolute(package.cpath), config = chain.config, policies = policies,
    setup = chain.config.setup, event = job.event, began = job.began,
    tree = tree and { name = tree.name, controller = tree.controller },
    timeout = job.timeout, kill_after = job.kill_after, lasting = job.lasting,
  }
  if not (tree and tree.folder) then return core.background.start(CHUNK, argument, pidfd) end
  return core.background.start(CHUNK, argument, pidfd, tree.base, tree.folder)
end

return keeper
