--- From the options of `exec` to a spec of the public module.
-- @module ctrexec.command.spec
local specs = {}

-- The options that a spec has under the same name.
local SAME = {
  "cwd", "additional_gids", "no_new_privs", "detach", "pid_file", "console_socket", "pidfd_socket",
  "preserve_fds", "cgroup", "ignore_paused", "groups_from_container", "login_uid", "host_env", "timeout", "kill_after",
}

-- A file of the caller's, with Go's words for what is wrong with it.
local function read_file(path)
  local core, limit = require "ctrexec.core", require "ctrexec.lib.json".MAX_SIZE
  local fd <close>, message = core.file.open(path)
  local text, why, errno
  if fd then text, why, errno = core.file.read_all(fd, limit) end
  if text then return text end
  if errno == core.errno.EFBIG then return nil, ("%s: larger than %d MiB"):format(path, limit >> 20) end
  return nil, ("%s %s: %s"):format(fd and "read" or "open", path, require "ctrexec.lib.wording".reason(message or why))
end

local function read_process(path)
  local text, message = read_file(path)
  if not text then return nil, message end
  -- The decoder lets them pass, but RFC 8259 does not; white space is not worth a look at every string.
  local control = text:match "[\0-\8\11\12\14-\31]"
  if control then return nil, ("invalid character '\\x%02x' in string literal"):format(control:byte()) end
  return require "ctrexec.lib.json".decode(text, path)
end

-- The lines of an environment file as docker reads it: NAME=VALUE, a NAME alone takes the caller's value, # starts a
-- comment.
local function add_env_file(env, path)
  local text, message = read_file(path)
  if not text then return nil, message end
  local number = 0
  for line in text:gmatch "([^\n]*)\n?" do
    number = number + 1
    line = line:gsub("\r$", ""):gsub("^%s+", "")
    local name, value = line:match "^([^=]*)=(.*)$"
    name = name or line
    if line ~= "" and line:sub(1, 1) ~= "#" then
      if name == "" or name:find "%s" then
        return nil, ("%s: line %d: not a variable's name: %q"):format(path, number, name)
      end
      value = value or os.getenv(name)
      env[#env + 1] = value and name .. "=" .. value
    end
  end
  return true
end

local function environment(options)
  if not options.env_file then return options.env end
  local env = {}
  for _, path in ipairs(options.env_file) do
    local ok, message = add_env_file(env, path)
    if not ok then return nil, message end
  end
  return table.move(options.env or {}, 1, #(options.env or {}), #env + 1, env)
end

-- An empty text counts as not given, as with runc.
local function given(value)
  if value == "" then return nil end
  return value
end

local function absolute(path)
  if path:sub(1, 1) == "/" then return path end
  local here, message = require "ctrexec.core".file.realpath "."
  if not here then return nil, message end
  return here .. "/" .. path
end

--- Makes the spec of an exec.
-- @tparam table parsed from `ctrexec.command.options`
-- @treturn[1] table spec
-- @treturn[2] nil
-- @treturn[2] string message
function specs.of(parsed)
  local options = parsed.options
  local spec = { args = parsed.args, terminal = options.tty, user = given(options.user), caps = options.cap,
    selinuxLabel = given(options.process_label), apparmorProfile = given(options.apparmor) }
  for _, name in ipairs(SAME) do spec[name] = given(options[name]) end
  local message
  spec.env, message = environment(options)
  if message then return nil, message end
  spec.tree = options.timeout ~= nil
  spec.tools = options.tool
  if options.timeout and options.detach then
    return nil, "--timeout: nobody would be there to end a detached command"
  end
  if given(options.record) then
    if options.detach then return nil, "--record: nobody would be there to record a detached command" end
    spec.record, message = absolute(options.record)
    if not spec.record then return nil, "--record: " .. message end
  end
  if given(options.process) then
    spec.process, message = read_process(options.process)
    if not spec.process then return nil, message end
  end
  return spec
end

return specs
