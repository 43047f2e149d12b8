-- Words in front of the command say how to run it:
--   EXEC_USER=root EXEC_PRIVILEGED=true EXEC_REASON="ticket 42" sh
-- The policy removes them from the command. More than the container gives is for the users listed here, and for the
-- host's root where no user has logged in (a service).
local TRUSTED_LOGINS = { alice = true, bob = true }
local PRIVILEGES = { "CAP_SYS_ADMIN", "CAP_SYS_PTRACE", "CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_DAC_OVERRIDE" }
local KNOWN = { EXEC_USER = true, EXEC_PRIVILEGED = true, EXEC_REASON = true }

local function take_directives(args)
  local found = {}
  while args[1] do
    local name, value = args[1]:match "^(EXEC_%u+)=(.*)$"
    if not name then break end
    if not KNOWN[name] then deny("unknown directive " .. name) end
    found[name] = value
    table.remove(args, 1)
  end
  return found
end

local function may_elevate(caller)
  if caller.login_uid then return TRUSTED_LOGINS[caller.login_user or ""] end
  return caller.uid == 0
end

return {
  name = "directives",
  check = function(request)
    local found = take_directives(request.process.args)
    if found.EXEC_REASON then
      request.options.audit = request.options.audit or {}
      request.options.audit.reason = found.EXEC_REASON
    end
    if not (found.EXEC_USER or found.EXEC_PRIVILEGED) then return end
    if not may_elevate(request.caller) then return deny "EXEC_USER and EXEC_PRIVILEGED are not for you" end
    if found.EXEC_USER then request:run_as(found.EXEC_USER == "root" and "0:0" or found.EXEC_USER) end
    if found.EXEC_PRIVILEGED == "true" then request.caps:add(table.unpack(PRIVILEGES)) end
  end,
}
