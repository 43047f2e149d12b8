-- The prompt of an interactive shell names its cluster and container: [production/web] #
-- The cluster's name is the first line of one of the site's files.
local CLUSTER_FILE = "/etc/ctrexec/cluster"

local function cluster()
  local file = io.open(CLUSTER_FILE)
  local name = file and file:read "l"
  if file then file:close() end
  return name and name:match "^[%w._-]+$" or "unknown"
end

return {
  name = "prompt",
  check = function(request)
    if not request.process.terminal then return end
    local sign = request.process.user.uid == 0 and "#" or "$"
    request.env.CLUSTER = cluster()
    request.env.PS1 = ("[%s/%s] %s "):format(request.env.CLUSTER, request.container.id:sub(1, 12), sign)
  end,
}
