/* The processes of an entry: first, member and final (core/enter/enter.c). All are children of the host
 * program, which may reap them itself. */
#include "entry.h"
#include "common/protect.h"
#include "pidfd.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

void ctx_close_fd(int *fd)
{
    if (*fd >= 0) {
        close(*fd);
    }
    *fd = -1;
}

void ctx_close_entry(struct entry *entry)
{
    entry->told = true;
    ctx_close_fd(&entry->control);
    ctx_close_fd(&entry->status);
    ctx_close_fd(&entry->go);
    ctx_close_fd(&entry->plan_fd);
    ctx_close_fd(&entry->child_pidfd);
    if (entry->early.message.kind != 0) {
        ctx_close_fd(&entry->early.fd);
    }
    entry->early.message.kind = 0;
}

/* Reads the pids of member and final that the kernel wrote at the forks; 0 where there was no fork. */
static void read_children(const struct entry *entry, pid_t *member, pid_t *final)
{
    int32_t pids[2] = {0, 0};
    _Static_assert(offsetof(struct plan, final_pid) == offsetof(struct plan, member_pid) + sizeof(pids[0]),
                   "member_pid and final_pid are read as one");
    ssize_t got = 0;
    do {
        got = pread(entry->plan_fd, pids, sizeof(pids), offsetof(struct plan, member_pid));
    } while (got < 0 && errno == EINTR);
    if (got != (ssize_t)sizeof(pids)) {
        pids[0] = pids[1] = 0;
    }
    *member = pids[0];
    *final = pids[1];
}

/* Opens a pidfd of a child that was not reaped: until then no other process can have its pid. Returns -1 with
 * errno; it is one of those of is_gone() when the host program has reaped the child. */
static int child_pidfd_of(pid_t pid)
{
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    siginfo_t info;
    while (fd >= 0 && waitid(P_PIDFD, (id_t)fd, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) < 0) {
        if (errno != EINTR) {
            ctx_close_fd(&fd);
        }
    }
    return fd;
}

static bool is_gone(int error)
{
    return error == ESRCH || error == ENOENT || error == ECHILD;
}

void ctx_note_fault(struct entry *entry, const char *call)
{
    entry->fault = is_gone(errno) ? 0 : errno;
    entry->fault_call = call;
}

void ctx_adopt_child(struct entry *entry)
{
    pid_t member = 0, final = 0;
    if (entry->child != 0 || entry->plan_fd < 0) {
        return;
    }
    read_children(entry, &member, &final);
    if (final <= 0) {
        return;
    }
    entry->child_pidfd = child_pidfd_of(final);
    if (entry->child_pidfd < 0) {
        ctx_note_fault(entry, "pidfd_open");
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
                 errno == EINTR); /* a signal handler of the host program must not leave a zombie */
    }
    return ready;
}

bool ctx_has_ended(int pidfd, int milliseconds)
{
    return poll_end(pidfd, milliseconds) > 0;
}

/* waitid(2) for a child by its pid. Another process can have that pid only if the host program has reaped the
 * child, and has started a new child that got the same pid, since the kernel noted it. */
static int wait_by_pid(pid_t pid, int options)
{
    siginfo_t info = {0};
    int result = 0;
    do {
        result = waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | __WALL | options);
    } while (result < 0 && errno == EINTR);
    return result == 0 && info.si_pid == 0 ? 1 : result; /* 1: it has not ended */
}

/* Reaps a child for which there is no pidfd, if it ends within the time. */
static void reap_by_pid(pid_t pid)
{
    for (int i = 0; i < CTX_KILL_WAIT && pid > 0 && wait_by_pid(pid, 0) > 0; i++) {
        poll(NULL, 0, 1);
    }
}

static void end_by_pid(pid_t pid)
{
    if (pid > 0 && wait_by_pid(pid, WNOWAIT) >= 0) { /* not reaped: the pid is still that child's */
        kill(pid, SIGKILL);
    }
    reap_by_pid(pid);
}

/* Reaps a child if it ends within the time; by its pid if the pidfd cannot be used. */
static void reap(int pidfd, pid_t pid)
{
    const int ended = poll_end(pidfd, PROTECTED(bounded_reap) ? CTX_KILL_WAIT : -1);
    int result = ended;
    siginfo_t info;
    if (ended > 0) {
        do {
            result = waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED | __WALL);
        } while (result < 0 && errno == EINTR);
    }
    if (result < 0 && !(ended > 0 && errno == ECHILD)) { /* ECHILD: the host program has reaped it */
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
    ctx_close_fd(&pidfd);
}

static void kill_member(pid_t pid)
{
    int pidfd = pid > 0 ? child_pidfd_of(pid) : -1;
    if (pidfd >= 0) {
        syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
    }
    ctx_close_fd(&pidfd);
}

void ctx_reap_helpers(struct entry *entry, bool kill_first)
{
    pid_t member = 0, final = 0;
    if (entry->first_pidfd < 0) {
        return;
    }
    if (kill_first) {
        syscall(SYS_pidfd_send_signal, entry->first_pidfd, SIGKILL, NULL, 0);
    }
    reap(entry->first_pidfd, entry->first); /* first has ended: no other member can be born */
    ctx_close_fd(&entry->first_pidfd);      /* before the next pidfd is opened: descriptors may be short */
    read_children(entry, &member, &final);
    if (kill_first) {
        kill_member(member);
    }
    reap_member(member);
    ctx_adopt_child(entry);
}

void ctx_abort_entry(struct entry *entry)
{
    pid_t member = 0, final = 0;
    ctx_reap_helpers(entry, true);
    if (!entry->told && entry->child_pidfd >= 0) {
        syscall(SYS_pidfd_send_signal, entry->child_pidfd, SIGKILL, NULL, 0);
        reap(entry->child_pidfd, entry->child);
    } else if (!entry->told && entry->fault != 0) {
        read_children(entry, &member, &final);
        end_by_pid(final);
    }
    ctx_close_entry(entry);
}
