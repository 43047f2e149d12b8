/* Starting the helper: its image, and the step from the host program into it. */
#include "launch.h"
#include "common/protect.h"
#include "pidfd.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef CLONE_PIDFD
#define CLONE_PIDFD 0x00001000
#endif
#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif

/* The helper's bytes: core/enter_image.S. */
extern const unsigned char ctx_enter_image[];
extern const unsigned char ctx_enter_image_end[];

/* A sealed memfd that holds the helper, read-only: the container may see it as /proc/PID/exe and cannot
 * change a byte of it, not even as root with every capability. -1 and errno on failure. */
static int helper_image(void)
{
    /* cppcheck-suppress comparePointers ; one object, in assembler */
    const size_t size = (size_t)(ctx_enter_image_end - ctx_enter_image);
    int writable = memfd_create("ctrexec", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC);
    if (writable < 0 && errno == EINVAL) { /* before Linux 6.3 every memfd is executable */
        writable = memfd_create("ctrexec", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    }
    if (writable < 0) {
        return -1;
    }
    size_t done = 0;
    while (done < size) {
        ssize_t written = write(writable, ctx_enter_image + done, size - done);
        if (written < 0 && errno != EINTR) {
            break;
        }
        done += written > 0 ? (size_t)written : 0;
    }
    int image = -1;
    if (done == size &&
        (!PROTECTED(sealed_image) ||
         fcntl(writable, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) == 0)) {
        /* Reopened, because execve(2) refuses a file that any process has open for writing. */
        char path[32];
        snprintf(path, sizeof(path), "/proc/self/fd/%d", writable);
        image = open(path, O_RDONLY | O_CLOEXEC);
    }
    int error = errno;
    close(writable);
    errno = error;
    return image;
}

/* Whether the image has its mode and owner still. Root in a container that opened the image as /proc/PID/exe
 * cannot change a byte of it, but can change its owner and mode (before Linux 6.3 the mode's execute bits
 * too): the next execve would fail, or run a set-user-ID file. */
static bool untouched(int image)
{
    struct stat about;
    return fstat(image, &about) == 0 && about.st_uid == geteuid() && about.st_gid == getegid() &&
           about.st_mode == (S_IFREG | 0777);
}

/* The image is made once for each Lua state and kept in its registry; the fd object closes with the state. */
int ctx_helper_image(lua_State *L)
{
    static const char key = 0;
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &key) == LUA_TUSERDATA && PROTECTED(image_check) &&
        !untouched(ctx_to_fd(L, -1))) {
        int *spoilt = lua_touserdata(L, -1);
        close(*spoilt);
        *spoilt = -1;
        lua_pop(L, 1);
        lua_pushnil(L);
    }
    if (lua_isnil(L, -1)) {
        int image = helper_image();
        if (image < 0) {
            return -1;
        }
        ctx_push_fd(L, image);
        lua_pushvalue(L, -1);
        lua_rawsetp(L, LUA_REGISTRYINDEX, &key);
        lua_remove(L, -2);
    }
    int fd = ctx_check_fd(L, lua_gettop(L));
    lua_pop(L, 1);
    return fd;
}

static int compare_int(const void *left, const void *right)
{
    const int a = *(const int *)left, b = *(const int *)right;
    return (a > b) - (a < b);
}

/* Every descriptor that is not passed is closed, whatever the host program forgot to mark close-on-exec. */
static bool close_gaps(const struct ctx_passed *passed)
{
    unsigned first = 3;
    for (unsigned i = 0; i < passed->count; i++) {
        const unsigned fd = (unsigned)passed->fds[i];
        if (fd > first && syscall(SYS_close_range, first, fd - 1, 0) < 0) {
            return false;
        }
        if (fd >= first) {
            first = fd + 1;
        }
    }
    return syscall(SYS_close_range, first, ~0U, 0) == 0;
}

/* Runs on a stack of its own in the host program's memory, as after vfork(2): only system calls, no locks, no
 * allocation. Every signal is blocked, so that no handler of the host program runs in it. */
#if defined(__SANITIZE_ADDRESS__)
__attribute__((no_sanitize_address))
#endif
static int
launch_helper(void *argument)
{
    struct ctx_launch *launch = argument;
    char *const argv[] = {(char *)PLAN_COMM, launch->plan_argument, NULL};
    char *const clean[] = {ctx_test_environment(), NULL};
    char *const *envp = PROTECTED(clean_environment) ? clean : environ;
    for (int fd = 0; fd <= 2; fd++) {
        /* dup2 of a descriptor onto itself would keep its close-on-exec flag */
        if (launch->stdio[fd] == fd ? fcntl(fd, F_SETFD, 0) < 0 : dup2(launch->stdio[fd], fd) < 0) {
            goto failed;
        }
    }
    for (unsigned i = 0; i < launch->passed.count; i++) {
        if (launch->passed.fds[i] != launch->image && fcntl(launch->passed.fds[i], F_SETFD, 0) < 0) {
            goto failed;
        }
    }
    if (close_gaps(&launch->passed)) {
        syscall(SYS_execveat, launch->image, "", argv, envp, AT_EMPTY_PATH);
    }
failed:
    launch->error = errno;
    _exit(127);
}

/* Starts the helper; its pid, and its pidfd in *pidfd. -1 and errno on failure. */
pid_t ctx_launch(struct ctx_launch *launch, int *pidfd)
{
    char stack[65536] __attribute__((aligned(16)));
    sigset_t all, before;
    qsort(launch->passed.fds, launch->passed.count, sizeof(int), compare_int);
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    pid_t pid = clone(launch_helper, stack + sizeof(stack), CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD,
                      launch, pidfd);
    int error = errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (pid > 0 && launch->error != 0) {
        error = launch->error;
        siginfo_t info;
        while (waitid(P_PIDFD, (id_t)*pidfd, &info, WEXITED | __WALL) < 0 && errno == EINTR) {
            ;
        }
        close(*pidfd);
        pid = -1;
    }
    errno = error;
    return pid;
}
