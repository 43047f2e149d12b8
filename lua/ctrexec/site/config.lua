--- The site's configuration: `config.lua` in /etc/ctrexec, a Lua file that returns a table.
--
-- The folder is fixed. Only the program that calls this module can name another, as an argument; no environment
-- variable can, or whoever starts ctrexec could lift the site's policy.
-- @module ctrexec.site.config
local defaults = require "ctrexec.policy.defaults"

local config = {}

--- Where the configuration lies.
config.DIRECTORY = "/etc/ctrexec"

-- Instructions that the file may run for: a loop in it must not hang every exec of the machine.
local MAX_INSTRUCTIONS = 10000000

local function mismatch(path, expected, value)
  return ("%s: expected %s, got %s"):format(path, expected, value == nil and "nothing" or "a " .. type(value))
end

local function is(kind)
  return function(value, path)
    if type(value) ~= kind then return mismatch(path, "a " .. kind, value) end
  end
end

local function absolute(value, path)
  if type(value) ~= "string" then return mismatch(path, "a string", value) end
  if value:sub(1, 1) ~= "/" or value:find("\0", 1, true) then return path .. ": must be an absolute path" end
end

local function positive(value, path)
  if type(value) ~= "number" then return mismatch(path, "a number", value) end
  if not (value > 0 and value <= 1e12) then return path .. ": must be greater than 0" end
end

local function count(value, path)
  if math.type(value) ~= "integer" then return mismatch(path, "a whole number", value) end
  if value < 1 then return path .. ": must be greater than 0" end
end

local function array(item)
  return function(value, path)
    if type(value) ~= "table" then return mismatch(path, "an array", value) end
    for key in pairs(value) do
      if math.type(key) ~= "integer" or key < 1 or key > #value then return path .. ": expected an array" end
    end
    for index, element in ipairs(value) do
      local fault = item(element, ("%s[%d]"):format(path, index))
      if fault then return fault end
    end
  end
end

local function pattern(value, path)
  if type(value) ~= "string" then return mismatch(path, "a string", value) end
  local ok, problem = pcall(string.find, "", value)
  if not ok then return ("%s: %s"):format(path, problem:match "[^:]*$":gsub("^ ", "")) end
end

local function record(fields)
  return function(value, path)
    if type(value) ~= "table" then return mismatch(path, "a table", value) end
    local names = {}
    for name in pairs(value) do names[#names + 1] = tostring(name) end
    table.sort(names)
    for _, name in ipairs(names) do
      if not fields[name] then return ("%s.%s: unknown field"):format(path, name) end
      local fault = fields[name](value[name], path .. "." .. name)
      if fault then return fault end
    end
  end
end

local check = record {
  roots = array(absolute),
  policy_directories = array(absolute),
  runtime = absolute,
  module_directory = absolute,
  audit = record {
    file = absolute,
    syslog = is "boolean",
    journald = is "boolean",
    required = is "boolean",
    redact = array(pattern),
    command = is "boolean",
  },
  record = record { folder = absolute, input = is "boolean", passwords = is "boolean", required = is "boolean",
    max_size = count },
  limits = record { policy_time = positive, policy_memory = positive, exec_timeout = positive },
}

-- What is not set in the file.
local function complete(settings, directory)
  settings.policy_directories = settings.policy_directories or { directory .. "/policy.d" }
  settings.roots = settings.roots or {}
  local limits = settings.limits or {}
  settings.limits = limits
  for name, value in pairs(defaults) do limits[name] = limits[name] or value end
  settings.directory = directory
  return settings
end

--- The settings of a site that has none.
-- @treturn table as of `load`
function config.defaults()
  return complete({ policy_directories = {} }, config.DIRECTORY)
end

-- In a coroutine, because a hook belongs to one: the caller's own hook is not touched.
-- The chunk has no globals, so it can neither yield nor catch an error.
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
  local fault = check(results[1], "config")
  if fault then return nil, ("%s: %s"):format(path, fault) end
  return results[1]
end

--- Loads the site's configuration.
--
-- Its fields, all optional: `roots` (array of folders with containers' state, searched first), `policy_directories`
-- (array, default `DIRECTORY/policy.d`), `runtime` (path of the real runtime), `module_directory` (folder whose
-- modules come before ctrexec's own), `audit` (`file`, `syslog`, `journald`, `required` (default true: an exec whose
-- accept event cannot be written is denied), `redact` (array of Lua patterns), `command` (default true: record the
-- arguments)), `record` (`folder`, `input`, `passwords`, `required`, `max_size`: see `ctrexec.policy.recording`),
-- `limits` (`policy_time` in seconds and `policy_memory` in bytes, each policy's; `exec_timeout` in seconds, the
-- longest time limit of an exec). Relative paths, wrong types and unknown fields are errors.
-- @tparam[opt] string directory the folder, for tests and embedding programs
-- @treturn[1] table the settings, complete; without a file the defaults, without the folder no policy folders either
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string "untrusted" (owner or mode of the file or a folder above it), "invalid" or "system"
function config.load(directory)
  directory = directory or config.DIRECTORY
  local core = require "ctrexec.core"
  local ENOENT, ENOTDIR = core.errno.ENOENT, core.errno.ENOTDIR
  -- Most machines have none, and an exec should not pay for it there.
  local status, _, errno = core.file.stat(directory, true)
  if not status and errno == ENOENT then return complete({ policy_directories = {} }, directory) end
  local path = directory .. "/config.lua"
  status, _, errno = core.file.stat(path, true)
  if not status and (errno == ENOENT or errno == ENOTDIR) then return complete({}, directory) end
  local reader <close> = require "ctrexec.lib.trust".reader()
  local text, message, code = reader:read(path)
  if not text then return nil, message, code == "not_found" and "untrusted" or code end
  local settings
  settings, message = evaluate(text, path)
  if not settings then return nil, message, "invalid" end
  return complete(settings, directory)
end

return config
