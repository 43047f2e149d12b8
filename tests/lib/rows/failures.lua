--- Requests that are refused: every mistake, with its message and its status.

local rows = {}

local function add(row)
  row.fails = true
  rows[#rows + 1] = row
end

-- ctrexec says runc's words and, in parentheses, the fix, where runc prints the whole help.
local function usage(name, global, args, shell)
  add { name = "usage: " .. name, global = global, args = args, shell = shell, only = "runc",
    differs = "the fix in place of the help", drop = { "^stdout: Incorrect Usage" }, strip = {
      { '^(stderr: .*) %([^()]*%)"$', '%1"' }, { "^(log json: .*) %([^()]*%) time=", "%1 time=" },
      { "^(stderr: [^\"]*) %([^()]*%)$", "%1" } } }
end

-- The container
add { name = "unknown container", shell = 'exec "$@" exec nosuch true' }
add { name = "unknown container, in the log", global = { "--log", "@DIR@/log", "--log-format", "json" },
  shell = 'exec "$@" exec nosuch true' }
add { name = "unknown root", shell = 'exec "$@" --root @DIR@ exec @ID@ true' }
add { name = "relative root", shell = '"$@" --root nosuch exec @ID@ true',
  differs = "runc makes the directory", drop = { "^file: nosuch" } }
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
state("a directory", "mkdir root/x/state.json")
-- For wrong content runc names its own Go types; ctrexec names the file, and the field by its path.
local function malformed(name, write, pattern)
  state(name, write, {
    differs = "runc names its Go types, ctrexec the file and the field",
    expect = { "status: 255", { "^stderr: .*level=error msg=\"exec failed: .*root/x/state%.json: .*" .. pattern } },
  })
end
malformed("a list", "echo '[]' >root/x/state.json", "")
malformed("a text", "echo '\"x\"' >root/x/state.json", "object")
malformed("a number", "echo 5 >root/x/state.json", "object")
malformed("null", "echo null >root/x/state.json", "object")
malformed("no JSON", "echo hello >root/x/state.json", "line 1, column 1")
malformed("an object with nothing", "echo '{}' >root/x/state.json", "missing")
malformed("deep nesting", [[awk 'BEGIN { for (i = 0; i < 20000; i++) printf "[" }' >root/x/state.json]], "nested")
malformed("100 MB", [[{ printf '{"id":"'; head -c 104857600 /dev/zero | tr '\0' x; } >root/x/state.json]], "")
for _, entry in ipairs {
  { "pid", "s/\"init_process_pid\":[0-9]*/\"init_process_pid\":\"1\"/", "init_process_pid" },
  { "start time", "s/\"init_process_start\":[0-9]*/\"init_process_start\":\"x\"/", "init_process_start" },
  { "config", "s/\"config\":/\"config\":5,\"other\":/", "config" },
  { "namespaces", "s/\"namespaces\":/\"namespaces\":5,\"other\":/", "namespaces" },
  { "cgroup paths", "s/\"cgroup_paths\":/\"cgroup_paths\":\"x\",\"other\":/", "cgroup_paths" },
} do
  malformed("wrong type of " .. entry[1], ("sed '%s' @STATE@ >root/x/state.json"):format(entry[2]), entry[3])
end

-- The command
add { name = "no command", command = {} }
add { name = "empty command", command = { "" } }
-- runc before 1.2 has let go of the process when its execve fails, so that the process says so itself; ctrexec reports
-- it as later runc does: as any other failure. crun 1.8 fails as well, with a status of its own.
local START = "exec failed: unable to start container process: "
local function execve_failure(name, command, reason, extra)
  local message = ('stderr: time="RFC3339" level=error msg="%sexec %s: %s"'):format(START, command, reason)
  local row = { name = "command: " .. name, command = { command }, differs = "runc 1.1 leaves it to the process",
    expect = { "status: 255", message }, crun = { differs = false, expect = false } }
  for key, value in pairs(extra or {}) do
    row[key] = value
  end
  add(row)
end
local NO_FILE, NO_FORMAT = "no such file or directory", "exec format error"
execve_failure("missing interpreter", "/badinterpreter", NO_FILE)
execve_failure("no interpreter line", "/noshebang", NO_FORMAT)
execve_failure("empty file", "/empty", NO_FORMAT)
execve_failure("missing interpreter, with a profile", "/badinterpreter", NO_FILE, { on = "seccomp_nnp" })
execve_failure("environment too long", "/report", "argument list too long", {
  process = { args = { "/report" }, cwd = "/", env = { "A=" .. ("x"):rep(140000) } }, command = false })
for _, detached in ipairs { { "missing interpreter", "/badinterpreter", NO_FILE },
  { "no interpreter line", "/noshebang", NO_FORMAT } } do
  local message = ("%sexec %s: %s"):format(START, detached[2], detached[3])
  execve_failure(detached[1] .. ", detached, with a log", detached[2], detached[3], {
    global = { "--log", "@DIR@/log", "--log-format", "json" }, args = { "--detach", "--pid-file", "@DIR@/pid" },
    expect = { "status: 255", "stderr: " .. message, "log json: level=error msg=" .. message .. " time=RFC3339" },
    crun = { differs = "crun 1.8 has let go of the process by then", expect = { "status: failed" } } })
end

for _, entry in ipairs {
  { "not on PATH", "nosuch" }, { "missing", "/nosuch" }, { "missing, relative", "./nosuch" },
  { "missing directory", "/nosuch/x" }, { "not executable", "/noexec" }, { "not executable, on PATH", "noexecprog" },
  { "directory", "/directory" }, { "directory, relative", "./directory" }, { "directory on PATH", "directoryprog" },
  { "name of a directory", "directory" }, { "below a file", "/noexec/x" }, { "link loop", "/loop" },
  { "only a dash", "-" }, { "--help", "--help" }, { "dot", "." }, { "slash", "/" },
  { "with a quote", 'no"such' }, { "with a line feed", "no\nsuch" },
  { "with a trailing slash", "/report/" }, { "name of 300 bytes", ("x"):rep(300) }, { "with <>&", "<no&such>" },
} do
  add { name = "command: " .. entry[1], command = { entry[2] } }
end
rows[#rows + 1] = { name = "command: behind --", command = { "--", "/report" },
  differs = "runc and crun look for a program named --; ctrexec takes it for the end of its options",
  expect = { "status: 0", "stdout: argument 0: /report" } }
add { name = "command: -- and no other", command = { "--" }, only = "runc",
  differs = "ctrexec takes it for the end of its options",
  expect = { "status: 255", 'stderr: time="RFC3339" level=error msg="exec failed: process args cannot be empty"' } }
add { name = "command: of another user", args = { "-u", "1000" }, command = { "/owneronly" } }
add { name = "command: in a directory of another user", args = { "-u", "1000" }, command = { "/rootonly/true" } }
add { name = "command: missing in a directory of another user", args = { "-u", "1000" }, command = { "/rootonly/x" } }
add { name = "command: PATH empty", args = { "-e", "PATH=" }, command = { "true" } }
add { name = "command: PATH of nowhere", args = { "-e", "PATH=/nosuch" }, command = { "true" } }
add { name = "command: found by an empty part of PATH", args = { "-e", "PATH=:/nosuch", "--cwd", "/bin" },
  command = { "true" }, only = "runc" }
add { name = "command: found by . of PATH", args = { "-e", "PATH=/nosuch:.", "--cwd", "/bin" }, command = { "true" },
  only = "runc" }
for _, entry in ipairs { { "not on PATH", "nosuch" }, { "missing", "/nosuch" }, { "not executable", "/noexec" } } do
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
add { name = "command: with bytes that are no text", command = { "no\xffsuch" }, only = "runc",
  differs = "runc sends the name through JSON text and loses the byte",
  expect = { "status: 255", { '^stderr: .* exec: \\"no\\+xffsuch\\": executable file not found in $PATH"$' } } }

-- The working directory
add { name = "cwd: relative", args = { "--cwd", "work" },
  crun = { differs = "crun takes it from the root", expect = { "status: failed" } } }
add { name = "cwd: missing", args = { "--cwd", "/nosuch" } }
add { name = "cwd: a file", args = { "--cwd", "/noexec" } }
add { name = "cwd: link loop", args = { "--cwd", "/loop" } }
add { name = "cwd: missing part before ..", args = { "--cwd", "/nosuch/../work" } }
add { name = "cwd: with a quote", args = { "--cwd", '/no"such' } }
add { name = "cwd: missing, before a missing command", args = { "--cwd", "/nosuch" }, command = { "/nosuch" } }
add { name = "cwd: root-only in a user namespace as another user", on = "userns",
  args = { "--cwd", "/rootonly", "--user", "5" }, fails = true }

-- Users and groups
for _, user in ipairs { "1:", ":", ":1", "1:2:3", "0x5", " 5", "5 ", "5_0", "1.5", "-1", "0:-1",
  "2147483648", "4294967295", "99999999999999999999" } do
  add { name = ("user: %q"):format(user), args = { "--user=" .. user }, only = "runc" }
end
for user, missing in pairs { abc = "user abc: no matching entries in passwd", ["0:abc"] =
  "group abc: no matching entries in group" } do
  add { name = ("user: %q"):format(user), args = { "--user=" .. user }, only = "runc",
    differs = "ctrexec looks names up in the container's own files", expect = { "status: 255",
      ('stderr: time="RFC3339" level=error msg="exec failed: unable to find %s file"'):format(missing) } }
end
rows[#rows + 1] = { name = 'user: "root"', args = { "--user", "root" },
  differs = "ctrexec looks names up in the container's own files",
  expect = { "status: 0", "stdout: status: Uid:\t0\t0\t0\t0" } }
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
add { name = "pid file in a missing directory", args = { "--pid-file", "/nosuch/pid" }, only = "runc",
  command = { "sleep", "5" } }
add { name = "pid file in a missing directory, detached", args = { "-d", "--pid-file", "@DIR@/no/pid" }, only = "runc",
  command = { "sleep", "5" } }
add { name = "pid file that is a directory", only = "runc",
  shell = 'mkdir pid; exec "$@" exec --pid-file @DIR@/pid @ID@ true',
  differs = "runc leaves its temporary file", drop = { "^file: %.pid" } }
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
add { name = "console socket that is a file",
  shell = ': >f; exec "$@" exec --detach --tty --console-socket @DIR@/f @ID@ true' }
add { name = "--tty with no terminal anywhere", args = { "--tty" } }

-- cgroups
for _, path in ipairs { "nosuch", "/nosuch", "sub/nosuch" } do
  add { name = "cgroup: missing " .. path, on = "cgroups", args = { "--cgroup", path } }
end
-- runc from 1.3 on begins the message with the kind of the error, and ctrexec does, too.
local function outside(name, path, view, why)
  local shown = path:gsub("^%a+:", ""):gsub("@", "")
  add { name = "cgroup: outside " .. name, on = "cgroups", args = { "--cgroup", path }, view = view, only = "runc",
    differs = why or "runc before 1.3 says only the second half", expect = { "status: 255",
      ('stderr: time="RFC3339" level=error msg="exec failed: unable to create new parent process: ' ..
        'bad sub cgroup path: %s is not a sub cgroup path"'):format(shown) } }
end
outside("by ..", "..")
outside("by ../x", "../x")
outside("by /..", "/..")
outside("by sub/../..", "sub/../..")
outside("of a controller", "memory:../x", "hybrid")
outside("with a name that begins like its own", "../@CGROUP@x", nil,
  "runc 1.1 compares the beginning of the text only, and lets it out")
add { name = "cgroup: outside in crun's words", on = "cgroups", args = { "--cgroup", "../x" }, only = "crun" }
add { name = "cgroup: missing, detached", on = "cgroups",
  args = { "-d", "--pid-file", "@DIR@/pid", "--cgroup", "nosuch" } }
add { name = "cgroup: unknown controller", on = "cgroups", args = { "--cgroup", "bogus:/" }, view = "hybrid" }
add { name = "cgroup: unknown controller of two", on = "cgroups", args = { "--cgroup", "pids,bogus:/" },
  view = "hybrid", only = "runc" }
add { name = "cgroup: controller given in v2", on = "cgroups", args = { "--cgroup", "pids:/" }, view = "v2" }
add { name = "cgroup: missing of a controller", on = "cgroups", args = { "--cgroup", "memory:/nosuch" },
  view = "hybrid" }
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
process("nothing in it", "{}")
process("no cwd", '{"args":["/report"]}')
process("no args", '{"cwd":"/"}')
process("args null", '{"args":null,"cwd":"/"}')
process("args empty", '{"args":[],"cwd":"/"}')
process("empty command", '{"args":[""],"cwd":"/"}')
process("relative cwd", '{"args":["/report"],"cwd":"work"}')
process("cwd missing in the container", '{"args":["/report"],"cwd":"/nosuch"}')

-- For text that is no JSON, runc names the wrong character and ctrexec its place.
for _, entry in ipairs {
  { "no JSON", "hello", 1 }, { "a bare word", '{"args": yes}', 10 }, { "single quotes", "{'args':[]}", 2 },
  { "a comma too many", '{"args":["/report"],"cwd":"/",}', 31 },
} do
  process(entry[1], entry[2], { differs = "runc names the character, ctrexec the place",
    expect = { "status: 255", { "msg=\"exec failed: DIR/process%.json: line 1, column " .. entry[3] .. ":" } } })
end
process("deep nesting", ('{"x":'):rep(10001) .. "1" .. ("}"):rep(10001), {
  differs = "runc names the character, ctrexec the place", expect = { "status: 255", { "process%.json: .*nested" } } })
process("a control character", '{"args":["a\1b"],"cwd":"/"}')

-- A value of a wrong type: runc names its Go types, ctrexec the field by its path in the OCI specification.
local function wrong(name, content, path)
  process(name, content, {
    differs = "runc names its Go types, ctrexec the field by its path",
    expect = { "status: 255", { '^stderr: time="RFC3339" level=error msg="exec failed: ' .. path .. ": " } } })
end
for _, entry in ipairs { { "a list", '["/report"]' }, { "a number", "5" },
  { "a text", '"x"' }, { "true", "true" }, { "null", "null" } } do
  wrong(entry[1], entry[2], "DIR/process%.json")
end
wrong("a NUL in an argument", '{"args":["/report","a\\u0000b"],"cwd":"/"}', "process%.args%[2%]")
process("a NUL in a variable", '{"args":["/report"],"cwd":"/","env":["A=\\u0000"]}')
wrong("a NUL in cwd", '{"args":["/report"],"cwd":"/\\u0000"}', "process%.cwd")
wrong("a NUL in the command", '{"args":["/report\\u0000x"],"cwd":"/"}', "process%.args%[1%]")
local GOOD = '{"args":["/report"],"cwd":"/",%s}'
for _, entry in ipairs {
  { "env", '"x"', '{"A":"1"}', "5", "true", "[5]", "[[]]" },
  { "args", '"x"', "[5]", '{"a":"b"}', "true" },
  { "cwd", "5", '["/"]', "{}", "true" },
  { "terminal", '"yes"', "1", "[]" },
  { "noNewPrivileges", "1", '"true"' },
  { "user", "[0]", '"0:0"', "0" },
  { "user.uid", '"0"', "1.5", "[]" },
  { "user.gid", "true" },
  { "user.umask", '"022"', "-1", "512" },
  { "user.additionalGids", "5", '["5"]', '{"a":5}' },
  { "capabilities", '["CAP_KILL"]', '"all"' },
  { "capabilities.bounding", '"CAP_KILL"', "[5]" },
  { "capabilities.ambient", "5" },
  { "rlimits", '{"type":"RLIMIT_CORE"}', '["RLIMIT_CORE"]',
    '[{"type":4,"soft":1,"hard":1}]', '[{"type":"RLIMIT_CORE","soft":-1,"hard":1}]',
    '[{"type":"RLIMIT_CORE","soft":"1","hard":1}]', '[{"type":"RLIMIT_CORE","soft":1,"hard":36893488147419103232}]' },
  { "oomScoreAdj", '"5"', "1.5", "1001", "-1001" },
  { "consoleSize", '{"height":-1}', "[24,80]", '{"width":"80"}' },
  { "apparmorProfile", "5" }, { "selinuxLabel", "5" },
} do
  local names = {}
  for name in entry[1]:gmatch "%a+" do
    names[#names + 1] = name
  end
  for i = 2, #entry do
    local value = #names == 2 and ('{"%s":%s}'):format(names[2], entry[i]) or entry[i]
    wrong(("%s is %s"):format(entry[1], entry[i]), GOOD:format(('"%s":%s'):format(names[1], value)),
      ("process%%.%s[%%w%%.%%[%%]]*"):format((entry[1]:gsub("%.", "%%."))))
  end
end
-- These are numbers, but of nobody.
for _, user in ipairs { '"uid":-1', '"uid":4294967296', '"gid":-1', '"uid":0,"additionalGids":[-1]' } do
  process("user is " .. user, GOOD:format(('"user":{%s}'):format(user)), {
    differs = "runc names its Go types, ctrexec the field and the range",
    expect = { "status: 255", { "exec failed: process%.user%.[%w%[%]]+: must be in range 0 to " } } })
end
for _, entry in ipairs {
  { "env without =", '"env":["x"]' }, { "env without a name", '"env":["=x"]' },
  { "uid of 32 bits", '"user":{"uid":4294967295}' }, { "uid of 31 bits and one", '"user":{"uid":2147483648}' },
  { "gid of 32 bits", '"user":{"gid":4294967295}' },
  { "additionalGids of 32 bits", '"user":{"additionalGids":[4294967295]}' },
  { "effective without permitted", '"capabilities":{"bounding":["CAP_KILL"],"effective":["CAP_KILL"]}' },
  { "a capability that the caller lacks", '"capabilities":{"bounding":["CAP_SYS_RESOURCE"],' ..
    '"effective":["CAP_SYS_RESOURCE"],"permitted":["CAP_SYS_RESOURCE"]}' },
  { "rlimit unknown", '"rlimits":[{"type":"RLIMIT_NONE","soft":1,"hard":1}]' },
  { "rlimit without a type", '"rlimits":[{"soft":1,"hard":1}]' },
  { "rlimit in lower case", '"rlimits":[{"type":"rlimit_core","soft":1,"hard":1}]' },
  { "rlimit soft above hard", '"rlimits":[{"type":"RLIMIT_CORE","soft":2,"hard":1}]' },
  { "rlimit raised", '"rlimits":[{"type":"RLIMIT_NPROC","soft":5,"hard":100000000}]' },
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
rows[#rows + 1] = { name = "usage: short option with its value glued", args = { "-u5" },
  runc = { differs = "crun's spelling, so ctrexec takes it too",
    expect = { "status: 0", "stdout: status: Uid:\t5\t5\t5\t5" } } }
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
usage("no id", nil, nil, 'exec "$@" exec')
usage("no id after an option", nil, nil, 'exec "$@" exec --tty')
usage("value missing", nil, nil, 'exec "$@" exec --user')
usage("value missing, short", nil, nil, 'exec "$@" exec -e')
usage("value of a global option missing", nil, nil, 'exec "$@" --log')
add { name = "usage: unknown command", shell = 'exec "$@" ecec @ID@ true', only = "runc",
  differs = "runc looks for a help text, and exits with 3",
  expect = { "status: 1", { '^stderr: time="RFC3339" level=error msg="unknown command \\"ecec\\"' } } }
usage("three dashes", nil, { "---user" })

return rows
