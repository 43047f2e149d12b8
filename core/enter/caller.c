/* How the helper and its caller talk: the helper's messages, the caller's "go", and how the helper ends with
 * its caller. */
#include "enter.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../common/late.h"
#include "../common/protect.h"

bool tell_fd(const struct plan *plan, uint32_t kind, int fd)
{
    const struct plan_message message = {.kind = kind};
    struct iovec data = {.iov_base = (void *)&message, .iov_len = sizeof(message)};
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    memset(&control, 0, sizeof(control));
    struct msghdr packet = {.msg_iov = &data,
                            .msg_iovlen = 1,
                            .msg_control = control.bytes,
                            .msg_controllen = sizeof(control.bytes)};
    control.header.cmsg_level = SOL_SOCKET;
    control.header.cmsg_type = SCM_RIGHTS;
    control.header.cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
    ssize_t sent = 0;
    do {
        sent = sendmsg(plan->control_fd, &packet, MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    return sent >= 0;
}

ssize_t write_some(int fd, const void *data, size_t size)
{
    ssize_t count = 0;
    do {
        count = syscall(LATE_WRITE, fd, data, size);
    } while (count < 0 && errno == EINTR);
    return count;
}

ssize_t read_some(int fd, void *data, size_t size)
{
    ssize_t count = 0;
    do {
        count = syscall(LATE_READ, fd, data, size);
    } while (count < 0 && errno == EINTR);
    return count;
}

/* final reports over the status pipe, which carries no descriptors: a container that takes over final cannot
 * send the caller a file whose close blocks. Only a seccomp filter with a listener leaves final the control
 * socket. */
static bool tell(const struct plan *plan, const struct plan_message *message)
{
    if (!PROTECTED(tell)) {
        return true;
    }
    const int fd = plan->control_fd >= 0 ? plan->control_fd : plan->status_fd;
    return write_some(fd, message, sizeof(*message)) == (ssize_t)sizeof(*message);
}

_Noreturn void enter_fail(const struct plan *plan, enum plan_step step, int error, int value,
                          const char *detail)
{
    struct plan_message message = {.kind = MSG_ERROR, .step = step, .error = error, .value = value};
    if (detail != NULL) {
        size_t length = strnlen(detail, PLAN_DETAIL - 1);
        memcpy(message.detail, detail, length);
    }
    tell(plan, &message);
    _exit(ENTER_FAILED);
}

_Noreturn void fail(const struct plan *plan, enum plan_step step)
{
    enter_fail(plan, step, errno, 0, NULL);
}

/* Ends this process if the caller was killed before the parent-death signal was set: the caller's end of the
 * "go" pipe is closed then. */
static void end_if_abandoned(const struct plan *plan)
{
    struct pollfd caller = {.fd = plan->go_fd, .events = 0};
    int ready = 0;
    do {
        ready = (int)syscall(LATE_POLL(&caller));
    } while (ready < 0 && errno == EINTR);
    if (ready < 0) {
        fail(plan, STEP_DEATH_SIGNAL);
    }
    if (ready > 0 && (caller.revents & (POLLHUP | POLLERR)) != 0) {
        _exit(ENTER_FAILED);
    }
}

void die_with_caller(const struct plan *plan)
{
    if (syscall(LATE_DIE_WITH_CALLER, 0, 0, 0) < 0) {
        fail(plan, STEP_DEATH_SIGNAL);
    }
    end_if_abandoned(plan);
}

void outlive_caller(const struct plan *plan)
{
    if (syscall(LATE_OUTLIVE_CALLER, 0, 0, 0) < 0) {
        fail(plan, STEP_DEATH_SIGNAL);
    }
    end_if_abandoned(plan);
}

void wait_for_go(const struct plan *plan)
{
    char go = 0;
    if (read_some(plan->go_fd, &go, 1) != 1) {
        _exit(ENTER_FAILED);
    }
}

void wait_until_released(const struct plan *plan)
{
    const struct plan_message message = {.kind = MSG_READY};
    if (!(plan->flags & PLAN_WAIT)) {
        return;
    }
    if (!tell(plan, &message)) { /* without MSG_READY the caller never says "go" */
        _exit(ENTER_FAILED);
    }
    wait_for_go(plan);
}
