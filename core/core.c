/***
The core module: what a Lua program cannot do without C, and nothing that decides anything.

It is a table of tables, one a kernel primitive: `core.fd`, `core.pidfd` and so on. A call that fails returns
nil, a message and the errno; a wrong argument raises an error. `core.VERSION` is ctrexec's version, as
"0.1.0".

@module ctrexec.core
*/
#include "core.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
    MESSAGE_MAX = PATH_MAX + 256,
    OPENAT2_ATTEMPTS = 128,
    FIRST_CHUNK = 8192,
};

int ctx_error(lua_State *L, int error, const char *what, ...)
{
    char message[MESSAGE_MAX];
    char reason[128];
    va_list arguments;

    va_start(arguments, what);
    (void)vsnprintf(message, sizeof message, what, arguments);
    va_end(arguments);
    lua_pushnil(L);
    lua_pushfstring(L, "%s: %s", message, strerror_r(error, reason, sizeof reason));
    lua_pushinteger(L, error);
    return 3;
}

int ctx_ok(lua_State *L)
{
    lua_pushboolean(L, 1);
    return 1;
}

const char *ctx_check_path(lua_State *L, int arg)
{
    size_t length;
    const char *path = luaL_checklstring(L, arg, &length);

    return strlen(path) == length ? path : "";
}

pid_t ctx_check_pid(lua_State *L, int arg)
{
    lua_Integer pid = luaL_checkinteger(L, arg);

    return pid > 0 && pid <= INT_MAX ? (pid_t)pid : -1;
}

int ctx_openat2(int dirfd, const char *path, int flags, mode_t mode, uint64_t resolve)
{
    struct open_how how = {
        .flags = (uint64_t)(unsigned int)flags | O_CLOEXEC,
        .mode = (flags & O_CREAT) ? mode : 0,
        .resolve = resolve,
    };

    for (int attempt = 0;; attempt++) {
        long fd = syscall(SYS_openat2, dirfd, path, &how, sizeof how);
        /* EPERM is how sandboxes refuse a call that is newer than they are. */
        if (fd < 0 && (errno == ENOSYS || errno == EPERM)) {
            return resolve == 0 ? openat(dirfd, path, (int)how.flags, mode)
                                : ctx_resolve(dirfd, path, flags, resolve);
        }
        if (fd >= 0 || (errno != EINTR && errno != EAGAIN) || attempt == OPENAT2_ATTEMPTS) {
            return (int)fd;
        }
    }
}

ssize_t ctx_read(int fd, void *data, size_t size)
{
    ssize_t count;

    do {
        count = read(fd, data, size);
    } while (count < 0 && errno == EINTR);
    return count;
}

/* Takes the SIGPIPE that our own write left pending, so that unblocking does not deliver it. */
static void discard_sigpipe(const sigset_t *pipe_set)
{
    const struct timespec now = {0};

    while (sigtimedwait(pipe_set, NULL, &now) < 0 && errno == EINTR) {
    }
}

ssize_t ctx_write(int fd, const void *data, size_t size)
{
    sigset_t pipe_set;
    sigset_t pending;
    sigset_t saved;
    ssize_t count;
    int error;

    sigemptyset(&pipe_set);
    sigaddset(&pipe_set, SIGPIPE);
    sigemptyset(&pending);
    pthread_sigmask(SIG_BLOCK, &pipe_set, &saved);
    if (sigismember(&saved, SIGPIPE)) {
        sigpending(&pending);
    }
    do {
        count = write(fd, data, size);
    } while (count < 0 && errno == EINTR);
    error = errno;
    if (count < 0 && error == EPIPE && !sigismember(&pending, SIGPIPE)) {
        discard_sigpipe(&pipe_set);
    }
    pthread_sigmask(SIG_SETMASK, &saved, NULL);
    errno = error;
    return count;
}

ssize_t ctx_read_small(const char *path, char *data, size_t size)
{
    size_t length = 0;
    ssize_t count = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    int error;

    if (fd < 0) {
        return -1;
    }
    while (length < size && (count = ctx_read(fd, data + length, size - length)) > 0) {
        length += (size_t)count;
    }
    error = errno;
    close(fd);
    errno = error;
    return count < 0 ? -1 : (ssize_t)length;
}

int ctx_push_contents(lua_State *L, int fd, size_t limit)
{
    luaL_Buffer contents;
    size_t length = 0;
    size_t chunk = FIRST_CHUNK;
    int error = 0;

    luaL_buffinit(L, &contents);
    for (;;) {
        /* One byte more than allowed shows that there is more than allowed. */
        size_t room = limit - length < chunk ? limit - length + 1 : chunk;
        ssize_t count = ctx_read(fd, luaL_prepbuffsize(&contents, room), room);
        if (count <= 0) {
            error = count < 0 ? errno : 0;
            break;
        }
        length += (size_t)count;
        luaL_addsize(&contents, (size_t)count);
        if (length > limit) {
            error = EFBIG;
            break;
        }
        chunk = length > chunk ? length : chunk;
    }
    luaL_pushresult(&contents);
    if (error != 0) {
        lua_pop(L, 1);
    }
    return error;
}

__attribute__((visibility("default"))) int luaopen_ctrexec_core(lua_State *L)
{
    static const luaL_Reg primitives[] = {
        {"errno", ctx_open_errno},
        {"fd", ctx_open_fd},
        {"file", ctx_open_file},
        {"namespace", ctx_open_namespace},
        {"pidfd", ctx_open_pidfd},
        {"cgroup", ctx_open_cgroup},
        {"capability", ctx_open_capability},
        {"fdpass", ctx_open_fdpass},
        {"terminal", ctx_open_terminal},
        {"recorder", ctx_open_recorder},
        {"relay", ctx_open_relay},
        {"background", ctx_open_background},
        {"precompiled", ctx_open_precompiled},
        {"sandbox", ctx_open_sandbox},
        {"datagram", ctx_open_datagram},
        {"mount", ctx_open_mount},
        {"program", ctx_open_program},
        {"spawn", ctx_open_spawn},
    };
    const size_t count = sizeof primitives / sizeof *primitives;

    lua_createtable(L, 0, (int)count + 1);
    lua_pushliteral(L, CTX_VERSION);
    lua_setfield(L, -2, "VERSION");
    for (size_t i = 0; i < count; i++) {
        primitives[i].func(L);
        lua_setfield(L, -2, primitives[i].name);
    }
    return 1;
}
