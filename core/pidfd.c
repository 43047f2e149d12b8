/***
Processes by pidfd, which names one process for ever.

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
#include <unistd.h>

enum {
    PROC_PATH_MAX = 64,
    FDINFO_MAX = 1024,
};

#define MICROSECOND 1e-6

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

bool ctx_parse_fdinfo(struct ctx_text text, int64_t *pid)
{
    static const char key[] = "Pid:\t";
    struct ctx_text line;
    while (ctx_text_next(&text, '\n', &line)) {
        if (ctx_text_starts(line, key)) {
            line.at += sizeof(key) - 1;
            return ctx_text_signed(line, pid);
        }
    }
    return false;
}

/***
Opens a process. A caller that knows the process by its pid must then compare its start time.
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
Waits for a child to end and reaps it. EINTR is retried: a caller that wants to be interrupted polls first.

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
@treturn[3] int errno: ECHILD when it is no child of the caller, or reaped already
@see waitid(2)
*/
static int pidfd_wait(lua_State *L)
{
    int fd = ctx_check_fd(L, 1);
    int options = wait_options(L, 2);
    siginfo_t info = {0};
    struct rusage usage;
    long result = 0;
    do {
        /* The C library's waitid(2) does not return the usage. */
        result = syscall(SYS_waitid, P_PIDFD, fd, &info, options, &usage);
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
    int ready = 0;
    do {
        ready = poll(&entry, 1, 0);
    } while (ready < 0 && errno == EINTR);
    if (ready < 0 || entry.revents & POLLNVAL) {
        return ctx_error(L, ready < 0 ? errno : EBADF, "poll pidfd %d", entry.fd);
    }
    lua_pushboolean(L, ready == 0);
    return 1;
}

/***
The pid of a pidfd's process.
@function pid
@tparam int|fd fd the pidfd
@treturn[1] int
@return[2] nil
@treturn[2] string error message
@treturn[2] int errno: ESRCH when the process is gone or outside the caller's pid namespace, EINVAL for no
pidfd
@see pidfd_open(2)
*/
static int pidfd_pid(lua_State *L)
{
    int fd = ctx_check_fd(L, 1);
    char path[PROC_PATH_MAX];
    (void)snprintf(path, sizeof(path), "/proc/thread-self/fdinfo/%d", fd);
    char data[FDINFO_MAX];
    ssize_t size = ctx_read_small(path, data, sizeof(data));
    if (size < 0) {
        return ctx_error(L, errno == ENOENT ? EBADF : errno, "pidfd %d", fd);
    }
    int64_t pid = 0;
    if (!ctx_parse_fdinfo(ctx_text(data, (size_t)size), &pid)) {
        return ctx_error(L, EINVAL, "pidfd %d", fd);
    }
    if (pid <= 0) {
        return ctx_error(L, ESRCH, "pidfd %d", fd);
    }
    lua_pushinteger(L, pid);
    return 1;
}

int ctx_open_pidfd(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"open", pidfd_open_pid},
        {"send_signal", pidfd_send_signal_number},
        {"wait", pidfd_wait},
        {"getfd", pidfd_getfd_number},
        {"alive", pidfd_alive},
        {"pid", pidfd_pid},
        {NULL, NULL},
    };
    luaL_newlib(L, functions);
    return 1;
}
