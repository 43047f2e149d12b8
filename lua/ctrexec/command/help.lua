--- The `help` command, and the options of that name.
-- @module ctrexec.command.help
local help = require "ctrexec.help"

local command = {}

--- Prints the help text of the tool or of the command that `args` names.
-- @tparam table parsed from `ctrexec.options`
-- @tparam table log from `ctrexec.log`
-- @treturn integer 0, or 1 for an unknown command
function command.run(parsed, log)
  local name = parsed.args[1]
  if name and not help.commands[name] then
    log:error(help.refusal({ kind = "command", name = name }))
    return 1
  end
  io.stdout:write(help.text(name))
  return 0
end

return command
