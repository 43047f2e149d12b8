--- Every field of the OCI process object, by --process.

local tool = require "tests.lib.tool"

local rows = {}

local UMASK = {
  differs = "runc before 1.2 forgets the umask in an exec; later ones, crun and ctrexec obey it",
  drop = { "^stdout: status: Umask:" },
}
local function umask_row(name, on, umask, expected)
  rows[#rows + 1] = { name = "process: " .. name, on = on,
    process = { args = { "/report" }, cwd = "/", user = { uid = 0, gid = 0, umask = umask } },
    runc = { differs = UMASK.differs, expect = { "status: 0", "stdout: status: Umask:\t" .. expected } } }
end

local function add(row)
  row.process.args = row.process.args or { "/report" }
  row.process.cwd = row.process.cwd or "/"
  rows[#rows + 1] = row
end

-- Fields that crun takes from the container where the file lacks them. ctrexec does as the runtime that made the
-- container.
add { name = "process: args and cwd only", process = {} }
local CRUN_ROOT = {
  differs = "crun 1.8 knows nothing of the container's user; later ones and ctrexec take it from there",
  drop = { "^stdout: status: [UG]id:", "^stdout: status: Groups:", "^stdout: status: Umask:", "^stdout: status: Cap",
    "^stdout: env: HOME=" },
}
add { name = "process: args and cwd only, container with a user", on = "user", process = {}, runc = UMASK,
  crun = CRUN_ROOT }
add { name = "process: args and cwd only, container with limits", on = "rlimits", process = {} }
add { name = "process: args and cwd only, container with a score", on = "oom", process = {},
  crun = { differs = "crun leaves the caller's score; runc and ctrexec give the container's",
    drop = { "^stdout: oom_score_adj:" } } }
add { name = "process: args and cwd only, container with no_new_privs", on = "no_new_privs", process = {} }
add { name = "process: args and cwd only, container with ambient ones", on = "ambient", process = {},
  crun = CRUN_ROOT }
add { name = "process: args and cwd only, container with a profile", on = "seccomp", process = {} }
add { name = "process: args and cwd only, user namespace", on = "userns", process = {} }

add { name = "process: args", process = { args = { "/report", "", "a b", "\u{e9}" } } }
add { name = "process: cwd", process = { cwd = "/work" } }
add { name = "process: cwd not cleaned", process = { cwd = "/bin//../work" } }
add { name = "process: cwd of a root-only directory", process = { cwd = "/rootonly", user = { uid = 5, gid = 5 } } }
add { name = "process: env", process = { env = { "PATH=/bin", "B=2", "A=1" } } }
add { name = "process: env with a name twice", process = { env = { "A=1", "B=2", "A=3", "PATH=/bin", "B=4" } } }
add { name = "process: env with HOME", process = { env = { "HOME=/elsewhere" } } }
add { name = "process: env with HOME empty", process = { env = { "A=1", "HOME=", "B=2" } },
  crun = { differs = "crun leaves an empty HOME; runc and ctrexec set it from the container's passwd",
    drop = { "^stdout: env: HOME=" } } }
add { name = "process: command on the PATH of env", process = { args = { "report" }, env = { "PATH=/nowhere:/bin" } } }
add { name = "process: PATH twice", process = { args = { "report" }, env = { "PATH=/nowhere", "PATH=/bin" } } }
add { name = "process: user", process = { user = { uid = 1000, gid = 1001 } } }
add { name = "process: user that is not in passwd", process = { user = { uid = 4242, gid = 4242 } } }
add { name = "process: user without gid", process = { user = { uid = 1000 } } }
add { name = "process: additionalGids", process = { user = { uid = 0, gid = 0, additionalGids = { 9, 4, 9 } } },
  crun = { differs = "crun gives a group as often as it is listed", drop = { "^stdout: status: Groups:" } } }
add { name = "process: username is for others", process = { user = { uid = 3, gid = 3, username = "root" } } }
umask_row("umask", "plain", 63, "0077")
umask_row("umask 0", "plain", 0, "0000")
umask_row("umask on a container with one", "user", 2, "0002")
umask_row("no umask on a container with one", "user", nil, "0027")
add { name = "process: noNewPrivileges", process = { noNewPrivileges = true } }
add { name = "process: noNewPrivileges false on a container with it", on = "no_new_privs",
  process = { noNewPrivileges = false } }
add { name = "process: noNewPrivileges with a profile", on = "seccomp", process = { noNewPrivileges = true } }
add { name = "process: terminal false", process = { terminal = false } }
add { name = "process: consoleSize without a terminal", process = { consoleSize = { height = 5, width = 6 } } }
local SCORE = "runc gives every exec the container's score, crun the caller's; ctrexec obeys the process object"
add { name = "process: oomScoreAdj", process = { oomScoreAdj = 300 },
  differs = SCORE, expect = { "status: 0", "stdout: oom_score_adj: 300" } }
add { name = "process: oomScoreAdj 0 on a container with one", on = "oom", process = { oomScoreAdj = 0 },
  differs = SCORE, expect = { "status: 0", "stdout: oom_score_adj: 0" }, crun = { differs = false, expect = false } }
-- Fields that the installed versions of the runtimes do not know.
local function later(name, field, value, since, expect)
  add { name = "process: " .. name, process = { [field] = value }, differs = since .. " obey it, and so does ctrexec",
    expect = { "status: 0", expect } }
end
later("scheduler", "scheduler", { policy = "SCHED_BATCH", nice = 5 }, "runc since 1.2 and crun since 1.10",
  { "^stdout: scheduler: policy 3 flags 0 nice 5 priority 0 " })
if tool.line "chrt --fifo 1 echo yes" == "yes" then
  local real_time = { policy = "SCHED_RR", priority = 7, flags = { "SCHED_FLAG_RESET_ON_FORK" } }
  later("real-time scheduler", "scheduler", real_time, "runc since 1.2 and crun since 1.10",
    { "^stdout: scheduler: policy 2 flags 1 nice 0 priority 7 " })
  rows[#rows].view = "v2" -- a cgroup of version 1 has no share of real time unless it is given one
end
later("ioPriority", "ioPriority", { class = "IOPRIO_CLASS_BE", priority = 6 }, "runc since 1.2 and later crun",
  "stdout: ioprio: 16390")
later("ioPriority idle", "ioPriority", { class = "IOPRIO_CLASS_IDLE" }, "runc since 1.2 and later crun",
  "stdout: ioprio: 24576")
if tool.line "nproc" ~= "1" then
  later("execCPUAffinity", "execCPUAffinity", { initial = "0", final = "1" }, "runc since 1.3 and later crun",
    "stdout: status: Cpus_allowed:\t2")
  later("execCPUAffinity, final only", "execCPUAffinity", { final = "0-0" }, "runc since 1.3 and later crun",
    "stdout: status: Cpus_allowed:\t1")
end
add { name = "process: apparmorProfile and selinuxLabel empty", only = "runc",
  process = { apparmorProfile = "", selinuxLabel = "" } }
add { name = "process: unknown fields",
  process = { future = { 1, 2 }, user = { uid = 0, gid = 0, shell = "/bin/sh" } } }
add { name = "process: commandLine is for others", process = { commandLine = "x" } }

-- Capability sets
local function caps(name, sets, on, uid)
  add { name = "process: capabilities, " .. name, on = on,
    process = { capabilities = sets, user = { uid = uid or 0, gid = uid or 0 } } }
end
local KILL, TWO = { "CAP_KILL" }, { "CAP_KILL", "CAP_CHOWN" }
caps("bounding only", { bounding = TWO })
caps("permitted only", { bounding = TWO, permitted = TWO })
caps("effective", { bounding = TWO, permitted = TWO, effective = KILL })
caps("inheritable", { bounding = TWO, permitted = TWO, effective = TWO, inheritable = KILL })
caps("ambient", { bounding = TWO, permitted = TWO, effective = TWO, inheritable = TWO, ambient = KILL })
caps("ambient as a user",
  { bounding = TWO, permitted = TWO, effective = TWO, inheritable = TWO, ambient = KILL }, nil, 5)
caps("ambient without inheritable", { bounding = TWO, permitted = TWO, effective = TWO, ambient = KILL }, nil, 5)
caps("as a user", { bounding = TWO, permitted = TWO, effective = TWO }, nil, 5)
caps("as a user with a profile", { bounding = TWO, permitted = TWO, effective = TWO }, "seccomp", 5)
caps("in a user namespace", { bounding = TWO, permitted = TWO, effective = TWO }, "userns", 5)
caps("a name twice", { bounding = { "CAP_KILL", "CAP_KILL" }, permitted = KILL, effective = KILL })
caps("no sets", {})
rows[#rows + 1] = { name = "process: capabilities, unknown names", only = "runc",
  process = { args = { "/report" }, cwd = "/", capabilities = {
    bounding = { "CAP_NONE", "CAP_KILL" }, permitted = { "CAP_KILL", "CAP_OTHER", "CAP_NONE" }, effective = KILL } } }

-- Resource limits: this machine may only lower them
local function limit(name, kind, soft, hard)
  add { name = "process: rlimit " .. name, process = { rlimits = { { type = kind, soft = soft, hard = hard } } } }
end
-- Wide enough for runc's own Go runtime, which runs under them for a moment.
for kind, value in pairs {
  AS = 1 << 35, CORE = 4096, CPU = 600, DATA = 1 << 35, FSIZE = 1 << 30, LOCKS = 100, MEMLOCK = 65536, MSGQUEUE = 8192,
  NPROC = 900, RSS = 1 << 35, RTTIME = 1000000, SIGPENDING = 900, STACK = 1 << 22,
} do
  limit(kind, "RLIMIT_" .. kind, value, value + 100)
end
limit("NICE", "RLIMIT_NICE", 0, 0)
limit("RTPRIO", "RLIMIT_RTPRIO", 0, 0)
limit("NOFILE", "RLIMIT_NOFILE", 100, 200)
rows[#rows + 1] = { name = "process: rlimit without end",
  process = '{"args":["/report"],"cwd":"/","rlimits":[{"type":"RLIMIT_STACK","soft":18446744073709551615,' ..
    '"hard":18446744073709551615}]}' }
add { name = "process: two rlimits", process = { rlimits = {
  { type = "RLIMIT_CORE", soft = 0, hard = 5 }, { type = "RLIMIT_NPROC", soft = 900, hard = 901 } } } }

-- The file itself
local GOOD = '{"args":["/report"],"cwd":"/"}'
local function file(name, content, more)
  local row = { name = "process file: " .. name, process = content }
  for key, value in pairs(more or {}) do
    row[key] = value
  end
  rows[#rows + 1] = row
end
file("text after the object", GOOD .. " {", {
  only = "runc", differs = "Go stops reading after the object; ctrexec refuses what is not one JSON text",
  expect = { "status: 255" } })
file("names of fields in another case", '{"ARGS":["/report"],"CwD":"/"}', {
  only = "runc", differs = "Go ignores the case of names; the OCI specification does not", expect = { "status: 255" } })
file("null is as not given", '{"args":["/report"],"cwd":"/","env":null,"user":null,"capabilities":null,"rlimits":null}')
file("white space and escapes", ' \n{ "args" : ["\\u002freport", "\\ud83d\\ude00", "\\t"],\n"cwd":"\\/" }\n')
file("a field twice: the last", '{"args":["/nothing"],"cwd":"/","args":["/report"]}', { only = "runc" })
file("options beside it do not count", GOOD, {
  args = { "--user", "5", "--cwd", "/nosuch", "--env", "A=1", "--cap", "CAP_CHOWN", "--no-new-privs" }, only = "runc" })
file("a command beside it does not count", GOOD, { command = { "false" } })
rows[#rows + 1] = { name = "process file: -p", shell =
  [[echo '{"args":["/report"],"cwd":"/"}' >p.json; exec "$@" exec -p p.json @ID@]] }
rows[#rows + 1] = { name = "process file: /dev/fd", shell =
  [[echo '{"args":["/report"],"cwd":"/"}' | { exec 9<&0 </dev/null; exec "$@" exec --process=/dev/fd/9 @ID@; }]] }
rows[#rows + 1] = { name = "process file: standard input", shell =
  [[echo '{"args":["/report"],"cwd":"/"}' | "$@" exec -p /dev/stdin @ID@]] }
rows[#rows + 1] = { name = "process file: a named pipe", shell =
  [[mkfifo p; { echo '{"args":["/report"],"cwd":"/"}' >p & } ; exec "$@" exec -p p @ID@]] }

return rows
