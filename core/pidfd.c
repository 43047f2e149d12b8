/***
Processes by pidfd, which names one process for ever, and what /proc says of them.

@module ctrexec.core.pidfd
@see pidfd_open(2)
*/
#include "pidfd.h"
#include "core.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    PROC_PATH_MAX = 64,
    DECIMAL = 10,
    /* comm (64 bytes at most) and the 21 numbers that follow it. */
    STAT_MAX = 1024,
    FDINFO_MAX = 1024,
    LOGINUID_MAX = 16,
    /* P_PIDFD, which glibc before 2.36 does not name. */
    ID_TYPE_PIDFD = 3,
};

#define MICROSECOND 1e-6
#define NANOSECOND 1e-9

/* Linux 6.15 keeps the exit status of a reaped child for those who hold its pidfd; linux/pidfd.h of that
 * version. */
struct exit_info {
    uint64_t mask;
    uint64_t cgroup_id;
    uint32_t ids[11];
    int32_t wait_status;
};
#define GET_EXIT_INFO _IOWR(0xFF, 11, struct exit_info)
#define EXIT_INFO_STATUS (UINT64_C(1) << 3)

static const struct {
    const char *name;
    int number;
} signals[] = {
    {"HUP", SIGHUP},       {"INT", SIGINT},   {"QUIT", SIGQUIT},   {"ILL", SIGILL},   {"TRAP", SIGTRAP},
    {"ABRT", SIGABRT},     {"BUS", SIGBUS},   {"FPE", SIGFPE},     {"KILL", SIGKILL}, {"USR1", SIGUSR1},
    {"SEGV", SIGSEGV},     {"USR2", SIGUSR2}, {"PIPE", SIGPIPE},   {"ALRM", SIGALRM}, {"TERM", SIGTERM},
    {"STKFLT", SIGSTKFLT}, {"CHLD", SIGCHLD}, {"CONT", SIGCONT},   {"STOP", SIGSTOP}, {"TSTP", SIGTSTP},
    {"TTIN", SIGTTIN},     {"TTOU", SIGTTOU}, {"URG", SIGURG},     {"XCPU", SIGXCPU}, {"XFSZ", SIGXFSZ},
    {"VTALRM", SIGVTALRM}, {"PROF", SIGPROF}, {"WINCH", SIGWINCH}, {"IO", SIGIO},     {"PWR", SIGPWR},
    {"SYS", SIGSYS},       {"IOT", SIGIOT},   {"CLD", SIGCHLD},    {"POLL", SIGPOLL},
};

enum {
    SIGNAL_COUNT = sizeof signals / sizeof *signals,
};

static bool next_signed(struct ctx_text *rest, int64_t *value)
{
    struct ctx_text word;

    return ctx_text_next(rest, ' ', &word) && ctx_text_signed(word, value);
}

/* Splits "PID (comm) ..." around the last parenthesis: the name itself may hold any. */
static bool split_comm(struct ctx_text text, struct ctx_text *comm, struct ctx_text *rest)
{
    const char *open = memchr(text.at, '(', ctx_text_size(text));
    const char *close = memrchr(text.at, ')', ctx_text_size(text));

    if (open == NULL || close == NULL || close < open || text.end - close < 2 || close[1] != ' ') {
        return false;
    }
    *comm = (struct ctx_text){open + 1, close};
    *rest = (struct ctx_text){close + 2, text.end};
    return true;
}

bool ctx_parse_stat(struct ctx_text text, struct ctx_stat *stat)
{
    enum {
        AFTER_FLAGS = 10,
        START_TIME = 22,
    };
    struct ctx_text rest;
    struct ctx_text word;
    int64_t terminal_group;

    if (text.at == text.end || !split_comm(text, &stat->comm, &rest)) {
        return false;
    }
    if (!ctx_text_next(&rest, ' ', &word) || ctx_text_size(word) != 1) {
        return false;
    }
    stat->state = *word.at;
    if (!next_signed(&rest, &stat->ppid) || !next_signed(&rest, &stat->pgrp) ||
        !next_signed(&rest, &stat->session) || !next_signed(&rest, &stat->tty) ||
        !next_signed(&rest, &terminal_group) || !ctx_text_next(&rest, ' ', &word) ||
        !ctx_text_number(word, DECIMAL, &stat->flags)) {
        return false;
    }
    for (int field = AFTER_FLAGS; field <= START_TIME; field++) {
        if (!ctx_text_next(&rest, ' ', &word)) {
            return false;
        }
    }
    /* A number that the end of the buffer may have cut is no number. */
    return rest.at != rest.end && ctx_text_number(word, DECIMAL, &stat->start_time);
}

bool ctx_parse_fdinfo(struct ctx_text text, int64_t *pid)
{
    static const char key[] = "Pid:\t";
    struct ctx_text line;

    while (ctx_text_next(&text, '\n', &line)) {
        if (ctx_text_starts(line, key)) {
            line.at += sizeof key - 1;
            return ctx_text_signed(line, pid);
        }
    }
    return false;
}

/***
Opens a process. Whoever knows the process by its pid must then compare its start time.
@function open
@int pid
@treturn[1] fd the pidfd
@return[2] nil
@treturn[2] string error message
@treturn[2] int errno: ESRCH when there is none
@see pidfd_open(2)
*/
static int pidfd_open_pid(lua_State *L)
{
    pid_t pid = ctx_check_pid(L, 1);
    int *fd = ctx_new_fd(L);

    if (pid < 0) {
        return ctx_error(L, ESRCH, "pidfd_open");
    }
    *fd = (int)syscall(SYS_pidfd_open, pid, 0);
    return *fd < 0 ? ctx_error(L, errno, "pidfd_open %d", (int)pid) : 1;
}

/***
Sends a signal.
@function send_signal
@tparam int|fd fd the pidfd
@int signal its number; 0 only checks
@treturn[1] bool true
@return[2] nil
@treturn[2] string error message
@treturn[2] int errno: ESRCH when the process is gone, EPERM when it may not be signalled
@see pidfd_send_signal(2)
*/
static int pidfd_send_signal_number(lua_State *L)
{
    int fd = ctx_check_fd(L, 1);
    lua_Integer number = luaL_checkinteger(L, 2);

    luaL_argcheck(L, number >= 0 && number <= SIGRTMAX, 2, "signal out of range");
    if (syscall(SYS_pidfd_send_signal, fd, (int)number, NULL, 0) < 0) {
        return ctx_error(L, errno, "send signal %d", (int)number);
    }
    return ctx_ok(L);
}

static void push_result(lua_State *L, const char *reason, int status)
{
    lua_createtable(L, 0, 5);
    lua_pushstring(L, reason);
    lua_setfield(L, -2, "reason");
    lua_pushinteger(L, status);
    lua_setfield(L, -2, "status");
}

static lua_Number seconds(struct timeval time)
{
    return (lua_Number)time.tv_sec + (lua_Number)time.tv_usec * MICROSECOND;
}

static void push_waited(lua_State *L, const siginfo_t *info, const struct rusage *usage)
{
    const char *reason = "exited";

    if (info->si_code == CLD_KILLED) {
        reason = "killed";
    } else if (info->si_code == CLD_DUMPED) {
        reason = "dumped";
    }
    push_result(L, reason, info->si_status);
    lua_pushnumber(L, seconds(usage->ru_utime));
    lua_setfield(L, -2, "utime");
    lua_pushnumber(L, seconds(usage->ru_stime));
    lua_setfield(L, -2, "stime");
    lua_pushinteger(L, usage->ru_maxrss);
    lua_setfield(L, -2, "maxrss");
}

/* The status of a child that the host program has already reaped, where the kernel still knows it. */
static bool push_reaped(lua_State *L, int fd)
{
    struct exit_info info = {.mask = EXIT_INFO_STATUS};

    if (ioctl(fd, GET_EXIT_INFO, &info) < 0 || !(info.mask & EXIT_INFO_STATUS)) {
        return false;
    }
    if (WIFEXITED(info.wait_status)) {
        push_result(L, "exited", WEXITSTATUS(info.wait_status));
    } else {
        push_result(L, WCOREDUMP(info.wait_status) ? "dumped" : "killed", WTERMSIG(info.wait_status));
    }
    return true;
}

static int wait_options(lua_State *L, int arg)
{
    int options = WEXITED | __WALL;

    if (!lua_isnoneornil(L, arg)) {
        luaL_checktype(L, arg, LUA_TTABLE);
        lua_getfield(L, arg, "nohang");
        options |= lua_toboolean(L, -1) ? WNOHANG : 0;
        lua_pop(L, 1);
    }
    return options;
}

/***
Waits for a child to end and reaps it. EINTR is retried: who wants to be interrupted polls first.

When the host program has reaped the child already, Linux 6.15 and newer still tell its status, without the
figures of its resource usage.
@function wait
@tparam int|fd fd the child's pidfd
@tparam[opt] table options `nohang` (boolean): do not wait
@treturn[1] table `reason` ("exited", "killed" or "dumped"), `status` (the exit status, or the signal's
number), and unless reaped by another `utime` and `stime` (seconds), `maxrss` (KiB)
@treturn[2] bool false: still running, with `nohang`
@return[3] nil
@treturn[3] string error message
@treturn[3] int errno: ECHILD when it is not our child, or reaped already
@see waitid(2)
*/
static int pidfd_wait(lua_State *L)
{
    int fd = ctx_check_fd(L, 1);
    int options = wait_options(L, 2);
    siginfo_t info = {0};
    struct rusage usage;
    long result;

    do {
        /* The C library's waitid has no place for the usage. */
        result = syscall(SYS_waitid, ID_TYPE_PIDFD, fd, &info, options, &usage);
    } while (result < 0 && errno == EINTR);
    if (result < 0) {
        int error = errno;
        return error == ECHILD && push_reaped(L, fd) ? 1 : ctx_error(L, error, "wait");
    }
    if (info.si_pid == 0) {
        lua_pushboolean(L, 0);
    } else {
        push_waited(L, &info, &usage);
    }
    return 1;
}

/***
Takes a copy of another process's descriptor.
@function getfd
@tparam int|fd fd the pidfd
@int number the descriptor's number there
@treturn[1] fd
@return[2] nil
@treturn[2] string error message
@treturn[2] int errno
@see pidfd_getfd(2)
*/
static int pidfd_getfd_number(lua_State *L)
{
    int fd = ctx_check_fd(L, 1);
    lua_Integer number = luaL_checkinteger(L, 2);
    int *copy = ctx_new_fd(L);

    luaL_argcheck(L, number >= 0 && number <= INT_MAX, 2, "descriptor out of range");
    *copy = (int)syscall(SYS_pidfd_getfd, fd, (int)number, 0);
    return *copy < 0 ? ctx_error(L, errno, "pidfd_getfd %d", (int)number) : 1;
}

static bool field_is_true(lua_State *L, const char *name)
{
    bool set;

    lua_getfield(L, -1, name);
    set = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return set;
}

/* Fills the entry from the table on top of the stack. */
static void read_entry(lua_State *L, struct pollfd *entry)
{
    luaL_argcheck(L, lua_istable(L, -1), 1, "array of tables expected");
    lua_getfield(L, -1, "fd");
    entry->fd = ctx_to_fd(L, -1);
    luaL_argcheck(L, entry->fd >= 0, 1, "open descriptor expected in field 'fd'");
    lua_pop(L, 1);
    entry->events =
        (short)((field_is_true(L, "read") ? POLLIN : 0) | (field_is_true(L, "write") ? POLLOUT : 0));
}

static struct pollfd *read_entries(lua_State *L, size_t *count)
{
    struct pollfd *entries;

    luaL_checktype(L, 1, LUA_TTABLE);
    *count = lua_rawlen(L, 1);
    entries = lua_newuserdatauv(L, *count * sizeof *entries, 0);
    for (size_t i = 0; i < *count; i++) {
        lua_geti(L, 1, (lua_Integer)i + 1);
        read_entry(L, &entries[i]);
        lua_pop(L, 1);
    }
    return entries;
}

static void set_boolean(lua_State *L, const char *name, bool value)
{
    lua_pushboolean(L, value);
    lua_setfield(L, -2, name);
}

static void push_events(lua_State *L, const struct pollfd *entries, size_t count)
{
    lua_createtable(L, (int)count, 0);
    for (size_t i = 0; i < count; i++) {
        lua_createtable(L, 0, 4);
        set_boolean(L, "read", entries[i].revents & POLLIN);
        set_boolean(L, "write", entries[i].revents & POLLOUT);
        set_boolean(L, "hangup", entries[i].revents & POLLHUP);
        set_boolean(L, "error", entries[i].revents & (POLLERR | POLLNVAL));
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
}

/* Milliseconds, rounded up so that a caller who waits for a deadline does not spin before it; -1 for nil: no
 * limit. */
static int check_timeout(lua_State *L, int arg)
{
    lua_Number timeout;
    int whole;

    if (lua_isnoneornil(L, arg)) {
        return -1;
    }
    timeout = luaL_checknumber(L, arg);
    if (!(timeout > 0)) {
        return 0;
    }
    whole = timeout < INT_MAX ? (int)timeout : INT_MAX;
    return whole < timeout && whole < INT_MAX ? whole + 1 : whole;
}

/***
Waits until one of some descriptors is ready. A pidfd becomes readable when its process ends.
@function poll
@tparam table entries array of tables: `fd` (int or fd), `read` and `write` (booleans)
@number[opt] timeout milliseconds; none waits without limit, zero or less does not wait
@treturn[1] table array in the order given of tables of booleans: `read`, `write`, `hangup`, `error`
@treturn[2] bool false: the time is over
@return[3] nil
@treturn[3] string error message
@treturn[3] int errno: EINTR when a signal handler of the host program ran
@see poll(2)
*/
static int pidfd_poll(lua_State *L)
{
    int timeout = check_timeout(L, 2);
    size_t count;
    struct pollfd *entries = read_entries(L, &count);
    int ready = poll(entries, count, timeout);

    if (ready < 0) {
        return ctx_error(L, errno, "poll");
    }
    if (ready == 0) {
        lua_pushboolean(L, 0);
    } else {
        push_events(L, entries, count);
    }
    return 1;
}

/***
Says whether the process is running; a zombie is not.
@function alive
@tparam int|fd fd the pidfd
@treturn[1] bool
@return[2] nil
@treturn[2] string error message
@treturn[2] int errno
@see pidfd_open(2)
*/
static int pidfd_alive(lua_State *L)
{
    struct pollfd entry = {.fd = ctx_check_fd(L, 1), .events = POLLIN};
    int ready;

    do {
        ready = poll(&entry, 1, 0);
    } while (ready < 0 && errno == EINTR);
    if (ready < 0 || entry.revents & POLLNVAL) {
        return ctx_error(L, ready < 0 ? errno : EBADF, "poll pidfd %d", entry.fd);
    }
    lua_pushboolean(L, ready == 0);
    return 1;
}

static void set_integer(lua_State *L, const char *name, int64_t value)
{
    lua_pushinteger(L, value);
    lua_setfield(L, -2, name);
}

static void push_stat(lua_State *L, const struct ctx_stat *stat)
{
    lua_createtable(L, 0, 7);
    lua_pushlstring(L, &stat->state, 1);
    lua_setfield(L, -2, "state");
    lua_pushlstring(L, stat->comm.at, ctx_text_size(stat->comm));
    lua_setfield(L, -2, "comm");
    set_integer(L, "ppid", stat->ppid);
    set_integer(L, "pgrp", stat->pgrp);
    set_integer(L, "session", stat->session);
    set_integer(L, "tty", stat->tty);
    set_integer(L, "start_time", (int64_t)stat->start_time);
}

/***
What /proc/PID/stat says of a process.
@function stat
@int pid
@treturn[1] table `state` (one letter: "Z" is a zombie), `ppid`, `pgrp`, `session`, `tty` (device number),
  `start_time` (clock ticks after boot), `comm`
@return[2] nil
@treturn[2] string error message
@treturn[2] int errno: ESRCH when there is no such process
@see proc(5)
*/
static int pidfd_stat(lua_State *L)
{
    pid_t pid = ctx_check_pid(L, 1);
    char path[PROC_PATH_MAX];
    char data[STAT_MAX];
    struct ctx_stat stat;
    ssize_t size;

    (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    size = ctx_read_small(path, data, sizeof data);
    if (size < 0) {
        return ctx_error(L, errno == ENOENT ? ESRCH : errno, "process %d", (int)pid);
    }
    if (!ctx_parse_stat(ctx_text(data, (size_t)size), &stat)) {
        return ctx_error(L, EPROTO, "%s", path);
    }
    push_stat(L, &stat);
    return 1;
}

/***
The pid of a pidfd's process.
@function pid
@tparam int|fd fd the pidfd
@treturn[1] int
@return[2] nil
@treturn[2] string error message
@treturn[2] int errno: ESRCH when the process is gone or outside our pid namespace, EINVAL for no pidfd
@see pidfd_open(2)
*/
static int pidfd_pid(lua_State *L)
{
    int fd = ctx_check_fd(L, 1);
    char path[PROC_PATH_MAX];
    char data[FDINFO_MAX];
    int64_t pid;
    ssize_t size;

    (void)snprintf(path, sizeof path, "/proc/thread-self/fdinfo/%d", fd);
    size = ctx_read_small(path, data, sizeof data);
    if (size < 0) {
        return ctx_error(L, errno == ENOENT ? EBADF : errno, "pidfd %d", fd);
    }
    if (!ctx_parse_fdinfo(ctx_text(data, (size_t)size), &pid)) {
        return ctx_error(L, EINVAL, "pidfd %d", fd);
    }
    if (pid <= 0) {
        return ctx_error(L, ESRCH, "pidfd %d", fd);
    }
    lua_pushinteger(L, pid);
    return 1;
}

/***
The name of a signal.
@function signal_name
@int number
@treturn ?string as "TERM"; nil when the number has no name
@see signal(7)
*/
static int signal_name(lua_State *L)
{
    lua_Integer number = luaL_checkinteger(L, 1);

    for (size_t i = 0; i < SIGNAL_COUNT; i++) {
        if (signals[i].number == number) {
            lua_pushstring(L, signals[i].name);
            return 1;
        }
    }
    lua_pushnil(L);
    return 1;
}

/* The audit login uid of this thread; (uint32_t)-1 when there is none, or the kernel has no audit. */
static uint32_t login_uid(void)
{
    char data[LOGINUID_MAX];
    ssize_t size = ctx_read_small("/proc/thread-self/loginuid", data, sizeof data);
    uint64_t uid;

    if (size < 0 || !ctx_text_number(ctx_text(data, (size_t)size), DECIMAL, &uid) || uid > UINT32_MAX) {
        return UINT32_MAX;
    }
    return (uint32_t)uid;
}

/***
Who this process is.
@function ids
@treturn table `pid`, `ppid` (0: outside our pid namespace), `uid`, `euid`, `gid`, `egid`, `session` (of
getsid(2)) and, where one is set, `login_uid`
@see credentials(7)
*/
static int own_ids(lua_State *L)
{
    uint32_t login = login_uid();

    lua_createtable(L, 0, 8);
    set_integer(L, "pid", getpid());
    set_integer(L, "ppid", getppid());
    set_integer(L, "uid", getuid());
    set_integer(L, "euid", geteuid());
    set_integer(L, "gid", getgid());
    set_integer(L, "egid", getegid());
    set_integer(L, "session", getsid(0));
    if (login != UINT32_MAX) {
        set_integer(L, "login_uid", login);
    }
    return 1;
}

/***
The monotonic clock, for deadlines.
@function clock
@treturn number seconds since an unspecified moment
@see clock_gettime(2)
*/
static int monotonic_clock(lua_State *L)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    lua_pushnumber(L, (lua_Number)now.tv_sec + (lua_Number)now.tv_nsec * NANOSECOND);
    return 1;
}

/***
The release of the running kernel.
@function kernel
@treturn string as "6.1.0-18-amd64"
@see uname(2)
*/
static int kernel_release(lua_State *L)
{
    struct utsname names;

    uname(&names);
    lua_pushstring(L, names.release);
    return 1;
}

/***
Signal numbers by name, as `signals.TERM`: the standard ones, RTMIN and RTMAX.
@table signals
@see signal(7)
*/
static void push_signals(lua_State *L)
{
    lua_createtable(L, 0, SIGNAL_COUNT + 2);
    for (size_t i = 0; i < SIGNAL_COUNT; i++) {
        set_integer(L, signals[i].name, signals[i].number);
    }
    set_integer(L, "RTMIN", SIGRTMIN);
    set_integer(L, "RTMAX", SIGRTMAX);
}

int ctx_open_pidfd(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"open", pidfd_open_pid},
        {"send_signal", pidfd_send_signal_number},
        {"wait", pidfd_wait},
        {"getfd", pidfd_getfd_number},
        {"poll", pidfd_poll},
        {"alive", pidfd_alive},
        {"stat", pidfd_stat},
        {"pid", pidfd_pid},
        {"signal_name", signal_name},
        {"ids", own_ids},
        {"clock", monotonic_clock},
        {"kernel", kernel_release},
        {NULL, NULL},
    };

    luaL_newlib(L, functions);
    push_signals(L);
    lua_setfield(L, -2, "signals");
    return 1;
}
