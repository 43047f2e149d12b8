-- Removes secrets from the environment of the command: those of the container, and those that the caller would pass on.
local SECRET = { "PASSWORD", "PASSWD", "SECRET", "TOKEN", "CREDENTIAL", "PRIVATE", "_KEY$", "^KEY_" }

local function is_secret(name)
  for _, pattern in ipairs(SECRET) do
    if name:upper():find(pattern) then return true end
  end
  return false
end

return {
  name = "read-only-env",
  check = function(request)
    for name in pairs(request.env) do
      if is_secret(name) then request.env[name] = nil end
    end
    local taken = {}
    for _, name in ipairs(request.options.host_env or {}) do
      if not is_secret(name) then taken[#taken + 1] = name end
    end
    if request.options.host_env then request.options.host_env = taken end
  end,
}
