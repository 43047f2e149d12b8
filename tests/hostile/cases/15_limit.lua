-- A command tries to outlive the time limit of a policy.

local lib = require "tests.hostile.lib"
local core = require "ctrexec.core"

local LIMIT, LONG_AFTER = 1.5, 15 -- seconds

local DAEMON = [[setsid sh -c 'trap "" TERM HUP; touch /ready; while :; do sleep 1; done' >/dev/null 2>&1 &
  until test -e /ready; do sleep 0.05; done]]

-- Whether a daemon that the command has left behind still runs long after the limit.
local function outlasts(t, detached)
  local ct = t:container()
  local policy = ct.dir .. "/limit.lua"
  lib.write(policy, ("return { check = function(request) request.options.timeout = %s end }"):format(LIMIT))
  local words = { "exec", "--policy", policy, ct.id, "sh", "-c", DAEMON }
  if detached then table.insert(words, 2, "-d") end
  local status, _, message = t:command(ct, words)
  assert(status == 0, message)
  while not lib.exists(ct.rootfs .. "/ready") do core.poll.wait({}, 10) end
  local container <close> = ct:open()
  local deadline = core.clock.now() + LONG_AFTER
  repeat
    if #container:ps() == 1 then return false, "the daemon was ended" end
    core.poll.wait({}, 50)
  until core.clock.now() > deadline
  return true, "the daemon runs on"
end

return {
  {
    name = "leaves a daemon behind that outlasts the limit",
    without = { "lasting_limit" },
    attack = function (t) return outlasts(t, false) end,
  },
  {
    name = "leaves a daemon behind in a detached exec that outlasts the limit",
    without = { "lasting_limit" },
    attack = function (t) return outlasts(t, true) end,
  },
}
