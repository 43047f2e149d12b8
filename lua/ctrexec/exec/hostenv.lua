--- Variables that a command takes over from the environment of the program that calls ctrexec, by name.
-- @module ctrexec.exec.hostenv
local hostenv = {}

--- Sets variables of an environment to the values that the caller has. A variable that the caller does not have is left
-- as it is.
-- @tparam {string,...} env variables NAME=VALUE; changed
-- @tparam {string,...} names
-- @treturn[1] boolean true
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string "invalid"
function hostenv.add(env, names)
  if type(names) ~= "table" then return nil, "host_env: expected an array of names", "invalid" end
  local place = {}
  for index, variable in ipairs(env) do place[variable:match "^[^=]*"] = index end
  for _, name in ipairs(names) do
    if type(name) ~= "string" or name == "" or name:find "[=%z]" then
      return nil, ("host_env: %q is not a name of a variable"):format(tostring(name)), "invalid"
    end
    local value = os.getenv(name)
    if value then
      place[name] = place[name] or #env + 1
      env[place[name]] = name .. "=" .. value
    end
  end
  return true
end

return hostenv
