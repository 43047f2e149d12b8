--- The `exec` command: a thin client of the public module.
-- @module ctrexec.command.exec
local core = require "ctrexec.core"
local ctrexec = require "ctrexec"

local exec = {}

local FAILED = 255 -- ctrexec itself failed: what runc says then
local STREAMS = { [0] = "stdin", "stdout", "stderr" }

-- The options that a spec has under the same name.
local SAME = {
  "cwd", "env", "additional_gids", "no_new_privs", "detach", "pid_file", "console_socket", "pidfd_socket",
  "preserve_fds", "cgroup", "ignore_paused", "groups_from_container", "login_uid",
}

local function read_process(path)
  local file, message = io.open(path, "rb")
  if not file then return nil, "open " .. message:gsub(": (%u)", function(c) return ": " .. c:lower() end) end
  local text, why = file:read "a"
  file:close()
  if not text then return nil, ("read %s: %s"):format(path, why:lower()) end
  if text == "" then return nil, "EOF" end
  local value, problem = require "ctrexec.json".decode(text, path)
  if value == nil then return nil, problem end
  return value
end

local function given(value)
  return value ~= "" and value or nil
end

local function spec_of(parsed)
  local options = parsed.options
  local spec = { args = parsed.args, terminal = options.tty, user = given(options.user), caps = options.cap,
    selinuxLabel = given(options.process_label), apparmorProfile = given(options.apparmor) }
  for _, name in ipairs(SAME) do spec[name] = options[name] end
  if given(options.process) then
    local object, message = read_process(options.process)
    if not object then return nil, message end
    spec.process = object
  end
  return spec
end

-- A terminal of the caller goes behind a pipe, so that nothing in the container can put keys into it (TIOCSTI) or
-- change its modes. Every other stream is passed as it is.
local function shield_terminals(spec)
  for number = 0, 2 do
    if core.terminal.is_terminal(number) then spec[STREAMS[number]] = "pipe" end
  end
end

local function copies_of(handle)
  if handle.terminal then
    return { { from = 0, to = handle.terminal }, { from = handle.terminal, to = 1 } }
  end
  local copies = {}
  if handle.stdin then copies[#copies + 1] = { from = 0, to = handle.stdin } end
  if handle.stdout then copies[#copies + 1] = { from = handle.stdout, to = 1 } end
  if handle.stderr then copies[#copies + 1] = { from = handle.stderr, to = 2 } end
  return copies
end

-- The terminal that the caller sits at, even when its stdin and stdout are something else.
local function caller_terminal()
  for number = 2, 0, -1 do
    if core.terminal.is_terminal(number) then return number end
  end
  local terminal = core.terminal.open_controlling()
  if not terminal then return nil, "open /dev/tty: no such device or address" end
  return terminal
end

local function use_terminal(spec)
  local terminal, message = caller_terminal()
  if not terminal then return nil, message end
  local rows, columns = core.terminal.size(terminal)
  if rows and rows > 0 and columns > 0 then spec.consoleSize = { height = rows, width = columns } end
  return terminal
end

-- Copies, forwards signals and waits. `terminal`: of the caller, when the command has one.
local function foreground(handle, terminal)
  local saved <close> = terminal and core.terminal.raw(terminal) or nil
  if terminal then core.terminal.pass_newlines(handle.terminal) end
  local ok, message = core.relay.run {
    pidfd = handle.pidfd, signals = true, copies = copies_of(handle), terminal = terminal, master = handle.terminal,
  }
  if ok == nil then return nil, message end
  local status, why = handle:wait()
  if not status then return nil, why end
  return status.code, saved
end

--- Runs the command.
-- @tparam table parsed from `ctrexec.options`
-- @tparam table log from `ctrexec.log`
-- @treturn integer exit status: that of the command (128 + signal when it was killed), 0 when it was detached, 255
-- when it could not be started
function exec.run(parsed, log)
  local function failed(message)
    log:error("exec failed: " .. message)
    return FAILED
  end
  local container, message = ctrexec.open(parsed.id, { root = given(parsed.global.root) })
  if not container then return failed(message) end
  local spec
  spec, message = spec_of(parsed)
  if not spec then return failed(message) end
  local terminal
  if spec.terminal and not spec.detach then
    terminal, message = use_terminal(spec)
    if not terminal then return failed(message) end
  elseif not spec.detach then
    shield_terminals(spec)
  end
  local handle
  handle, message = container:spawn(spec)
  if not handle then return failed(message) end
  for _, warning in ipairs(handle.warnings) do
    local level = warning.level == "debug" and "debug" or "warn"
    log[level](log, warning.message)
  end
  if spec.detach then return 0 end
  local code
  code, message = foreground(handle, terminal)
  if not code then return failed(message) end
  return code
end

return exec
