/***
Starting the helper and following it until the command runs.

`start` packs the plan, starts the helper and returns at once with an *entry*, whose events tell how far it
is. The decisions that the events ask for are Lua's.

@module ctrexec.core.spawn
*/
#include "common/message.h"
#include "common/protect.h"
#include "launch.h"
#include "process.h"

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
#define CTX_PF_FORKNOEXEC 0x40 /* PF_FORKNOEXEC: forked, and no execve(2) yet */

/* The names of enum plan_step, as Lua sees them. */
static const char *const step_names[STEP_COUNT] = {
    [STEP_PLAN] = "plan",
    [STEP_DEATH_SIGNAL] = "death_signal",
    [STEP_HIDE] = "hide",
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
    [STEP_SIGNALS] = "signals",
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

/* How long a process that was killed is waited for, in milliseconds. One that is frozen, or waits for a file
 * system that never answers, dies later or never. */
#define KILL_WAIT 1000

/* How often the command's process itself is looked at, in milliseconds. */
#define GLANCE 20

/* How many messages are read for an error of a helper that has ended; it sends no more than three. */
#define LAST_WORDS 16

/* Descriptors of ours that the helper gets besides the plan's. */
#define OWN_FDS 4

/* A command on its way in. */
struct entry {
    int control;     /* the socket of the helper's processes that stay outside; -1 after its end */
    int status;      /* the pipe of the one inside; -1 when the story is over */
    int go;          /* the pipe to it */
    int plan_fd;     /* the shared page in which the kernel notes the children */
    int first_pidfd; /* of the first helper process, until it is reaped */
    pid_t first;
    int child_pidfd; /* of the process that becomes the command */
    pid_t child;
    struct ctx_packet early; /* a message that came before the `child` event; kind 0: none */
    bool announced;          /* `child` was given */
    bool held;               /* it waits for us, not for Lua: see may_lose_children */
    bool ready;              /* it waits for its last `go` */
    bool released;           /* it was given that */
    bool ended;              /* the status pipe has no writer left */
    bool told;               /* `started`, `error` or `died` was given */
    int fault;               /* errno of a call of ours without which we cannot follow; 0: none */
    const char *fault_call;  /* its name */
};

static struct entry *check_entry(lua_State *L)
{
    return luaL_checkudata(L, 1, CTX_ENTRY);
}

static void close_fd(int *fd)
{
    if (*fd >= 0) {
        close(*fd);
    }
    *fd = -1;
}

/* The story is over. */
static void close_entry(struct entry *entry)
{
    entry->told = true;
    close_fd(&entry->control);
    close_fd(&entry->status);
    close_fd(&entry->go);
    close_fd(&entry->plan_fd);
    close_fd(&entry->child_pidfd);
    if (entry->early.message.kind != 0) {
        close_fd(&entry->early.fd);
    }
    entry->early.message.kind = 0;
}

/* What the kernel wrote at the forks; 0 where there was none. */
static void read_children(const struct entry *entry, pid_t *member, pid_t *final)
{
    int32_t pids[2] = {0, 0};
    _Static_assert(offsetof(struct plan, final_pid) == offsetof(struct plan, member_pid) + sizeof(pids[0]),
                   "member_pid and final_pid are read as one");
    ssize_t got;
    do {
        got = pread(entry->plan_fd, pids, sizeof(pids), offsetof(struct plan, member_pid));
    } while (got < 0 && errno == EINTR);
    if (got != (ssize_t)sizeof(pids)) {
        pids[0] = pids[1] = 0;
    }
    *member = pids[0];
    *final = pids[1];
}

/* A pidfd of a child of ours that was not reaped: until it is, its pid is no other process's. -1 when it is
 * not our child, because the host program reaped it. */
static int child_pidfd_of(pid_t pid)
{
    siginfo_t info;
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    while (fd >= 0 && waitid(P_PIDFD, (id_t)fd, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) < 0) {
        if (errno != EINTR) {
            close_fd(&fd);
        }
    }
    return fd;
}

static bool is_gone(int error)
{
    return error == ESRCH || error == ENOENT || error == ECHILD;
}

/* A limit of ours must not look like an end of the command's process. */
static void note_fault(struct entry *entry, const char *call)
{
    entry->fault = is_gone(errno) ? 0 : errno;
    entry->fault_call = call;
}

/* Makes itself acquainted with the command's process as soon as the kernel has noted it. */
static void adopt_child(struct entry *entry)
{
    pid_t member, final;
    if (entry->child != 0 || entry->plan_fd < 0) {
        return;
    }
    read_children(entry, &member, &final);
    if (final <= 0) {
        return;
    }
    entry->child_pidfd = child_pidfd_of(final);
    if (entry->child_pidfd < 0) {
        note_fault(entry, "pidfd_open");
    }
    if (entry->child_pidfd >= 0 || entry->fault == 0) {
        entry->child = final;
    }
}

/* Waits for the end of a process. 1: it has ended, 0: not within the time, -1: there is no way to know. */
static int poll_end(int pidfd, int milliseconds)
{
    struct pollfd ended = {.fd = pidfd, .events = POLLIN};
    int ready = -1;
    if (pidfd >= 0) {
        do {
            ready = poll(&ended, 1, milliseconds);
        } while (ready < 0 &&
                 errno == EINTR); /* a handler of the host program's must not leave it a zombie */
    }
    return ready;
}

static bool has_ended(int pidfd, int milliseconds)
{
    return poll_end(pidfd, milliseconds) > 0;
}

/* As waitid(2), for a child by its number. That is another's only if the host program has reaped the child
 * and started a new one that got the same number, since the kernel noted it. */
static int wait_by_pid(pid_t pid, int options)
{
    siginfo_t info = {0};
    int result;
    do {
        result = waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | __WALL | options);
    } while (result < 0 && errno == EINTR);
    return result == 0 && info.si_pid == 0 ? 1 : result; /* 1: it has not ended */
}

/* Reaps a child for which there is no pidfd, unless it has not ended within the time. */
static void reap_by_pid(pid_t pid)
{
    for (int i = 0; i < KILL_WAIT && pid > 0 && wait_by_pid(pid, 0) > 0; i++) {
        poll(NULL, 0, 1);
    }
}

static void end_by_pid(pid_t pid)
{
    if (pid > 0 && wait_by_pid(pid, WNOWAIT) >= 0) { /* a child of ours: its number is no other process's */
        kill(pid, SIGKILL);
    }
    reap_by_pid(pid);
}

/* Reaps a child, unless it has not ended within the time; by its number where its pidfd is of no use. */
static void reap(int pidfd, pid_t pid)
{
    siginfo_t info;
    const int ended = poll_end(pidfd, PROTECTED(bounded_reap) ? KILL_WAIT : -1);
    int result = ended;
    if (ended > 0) {
        do {
            result = waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED | __WALL);
        } while (result < 0 && errno == EINTR);
    }
    if (result < 0 && !(ended > 0 && errno == ECHILD)) { /* the host program has reaped it */
        reap_by_pid(pid);
    }
}

static void reap_member(pid_t pid)
{
    if (pid <= 0) {
        return;
    }
    int pidfd = child_pidfd_of(pid);
    if (pidfd >= 0 || !is_gone(errno)) {
        reap(pidfd, pid);
    }
    close_fd(&pidfd);
}

static void kill_member(pid_t pid)
{
    int pidfd = pid > 0 ? child_pidfd_of(pid) : -1;
    if (pidfd >= 0) {
        syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
    }
    close_fd(&pidfd);
}

/* The helper processes that stay outside end by themselves as soon as the fork is done. */
static void reap_helpers(struct entry *entry, bool kill_first)
{
    pid_t member = 0, final = 0;
    if (entry->first_pidfd < 0) {
        return;
    }
    if (kill_first) {
        syscall(SYS_pidfd_send_signal, entry->first_pidfd, SIGKILL, NULL, 0);
    }
    reap(entry->first_pidfd, entry->first); /* from here on there is no other member than the one noted */
    close_fd(&entry->first_pidfd);          /* first: there may be no more descriptors */
    read_children(entry, &member, &final);
    if (kill_first) {
        kill_member(member);
    }
    reap_member(member);
    adopt_child(entry);
}

/* Ends whatever has not become the command. */
static void abort_entry(struct entry *entry)
{
    pid_t member, final;
    reap_helpers(entry, true);
    if (!entry->told && entry->child_pidfd >= 0) {
        syscall(SYS_pidfd_send_signal, entry->child_pidfd, SIGKILL, NULL, 0);
        reap(entry->child_pidfd, entry->child);
    } else if (!entry->told && entry->fault != 0) {
        read_children(entry, &member, &final);
        end_by_pid(final);
    }
    close_entry(entry);
}

static int push_event(lua_State *L, const char *name)
{
    lua_createtable(L, 0, 6);
    lua_pushstring(L, name);
    lua_setfield(L, -2, "event");
    return 1;
}

enum stage { STAGE_HELPER, STAGE_COMMAND, STAGE_UNKNOWN };

/* Whether the process has made its execve. The kernel says so, in a flag that nothing but an execve clears
 * and nothing sets again: not the process's name, which the command may change to anything, and not the end
 * of the pipe, which is also how a killed helper looks. A zombie still shows it. */
static enum stage stage_of(struct entry *entry)
{
    char path[40], text[1024];
    struct ctx_stat about;
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)entry->child);
    ssize_t size = ctx_read_small(path, text, sizeof(text));
    if (size < 0) {
        note_fault(entry, "read /proc/PID/stat");
    }
    if (!PROTECTED(exec_proof)) {
        return STAGE_COMMAND;
    }
    if (!PROTECTED(exec_flag) && size >= 0 && ctx_parse_stat(ctx_text(text, (size_t)size), &about)) {
        return ctx_text_is(about.comm, PLAN_COMM) ? STAGE_HELPER : STAGE_COMMAND;
    }
    if (size < 0 || !ctx_parse_stat(ctx_text(text, (size_t)size), &about)) {
        return STAGE_UNKNOWN;
    }
    return (about.flags & CTX_PF_FORKNOEXEC) != 0 ? STAGE_HELPER : STAGE_COMMAND;
}

static int push_error_event(lua_State *L, struct entry *entry, const struct plan_message *message)
{
    char reason[128];
    push_event(L, "error");
    lua_pushstring(L, step_names[message->step]);
    lua_setfield(L, -2, "step");
    ctx_set_integer(L, "errno", message->error);
    ctx_set_integer(L, "value", message->value);
    ctx_set_integer(L, "pid", entry->first);
    lua_pushstring(L, strerror_r(message->error, reason, sizeof(reason)));
    lua_setfield(L, -2, "message");
    lua_pushstring(L, message->detail);
    lua_setfield(L, -2, "detail");
    abort_entry(entry);
    return 1;
}

/* Whether an error waits there to be read. What is read for it is bounded: who has the pipe may write without
 * end. */
static bool last_words(int fd, bool is_socket, struct ctx_packet *packet)
{
    for (int i = 0; fd >= 0 && i < LAST_WORDS; i++) {
        ctx_receive(fd, is_socket, packet);
        if (packet->size <= 0) {
            return false;
        }
        close_fd(&packet->fd);
        if (ctx_packet_valid(packet) && packet->message.kind == MSG_ERROR) {
            return true;
        }
    }
    return false;
}

/* A helper died: with a word, which may have come after the last look at the ways to us, or without one,
 * because it was killed or the memory limit of the container was reached. */
static int push_death(lua_State *L, struct entry *entry)
{
    siginfo_t info = {0};
    struct ctx_packet packet;
    if (last_words(entry->control, true, &packet) || last_words(entry->status, false, &packet)) {
        return push_error_event(L, entry, &packet.message);
    }
    const int pidfd = entry->child_pidfd >= 0 ? entry->child_pidfd : entry->first_pidfd;
    push_event(L, "died");
    if (has_ended(pidfd, KILL_WAIT) &&
        waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) == 0) {
        lua_pushstring(L, info.si_code == CLD_EXITED ? "exited" : "killed");
        lua_setfield(L, -2, "reason");
        ctx_set_integer(L, "status", info.si_status);
    }
    abort_entry(entry);
    return 1;
}

static int push_started(lua_State *L, struct entry *entry)
{
    reap_helpers(entry, false);
    close_entry(entry);
    return push_event(L, "started");
}

/* What the state of the command's process says. Pushes an event and returns 1, or 0 when it is on its way.
 * The pipe's end alone does not count, nor is it waited for: a container that may trace can copy the pipe,
 * and stop the process. But when the host program has had the process reaped, so that nothing is known of it,
 * an end without an error after the last `go` is taken for an execve. */
static int look_at_child(lua_State *L, struct entry *entry)
{
    if (entry->child_pidfd < 0) {
        return entry->ended ? push_death(L, entry) : 0;
    }
    const bool over = has_ended(entry->child_pidfd, 0); /* before its stage is looked at */
    const enum stage stage = stage_of(entry);
    if (entry->fault != 0) {
        return 0;
    }
    if (stage == STAGE_COMMAND || (stage == STAGE_UNKNOWN && entry->ended && (!over || entry->released))) {
        return push_started(L, entry);
    }
    return over ? push_death(L, entry) : 0;
}

static int push_child(lua_State *L, struct entry *entry)
{
    entry->announced = true;
    push_event(L, "child");
    ctx_set_integer(L, "pid", entry->child);
    return 1;
}

/* As look_at_child, but its process is announced first. */
static int progress(lua_State *L, struct entry *entry)
{
    adopt_child(entry);
    if (entry->fault != 0) {
        return 0;
    }
    return entry->child_pidfd >= 0 && !entry->announced ? push_child(L, entry) : look_at_child(L, entry);
}

static int push_fd_event(lua_State *L, const char *name, struct ctx_packet *packet)
{
    push_event(L, name);
    ctx_push_fd(L, packet->fd);
    packet->fd = -1;
    lua_setfield(L, -2, "fd");
    return 1;
}

static ssize_t send_go(struct entry *entry)
{
    ssize_t sent;
    entry->released = entry->ready;
    do {
        sent = ctx_write(entry->go, "", 1);
    } while (sent < 0 && errno == EINTR);
    return sent;
}

/* Pushes the event that a message is and returns 1, or 0 when it was for us. A message of the command's
 * process waits until that has been announced. */
static int take(lua_State *L, struct entry *entry, struct ctx_packet *packet)
{
    const uint32_t kind = packet->message.kind;
    if (kind == MSG_ERROR) {
        return push_error_event(L, entry, &packet->message);
    }
    if (kind == MSG_TERMINAL) {
        return push_fd_event(L, "terminal", packet);
    }
    if (!entry->announced) {
        entry->early = *packet;
        packet->fd = -1;
        return progress(L, entry);
    }
    entry->ready = kind == MSG_READY;
    if (entry->ready && entry->held) {
        return send_go(entry) < 0 ? progress(L, entry) : 0;
    }
    return entry->ready ? push_event(L, "ready") : push_fd_event(L, "listener", packet);
}

/* What is to be read next: the socket to its end, then the pipe. */
static int current(const struct entry *entry)
{
    return entry->control >= 0 ? entry->control : entry->status;
}

/* Reads what there is. Pushes an event and returns 1, or 0 when there was none. */
static int read_on(lua_State *L, struct entry *entry)
{
    struct ctx_packet packet;
    if (entry->ended) {
        return progress(L, entry);
    }
    ctx_receive(current(entry), entry->control >= 0, &packet);
    if (packet.size < 0 && errno == EAGAIN) {
        return 0;
    }
    if (packet.size < 0) {
        note_fault(entry, "read from the helper");
        return 0;
    }
    if (packet.size == 0) {
        if (entry->control >= 0) {
            close_fd(&entry->control);
        } else {
            entry->ended = true;
        }
        return progress(L, entry);
    }
    int pushed = ctx_packet_valid(&packet) ? take(L, entry, &packet) : progress(L, entry);
    close_fd(&packet.fd);
    return pushed;
}

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/***
The next event of an entry.

Events: `terminal` (`fd`), `child` (`pid`: the process that will be the command exists), `listener` (`fd`),
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
    struct entry *entry = check_entry(L);
    const lua_Integer timeout = luaL_optinteger(L, 2, -1);
    int64_t end = timeout < 0 ? INT64_MAX : now_ms() + timeout;
    if (entry->status < 0) {
        return ctx_error(L, EBADF, "entry");
    }
    if (entry->announced && entry->early.message.kind != 0) {
        struct ctx_packet packet = entry->early;
        entry->early.message.kind = 0;
        if (take(L, entry, &packet) != 0) {
            return 1;
        }
    }
    for (;;) {
        struct pollfd watched = {.fd = entry->ended ? entry->child_pidfd : current(entry), .events = POLLIN};
        int64_t left = timeout < 0 ? GLANCE : end - now_ms();
        int ready = poll(&watched, 1, left < 0 ? 0 : left < GLANCE ? (int)left : GLANCE);
        if (ready < 0) {
            return ctx_error(L, errno, "poll");
        }
        if (ready > 0 ? read_on(L, entry) != 0 : PROTECTED(glance) && progress(L, entry) != 0) {
            return 1;
        }
        if (entry->fault != 0) {
            return ctx_error(L, entry->fault, "%s", entry->fault_call);
        }
        /* no message puts the end off: one that has the pipe may send without end */
        if (!PROTECTED(flood) && ready > 0) {
            end = now_ms() + timeout;
        }
        if (timeout >= 0 && now_ms() >= end) {
            lua_pushboolean(L, 0);
            return 1;
        }
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
    struct entry *entry = check_entry(L);
    if (entry->status < 0) {
        return ctx_error(L, EBADF, "entry");
    }
    return send_go(entry) < 0 ? ctx_error(L, errno, "write") : ctx_ok(L);
}

/***
The descriptor to poll for reading before `next(0)`.

@function entry:fd
@treturn integer the descriptor, another one from the `child` event on, -1 after the last event; it stays the
entry's
*/
static int entry_fd(lua_State *L)
{
    lua_pushinteger(L, current(check_entry(L)));
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
    if (copy < 0) {
        return ctx_error(L, entry->child_pidfd < 0 ? ESRCH : errno, "pidfd");
    }
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
    if (fd < 0) {
        return -1;
    }
    const struct iovec parts[] = {
        {.iov_base = (void *)plan, .iov_len = sizeof(*plan)},
        {.iov_base = (void *)data, .iov_len = plan->size - sizeof(*plan)},
    };
    ssize_t written;
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

/* A host program may have closed its own stdio, so that a descriptor of ours got number 0, 1 or 2, where it
 * would be overwritten by the command's stdio. */
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

/* Where the command's stream comes from: what the plan names, else our own stream, else nothing. A
 * close-on-exec descriptor at the number of a stream is none: the host program has closed its stdio, and this
 * is something of its own. A source that a dup2 for another stream would overwrite is moved away first. */
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

/* What connects an entry with its helper. The pipes keep packets apart, as the socket does. */
static int open_channels(struct entry *entry, struct plan *plan)
{
    int socket[2] = {-1, -1}, status[2] = {-1, -1}, go[2] = {-1, -1};
    plan->control_fd = plan->status_fd = plan->go_fd = -1;
    const bool made = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, socket) == 0 &&
                      pipe2(status, O_CLOEXEC | O_DIRECT) == 0 && pipe2(go, O_CLOEXEC) == 0;
    /* whoever opened the pipes once more, by way of /proc, must not make us wait */
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
    close_fd(&plan->control_fd);
    close_fd(&plan->status_fd);
    close_fd(&plan->go_fd);
}

/* Whether the host program has its children reaped as they end. A short command could then be gone before we
 * have its pidfd, and its exit status with it: it is held back until then. */
static bool may_lose_children(void)
{
    struct sigaction action;
    return sigaction(SIGCHLD, NULL, &action) == 0 &&
           (action.sa_handler != SIG_DFL || (action.sa_flags & SA_NOCLDWAIT) != 0);
}

/***
Starts the helper on its way into a container.

The plan's fields are those of `struct plan` in core/common/plan.h under the same names, with `init`,
`cgroup`, `root`, `stdin`, `stdout` and `stderr` as descriptors; flags are booleans, or follow from the field
that they announce. Nothing of it is checked for sense here: that is the business of
lua/ctrexec/exec/plan.lua.

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
    for (int i = 0; i < OWN_FDS; i++) { /* room for our own, so that nothing is raised from here on */
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
        entry->first_pidfd = -1; /* what clone(2) may have left there */
        close_entry(entry);
        return ctx_error(L, error, "start the helper");
    }
    entry->first = pid;
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
