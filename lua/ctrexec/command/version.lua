--- Prints the version: what the option of that name does.
-- @module ctrexec.command.version
local core = require "ctrexec.core"

local version = {}

--- Prints the version.
-- @treturn integer 0
function version.run()
  print("ctrexec " .. core.VERSION)
  return 0
end

return version
