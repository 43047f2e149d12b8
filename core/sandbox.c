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
#include "core.h"

#include <errno.h>
#include <fcntl.h>
#include <lualib.h>
#include <math.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SANDBOX "ctrexec.sandbox"

enum { CHANNEL = CTX_KEPT_FD, SCRATCH_FD = 10, POLICY_UMASK = 077 };

/* The part of a unit's time that may be missing from it. */
static const double TIMER_SLACK = 0.01;

/* The one page both processes see: which unit the child is in when it is killed. */
struct progress {
    int unit;
};

struct sandbox {
    pid_t pid;   /* 0 when there is none */
    int pidfd;   /* of the child: its number may be another's once someone reaped it */
    pid_t owner; /* the process that started it: a forked copy of the parent must not kill it */
    int channel; /* -1 when closed */
    struct progress *progress;
};

/* The child's own state. */
struct budget {
    size_t used;
    size_t ceiling;
    size_t limit;
    size_t refused; /* what was asked for in vain; Lua collects garbage and may ask again */
    struct itimerval timer;
    double limit_seconds;
    double armed_at; /* when the timer was last set, 0 for not at all */
    struct progress *progress;
};

/* The length goes first, in one call with the bytes: each would wake the reader. */
static bool send_message(int channel, const char *bytes, size_t length)
{
    uint32_t size = (uint32_t)length;
    struct iovec parts[] = {{&size, sizeof(size)}, {NULL, length}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = sizeof(parts) / sizeof(*parts)};

    /* iov_base is not const, though sendmsg(2) only reads. */
    memcpy(&parts[1].iov_base, &bytes, sizeof(bytes));

    while (message.msg_iovlen > 0) {
        ssize_t sent = sendmsg(channel, &message, MSG_NOSIGNAL);

        if (sent < 0 && errno == EINTR) {
            continue;
        }
        if (sent < 0) {
            return false;
        }
        while (message.msg_iovlen > 0 && (size_t)sent >= message.msg_iov->iov_len) {
            sent -= (ssize_t)message.msg_iov->iov_len;
            message.msg_iov++;
            message.msg_iovlen--;
        }
        if (message.msg_iovlen > 0) {
            message.msg_iov->iov_base = (char *)message.msg_iov->iov_base + sent;
            message.msg_iov->iov_len -= (size_t)sent;
        }
    }
    return true;
}

/* False with errno 0 at the end of the stream. */
static bool receive_all(int channel, void *bytes, size_t length)
{
    char *next = bytes;

    while (length > 0) {
        ssize_t got = recv(channel, next, length, 0);

        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            errno = got == 0 ? 0 : errno;
            return false;
        }
        next += got;
        length -= (size_t)got;
    }
    return true;
}

/* Pushes the value received and returns true. */
static bool receive_message(lua_State *L, int channel)
{
    char room[CTX_PACKED_ROOM];
    uint32_t size;
    char *buffer;

    if (!receive_all(channel, &size, sizeof(size))) {
        return false;
    }
    if (size > CTX_PACKED_MAX) {
        errno = EMSGSIZE;
        return false;
    }
    buffer = size <= sizeof(room) ? room : lua_newuserdatauv(L, size, 0);
    if (!receive_all(channel, buffer, size)) {
        return false;
    }
    if (ctx_unpack(L, buffer, size) != 1) {
        errno = EBADMSG;
        return false;
    }
    return true;
}

/* ---- the child ---- */

static void *limited_alloc(void *data, void *block, size_t old_size, size_t new_size)
{
    struct budget *budget = data;
    size_t old = block ? old_size : 0;
    void *moved;

    if (new_size == 0) {
        free(block);
        budget->used -= old;
        return NULL;
    }
    if (new_size > old && budget->used - old + new_size > budget->ceiling) {
        budget->refused = new_size;
        return NULL;
    }
    moved = realloc(block, new_size);
    if (moved) {
        budget->used += new_size - old;
        budget->refused = new_size >= budget->refused ? 0 : budget->refused;
    }
    return moved;
}

static struct budget *budget_of(lua_State *L)
{
    return lua_touserdata(L, lua_upvalueindex(1));
}

static double monotonic_seconds(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* Units mostly take microseconds: a timer that runs since one just before is let run. */
static void start_timer(struct budget *budget)
{
    double now = monotonic_seconds();

    if (budget->armed_at > 0 && now - budget->armed_at < budget->limit_seconds * TIMER_SLACK) {
        return;
    }
    (void)setitimer(ITIMER_REAL, &budget->timer, NULL);
    budget->armed_at = now;
}

/***
In the child: the time and memory of a unit count from here; the time may be one percent shorter.

@function begin
@int unit the number by which the parent names what it was doing when it is killed
*/
static int child_begin(lua_State *L)
{
    struct budget *budget = budget_of(L);

    budget->progress->unit = (int)luaL_checkinteger(L, 1);
    budget->refused = 0;
    budget->ceiling = budget->used + budget->limit;
    start_timer(budget);
    return 0;
}

/***
In the child: the unit is over, and another may follow at once: the timer runs on until `rest`.

@function finish
@treturn bool whether it ran out of memory, also if it caught the error
*/
static int child_finish(lua_State *L)
{
    struct budget *budget = budget_of(L);

    budget->ceiling = SIZE_MAX;
    budget->progress->unit = 0;
    lua_pushboolean(L, budget->refused != 0);
    return 1;
}

/***
In the child: stops the timer, after the last unit of a job.

@function rest
*/
static int child_rest(lua_State *L)
{
    struct budget *budget = budget_of(L);
    struct itimerval off = {0};

    (void)setitimer(ITIMER_REAL, &off, NULL);
    budget->armed_at = 0;
    return 0;
}

/***
In the child: after `rest`, the unit goes on: its time counts from here, its memory as before.

@function resume
*/
static int child_resume(lua_State *L)
{
    start_timer(budget_of(L));
    return 0;
}

/***
In the child: sends a value to the parent. Ends the child when the parent is gone.

@function send
@param value nil, a boolean, number, string, or a table of such
@raise for a value that cannot be sent
*/
static int child_send(lua_State *L)
{
    char room[CTX_PACKED_ROOM];
    size_t length;
    const char *bytes;

    luaL_checkany(L, 1);
    lua_settop(L, 1);
    bytes = ctx_pack_into(L, 1, room, &length);
    if (!bytes) {
        return lua_error(L);
    }
    if (!send_message(CHANNEL, bytes, length)) {
        _exit(EXIT_SUCCESS);
    }
    return 0;
}

/***
In the child: waits for a value of the parent's. Ends the child when the parent is gone.

@function receive
@return the value
*/
static int child_receive(lua_State *L)
{
    if (!receive_message(L, CHANNEL)) {
        _exit(EXIT_SUCCESS);
    }
    return 1;
}

/***
A value as bytes.

@function pack
@param value nil, a boolean, number, string, or a table of such
@treturn[1] string
@treturn[2] nil
@treturn[2] string message: what cannot be packed
*/
static int sandbox_pack(lua_State *L)
{
    luaL_checkany(L, 1);
    return ctx_pack(L, 1);
}

/***
The value of bytes that `pack` made.

@function unpack
@string bytes
@return[1] the value
@treturn[2] nil
@treturn[2] string message: the bytes are not such
*/
static int sandbox_unpack(lua_State *L)
{
    size_t length;
    const char *bytes = luaL_checklstring(L, 1, &length);

    return ctx_unpack(L, bytes, length);
}

/***
In the child: whether a value is as it was when it was packed, and nothing is hidden in it.

@function untouched
@param value
@string bytes what `pack` made of it then
@treturn bool false also when some table in it has a metatable or occurs twice, and perhaps when it was
changed and changed back
*/
static int child_untouched(lua_State *L)
{
    size_t length;
    const char *bytes = luaL_checklstring(L, 2, &length);

    lua_pushboolean(L, ctx_untouched(L, 1, bytes, length));
    return 1;
}

struct job {
    const char *chunk;
    size_t chunk_length;
    const char *argument;
    size_t argument_length;
    struct budget *budget;
};

static const luaL_Reg CHILD_FUNCTIONS[] = {
    {"begin", child_begin},         {"finish", child_finish},
    {"rest", child_rest},           {"resume", child_resume},
    {"send", child_send},           {"receive", child_receive},
    {"pack", sandbox_pack},         {"unpack", sandbox_unpack},
    {"untouched", child_untouched}, {NULL, NULL},
};

/* What a policy is given: no package, for files are read by the parent, which checks them, and no debug. */
static void open_libraries(lua_State *L)
{
    static const luaL_Reg LIBRARIES[] = {
        {LUA_GNAME, luaopen_base},       {LUA_STRLIBNAME, luaopen_string}, {LUA_TABLIBNAME, luaopen_table},
        {LUA_MATHLIBNAME, luaopen_math}, {LUA_UTF8LIBNAME, luaopen_utf8},  {LUA_COLIBNAME, luaopen_coroutine},
        {LUA_IOLIBNAME, luaopen_io},     {LUA_OSLIBNAME, luaopen_os},      {NULL, NULL},
    };

    for (const luaL_Reg *library = LIBRARIES; library->func; library++) {
        luaL_requiref(L, library->name, library->func, 1);
        lua_pop(L, 1);
    }
}

/* Runs protected: chunk(argument, functions). The collector does not run by itself: the chunk collects when
 * nobody waits for it, and at the memory limit Lua does. */
static int child_main(lua_State *L)
{
    struct job *job = lua_touserdata(L, 1);

    (void)lua_gc(L, LUA_GCSTOP);
    open_libraries(L);
    if (luaL_loadbufferx(L, job->chunk, job->chunk_length, "=sandbox", "bt") != LUA_OK) {
        return lua_error(L);
    }
    if (ctx_unpack(L, job->argument, job->argument_length) != 1) {
        return lua_error(L);
    }
    lua_newtable(L);
    lua_pushlightuserdata(L, job->budget);
    luaL_setfuncs(L, CHILD_FUNCTIONS, 1);
    lua_call(L, 2, 0);
    return 0;
}

/* No pipe of the parent's user is held, and a program started by a policy gets no channel. */
bool ctx_keep_only(const int *fds, size_t count)
{
    int scratch[CTX_KEPT_MAX];
    int null;

    for (size_t i = 0; i < count; i++) {
        scratch[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, SCRATCH_FD);
    }
    null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int stream = STDIN_FILENO; stream <= STDERR_FILENO; stream++) {
        if (null < 0 || (null == stream ? fcntl(stream, F_SETFD, 0) : dup2(null, stream)) < 0) {
            return false;
        }
    }
    for (size_t i = 0; i < count; i++) {
        if (dup3(scratch[i], CTX_KEPT_FD + (int)i, O_CLOEXEC) < 0) {
            return false;
        }
    }
    return syscall(SYS_close_range, CTX_KEPT_FD + (unsigned)count, ~0U, 0U) == 0;
}

/* The parent's handlers are code for the parent's state. */
void ctx_reset_signals(void)
{
    struct sigaction action = {.sa_handler = SIG_DFL};
    sigset_t none;

    for (int number = 1; number < NSIG; number++) {
        (void)sigaction(number, &action, NULL);
    }
    (void)sigemptyset(&none);
    (void)pthread_sigmask(SIG_SETMASK, &none, NULL);
}

_Noreturn static void run_child(struct job *job, int channel)
{
    lua_State *state;

    ctx_reset_signals();
    (void)setpgid(0, 0);
    (void)prctl(PR_SET_DUMPABLE, 0);
    (void)prctl(PR_SET_NAME, "ctrexec-policy");
    (void)umask(POLICY_UMASK);
    if (!ctx_keep_only(&channel, 1) || chdir("/") != 0) {
        _exit(EXIT_FAILURE);
    }
    state = lua_newstate(limited_alloc, job->budget);
    if (!state) {
        _exit(EXIT_FAILURE);
    }
    lua_pushcfunction(state, child_main);
    lua_pushlightuserdata(state, job);
    /* No lua_close: a finalizer must not run once there is no timer. */
    _exit(lua_pcall(state, 1, 0, 0) == LUA_OK ? EXIT_SUCCESS : EXIT_FAILURE);
}

/* ---- the parent ---- */

static struct sandbox *check_sandbox(lua_State *L)
{
    return luaL_checkudata(L, 1, SANDBOX);
}

static int kill_child(const struct sandbox *sandbox)
{
    return (int)syscall(SYS_pidfd_send_signal, sandbox->pidfd, SIGKILL, NULL, 0U);
}

/* Reaps the child, after what it started has been killed: as long as it is a zombie no other process group
 * can have its number. Returns its wait status, or -1 if a handler of the program reaped it first. */
static int end_child(struct sandbox *sandbox)
{
    int status = -1;
    siginfo_t info;
    int got;

    do {
        got = waitid((idtype_t)P_PIDFD, (id_t)sandbox->pidfd, &info, WEXITED | WNOWAIT);
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
Has the process killed without waiting for that, which takes longer than killing it: `close` does later.
@function sandbox:stop
*/
static int sandbox_stop(lua_State *L)
{
    stop_sandbox(check_sandbox(L));
    return 0;
}

/* Pushes nil, a reason and the unit the child was in. */
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
@treturn[1] boolean true
@treturn[2] nil the value cannot be sent, or the process has ended (`receive` says how)
@treturn[2] string message
*/
static int sandbox_send(lua_State *L)
{
    struct sandbox *sandbox = check_sandbox(L);
    char room[CTX_PACKED_ROOM];
    size_t length;
    const char *bytes;

    luaL_checkany(L, 2);
    bytes = ctx_pack_into(L, 2, room, &length);
    if (!bytes) {
        return 2;
    }
    if (sandbox->channel < 0 || !send_message(sandbox->channel, bytes, length)) {
        return ctx_error(L, sandbox->channel < 0 ? EBADF : errno, "send to the sandbox");
    }
    return ctx_ok(L);
}

/***
Receives the next value that the process sends.
@function sandbox:receive
@return[1] the value
@treturn[2] nil the process has ended, or was ended because it did not answer
@treturn[2] string "timeout" (a unit took longer than its time), "killed by signal N", "its process ended",
"no answer" or "malformed answer"
@treturn[2] integer the unit it was in, 0 for none
*/
static int sandbox_receive(lua_State *L)
{
    struct sandbox *sandbox = check_sandbox(L);

    luaL_argcheck(L, sandbox->channel >= 0, 1, "closed sandbox");
    if (receive_message(L, sandbox->channel)) {
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

static struct timeval seconds(double value)
{
    double whole = floor(value);

    return (struct timeval){.tv_sec = (time_t)whole, .tv_usec = (suseconds_t)((value - whole) * 1e6)};
}

static double number_field(lua_State *L, const char *name, double low, double high)
{
    double value;

    lua_getfield(L, 1, name);
    value = luaL_checknumber(L, -1);
    luaL_argcheck(L, value >= low && value <= high, 1, name);
    lua_pop(L, 1);
    return value;
}

/* Fills the sandbox, whose userdata is already there to clean up after a failure. */
static int open_channel(struct sandbox *sandbox, double patience, int *child_end)
{
    struct timeval timeout = seconds(patience);
    int ends[2];
    void *page =
        mmap(NULL, sizeof(*sandbox->progress), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (page == MAP_FAILED) {
        return errno;
    }
    sandbox->progress = page;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
        return errno;
    }
    sandbox->channel = ends[0];
    *child_end = ends[1];
    /* The last resort, should the child's own timer not end it (it was stopped, say). */
    (void)setsockopt(ends[0], SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
    (void)setsockopt(ends[0], SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
    return 0;
}

/* Returns 0 or an errno. All signals are blocked until the child has put the parent's handlers aside. */
static int fork_child(struct sandbox *sandbox, struct job *job, int channel)
{
    sigset_t all;
    sigset_t before;
    pid_t pid;
    int error;

    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    pid = fork();
    error = errno;
    if (pid == 0) {
        run_child(job, channel);
    }
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (pid < 0) {
        return error;
    }
    sandbox->pid = pid;
    sandbox->pidfd = (int)syscall(SYS_pidfd_open, pid, 0U);
    if (sandbox->pidfd < 0) {
        error = errno;
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

The chunk is called with the argument and a table of functions: `receive()` and `send(value)`; `begin(unit)`
and `finish()`, between which the time and memory limits hold (setitimer(2); `finish` returns true if memory
ran out), `rest()` after the last of several such units, and `resume()` when one goes on; `pack(value)` and
`unpack(bytes)`; `untouched(value, bytes)`: whether a value is still as it was packed, and has no metatable
and no table twice in it. The process ends when the chunk returns or the channel is closed.
@function start
@tparam table options `chunk` (string: source or binary chunk), `argument` (a plain value), `time_limit`
(seconds, each unit), `memory_limit` (bytes, each unit), `patience` (seconds that `receive` waits at most)
@treturn[1] userdata the sandbox
@treturn[2] nil
@treturn[2] string message
@treturn[2] integer errno, or none when the argument cannot be packed
*/
static int sandbox_start(lua_State *L)
{
    struct budget budget = {.ceiling = SIZE_MAX};
    struct job job = {.budget = &budget};
    struct sandbox *sandbox;
    int child_end = -1;
    int error;

    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    budget.limit_seconds = number_field(L, "time_limit", 1e-3, 3600);
    budget.timer.it_value = seconds(budget.limit_seconds);
    budget.limit = (size_t)number_field(L, "memory_limit", 1024, 1e12);
    sandbox = new_sandbox(L);
    lua_getfield(L, 1, "chunk");
    job.chunk = luaL_checklstring(L, -1, &job.chunk_length);
    lua_getfield(L, 1, "argument");
    if (ctx_pack(L, -1) != 1) {
        return 2;
    }
    job.argument = lua_tolstring(L, -1, &job.argument_length);
    error = open_channel(sandbox, number_field(L, "patience", 1e-3, 86400), &child_end);
    if (error == 0) {
        budget.progress = sandbox->progress;
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
@treturn[1] integer pid
@treturn[2] nil it has ended
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

/***
Packs a plain value into bytes.
@function pack
@param value nil, a boolean, a number, a string or a table of such
@treturn[1] string the bytes; the same for a table that has not been changed in between
@treturn[2] nil
@treturn[2] string what cannot be packed, as `.args[1]: a function is not a plain value`
*/

/***
Unpacks what `pack` made. The bytes may be hostile.
@function unpack
@tparam string bytes
@return[1] the value
@treturn[2] nil
@treturn[2] string message
*/

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
        {"pack", sandbox_pack},
        {"unpack", sandbox_unpack},
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
