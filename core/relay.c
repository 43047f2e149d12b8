/***
The loop of a foreground exec: copies streams, forwards signals, follows the window size, watches the process
and the deadline, all in the calling thread.

How a copy never blocks the loop, and never changes a descriptor that others share:

- The caller's stdin and stdout are open file descriptions that its shell and its other children use too, so
O_NONBLOCK is not for us to set. Pipes and terminals are opened once more by way of /proc/self/fd, which gives
a description of our own, with O_NONBLOCK. Where that is refused (a terminal of another user, no /proc) the
descriptor is used as it is: read once when poll(2) says so, and written in pieces of at most PIPE_BUF, which
a pipe that polls as writable takes whole.
- Sockets get MSG_DONTWAIT on each call.
- A pseudo-terminal's master cannot be opened twice (the second is another pseudo-terminal). It is the exec's
own, and has O_NONBLOCK set while the loop runs.
- Regular files never block in this sense. poll(2), unlike epoll(7), takes them as well, and there are too few
  descriptors here for epoll to be the faster one.

A copy holds one buffer and reads only when it is empty, so a slow reader stops the writer and memory stays as
it is. Between pipes and from a pipe to a file splice(2) moves the data, and the buffer is the pipe; what is
recorded (recorder.c) goes through the buffer.

@module ctrexec.core.relay
*/
#include "common/protect.h"
#include "core.h"
#include "recorder.h"
#include "terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

enum {
    MAX_COPIES = 8,
    MAX_ENDS = 2 * MAX_COPIES,
    BUFFER_SIZE = 64 * 1024,
    SPLICE_SIZE = 1024 * 1024,
    SIGNALS_AT_ONCE = 16,
    NANOSECONDS = 1000000000,
    /* What a pseudo-terminal can hold back, several times over. */
    DRAIN_MIN = 64 * 1024,
};

/* Longer deadlines are none. */
#define DEADLINE_MAX 1e9

enum kind { KIND_OTHER, KIND_FILE, KIND_PIPE, KIND_SOCKET, KIND_MASTER };

/* One descriptor of the caller's, however many copies use it. */
struct end {
    int given; /* the caller's number, -1 once closed */
    int *box;  /* the number inside its fd object, if it is one */
    int fd;    /* what is read and written: `given`, or our own description of the same file */
    int flags; /* to be set again on return, -1 if they were not changed */
    enum kind kind;
    bool blocks; /* no way round blocking was found */
};

struct copy {
    struct end *from;
    struct end *to;
    bool input;
    bool spliced;
    bool at_end; /* of `from` */
    bool done;
    bool waits_for_room; /* in `to`; else for data in `from` */
    enum ctx_stream stream;
    char *buffer;
    size_t start, end;
    size_t quota; /* once the process has ended: bytes that may still be read */
};

struct relay {
    struct end ends[MAX_ENDS];
    size_t end_count;
    struct copy copies[MAX_COPIES];
    size_t copy_count;
    int pidfd;
    int terminal;
    struct end *master;
    struct ctx_recorder *recorder;
    int signalfd;
    bool forwards_signals;
    bool ended;
    bool has_deadline;
    struct timespec deadline;
    bool has_raw_settings;
    struct termios raw_settings;
};

/* ---- Descriptors ---- */

static enum kind kind_of(int fd)
{
    struct stat status;

    if (fstat(fd, &status) != 0) {
        return KIND_OTHER;
    }
    switch (status.st_mode & S_IFMT) {
    case S_IFREG:
        return KIND_FILE;
    case S_IFIFO:
        return KIND_PIPE;
    case S_IFSOCK:
        return KIND_SOCKET;
    default:
        return ctx_is_pty_master(fd) ? KIND_MASTER : KIND_OTHER;
    }
}

/* Opens a pipe or terminal once more, for a description of our own. */
static void reopen(struct end *end, int flags)
{
    char path[sizeof("/proc/self/fd/") + 3 * sizeof(int)];
    int fd;

    if ((flags & O_NONBLOCK) != 0) {
        return;
    }
    snprintf(path, sizeof(path), "/proc/self/fd/%d", end->given);
    fd = open(path, (flags & O_ACCMODE) | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd >= 0) {
        end->fd = fd;
    } else {
        end->blocks = true;
    }
}

static void prepare(struct end *end)
{
    int flags = fcntl(end->given, F_GETFL);

    end->fd = end->given;
    end->flags = -1;
    end->kind = kind_of(end->given);
    if (flags < 0) {
        return;
    }
    if (end->kind == KIND_PIPE || (end->kind == KIND_OTHER && isatty(end->given))) {
        reopen(end, flags);
    } else if (end->kind == KIND_MASTER && (flags & O_NONBLOCK) == 0) {
        end->flags = flags;
        fcntl(end->given, F_SETFL, flags | O_NONBLOCK);
    }
}

static void put_back(struct end *end)
{
    if (end->fd != end->given) {
        close(end->fd);
    }
    if (end->given >= 0 && end->flags >= 0) {
        fcntl(end->given, F_SETFL, end->flags);
    }
}

/* Closes a descriptor for good: the process at the other side is to notice. */
static void close_end(struct relay *relay, struct end *end)
{
    if (end->given < 0) {
        return;
    }
    if (end->fd != end->given) {
        close(end->fd);
    }
    close(end->given);
    if (end->box != NULL) {
        *end->box = -1;
    }
    end->given = -1;
    end->fd = -1;
    for (size_t i = 0; i < relay->copy_count; i++) {
        struct copy *copy = &relay->copies[i];

        copy->done = copy->done || copy->from == end || copy->to == end;
    }
}

/* ---- Copying ---- */

/* Nothing more will come. A command that reads a pipe sees the end of it; one that reads a terminal sees
 * nothing, as with runc: a control-D that nobody typed could end more than its input. */
static void finish_copy(struct relay *relay, struct copy *copy)
{
    copy->done = true;
    if (copy->input && copy->to->kind != KIND_MASTER) {
        close_end(relay, copy->to);
    }
}

/* Nothing more can be written. A command whose output has no reader any more gets SIGPIPE, or on a terminal
 * SIGHUP, as if it had written there itself. */
static void abandon_copy(struct relay *relay, struct copy *copy)
{
    copy->done = true;
    close_end(relay, copy->input ? copy->to : copy->from);
}

static bool would_block(int error)
{
    return error == EAGAIN || error == EWOULDBLOCK || error == EINTR;
}

static size_t allowed(const struct relay *relay, const struct copy *copy, size_t size)
{
    return relay->ended && copy->quota < size ? copy->quota : size;
}

static void count_bytes(const struct relay *relay, struct copy *copy, ssize_t count)
{
    if (relay->ended) {
        copy->quota -= (size_t)count;
    }
}

static ssize_t read_end(const struct end *end, void *data, size_t size)
{
    return end->kind == KIND_SOCKET ? recv(end->fd, data, size, MSG_DONTWAIT) : read(end->fd, data, size);
}

static ssize_t write_end(const struct end *end, const void *data, size_t size)
{
    if (end->kind == KIND_SOCKET) {
        return send(end->fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    }
    return write(end->fd, data, end->blocks && size > PIPE_BUF ? PIPE_BUF : size);
}

/* Fills the buffer. A terminal gives 4 KiB a call at most, so there it goes on for as long as there is more.
 * A read error is an end like any other: EIO is how a pseudo-terminal says that no process has it open. */
static void fill(struct relay *relay, struct copy *copy)
{
    ssize_t count;

    do {
        size_t room = allowed(relay, copy, BUFFER_SIZE - copy->end);

        if (room == 0) {
            return;
        }
        count = read_end(copy->from, copy->buffer + copy->end, room);
        if (count > 0) {
            if (relay->recorder != NULL && !copy->input) {
                ctx_record(relay->recorder, copy->stream, copy->buffer + copy->end, (size_t)count);
            }
            copy->end += (size_t)count;
            count_bytes(relay, copy, count);
        }
    } while (count > 0 && copy->from->kind == KIND_MASTER);
    if (count == 0 || (count < 0 && !would_block(errno))) {
        copy->at_end = true;
    }
}

/* Asked before the write: a program that reads a password shows its echo again once it has it. */
static bool is_recorded_input(const struct relay *relay, const struct copy *copy)
{
    const struct end *typed_at = copy->to->kind == KIND_MASTER ? copy->to : copy->from;

    return relay->recorder != NULL && copy->input &&
           ctx_records_input(relay->recorder, isatty(typed_at->fd) ? typed_at->fd : -1);
}

static void flush(struct relay *relay, struct copy *copy)
{
    bool recorded = is_recorded_input(relay, copy);
    ssize_t count = write_end(copy->to, copy->buffer + copy->start, copy->end - copy->start);

    if (count > 0) {
        if (recorded) {
            ctx_record(relay->recorder, CTX_STREAM_INPUT, copy->buffer + copy->start, (size_t)count);
        }
        copy->start += (size_t)count;
        if (copy->start == copy->end) {
            copy->start = 0;
            copy->end = 0;
        }
    } else if (count < 0 && !would_block(errno)) {
        abandon_copy(relay, copy);
    }
}

static void buffered_step(struct relay *relay, struct copy *copy)
{
    /* A descriptor that blocks is written to only when it was polled for that. */
    bool writable = copy->waits_for_room || !copy->to->blocks;

    if (copy->end == 0 && !copy->at_end) {
        fill(relay, copy);
    }
    if (copy->end > 0 && writable) {
        flush(relay, copy);
    }
    copy->waits_for_room = copy->end > 0;
    if (copy->at_end && copy->end == 0 && !copy->done) {
        finish_copy(relay, copy);
    }
}

static void spliced_step(struct relay *relay, struct copy *copy)
{
    size_t size = allowed(relay, copy, SPLICE_SIZE);
    ssize_t count = splice(copy->from->fd, NULL, copy->to->fd, NULL, size, SPLICE_F_NONBLOCK | SPLICE_F_MOVE);

    if (count > 0) {
        count_bytes(relay, copy, count);
        copy->waits_for_room = false;
    } else if (count == 0) {
        finish_copy(relay, copy);
    } else if (errno == EAGAIN) {
        /* One side was polled as ready, so it is the other one that is not. */
        copy->waits_for_room = !copy->waits_for_room && copy->to->kind == KIND_PIPE;
    } else if (errno == EINVAL) {
        /* A file opened for appending, or of a file system that cannot. */
        copy->spliced = false;
    } else if (errno != EINTR) {
        abandon_copy(relay, copy);
    }
}

static void step(struct relay *relay, struct copy *copy)
{
    if (copy->spliced) {
        spliced_step(relay, copy);
    } else {
        buffered_step(relay, copy);
    }
}

static bool can_splice(const struct copy *copy)
{
    enum kind from = copy->from->kind;
    enum kind to = copy->to->kind;

    if (copy->from->blocks || copy->to->blocks) {
        return false;
    }
    return (from == KIND_PIPE && (to == KIND_PIPE || to == KIND_FILE)) ||
           (from == KIND_FILE && to == KIND_PIPE);
}

/* ---- The end of the process ---- */

/* What the process left behind is still copied, and no more: something else may hold the other side open and
 * go on writing for ever. */
static void begin_drain(struct relay *relay)
{
    relay->ended = true;
    for (size_t i = 0; i < relay->copy_count; i++) {
        struct copy *copy = &relay->copies[i];
        int available = 0;

        if (copy->input) {
            copy->done = true;
        } else if (!copy->done) {
            if (ioctl(copy->from->fd, FIONREAD, &available) != 0 || available < DRAIN_MIN) {
                available = DRAIN_MIN;
            }
            copy->quota = (size_t)available;
        }
    }
}

static bool readable_now(const struct end *end)
{
    struct pollfd poll_fd = {.fd = end->fd, .events = POLLIN};

    return poll(&poll_fd, 1, 0) > 0;
}

/* Whether all that is to be copied has been. */
static bool is_drained(struct relay *relay)
{
    bool drained = true;

    for (size_t i = 0; i < relay->copy_count; i++) {
        struct copy *copy = &relay->copies[i];

        if (!copy->done && copy->end == 0 && PROTECTED(drain) &&
            (copy->quota == 0 || !readable_now(copy->from))) {
            copy->done = true;
        }
        drained = drained && copy->done;
    }
    return drained;
}

/* ---- Signals ---- */

/* All that runc forwards: everything but what is about this program itself. SIGTTIN and SIGTTOU also are:
 * they stop a program in the background that touches its terminal. */
static void forwarded_signals(sigset_t *set)
{
    sigfillset(set);
    sigdelset(set, SIGCHLD);
    sigdelset(set, SIGURG);
    sigdelset(set, SIGPIPE);
    sigdelset(set, SIGTTIN);
    sigdelset(set, SIGTTOU);
}

static void follow_window_size(const struct relay *relay)
{
    if (relay->terminal >= 0 && relay->master != NULL && relay->master->given >= 0) {
        ctx_copy_window_size(relay->terminal, relay->master->given);
        if (relay->recorder != NULL) {
            ctx_record_window(relay->recorder, relay->master->given);
        }
    }
}

/* After a stop the shell may have given the terminal other settings. */
static void resume_terminal(const struct relay *relay)
{
    if (relay->has_raw_settings && tcgetpgrp(relay->terminal) == getpgrp()) {
        tcsetattr(relay->terminal, TCSANOW, &relay->raw_settings);
    }
    follow_window_size(relay);
}

static void forward_signals(struct relay *relay)
{
    struct signalfd_siginfo infos[SIGNALS_AT_ONCE];
    ssize_t size = read(relay->signalfd, infos, sizeof(infos));

    for (size_t i = 0; size > 0 && i < (size_t)size / sizeof(*infos); i++) {
        int signal = (int)infos[i].ssi_signo;

        if (signal == SIGCONT) {
            resume_terminal(relay);
        }
        if (signal == SIGWINCH) {
            follow_window_size(relay);
        } else {
            syscall(SYS_pidfd_send_signal, relay->pidfd, signal, NULL, 0);
        }
    }
}

/* ---- The loop ---- */

/* The time left, or false when there is none. */
static bool time_left(const struct relay *relay, struct timespec *left)
{
    clock_gettime(CLOCK_MONOTONIC, left);
    left->tv_sec = relay->deadline.tv_sec - left->tv_sec;
    left->tv_nsec = relay->deadline.tv_nsec - left->tv_nsec;
    if (left->tv_nsec < 0) {
        left->tv_sec--;
        left->tv_nsec += NANOSECONDS;
    }
    return left->tv_sec >= 0 && (left->tv_sec > 0 || left->tv_nsec > 0);
}

/* One entry each for the process and the signals, then one a copy, -1 (passed over by poll) for what has
 * ended. */
enum { POLL_PROCESS, POLL_SIGNALS, POLL_COPIES };

static void list_polled(const struct relay *relay, struct pollfd *polled)
{
    polled[POLL_PROCESS] = (struct pollfd){.fd = relay->ended ? -1 : relay->pidfd, .events = POLLIN};
    polled[POLL_SIGNALS] = (struct pollfd){.fd = relay->signalfd, .events = POLLIN};
    for (size_t i = 0; i < relay->copy_count; i++) {
        const struct copy *copy = &relay->copies[i];
        const struct end *end = copy->waits_for_room ? copy->to : copy->from;

        polled[POLL_COPIES + i] = (struct pollfd){.fd = copy->done ? -1 : end->fd,
                                                  .events = copy->waits_for_room ? POLLOUT : POLLIN};
    }
}

static void handle_polled(struct relay *relay, const struct pollfd *polled)
{
    if (polled[POLL_SIGNALS].revents != 0) {
        forward_signals(relay);
    }
    for (size_t i = 0; i < relay->copy_count; i++) {
        if (polled[POLL_COPIES + i].revents != 0 && !relay->copies[i].done) {
            step(relay, &relay->copies[i]);
        }
    }
    if (polled[POLL_PROCESS].revents != 0) {
        begin_drain(relay);
    }
}

/* Returns 0 when the process has ended and its output has been copied, ETIME at the deadline, or another
 * errno. */
static int loop(struct relay *relay)
{
    while (!relay->ended || !is_drained(relay)) {
        struct pollfd polled[POLL_COPIES + MAX_COPIES];
        struct timespec left;
        bool limited = relay->has_deadline;
        int error = 0;

        if (relay->has_deadline && !time_left(relay, &left)) {
            return ETIME;
        }
        if (relay->recorder != NULL) {
            error = ctx_recorder_tick(relay->recorder, &left, &limited);
        }
        if (error != 0) {
            return error;
        }
        list_polled(relay, polled);
        if (ppoll(polled, POLL_COPIES + relay->copy_count, limited ? &left : NULL, NULL) >= 0) {
            handle_polled(relay, polled);
        } else if (errno != EINTR) {
            return errno;
        }
    }
    return 0;
}

/* A write to a pipe without readers raises SIGPIPE, which would end the host program. It is blocked
 * meanwhile, and one of our making is taken out again. */
static int run_with_signals(struct relay *relay)
{
    static const struct timespec AT_ONCE = {0};
    sigset_t blocked;
    sigset_t pipe_signal;
    sigset_t pending;
    sigset_t old;
    int error;

    sigemptyset(&pipe_signal);
    sigaddset(&pipe_signal, SIGPIPE);
    sigpending(&pending);
    if (relay->forwards_signals) {
        forwarded_signals(&blocked);
        relay->signalfd = signalfd(-1, &blocked, SFD_CLOEXEC | SFD_NONBLOCK);
        if (relay->signalfd < 0) {
            return errno;
        }
    } else {
        sigemptyset(&blocked);
    }
    sigaddset(&blocked, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &blocked, &old);
    follow_window_size(relay);
    error = loop(relay);
    if (!sigismember(&pending, SIGPIPE)) {
        while (sigtimedwait(&pipe_signal, NULL, &AT_ONCE) < 0 && errno == EINTR) {
        }
    }
    /* What came too late to be forwarded is delivered here. */
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (relay->signalfd >= 0) {
        close(relay->signalfd);
    }
    return error;
}

/* ---- Options. All that may raise an error is done before anything is changed. ---- */

static struct end *find_end(struct relay *relay, int fd)
{
    for (size_t i = 0; i < relay->end_count; i++) {
        if (relay->ends[i].given == fd) {
            return &relay->ends[i];
        }
    }
    return NULL;
}

/* The descriptor in table[key], which must be there. */
static struct end *check_end(lua_State *L, struct relay *relay, int table, const char *key)
{
    struct end *end;
    int fd;

    lua_getfield(L, table, key);
    fd = ctx_to_fd(L, -1);
    if (fd < 0) {
        luaL_error(L, "copies: %s: descriptor expected, got %s", key, luaL_typename(L, -1));
    }
    end = find_end(relay, fd);
    if (end == NULL) {
        end = &relay->ends[relay->end_count++];
        end->given = fd;
    }
    if (end->box == NULL) {
        end->box = luaL_testudata(L, -1, CTX_FD);
    }
    lua_pop(L, 1);
    return end;
}

/* What an earlier run, cut short by its deadline, could not deliver. */
static void load_pending(lua_State *L, int table, struct copy *copy)
{
    size_t size = 0;
    const char *data;

    lua_getfield(L, table, "pending");
    data = lua_tolstring(L, -1, &size);
    if (size > BUFFER_SIZE) {
        luaL_error(L, "copies: pending: longer than %d bytes", BUFFER_SIZE);
    }
    if (size > 0) {
        memcpy(copy->buffer, data, size);
        copy->end = size;
        copy->waits_for_room = true;
    }
    lua_pop(L, 1);
}

/* Reads copies[n]; leaves its buffer on the stack. */
static void check_copy(lua_State *L, struct relay *relay, int copies, lua_Integer n)
{
    struct copy *copy = &relay->copies[relay->copy_count++];
    int table;

    copy->buffer = lua_newuserdatauv(L, BUFFER_SIZE, 0);
    lua_rawgeti(L, copies, n);
    table = lua_gettop(L);
    if (!lua_istable(L, table)) {
        luaL_error(L, "copies: table expected, got %s", luaL_typename(L, table));
    }
    copy->from = check_end(L, relay, table, "from");
    copy->to = check_end(L, relay, table, "to");
    lua_getfield(L, table, "input");
    copy->input = lua_toboolean(L, -1);
    lua_pop(L, 1);
    load_pending(L, table, copy);
    lua_pop(L, 1);
}

static void check_copies(lua_State *L, struct relay *relay)
{
    lua_Integer count;

    if (lua_getfield(L, 1, "copies") == LUA_TNIL) {
        return;
    }
    luaL_argcheck(L, lua_istable(L, -1), 1, "copies: table expected");
    count = (lua_Integer)lua_rawlen(L, -1);
    luaL_argcheck(L, count <= MAX_COPIES, 1, "copies: more than 8");
    luaL_checkstack(L, MAX_COPIES + LUA_MINSTACK, "copies");
    for (lua_Integer n = 1; n <= count; n++) {
        check_copy(L, relay, 2, n);
    }
}

static int opt_descriptor(lua_State *L, const char *key)
{
    int fd = -1;

    if (lua_getfield(L, 1, key) != LUA_TNIL) {
        fd = ctx_to_fd(L, -1);
        if (fd < 0) {
            luaL_error(L, "%s: descriptor expected, got %s", key, luaL_typename(L, -1));
        }
    }
    lua_pop(L, 1);
    return fd;
}

static void check_deadline(lua_State *L, struct relay *relay)
{
    if (lua_getfield(L, 1, "deadline") != LUA_TNIL) {
        lua_Number seconds = lua_tonumber(L, -1);

        luaL_argcheck(L, lua_type(L, -1) == LUA_TNUMBER && seconds >= 0, 1, "deadline: number >= 0 expected");
        if (seconds < DEADLINE_MAX) {
            struct timespec *deadline = &relay->deadline;

            clock_gettime(CLOCK_MONOTONIC, deadline);
            deadline->tv_sec += (time_t)seconds;
            deadline->tv_nsec += (long)((seconds - (lua_Number)(time_t)seconds) * NANOSECONDS);
            if (deadline->tv_nsec >= NANOSECONDS) {
                deadline->tv_sec++;
                deadline->tv_nsec -= NANOSECONDS;
            }
            relay->has_deadline = true;
        }
    }
    lua_pop(L, 1);
}

/* What the recorder calls each copy: with two of output, the second is the command's stderr. */
static void check_recorder(lua_State *L, struct relay *relay)
{
    enum ctx_stream output = CTX_STREAM_OUTPUT;

    if (lua_getfield(L, 1, "recorder") != LUA_TNIL) {
        relay->recorder = ctx_check_recorder(L, -1);
    }
    lua_pop(L, 1);
    for (size_t i = 0; i < relay->copy_count; i++) {
        if (relay->copies[i].input) {
            relay->copies[i].stream = CTX_STREAM_INPUT;
        } else {
            relay->copies[i].stream = output;
            output = CTX_STREAM_ERROR;
        }
    }
}

static void check_options(lua_State *L, struct relay *relay)
{
    int master;

    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    check_copies(L, relay);
    relay->signalfd = -1;
    relay->pidfd = opt_descriptor(L, "pidfd");
    luaL_argcheck(L, relay->pidfd >= 0, 1, "pidfd: descriptor expected");
    relay->terminal = opt_descriptor(L, "terminal");
    master = opt_descriptor(L, "master");
    relay->master = find_end(relay, master);
    luaL_argcheck(L, master < 0 || relay->master != NULL, 1, "master: not in any copy");
    lua_getfield(L, 1, "signals");
    relay->forwards_signals = lua_toboolean(L, -1);
    lua_pop(L, 1);
    check_recorder(L, relay);
    check_deadline(L, relay);
}

static void prepare_all(struct relay *relay)
{
    for (size_t i = 0; i < relay->end_count; i++) {
        prepare(&relay->ends[i]);
    }
    for (size_t i = 0; i < relay->copy_count; i++) {
        struct copy *copy = &relay->copies[i];

        copy->spliced = relay->recorder == NULL && copy->end == 0 && can_splice(copy);
    }
    relay->has_raw_settings = relay->terminal >= 0 && tcgetattr(relay->terminal, &relay->raw_settings) == 0;
}

/* Keeps what could not be delivered where the next run finds it. */
static void store_pending(lua_State *L, const struct relay *relay)
{
    if (relay->copy_count == 0) {
        return;
    }
    lua_getfield(L, 1, "copies");
    for (size_t i = 0; i < relay->copy_count; i++) {
        const struct copy *copy = &relay->copies[i];

        lua_rawgeti(L, -1, (lua_Integer)i + 1);
        if (copy->end > 0 && !copy->done) {
            lua_pushlstring(L, copy->buffer + copy->start, copy->end - copy->start);
        } else {
            lua_pushnil(L);
        }
        lua_setfield(L, -2, "pending");
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

/***
Runs the loop until the process has ended and what it wrote has been copied, or until the deadline.

Options:

- `pidfd`: descriptor of the process (pidfd_open(2)). It is not waited for; `core.pidfd.wait` has its status.
- `copies`: array of at most 8 tables `{from=, to=, input=}`, one direction each. Without `input` it is output
of the command: copied to its end or, after the process has ended, for as much as the process can have left (a
background process that keeps the stream open does not delay the return). If its `to` takes no more, `from` is
closed, so that the command notices. With `input = true` it is for the command: dropped when the process ends;
at the end of `from`, `to` is closed, unless it is a pseudo-terminal. Give an fd object for what may be
closed: it is then closed as by `:close()`.
- `master`, `terminal`: the master of the command's pseudo-terminal (also in `copies`) and the caller's
terminal. The master gets the terminal's window size at the start and, with `signals`, at each SIGWINCH;
SIGCONT sets the settings again that the terminal had at the start.
- `signals`: when true, all signals but SIGKILL, SIGSTOP, SIGCHLD, SIGURG, SIGPIPE, SIGTTIN, SIGTTOU and
SIGWINCH are blocked in the calling thread, read by signalfd(2) and sent to the process; a caller that blocks
them earlier loses none. The thread's mask is restored before the return. Without it no signal is touched but
SIGPIPE, which a write here never raises.
- `recorder`: of `core.recorder`, given what the streams carry and the terminal's sizes.
- `deadline`: seconds from now, a number. Data that was read but not delivered by then is put into
`copies[i].pending`, where another call with the same table finds it.

@function run
@tparam table options
@treturn[1] boolean true: the process has ended
@treturn[2] table `{timeout = true}`: the deadline has passed, nothing was done to the process
@treturn[3] nil
@treturn[3] string message
@treturn[3] integer errno: EBADF for a pidfd that is not open; that of a failed write of a recording that is
required. A stream that is not open is one that has ended.
*/
static int run(lua_State *L)
{
    struct relay relay = {0};
    int error;

    check_options(L, &relay);
    if (fcntl(relay.pidfd, F_GETFD) < 0) {
        return ctx_error(L, errno, "relay: pidfd %d", relay.pidfd);
    }
    prepare_all(&relay);
    error = run_with_signals(&relay);
    for (size_t i = 0; i < relay.end_count; i++) {
        put_back(&relay.ends[i]);
    }
    store_pending(L, &relay);
    if (error != 0 && error != ETIME) {
        return ctx_error(L, error, "relay");
    }
    if (error == 0) {
        return ctx_ok(L);
    }
    lua_createtable(L, 0, 1);
    lua_pushboolean(L, true);
    lua_setfield(L, -2, "timeout");
    return 1;
}

/***
Blocks the signals that `run` forwards, in the calling thread: one that comes after this and before `run` is
then forwarded, too. For a program that does nothing but run one command; the mask stays as it is from here
on.

@function block_signals
@treturn boolean true
@see sigprocmask(2)
*/
static int block_signals(lua_State *L)
{
    sigset_t signals;

    forwarded_signals(&signals);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    return ctx_ok(L);
}

int ctx_open_relay(lua_State *L)
{
    static const luaL_Reg FUNCTIONS[] = {
        {"block_signals", block_signals},
        {"run", run},
        {NULL, NULL},
    };

    luaL_newlib(L, FUNCTIONS);
    return 1;
}
