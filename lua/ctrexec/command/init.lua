--- The command line: reads it, opens the log, runs the command; under a runtime's name hands on what is no exec.
-- @module ctrexec.command
local late = require "ctrexec.lib.late"
-- A site's modules may take the place of these, once its configuration has been read:
local logs = late "ctrexec.command.log"
local options = late "ctrexec.command.options"
local original_options = late "original.ctrexec.command.options"
local runtime = late "ctrexec.command.runtime"
local sites = late "ctrexec.command.open"

local command = {}

local USAGE, FAILED = 1, 255 -- runc's exit statuses for a mistake on the command line, and for what goes wrong later

-- The names under which engines find it: podman passes its log options to programs of these names only.
local RUNTIMES = { runc = true, crun = true }

local function open_log(global)
  return logs.open {
    file = global.log, format = global.log_format, level = global.debug and "debug" or global.log_level,
  }
end

-- Without --log there is nothing to open before there is something to say, and mostly there is not.
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

-- A log that cannot be opened is reported where it can be seen, and nothing is done unlogged.
local function log_for(global)
  if (global.log or "") == "" then return lazy_log(global) end
  local log, message = open_log(global)
  if log then return log end
  lazy_log { log_format = global.log_format }:error(message)
end

-- Under a runtime's name nothing but exec is ours: `list`, `spec` and `--version` are commands of both.
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
  return late("ctrexec.command." .. parsed.command).run(parsed, state.log, site) -- one word of many
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
-- @tparam {string,...} argv at index 0 the program's name, which may make it a runtime's front
-- @tparam[opt] string directory of the site's configuration, instead of /etc/ctrexec
-- @treturn integer exit status
function command.main(argv, directory)
  local state = {}
  local ok, result = xpcall(function()
    return run(argv, sites.load(directory), state)
  end, described)
  if ok then return result end
  if type(result) ~= "table" then result = described(result) end -- no memory is left: Lua asks no handler then
  -- Most likely a module of the site, maybe the very parser; an engine reads the log that it named and nothing else.
  local log = state.log or log_by_original(argv)
  log:error("exec failed: " .. result.message)
  log:debug(result.trace)
  return FAILED
end

return command
