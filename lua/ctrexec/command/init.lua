--- The command line: parses it, opens the log and runs the command. Under a runtime's name it leaves every command but
-- exec to the real runtime.
-- @module ctrexec.command
local late = require "ctrexec.lib.late"
-- These are loaded after the site's configuration has been read, because the site may replace them:
local logs = late "ctrexec.command.log"
local options = late "ctrexec.command.options"
local original_options = late "original.ctrexec.command.options"
local runtime = late "ctrexec.command.runtime"
local sites = late "ctrexec.command.open"

local command = {}

local USAGE, FAILED = 1, 255 -- runc's exit statuses for a mistake on the command line, and for what goes wrong later

-- The runtimes that ctrexec stands in for when it is called by their name. It needs their names, because podman passes
-- its log options only to programs that are called so.
local RUNTIMES = { runc = true, crun = true }

local function open_log(global)
  return logs.open {
    file = global.log, format = global.log_format, level = global.debug and "debug" or global.log_level,
  }
end

-- A log that is opened at its first message: without --log most execs write none.
local function lazy_log(global)
  local quiet = {}
  if not global.debug and global.log_level ~= "debug" then function quiet.debug() end end
  return setmetatable(quiet, { __index = function(self, name)
    local log = open_log(global)
    local function method(_, ...) return log[name](log, ...) end
    self[name] = method
    return method
  end })
end

-- Opens the log. A log that cannot be opened is reported on standard error, and the command is not run without its log.
local function log_for(global)
  if (global.log or "") == "" then return lazy_log(global) end
  local log, message = open_log(global)
  if log then return log end
  lazy_log { log_format = global.log_format }:error(message)
end

-- Under a runtime's name ctrexec runs exec alone: the runtime has commands of the same names, as `list` and
-- `--version`.
local function hand_on(argv, site)
  local name = (argv[0] or ""):match "[^/]*$"
  if not RUNTIMES[name] then return true end
  return runtime.hand_on(argv, name, site)
end

local function run(argv, site, state)
  local ours, fault = hand_on(argv, site)
  local parsed, message, _, partial = options.parse(argv)
  state.log = log_for((parsed or partial).global)
  if not state.log then return USAGE end
  if not ours or not parsed then
    state.log:error(fault or message)
    return USAGE
  end
  return late("ctrexec.command." .. parsed.command).run(parsed, state.log, site) -- one command of several
end

local function log_by_original(argv)
  for _, parser in ipairs { original_options, options } do
    local found, parsed, _, _, partial = pcall(function() return parser.parse(argv) end)
    if found then return log_for((parsed or partial).global) or lazy_log {} end
  end
  return lazy_log {}
end

local function described(problem)
  return { message = tostring(problem), trace = debug.traceback() }
end

--- Runs a command line.
-- @tparam {string,...} argv at index 0 the program's name; ctrexec stands in for a runtime whose name that is
-- @tparam[opt] string directory of the site's configuration, instead of /etc/ctrexec
-- @treturn integer exit status
function command.main(argv, directory)
  local state = {}
  local ok, result = xpcall(function()
    return run(argv, sites.load(directory), state)
  end, described)
  if ok then return result end
  if type(result) ~= "table" then result = described(result) end -- out of memory: Lua does not call the handler
  -- Most likely a module of the site has failed, perhaps the parser itself. The error must still reach the log of the
  -- command line, because an engine reads nothing else.
  local log = state.log or log_by_original(argv)
  log:error("exec failed: " .. result.message)
  log:debug(result.trace)
  return FAILED
end

return command
