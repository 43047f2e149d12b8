--- In front of a runtime: what is not an exec is the real runtime's, which takes the place of this process.
-- @module ctrexec.command.runtime
local core = require "ctrexec.core"
local options = require "ctrexec.options"

local runtime = {}

-- Never the caller's PATH.
local FOLDERS = { "/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin" }

-- What may follow an option: the next option or the command; a value of this one.
local function followers(word)
  local name, value = word:match "^%-%-?([^=]*)(.*)$"
  if name == "" or value ~= "" then return true, false end
  local entry = options.find(options.global, name)
  -- A runtime may know more options, and crun takes long ones cut short (--roo for --root).
  if not entry or entry.name == "rootless" then return true, true end -- a switch for runsc
  if entry.name == "help" or entry.name == "version" then return false, false end
  return entry.type == "bool", entry.type ~= "bool"
end

-- Whether some runtime could take the line for an exec: none may get past the policies. The parser refuses what is in
-- doubt.
local function may_be_exec(argv)
  local reached = { true } -- where the options may go on or end
  for i, word in ipairs(argv) do
    if reached[i] and word == "exec" then return true end
    if reached[i] and word:find "^%-." then
      local alone, with_value = followers(word)
      reached[i + 1], reached[i + 2] = reached[i + 1] or alone, reached[i + 2] or with_value
    end
  end
  return false
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
-- @treturn[1] boolean true: the command is exec, or could be for a runtime with other options
-- @treturn[2] nil
-- @treturn[2] string why there is no real runtime to run: it is missing, not to be trusted, ctrexec itself, or unknown
-- because the configuration cannot be used
-- @see execve(2)
function runtime.hand_on(argv, name, site)
  if may_be_exec(argv) then return true end
  local path, message = real_runtime(argv, name, site)
  local _
  if path then
    _, message = core.program.replace(path, table.move(argv, 0, #argv, 1, {}))
  end
  return nil, "the real runtime cannot be run: " .. message
end

return runtime
