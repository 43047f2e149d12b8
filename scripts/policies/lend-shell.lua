-- Lends the host's static busybox to a command that asks for a shell in an image without one. No other process sees it.
local BUSYBOX = "/usr/bin/busybox"
local SHELLS = { sh = true, ash = true }
local PLACES = { "/bin/", "/usr/bin/", "/sbin/", "/usr/sbin/", "/usr/local/bin/" }

return {
  name = "lend-shell",
  check = function(request)
    if not SHELLS[request.process.args[1]] then return end
    for _, place in ipairs(PLACES) do
      if request:stat(place .. request.command) then return end
    end
    request.options.tools = { BUSYBOX }
    request.options.audit = request.options.audit or {} -- what another policy noted stays
    request.options.audit.lent = BUSYBOX
  end,
}
