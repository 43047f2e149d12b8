--- What the options of exec do, and what the container's own configuration gives when there are none.

local tool = require "tests.lib.tool"

local rows = {}

local function add(row)
  rows[#rows + 1] = row
end

local CRUN_ENV = {
  differs = "crun before 1.28 drops the container's environment when --env is given; later ones and ctrexec keep it",
  drop = { "^stdout: env:" },
}

-- The container "user" has an umask.
local UMASK = {
  differs = "runc before 1.2 forgets the umask in an exec; later ones, crun and ctrexec obey it",
  drop = { "^stdout: status: Umask:" },
}
-- The container "oom" has a score.
local SCORE = {
  differs = "crun leaves the caller's score; runc and ctrexec give the container's",
  drop = { "^stdout: oom_score_adj:" },
}
-- The containers "user" and "ambient" have a user.
local ROOT = {
  differs = "crun 1.8 knows nothing of the container's user; runc, later crun and ctrexec take it where none is given",
  drop = { "^stdout: status: [UG]id:", "^stdout: status: Groups:", "^stdout: status: Umask:", "^stdout: status: Cap",
    "^stdout: env:" },
}
local CRUN = { oom = SCORE, user = ROOT, ambient = ROOT }
local function known(row)
  row.runc = row.on == "user" and UMASK or nil
  row.crun = CRUN[row.on] or row.crun
  return row
end

-- The same few requests in every kind of container.
local VARIANTS = { "plain", "seccomp", "seccomp_nnp", "userns", "cgroupns", "host_pid", "host_net", "readonly",
  "no_new_privs", "user", "oom", "rlimits", "ambient", "no_capabilities", "created" }
for _, variant in ipairs(VARIANTS) do
  add(known { name = variant .. ": defaults", on = variant })
  add(known { name = variant .. ": another user", on = variant, args = { "--user", "33:34" } })
  add(known { name = variant .. ": detached", on = variant, args = { "--detach", "--pid-file", "@DIR@/pid" } })
  add(known { name = variant .. ": as an engine calls it", on = variant,
    global = { "--log", "@DIR@/log", "--log-format", "json" },
    args = { "--detach", "--pid-file", "@DIR@/pid" },
    process = {
      args = { "/report", "argument" }, cwd = "/", env = { "PATH=/bin", "TERM=xterm" }, user = { uid = 5, gid = 6 },
      noNewPrivileges = true,
      capabilities = { bounding = { "CAP_KILL" }, effective = { "CAP_KILL" }, permitted = { "CAP_KILL" } },
    } })
end
add { name = "user: the container's umask", on = "user", only = "runc", differs = UMASK.differs,
  expect = { "status: 0", "stdout: status: Umask:\t0027" } }
add { name = "keyring: defaults", on = "keyring", only = "runc" }
add { name = "personality: defaults", on = "personality", only = "crun" }

-- Command
add { name = "arguments reach the command as they are",
  command = { "/report", "", " ", "a b", "--", "-x", "--help", "$HOME", "*", "é", "a\nb" } }
add { name = "options after the id belong to the command", command = { "/report", "--user", "5", "-e" } }
add { name = "-- before the id", args = { "--" }, command = { "/report", "--", "x" } }
add { name = "command by PATH", command = { "report" } }
local ABSOLUTE = { differs = "crun makes the path absolute before it runs it", drop = { "^stdout: execfn:" } }
add { name = "command by a relative path", command = { "bin/report" }, crun = ABSOLUTE }
add { name = "command relative to --cwd", args = { "--cwd", "/bin" }, command = { "./report" }, crun = ABSOLUTE }
add { name = "command by .. in a path", command = { "/bin/../report" } }
add { name = "command through a linked directory", command = { "/linktobin/report" } }
add { name = "script with its interpreter", command = { "/script", "one", "two" } }

-- Working directory
add { name = "--cwd", args = { "--cwd", "/work" } }
add { name = "--cwd=", args = { "--cwd=/work" } }
add { name = "-cwd", args = { "-cwd", "/work" }, only = "runc" }
add { name = "--cwd twice: the last", args = { "--cwd", "/tmp", "--cwd", "/work" } }
add { name = "--cwd empty: as not given", args = { "--cwd", "" }, only = "runc" }
add { name = "--cwd is not cleaned", args = { "--cwd", "/bin/../work/./" } }
add { name = "--cwd of a link", args = { "--cwd", "/linktobin" } }
add { name = "--cwd that only root may enter", args = { "--cwd", "/rootonly", "--user", "1000" } }
add { name = "--cwd with PWD in the environment", args = { "--cwd", "/work", "--env", "PWD=/elsewhere" },
  crun = CRUN_ENV }

-- Environment
add { name = "--env", args = { "--env", "A=1" }, crun = CRUN_ENV }
add { name = "--env=", args = { "--env=A=1" }, crun = CRUN_ENV }
add { name = "-e", args = { "-e", "A=1" }, crun = CRUN_ENV }
add { name = "-e=", args = { "-e=A=1" }, only = "runc" }
add { name = "-e twice", args = { "-e", "A=1", "-e", "B=2" }, crun = CRUN_ENV }
add { name = "-e of one name twice: the last", args = { "-e", "A=1", "-e", "B=2", "-e", "A=3" }, crun = CRUN_ENV }
add { name = "-e replaces the container's", args = { "-e", "TERM=dumb" }, crun = CRUN_ENV }
add { name = "-e with an empty value", args = { "-e", "A=" }, crun = CRUN_ENV }
add { name = "-e with = in its value", args = { "-e", "A==b=" }, crun = CRUN_ENV }
add { name = "-e with a comma", args = { "-e", "A=1,B=2" }, crun = CRUN_ENV }
add { name = "-e with spaces and a line feed", args = { "-e", "A= b\nc " }, crun = CRUN_ENV }
add { name = "-e with bytes that are no text", args = { "-e", "A=\xff\x01" }, crun = CRUN_ENV,
  runc = { differs = "runc sends the environment through JSON text and loses the bytes",
    expect = { "status: 0", "stdout: env: A=\\ff\\01" } } }
add { name = "-e HOME", args = { "-e", "HOME=/elsewhere" }, crun = CRUN_ENV }
add { name = "-e HOME empty", args = { "-e", "HOME=", "-e", "Z=1" }, crun = CRUN_ENV }
add { name = "-e PATH", args = { "-e", "PATH=/work:/bin" }, command = { "report" }, crun = CRUN_ENV }
add(known { name = "-e on repeated variables of the container", on = "user", args = { "-e", "B=9", "-e", "A=8" },
  crun = CRUN_ENV })
-- What only ctrexec has
local function own(row)
  row.name, row.differs = "ctrexec's own: " .. row.name, "neither runc nor crun has it"
  add(row)
end
own { name = "--env-file", expect = { "status: 0", "stdout: A=1", "stdout: B=2", "stdout: C=d e",
    "stdout: D=from the caller" }, shell = [[printf '# comment\n\nA=1\n B=1\r\nC=d e\nD\nE\n' >env
    D='from the caller' exec "$@" exec --env-file=env -e B=2 @ID@ /bin/env; rm env]] }
for _, line in ipairs { "=x", "A B=1" } do
  own { name = ("--env-file with %q"):format(line),
    shell = ("printf 'A=1\\n%s\\n' >env; exec \"$@\" exec --env-file env @ID@ true"):format(line),
    expect = { "status: 255", { "^stderr: .*exec failed: env: line 2: not a variable's name: " } } }
end
own { name = "--env-file that is missing", args = { "--env-file", "/nosuch" },
  expect = { "status: 255",
    'stderr: time="RFC3339" level=error msg="exec failed: open /nosuch: no such file or directory"' } }
own { name = "names of a user and a group", args = { "-u", "alice:adm" }, expect = { "status: 0",
  "stdout: status: Uid:\t1000\t1000\t1000\t1000", "stdout: status: Gid:\t4\t4\t4\t4", "stdout: env: HOME=/work" } }
own { name = "name of a user", args = { "-u", "alice" }, expect = { "status: 0",
  "stdout: status: Uid:\t1000\t1000\t1000\t1000", "stdout: status: Gid:\t1000\t1000\t1000\t1000" } }
own { name = "name of a user, without the group's", args = { "-u", "alice" }, command = { "id", "-G" },
  expect = { "status: 0", "stdout: 1000" } }
own { name = "--groups-from-container", args = { "-u", "alice", "--groups-from-container" }, command = { "id", "-G" },
  expect = { "status: 0", "stdout: 1000 4" } }

add { name = "the caller's environment stays out", shell = 'OUTSIDE=1 LISTEN_FDS=0 exec "$@" exec @ID@ /report' }
add { name = "HOME of a user of passwd", args = { "-u", "1000" } }
add { name = "HOME of a user that is not there", args = { "-u", "4242" } }

-- User
for _, user in ipairs { "0", "1000", "1000:1001", "0:5", "4242:4343", "2147483647:2147483647" } do
  add { name = "--user " .. user, args = { "--user", user } }
end
add { name = "-u", args = { "-u", "7" } }
add { name = "--user empty: as not given", args = { "--user", "" } }
add { name = "--user twice: the last", args = { "--user", "5:5", "--user", "6" } }
add { name = "--user +5", args = { "--user", "+5:+6" } }
add(known { name = "--user on a container with a user", on = "user", args = { "--user", "0:0" } })
add(known { name = "--user without a group on a container with a user", on = "user", args = { "--user", "5" } })
add { name = "--user of a mapped user", on = "userns", args = { "--user", "65535:65535" } }
add { name = "--additional-gids", args = { "--additional-gids", "10" }, only = "runc" }
add { name = "-g twice", args = { "-g", "11", "-g", "10" }, only = "runc" }
add(known { name = "-g keeps the container's", on = "user", args = { "-g", "99" }, only = "runc" })
add(known { name = "-g and --user", on = "user", args = { "-g", "99", "--user", "5:6" }, only = "runc" })
add { name = "-g of a group twice", args = { "-g", "10", "-g", "10" }, only = "runc" }
add { name = "-g in a user namespace", on = "userns", args = { "-g", "10" }, only = "runc" }

-- Capabilities
add { name = "--cap", args = { "--cap", "CAP_CHOWN" } }
add { name = "-c twice", args = { "-c", "CAP_CHOWN", "-c", "CAP_SYSLOG" } }
add { name = "--cap of one that is there", args = { "--cap", "CAP_KILL" } }
add { name = "--cap as another user", args = { "--cap", "CAP_CHOWN", "--user", "1000" } }
add { name = "--cap with inheritable ones", on = "ambient", args = { "--cap", "CAP_SYSLOG" }, crun = ROOT }
add { name = "--cap with inheritable ones, as root", on = "ambient", args = { "--cap", "CAP_SYSLOG", "-u", "0" },
  crun = ROOT }
add { name = "--cap in a container without any", on = "no_capabilities", args = { "--cap", "CAP_CHOWN" },
  runc = { differs = "runc crashes", expect = { "status: 0", "stdout: status: CapBnd:\t0000000000000001" } } }
add { name = "--cap in a user namespace", on = "userns", args = { "--cap", "CAP_SYSLOG" } }
add { name = "--cap with a profile", on = "seccomp", args = { "--cap", "CAP_CHOWN" } }
for _, name in ipairs { "CAP_NONE", "chown", "cap_chown", "all", "CAP_CHOWN,CAP_KILL", "" } do
  add { name = ("--cap %q is unknown: a warning"):format(name), args = { "--cap", name }, only = "runc" }
end
add { name = "--cap unknown with --log: only there", global = { "--log", "@DIR@/log" }, args = { "--cap", "CAP_NONE" },
  only = "runc" }
add { name = "--cap unknown with a JSON log", global = { "--log", "@DIR@/log", "--log-format=json" },
  args = { "--cap", "CAP_NONE" }, only = "runc" }

-- Flags
add { name = "--no-new-privs", args = { "--no-new-privs" } }
add { name = "--no-new-privs=true", args = { "--no-new-privs=true" }, only = "runc" }
add { name = "--no-new-privs=false", args = { "--no-new-privs=false" }, only = "runc" }
add { name = "--no-new-privs=false where the container has it", on = "no_new_privs", args = { "--no-new-privs=false" },
  only = "runc" }
add { name = "--no-new-privs=T", args = { "--no-new-privs=T" }, only = "runc" }
add { name = "--no-new-privs with a profile", on = "seccomp", args = { "--no-new-privs" } }
add { name = "--no-new-privs in a user namespace", on = "userns", args = { "--no-new-privs", "--user", "5" } }
add { name = "--tty=false", args = { "--tty=false" } }
add { name = "--ignore-paused of a running one", args = { "--ignore-paused" }, only = "runc" }
add { name = "--ignore-paused waits for the resume", on = "paused", only = "runc",
  shell = [[(sleep 0.3; @RUNTIME@ resume @ID@) & "$@" exec --ignore-paused @ID@ /report; s=$?; wait
    @RUNTIME@ pause @ID@; exit $s]] }
add { name = "--ignore-paused can be ended while it waits", on = "paused", only = "runc",
  shell = [["$@" exec --ignore-paused --pid-file pid @ID@ true & sleep 0.5; kill -TERM $!; sleep 0.5
    kill -0 $! 2>/dev/null && { kill -9 $!; echo hangs; }; wait $! 2>/dev/null; echo $?
    @RUNTIME@ resume @ID@; sleep 0.2; @RUNTIME@ pause @ID@; rm -f pid]],
  differs = "runc does not listen", expect = { "status: 0", "stdout: 143" } }
add { name = "all at once", on = "cgroups", only = "runc", global = { "--log", "@DIR@/log" },
  args = { "--cwd=/work", "-e", "A=1", "-u=5:6", "-g=7", "-c", "CAP_CHOWN", "--no-new-privs", "--cgroup", "sub",
    "--pid-file", "@DIR@/pid", "--preserve-fds=0", "--ignore-paused", "--detach=false" } }

-- Files the caller gets
add { name = "--pid-file", args = { "--pid-file", "@DIR@/pid" } }
add { name = "--pid-file relative to the caller", args = { "--pid-file", "pid" } }
add { name = "--pid-file over an old one",
  shell = 'echo 123456789 >pid; chmod 600 pid; exec "$@" exec --pid-file pid @ID@ /report' }
add { name = "--pid-file holds the process", shell = [["$@" exec -d --pid-file pid @ID@ sleep 0.5
  sleep 0.2; tr '\0' ' ' </proc/$(cat pid)/cmdline]] }
add { name = "--pid-file stays when the command fails", args = { "--pid-file", "@DIR@/pid" }, command = { "false" } }
add { name = "--pid-file of before stays when nothing is started", only = "runc",
  shell = 'echo 123456789 >pid; exec "$@" exec --pid-file pid @ID@ nosuch' }
-- A command that runc starts and then kills: how far the command gets is a matter of chance.
add { name = "--pid-file in a missing directory of the caller's", only = "runc", args = { "--pid-file", "no/pid" },
  command = { "sleep", "5" } }
add { name = "--pid-file with the caller's umask", shell = 'umask 077; exec "$@" exec --pid-file pid @ID@ true' }
add { name = "--log stays empty", global = { "--log", "@DIR@/log" } }
add { name = "--log is appended to", global = { "--log", "@DIR@/log" },
  shell = 'echo old >log; exec "$@" exec @ID@ true' }
add { name = "--log with the caller's umask", shell = 'umask 0; "$@" --log log exec @ID@ true; stat -c %a log',
  only = "runc" }
add { name = "--log relative to the caller", global = { "--log", "log" } }
add { name = "--log-format text", global = { "--log", "@DIR@/log", "--log-format", "text" } }
add { name = "--log-format empty: text", global = { "--log-format=" }, only = "runc" }
add { name = "--log empty: as not given", global = { "--log=" }, only = "runc" }
add { name = "--systemd-cgroup is for others", global = { "--systemd-cgroup" } }
add { name = "--rootless false", global = { "--rootless", "false" }, only = "runc" }
add { name = "--criu is for others", global = { "--criu", "x" }, only = "runc" }
add { name = "--cgroup-manager cgroupfs", global = { "--cgroup-manager", "cgroupfs" }, only = "crun" }
add { name = "--debug goes to the log", global = { "--debug", "--log", "@DIR@/log" },
  differs = "each program's debug lines are its own", drop = { "^log text: .*level=debug" } }
add { name = "--debug goes to standard error", command = { "true" }, only = "runc",
  shell = [["$@" --debug exec @ID@ true 2>err; echo $?; cut -d' ' -f2 err | sort -u; rm err]] }
add { name = "--debug names unknown fields", only = "runc", global = { "--debug" },
  process = { args = { "/report" }, cwd = "/", future = 1, user = { uid = 0, gid = 0, shell = "x" } },
  differs = "each program's debug lines are its own", expect = { "status: 0",
    'stderr: time="RFC3339" level=debug msg="process.future: unknown field ignored"',
    'stderr: time="RFC3339" level=debug msg="process.user.shell: unknown field ignored"' } }
add { name = "--debug=false", global = { "--debug=false" }, only = "runc" }

-- Descriptors
add { name = "descriptors of the caller stay out",
  shell = 'exec 5</etc/passwd 6>/dev/null; exec "$@" exec @ID@ /report' }
add { name = "--preserve-fds 0", args = { "--preserve-fds", "0" } }
add { name = "--preserve-fds 1", shell = 'exec 3</dev/zero; exec "$@" exec --preserve-fds 1 @ID@ /report' }
add { name = "--preserve-fds 3",
  shell = 'exec 3</dev/zero 4</dev/null 5</dev/full; exec "$@" exec --preserve-fds=3 @ID@ /report' }
add { name = "--preserve-fds keeps the others out",
  shell = 'exec 3</dev/zero 4</dev/null 5</dev/full; exec "$@" exec --preserve-fds=1 @ID@ /report' }
add { name = "--preserve-fds of a pipe carries data",
  shell = [[echo through the pipe | { exec 3<&0 </dev/null; "$@" exec --preserve-fds 1 @ID@ sh -c 'cat <&3'; }]] }
add { name = "--preserve-fds, detached",
  shell = 'exec 3</dev/zero; exec "$@" exec -d --preserve-fds 1 @ID@ /report' }
add { name = "--preserve-fds -1: none", args = { "--preserve-fds", "-1" }, only = "runc" }
add { name = "LISTEN_FDS for another process", shell = [[exec 3</dev/zero
  LISTEN_FDS=1 LISTEN_PID=1 LISTEN_FDNAMES=x exec "$@" exec @ID@ /report]], only = "runc" }
add { name = "LISTEN_FDS for the runtime", shell = [[exec 3</dev/zero; exec sh -c '
  LISTEN_FDS=1 LISTEN_PID=$$ LISTEN_FDNAMES=x exec "$@" exec @ID@ /report' sh "$@"]], only = "runc" }
add { name = "LISTEN_FDS and --preserve-fds", shell = [[exec 3</dev/zero 4</dev/full; exec sh -c '
  LISTEN_FDS=1 LISTEN_PID=$$ exec "$@" exec --preserve-fds 1 @ID@ /report' sh "$@"]], only = "runc" }

-- Control groups
add { name = "--cgroup of a child", on = "cgroups", args = { "--cgroup", "sub" } }
add { name = "--cgroup with a slash", on = "cgroups", args = { "--cgroup", "/sub" } }
add { name = "--cgroup of a grandchild", on = "cgroups", args = { "--cgroup", "sub/deep" } }
add { name = "--cgroup of the container's own", on = "cgroups", args = { "--cgroup", "/" } }
add { name = "--cgroup empty", on = "cgroups", args = { "--cgroup", "" } }
add { name = "--cgroup with .. that stays below", on = "cgroups", args = { "--cgroup", "sub/../sub/deep/.." } }
add { name = "--cgroup, detached", on = "cgroups", args = { "--detach", "--cgroup", "sub" } }
add { name = "--cgroup of one controller", on = "cgroups", args = { "--cgroup", "pids:sub" }, view = "hybrid",
  only = "runc" }
add { name = "--cgroup of two controllers", on = "cgroups", args = { "--cgroup", "pids,memory:/sub/deep" },
  view = "hybrid", only = "runc" }
add { name = "--cgroup twice", on = "cgroups", args = { "--cgroup", "pids:sub", "--cgroup", "memory:sub/deep" },
  view = "hybrid", only = "runc" }
add { name = "--cgroup of a named hierarchy", on = "cgroups", args = { "--cgroup", "name=systemd:sub" },
  view = "hybrid", only = "runc" }
add { name = "--cgroup :", on = "cgroups", args = { "--cgroup", ":" }, only = "runc" }

-- The container's own cgroup takes no process: that of its init now does, unless the caller names one.
add { name = "cgroup is gone", on = "moved", view = "v2", only = "runc" }
add { name = "cgroup is gone, detached", on = "moved", view = "v2", only = "runc",
  args = { "--detach", "--pid-file", "@DIR@/pid" } }
add { name = "cgroup is gone, --cgroup", on = "moved", view = "v2", only = "runc", args = { "--cgroup", "/" } }
add { name = "cgroup is gone, --debug", on = "moved", view = "v2", only = "runc", command = { "true" },
  global = { "--log", "@DIR@/log", "--debug" }, differs = "each program's debug lines are its own",
  expect = { "status: 0",
    { '^log text: .* level=debug msg="adding pid N to cgroups: .*: no such file or directory; trying that of' } } }
if tool.line "cat /sys/fs/cgroup/cgroup.controllers" ~= "" then
  add { name = "cgroup is busy", on = "busy", view = "v2" }
  add { name = "cgroup is busy, --cgroup", on = "busy", view = "v2", only = "runc", args = { "--cgroup", "/" } }
  add { name = "cgroup is busy, --cgroup init", on = "busy", view = "v2", args = { "--cgroup", "init" } }
end

-- The command must see nothing of the caller, except what every runtime passes on
add { name = "caller's umask", shell = 'umask 077; exec "$@" exec @ID@ /report' }
add { name = "caller's priority", shell = 'exec nice -n 7 "$@" exec @ID@ /report' }
if tool.line "nproc" ~= "1" then
  add { name = "caller's processor", shell = [[exec taskset -c 0 "$@" exec @ID@ sh -c '
      [ "$(grep Cpus_allowed: /proc/1/status)" = "$(grep Cpus_allowed: /proc/self/status)" ] && echo as the init']],
    differs = "runc before 1.3 and crun leave the caller's affinity; ctrexec allows what the container's cpuset does",
    expect = { "status: 0", "stdout: as the init" } }
end
add { name = "caller's limits",
  shell = 'ulimit -c 0; ulimit -s 4096; ulimit -u 5000; exec "$@" exec @ID@ /report' }
add { name = "caller's working directory is gone", shell = 'mkdir x; cd x; rmdir ../x; exec "$@" exec @ID@ /report' }
add { name = "caller's groups", shell = 'exec setpriv --groups 42,43 "$@" exec @ID@ /report' }
add { name = "caller's out-of-memory score", shell = 'echo 77 >/proc/self/oom_score_adj; exec "$@" exec @ID@ /report' }
add { name = "caller's personality", shell = 'exec setarch --addr-no-randomize "$@" exec @ID@ /report' }
add { name = "caller ignores signals", shell = [[trap '' HUP INT QUIT USR1 PIPE; exec "$@" exec @ID@ /report]] }
add { name = "caller's i/o priority", shell = 'exec ionice -c 2 -n 6 "$@" exec @ID@ /report' }
add { name = "caller's no_new_privs", shell = 'exec setpriv --no-new-privs "$@" exec @ID@ /report' }
add { name = "caller in another cgroup namespace", shell = 'exec unshare --cgroup "$@" exec @ID@ /report',
  differs = "ctrexec joins every namespace of the container's that is not the caller's, also one of the host's",
  drop = { "^stdout: cgroup:", "^stdout: ns cgroup:" } }

return rows
