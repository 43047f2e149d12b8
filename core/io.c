/* Opening, reading and writing as every binding needs it: not interrupted, without SIGPIPE, and with
 * close-on-exec descriptors, which a program that is started meanwhile does not get. */
#include "core.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
    OPENAT2_ATTEMPTS = 128,
    FIRST_CHUNK = 8192,
};

static int openat2_once(int dirfd, const char *path, const struct open_how *how)
{
    return (int)syscall(SYS_openat2, dirfd, path, how, sizeof(*how));
}

bool ctx_openat2_is_refused(void)
{
    const struct open_how how = {.flags = O_PATH | O_CLOEXEC};
    const int fd = openat2_once(AT_FDCWD, "/", &how);
    if (fd >= 0) {
        close(fd);
    }
    return fd < 0 && (errno == ENOSYS || errno == EPERM);
}

int ctx_openat2(int dirfd, const char *path, int flags, mode_t mode, uint64_t resolve)
{
    const struct open_how how = {
        .flags = (uint64_t)(unsigned int)flags | O_CLOEXEC,
        .mode = (flags & O_CREAT) ? mode : 0,
        .resolve = resolve,
    };
    int fd = -1;
    for (int attempt = 0; attempt < OPENAT2_ATTEMPTS; attempt++) {
        fd = openat2_once(dirfd, path, &how);
        if (fd >= 0 || (errno != EINTR && errno != EAGAIN)) {
            break;
        }
    }
    /* Some seccomp filters answer EPERM to a call that is newer than they are, but EPERM may also be about
     * the file. */
    if (fd < 0 && errno == EPERM) {
        errno = ctx_openat2_is_refused() ? ENOSYS : EPERM;
    }
    return fd;
}

ssize_t ctx_read(int fd, void *data, size_t size)
{
    ssize_t count = 0;
    do {
        count = read(fd, data, size);
    } while (count < 0 && errno == EINTR);
    return count;
}

/* Takes the SIGPIPE that ctx_write has left pending, so that unblocking does not deliver it. */
static void discard_sigpipe(const sigset_t *pipe_set)
{
    const struct timespec now = {0};
    while (sigtimedwait(pipe_set, NULL, &now) < 0 && errno == EINTR) {
    }
}

ssize_t ctx_write(int fd, const void *data, size_t size)
{
    sigset_t pipe_set;
    sigemptyset(&pipe_set);
    sigaddset(&pipe_set, SIGPIPE);
    sigset_t pending;
    sigemptyset(&pending);
    sigset_t saved;
    pthread_sigmask(SIG_BLOCK, &pipe_set, &saved);
    if (sigismember(&saved, SIGPIPE)) {
        sigpending(&pending);
    }
    ssize_t count = 0;
    do {
        count = write(fd, data, size);
    } while (count < 0 && errno == EINTR);
    int error = errno;
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
    if (fd < 0) {
        return -1;
    }
    while (length < size && (count = ctx_read(fd, data + length, size - length)) > 0) {
        length += (size_t)count;
    }
    int error = errno;
    close(fd);
    errno = error;
    return count < 0 ? -1 : (ssize_t)length;
}

int ctx_push_contents(lua_State *L, int fd, size_t limit)
{
    size_t length = 0;
    size_t chunk = FIRST_CHUNK;
    int error = 0;
    luaL_Buffer contents;
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
