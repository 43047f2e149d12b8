--- The command line: which options there are, and one parser for all of them.
--
-- The grammar is runc's (Go's flag package: `--x v`, `--x=v`, `-x v`, `-x=v`, `-long v`, `--flag`, `--flag=false`) and,
-- where runc would refuse, crun's (getopt: `-uVALUE`, `-dt`, `--tty=no`, `-V`, `-?`). Parsing stops at the first word
-- that is no option, so a command's own options pass through. An exec without a mistake loads neither the other
-- commands nor any help text.
-- @module ctrexec.command.options
local fields = require "ctrexec.exec.fields"
local late = require "ctrexec.lib.late"
local commands = late "ctrexec.command.commands" -- an exec does not need the other commands
local readers = late "ctrexec.command.readers" -- few options have numbers
local refusal = late "ctrexec.command.refusal"

local options = {}

local NUMERIC = { int = true, duration = true, number = true }

local HELP = { name = "help", short = "h?", type = "bool" }

-- The options of exec: those of its fields, and --help.
local exec = table.move(fields.options, 1, #fields.options, 1, { id = true })
exec[#exec + 1] = HELP

--- The options before the command. An row has `name` (the long spelling, which is also the key of the result, with
-- `_` for `-`), `short` (its letters), `type` ("bool", "int", "number": greater than 0, "duration": a number of
-- seconds; with any other type the text itself is the value), `list` (the option may be repeated, and the result is an
-- array), `choices` (the only values), `min` (the least integer). The help texts are in `ctrexec.command.commands`; an
-- row that a site has added may have its own as `metavar` and `help`.
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

local function with_others(all)
  setmetatable(all, nil)
  for name, command in next, commands.by_name do all[name] = all[name] or command end
  return all
end

--- The commands by name. The array part of each holds its options. `id`: the first word names a container; `actions`:
-- the first word is one of these; `file`: the first word names a file; `max`: how many words may follow, besides the
-- action; `wraps`: the command that must follow. The first look-up of a command other than exec loads all of them.
options.commands = setmetatable({ exec = exec }, {
  __index = function(all, name) return with_others(all)[name] end,
  __pairs = function(all) return next, with_others(all) end,
})

--- Finds an option by its long name or one of its letters.
-- @tparam table rows `options.global` or one of `options.commands`
-- @tparam string name without dashes
-- @treturn ?table the row; nil when there is none
function options.find(rows, name)
  for _, row in ipairs(rows) do
    if row.name == name or (#name == 1 and row.short and row.short:find(name, 1, true)) then return row end
  end
end

-- Every function below that refuses returns nil and a fault, which `ctrexec.command.refusal` turns into a message.
local function fault(kind, name, row, text, reason)
  return nil, { kind = kind, name = name, row = row, text = text, reason = reason }
end

-- A switch without a value is "true"; that needs no module of readers.
local function bool(text)
  return text == "true" or readers.bool(text)
end

local function string(text, row)
  if not row.choices then return text end
  for _, choice in ipairs(row.choices) do
    if choice == text then return text end
  end
end

-- The function that makes an option's value from its text, or returns nil and a reason.
local function reader_of(row)
  if row.type == "bool" then return bool end
  return NUMERIC[row.type] and readers[row.type] or string
end

-- Puts the value of one option into `values`. `name` is the spelling that was typed, which runc's messages show.
local function store(row, name, text, values)
  local key = row.name:gsub("-", "_")
  if row.choices and text == "" then -- runc ignores an empty format
    values[key] = nil
    return true
  end
  local value, reason = reader_of(row)(text, row)
  if value == nil then return fault("value", name, row, text, reason) end
  if row.list then
    local list = values[key] or {}
    list[#list + 1] = value
    value = list
  end
  values[key] = value
  return true
end

-- Stores an option with its value: `text`, or the word at i where `text` is nil. Returns the index of the next word.
local function with_value(row, name, text, argv, i, values)
  if not text then
    text = argv[i]
    if not text then return fault("missing", name, row) end
    i = i + 1
  end
  local ok, problem = store(row, name, text, values)
  return ok and i, problem
end

-- Reads a word of getopt's letters (-dt, -u1000, -eA=1); the last letter may take a value.
local function letters(rows, word, argv, i, values)
  for position = 2, #word do
    local letter = word:sub(position, position)
    local row = options.find(rows, letter)
    if not row then return fault("undefined", word:match "^%-([^=]*)") end
    if row.type ~= "bool" then
      local text = position < #word and word:sub(position + 1) or nil
      return with_value(row, letter, text, argv, i, values)
    end
    local ok, problem = store(row, letter, "true", values)
    if not ok then return nil, problem end
  end
  return i
end

-- Reads options up to "--", or up to the first word that is no option (a lone "-" is none). Returns the index of the
-- next word.
local function scan(rows, argv, i, values)
  while argv[i] and argv[i]:find "^%-." do
    local word = argv[i]
    i = i + 1
    if word == "--" then break end
    local dashes, name, equals, text = word:match "^(%-%-?)([^=]*)(=?)(.*)$"
    if name == "" or name:find "^%-" then return fault("malformed", word) end
    local row = options.find(rows, name)
    local problem
    if row then
      if equals == "" then text = row.type == "bool" and "true" or nil end
      i, problem = with_value(row, name, text, argv, i, values)
    elseif dashes == "-" then
      i, problem = letters(rows, word, argv, i, values)
    else
      return fault("undefined", name)
    end
    if not i then return nil, problem end
  end
  return i
end

-- Reads the words after the options: the container's id or an action, then all others.
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
    -- `exec web -- nginx -t` is for ctrexec alone: runc would look for a program named "--".
    if argv[i] == "--" then i = i + 1 end
  end
  table.move(argv, i, #argv, 1, result.args)
  if command.max and #result.args > command.max then return fault("many", nil, command) end
  return result
end

-- Reads the command at argv[i] with its options and operands.
local function parse_command(argv, i, result)
  local name = argv[i]
  local command = options.commands[name]
  if not command then return fault("command", name) end
  result.command = result.command or name
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
-- @treturn table `command` ("exec", ...; also "version", and "help", with the command to describe in `args`); `global`
-- and `options`, by long name with `_` for `-` (nil where an option was not given); `id` (nil with `--pid`); `action`
-- (of policy and completion); `args` (the other words). For `explain`, `options` also holds those of the explained
-- exec.
-- @return nil, one line that names the mistake and the fix, "usage", and the part of the result that was read before
-- the mistake: its log options say where to report the mistake
function options.parse(argv)
  local result = { global = {}, options = {}, args = {} }
  local ok, problem = parse_all(argv, result)
  if ok then return ok end
  return nil, refusal.words(problem, result.command, options), "usage", result
end

return options
