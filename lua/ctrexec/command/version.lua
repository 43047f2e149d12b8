--- Prints the version: what the option of that name does.
-- @module ctrexec.command.version
local version = {}

--- Prints the version.
-- @treturn integer 0
function version.run()
  print(require "ctrexec"._VERSION)
  return 0
end

return version
