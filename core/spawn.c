/***
Starting the helper on its way into a container.

@module ctrexec.core.spawn
*/
#include "common/protect.h"
#include "entry.h"
#include "launch.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

/* Descriptors that the helper gets besides the plan's: the control socket, two pipes and the plan itself. */
#define OWN_FDS 4

static int write_plan(const struct plan *plan, const char *data)
{
    int fd = memfd_create("ctrexec-plan", MFD_CLOEXEC);
    if (fd < 0) {
        return -1;
    }
    const struct iovec parts[] = {
        {.iov_base = (void *)plan, .iov_len = sizeof(*plan)},
        {.iov_base = (void *)data, .iov_len = plan->size - sizeof(*plan)},
    };
    ssize_t written = 0;
    do {
        written = writev(fd, parts, 2);
    } while (written < 0 && errno == EINTR);
    if (written == (ssize_t)plan->size) {
        return fd;
    }
    int error = written < 0 ? errno : ENOSPC;
    close(fd);
    errno = error;
    return -1;
}

/* A host program may have closed its own stdio. A new descriptor then gets number 0, 1 or 2, where the
 * command's stdio would overwrite it. */
static int above_stdio(int fd)
{
    if (fd < 0 || fd > 2) {
        return fd;
    }
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    int error = errno;
    close(fd);
    errno = error;
    return copy;
}

/* Where one of the command's streams comes from: the descriptor in the plan, else this program's own stream,
 * else /dev/null. A close-on-exec descriptor at a stream's number is no stream: the host program has closed
 * its stdio and opened a file of its own there. A source that a dup2(2) for another stream would overwrite is
 * moved away first. */
static int stdio_source(lua_State *L, int table, const char *name, int number, struct ctx_passed *passed)
{
    int fd = ctx_fd_field(L, table, name);
    int flags = fd < 0 ? fcntl(number, F_GETFD) : 0;
    if (fd < 0 && flags >= 0 && (flags & FD_CLOEXEC) == 0) {
        return number;
    }
    if (fd > 2 || fd == number) {
        return fd;
    }
    if (fd >= 0) {
        return ctx_above_stdio(L, passed, fd);
    }
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    fd = ctx_above_stdio(L, passed, null);
    close(null);
    return fd;
}

/* Opens the socket and the pipes between an entry and its helper. The status pipe keeps messages apart, as
 * the socket does. */
static int open_channels(struct entry *entry, struct plan *plan)
{
    int socket[2] = {-1, -1}, status[2] = {-1, -1}, go[2] = {-1, -1};
    plan->control_fd = plan->status_fd = plan->go_fd = -1;
    const bool made = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, socket) == 0 &&
                      pipe2(status, O_CLOEXEC | O_DIRECT) == 0 && pipe2(go, O_CLOEXEC) == 0;
    /* a process that opened the pipes once more, by way of /proc, must not make this program wait */
    const bool ready =
        made && fcntl(status[0], F_SETFL, O_NONBLOCK) == 0 && fcntl(go[1], F_SETFL, O_NONBLOCK) == 0;
    int error = ready ? 0 : errno;
    const struct {
        int from, *to;
    } ends[] = {
        {socket[0], &entry->control}, {socket[1], &plan->control_fd},
        {status[0], &entry->status},  {status[1], &plan->status_fd},
        {go[1], &entry->go},          {go[0], &plan->go_fd},
    };
    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        *ends[i].to = above_stdio(ends[i].from);
        if (error == 0 && *ends[i].to < 0) {
            error = errno;
        }
    }
    errno = error;
    return error == 0 ? 0 : -1;
}

static void close_channels(struct plan *plan)
{
    ctx_close_fd(&plan->control_fd);
    ctx_close_fd(&plan->status_fd);
    ctx_close_fd(&plan->go_fd);
}

/* Whether the host program has its children reaped as they end. A short command could then be gone, and its
 * exit status with it, before its pidfd is open here: final is held back until then. */
static bool may_lose_children(void)
{
    struct sigaction action;
    return sigaction(SIGCHLD, NULL, &action) == 0 &&
           (action.sa_handler != SIG_DFL || (action.sa_flags & SA_NOCLDWAIT) != 0);
}

/***
Starts the helper on its way into a container, and returns at once.

The plan's fields are those of `struct plan` in core/common/plan.h under the same names, with `init`,
`cgroup`, `root`, `stdin`, `stdout` and `stderr` as descriptors; flags are booleans, or follow from the field
that they announce. Nothing of it is checked for sense here: that is the business of
lua/ctrexec/exec/plan.lua.

@function start
@tparam table plan
@treturn[1] entry see `ctrexec.core.spawn.entry`
@return[2] nil
@treturn[2] string error message
@treturn[2] int errno
@see clone3(2), setns(2), execveat(2), memfd_create(2)
*/
static int start(lua_State *L)
{
    struct plan plan = {0};
    struct ctx_launch launch = {.image = -1};
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);

    struct entry *entry = lua_newuserdatauv(L, sizeof(*entry), 0);
    *entry = (struct entry){
        .control = -1, .status = -1, .go = -1, .plan_fd = -1, .first_pidfd = -1, .child_pidfd = -1};
    luaL_setmetatable(L, CTX_ENTRY);
    launch.image = ctx_helper_image(L);
    if (launch.image < 0) {
        return ctx_error(L, errno, "make the helper's sealed memfd");
    }

    plan.init_fd = ctx_pass(L, &launch.passed, ctx_fd_field(L, 1, "init"));
    plan.cgroup_fd = ctx_pass(L, &launch.passed, ctx_fd_field(L, 1, "cgroup"));
    plan.root_fd = ctx_pass(L, &launch.passed, ctx_fd_field(L, 1, "root"));
    launch.image = ctx_pass(L, &launch.passed, launch.image);
    ctx_pack_plan(L, 1, &plan, &launch.passed);
    entry->held = (plan.flags & PLAN_WAIT) == 0 && may_lose_children();
    if (entry->held) {
        plan.flags |= PLAN_WAIT;
    }
    for (int fd = 3; fd < 3 + plan.preserve_fds; fd++) {
        ctx_pass(L, &launch.passed, fd);
    }
    for (int i = 0; i < OWN_FDS; i++) { /* makes sure of their room: no error is raised from here on */
        ctx_pass(L, &launch.passed, INT_MAX);
    }
    launch.passed.count -= OWN_FDS;

    launch.stdio[0] = stdio_source(L, 1, "stdin", 0, &launch.passed);
    launch.stdio[1] = stdio_source(L, 1, "stdout", 1, &launch.passed);
    launch.stdio[2] = stdio_source(L, 1, "stderr", 2, &launch.passed);
    pid_t pid = -1;
    if (open_channels(entry, &plan) == 0) {
        entry->plan_fd = above_stdio(write_plan(&plan, lua_tostring(L, -1)));
    }
    if (entry->plan_fd >= 0) {
        const int own[OWN_FDS] = {plan.control_fd, plan.status_fd, plan.go_fd, entry->plan_fd};
        memcpy(launch.passed.fds + launch.passed.count, own, sizeof(own));
        launch.passed.count += OWN_FDS;
        snprintf(launch.plan_argument, sizeof(launch.plan_argument), "%d", entry->plan_fd);
        pid = ctx_launch(&launch, &entry->first_pidfd);
    }
    int error = errno;
    for (unsigned i = 0; i < launch.passed.copy_count; i++) {
        close(launch.passed.copies[i]);
    }
    close_channels(&plan);
    if (pid < 0) {
        entry->first_pidfd = -1; /* clone(2) may have written a number there */
        ctx_close_entry(entry);
        return ctx_error(L, error, "start the helper");
    }
    entry->first = pid;
    lua_settop(L, 2);
    return 1;
}

int ctx_open_spawn(lua_State *L)
{
    static const luaL_Reg functions[] = {{"start", start}, {NULL, NULL}};
    ctx_make_entry_class(L);
    luaL_newlib(L, functions);
    return 1;
}
