--- The site's configuration: `config.lua` in /etc/ctrexec, a Lua file that returns a table.
--
-- The folder is fixed. Only a program that calls this module can name another one, as an argument. No environment
-- variable can: with it, whoever starts ctrexec could switch the site's policies off.
-- @module ctrexec.site.config
local core = require "ctrexec.core"
local defaults = require "ctrexec.policy.defaults"
local late = require "ctrexec.lib.late"
local schema = require "ctrexec.lib.schema"
local readers = late "ctrexec.lib.reader" -- most machines have no site

local config = {}

--- The folder of the configuration.
config.DIRECTORY = "/etc/ctrexec"

local ENOENT, ENOTDIR = core.errno.ENOENT, core.errno.ENOTDIR

-- How many instructions the file may execute: an endless loop in it must not hang every exec of the machine.
local MAX_INSTRUCTIONS = 10000000

-- The largest value of a limit, in seconds or bytes.
local MAX = 1e12

local function limit(unit)
  local number = schema.number(unit, true)
  return function(value, place)
    if number(value, place) > MAX then schema.refuse(place, "must be at most %g %s", MAX, unit) end
    return value
  end
end

local function pattern(value, place)
  local ok, problem = pcall(string.find, "", schema.string(value, place))
  if not ok then schema.refuse(place, "%s", problem:match "[^:]*$":gsub("^ ", "")) end
  return value
end

local function strict(fields)
  return schema.object(fields, { unknown = "refuse" })
end

-- The type is made when there is a file to check: most machines have none.
local function config_type()
  local absolute, boolean, seconds = schema.absolute, schema.boolean, limit "seconds"
  local paths = schema.array(absolute)
  return strict {
    roots = paths, policy_directories = paths, runtime = absolute, module_directory = absolute,
    audit = strict { file = absolute, syslog = boolean, journald = boolean, required = boolean,
      redact = schema.array(pattern), command = boolean },
    record = strict { folder = absolute, input = boolean, passwords = boolean, required = boolean,
      max_size = schema.integer(1) },
    limits = strict { policy_time = seconds, policy_memory = limit "bytes", exec_timeout = seconds },
  }
end

-- Adds the defaults of all settings that the file does not set.
local function complete(settings, directory)
  settings.policy_directories = settings.policy_directories or { directory .. "/policy.d" }
  settings.roots = settings.roots or {}
  local limits = settings.limits or {}
  settings.limits = limits
  for name, value in pairs(defaults) do limits[name] = limits[name] or value end
  settings.directory = directory
  return settings
end

--- The settings of a machine without a site.
-- @treturn table as of `load`
function config.defaults()
  return complete({ policy_directories = {} }, config.DIRECTORY)
end

-- Runs the file in a coroutine, because each coroutine has its own debug hook: the caller's hook stays.
-- The file has no globals, so it can neither yield nor catch the error of the hook.
local function run(chunk, path)
  local thread = coroutine.create(chunk)
  debug.sethook(thread, function() error(path .. ": runs for too long", 0) end, "", MAX_INSTRUCTIONS)
  local ok, result = coroutine.resume(thread)
  if not ok then return nil, tostring(result) end
  return { result }
end

local function evaluate(text, path)
  local chunk, message = load(text, "=" .. path, "t", {})
  if not chunk then return nil, message end
  local results
  results, message = run(chunk, path)
  if not results then return nil, message end
  return schema.check(config_type(), results[1], path .. ": config")
end

--- Loads the site's configuration.
--
-- Its fields, all optional: `roots` (array of folders with containers' state, searched first), `policy_directories`
-- (array, default `DIRECTORY/policy.d`), `runtime` (path of the real runtime), `module_directory` (folder whose
-- modules replace ctrexec's own), `audit` (`file`, `syslog`, `journald`, `required` (default true: an exec whose
-- accept event cannot be written is denied), `redact` (array of Lua patterns), `command` (default true: events have
-- the arguments)), `record` (`folder`, `input`, `passwords`, `required`, `max_size`: see `ctrexec.policy.recording`),
-- `limits` (`policy_time` in seconds and `policy_memory` in bytes, for each policy; `exec_timeout` in seconds, the
-- longest time limit of an exec). Relative paths, wrong types and unknown fields are errors.
-- @tparam[opt] string directory the folder, for tests and embedding programs
-- @treturn[1] table the settings, complete; the defaults where there is no file, without policy folders where the
-- folder itself is missing
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string "untrusted" (owner or mode of the file or a folder above it), "invalid" or "system"
function config.load(directory)
  directory = directory or config.DIRECTORY
  -- The folder is looked at first: on a machine without a site an exec then costs no more than this.
  local status, _, errno = core.file.stat(directory, true)
  if not status and errno == ENOENT then return complete({ policy_directories = {} }, directory) end
  local path = directory .. "/config.lua"
  status, _, errno = core.file.stat(path, true)
  if not status and (errno == ENOENT or errno == ENOTDIR) then return complete({}, directory) end
  local reader <close> = readers.new()
  local text, message, code = reader:read(path)
  if not text then return nil, message, code == "not_found" and "untrusted" or code end
  local settings
  settings, message = evaluate(text, path)
  if not settings then return nil, message, "invalid" end
  return complete(settings, directory)
end

return config
