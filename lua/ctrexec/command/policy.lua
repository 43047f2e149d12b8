--- The `policy` command: `check FILE...` and `test [DIR]`.
-- @module ctrexec.command.policy
local policy = require "ctrexec.policy"

local command = {}

local FAILED = 1

local function shown(described)
  local functions = {}
  for _, name in ipairs { "check", "audit" } do
    if described[name] then functions[#functions + 1] = name end
  end
  return ("%s (%s)"):format(described.name, table.concat(functions, ", "))
end

-- Checks a file in a chain of its own, so that a broken file does not hide the faults of the next one.
local function check_file(settings, path)
  local alone = { policy_directories = {}, limits = settings.limits }
  local chain <close> = policy.load(alone, { path })
  local described = chain:describe()[1]
  if described.fault then return nil, described.fault end
  return shown(described)
end

--- Checks files as an exec does when it loads them: owner and mode of the file and of the folders above it, syntax, and
-- the table that the file returns.
-- @tparam table settings of `ctrexec.site.config.load`
-- @tparam {string,...} files
-- @tparam file out to which the result is written, one line for each file
-- @treturn boolean whether all are good
function command.check(settings, files, out)
  local good = true
  for _, path in ipairs(files) do
    local line, fault = check_file(settings, path)
    good = good and line ~= nil
    out:write(path, ": ", line and "ok: " .. line or fault, "\n")
  end
  return good
end

local function quoted(word)
  return "'" .. word:gsub("'", [['\'']]) .. "'"
end

local function find_busted()
  local pipe = io.popen "command -v busted"
  local path = pipe:read "l"
  pipe:close()
  return path
end

--- Runs the specs in a folder with busted; they find `ctrexec_request` and `ctrexec_policy` (see
-- `ctrexec.policy.testing`).
-- @tparam string folder
-- @tparam[opt] string interpreter that runs busted, by default lua5.4
-- @treturn[1] integer busted's exit status
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string "unsupported": there is no busted
function command.test(folder, interpreter)
  local busted = find_busted()
  if not busted then return nil, "policy test needs busted (Debian: lua-busted)", "unsupported" end
  local helper = assert(package.searchpath("ctrexec.policy.testing", package.path))
  local line = { quoted(interpreter or "lua5.4"), quoted(busted), "--lpath=" .. quoted(package.path),
    "--cpath=" .. quoted(package.cpath), "--helper=" .. quoted(helper), "--", quoted(folder) }
  local _, how, status = os.execute(table.concat(line, " "))
  return how == "exit" and status or FAILED
end

--- Runs the command.
-- @tparam table parsed from `ctrexec.command.options`: `action`, `args`
-- @tparam table log from `ctrexec.command.log`
-- @tparam table site of `ctrexec.command.open`
-- @treturn integer exit status: 0 when all is good, else 1
function command.run(parsed, log, site)
  if parsed.action == "test" then
    local status, message = command.test(parsed.args[1] or ".")
    if not status then log:error(message) end
    return status or FAILED
  end
  if site.fault then
    log:error(site.fault)
    return FAILED
  end
  if #parsed.args == 0 then
    log:error "policy check: name at least one file"
    return FAILED
  end
  return command.check(site.settings, parsed.args, io.stdout) and 0 or FAILED
end

return command
