--- The command line: which options there are, and one parser for all of them.
--
-- The grammar is runc's (Go's flag package: `--x v`, `--x=v`, `-x v`, `-x=v`, `-long v`, `--flag`, `--flag=false`) and,
-- where runc would refuse, crun's (getopt: `-uVALUE`, `-dt`, `--tty=no`, `-V`, `-?`). Parsing stops at the first word
-- that is no option, so a command's own options pass through. All wording, of refusals too, is in
-- `ctrexec.command.help`, which an exec that goes well never loads.
-- @module ctrexec.command.options
local options = {}

local HELP = { name = "help", short = "h?", type = "bool" }

--- The options before the command. An entry: `name` (the long one; the key of the result, with `_` for `-`), `short`
-- (its letters), `type` ("string" when absent, "bool", "int", "number": greater than 0, "duration": a number of
-- seconds), `list` (may be repeated, the result is an array), `choices` (the only values), `min` (the least integer),
-- `unsupported` (why it is refused by name). Metavar and help text are in `ctrexec.command.help`, under the same name.
options.global = {
  { name = "root" },
  { name = "log" },
  { name = "log-format", choices = { "text", "json" } },
  { name = "log-level", choices = { "debug", "info", "warning", "error" } },
  { name = "debug", type = "bool" },
  { name = "systemd-cgroup", type = "bool" },
  { name = "cgroup-manager", choices = { "cgroupfs", "systemd", "disabled" } },
  { name = "rootless" },
  { name = "criu" },
  { name = "version", short = "vV", type = "bool" },
  HELP,
}

--- The commands. The array part holds the options; `id` says that a container is named first, `actions` which first
-- words there are, `file` that a file is named first, `max` how many words there may be besides an action, `wraps`
-- which command must follow.
options.commands = {
  exec = {
    id = true,
    { name = "console-socket" },
    { name = "pidfd-socket" },
    { name = "cwd" },
    { name = "env", short = "e", list = true },
    { name = "env-file", list = true },
    { name = "tty", short = "t", type = "bool" },
    { name = "user", short = "u" },
    { name = "additional-gids", short = "g", type = "int", list = true },
    { name = "groups-from-container", type = "bool" },
    { name = "process", short = "p" },
    { name = "detach", short = "d", type = "bool" },
    { name = "pid-file" },
    { name = "process-label" },
    { name = "apparmor" },
    { name = "no-new-privs", type = "bool" },
    { name = "cap", short = "c", list = true },
    { name = "preserve-fds", type = "int" },
    { name = "cgroup", list = true },
    { name = "ignore-paused", type = "bool" },
    { name = "pid", type = "int", min = 1 },
    { name = "timeout", type = "duration" },
    { name = "kill-after", type = "duration" },
    { name = "policy", list = true },
    { name = "tool", list = true },
    { name = "login-uid", type = "int", min = 0 },
    { name = "host-env", list = true },
    { name = "record" },
    HELP,
  },
  explain = {
    wraps = "exec",
    { name = "format", short = "f", choices = { "text", "json" } },
    HELP,
  },
  list = {
    max = 0,
    { name = "format", short = "f", choices = { "table", "json" } },
    { name = "quiet", short = "q", type = "bool" },
    HELP,
  },
  replay = {
    file = true, max = 1,
    { name = "speed", short = "s", type = "number" },
    HELP,
  },
  policy = { actions = { "check", "test" }, HELP },
  completion = { actions = { "bash", "zsh" }, max = 0, HELP },
  help = { max = 1, HELP },
}

-- The words strconv.ParseBool knows, and crun's "no".
local BOOL = {
  ["1"] = true, t = true, T = true, ["true"] = true, TRUE = true, True = true,
  ["0"] = false, f = false, F = false, ["false"] = false, FALSE = false, False = false, no = false,
}
local BASE = { x = 16, o = 8, b = 2 }
local UNIT = { [""] = 1, s = 1, m = 60, h = 3600, d = 86400 }
local MAX_DIGITS = 15 -- fewer than wrap a Lua integer round in any base

--- Finds an option by its long name or one of its letters.
-- @tparam table entries `options.global` or one of `options.commands`
-- @tparam string name without dashes
-- @treturn ?table the entry; nil when there is none
function options.find(entries, name)
  for _, entry in ipairs(entries) do
    if entry.name == name or (#name == 1 and entry.short and entry.short:find(name, 1, true)) then return entry end
  end
end

-- Every function below that refuses returns nil and a fault: what `help.refusal` words.
local function fault(kind, name, entry, text, reason)
  return nil, { kind = kind, name = name, entry = entry, text = text, reason = reason }
end

-- strconv.ParseInt: base 10 in a list, else the prefix says which.
local function integer(text, entry)
  local sign, digits = text:match "^([+-]?)(%w+)$"
  local base = 10
  if digits and not entry.list and digits:find "^0%w" then
    local prefix = BASE[digits:sub(2, 2):lower()]
    base, digits = prefix or 8, digits:sub(prefix and 3 or 2)
  end
  local value = digits and tonumber(digits, base)
  if not value then return nil, "syntax" end
  if #digits:gsub("^0+", "") > MAX_DIGITS then return nil, "range" end
  if sign == "-" then value = -value end
  if entry.min and value < entry.min then return nil, "range" end
  return value
end

-- As timeout(1) takes them: 5, 1.5s, 2m, 1h, 1d.
local function duration(text)
  local number, unit = text:match "^(%d*%.?%d*)([smhd]?)$"
  number = tonumber(number)
  return number and number * UNIT[unit]
end

local function number(text)
  local value = text:find "^%d*%.?%d*$" and tonumber(text)
  return value and value > 0 and value or nil
end

local function bool(text) return BOOL[text] end

local function string(text, entry)
  if not entry.choices then return text end
  for _, choice in ipairs(entry.choices) do
    if choice == text then return text end
  end
end

local CONVERT = { int = integer, duration = duration, number = number, bool = bool }

-- Puts one option into `values`. `name` is as typed: runc's messages show that.
local function store(entry, name, text, values)
  local key = entry.name:gsub("-", "_")
  if entry.choices and text == "" then -- runc takes an empty format for none given
    values[key] = nil
    return true
  end
  local value, reason = (CONVERT[entry.type] or string)(text, entry)
  if value == nil then return fault("value", name, entry, text, reason) end
  if value and entry.unsupported then return fault("unsupported", name, entry) end
  if entry.list then
    local list = values[key] or {}
    list[#list + 1] = value
    value = list
  end
  values[key] = value
  return true
end

-- An option and its value, when that is not `text` the word at i. Returns the index of the next word.
local function with_value(entry, name, text, argv, i, values)
  if not text then
    text = argv[i]
    if not text then return fault("missing", name, entry) end
    i = i + 1
  end
  local ok, problem = store(entry, name, text, values)
  return ok and i, problem
end

-- getopt's letters in one word (-dt, -u1000, -eA=1), of which the last may want a value.
local function letters(entries, word, argv, i, values)
  for position = 2, #word do
    local letter = word:sub(position, position)
    local entry = options.find(entries, letter)
    if not entry then return fault("undefined", word:match "^%-([^=]*)") end
    if entry.type ~= "bool" then
      local text = position < #word and word:sub(position + 1) or nil
      return with_value(entry, letter, text, argv, i, values)
    end
    local ok, problem = store(entry, letter, "true", values)
    if not ok then return nil, problem end
  end
  return i
end

-- Options up to the first word that is none (a lone "-" is none), or up to "--". Returns the index of the next word.
local function scan(entries, argv, i, values)
  while argv[i] and argv[i]:find "^%-." do
    local word = argv[i]
    i = i + 1
    if word == "--" then break end
    local dashes, name, equals, text = word:match "^(%-%-?)([^=]*)(=?)(.*)$"
    if name == "" or name:find "^%-" then return fault("malformed", word) end
    local entry = options.find(entries, name)
    local problem
    if entry then
      if equals == "" then text = entry.type == "bool" and "true" or nil end
      i, problem = with_value(entry, name, text, argv, i, values)
    elseif dashes == "-" then
      i, problem = letters(entries, word, argv, i, values)
    else
      return fault("undefined", name)
    end
    if not i then return nil, problem end
  end
  return i
end

-- What follows the options: the container's id or an action, then the other words.
local function operands(command, argv, i, result)
  local first = argv[i]
  local takes_first = command.actions or command.id and not result.options.pid
  if not first and (takes_first or command.file) then return fault("few", nil, command) end
  if takes_first then i = i + 1 end
  if command.actions then
    result.action = string(first, { choices = command.actions })
    if not result.action then return fault("action", first, command) end
  elseif command.id and not result.options.pid then
    result.id = first
    -- `exec web -- nginx -t`: runc looks for a program named "--".
    if argv[i] == "--" then i = i + 1 end
  end
  table.move(argv, i, #argv, 1, result.args)
  if command.max and #result.args > command.max then return fault("many", nil, command) end
  return result
end

-- The command at argv[i] with its options and operands.
local function parse_command(argv, i, result)
  local name = argv[i]
  local command = options.commands[name]
  if not command then return fault("command", name) end
  result.command = result.command or name
  if command.unsupported then return fault("unsupported", name, command) end
  local problem
  i, problem = scan(command, argv, i + 1, result.options)
  if not i then return nil, problem end
  if result.options.help then
    result.command, result.args[1] = "help", name
    return result
  elseif not command.wraps then
    return operands(command, argv, i, result)
  elseif argv[i] ~= command.wraps then
    return fault("wraps", argv[i], command)
  end
  return parse_command(argv, i, result)
end

local function parse_all(argv, result)
  local i, problem = scan(options.global, argv, 1, result.global)
  if not i then return nil, problem end
  if result.global.help then
    result.command = "help"
  elseif result.global.version then
    result.command = "version"
  elseif (argv[i] or "") == "" then
    result.command = "help"
  else
    return parse_command(argv, i, result)
  end
  return result
end

--- Reads a command line.
-- @tparam {string,...} argv the arguments, without the program's name
-- @treturn table `command` ("exec", ... also "help", with the command asked about in `args`, and "version"); `global`
-- and `options`, by long name with `_` for `-` (what was not given is nil); `id` (nil with `--pid`); `action` (of
-- policy and completion); `args` (the other words). For `explain`, `options` holds those of the exec it explains too.
-- @return nil, one line that names the mistake and the fix, "usage", and what was understood so far: the log options
-- before the mistake say where to report it
function options.parse(argv)
  local result = { global = {}, options = {}, args = {} }
  local ok, problem = parse_all(argv, result)
  if ok then return ok end
  return nil, require("ctrexec.command.help").refusal(problem, result.command), "usage", result
end

return options
