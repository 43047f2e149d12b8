--- What the command line says about itself: `--help`, the `help` command, and the line that refuses a mistake.
--
-- The options are those of `ctrexec.command.options`; here are their texts. A refusal starts with runc 1.1's words for
-- the same mistake and ends with the fix in parentheses.
-- @module ctrexec.command.help
local fields = require "ctrexec.exec.fields"
local options = require "ctrexec.command.options"
local texts = require "ctrexec.exec.field_texts"
local wording = require "ctrexec.lib.wording"

local help = {}

local WIDTH = 79
local TEXT_COLUMN = 31

--- The commands in the order in which they are shown.
help.order = { "exec", "explain", "list", "policy", "replay", "completion", "help" }

--- The options before the command: long name -> { metavar (false for a switch), text }; `complete`: what its values
-- are, "files" or "directories".
help.global = {
  root = { "DIR", "look for containers in DIR only", complete = "directories" },
  log = { "FILE", "append log lines to FILE (also file:FILE, journald:NAME, syslog:NAME) instead of stderr",
    complete = "files" },
  ["log-format"] = { "FORMAT", "text (the default) or json" },
  ["log-level"] = { "LEVEL", "debug, info (the default), warning or error" },
  debug = { false, "the same as --log-level debug" },
  ["systemd-cgroup"] = { false, "accepted for runc's sake: the container's own state says how its cgroup is managed" },
  ["cgroup-manager"] = { "NAME", "accepted for crun's sake (cgroupfs, systemd, disabled), as --systemd-cgroup" },
  rootless = { "VALUE", "accepted for runc's sake: the container's own state says whether it is rootless" },
  criu = { "PATH", "accepted for runc's sake: an exec makes no checkpoint" },
  version = { false, "print the version" },
  help = { false, "print this help; after a command, that command's" },
}

-- Those of exec stand with its fields.
local EXEC = { help = { false, "print this help" } }
for _, row in ipairs(fields.options) do
  local text = texts.of(row)
  EXEC[row.name] = { text.metavar or false, text.help, complete = text.complete }
end

--- Each command: `usage` (the words after its name), `about`, `options` (as `help.global`), `examples`, `notes`.
help.commands = {
  exec = {
    usage = "[OPTION...] CONTAINER COMMAND [ARG...]",
    about = "run a command in a running container",
    options = EXEC,
    examples = {
      "ctrexec exec web -- nginx -t",
      "ctrexec exec -u www-data -e LANG=C --cwd /srv web ls -l",
      "ctrexec exec --tty web sh",
      "ctrexec exec --process process.json --detach --pid-file pid web",
    },
    notes = "The exit status is the command's, 128+N if signal N killed it, 1 for a mistake on the command line, and "
      .. "255 if the command could not be started.",
  },
  explain = {
    usage = "[OPTION...] exec EXEC-ARGUMENT...",
    about = "show what an exec would do, and start nothing",
    options = {
      format = { "FORMAT", "text (the default) or json" },
      help = { false, "print this help" },
    },
    examples = { "ctrexec explain exec -u 33 web id" },
  },
  list = {
    usage = "[OPTION...]",
    about = "list the containers of all runtimes, or those below --root",
    options = {
      format = { "FORMAT", "table (the default) or json" },
      quiet = { false, "only the container ids" },
      help = { false, "print this help" },
    },
    examples = { "ctrexec list", "ctrexec --root /run/crun list --format json" },
  },
  policy = {
    usage = "check FILE... | test [DIR]",
    about = "check policy files, or run their specs",
    options = { help = { false, "print this help" } },
    examples = { "ctrexec policy check /etc/ctrexec/policy.d/*.lua", "ctrexec policy test ./policies" },
  },
  replay = {
    usage = "[OPTION...] FILE",
    about = "play a recorded session (asciicast version 2)",
    options = {
      speed = { "N", "N times as fast" },
      help = { false, "print this help" },
    },
    examples = { "ctrexec exec --record web.cast --tty web sh", "ctrexec replay --speed 4 web.cast" },
    notes = "Control-C ends it.",
  },
  completion = {
    usage = "bash | zsh",
    about = "print a completion script for a shell",
    options = { help = { false, "print this help" } },
    examples = { "source <(ctrexec completion bash)", "ctrexec completion zsh >~/.zsh/completions/_ctrexec" },
  },
  help = {
    usage = "[COMMAND]",
    about = "print the help of a command",
    options = { help = { false, "print this help" } },
    examples = { "ctrexec help exec" },
  },
}

local function wrap(text, indent, out)
  local line = indent
  for word in text:gmatch "%S+" do
    if #line + #word + 1 > WIDTH and line:find "%S" then
      out[#out + 1] = line:gsub("%s+$", "")
      line = (" "):rep(#indent)
    end
    line = line .. word .. " "
  end
  out[#out + 1] = line:gsub("%s+$", "")
end

-- A name in the left column, its text in the right one.
local function row(name, text, out)
  local left = "  " .. name
  if #left + 2 > TEXT_COLUMN then
    out[#out + 1] = left
    left = ""
  end
  wrap(text, left .. (" "):rep(TEXT_COLUMN - #left), out)
end

--- What people read about an option. One of the site's own may have its texts in its entry, or none.
-- @tparam table entry of `ctrexec.command.options`
-- @tparam ?string command whose option it is; nil for one before the command
-- @treturn string|boolean metavar; false for a switch
-- @treturn string text, "" where there is none
-- @treturn ?string what its values are: "files" or "directories"
function help.of(entry, command)
  local known = (command and help.commands[command].options or help.global)[entry.name] or {}
  local metavar = entry.metavar or known[1] or entry.type ~= "bool" and "VALUE"
  return metavar, entry.help or known[2] or "", entry.complete or known.complete
end

-- A row for each option: "-u, --user USER[:GROUP]" and its text.
local function option_rows(entries, command, out)
  for _, entry in ipairs(entries) do
    local metavar, text = help.of(entry, command)
    local short = entry.short and "-" .. entry.short:sub(1, 1) .. ", " or "    "
    row(short .. "--" .. entry.name .. (metavar and " " .. metavar or ""), text, out)
  end
end

local function list_of(title, lines, out)
  out[#out + 1] = ""
  out[#out + 1] = title
  for _, line in ipairs(lines) do out[#out + 1] = "  " .. line end
end

local function tool_text(out)
  out[#out + 1] = "ctrexec [GLOBAL-OPTION...] COMMAND [OPTION...] [ARGUMENT...]"
  out[#out + 1] = ""
  wrap("Runs a command inside a container that is already running: one made by runc, crun or youki, or any process.",
    "", out)
  list_of("Commands:", {}, out)
  for _, name in ipairs(help.order) do row(name, help.commands[name].about, out) end
  list_of("Global options:", {}, out)
  option_rows(options.global, nil, out)
  list_of("Examples:", {
    "ctrexec exec web -- nginx -t",
    "ctrexec --root /run/crun exec -u 33:33 web id",
    "ctrexec help exec",
  }, out)
end

local function command_text(name, out)
  local command = help.commands[name]
  wrap(help.usage(name), "", out)
  out[#out + 1] = ""
  out[#out + 1] = (command.about:gsub("^%l", string.upper)) .. "."
  list_of("Options:", {}, out)
  option_rows(options.commands[name], name, out)
  list_of("Examples:", command.examples, out)
  if command.notes then
    out[#out + 1] = ""
    wrap(command.notes, "", out)
  end
end

--- The line that shows how a command is written.
-- @tparam string name of a command
-- @treturn string "ctrexec NAME ..."
function help.usage(name) return "ctrexec " .. name .. " " .. help.commands[name].usage end

--- The help text, at most 79 columns wide.
-- @tparam ?string command the command asked about; nil for the tool
-- @treturn string the text, ending in a newline
-- @return nil, message, "usage" when there is no such command
function help.text(command)
  local out = {}
  if not command then
    tool_text(out)
  elseif help.commands[command] then
    command_text(command, out)
  else
    return nil, help.refusal { kind = "command", name = command }, "usage"
  end
  return table.concat(out, "\n") .. "\n"
end

-- The entries that are valid where the mistake was made. An exec that is explained is part of the explain command.
local function entries_of(command)
  if not command then return options.global end
  local entries = table.move(options.commands[command], 1, #options.commands[command], 1, {})
  local wrapped = options.commands[options.commands[command].wraps]
  return wrapped and table.move(wrapped, 1, #wrapped, #entries + 1, entries) or entries
end

local function unknown_option(name, command)
  if command and options.find(options.global, name) then
    return ('a global option: write it before "%s"'):format(command)
  elseif not command and options.find(options.commands.exec, name) then
    return 'an option of exec: write it after "exec"'
  end
  local names = {}
  for _, entry in ipairs(entries_of(command)) do names[#names + 1] = entry.name end
  local nearest = wording.nearest(name, names)
  if nearest then return "did you mean --" .. nearest .. "?" end
  return ('see "ctrexec %s--help"'):format(command and command .. " " or "")
end

local function quoted(text) return '"' .. text .. '"' end

-- strconv's words, which differ between a plain and a repeated number.
local function bad_value(problem)
  local entry, text, name = problem.entry, problem.text, problem.name
  if entry.choices then
    return ("invalid %s: %s"):format(entry.name, text), table.concat(entry.choices, " or ")
  elseif entry.type == "bool" then
    return ("invalid boolean value %s for -%s: parse error"):format(quoted(text), name), "true or false"
  end
  local reason = problem.reason == "range" and "value out of range" or entry.list and "invalid syntax" or "parse error"
  if entry.list then reason = ("strconv.ParseInt: parsing %s: %s"):format(quoted(text), reason) end
  local message = ("invalid value %s for flag -%s: %s"):format(quoted(text), name, reason)
  if entry.type == "number" then return message, "a number greater than 0" end
  if entry.type == "duration" then return message, "seconds, or a number with a unit: 90s, 5m, 1h" end
  return message, entry.min and "a whole number from " .. entry.min .. " on" or "a whole number"
end

-- By kind of fault: returns runc's words and the fix.
local WORDS = {
  malformed = function(problem) return "bad flag syntax: " .. problem.name, 'an option is "-x" or "--name"' end,
  undefined = function(problem, command)
    return "flag provided but not defined: -" .. problem.name, unknown_option(problem.name, command)
  end,
  missing = function(problem, command)
    local entry = problem.entry
    local known = options.commands[command]
    -- An exec that is explained is part of the explain command.
    if known and not options.find(known, entry.name) then command = known.wraps end
    return "flag needs an argument: -" .. problem.name, ("--%s %s"):format(entry.name, (help.of(entry, command)))
  end,
  value = bad_value,
  few = function(_, command)
    return ('ctrexec: "%s" requires a minimum of 1 argument(s)'):format(command), help.usage(command)
  end,
  many = function(problem, command)
    local count = problem.entry.max + (problem.entry.actions and 1 or 0)
    local bound = (count == 0 or problem.entry.actions or problem.entry.file) and "exactly" or "a maximum of"
    return ('ctrexec: "%s" requires %s %d argument(s)'):format(command, bound, count), help.usage(command)
  end,
  action = function(problem, command)
    return ('ctrexec: "%s" does not know %s'):format(command, quoted(problem.name)),
      table.concat(problem.entry.actions, " or ")
  end,
  wraps = function(_, command)
    return ('ctrexec: "%s" lacks the command to show'):format(command), help.usage(command)
  end,
  command = function(problem)
    local nearest = wording.nearest(problem.name, help.order)
    return "unknown command " .. quoted(problem.name),
      nearest and ('did you mean "%s"?'):format(nearest) or 'see "ctrexec --help"'
  end,
}

--- Words a fault that `ctrexec.command.options` found.
-- @tparam table problem `kind`, `name` as typed, `entry` of the option or command, `text` of the value, `reason`
-- @tparam ?string command in whose arguments it is; nil when before any
-- @treturn string one line: what is wrong, and the fix in parentheses
function help.refusal(problem, command)
  local message, fix = WORDS[problem.kind](problem, command)
  return ("%s (%s)"):format(message, fix)
end

--- Prints the help text of the tool or of the command that `args` names.
-- @tparam table parsed from `ctrexec.command.options`
-- @tparam table log from `ctrexec.command.log`
-- @treturn integer 0, or 1 for an unknown command
function help.run(parsed, log)
  local text, message = help.text(parsed.args[1])
  if not text then
    log:error(message)
    return 1
  end
  io.stdout:write(text)
  return 0
end

return help
