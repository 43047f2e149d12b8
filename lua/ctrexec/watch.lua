--- Waits, in a process of its own, for the end of a command that nobody waits for, and records it.
--
-- The command is another's child: the watcher must not reap it and cannot. Its status comes from /proc while it is a
-- zombie, else from the kernel (Linux 6.15 keeps it for those who hold a pidfd); on older kernels it may be lost to a
-- reaper that is faster, and the event says that the status is unknown.
-- @module ctrexec.watch
local core = require "ctrexec.core"

local watch = {}

local KEPT_FD = 3
local TICKS = 100 -- USER_HZ, the unit of times in /proc
-- How long a zombie is waited for to be reaped, where only that makes its status known.
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

-- wait(2)'s encoding.
local function status_of(code)
  if code & 127 == 0 then return { status = code >> 8 & 255 } end
  return { signal = code & 127 }
end

local function from_zombie(pidfd)
  local pid = core.pidfd.pid(pidfd)
  local fields = pid and stat_fields(pid) or {}
  -- The number is the command's as long as the pidfd still says so after it was looked at.
  if not ZOMBIE[fields[1]] or not field(fields, 52) or core.pidfd.pid(pidfd) ~= pid then return nil end
  local outcome = status_of(field(fields, 52))
  outcome.user_time, outcome.system_time = field(fields, 14) / TICKS, field(fields, 15) / TICKS
  return outcome
end

-- The hang-up of a pidfd, which needs no asking for, comes when the process is reaped.
local function from_kernel(pidfd)
  core.pidfd.poll({ { fd = pidfd } }, REAP_MILLISECONDS)
  local result = core.pidfd.wait(pidfd, { nohang = true })
  if not result then return nil end
  return result.reason == "exited" and { status = result.status } or { signal = result.status }
end

local function wait_for_end(pidfd)
  repeat
    local ready, _, errno = core.pidfd.poll { { fd = pidfd, read = true } }
  until ready or errno ~= 4 -- EINTR
end

-- The life of the watcher.
local function run(job)
  wait_for_end(KEPT_FD)
  local outcome = from_zombie(KEPT_FD) or from_kernel(KEPT_FD) or { status_unknown = true }
  local audit = require "ctrexec.audit"
  outcome.duration = audit.seconds(core.pidfd.clock() - job.began)
  job.event.outcome, job.event.time = outcome, audit.timestamp()
  local chain <close> = require "ctrexec.policy".from_sources(job.config, job.policies)
  chain:audit(job.event)
end

-- What the new state starts with: it finds its modules as this program does.
local CHUNK = [[
local job = ...
package.path, package.cpath = job.path, job.cpath
if job.module_directory then require "ctrexec.replace".install(job.module_directory) end
require "ctrexec.watch".run(job)
]]

watch.run = run

-- The watcher's working directory is another.
local function absolute(templates)
  local here = core.file.realpath "."
  return (templates:gsub("[^;]+", function(template)
    return template:sub(1, 1) ~= "/" and here and here .. "/" .. template or nil
  end))
end

--- Starts a watcher.
-- @tparam table chain of `ctrexec.policy`, which gets the event
-- @tparam fd pidfd of the command
-- @tparam table event "exit" of `ctrexec.audit.event`, without its outcome
-- @tparam number began when the command was started, by the monotonic clock
-- @treturn[1] boolean true
-- @treturn[2] nil
-- @treturn[2] string message
function watch.start(chain, pidfd, event, began)
  local policies = {}
  for index, entry in ipairs(chain.policies) do
    policies[index] = { name = entry.name, source = entry.source, folder = entry.folder }
  end
  return core.background.start(CHUNK, {
    path = absolute(package.path), cpath = absolute(package.cpath), event = event, began = began,
    config = chain.config, policies = policies, module_directory = chain.config.module_directory,
  }, pidfd)
end

return watch
