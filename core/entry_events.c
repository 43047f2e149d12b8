/***
A command on its way in, as `ctrexec.core.spawn.start` returns it: its events tell how far it is. The
decisions that they ask for are Lua's.

@module ctrexec.core.spawn.entry
*/
#include "common/protect.h"
#include "entry.h"
#include "pidfd.h"
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define CTX_PF_FORKNOEXEC 0x40 /* PF_FORKNOEXEC: forked, and no execve(2) yet */

/* How often the state of final is looked at, in milliseconds. */
#define GLANCE 20

/* How many messages are read in search of the error of a helper that has ended. A helper sends four at
 * most. */
#define LAST_WORDS 16

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

static struct entry *check_entry(lua_State *L)
{
    return luaL_checkudata(L, 1, CTX_ENTRY);
}

static int push_event(lua_State *L, const char *name)
{
    lua_createtable(L, 0, 6);
    lua_pushstring(L, name);
    lua_setfield(L, -2, "event");
    return 1;
}

enum stage { STAGE_HELPER, STAGE_COMMAND, STAGE_UNKNOWN };

/* Whether final has made its execve. The kernel says so in a flag of the process that only an execve clears
 * and that is never set again; a zombie still shows it. The process's name proves nothing, because the
 * command may change it, nor does the end of the pipe, because a killed helper closes it too. */
static enum stage stage_of(struct entry *entry)
{
    char path[40], text[1024];
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)entry->child);
    ssize_t size = ctx_read_small(path, text, sizeof(text));
    if (size < 0) {
        ctx_note_fault(entry, "read /proc/PID/stat");
    }
    if (!PROTECTED(exec_proof)) {
        return STAGE_COMMAND;
    }
    struct ctx_stat about;
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
    push_event(L, "error");
    lua_pushstring(L, step_names[message->step]);
    lua_setfield(L, -2, "step");
    ctx_set_integer(L, "errno", message->error);
    ctx_set_integer(L, "value", message->value);
    ctx_set_integer(L, "pid", entry->first);
    char reason[128];
    lua_pushstring(L, ctx_reason(message->error, reason, sizeof(reason)));
    lua_setfield(L, -2, "message");
    lua_pushstring(L, message->detail);
    lua_setfield(L, -2, "detail");
    ctx_abort_entry(entry);
    return 1;
}

/* Whether an error message waits on the socket or the pipe. The number of messages that are read is bounded,
 * because a container that got hold of the pipe may write without end. */
static bool last_words(int fd, bool is_socket, struct ctx_packet *packet)
{
    for (int i = 0; fd >= 0 && i < LAST_WORDS; i++) {
        ctx_receive(fd, is_socket, packet);
        if (packet->size <= 0) {
            return false;
        }
        ctx_close_fd(&packet->fd);
        if (ctx_packet_valid(packet) && packet->message.kind == MSG_ERROR) {
            return true;
        }
    }
    return false;
}

/* Pushes the last event of a helper that died: `error` if it has sent one, perhaps after the last look at the
 * socket and the pipe, else `died`: it was killed, or the container reached its memory limit. */
static int push_death(lua_State *L, struct entry *entry)
{
    siginfo_t info = {0};
    struct ctx_packet packet;
    if (last_words(entry->control, true, &packet) || last_words(entry->status, false, &packet)) {
        return push_error_event(L, entry, &packet.message);
    }
    const int pidfd = entry->child_pidfd >= 0 ? entry->child_pidfd : entry->first_pidfd;
    push_event(L, "died");
    if (ctx_has_ended(pidfd, CTX_KILL_WAIT) &&
        waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) == 0) {
        lua_pushstring(L, info.si_code == CLD_EXITED ? "exited" : "killed");
        lua_setfield(L, -2, "reason");
        ctx_set_integer(L, "status", info.si_status);
    }
    ctx_abort_entry(entry);
    return 1;
}

static int push_started(lua_State *L, struct entry *entry)
{
    ctx_reap_helpers(entry, false);
    ctx_close_entry(entry);
    return push_event(L, "started");
}

/* Looks at the state of final. Pushes an event and returns 1, or returns 0 while final is on its way. The end
 * of the pipe neither counts alone nor is it waited for: a container that may trace can copy the pipe, and
 * stop the process. But when the host program has had final reaped, so that nothing is known of it, an end
 * without an error after the last `go` is taken for an execve. */
static int look_at_child(lua_State *L, struct entry *entry)
{
    if (entry->child_pidfd < 0) {
        return entry->ended ? push_death(L, entry) : 0;
    }
    const bool over = ctx_has_ended(entry->child_pidfd, 0); /* before its stage is looked at */
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

/* As look_at_child, but gives the `child` event first. */
static int progress(lua_State *L, struct entry *entry)
{
    ctx_adopt_child(entry);
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
    entry->released = entry->ready;
    ssize_t sent = 0;
    do {
        sent = ctx_write(entry->go, "", 1);
    } while (sent < 0 && errno == EINTR);
    return sent;
}

/* Pushes the event for a message and returns 1, or returns 0 when the message was answered here. A message of
 * final is kept until the `child` event was given. */
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

/* The descriptor to read next: the socket up to its end, then the pipe. */
static int current(const struct entry *entry)
{
    return entry->control >= 0 ? entry->control : entry->status;
}

/* Reads what there is. Pushes an event and returns 1, or 0 when there was none. */
static int read_on(lua_State *L, struct entry *entry)
{
    if (entry->ended) {
        return progress(L, entry);
    }
    struct ctx_packet packet;
    ctx_receive(current(entry), entry->control >= 0, &packet);
    if (packet.size < 0 && errno == EAGAIN) {
        return 0;
    }
    if (packet.size < 0) {
        ctx_note_fault(entry, "read from the helper");
        return 0;
    }
    if (packet.size == 0) {
        if (entry->control >= 0) {
            ctx_close_fd(&entry->control);
        } else {
            entry->ended = true;
        }
        return progress(L, entry);
    }
    int pushed = ctx_packet_valid(&packet) ? take(L, entry, &packet) : progress(L, entry);
    ctx_close_fd(&packet.fd);
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
@tparam[opt] int timeout milliseconds to wait; without it, until there is an event
@treturn[1] table|false the event; false when the time is over
@return[2] nil
@treturn[2] string error message
@treturn[2] int errno: EINTR, or EBADF after the last event
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
        /* messages do not extend the time: a container that has the pipe may send without end */
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
@treturn[1] bool true
@return[2] nil
@treturn[2] string error message
@treturn[2] int errno
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
@treturn int the descriptor, another one from the `child` event on, -1 after the last event; it stays the
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
@treturn[1] fd the pidfd, owned by the caller
@return[2] nil
@treturn[2] string error message
@treturn[2] int errno: ESRCH when there is no child yet, or it was taken
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
Kills and reaps every process of an entry that has not become the command. Does nothing after `started`.
`__gc` and `__close` do the same.

@function entry:abort
*/
static int entry_abort(lua_State *L)
{
    ctx_abort_entry(check_entry(L));
    return 0;
}

void ctx_make_entry_class(lua_State *L)
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
