/***
A process of its own for code that may misbehave: a fresh Lua state with a memory limit, stopped by a timer.

Why a process. A policy may loop for ever with no Lua instruction executed (`("a"):rep(1e5):find(...)`
backtracks in C, `io.read` blocks, `table.move` counts to 2^63), and a debug hook fires only between Lua
instructions, may be caught by pcall, and is set per coroutine; nothing inside a process can stop such a call
and go on. So: one fork for a whole chain of policies, not one for each (a fork costs about 0.1 ms, a state
0.07 ms), made early, so that the child compiles the policies while the parent reads the container's state.
The kernel's interval timer ends it, whether or not the parent still exists, and whatever it changed (globals,
locale, working directory) is gone with it.

The parent keeps its stdio, its children and its signal handlers to itself: the child has /dev/null for stdio,
none of the parent's descriptors and default signal actions.
@module ctrexec.core.sandbox
*/
#include "sandbox.h"
#include "channel.h"
#include "core.h"
#include "fork.h"
#include "pidfd.h"
#include "value.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SANDBOX "ctrexec.sandbox"

struct sandbox {
    pid_t pid;   /* 0 when there is none */
    int pidfd;   /* of the child: its pid may be another process's once the child was reaped */
    pid_t owner; /* the process that started it: a forked copy of the parent must not kill it */
    int channel; /* -1 when closed */
    struct ctx_sandbox_progress *progress;
};

static struct sandbox *check_sandbox(lua_State *L)
{
    return luaL_checkudata(L, 1, SANDBOX);
}

static int kill_child(const struct sandbox *sandbox)
{
    return (int)syscall(SYS_pidfd_send_signal, sandbox->pidfd, SIGKILL, NULL, 0U);
}

/* Kills what the child has started, then reaps the child: as long as the child is a zombie, no other process
 * group can have its number. Returns its wait status, or -1 if a handler of the program reaped it first. */
static int end_child(struct sandbox *sandbox)
{
    int status = -1;
    siginfo_t info;
    int got = 0;
    do {
        got = waitid(P_PIDFD, (id_t)sandbox->pidfd, &info, WEXITED | WNOWAIT);
    } while (got < 0 && errno == EINTR);
    if (got == 0) {
        (void)kill(-sandbox->pid, SIGKILL);
        (void)waitpid(sandbox->pid, &status, 0);
    }
    (void)close(sandbox->pidfd);
    sandbox->pidfd = -1;
    sandbox->pid = 0;
    return status;
}

static void stop_sandbox(struct sandbox *sandbox)
{
    if (sandbox->channel >= 0) {
        (void)close(sandbox->channel);
        sandbox->channel = -1;
    }
    if (sandbox->pid > 0 && sandbox->owner == getpid()) {
        (void)kill_child(sandbox);
    }
}

static void close_sandbox(struct sandbox *sandbox)
{
    stop_sandbox(sandbox);
    if (sandbox->pid > 0 && sandbox->owner == getpid()) {
        (void)end_child(sandbox);
    }
    if (sandbox->progress) {
        (void)munmap(sandbox->progress, sizeof(*sandbox->progress));
        sandbox->progress = NULL;
    }
}

/***
Ends the process. Also what `__gc` and `__close` do.
@function sandbox:close
*/
static int sandbox_close(lua_State *L)
{
    close_sandbox(check_sandbox(L));
    return 0;
}

/***
Kills the process without waiting for its end, which takes longer than the killing; `close` waits later.
@function sandbox:stop
*/
static int sandbox_stop(lua_State *L)
{
    stop_sandbox(check_sandbox(L));
    return 0;
}

/* Pushes nil, a reason, and the unit that the child was running. */
static int push_death(lua_State *L, struct sandbox *sandbox, const char *reason)
{
    int unit = sandbox->progress->unit;
    lua_pushnil(L);
    if (reason) {
        (void)kill_child(sandbox);
        (void)end_child(sandbox);
        lua_pushstring(L, reason);
    } else {
        int status = end_child(sandbox);
        if (status != -1 && WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM) {
            lua_pushliteral(L, "timeout");
        } else if (status != -1 && WIFSIGNALED(status)) {
            lua_pushfstring(L, "killed by signal %d", WTERMSIG(status));
        } else {
            lua_pushliteral(L, "its process ended");
        }
    }
    lua_pushinteger(L, unit);
    close_sandbox(sandbox);
    return 3;
}

/***
Sends a value to the process.
@function sandbox:send
@param value nil, a boolean, a number, a string or a table of such
@treturn[1] bool true
@return[2] nil the value cannot be sent, or the process has ended (`receive` says how)
@treturn[2] string error message
*/
static int sandbox_send(lua_State *L)
{
    struct sandbox *sandbox = check_sandbox(L);
    luaL_checkany(L, 2);
    char room[CTX_PACKED_ROOM];
    size_t length = 0;
    const char *bytes = ctx_pack_into(L, 2, room, &length);
    if (!bytes) {
        return 2;
    }
    if (sandbox->channel < 0 || !ctx_send_packed(sandbox->channel, bytes, length)) {
        return ctx_error(L, sandbox->channel < 0 ? EBADF : errno, "send to the sandbox");
    }
    return ctx_ok(L);
}

/***
Receives the next value that the process sends.
@function sandbox:receive
@return[1] the value
@return[2] nil the process has ended, or was ended because it did not answer
@treturn[2] string "timeout" (a unit took longer than its time), "killed by signal N", "its process ended",
"no answer" or "malformed answer"
@treturn[2] int the unit that the process was running, 0 for none
*/
static int sandbox_receive(lua_State *L)
{
    struct sandbox *sandbox = check_sandbox(L);
    luaL_argcheck(L, sandbox->channel >= 0, 1, "closed sandbox");
    if (ctx_receive_packed(L, sandbox->channel)) {
        return 1;
    }
    switch (errno) {
    case 0:
    case ECONNRESET:
        return push_death(L, sandbox, NULL);
    case EAGAIN:
        return push_death(L, sandbox, "no answer");
    default:
        return push_death(L, sandbox, "malformed answer");
    }
}

struct timeval ctx_timeval(double seconds)
{
    const double whole = floor(seconds);
    return (struct timeval){.tv_sec = (time_t)whole, .tv_usec = (suseconds_t)((seconds - whole) * 1e6)};
}

static double number_field(lua_State *L, const char *name, double low, double high)
{
    lua_getfield(L, 1, name);
    double value = luaL_checknumber(L, -1);
    luaL_argcheck(L, value >= low && value <= high, 1, name);
    lua_pop(L, 1);
    return value;
}

/* Makes the shared page and the channel. The sandbox's userdata exists already and owns them after a
 * failure. */
static int open_channel(struct sandbox *sandbox, double patience, int *child_end)
{
    struct timeval timeout = ctx_timeval(patience);
    void *page =
        mmap(NULL, sizeof(*sandbox->progress), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) {
        return errno;
    }
    sandbox->progress = page;
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
        return errno;
    }
    sandbox->channel = ends[0];
    *child_end = ends[1];
    /* A last resort in case the child's own timer does not end the child, which may be stopped, for
     * example. */
    (void)setsockopt(ends[0], SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
    (void)setsockopt(ends[0], SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
    return 0;
}

/* Returns 0 or an errno. */
static int fork_child(struct sandbox *sandbox, struct ctx_sandbox_job *job, int channel)
{
    const struct ctx_clean_process process = {
        .name = "ctrexec-policy", .fds = {channel}, .fd_count = 1, .run = ctx_run_sandbox, .argument = job};
    const pid_t pid = ctx_fork_clean(&process);
    if (pid < 0) {
        return errno;
    }
    sandbox->pid = pid;
    sandbox->pidfd = (int)syscall(SYS_pidfd_open, pid, 0U);
    if (sandbox->pidfd < 0) {
        const int error = errno;
        (void)kill(pid, SIGKILL);
        (void)waitpid(pid, NULL, 0);
        sandbox->pid = 0;
        return error;
    }
    return 0;
}

static struct sandbox *new_sandbox(lua_State *L)
{
    struct sandbox *sandbox = lua_newuserdatauv(L, sizeof(*sandbox), 0);
    *sandbox = (struct sandbox){.channel = -1, .pidfd = -1, .owner = getpid()};
    luaL_setmetatable(L, SANDBOX);
    return sandbox;
}

/***
Starts a process that runs a chunk of Lua in a fresh state with the standard libraries.

The chunk is called with the argument and the functions of `ctrexec.core.sandbox.child`. Between `begin` and
`finish` the limits hold. The process ends when the chunk returns or the channel is closed.
@function start
@tparam table options `chunk` (string: source or binary chunk), `argument` (a plain value), `time_limit`
(seconds, each unit), `memory_limit` (bytes, each unit), `patience` (seconds that `receive` waits at most)
@treturn[1] userdata the sandbox
@return[2] nil
@treturn[2] string error message
@treturn[2] int errno, or none when the argument cannot be packed
*/
static int sandbox_start(lua_State *L)
{
    int child_end = -1;
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    struct ctx_sandbox_job job;
    job.time_limit = number_field(L, "time_limit", 1e-3, 3600);
    job.memory_limit = (size_t)number_field(L, "memory_limit", 1024, 1e12);
    struct sandbox *sandbox = new_sandbox(L);
    lua_getfield(L, 1, "chunk");
    job.chunk = luaL_checklstring(L, -1, &job.chunk_length);
    lua_getfield(L, 1, "argument");
    if (ctx_pack(L, -1) != 1) {
        return 2;
    }
    job.argument = lua_tolstring(L, -1, &job.argument_length);
    int error = open_channel(sandbox, number_field(L, "patience", 1e-3, 86400), &child_end);
    if (error == 0) {
        job.progress = sandbox->progress;
        error = fork_child(sandbox, &job, child_end);
        (void)close(child_end);
    }
    if (error != 0) {
        close_sandbox(sandbox);
        return ctx_error(L, error, "start a sandbox");
    }
    lua_pushvalue(L, 2);
    return 1;
}

/***
The process's id, for tests and messages.
@function sandbox:pid
@treturn[1] int pid
@return[2] nil it has ended
*/
static int sandbox_pid(lua_State *L)
{
    struct sandbox *sandbox = check_sandbox(L);
    if (sandbox->pid > 0) {
        lua_pushinteger(L, sandbox->pid);
    } else {
        lua_pushnil(L);
    }
    return 1;
}

int ctx_open_sandbox(lua_State *L)
{
    static const luaL_Reg METHODS[] = {
        {"send", sandbox_send},   {"receive", sandbox_receive}, {"stop", sandbox_stop},
        {"close", sandbox_close}, {"pid", sandbox_pid},         {NULL, NULL},
    };
    static const luaL_Reg METAMETHODS[] = {
        {"__gc", sandbox_close},
        {"__close", sandbox_close},
        {NULL, NULL},
    };
    static const luaL_Reg FUNCTIONS[] = {
        {"start", sandbox_start},
        {NULL, NULL},
    };
    luaL_newmetatable(L, SANDBOX);
    luaL_setfuncs(L, METAMETHODS, 0);
    luaL_newlib(L, METHODS);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
    luaL_newlib(L, FUNCTIONS);
    return 1;
}
