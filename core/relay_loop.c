/* The loop of the relay: signals, the process's end and the deadline. */
#include "common/protect.h"
#include "relay.h"
#include "terminal.h"

#include <errno.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    SIGNALS_AT_ONCE = 16,
    /* Several times what a pseudo-terminal can hold back. */
    DRAIN_MIN = 64 * 1024,
};

/* ---- The end of the process ---- */

/* Only what the process has left in its streams is still copied: another process may hold the other side open
 * and write for ever. */
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

/* Whether everything that has to be copied has been. */
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

/* All signals that runc forwards: every one that is not about this program itself. SIGTTIN and SIGTTOU are
 * about this program too: they stop it when it touches its terminal from the background. */
void ctx_forwarded_signals(sigset_t *set)
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
            ctx_step_copy(relay, &relay->copies[i]);
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
        bool limited = relay->has_deadline;
        int error = 0;
        struct timespec left;
        if (relay->has_deadline && !time_left(relay, &left)) {
            return ETIME;
        }
        if (relay->recorder != NULL) {
            error = ctx_recorder_tick(relay->recorder, &left, &limited);
        }
        if (error != 0) {
            return error;
        }
        struct pollfd polled[POLL_COPIES + MAX_COPIES];
        list_polled(relay, polled);
        if (ppoll(polled, POLL_COPIES + relay->copy_count, limited ? &left : NULL, NULL) >= 0) {
            handle_polled(relay, polled);
        } else if (errno != EINTR) {
            return errno;
        }
    }
    return 0;
}

/* A write to a pipe without readers raises SIGPIPE, which would end the host program. So the signal is
 * blocked while the loop runs, and a SIGPIPE that the loop has raised is discarded. */
int ctx_run_relay(struct relay *relay)
{
    static const struct timespec AT_ONCE = {0};
    sigset_t pipe_signal;
    sigemptyset(&pipe_signal);
    sigaddset(&pipe_signal, SIGPIPE);
    sigset_t pending;
    sigpending(&pending);
    sigset_t blocked;
    if (relay->forwards_signals) {
        ctx_forwarded_signals(&blocked);
        relay->signalfd = signalfd(-1, &blocked, SFD_CLOEXEC | SFD_NONBLOCK);
        if (relay->signalfd < 0) {
            return errno;
        }
    } else {
        sigemptyset(&blocked);
    }
    sigaddset(&blocked, SIGPIPE);
    sigset_t old;
    pthread_sigmask(SIG_BLOCK, &blocked, &old);
    follow_window_size(relay);
    int error = loop(relay);
    if (!sigismember(&pending, SIGPIPE)) {
        while (sigtimedwait(&pipe_signal, NULL, &AT_ONCE) < 0 && errno == EINTR) {
        }
    }
    /* Signals that came too late to be forwarded are delivered to this program here. */
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (relay->signalfd >= 0) {
        close(relay->signalfd);
    }
    return error;
}
