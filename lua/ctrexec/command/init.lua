--- The command line: reads it, opens the log, runs the command.
-- @module ctrexec.command
local options = require "ctrexec.options"

local command = {}

local USAGE = 1 -- runc's exit status for a mistake on the command line

local function open_log(global)
  return require "ctrexec.log".open {
    file = global.log, format = global.log_format, level = global.debug and "debug" or global.log_level,
  }
end

-- Without --log there is nothing to open before there is something to say, and mostly there is not.
local function lazy_log(global)
  return setmetatable({}, { __index = function(self, name)
    local log = open_log(global)
    local function method(_, ...) return log[name](log, ...) end
    self[name] = method
    return method
  end })
end

-- A log that cannot be opened is reported where it can be seen, and nothing is done unlogged.
local function log_for(global)
  if (global.log or "") == "" then return lazy_log(global) end
  local log, message = open_log(global)
  if log then return log end
  lazy_log { log_format = global.log_format }:error(message)
end

--- Runs a command line.
-- @tparam {string,...} argv without the program's name
-- @treturn integer exit status
function command.main(argv)
  local parsed, message, _, partial = options.parse(argv)
  local log = log_for((parsed or partial).global)
  if not log then return USAGE end
  if not parsed then
    log:error(message)
    return USAGE
  end
  return require("ctrexec.command." .. parsed.command).run(parsed, log)
end

return command
