-- Records every session of root at a terminal, or in a shell without one, in the folder that config.lua names:
-- record = { folder = "/var/log/..." }. The terminal of a detached exec (docker exec -t) is passed to the engine, so
-- ctrexec cannot record it.
return {
  name = "record-root",
  check = function(request)
    if request.process.user.uid ~= 0 or not request.interactive then return end
    if request.options.detach then
      return deny "root's terminals are recorded here, and an engine's cannot be: use ctrexec exec -t"
    end
    request.options.record = true
  end,
}
