--- The errors with which each system call of an exec is made to fail, and how the exec may end then.

local expected = {}

-- By name: the number of the error, and its words in a message.
local ERRNO = {
  EPERM = { 1, "operation not permitted" }, ENOENT = { 2, "no such file or directory" },
  EINTR = { 4, "interrupted system call" }, EIO = { 5, "input/output error" }, E2BIG = { 7, "argument list too long" },
  EAGAIN = { 11, "resource temporarily unavailable" }, ENOMEM = { 12, "cannot allocate memory" },
  EACCES = { 13, "permission denied" }, EBUSY = { 16, "device or resource busy" },
  EINVAL = { 22, "invalid argument" }, EMFILE = { 24, "too many open files" },
  ENOSPC = { 28, "no space left on device" }, EPIPE = { 32, "broken pipe" },
  ENOSYS = { 38, "function not implemented" }, ECONNREFUSED = { 111, "connection refused" },
}

-- The errors of a call, by the role that makes it and its name, by its name and its detail, or by its name; DEFAULT for
-- all other calls. Calls that a signal may interrupt have EINTR: ctrexec must make such a call again.
local DEFAULT = "EPERM ENOMEM"
local ERRORS = {
  ["brk"] = "ENOMEM", ["mmap"] = "ENOMEM", ["mprotect"] = "ENOMEM", ["munmap"] = "ENOMEM", ["madvise"] = "ENOMEM",
  ["read"] = "EIO EINTR", ["pread64"] = "EIO EINTR", ["caller pread64"] = "EINTR",
  ["write"] = "EIO ENOSPC EINTR", ["writev"] = "ENOSPC EINTR",
  ["open"] = "EACCES EMFILE ENOMEM", ["openat"] = "EACCES EMFILE ENOMEM", ["openat2"] = "EACCES EMFILE ENOMEM",
  ["memfd_create"] = "EMFILE ENOMEM", ["socketpair"] = "EMFILE", ["socket"] = "EMFILE", ["pipe2"] = "EMFILE",
  ["close"] = "EIO EINTR", ["dup2"] = "EMFILE",
  ["clone"] = "EAGAIN ENOMEM", ["clone3"] = "EAGAIN ENOMEM EBUSY", ["execveat"] = "EACCES ENOMEM",
  ["execve"] = "EACCES ENOENT ENOMEM E2BIG",
  ["pidfd_open"] = "EMFILE ENOMEM", ["waitid"] = "EINVAL EINTR",
  ["poll"] = "ENOMEM EINTR", ["ppoll"] = "ENOMEM EINTR", ["recvmsg"] = "ENOMEM EINTR", ["sendmsg"] = "EPIPE EINTR",
  ["connect"] = "ECONNREFUSED EINTR",
  ["setns"] = "EPERM EINVAL ENOMEM", ["setresuid"] = "EAGAIN EPERM EINVAL", ["setresgid"] = "EPERM EINVAL",
  ["setgroups"] = "EPERM ENOMEM", ["capset"] = "EPERM", ["capget"] = "EPERM", ["prctl"] = "EPERM EINVAL",
  ["seccomp"] = "EINVAL EACCES ENOMEM", ["setsid"] = "EPERM", ["keyctl"] = "EACCES ENOSYS",
  ["ioctl"] = "EIO", ["chdir"] = "EACCES EIO", ["getcwd"] = "ENOENT ENOMEM", ["fchown"] = "EPERM EIO",
  ["rt_sigaction"] = "EPERM", ["rt_sigprocmask"] = "EPERM",
  ["fcntl 1"] = "", -- F_GETFD fails only for a descriptor that is not open, and ctrexec asks just that
  ["fcntl 2"] = "EPERM", ["fcntl 4"] = "EPERM", ["fcntl 1030"] = "EMFILE", ["fcntl 1033"] = "EPERM EBUSY",
  ["caller rt_sigaction"] = "", ["caller rt_sigprocmask"] = "", ["caller rt_sigpending"] = "", -- never fail as called
  ["umask"] = "", ["uname"] = "", ["geteuid"] = "", ["getegid"] = "", -- never fail
  ["exit"] = "", ["exit_group"] = "", ["rt_sigreturn"] = "", -- do not come back
  ["sched_yield"] = "", -- never fails
  ["restart_syscall"] = "", -- made by the kernel after a poll that the tracing interrupted
}

--- The errors with which a recorded call is made to fail.
-- @treturn {table,...} `name`, `number`, `text`
function expected.errors(role, call)
  local names = ERRORS[("%s %s"):format(role, call.call)] or ERRORS[("%s %s"):format(call.call, call.detail)]
    or ERRORS[call.call] or DEFAULT
  local list = {}
  for name in names:gmatch "%S+" do
    list[#list + 1] = { name = name, number = ERRNO[name][1], text = ERRNO[name][2] }
  end
  return list
end

-- The rules; the first one that fits a failed call says which outcome is right. A rule fits by `by` (the role), `call`
-- and `errors` (names, with blanks between them), `detail` (a pattern) and `late` (a call of the caller's while the
-- command already runs). `ran`: why the exec may go on as if nothing had happened; `facts`: a pattern of those lines of
-- the command's report that may then differ; `restores`: the call that failed would have given the terminal its
-- settings back. `says`: the message of an exec that is refused, with %E for the error's words and "|" between
-- alternatives, after START unless `bare` is set. Where a rule has both `ran` and `says`, either outcome is right.
local START = "unable to start container process: "
local AGAIN = "is made again"
local OTHER_CGROUP = "the plan is tried again with the cgroups of the container's init"
local READ_ANEW = "what is kept of it is not believed then, and it is read once more"
local GONE = "the process ended with status 255 before the command could start|the helper ended"
local IMAGE = "make the helper's sealed memfd: %E"
local HELPER = "start the helper: %E"
local RULES = {
  { call = "close", ran = "the descriptor is closed all the same", says = "%E", bare = true }, -- a pid file

  -- The caller, once the command runs: it may lose the command's output or its status.
  { by = "caller", late = true, call = "ioctl", ran = "a terminal that does not answer", restores = true, facts = "",
    says = "", bare = true },
  { by = "caller", late = true, call = "poll", errors = "EINTR", ran = AGAIN },
  { by = "caller", late = true, ran = "the command runs", facts = "", says = "", bare = true },

  -- The caller: its memory and its Lua.
  { by = "caller", call = "openat", detail = "/cjson%.so$", ran = "the next place is looked in" },
  { by = "caller", call = "brk mmap munmap mprotect", ran = "malloc(3) finds another way", says = "not enough memory",
    bare = true },
  { by = "caller", call = "openat", detail = "^/ctrexec%-faults", ran = "a mark of the test" },
  { by = "caller", call = "openat newfstatat", detail = "/lua/ctrexec/",
    ran = "the other form of the module is taken" },
  { by = "caller", call = "getrandom", ran = "libc has another source" },

  -- The caller: the container.
  { by = "caller", call = "openat2", detail = "^freezer%.state$",
    ran = "what cannot be asked is not taken for paused" },
  { by = "caller", call = "openat2", detail = "^ctrexec%.digest$", ran = "the state itself is read" },
  { by = "caller", call = "openat openat2", detail = "/bundle$", ran = READ_ANEW, says = "%E", bare = true },
  { by = "caller", call = "openat2", detail = "^config%.json$", ran = READ_ANEW, says = "%E", bare = true },
  { by = "caller", call = "newfstatat", detail = "/exec%.fifo$", ran = "it is no more than the word for the state" },
  { by = "caller", call = "newfstatat", ran = "the next place is looked at, or a new image is made", says = "%E",
    bare = true },
  { by = "caller", errors = "EINTR", ran = AGAIN },
  { by = "caller", call = "openat readlinkat", detail = "/ns$", says = "namespaces of process", bare = true },
  { by = "caller", call = "readlinkat", says = "namespaces of process", bare = true },
  { by = "caller", call = "openat", detail = "^/sys/fs/cgroup/", ran = OTHER_CGROUP, says = "to cgroups: " },
  { by = "caller", call = "openat2", detail = "^tasks$", ran = OTHER_CGROUP, says = "to cgroups: " },
  { by = "caller", call = "fstatfs", ran = OTHER_CGROUP, says = "to cgroups: " },
  { by = "caller", call = "openat", detail = "^/dev/null$", says = "open /dev/null: %E", bare = true },

  -- The caller: starting the helper and following it.
  { by = "caller", call = "memfd_create", detail = "^ctrexec$", says = IMAGE },
  { by = "caller", call = "openat", detail = "^/proc/self/fd/", says = IMAGE },
  { by = "caller", call = "fcntl", detail = "^1033$", says = IMAGE },
  { by = "caller", call = "fcntl", detail = "^1030$", says = "pidfd: %E|duplicate descriptor 1: %E", bare = true },
  { by = "caller", call = "socketpair memfd_create writev clone fcntl", says = HELPER },
  { by = "caller", call = "pipe2", says = "pipe: %E|" .. HELPER, bare = true },
  { by = "caller", call = "ioctl", ran = "what does not answer as a terminal is none", says = "terminal", bare = true },
  { by = "caller", call = "socket setsockopt connect", says = "connect: %E", bare = true },
  { by = "caller", call = "sendmsg", says = "%E" },
  { by = "caller", call = "poll", ran = "is made again by who reads a file",
    says = "poll: %E|poll pidfd", bare = true },
  { by = "caller", call = "recvmsg", says = "read from the helper: %E" },
  { by = "caller", call = "pidfd_open waitid",
    ran = "a reader of a file is looked after by the next one",
    says = "pidfd_open", bare = true },
  { by = "caller", call = "pidfd_send_signal", ran = "the reader has ended" },
  { by = "caller", call = "openat", detail = "^/proc/%d+/stat$", says = "read /proc/PID/stat: %E|process ",
    bare = true },
  { by = "caller", call = "read", ran = "what cannot be asked is not taken for paused", says = "%E", bare = true },

  { by = "caller", says = "%E", bare = true },

  -- The helper's start: the helper cannot report yet which call failed.
  { by = "first", call = "dup2 close_range execveat", says = HELPER },
  { by = "first", call = "fcntl", ran = "libc's, of a descriptor that it had opened close-on-exec", says = "%E",
    bare = true }, -- before its execve the caller reports the error, after it the helper
  { call = "arch_prctl",
    says = "the process was killed by signal 11 before the command could start|the helper was killed" },
  { call = "set_tid_address", ran = "libc's, of which the helper has no use" },
  { by = "first", call = "fstat mmap pread64", errors = "EIO EPERM ENOMEM", says = GONE },
  { by = "first", call = "madvise", says = "plan: %E" },

  -- The helper, in the order of its steps.
  { by = "first member final thread reader", errors = "EINTR", ran = AGAIN },
  { call = "prctl", detail = "^15$", ran = "the name is for people" },
  { call = "prctl", detail = "^1$", says = "death signal: %E" },
  { by = "first member final reader", call = "poll", says = "death signal: %E" },
  { call = "prctl", detail = "^4$", says = "hide: %E" },
  { by = "first", call = "fstatfs", says = "function not implemented" },
  { call = "open", detail = "/oom_score_adj$", says = "oom score adj: %E" },
  { call = "open", detail = "/loginuid$", says = "login uid: %E" },
  { call = "prlimit64", ran = "without a privilege there is no need of more than what there is",
    says = "error setting rlimits for process: error setting rlimit type|rlimit: %E" },
  { by = "first", call = "sched_setaffinity", says = "affinity: %E" },
  { by = "first", call = "write", ran = OTHER_CGROUP, says = "%E" }, -- no message for other files
  { call = "clone3", ran = OTHER_CGROUP, says = "%E" },
  { call = "setns", says = "error joining the container's namespaces: %E|namespace: %E" },
  { by = "reader", says = "unable to setup user: /etc/" },
  { call = "keyctl", errors = "ENOSYS", ran = "a kernel without keyrings has nothing to leak", facts = "keyring: " },
  { call = "keyctl", says = "keyring: %E" },
  { by = "member", call = "open", detail = "^/dev/pts$", says = "error creating terminal: open /dev/pts: %E" },
  { by = "member", call = "fcntl", ran = "libc's, of a descriptor that it had opened close-on-exec" },
  { by = "member", call = "fstatfs", says = "error creating terminal: /dev/pts is not a devpts: no such device" },
  { by = "member", call = "openat2", detail = "^ptmx$", says = "error creating terminal: open /dev/pts/ptmx: %E" },
  { by = "member", call = "ioctl dup2 sendmsg", says = "error creating terminal: " },
  { call = "ioprio_set", says = "io priority: %E" },
  { call = "personality", says = "personality: %E" },
  { call = "sched_setaffinity", says = "affinity: %E" },
  { call = "close_range", says = "close: %E" },
  { by = "member", call = "chdir", ran = "it is tried once more as the command's user",
    says = "mount change to the new root: %E|error joining the container's namespaces: %E" },
  { by = "member", call = "chroot", says = "error joining the container's namespaces: %E" },
  { call = "openat2", detail = "^/etc/passwd$", ran = "as where there is none", facts = "env: HOME=" },
  { by = "member", call = "fstat read", ran = "as where there is no passwd, or no stream to give away",
    facts = "env: HOME=", says = "mount /" },
  { by = "member", call = "stat newfstatat", ran = "what cannot be looked at is put there once more", says = "mount ",
    facts = "mounts: " },
  { by = "member", call = "unshare mount umount2 open openat mkdir mkdirat mknodat open_tree move_mount getdents64",
    says = "%E" },
  { by = "member", call = "readlink readlinkat symlink symlinkat pivot_root fchdir",
    says = "mount |error joining the container's namespaces: %E" },
  { call = "fchown", ran = "not every stream can be given away" },
  { by = "member", call = "rt_sigaction", says = "signals: %E" },
  { by = "member", call = "rt_sigprocmask", ran = "libc's, around one of its signals", says = "signals: %E" },
  { call = "prctl", detail = "^38$", says = "no new privs: %E" },
  { call = "prctl", detail = "^23$", errors = "EINVAL", ran = "it is the end of the capabilities" },
  { call = "prctl", detail = "^23$", says = "unable to apply bounding set: " },
  { call = "prctl", detail = "^24$", ran = "what is not in the set need not be dropped",
    says = "unable to apply bounding set: %E" },
  { call = "prctl", detail = "^8$", says = "unable to apply caps: %E" },
  { call = "prctl", detail = "^47$", says = "ambient: %E" },
  { call = "capset capget", says = "unable to apply caps: %E" },
  { call = "setgroups", says = "unable to setup user: setgroups: %E" },
  { call = "setresuid setresgid", says = "unable to setup user: %E|become root: %E" },
  { by = "thread", call = "sendmsg", says = "unable to init seccomp: error loading seccomp filter into kernel: %E" },
  { by = "member final", call = "clone", says = "fork: %E|unable to init seccomp: " },
  { by = "first", call = "clone", says = "fork: %E|clone: %E" },
  { by = "final", call = "ioctl", says = "error creating terminal: make it the controlling terminal: %E" },
  { by = "final", call = "sched_setattr", says = "scheduler: %E" },
  { call = "setsid", says = "session: %E" },
  { call = "getcwd", says = "current working directory is outside of container mount namespace root" },
  { by = "final thread", call = "write read", says = GONE }, -- the report itself fails
  { by = "final", call = "execve", detail = "^/report$", says = "exec /report: %E" },
  { by = "final", call = "execve stat", detail = "bin/report$", ran = "the next folder of PATH is looked at",
    says = "exec /bin/report: %E|executable file not found in $PATH" }, -- as with runc
  { call = "seccomp", says = "unable to init seccomp: error loading seccomp filter into kernel: %E" },
}

local function fits(rule, target)
  if rule.by and not (" " .. rule.by .. " "):find(" " .. target.role .. " ", 1, true) then return false end
  if rule.call and not (" " .. rule.call .. " "):find(" " .. target.call .. " ", 1, true) then return false end
  if rule.detail and not (target.detail or ""):find(rule.detail) then return false end
  if rule.late and not target.late then return false end
  return not rule.errors or (" " .. rule.errors .. " "):find(" " .. target.error.name .. " ", 1, true) ~= nil
end

--- The rule for a failed call.
-- @tparam table target `role`, `call`, `detail`, `error`
-- @treturn ?table the rule: `ran`, `facts`, `says`
function expected.rule(target)
  for _, rule in ipairs(RULES) do
    if fits(rule, target) then return rule end
  end
end

--- Whether a message is one that a rule allows.
function expected.is_right(rule, target, message)
  local text = message:lower()
  if not rule.says or text:find("exec failed: ", 1, true) ~= 1 then return false end
  if not rule.bare and not text:find(START, 1, true) then return false end
  for words in (rule.says .. "|"):gmatch "([^|]*)|" do
    if text:find(words:gsub("%%E", target.error.text):lower(), 1, true) then return true end
  end
  return false
end

return expected
