--- The `completion` command.
-- @module ctrexec.command.completion
local command = {}

--- Prints the completion script of the shell that `action` names.
-- @tparam table parsed from `ctrexec.options`
-- @tparam table log from `ctrexec.log`
-- @treturn integer 0, or 1 for a shell without a script
function command.run(parsed, log)
  local script, message = require "ctrexec.completion".script(parsed.action)
  if not script then
    log:error(message)
    return 1
  end
  io.stdout:write(script)
  return 0
end

return command
