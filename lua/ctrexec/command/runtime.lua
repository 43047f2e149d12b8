--- In front of a runtime: what is not an exec is the real runtime's, which takes the place of this process.
-- @module ctrexec.command.runtime
local core = require "ctrexec.core"
local options = require "ctrexec.options"

local runtime = {}

-- Never the caller's PATH.
local FOLDERS = { "/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin" }

local COMMANDS = {}
for name in ([[checkpoint create delete events exec features help info init kill list mounts pause ps restore resume run
  spec start state update]]):gmatch "%l+" do
  COMMANDS[name] = true
end

-- A runtime may know global options that nobody here does. What follows one is its value, unless it can be none: an
-- exec must not get past the policies behind it.
local function takes_next(entry, word)
  if entry then return entry.type ~= "bool" end
  return word ~= nil and not word:find "^%-." and not COMMANDS[word]
end

-- The word that is the runtime's command; nil when there is none, or the runtime only describes itself.
local function command_of(argv)
  local i = 1
  while argv[i] and argv[i]:find "^%-." do
    local name, value = argv[i]:match "^%-%-?([^=]*)(.*)$"
    i = i + 1
    if name == "" then break end
    local entry = options.find(options.global, name)
    if value == "" then
      if entry and (entry.name == "help" or entry.name == "version") then return nil end
      if takes_next(entry, argv[i]) then i = i + 1 end
    end
  end
  return argv[i]
end

local function find(name)
  for _, folder in ipairs(FOLDERS) do
    local path = folder .. "/" .. name
    if core.file.stat(path, true) then return path end
  end
  return nil, ("no %s in %s"):format(name, table.concat(FOLDERS, ", "))
end

local function is_self(path, status, name)
  local base = path:match "[^/]*$"
  if base == "ctrexec" or base == "ctrexec.lua" then return true end
  for _, own in ipairs { name, "/proc/self/exe" } do
    local about = core.file.stat(own)
    if about and about.ino == status.ino and about.dev == status.dev then return true end
  end
end

-- The path of the real runtime, checked as a policy is: it runs with all that the engine may do.
local function real_runtime(argv, name, site)
  if site.fault then return nil, site.fault end
  local path, message = site.settings.runtime
  if not path then path, message = find(name) end
  if not path then return nil, message end
  local reader <close> = require "ctrexec.policy.trust".reader()
  local real, status = reader:program(path)
  if not real then return nil, status end
  if is_self(real, status, argv[0]) then return nil, path .. " is ctrexec itself" end
  return real
end

--- Runs the real runtime in place of this process, with the same arguments, environment and descriptors, unless the
-- command is exec. That is `runtime` of the site's configuration, else the program of this name in a system folder.
-- @tparam {string,...} argv at index 0 the path by which ctrexec was called
-- @tparam string name of the runtime that ctrexec stands for
-- @tparam table site of `ctrexec.site`
-- @treturn[1] boolean true: the command is exec
-- @treturn[2] nil
-- @treturn[2] string why there is no real runtime to run: it is missing, not to be trusted, ctrexec itself, or unknown
-- because the configuration cannot be used
-- @see execve(2)
function runtime.hand_on(argv, name, site)
  if command_of(argv) == "exec" then return true end
  local path, message = real_runtime(argv, name, site)
  local _
  if path then
    _, message = core.program.replace(path, table.move(argv, 0, #argv, 1, {}))
  end
  return nil, "the real runtime cannot be run: " .. message
end

return runtime
