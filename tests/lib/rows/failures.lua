--- Requests that are refused: every mistake, with the message and the status it gives.

local rows = {}

local function add(row)
  row.fails = true
  rows[#rows + 1] = row
end

local function usage(name, global, args)
  add { name = "usage: " .. name, global = global, args = args, only = "runc" }
end

-- The container
add { name = "unknown container", shell = 'exec "$@" exec nosuch true' }
add { name = "unknown container, in the log", global = { "--log", "@DIR@/log", "--log-format", "json" },
  shell = 'exec "$@" exec nosuch true' }
add { name = "unknown root", shell = 'shift; exec "$@" --root /nosuch exec @ID@ true', only = "runc" }
add { name = "relative root", shell = '"$@" --root nosuch exec @ID@ true' }
add { name = "id with a slash", shell = 'exec "$@" exec bad/id true' }
add { name = "id ..", shell = 'exec "$@" exec .. true' }
add { name = "id empty", shell = 'exec "$@" exec "" true' }
add { name = "id with a space", shell = 'exec "$@" exec "a b" true' }
add { name = "stopped container", on = "stopped" }
add { name = "stopped container, detached", on = "stopped", args = { "--detach", "--pid-file", "@DIR@/pid" } }
add { name = "stopped container before other mistakes", on = "stopped", args = { "-u", "abc" }, command = { "/nosuch" },
  only = "runc" }
add { name = "stopped container without a command", on = "stopped", command = {}, only = "runc" }
add { name = "paused container", on = "paused" }
add { name = "paused container, in the log", on = "paused",
  global = { "--log", "@DIR@/log", "--log-format", "json" } }
add { name = "paused container before other mistakes", on = "paused", args = { "-u", "abc" }, only = "runc" }

-- The state file, in a root of the test's own
local function state(name, write, extra)
  local row = { name = "state file: " .. name, only = "runc" }
  row.shell = ("mkdir -p root/x; %s; \"$@\" --root root exec x true; s=$?; rm -r root; exit $s"):format(write)
  for key, value in pairs(extra or {}) do
    row[key] = value
  end
  add(row)
end
state("missing", ":")
state("empty", ": >root/x/state.json")
state("truncated", [[printf '{"id":"x","init_pro' >root/x/state.json]])
state("a list", "echo '[]' >root/x/state.json")
state("a text", "echo '\"x\"' >root/x/state.json")
state("a number", "echo 5 >root/x/state.json")
state("no JSON", "echo hello >root/x/state.json")
state("wrong type of id", [[echo '{"id":5}' >root/x/state.json]])
state("wrong type of pid", [[echo '{"id":"x","init_process_pid":"1"}' >root/x/state.json]])
state("wrong type of start time", [[echo '{"id":"x","init_process_start":-1}' >root/x/state.json]])
state("wrong type of config", [[echo '{"id":"x","config":[]}' >root/x/state.json]])
state("wrong type of paths", [[echo '{"id":"x","cgroup_paths":[]}' >root/x/state.json]])
state("deep nesting", [[awk 'BEGIN { for (i = 0; i < 20000; i++) printf "["; print "" }' >root/x/state.json]])
state("an object with nothing", "echo '{}' >root/x/state.json")
state("null", "echo null >root/x/state.json", {
  differs = "runc panics with a stack trace", expect = { "status: 255" } })
state("a directory", "mkdir root/x/state.json")
state("100 MB", [[{ printf '{"id":"'; head -c 104857600 /dev/zero | tr '\0' x; } >root/x/state.json]], {
  differs = "ctrexec refuses to read a state file of such a size", expect = { "status: 255" } })

-- The command
add { name = "no command", command = {} }
add { name = "empty command", command = { "" } }
for _, entry in ipairs {
  { "not on PATH", "nosuch" }, { "missing", "/nosuch" }, { "missing, relative", "./nosuch" },
  { "missing directory", "/nosuch/x" }, { "not executable", "/noexec" }, { "not executable, on PATH", "noexecprog" },
  { "directory", "/directory" }, { "directory, relative", "./directory" }, { "directory on PATH", "directoryprog" },
  { "name of a directory", "directory" }, { "below a file", "/noexec/x" }, { "link loop", "/loop" },
  { "missing interpreter", "/badinterpreter" }, { "no interpreter line", "/noshebang" }, { "empty file", "/empty" },
  { "only a dash", "-" }, { "--", "--" }, { "--help", "--help" }, { "dot", "." }, { "slash", "/" },
  { "with a quote", 'no"such' }, { "with a line feed", "no\nsuch" }, { "with bytes that are no text", "no\xffsuch" },
  { "with a trailing slash", "/report/" }, { "name of 300 bytes", ("x"):rep(300) }, { "with <>&", "<no&such>" },
} do
  add { name = "command: " .. entry[1], command = { entry[2] } }
end
add { name = "command: of another user", args = { "-u", "1000" }, command = { "/owneronly" } }
add { name = "command: in a directory of another user", args = { "-u", "1000" }, command = { "/rootonly/true" } }
add { name = "command: missing in a directory of another user", args = { "-u", "1000" }, command = { "/rootonly/x" } }
add { name = "command: PATH empty", args = { "-e", "PATH=" }, command = { "true" } }
add { name = "command: PATH of nowhere", args = { "-e", "PATH=/nosuch" }, command = { "true" } }
add { name = "command: found by an empty part of PATH", args = { "-e", "PATH=:/nosuch", "--cwd", "/bin" },
  command = { "true" }, only = "runc" }
add { name = "command: found by . of PATH", args = { "-e", "PATH=/nosuch:.", "--cwd", "/bin" }, command = { "true" },
  only = "runc" }
add { name = "command: argument list too long", shell =
  [[a=$(head -c 130000 /dev/zero | tr '\0' x); exec "$@" exec -e "A=$a$a" @ID@ true]] }
for _, entry in ipairs { { "not on PATH", "nosuch" }, { "missing", "/nosuch" }, { "not executable", "/noexec" },
  { "missing interpreter", "/badinterpreter" }, { "no interpreter line", "/noshebang" } } do
  add { name = ("command: %s, detached, with a log"):format(entry[1]), command = { entry[2] },
    global = { "--log", "@DIR@/log", "--log-format", "json" }, args = { "--detach", "--pid-file", "@DIR@/pid" } }
end
add { name = "command: not on PATH, text log", command = { "nosuch" }, global = { "--log", "@DIR@/log" } }
add { name = "command: not on PATH, JSON on standard error", command = { "nosuch" },
  global = { "--log-format", "json" } }
add { name = "command: not on PATH, after a warning", command = { "nosuch" }, global = { "--log", "@DIR@/log" },
  args = { "--cap", "CAP_NONE" } }
add { name = "command: not on PATH, in a user namespace", on = "userns", command = { "nosuch" } }
add { name = "command: not on PATH, with a profile", on = "seccomp", command = { "nosuch" } }
add { name = "command: missing interpreter, with a profile", on = "seccomp_nnp", command = { "/badinterpreter" } }

-- The working directory
add { name = "cwd: relative", args = { "--cwd", "work" } }
add { name = "cwd: missing", args = { "--cwd", "/nosuch" } }
add { name = "cwd: a file", args = { "--cwd", "/noexec" } }
add { name = "cwd: link loop", args = { "--cwd", "/loop" } }
add { name = "cwd: missing part before ..", args = { "--cwd", "/nosuch/../work" } }
add { name = "cwd: with a quote", args = { "--cwd", '/no"such' } }
add { name = "cwd: missing, before a missing command", args = { "--cwd", "/nosuch" }, command = { "/nosuch" } }
add { name = "cwd: root-only in a user namespace as another user", on = "userns",
  args = { "--cwd", "/rootonly", "--user", "5" }, fails = true }

-- Users and groups
for _, user in ipairs { "abc", "0:abc", "1:", ":", ":1", "1:2:3", "0x5", " 5", "5 ", "5_0", "1.5", "-1", "0:-1",
  "2147483648", "4294967295", "99999999999999999999", "root" } do
  add { name = ("user: %q"):format(user), args = { "--user=" .. user }, only = "runc" }
end
for _, user in ipairs { "4294967296", "1:4294967296" } do
  add { name = ("user: %q"):format(user), args = { "--user", user }, only = "runc",
    differs = "runc cuts the number to 32 bits and runs as root", expect = { "status: 255" } }
end
for _, gid in ipairs { "-1", "2147483648", "4294967295" } do
  add { name = "additional gid: " .. gid, args = { "--additional-gids=" .. gid }, only = "runc" }
end
add { name = "additional gid: 4294967296", args = { "-g", "4294967296" }, only = "runc",
  differs = "runc cuts the number to 32 bits", expect = { "status: 255" } }
add { name = "user: not mapped", on = "userns", args = { "--user", "65536" } }
add { name = "user: group not mapped", on = "userns", args = { "--user", "0:65536" } }
add { name = "additional gid: not mapped", on = "userns", args = { "-g", "65536" }, only = "runc" }

-- Environment
for _, variable in ipairs { "FOO", "=x", "", "=" } do
  add { name = ("env: %q"):format(variable), args = { "--env", variable }, only = "runc" }
end

-- Pid file, descriptors, sockets
add { name = "pid file in a missing directory", args = { "--pid-file", "/nosuch/pid" }, only = "runc" }
add { name = "pid file in a missing directory, detached", args = { "-d", "--pid-file", "@DIR@/no/pid" }, only = "runc",
  command = { "sleep", "5" } }
add { name = "pid file that is a directory", only = "runc",
  shell = 'mkdir pid; exec "$@" exec --pid-file pid @ID@ true' }
add { name = "--preserve-fds of a closed descriptor", only = "runc",
  shell = 'exec 3<&- 4<&- 5<&- 6<&- 7<&- 8<&- 9<&-; exec "$@" exec --preserve-fds 6 @ID@ true',
  differs = "the low descriptors that runc itself has open pass as the caller's, and reach the container",
  expect = { "status: 255", 'stderr: time="RFC3339" level=error msg="exec failed: unable to stat preserved-fd 0 ' ..
    '(of 6): stat /proc/self/fd/3: no such file or directory"' } }
add { name = "console socket without a terminal", args = { "--console-socket", "/nosuch" }, only = "runc" }
add { name = "console socket without --detach", args = { "--tty", "--console-socket", "/nosuch" } }
add { name = "console socket without --tty", args = { "--detach", "--console-socket", "/nosuch" }, only = "runc" }
add { name = "--tty --detach without a socket", args = { "--detach", "--tty" } }
add { name = "--tty --detach with an empty socket", args = { "--detach", "--tty", "--console-socket", "" } }
add { name = "console socket that is not there", args = { "--detach", "--tty", "--console-socket", "/nosuch" } }
add { name = "console socket that is a file", args = { "--detach", "--tty", "--console-socket", "@DIR@/f" },
  shell = ': >f; exec "$@" exec --detach --tty --console-socket f @ID@ true' }
add { name = "--tty with no terminal anywhere", args = { "--tty" } }

-- cgroups
for _, path in ipairs { "nosuch", "/nosuch", "sub/nosuch" } do
  add { name = "cgroup: missing " .. path, on = "cgroups", args = { "--cgroup", path } }
end
for _, path in ipairs { "..", "../x", "/..", "sub/../..", "../@CGROUP@x" } do
  add { name = "cgroup: outside by " .. path, on = "cgroups", args = { "--cgroup", path } }
end
add { name = "cgroup: missing, detached", on = "cgroups",
  args = { "-d", "--pid-file", "@DIR@/pid", "--cgroup", "nosuch" } }
add { name = "cgroup: unknown controller", on = "cgroups", args = { "--cgroup", "bogus:/" }, view = "hybrid" }
add { name = "cgroup: unknown controller of two", on = "cgroups", args = { "--cgroup", "pids,bogus:/" },
  view = "hybrid", only = "runc" }
add { name = "cgroup: controller given in v2", on = "cgroups", args = { "--cgroup", "pids:/" }, view = "v2" }
add { name = "cgroup: missing of a controller", on = "cgroups", args = { "--cgroup", "memory:/nosuch" },
  view = "hybrid" }
add { name = "cgroup: outside of a controller", on = "cgroups", args = { "--cgroup", "memory:../x" }, view = "hybrid" }
add { name = "cgroup: a controller twice", on = "cgroups", args = { "--cgroup", "pids,pids:nosuch" }, view = "hybrid" }

-- Labels, on a kernel that has neither
add { name = "--process-label without SELinux", args = { "--process-label", "system_u:system_r:x" }, only = "runc" }
add { name = "--apparmor without AppArmor", args = { "--apparmor", "none" } }
add { name = "selinuxLabel without SELinux", only = "runc",
  process = { args = { "/report" }, cwd = "/", selinuxLabel = "system_u:system_r:x" } }
add { name = "apparmorProfile without AppArmor",
  process = { args = { "/report" }, cwd = "/", apparmorProfile = "none" } }

-- Process files
local function process(name, content, extra)
  local row = { name = "process file: " .. name, process = content, command = false, only = "runc" }
  for key, value in pairs(extra or {}) do
    row[key] = value
  end
  add(row)
end
process("empty", "")
process("white space", " \n")
process("truncated", '{"args":["/report"],')
process("truncated text", '{"args":["/rep')
process("no JSON", "hello")
process("a bare word", '{"args": yes}')
process("single quotes", "{'args':[]}")
process("a comma too many", '{"args":["/report"],"cwd":"/",}')
process("a list", "[]")
process("a number", "5")
process("a text", '"x"')
process("true", "true")
process("null", "null")
process("nothing in it", "{}")
process("no cwd", '{"args":["/report"]}')
process("no args", '{"cwd":"/"}')
process("args null", '{"args":null,"cwd":"/"}')
process("args empty", '{"args":[],"cwd":"/"}')
process("empty command", '{"args":[""],"cwd":"/"}')
process("relative cwd", '{"args":["/report"],"cwd":"work"}')
process("cwd missing in the container", '{"args":["/report"],"cwd":"/nosuch"}')
process("deep nesting", ('{"x":'):rep(10001) .. "1" .. ("}"):rep(10001))
process("a control character", '{"args":["a\1b"],"cwd":"/"}')
process("a NUL in an argument", '{"args":["/report","a\\u0000b"],"cwd":"/"}')
process("a NUL in a variable", '{"args":["/report"],"cwd":"/","env":["A=\\u0000"]}')
process("a NUL in cwd", '{"args":["/report"],"cwd":"/\\u0000"}')
process("a NUL in the command", '{"args":["/report\\u0000x"],"cwd":"/"}')

local GOOD = '{"args":["/report"],"cwd":"/",%s}'
for _, entry in ipairs {
  { "env a text", '"env":"x"' }, { "env a list of numbers", '"env":[5]' }, { "env without =", '"env":["x"]' },
  { "env without a name", '"env":["=x"]' }, { "env an object", '"env":{"A":"1"}' },
  { "args a text", '"args":"x"' }, { "args of numbers", '"args":[5]' }, { "args an object", '"args":{}' },
  { "cwd a number", '"cwd":5' }, { "cwd a list", '"cwd":[]' },
  { "terminal a text", '"terminal":"yes"' }, { "terminal a number", '"terminal":1' },
  { "noNewPrivileges a number", '"noNewPrivileges":1' }, { "noNewPrivileges a text", '"noNewPrivileges":"true"' },
  { "user a list", '"user":[]' }, { "user a text", '"user":"0:0"' }, { "uid a text", '"user":{"uid":"0"}' },
  { "uid negative", '"user":{"uid":-1}' }, { "uid a fraction", '"user":{"uid":1.5}' },
  { "uid with an exponent", '"user":{"uid":1e3}' }, { "uid of 33 bits", '"user":{"uid":4294967296}' },
  { "uid of 32 bits", '"user":{"uid":4294967295}' }, { "uid of 31 bits and one", '"user":{"uid":2147483648}' },
  { "gid a boolean", '"user":{"gid":true}' }, { "gid of 32 bits", '"user":{"gid":4294967295}' },
  { "umask a text", '"user":{"umask":"022"}' }, { "umask negative", '"user":{"umask":-1}' },
  { "additionalGids a number", '"user":{"additionalGids":5}' },
  { "additionalGids of texts", '"user":{"additionalGids":["5"]}' },
  { "additionalGids negative", '"user":{"additionalGids":[-1]}' },
  { "additionalGids of 32 bits", '"user":{"additionalGids":[4294967295]}' },
  { "capabilities a list", '"capabilities":["CAP_KILL"]' },
  { "capabilities of a text", '"capabilities":{"bounding":"CAP_KILL"}' },
  { "capabilities of numbers", '"capabilities":{"bounding":[5]}' },
  { "effective without permitted", '"capabilities":{"bounding":["CAP_KILL"],"effective":["CAP_KILL"]}' },
  { "a capability that the caller lacks", '"capabilities":{"bounding":["CAP_SYS_RESOURCE"],' ..
    '"effective":["CAP_SYS_RESOURCE"],"permitted":["CAP_SYS_RESOURCE"]}' },
  { "rlimits an object", '"rlimits":{}' }, { "rlimits of texts", '"rlimits":["RLIMIT_CORE"]' },
  { "rlimit unknown", '"rlimits":[{"type":"RLIMIT_NONE","soft":1,"hard":1}]' },
  { "rlimit without a type", '"rlimits":[{"soft":1,"hard":1}]' },
  { "rlimit in lower case", '"rlimits":[{"type":"rlimit_core","soft":1,"hard":1}]' },
  { "rlimit soft above hard", '"rlimits":[{"type":"RLIMIT_CORE","soft":2,"hard":1}]' },
  { "rlimit raised", '"rlimits":[{"type":"RLIMIT_NPROC","soft":5,"hard":100000000}]' },
  { "rlimit negative", '"rlimits":[{"type":"RLIMIT_CORE","soft":-1,"hard":1}]' },
  { "rlimit a text", '"rlimits":[{"type":"RLIMIT_CORE","soft":"1","hard":1}]' },
  { "rlimit of 65 bits", '"rlimits":[{"type":"RLIMIT_CORE","soft":1,"hard":18446744073709551616}]' },
  { "rlimit type a number", '"rlimits":[{"type":4,"soft":1,"hard":1}]' },
  { "oomScoreAdj a text", '"oomScoreAdj":"5"' }, { "oomScoreAdj a fraction", '"oomScoreAdj":1.5' },
  { "consoleSize negative", '"consoleSize":{"height":-1}' }, { "consoleSize a list", '"consoleSize":[24,80]' },
  { "apparmorProfile a number", '"apparmorProfile":5' }, { "selinuxLabel a number", '"selinuxLabel":5' },
  { "commandLine a number", '"commandLine":5' }, { "username a number", '"user":{"username":5}' },
  { "terminal true without a terminal", '"terminal":true' },
} do
  process(entry[1], GOOD:format(entry[2]))
end
process("missing", nil, { shell = 'exec "$@" exec -p /nosuch @ID@' })
process("a directory", nil, { shell = 'exec "$@" exec -p / @ID@' })
process("empty name: as not given", nil, { shell = 'exec "$@" exec -p "" @ID@' })
process("truncated, in the log", "{", { global = { "--log", "@DIR@/log", "--log-format", "json" } })

-- Usage
usage("unknown option", nil, { "--bogus" })
usage("unknown short option", nil, { "-z" })
usage("unknown option with a value", nil, { "--bogus=5" })
usage("unknown global option", { "--bogus" })
usage("short option with its value glued", nil, { "-u5" })
usage("short options glued", nil, { "-dt" })
usage("bad number", nil, { "--preserve-fds", "x" })
usage("bad number with =", nil, { "--preserve-fds=" })
usage("fraction", nil, { "--preserve-fds", "1.5" })
usage("number out of range", nil, { "--preserve-fds", "99999999999999999999" })
usage("bad boolean", nil, { "--no-new-privs=bogus" })
usage("bad boolean of a short flag", nil, { "-d=bogus" })
usage("empty boolean", nil, { "--tty=" })
usage("bad additional gid", nil, { "--additional-gids", "abc" })
usage("bad additional gid, short", nil, { "-g", "5,6" })
usage("additional gid out of range", nil, { "-g", "99999999999999999999" })
usage("log format", { "--log-format", "bogus" })
usage("log in a missing directory", { "--log", "/nosuch/log" })
usage("log that is a directory", { "--log", "@DIR@" })
usage("unknown option, in the log", { "--log", "@DIR@/log", "--log-format", "json" }, { "--bogus" })
add { name = "usage: no id", shell = 'exec "$@" exec', only = "runc" }
add { name = "usage: no id after an option", shell = 'exec "$@" exec --tty', only = "runc" }
add { name = "usage: value missing", shell = 'exec "$@" exec --user', only = "runc" }
add { name = "usage: value missing, short", shell = 'exec "$@" exec -e', only = "runc" }
add { name = "usage: value of a global option missing", shell = 'exec "$@" --log', only = "runc" }
add { name = "usage: unknown command", shell = 'exec "$@" ecec @ID@ true', only = "runc" }
add { name = "usage: three dashes", args = { "---user" }, only = "runc" }

return rows
