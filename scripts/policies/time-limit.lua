-- No command runs for ever: an hour for people, a minute for machines, or what the container says: annotation
-- "ctrexec.timeout": seconds. A shorter limit of the caller stands, and a shorter grace: a long one would be no limit.
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
