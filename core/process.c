/***
What /proc says of a process, and the ids of the calling process.

A pid may be another process's by the time that it is used: a caller that needs to be sure opens a pidfd
first.

@module ctrexec.core.process
@see proc(5)
*/
#include "process.h"
#include "core.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    PROC_PATH_MAX = 64,
    DECIMAL = 10,
    /* comm (64 bytes at most) and the 21 numbers that follow it. */
    STAT_MAX = 1024,
    LOGINUID_MAX = 16,
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

    if (text.at == text.end || !split_comm(text, &stat->comm, &rest)) {
        return false;
    }
    struct ctx_text word;
    if (!ctx_text_next(&rest, ' ', &word) || ctx_text_size(word) != 1) {
        return false;
    }
    stat->state = *word.at;
    int64_t terminal_group = 0;
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
    /* A number at the end of the buffer may have been cut short, so it is refused. */
    return rest.at != rest.end && ctx_text_number(word, DECIMAL, &stat->start_time);
}

static void push_stat(lua_State *L, const struct ctx_stat *stat)
{
    lua_createtable(L, 0, 7);
    lua_pushlstring(L, &stat->state, 1);
    lua_setfield(L, -2, "state");
    lua_pushlstring(L, stat->comm.at, ctx_text_size(stat->comm));
    lua_setfield(L, -2, "comm");
    ctx_set_integer(L, "ppid", stat->ppid);
    ctx_set_integer(L, "pgrp", stat->pgrp);
    ctx_set_integer(L, "session", stat->session);
    ctx_set_integer(L, "tty", stat->tty);
    ctx_set_integer(L, "start_time", (int64_t)stat->start_time);
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
static int process_stat(lua_State *L)
{
    pid_t pid = ctx_check_pid(L, 1);
    char path[PROC_PATH_MAX];
    (void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    char data[STAT_MAX];
    ssize_t size = ctx_read_small(path, data, sizeof(data));
    if (size < 0) {
        return ctx_error(L, errno == ENOENT ? ESRCH : errno, "process %d", (int)pid);
    }
    struct ctx_stat stat;
    if (!ctx_parse_stat(ctx_text(data, (size_t)size), &stat)) {
        return ctx_error(L, EPROTO, "%s", path);
    }
    push_stat(L, &stat);
    return 1;
}

/* The audit login uid of this thread; (uint32_t)-1 when there is none, or the kernel has no audit. */
static uint32_t login_uid(void)
{
    char data[LOGINUID_MAX];
    ssize_t size = ctx_read_small("/proc/thread-self/loginuid", data, sizeof(data));
    uint64_t uid = 0;
    if (size < 0 || !ctx_text_number(ctx_text(data, (size_t)size), DECIMAL, &uid) || uid > UINT32_MAX) {
        return UINT32_MAX;
    }
    return (uint32_t)uid;
}

/***
The ids of the calling process.
@function ids
@treturn table `pid`, `ppid` (0: outside the caller's pid namespace), `uid`, `euid`, `gid`, `egid`, `session`
(of getsid(2)) and, where one is set, `login_uid`
@see credentials(7)
*/
static int process_ids(lua_State *L)
{
    uint32_t login = login_uid();
    lua_createtable(L, 0, 8);
    ctx_set_integer(L, "pid", getpid());
    ctx_set_integer(L, "ppid", getppid());
    ctx_set_integer(L, "uid", getuid());
    ctx_set_integer(L, "euid", geteuid());
    ctx_set_integer(L, "gid", getgid());
    ctx_set_integer(L, "egid", getegid());
    ctx_set_integer(L, "session", getsid(0));
    if (login != UINT32_MAX) {
        ctx_set_integer(L, "login_uid", login);
    }
    return 1;
}

int ctx_open_process(lua_State *L)
{
    static const luaL_Reg functions[] = {{"stat", process_stat}, {"ids", process_ids}, {NULL, NULL}};
    luaL_newlib(L, functions);
    return 1;
}
