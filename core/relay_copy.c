/* One copy of the relay, from a descriptor to another.
 *
 * How a copy never blocks the loop, and never changes a descriptor that others share:
 *
 * - The caller's stdin and stdout are open file descriptions that its shell and its other children use too,
 * so the relay must not set O_NONBLOCK on them. Pipes and terminals are opened once more by way of
 * /proc/self/fd, which gives a description of the relay's own, with O_NONBLOCK. Where that is refused (a
 * terminal of another user, no /proc) the descriptor is used as it is: read once when poll(2) says so, and
 * written in pieces of at most PIPE_BUF, which a pipe that polls as writable takes whole.
 * - Sockets get MSG_DONTWAIT on each call.
 * - A pseudo-terminal's master cannot be opened twice (the second is another pseudo-terminal). The master
 * belongs to this exec alone, so O_NONBLOCK is set on it while the loop runs.
 * - Regular files never block in this sense. poll(2), unlike epoll(7), takes them as well, and there are too
 * few descriptors here for epoll to be the faster one.
 *
 * A copy holds one buffer and reads only when it is empty, so a slow reader stops the writer and memory stays
 * as it is. Between pipes and from a pipe to a file splice(2) moves the data, and the buffer is the pipe;
 * what is recorded (recorder.c) goes through the buffer.
 */
#include "core.h"
#include "relay.h"
#include "terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SPLICE_SIZE = 1024 * 1024 };

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

/* Opens a pipe or terminal once more, for an open file description of the relay's own. */
static void reopen(struct end *end, int flags)
{
    if ((flags & O_NONBLOCK) != 0) {
        return;
    }
    char path[sizeof("/proc/self/fd/") + 3 * sizeof(int)];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", end->given);
    int fd = open(path, (flags & O_ACCMODE) | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd >= 0) {
        end->fd = fd;
    } else {
        end->blocks = true;
    }
}

void ctx_prepare_end(struct end *end)
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

void ctx_put_back_end(struct end *end)
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

/* The source has ended. A command that reads a pipe sees the end of it; a command that reads a terminal sees
 * nothing, as with runc: a control-D that no user typed could end more than its input. */
static void finish_copy(struct relay *relay, struct copy *copy)
{
    copy->done = true;
    if (copy->input && copy->to->kind != KIND_MASTER) {
        close_end(relay, copy->to);
    }
}

/* The destination takes no more data. A command whose output has no reader any more gets SIGPIPE, or on a
 * terminal SIGHUP, as if it had written there itself. */
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

/* Fills the buffer. A terminal gives 4 KiB a call at most, so a terminal is read until it has no more. A read
 * error is an end like any other: EIO is how a pseudo-terminal says that no process has it open. */
static void fill(struct relay *relay, struct copy *copy)
{
    ssize_t count = 0;
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

/* Must be asked before the write: a program that reads a password turns the echo on again once it has the
 * password. */
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
    /* A descriptor that may block is written to only when it was polled as writable. */
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
        /* splice(2) refuses a file opened for appending, and some file systems. */
        copy->spliced = false;
    } else if (errno != EINTR) {
        abandon_copy(relay, copy);
    }
}

void ctx_step_copy(struct relay *relay, struct copy *copy)
{
    if (copy->spliced) {
        spliced_step(relay, copy);
    } else {
        buffered_step(relay, copy);
    }
}

bool ctx_can_splice(const struct copy *copy)
{
    enum kind from = copy->from->kind;
    enum kind to = copy->to->kind;
    if (copy->from->blocks || copy->to->blocks) {
        return false;
    }
    return (from == KIND_PIPE && (to == KIND_PIPE || to == KIND_FILE)) ||
           (from == KIND_FILE && to == KIND_PIPE);
}
