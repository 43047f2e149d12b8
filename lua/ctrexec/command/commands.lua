--- The commands of the tool: how each is written, its options, and their help texts.
--
-- An exec does not load this module: the parser's rows for the options of exec, and for those before the command, are
-- in `ctrexec.command.options`.
-- @module ctrexec.command.commands
local late = require "ctrexec.lib.late"
local texts = late "ctrexec.exec.field_texts" -- only for the help texts of exec's options

local commands = {}

local HELP = { name = "help", short = "h?", type = "bool", help = "print this help" }

--- The names of the commands, in the order in which help shows them.
commands.order = { "exec", "explain", "list", "policy", "replay", "completion", "help" }

--- The commands by name: `usage` (the words after the name), `about`, `examples`, `notes`. All but exec also have the
-- fields and options that the parser reads (see `ctrexec.command.options`), each option with `metavar`, `help` and
-- `complete`.
commands.by_name = {
  exec = {
    usage = "[OPTION...] CONTAINER COMMAND [ARG...]",
    about = "run a command in a running container",
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
    wraps = "exec",
    { name = "format", short = "f", choices = { "text", "json" }, metavar = "FORMAT",
      help = "text (the default) or json" },
    HELP,
    examples = { "ctrexec explain exec -u 33 web id" },
  },
  list = {
    usage = "[OPTION...]",
    about = "list the containers of all runtimes, or those below --root",
    max = 0,
    { name = "format", short = "f", choices = { "table", "json" }, metavar = "FORMAT",
      help = "table (the default) or json" },
    { name = "quiet", short = "q", type = "bool", help = "only the container ids" },
    HELP,
    examples = { "ctrexec list", "ctrexec --root /run/crun list --format json" },
  },
  policy = {
    usage = "check FILE... | test [DIR]",
    about = "check policy files, or run their specs",
    actions = { "check", "test" },
    HELP,
    examples = { "ctrexec policy check /etc/ctrexec/policy.d/*.lua", "ctrexec policy test ./policies" },
  },
  replay = {
    usage = "[OPTION...] FILE",
    about = "play a recorded session (asciicast version 2)",
    file = true, max = 1,
    { name = "speed", short = "s", type = "number", metavar = "N", help = "N times as fast" },
    HELP,
    examples = { "ctrexec exec --record web.cast --tty web sh", "ctrexec replay --speed 4 web.cast" },
    notes = "Control-C ends it.",
  },
  completion = {
    usage = "bash | zsh",
    about = "print a completion script for a shell",
    actions = { "bash", "zsh" }, max = 0,
    HELP,
    examples = { "source <(ctrexec completion bash)", "ctrexec completion zsh >~/.zsh/completions/_ctrexec" },
  },
  help = {
    usage = "[COMMAND]",
    about = "print the help of a command",
    max = 1,
    HELP,
    examples = { "ctrexec help exec" },
  },
}

--- The help texts of the options before the command, by the option's name.
commands.global = {
  root = { metavar = "DIR", help = "look for containers in DIR only", complete = "directories" },
  log = { metavar = "FILE", complete = "files",
    help = "append log lines to FILE (also file:FILE, journald:NAME, syslog:NAME) instead of stderr" },
  ["log-format"] = { metavar = "FORMAT", help = "text (the default) or json" },
  ["log-level"] = { metavar = "LEVEL", help = "debug, info (the default), warning or error" },
  debug = { help = "the same as --log-level debug" },
  ["systemd-cgroup"] = {
    help = "accepted for runc's sake: the container's own state says how its cgroup is managed" },
  ["cgroup-manager"] = { metavar = "NAME",
    help = "accepted for crun's sake (cgroupfs, systemd, disabled), as --systemd-cgroup" },
  rootless = { metavar = "VALUE",
    help = "accepted for runc's sake: the container's own state says whether it is rootless" },
  criu = { metavar = "PATH", help = "accepted for runc's sake: an exec makes no checkpoint" },
  version = { help = "print the version" },
  help = { help = "print this help; after a command, that command's" },
}

--- The help texts of an option. An option that a site has added may have its texts in its row, or none at all.
-- @tparam table row of the option
-- @tparam ?string command that the option belongs to; nil for an option before the command
-- @treturn ?string metavar; nil for a switch
-- @treturn string text, "" where there is none
-- @treturn ?string what the shell completes as its value: "files" or "directories"
function commands.texts(row, command)
  local known = row
  if not command then known = commands.global[row.name] or row end
  if command == "exec" then known = row.name == "help" and HELP or texts.of(row.field or row.name) or row end
  return row.type ~= "bool" and (known.metavar or "VALUE") or nil, known.help or "", known.complete
end

--- The line that shows how a command is written.
-- @tparam string name of a command
-- @treturn string "ctrexec NAME ..."
function commands.usage(name)
  local known = commands.by_name[name]
  return ("ctrexec %s %s"):format(name, known and known.usage or "[ARGUMENT...]")
end

return commands
