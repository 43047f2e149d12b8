local cjson = require "cjson"
local commands = require "ctrexec.command.commands"
local options = require "ctrexec.command.options"
local tool = require "tests.lib.tool"

-- Splits a line into words; a word in quotes may contain blanks or be empty.
local function words(line)
  local result = {}
  for quote, text in (line .. " "):gmatch "('?)([^' ]*)'? " do
    result[#result + 1] = quote == "'" and text:gsub("_", " ") or text
  end
  return result
end

-- Each row: a command line, then the options, the id and the other words that the parser must find in it. `runc` says
-- why runc refuses that line.
local MIXED = "crun's: runc wants one form of an option only"
local EXEC_ROWS = {
  -- Go's spellings
  { "exec web true", {}, "web", { "true" } },
  { "exec --user 1 web id", { user = "1" }, "web", { "id" } },
  { "exec --user=1 web id", { user = "1" }, "web", { "id" } },
  { "exec -user 1 web id", { user = "1" }, "web", { "id" } },
  { "exec -user=1 web id", { user = "1" }, "web", { "id" } },
  { "exec -u 1 web id", { user = "1" }, "web", { "id" } },
  { "exec -u=1 web id", { user = "1" }, "web", { "id" } },
  { "exec --u 1 web id", { user = "1" }, "web", { "id" } },
  { "exec --u=1 web id", { user = "1" }, "web", { "id" } },
  { "exec -cwd /bin web ls", { cwd = "/bin" }, "web", { "ls" } },
  { "exec --cwd=/a=b web ls", { cwd = "/a=b" }, "web", { "ls" } },
  { "exec --cwd= web ls", { cwd = "" }, "web", { "ls" } },
  { "exec --cwd '' web ls", { cwd = "" }, "web", { "ls" } },
  { "exec --cwd --tty web ls", { cwd = "--tty" }, "web", { "ls" } },
  { "exec --cwd -- web ls", { cwd = "--" }, "web", { "ls" } },
  { "exec --user -1 web id", { user = "-1" }, "web", { "id" } },
  { "exec --user=1 --user=2 web id", { user = "2" }, "web", { "id" } },
  { "exec --user 33:33 web id", { user = "33:33" }, "web", { "id" } },
  { "exec --user www-data:adm web id", { user = "www-data:adm" }, "web", { "id" } },
  -- switches
  { "exec --tty web sh", { tty = true }, "web", { "sh" } },
  { "exec -t web sh", { tty = true }, "web", { "sh" } },
  { "exec -tty web sh", { tty = true }, "web", { "sh" } },
  { "exec --t web sh", { tty = true }, "web", { "sh" } },
  { "exec --tty=true web sh", { tty = true }, "web", { "sh" } },
  { "exec -t=1 web sh", { tty = true }, "web", { "sh" } },
  { "exec -t=T web sh", { tty = true }, "web", { "sh" } },
  { "exec --tty=false web sh", { tty = false }, "web", { "sh" } },
  { "exec -t=false web sh", { tty = false }, "web", { "sh" } },
  { "exec -t=0 web sh", { tty = false }, "web", { "sh" } },
  { "exec --tty=F web sh", { tty = false }, "web", { "sh" } },
  { "exec --tty=FALSE web sh", { tty = false }, "web", { "sh" } },
  { "exec --tty=no web sh", { tty = false }, "web", { "sh" }, runc = "crun's" },
  { "exec --tty -t=false web sh", { tty = false }, "web", { "sh" }, runc = MIXED },
  { "exec -t=false -t web sh", { tty = true }, "web", { "sh" } },
  { "exec --tty false web sh", { tty = true }, "false", { "web", "sh" } },
  { "exec --detach --ignore-paused web x", { detach = true, ignore_paused = true }, "web", { "x" } },
  { "exec --no-new-privs=false web x", { no_new_privs = false }, "web", { "x" } },
  { "exec --help=false web x", { help = false }, "web", { "x" } },
  -- repeated options
  { "exec -e A=1 web env", { env = { "A=1" } }, "web", { "env" } },
  { "exec -e A=1 --env B=2 --env=C=3 -eD=4 web env", { env = { "A=1", "B=2", "C=3", "D=4" } }, "web", { "env" },
    runc = MIXED },
  { "exec -env A=1 -env=B=2 web env", { env = { "A=1", "B=2" } }, "web", { "env" } },
  { "exec -e=A=1 -e B=2 web env", { env = { "A=1", "B=2" } }, "web", { "env" } },
  { "exec -e A=1 -e A=1 web env", { env = { "A=1", "A=1" } }, "web", { "env" } },
  { "exec -e A=1,B=2 web env", { env = { "A=1,B=2" } }, "web", { "env" } },
  { "exec -e '' web env", { env = { "" } }, "web", { "env" } },
  { "exec -e 'A=b_c' web env", { env = { "A=b c" } }, "web", { "env" } },
  { "exec -e web env", { env = { "web" } }, "env", {} },
  { "exec -c CAP_KILL --cap CAP_CHOWN web x", { cap = { "CAP_KILL", "CAP_CHOWN" } }, "web", { "x" }, runc = MIXED },
  { "exec --cgroup a:/x --cgroup b:/y web x", { cgroup = { "a:/x", "b:/y" } }, "web", { "x" } },
  { "exec --env-file a --env-file b web x", { env_file = { "a", "b" } }, "web", { "x" }, runc = "ours" },
  { "exec --policy a.lua --policy b.lua web x", { policy = { "a.lua", "b.lua" } }, "web", { "x" }, runc = "ours" },
  { "exec --tool /bin/busybox:/bin/sh web sh", { tool = { "/bin/busybox:/bin/sh" } }, "web", { "sh" }, runc = "ours" },
  -- numbers
  { "exec -g 5 -g=6 --additional-gids 7 web id", { additional_gids = { 5, 6, 7 } }, "web", { "id" }, runc = "ours" },
  { "exec -g 5 -g=6 web id", { additional_gids = { 5, 6 } }, "web", { "id" } },
  { "exec -g 010 web id", { additional_gids = { 10 } }, "web", { "id" } },
  { "exec -g +7 web id", { additional_gids = { 7 } }, "web", { "id" } },
  { "exec -g=-1 web id", { additional_gids = { -1 } }, "web", { "id" } },
  { "exec -g -1 web id", { additional_gids = { -1 } }, "web", { "id" } },
  { "exec --preserve-fds 2 web x", { preserve_fds = 2 }, "web", { "x" } },
  { "exec --preserve-fds=0 web x", { preserve_fds = 0 }, "web", { "x" } },
  { "exec --preserve-fds=-1 web x", { preserve_fds = -1 }, "web", { "x" } },
  { "exec --preserve-fds=0x1f web x", { preserve_fds = 31 }, "web", { "x" } },
  { "exec --preserve-fds=0X1F web x", { preserve_fds = 31 }, "web", { "x" } },
  { "exec --preserve-fds=010 web x", { preserve_fds = 8 }, "web", { "x" } },
  { "exec --preserve-fds=0o17 web x", { preserve_fds = 15 }, "web", { "x" } },
  { "exec --preserve-fds=0b101 web x", { preserve_fds = 5 }, "web", { "x" } },
  { "exec --preserve-fds=000000000000000000001 web x", { preserve_fds = 1 }, "web", { "x" } },
  { "exec --login-uid 0 web x", { login_uid = 0 }, "web", { "x" }, runc = "ours" },
  { "exec --timeout 5 web x", { timeout = 5 }, "web", { "x" }, runc = "ours" },
  { "exec --timeout 1.5s web x", { timeout = 1.5 }, "web", { "x" }, runc = "ours" },
  { "exec --timeout .5 web x", { timeout = 0.5 }, "web", { "x" }, runc = "ours" },
  { "exec --timeout 2m web x", { timeout = 120 }, "web", { "x" }, runc = "ours" },
  { "exec --timeout=1h --kill-after=1d web x", { timeout = 3600, kill_after = 86400 }, "web", { "x" }, runc = "ours" },
  { "exec --record f.cast web x", { record = "f.cast" }, "web", { "x" }, runc = "ours" },
  -- getopt's spellings
  { "exec -u1 web id", { user = "1" }, "web", { "id" }, runc = "crun's" },
  { "exec -u1000:1000 web id", { user = "1000:1000" }, "web", { "id" }, runc = "crun's" },
  { "exec -eA=1 -eB=2 web env", { env = { "A=1", "B=2" } }, "web", { "env" }, runc = "crun's" },
  { "exec -dt web sh", { detach = true, tty = true }, "web", { "sh" }, runc = "crun's" },
  { "exec -td web sh", { detach = true, tty = true }, "web", { "sh" }, runc = "crun's" },
  { "exec -dtu 1 web sh", { detach = true, tty = true, user = "1" }, "web", { "sh" }, runc = "ours" },
  { "exec -tu1 web sh", { tty = true, user = "1" }, "web", { "sh" }, runc = "crun's" },
  { "exec -teA=1=2 web sh", { tty = true, env = { "A=1=2" } }, "web", { "sh" }, runc = "crun's" },
  { "exec -p/dev/fd/3 web", { process = "/dev/fd/3" }, "web", {}, runc = "crun's" },
  { "exec -cCAP_KILL web x", { cap = { "CAP_KILL" } }, "web", { "x" }, runc = "crun's" },
  -- where Go's reading of a word differs from getopt's, it is Go's
  { "exec -env A=1 web env", { env = { "A=1" } }, "web", { "env" } },
  { "exec -cap CAP_KILL web x", { cap = { "CAP_KILL" } }, "web", { "x" } },
  { "exec -pid-file f web x", { pid_file = "f" }, "web", { "x" } },
  -- the end of the options
  { "exec web ls --all -la", {}, "web", { "ls", "--all", "-la" } },
  { "exec -d web -d", { detach = true }, "web", { "-d" } },
  { "exec web --help", {}, "web", { "--help" } },
  { "exec web", {}, "web", {} },
  { "exec -- web id", {}, "web", { "id" } },
  { "exec -d -- web id", { detach = true }, "web", { "id" } },
  { "exec -- --tty", {}, "--tty", {} },
  { "exec -- -- id", {}, "--", { "id" } },
  { "exec web -- nginx -t", {}, "web", { "nginx", "-t" } },
  { "exec -- web -- nginx -t", {}, "web", { "nginx", "-t" } },
  { "exec web -- -- id", {}, "web", { "--", "id" } },
  { "exec web id -- -u", {}, "web", { "id", "--", "-u" } },
  { "exec web --", {}, "web", {} },
  { "exec - id", {}, "-", { "id" } },
  { "exec '' id", {}, "", { "id" } },
  { "exec help", {}, "help", {} },
  { "exec web '' 'a_b'", {}, "web", { "", "a b" } },
  -- a process of the host instead of a container
  { "exec --pid 42 id -u", { pid = 42 }, nil, { "id", "-u" }, runc = "ours" },
  { "exec --pid=42 -- ls -l", { pid = 42 }, nil, { "ls", "-l" }, runc = "ours" },
  { "exec --pid 42", { pid = 42 }, nil, {}, runc = "ours" },
  -- the rest of the strings
  { "exec --console-socket s --pidfd-socket q --process-label l --apparmor a web x",
    { console_socket = "s", pidfd_socket = "q", process_label = "l", apparmor = "a" }, "web", { "x" }, runc = "newer" },
  { "exec --groups-from-container web x", { groups_from_container = true }, "web", { "x" }, runc = "ours" },
}

-- Each row: a command line, its global options, its command, and all other fields of the result.
local OTHER_ROWS = {
  { "list", {}, "list", {} },
  { "list -q -f json", {}, "list", { options = { quiet = true, format = "json" } } },
  { "-- list", {}, "list", {} },
  { "--root /r list", { root = "/r" }, "list", {} },
  { "--root list list", { root = "list" }, "list", {} },
  { "-log-format json list", { log_format = "json" }, "list", {} },
  { "--log-format json --log-format= --criu /c list", { criu = "/c" }, "list", {} },
  { "--log=l --log-format=text --log-format=json list", { log = "l", log_format = "json" }, "list", {} },
  { "--log '' list", { log = "" }, "list", {} },
  { "--debug --systemd-cgroup=true --rootless auto list",
    { debug = true, systemd_cgroup = true, rootless = "auto" }, "list", {} },
  { "--cgroup-manager=systemd --log-level=warning list", { cgroup_manager = "systemd", log_level = "warning" }, "list",
    {} },
  { "replay f.cast", {}, "replay", { args = { "f.cast" } } },
  { "replay --speed 2.5 -- -f", {}, "replay", { options = { speed = 2.5 }, args = { "-f" } } },
  { "policy check a.lua b.lua", {}, "policy", { action = "check", args = { "a.lua", "b.lua" } } },
  { "policy test", {}, "policy", { action = "test" } },
  { "completion zsh", {}, "completion", { action = "zsh" } },
  { "explain exec -u 1 web id -u", {}, "explain", { options = { user = "1" }, id = "web", args = { "id", "-u" } } },
  { "explain --format json exec web id", {}, "explain", { options = { format = "json" }, id = "web",
    args = { "id" } } },
  { "", {}, "help", {} },
  { "''", {}, "help", {} },
  { "--root /r", { root = "/r" }, "help", {} },
  { "help", {}, "help", {} },
  { "help exec", {}, "help", { args = { "exec" } } },
  { "--help", { help = true }, "help", {} },
  { "-h exec", { help = true }, "help", {} },
  { "-?", { help = true }, "help", {} },
  { "exec --help", {}, "help", { options = { help = true }, args = { "exec" } } },
  { "exec -h web id", {}, "help", { options = { help = true }, args = { "exec" } } },
  { "list -?", {}, "help", { options = { help = true }, args = { "list" } } },
  { "explain exec -h", {}, "help", { options = { help = true }, args = { "exec" } } },
  { "--version", { version = true }, "version", {} },
  { "-v", { version = true }, "version", {} },
  { "-V", { version = true }, "version", {} },
  { "--version list", { version = true }, "version", {} },
  { "--version --help", { version = true, help = true }, "help", {} },
}

-- What the engines of design section 5 pass.
local ENGINE_ROWS = {
  { "--root /r --log /l --log-format json exec --process /p --console-socket /s --detach --pid-file /f web",
    { root = "/r", log = "/l", log_format = "json" },
    { process = "/p", console_socket = "/s", detach = true, pid_file = "/f" } },
  { "--log-format=json --log /l exec --pid-file /f --process /p --detach --tty --console-socket /s --preserve-fds 2 "
    .. "web",
    { log = "/l", log_format = "json" },
    { process = "/p", console_socket = "/s", detach = true, pid_file = "/f", tty = true, preserve_fds = 2 } },
  { "exec --pid-file /f --process /p --detach web", {}, { process = "/p", detach = true, pid_file = "/f" } },
}

-- Mistakes: the line; the message without its hint, which is runc's apart from the program's name; the hint. `differs`
-- says why runc's message is another one.
local MISTAKES = {
  { "exec --bogus web id", "flag provided but not defined: -bogus", 'see "ctrexec exec --help"' },
  { "exec -x web id", "flag provided but not defined: -x", 'see "ctrexec exec --help"' },
  { "exec -dx web id", "flag provided but not defined: -dx", 'see "ctrexec exec --help"' },
  { "exec -dx=1 web id", "flag provided but not defined: -dx", 'see "ctrexec exec --help"' },
  { "exec --usr 1 web id", "flag provided but not defined: -usr", "did you mean --user?" },
  { "exec --ettach web id", "flag provided but not defined: -ettach", "did you mean --detach?" },
  { "exec --pidfile=x web id", "flag provided but not defined: -pidfile", "did you mean --pid-file?" },
  { "exec --no-new-priv web id", "flag provided but not defined: -no-new-priv", "did you mean --no-new-privs?" },
  { "exec --proc x web id", "flag provided but not defined: -proc", "did you mean --process?" },
  { "exec --evn A=1 web id", "flag provided but not defined: -evn", "did you mean --env?" },
  { "exec --root /r web id", "flag provided but not defined: -root", 'a global option: write it before "exec"' },
  { "exec --debug web id", "flag provided but not defined: -debug", 'a global option: write it before "exec"' },
  { "list --bogus", "flag provided but not defined: -bogus", 'see "ctrexec list --help"' },
  { "--bogus", "flag provided but not defined: -bogus", 'see "ctrexec --help"' },
  { "--tty exec web sh", "flag provided but not defined: -tty", 'an option of exec: write it after "exec"' },
  { "--log-fromat json list", "flag provided but not defined: -log-fromat", "did you mean --log-format?" },
  { "exec --bogus --help", "flag provided but not defined: -bogus", 'see "ctrexec exec --help"' },
  { "exec --help --bogus", "flag provided but not defined: -bogus", 'see "ctrexec exec --help"' },
  { "exec ---u 1 web id", "bad flag syntax: ---u", 'an option is "-x" or "--name"' },
  { "exec --=x web id", "bad flag syntax: --=x", 'an option is "-x" or "--name"' },
  { "exec -=x web id", "bad flag syntax: -=x", 'an option is "-x" or "--name"' },
  { "exec -u", "flag needs an argument: -u", "--user USER[:GROUP]" },
  { "exec --user", "flag needs an argument: -user", "--user USER[:GROUP]" },
  { "exec -user", "flag needs an argument: -user", "--user USER[:GROUP]" },
  { "--log", "flag needs an argument: -log", "--log FILE" },
  { "list -f", "flag needs an argument: -f", "--format FORMAT" },
  { "exec --detach=maybe web id", 'invalid boolean value "maybe" for -detach: parse error', "true or false" },
  { "exec --detach= web id", 'invalid boolean value "" for -detach: parse error', "true or false" },
  { "exec -h=x web id", 'invalid boolean value "x" for -h: parse error', "true or false" },
  { "--debug=x list", 'invalid boolean value "x" for -debug: parse error', "true or false" },
  { "exec --preserve-fds x web id", 'invalid value "x" for flag -preserve-fds: parse error', "a whole number" },
  { "exec --preserve-fds= web id", 'invalid value "" for flag -preserve-fds: parse error', "a whole number" },
  { "exec --preserve-fds=1.5 web id", 'invalid value "1.5" for flag -preserve-fds: parse error', "a whole number" },
  { "exec --preserve-fds=08 web id", 'invalid value "08" for flag -preserve-fds: parse error', "a whole number" },
  { "exec --preserve-fds=0x web id", 'invalid value "0x" for flag -preserve-fds: parse error', "a whole number" },
  { "exec --preserve-fds=1e3 web id", 'invalid value "1e3" for flag -preserve-fds: parse error', "a whole number" },
  { "exec '--preserve-fds=_1' web id", 'invalid value " 1" for flag -preserve-fds: parse error', "a whole number" },
  { "exec --preserve-fds=99999999999999999999 web id",
    'invalid value "99999999999999999999" for flag -preserve-fds: value out of range', "a whole number" },
  { "exec -g x web id", 'invalid value "x" for flag -g: strconv.ParseInt: parsing "x": invalid syntax',
    "a whole number" },
  { "exec -g 1,2 web id", 'invalid value "1,2" for flag -g: strconv.ParseInt: parsing "1,2": invalid syntax',
    "a whole number" },
  { "exec -g 0x1 web id", 'invalid value "0x1" for flag -g: strconv.ParseInt: parsing "0x1": invalid syntax',
    "a whole number" },
  { "exec --additional-gids= web id",
    'invalid value "" for flag -additional-gids: strconv.ParseInt: parsing "": invalid syntax', "a whole number" },
  { "exec -g 99999999999999999999 web id", 'invalid value "99999999999999999999" for flag -g: strconv.ParseInt: '
    .. 'parsing "99999999999999999999": value out of range', "a whole number" },
  { "exec", 'ctrexec: "exec" requires a minimum of 1 argument(s)',
    "ctrexec exec [OPTION...] CONTAINER COMMAND [ARG...]" },
  { "exec --tty", 'ctrexec: "exec" requires a minimum of 1 argument(s)',
    "ctrexec exec [OPTION...] CONTAINER COMMAND [ARG...]" },
  { "exec --detach --", 'ctrexec: "exec" requires a minimum of 1 argument(s)',
    "ctrexec exec [OPTION...] CONTAINER COMMAND [ARG...]" },
  { "exec --help=false", 'ctrexec: "exec" requires a minimum of 1 argument(s)',
    "ctrexec exec [OPTION...] CONTAINER COMMAND [ARG...]" },
  { "list extra", 'ctrexec: "list" requires exactly 0 argument(s)', "ctrexec list [OPTION...]" },
  { "--log-format xml list", "invalid log-format: xml", "text or json" },
  { "exe web id", 'unknown command "exe"', 'did you mean "exec"?',
    differs = 'runc says "No help topic for" and exits with 3, crun "unknown command" and 1' },
  { "- list", 'unknown command "-"', 'see "ctrexec --help"', differs = "as above" },
  { "list -f xml", "invalid format: xml", "table or json", differs = 'runc names neither: "invalid format option"' },
  -- not in runc
  { "policy", 'ctrexec: "policy" requires a minimum of 1 argument(s)', "ctrexec policy check FILE... | test [DIR]",
    differs = "ours" },
  { "policy chekc x", 'ctrexec: "policy" does not know "chekc"', "check or test", differs = "ours" },
  { "completion fish", 'ctrexec: "completion" does not know "fish"', "bash or zsh", differs = "ours" },
  { "completion bash zsh", 'ctrexec: "completion" requires exactly 1 argument(s)', "ctrexec completion bash | zsh",
    differs = "ours" },
  { "replay", 'ctrexec: "replay" requires a minimum of 1 argument(s)', "ctrexec replay [OPTION...] FILE",
    differs = "ours" },
  { "replay a b", 'ctrexec: "replay" requires exactly 1 argument(s)', "ctrexec replay [OPTION...] FILE",
    differs = "ours" },
  { "replay --speed 0 f", 'invalid value "0" for flag -speed: parse error', "a number greater than 0",
    differs = "ours" },
  { "replay --speed -1 f", 'invalid value "-1" for flag -speed: parse error', "a number greater than 0",
    differs = "ours" },
  { "replay --speed . f", 'invalid value "." for flag -speed: parse error', "a number greater than 0",
    differs = "ours" },
  { "help a b", 'ctrexec: "help" requires a maximum of 1 argument(s)', "ctrexec help [COMMAND]", differs = "ours" },
  { "explain", 'ctrexec: "explain" lacks the command to show', "ctrexec explain [OPTION...] exec EXEC-ARGUMENT...",
    differs = "ours" },
  { "explain run x", 'ctrexec: "explain" lacks the command to show',
    "ctrexec explain [OPTION...] exec EXEC-ARGUMENT...", differs = "ours" },
  { "explain --usr 1 exec web id", "flag provided but not defined: -usr", "did you mean --user?", differs = "ours" },
  { "explain exec", 'ctrexec: "explain" requires a minimum of 1 argument(s)',
    "ctrexec explain [OPTION...] exec EXEC-ARGUMENT...", differs = "ours" },
  { "exec --pid 0 id", 'invalid value "0" for flag -pid: value out of range', "a whole number from 1 on",
    differs = "ours" },
  { "exec --pid x id", 'invalid value "x" for flag -pid: parse error', "a whole number from 1 on", differs = "ours" },
  { "exec --login-uid=-1 web id", 'invalid value "-1" for flag -login-uid: value out of range',
    "a whole number from 0 on", differs = "ours" },
  { "exec --timeout x web id", 'invalid value "x" for flag -timeout: parse error',
    "seconds, or a number with a unit: 90s, 5m, 1h", differs = "ours" },
  { "exec --timeout=-1 web id", 'invalid value "-1" for flag -timeout: parse error',
    "seconds, or a number with a unit: 90s, 5m, 1h", differs = "ours" },
  { "exec --timeout=s web id", 'invalid value "s" for flag -timeout: parse error',
    "seconds, or a number with a unit: 90s, 5m, 1h", differs = "ours" },
  { "exec --timeout=5w web id", 'invalid value "5w" for flag -timeout: parse error',
    "seconds, or a number with a unit: 90s, 5m, 1h", differs = "ours" },
  { "--cgroup-manager=bogus list", "invalid cgroup-manager: bogus", "cgroupfs or systemd or disabled",
    differs = "crun's option" },
}

describe("options", function()
  for _, row in ipairs(EXEC_ROWS) do
    it("reads: " .. row[1], function()
      assert.same({ command = "exec", global = {}, options = row[2], id = row[3], args = row[4] },
        options.parse(words(row[1])))
    end)
  end

  for _, row in ipairs(OTHER_ROWS) do
    it("reads: " .. row[1], function()
      local more = row[4]
      assert.same({ command = row[3], global = row[2], options = more.options or {}, action = more.action,
        id = more.id, args = more.args or {} }, options.parse(row[1] == "" and {} or words(row[1])))
    end)
  end

  for _, row in ipairs(ENGINE_ROWS) do
    it("reads an engine's: " .. row[1], function()
      assert.same({ command = "exec", global = row[2], options = row[3], id = "web", args = {} },
        options.parse(words(row[1])))
    end)
  end

  for _, row in ipairs(MISTAKES) do
    it("refuses: " .. row[1], function()
      local result, message, code = options.parse(words(row[1]))
      assert.is_nil(result)
      assert.equal(("%s (%s)"):format(row[2], row[3]), message)
      assert.equal("usage", code)
    end)
  end

  it("gives every number as an integer", function()
    local result = options.parse(words "exec -g 5 --preserve-fds 0x2 web id")
    assert.equal("integer", math.type(result.options.additional_gids[1]))
    assert.equal("integer", math.type(result.options.preserve_fds))
  end)

  it("tells what was understood before a mistake", function()
    local _, _, _, partial = options.parse(words "--log /l --log-format json exec --detach --bogus web id")
    assert.same({ log = "/l", log_format = "json" }, partial.global)
    assert.equal("exec", partial.command)
  end)

  it("leaves the argument list as it was", function()
    local argv = words "--root /r exec -e A=1 web -- ls -l"
    options.parse(argv)
    assert.same(words "--root /r exec -e A=1 web -- ls -l", argv)
  end)

  it("keeps two parses apart", function()
    options.parse(words "exec -e A=1 web env")
    assert.same({ "B=2" }, options.parse(words "exec -e B=2 web env").options.env)
  end)

  it("has no two options of one spelling in a command", function()
    for _, entries in ipairs { options.global, options.commands.exec, options.commands.list } do
      local seen = {}
      for _, entry in ipairs(entries) do
        for spelling in (entry.name .. " " .. (entry.short or ""):gsub(".", "%0 ")):gmatch "%S+" do
          assert.is_nil(seen[spelling], spelling)
          seen[spelling] = true
        end
      end
    end
  end)

  it("survives any words", function()
    math.randomseed(7)
    local pieces = { "-", "--", "=", "exec", "list", "web", "u", "user", "e", "A=1", "t", "tty", "\0", "\255", " ",
      "help", "explain", "preserve-fds", "g", "9", "", "\n", "pid", "false" }
    for _ = 1, 5000 do
      local argv = {}
      for i = 1, math.random(0, 6) do
        local word = {}
        for j = 1, math.random(1, 4) do word[j] = pieces[math.random(#pieces)] end
        argv[i] = table.concat(word)
      end
      local result, message, code = options.parse(argv)
      if result then
        assert.is_string(result.command)
      else
        assert.is_string(message)
        assert.equal("usage", code)
      end
    end
  end)
end)

-- A root without containers. The runtime accepts a line when its complaint is about the missing container.
local no_root

local function make_root() no_root = tool.folder() end

local function remove_root() tool.remove(no_root) end

local function run(program, argv)
  local result = tool.run(("exec %s %s"):format(program, tool.quote_all(argv)))
  return result.code, result.stderr
end

describe("runc", function()
  local installed = os.execute "command -v runc >/dev/null 2>&1"

  setup(make_root)
  teardown(remove_root)

  for _, row in ipairs(MISTAKES) do
    if not row.differs then
      it("says to: " .. row[1], function()
        if not installed then pending "runc is not installed" end
        local status, text = run("runc", words(row[1]))
        local message = text:match 'level=error msg=(".*")\n$'
        assert.equal(1, status, text)
        assert.equal(row[2], (cjson.decode("[" .. message .. "]")[1]:gsub('^runc: "', 'ctrexec: "')))
      end)
    end
  end

  for _, row in ipairs(EXEC_ROWS) do
    if not row.runc then
      it("accepts: " .. row[1], function()
        if not installed then pending "runc is not installed" end
        local argv = words(row[1])
        table.insert(argv, 1, "--root=" .. no_root)
        local status, text = run("runc", argv)
        assert.equal(255, status, text)
        assert.truthy(text:find "container does not exist" or text:find "container I[Dd]" or text:find "container id",
          text)
      end)
    end
  end
end)

describe("crun", function()
  local installed = os.execute "command -v crun >/dev/null 2>&1"

  setup(make_root)
  teardown(remove_root)

  for _, row in ipairs(EXEC_ROWS) do
    if row.runc and row.runc:find "^crun's" then
      it("accepts: " .. row[1], function()
        if not installed then pending "crun is not installed" end
        local argv = words(row[1])
        table.insert(argv, 1, "--root=" .. no_root)
        table.insert(argv, "word")
        local status, text = run("crun", argv)
        assert.equal(1, status, text)
        assert.truthy(text:find("/web/status", 1, true), text)
      end)
    end
  end
end)

describe("the option tables", function()
  it("have a help text for every option and command, and no other", function()
    local function check(entries, command, known)
      local where, names = command or "global", {}
      for _, entry in ipairs(entries) do
        names[entry.name] = true
        local text = known and assert(known[entry.name], where .. " --" .. entry.name .. " has no help text") or entry
        assert.truthy((select(2, commands.texts(entry, command))) ~= "", where .. " --" .. entry.name .. ": help")
        if command ~= "exec" then -- spec/exec/fields_spec.lua
          assert.equal(entry.type ~= "bool", text.metavar ~= nil, where .. " --" .. entry.name .. ": metavar")
        end
      end
      for name in pairs(known or {}) do assert.truthy(names[name], where .. ": help for no option: --" .. name) end
    end
    check(options.global, nil, commands.global)
    for name, command in pairs(options.commands) do check(command, name) end
    for name in pairs(commands.by_name) do assert.truthy(options.commands[name], name) end
    local shown = {}
    for _, name in ipairs(commands.order) do shown[name] = true end
    for name in pairs(options.commands) do
      assert.truthy(shown[name], name)
      assert.truthy(commands.by_name[name].usage and commands.by_name[name].about, name)
    end
  end)

  it("have the other commands when they are asked for", function()
    package.loaded["ctrexec.command.options"], package.loaded["ctrexec.command.commands"] = nil, nil
    local fresh = require "ctrexec.command.options"
    assert.equal("exec", fresh.parse({ "exec", "web", "id" }).command)
    assert.is_nil(package.loaded["ctrexec.command.commands"])
    assert.equal("list", fresh.parse({ "list" }).command)
    assert.is_not_nil(package.loaded["ctrexec.command.commands"])
    package.loaded["ctrexec.command.options"] = options
    package.loaded["ctrexec.command.commands"] = commands
  end)
end)
