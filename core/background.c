/***
Background processes: a process that goes on when the program that started it has ended, and that has a few
descriptors and nothing else of that program.

It is forked twice, and the process in between exits: the nearest subreaper or init reaps the background
process, and the program has no child to wait for. It has a session of its own, /dev/null for stdio, default
signal actions, / as working directory, and runs a chunk in a fresh Lua state, so no finalizer and no hook of
the starter's state ever runs in it. The process is not dumpable, so no other process can read what is left of
the starter's memory in it.
@module ctrexec.core.background
*/
#include "core.h"
#include "fork.h"
#include "value.h"

#include <errno.h>
#include <fcntl.h>
#include <lualib.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

struct work {
    const char *chunk;
    size_t chunk_length;
    const char *argument;
    size_t argument_length;
    int pipe; /* to the starter */
};

/* Tells the starter an errno, 0 when the chunk can do what it was started for. If the process ends without a
 * report, the starter reads the end of the pipe. */
static void report(int pipe, int error)
{
    unsigned char byte = (unsigned char)error;
    (void)ctx_write(pipe, &byte, 1);
    (void)close(pipe);
}

static int ready(lua_State *L)
{
    report((int)lua_tointeger(L, lua_upvalueindex(1)), 0);
    return 0;
}

/* Runs protected: chunk(argument, ready), with the standard libraries and the core module at hand. */
static int run_chunk(lua_State *L)
{
    const struct work *work = lua_touserdata(L, 1);
    luaL_openlibs(L);
    luaL_requiref(L, "ctrexec.core", luaopen_ctrexec_core, 0);
    if (luaL_loadbufferx(L, work->chunk, work->chunk_length, "=background", "bt") != LUA_OK ||
        ctx_unpack(L, work->argument, work->argument_length) != 1) {
        return lua_error(L);
    }
    lua_pushinteger(L, work->pipe);
    lua_pushcclosure(L, ready, 1);
    lua_call(L, 2, 0);
    return 0;
}

static void run_background(const struct work *work)
{
    lua_State *state = luaL_newstate();
    if (!state) {
        _exit(EXIT_FAILURE);
    }
    lua_pushcfunction(state, run_chunk);
    lua_pushlightuserdata(state, (void *)work);
    _exit(lua_pcall(state, 1, 0, 0) == LUA_OK ? EXIT_SUCCESS : EXIT_FAILURE);
}

/* Forks the background process. This process exits afterwards, so the nearest subreaper or init reaps its
 * child. */
static void fork_again(void *argument)
{
    const struct work *work = argument;
    (void)setsid();
    const pid_t pid = fork();
    if (pid == 0) {
        run_background(work);
    }
    if (pid < 0) {
        report(work->pipe, errno);
    }
}

/* Returns the errno that the process reports, ECANCELED if it ended without a report. */
static int read_report(int pipe)
{
    unsigned char byte = 0;
    ssize_t got = ctx_read(pipe, &byte, 1);
    if (got < 0) {
        return errno;
    }
    return got == 0 ? ECANCELED : byte;
}

/* Returns 0 or an errno. */
static int start_background(struct work *work, struct ctx_clean_process *process)
{
    int error = 0;
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0) {
        return errno;
    }
    work->pipe = CTX_KEPT_FD + (int)process->fd_count;
    process->fds[process->fd_count++] = ends[1];
    const pid_t pid = ctx_fork_clean(process);
    if (pid < 0) {
        error = errno;
    }
    /* Where the program ignores SIGCHLD there is no child to wait for: the kernel reaps it. */
    while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
    }
    (void)close(ends[1]);
    if (error == 0) {
        error = read_report(ends[0]);
    }
    (void)close(ends[0]);
    return error;
}

/***
Starts a process in the background and returns when it is ready.
@function start
@tparam string chunk Lua source or binary chunk, called with the argument and a function that it calls once
it is ready; `require "ctrexec.core"` is at hand
@param argument a plain value (`ctrexec.core.value.pack`)
@tparam int|fd ... what the process keeps, as descriptors 3, 4 and 5: three at most
@treturn[1] bool true
@return[2] nil
@treturn[2] string error message
@treturn[2] int errno, or none when the argument cannot be packed
@see fork(2)
*/
static int background_start(lua_State *L)
{
    struct work work;
    struct ctx_clean_process process = {.name = "ctrexec-watch", .run = fork_again, .argument = &work};
    int top = lua_gettop(L);
    luaL_argcheck(L, top < 2 + CTX_KEPT_MAX, top, "too many descriptors");
    for (int arg = 3; arg <= top; arg++) {
        process.fds[process.fd_count++] = ctx_check_fd(L, arg);
    }
    work.chunk = luaL_checklstring(L, 1, &work.chunk_length);
    if (ctx_pack(L, 2) != 1) {
        return 2;
    }
    work.argument = lua_tolstring(L, -1, &work.argument_length);
    int error = start_background(&work, &process);
    return error == 0 ? ctx_ok(L) : ctx_error(L, error, "start a process in the background");
}

int ctx_open_background(lua_State *L)
{
    static const luaL_Reg functions[] = {{"start", background_start}, {NULL, NULL}};
    luaL_newlib(L, functions);
    return 1;
}
