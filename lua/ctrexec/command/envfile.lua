--- Reads files of environment variables as docker does: `--env-file`.
-- @module ctrexec.command.envfile
local envfile = {}

--- Reads the lines of a file: NAME=VALUE; NAME alone, for the caller's value of it; # starts a comment.
-- @tparam {string,...} env the array to which each "NAME=VALUE" is added
-- @tparam string path of the file, for messages
-- @tparam string text content of the file
-- @treturn[1] boolean true
-- @treturn[2] nil
-- @treturn[2] string message
function envfile.add(env, path, text)
  local number = 0
  for line in text:gmatch "([^\n]*)\n?" do
    number = number + 1
    line = line:gsub("\r$", ""):gsub("^%s+", "")
    local name, value = line:match "^([^=]*)=(.*)$"
    name = name or line
    if line ~= "" and line:sub(1, 1) ~= "#" then
      if name == "" or name:find "%s" then
        return nil, ("%s: line %d: not a variable's name: %q"):format(path, number, name)
      end
      value = value or os.getenv(name)
      env[#env + 1] = value and name .. "=" .. value
    end
  end
  return true
end

return envfile
