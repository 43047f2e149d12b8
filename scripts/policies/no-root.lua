-- Denies commands that run as root, except in containers with the annotation "ctrexec.allow-root": "true". It also
-- denies another user an ambient capability, which stays over execve(2), unless root cannot be reached with it.
local HARMLESS = { CAP_AUDIT_WRITE = true, CAP_KILL = true, CAP_NET_BIND_SERVICE = true, CAP_NET_RAW = true }

return {
  name = "no-root",
  check = function(request)
    local annotations = request.container.annotations or {}
    if annotations["ctrexec.allow-root"] == "true" then return end
    if request.process.user.uid == 0 then return deny "commands must not run as root here: name a user with -u" end
    for _, name in ipairs((request.process.capabilities or {}).ambient or {}) do
      if not HARMLESS[name] then return deny("commands must not keep " .. name .. ", which leads to root") end
    end
  end,
}
