-- Limits the time of every command: an hour at a terminal, a minute without one, or the seconds in the container's
-- annotation "ctrexec.timeout". The caller may ask for a shorter limit, and for a shorter grace between TERM and KILL.
local INTERACTIVE, OTHER, GRACE = 3600, 60, 10

return {
  name = "time-limit",
  check = function(request)
    local own = tonumber((request.container.annotations or {})["ctrexec.timeout"])
    local limit = own or request.process.terminal and INTERACTIVE or OTHER
    if not request.options.timeout or request.options.timeout > limit then request.options.timeout = limit end
    request.options.kill_after = math.min(request.options.kill_after or GRACE, GRACE)
  end,
}
