--- The message for a mistake on the command line: it starts with runc 1.1's words for the same mistake, and ends with
-- the fix in parentheses.
-- @module ctrexec.command.refusal
local commands = require "ctrexec.command.commands"
local wording = require "ctrexec.lib.wording"

local refusal = {}

-- The options that are valid where the mistake was made. `explain` takes those of the exec that it explains, too.
local function entries_of(command, options)
  if not command then return options.global end
  local rows = table.move(options.commands[command], 1, #options.commands[command], 1, {})
  local wrapped = options.commands[options.commands[command].wraps]
  return wrapped and table.move(wrapped, 1, #wrapped, #rows + 1, rows) or rows
end

local function unknown_option(name, command, options)
  if command and options.find(options.global, name) then
    return ('a global option: write it before "%s"'):format(command)
  elseif not command and options.find(options.commands.exec, name) then
    return 'an option of exec: write it after "exec"'
  end
  local names = {}
  for _, row in ipairs(entries_of(command, options)) do names[#names + 1] = row.name end
  local nearest = wording.nearest(name, names)
  if nearest then return "did you mean --" .. nearest .. "?" end
  return ('see "ctrexec %s--help"'):format(command and command .. " " or "")
end

local quoted = wording.quote

-- Go's words for a wrong value, which differ between a plain number and a repeated one.
local function bad_value(problem)
  local row, text, name = problem.row, problem.text, problem.name
  if row.choices then
    return ("invalid %s: %s"):format(row.name, text), table.concat(row.choices, " or ")
  elseif row.type == "bool" then
    return ("invalid boolean value %s for -%s: parse error"):format(quoted(text), name), "true or false"
  end
  local reason = problem.reason == "range" and "value out of range" or row.list and "invalid syntax" or "parse error"
  if row.list then reason = ("strconv.ParseInt: parsing %s: %s"):format(quoted(text), reason) end
  local message = ("invalid value %s for flag -%s: %s"):format(quoted(text), name, reason)
  if row.type == "number" then return message, "a number greater than 0" end
  if row.type == "duration" then return message, "seconds, or a number with a unit: 90s, 5m, 1h" end
  return message, row.min and "a whole number from " .. row.min .. " on" or "a whole number"
end

-- By kind of fault: returns runc's words and the fix.
local WORDS = {
  malformed = function(problem) return "bad flag syntax: " .. problem.name, 'an option is "-x" or "--name"' end,
  undefined = function(problem, command, options)
    return "flag provided but not defined: -" .. problem.name, unknown_option(problem.name, command, options)
  end,
  missing = function(problem, command, options)
    local row = problem.row
    local known = options.commands[command]
    -- The option may belong to the exec that `explain` explains.
    if known and not options.find(known, row.name) then command = known.wraps end
    return "flag needs an argument: -" .. problem.name, ("--%s %s"):format(row.name, (commands.texts(row, command)))
  end,
  value = bad_value,
  few = function(_, command)
    return ('ctrexec: "%s" requires a minimum of 1 argument(s)'):format(command), commands.usage(command)
  end,
  many = function(problem, command)
    local count = problem.row.max + (problem.row.actions and 1 or 0)
    local bound = (count == 0 or problem.row.actions or problem.row.file) and "exactly" or "a maximum of"
    return ('ctrexec: "%s" requires %s %d argument(s)'):format(command, bound, count), commands.usage(command)
  end,
  action = function(problem, command)
    return ('ctrexec: "%s" does not know %s'):format(command, quoted(problem.name)),
      table.concat(problem.row.actions, " or ")
  end,
  wraps = function(_, command)
    return ('ctrexec: "%s" lacks the command to show'):format(command), commands.usage(command)
  end,
  command = function(problem)
    local nearest = wording.nearest(problem.name, commands.order)
    return "unknown command " .. quoted(problem.name),
      nearest and ('did you mean "%s"?'):format(nearest) or 'see "ctrexec --help"'
  end,
}

--- Makes the message for a fault that `ctrexec.command.options` found.
-- @tparam table problem `kind`, `name` as typed, `entry` of the option or command, `text` of the value, `reason`
-- @tparam ?string command among whose arguments the fault is; nil where it comes before the command
-- @tparam table options `ctrexec.command.options`: which options there are
-- @treturn string one line: what is wrong, and the fix in parentheses
function refusal.words(problem, command, options)
  local message, fix = WORDS[problem.kind](problem, command, options)
  return ("%s (%s)"):format(message, fix)
end

return refusal
