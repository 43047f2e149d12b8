/***
Starting the helper and following it until the command runs.

`start` packs the plan, starts the helper and returns at once with an *entry*, whose events tell how far it
is. The decisions that the events ask for are Lua's.

@module ctrexec.core.spawn
*/
#include "launch.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

#define CTX_ENTRY "ctrexec.entry"

/* The names of enum plan_step, as Lua sees them. */
static const char *const step_names[STEP_COUNT] = {
    [STEP_PLAN] = "plan",
    [STEP_OOM_SCORE_ADJ] = "oom_score_adj",
    [STEP_LOGIN_UID] = "login_uid",
    [STEP_LABEL] = "label",
    [STEP_KEY_LABEL] = "key_label",
    [STEP_RLIMIT] = "rlimit",
    [STEP_AFFINITY] = "affinity",
    [STEP_TASKS] = "tasks",
    [STEP_CLONE_INTO_CGROUP] = "cgroup",
    [STEP_CLONE] = "clone",
    [STEP_NAMESPACE] = "namespace",
    [STEP_BECOME_ROOT] = "become_root",
    [STEP_SESSION] = "session",
    [STEP_KEYRING] = "keyring",
    [STEP_MOUNT] = "mount",
    [STEP_TERMINAL] = "terminal",
    [STEP_SCHEDULER] = "scheduler",
    [STEP_IO_PRIORITY] = "io_priority",
    [STEP_PERSONALITY] = "personality",
    [STEP_MEMORY_POLICY] = "memory_policy",
    [STEP_CLOSE] = "close",
    [STEP_CWD] = "cwd",
    [STEP_CWD_OUTSIDE] = "cwd_outside",
    [STEP_NO_NEW_PRIVS] = "no_new_privs",
    [STEP_SECCOMP] = "seccomp",
    [STEP_BOUNDING] = "bounding",
    [STEP_GROUPS] = "groups",
    [STEP_GID] = "gid",
    [STEP_UID] = "uid",
    [STEP_CAPABILITIES] = "capabilities",
    [STEP_AMBIENT] = "ambient",
    [STEP_READ] = "read",
    [STEP_LOOKUP] = "lookup",
    [STEP_EXEC] = "exec",
};

/* ----------------------------------------------------------------------------------------------- entries */

/* A command on its way in. */
struct entry {
    int control;     /* our end of the helper's socket; -1 when the story is over */
    int plan_fd;     /* the shared page in which the kernel notes the children */
    int first_pidfd; /* of the first helper process, until it is reaped */
    pid_t first;
    int child_pidfd; /* of the process that becomes the command, until Lua has it */
    pid_t child;
    bool told; /* "started", "error" or "died" was given */
};

static struct entry *check_entry(lua_State *L)
{
    return luaL_checkudata(L, 1, CTX_ENTRY);
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* What the kernel wrote at the forks; 0 where there was none. */
static void read_children(const struct entry *entry, pid_t *member, pid_t *final)
{
    int32_t pids[2] = {0, 0};
    _Static_assert(offsetof(struct plan, final_pid) == offsetof(struct plan, member_pid) + sizeof(pids[0]),
                   "member_pid and final_pid are read as one");
    if (pread(entry->plan_fd, pids, sizeof(pids), offsetof(struct plan, member_pid)) != (ssize_t)sizeof(pids))
        pids[0] = pids[1] = 0;
    *member = pids[0];
    *final = pids[1];
}

/* ECHILD, when the host program was quicker, is as good. */
static void reap(idtype_t type, int id)
{
    siginfo_t info;
    while (waitid(type, (id_t)id, &info, WEXITED | __WALL) < 0 && errno == EINTR)
        ;
}

/* The helper processes that stay outside end by themselves as soon as the fork is done. */
static void reap_helpers(struct entry *entry, bool kill_first)
{
    pid_t member = 0, final = 0;
    if (entry->first_pidfd < 0)
        return;
    if (entry->plan_fd >= 0)
        read_children(entry, &member, &final);
    if (kill_first) {
        syscall(SYS_pidfd_send_signal, entry->first_pidfd, SIGKILL, NULL, 0);
        if (member > 0)
            kill(member, SIGKILL);
        read_children(entry, &member, &final);
    }
    reap(P_PIDFD, entry->first_pidfd);
    if (member > 0)
        reap(P_PID, member);
    close_fd(&entry->first_pidfd);
    if (entry->child == 0)
        entry->child = final;
}

/* Ends whatever has not become the command. A frozen process cannot die before it is thawed: it is killed all
 * the same, but not waited for beyond a second. */
static void abort_entry(struct entry *entry)
{
    reap_helpers(entry, true);
    close_fd(&entry->control);
    if (!entry->told && entry->child > 0) {
        if (entry->child_pidfd < 0)
            entry->child_pidfd = (int)syscall(SYS_pidfd_open, entry->child, 0);
        siginfo_t info;
        /* only a child of ours is killed: the number may have been reaped by the host program */
        if (entry->child_pidfd >= 0 &&
            waitid(P_PIDFD, (id_t)entry->child_pidfd, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) == 0) {
            struct pollfd ended = {.fd = entry->child_pidfd, .events = POLLIN};
            syscall(SYS_pidfd_send_signal, entry->child_pidfd, SIGKILL, NULL, 0);
            if (poll(&ended, 1, 1000) > 0)
                waitid(P_PIDFD, (id_t)entry->child_pidfd, &info, WEXITED | __WALL);
        }
    }
    entry->told = true;
    close_fd(&entry->child_pidfd);
    close_fd(&entry->plan_fd);
}

static int push_event(lua_State *L, const char *name)
{
    lua_createtable(L, 0, 6);
    lua_pushstring(L, name);
    lua_setfield(L, -2, "event");
    return 1;
}

static void set_integer(lua_State *L, const char *name, lua_Integer value)
{
    lua_pushinteger(L, value);
    lua_setfield(L, -2, name);
}

/* The comm of a process, which is the helper's until the execve. False when it cannot be read any more. */
static bool still_helper(pid_t pid, bool *known)
{
    char path[40], comm[sizeof(PLAN_COMM) + 1] = "";
    snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd >= 0 ? read(fd, comm, sizeof(comm) - 1) : -1;
    if (fd >= 0)
        close(fd);
    *known = got > 0;
    return got > 0 && strncmp(comm, PLAN_COMM "\n", sizeof(PLAN_COMM)) == 0;
}

static bool child_ended(const struct entry *entry)
{
    struct pollfd ended = {.fd = entry->child_pidfd, .events = POLLIN};
    return poll(&ended, 1, 0) > 0;
}

/* The helper died without a word: killed, or the memory limit of the container was reached. */
static int push_death(lua_State *L, struct entry *entry)
{
    siginfo_t info = {0};
    entry->told = true;
    push_event(L, "died");
    if (entry->child_pidfd >= 0 && waitid(P_PIDFD, (id_t)entry->child_pidfd, &info, WEXITED | __WALL) == 0) {
        lua_pushstring(L, info.si_code == CLD_EXITED ? "exited" : "killed");
        lua_setfield(L, -2, "reason");
        set_integer(L, "status", info.si_status);
    }
    close_fd(&entry->child_pidfd);
    close_fd(&entry->plan_fd);
    close_fd(&entry->control);
    return 1;
}

/* End of file on the socket: an execve happened or the process is dying. Close-on-exec runs a moment before
 * the kernel renames the process, so its old name is looked at until it changes or the process has ended. */
static int push_outcome(lua_State *L, struct entry *entry)
{
    reap_helpers(entry, false);
    if (entry->child_pidfd < 0)
        return push_death(L, entry);
    bool known;
    while (still_helper(entry->child, &known)) {
        if (child_ended(entry)) {
            if (still_helper(entry->child, &known))
                return push_death(L, entry);
            break;
        }
        sched_yield();
    }
    if (!known && child_ended(entry)) /* reaped by the host program: what it was is lost */
        return push_death(L, entry);
    entry->told = true;
    close_fd(&entry->control);
    close_fd(&entry->plan_fd);
    close_fd(&entry->child_pidfd); /* Lua has its copy: nothing waits for a garbage collection */
    push_event(L, "started");
    return 1;
}

struct packet {
    struct plan_message message;
    ssize_t size;
    pid_t sender;
    int fd;
};

/* One message with its sender as the kernel knows it. Descriptors beyond the first are closed. */
static void receive(int control, struct packet *packet)
{
    struct iovec data = {.iov_base = &packet->message, .iov_len = sizeof(packet->message)};
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(struct ucred)) + CMSG_SPACE(4 * sizeof(int))];
    } control_data;
    struct msghdr header = {
        .msg_iov = &data,
        .msg_iovlen = 1,
        .msg_control = control_data.bytes,
        .msg_controllen = sizeof(control_data.bytes),
    };
    packet->sender = 0;
    packet->fd = -1;
    do
        packet->size = recvmsg(control, &header, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    while (packet->size < 0 && errno == EINTR);
    if (packet->size < 0)
        return;
    for (struct cmsghdr *item = CMSG_FIRSTHDR(&header); item != NULL; item = CMSG_NXTHDR(&header, item)) {
        if (item->cmsg_level != SOL_SOCKET)
            continue;
        if (item->cmsg_type == SCM_CREDENTIALS) {
            struct ucred sender;
            memcpy(&sender, CMSG_DATA(item), sizeof(sender));
            packet->sender = sender.pid;
        } else if (item->cmsg_type == SCM_RIGHTS) {
            const size_t count = (item->cmsg_len - CMSG_LEN(0)) / sizeof(int);
            for (size_t i = 0; i < count; i++) {
                int fd;
                memcpy(&fd, CMSG_DATA(item) + i * sizeof(fd), sizeof(fd));
                if (packet->fd < 0)
                    packet->fd = fd;
                else
                    close(fd);
            }
        }
    }
}

static int push_error_event(lua_State *L, struct entry *entry, const struct plan_message *message)
{
    const uint32_t step = message->step < STEP_COUNT && message->step > 0 ? message->step : STEP_PLAN;
    push_event(L, "error");
    lua_pushstring(L, step_names[step]);
    lua_setfield(L, -2, "step");
    set_integer(L, "errno", message->error);
    set_integer(L, "value", message->value);
    set_integer(L, "pid", entry->first);
    lua_pushstring(L, strerror(message->error));
    lua_setfield(L, -2, "message");
    lua_pushlstring(L, message->detail, strnlen(message->detail, sizeof(message->detail)));
    lua_setfield(L, -2, "detail");
    abort_entry(entry);
    return 1;
}

static int push_fd_event(lua_State *L, const char *name, struct packet *packet)
{
    push_event(L, name);
    ctx_push_fd(L, packet->fd);
    packet->fd = -1;
    lua_setfield(L, -2, "fd");
    return 1;
}

/* Takes a message when it comes from whom it must: a process of the container that got hold of the socket is
 * not heard. Pushes an event and returns 1, or 0 when the message is to be passed over. */
static int take(lua_State *L, struct entry *entry, struct packet *packet)
{
    pid_t member, final;
    if (packet->size != (ssize_t)sizeof(packet->message))
        return 0;
    read_children(entry, &member, &final);
    const bool outside = packet->sender == entry->first || (member > 0 && packet->sender == member);
    const bool inside = final > 0 && packet->sender == final;
    switch (packet->message.kind) {
    case MSG_CHILD:
        if (!outside || packet->fd < 0 || entry->child_pidfd >= 0)
            return 0;
        entry->child = final;
        entry->child_pidfd = packet->fd;
        packet->fd = -1;
        push_event(L, "child");
        set_integer(L, "pid", final);
        return 1;
    case MSG_TERMINAL:
        return inside && packet->fd >= 0 ? push_fd_event(L, "terminal", packet) : 0;
    case MSG_LISTENER:
        return inside && packet->fd >= 0 ? push_fd_event(L, "listener", packet) : 0;
    case MSG_READY:
        return inside ? push_event(L, "ready") : 0;
    case MSG_ERROR:
        return inside || outside ? push_error_event(L, entry, &packet->message) : 0;
    default:
        return 0;
    }
}

/* A copy of the socket may have been taken by somebody in the container, so that its end is never seen: the
 * process's own state decides then. Pushes an event and returns 1, or 0 when it is still on its way. */
static int look_at_child(lua_State *L, struct entry *entry)
{
    bool known;
    if (entry->child_pidfd < 0)
        return 0;
    const bool helper = still_helper(entry->child, &known);
    return child_ended(entry) || (known && !helper) ? push_outcome(L, entry) : 0;
}

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/***
The next event of an entry.

Events: `child` (`pid`: the process that will be the command exists), `terminal` and `listener` (`fd`),
`ready` (the plan asked to wait: call `go`), and one of the last ones: `started`, `error` (`step`, `errno`,
`message`, `value`, `detail`, `pid` of the first helper) and `died` (`reason` "exited" or "killed" and
`status`, when known).

@function entry:next
@tparam[opt] integer timeout milliseconds to wait; without it, until there is an event
@treturn table|false the event; false when the time is over
@return nil, message, errno (EINTR, or EBADF after the last event)
@see poll(2)
*/
static int entry_next(lua_State *L)
{
    enum { GLANCE = 20 };
    struct entry *entry = check_entry(L);
    const lua_Integer timeout = luaL_optinteger(L, 2, -1);
    const int64_t end = timeout < 0 ? INT64_MAX : now_ms() + timeout;
    if (entry->control < 0)
        return ctx_error(L, EBADF, "entry");
    for (;;) {
        struct pollfd control = {.fd = entry->control, .events = POLLIN};
        int64_t left = timeout < 0 ? GLANCE : end - now_ms();
        int ready = poll(&control, 1, left < 0 ? 0 : left < GLANCE ? (int)left : GLANCE);
        if (ready < 0)
            return ctx_error(L, errno, "poll");
        if (ready == 0) {
            if (look_at_child(L, entry) != 0)
                return 1;
            if (timeout >= 0 && now_ms() >= end) {
                lua_pushboolean(L, 0);
                return 1;
            }
            continue;
        }
        struct packet packet;
        receive(entry->control, &packet);
        if (packet.size < 0 && errno == EAGAIN)
            continue;
        if (packet.size <= 0)
            return push_outcome(L, entry);
        int pushed = take(L, entry, &packet);
        close_fd(&packet.fd);
        if (pushed != 0)
            return 1;
    }
}

/***
Lets a waiting helper go on: after `ready` (the command starts) and after `listener`.

@function entry:go
@treturn boolean true
@return nil, message, errno
*/
static int entry_go(lua_State *L)
{
    const struct entry *entry = check_entry(L);
    if (entry->control < 0)
        return ctx_error(L, EBADF, "entry");
    ssize_t sent;
    do
        sent = send(entry->control, "", 1, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent < 0 ? ctx_error(L, errno, "send") : ctx_ok(L);
}

/***
The descriptor to poll for reading before `next(0)`.

@function entry:fd
@treturn integer the descriptor, -1 after the last event; it stays the entry's
*/
static int entry_fd(lua_State *L)
{
    lua_pushinteger(L, check_entry(L)->control);
    return 1;
}

/***
Takes over the pidfd of the command, from the `child` event on.

@function entry:pidfd
@treturn fd the pidfd, owned by the caller
@return nil, message, errno (ESRCH when there is no child yet, or it was taken)
@see pidfd_open(2)
*/
static int entry_pidfd(lua_State *L)
{
    const struct entry *entry = check_entry(L);
    int copy = entry->child_pidfd < 0 ? -1 : fcntl(entry->child_pidfd, F_DUPFD_CLOEXEC, 3);
    if (copy < 0)
        return ctx_error(L, entry->child_pidfd < 0 ? ESRCH : errno, "pidfd");
    ctx_push_fd(L, copy);
    return 1;
}

/***
Kills and reaps everything of an entry that has not become the command. Does nothing after `started`. Also
done by
`__gc` and `__close`.

@function entry:abort
*/
static int entry_abort(lua_State *L)
{
    abort_entry(check_entry(L));
    return 0;
}

/* ------------------------------------------------------------------------------------------------- start */

static int write_plan(const struct plan *plan, const char *data)
{
    int fd = memfd_create("ctrexec-plan", MFD_CLOEXEC);
    if (fd < 0)
        return -1;
    const struct iovec parts[] = {
        {.iov_base = (void *)plan, .iov_len = sizeof(*plan)},
        {.iov_base = (void *)data, .iov_len = plan->size - sizeof(*plan)},
    };
    ssize_t written = writev(fd, parts, 2);
    if (written == (ssize_t)plan->size)
        return fd;
    int error = written < 0 ? errno : ENOSPC;
    close(fd);
    errno = error;
    return -1;
}

/* A host program may have closed its own stdio, so that a descriptor of ours got number 0, 1 or 2, where it
 * would be overwritten by the command's stdio. */
static int above_stdio(int fd)
{
    if (fd < 0 || fd > 2)
        return fd;
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    int error = errno;
    close(fd);
    errno = error;
    return copy;
}

/* Where the command's stream comes from: what the plan names, else our own stream, else nothing. A
 * close-on-exec descriptor at the number of a stream is none: the host program has closed its stdio, and this
 * is something of its own. A source that a dup2 for another stream would overwrite is moved away first. */
static int stdio_source(lua_State *L, int table, const char *name, int number, struct ctx_passed *passed)
{
    int fd = ctx_fd_field(L, table, name);
    int flags = fd < 0 ? fcntl(number, F_GETFD) : 0;
    if (fd < 0 && flags >= 0 && (flags & FD_CLOEXEC) == 0)
        return number;
    if (fd > 2 || fd == number)
        return fd;
    if (fd >= 0)
        return ctx_above_stdio(L, passed, fd);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    fd = ctx_above_stdio(L, passed, null);
    close(null);
    return fd;
}

static int make_sockets(int pair[2])
{
    const int on = 1;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return -1;
    pair[0] = above_stdio(pair[0]);
    pair[1] = above_stdio(pair[1]);
    return setsockopt(pair[0], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on));
}

/***
Starts the helper on its way into a container.

The plan's fields are those of `struct plan` in core/plan.h under the same names, with `init`, `cgroup`,
`root`, `stdin`, `stdout` and `stderr` as descriptors; flags are booleans, or follow from the field that they
announce. Nothing of it is checked for sense here: that is the business of lua/ctrexec/plan.lua.

@function start
@tparam table plan
@treturn entry the entry
@return nil, message, errno
@see clone3(2), setns(2), execveat(2), memfd_create(2)
*/
static int start(lua_State *L)
{
    struct plan plan = {0};
    struct ctx_launch launch = {.image = -1};
    int pair[2] = {-1, -1};
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);

    struct entry *entry = lua_newuserdatauv(L, sizeof(*entry), 0);
    *entry = (struct entry){.control = -1, .plan_fd = -1, .first_pidfd = -1, .child_pidfd = -1};
    luaL_setmetatable(L, CTX_ENTRY);
    launch.image = ctx_helper_image(L);
    if (launch.image < 0)
        return ctx_error(L, errno, "make the helper's sealed memfd");

    plan.init_fd = ctx_pass(L, &launch.passed, ctx_fd_field(L, 1, "init"));
    plan.cgroup_fd = ctx_pass(L, &launch.passed, ctx_fd_field(L, 1, "cgroup"));
    plan.root_fd = ctx_pass(L, &launch.passed, ctx_fd_field(L, 1, "root"));
    launch.image = ctx_pass(L, &launch.passed, launch.image);
    ctx_pack_plan(L, 1, &plan, &launch.passed);
    for (int fd = 3; fd < 3 + plan.preserve_fds; fd++)
        ctx_pass(L, &launch.passed, fd);
    ctx_pass(L, &launch.passed, INT_MAX); /* room for the last two, so that nothing is raised from here on */
    ctx_pass(L, &launch.passed, INT_MAX);
    launch.passed.count -= 2;

    launch.stdio[0] = stdio_source(L, 1, "stdin", 0, &launch.passed);
    launch.stdio[1] = stdio_source(L, 1, "stdout", 1, &launch.passed);
    launch.stdio[2] = stdio_source(L, 1, "stderr", 2, &launch.passed);
    pid_t pid = -1;
    if (make_sockets(pair) == 0) {
        plan.control_fd = pair[1];
        entry->plan_fd = above_stdio(write_plan(&plan, lua_tostring(L, -1)));
    }
    if (entry->plan_fd >= 0) {
        launch.passed.fds[launch.passed.count++] = pair[1];
        launch.passed.fds[launch.passed.count++] = entry->plan_fd;
        snprintf(launch.plan_argument, sizeof(launch.plan_argument), "%d", entry->plan_fd);
        pid = ctx_launch(&launch, &entry->first_pidfd);
    }
    int error = errno;
    for (unsigned i = 0; i < launch.passed.copy_count; i++)
        close(launch.passed.copies[i]);
    if (pair[1] >= 0)
        close(pair[1]);
    if (pid < 0) {
        close_fd(&pair[0]);
        close_fd(&entry->plan_fd);
        entry->first_pidfd = -1;
        return ctx_error(L, error, "start the helper");
    }
    entry->first = pid;
    entry->control = pair[0];
    lua_settop(L, 2);
    return 1;
}

static void make_class(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"next", entry_next},   {"go", entry_go},      {"fd", entry_fd},         {"pidfd", entry_pidfd},
        {"abort", entry_abort}, {"__gc", entry_abort}, {"__close", entry_abort}, {NULL, NULL},
    };
    if (luaL_newmetatable(L, CTX_ENTRY)) {
        luaL_setfuncs(L, methods, 0);
        lua_pushvalue(L, -1);
        lua_setfield(L, -2, "__index");
    }
    lua_pop(L, 1);
}

int ctx_open_spawn(lua_State *L)
{
    static const luaL_Reg functions[] = {{"start", start}, {NULL, NULL}};
    make_class(L);
    luaL_newlib(L, functions);
    return 1;
}
