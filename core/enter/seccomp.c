/* The seccomp filter. */
#include "enter.h"

#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/filter.h>
#include <linux/seccomp.h>

/* The listener must reach the caller although the filter may trap the very call that sends it. So a second
 * thread, which the filter does not bind, sends it. The threads talk through memory, and the thread under the
 * filter makes no system call until the caller says that it has the listener. */
struct handover {
    const struct plan *plan;
    _Atomic int listener; /* -1: not there yet, -2: none will come */
    _Atomic int done;
};

static int hand_over(void *argument)
{
    struct handover *handover = argument;
    int fd = 0;
    while ((fd = atomic_load(&handover->listener)) == -1) {
        syscall(SYS_sched_yield);
    }
    if (fd >= 0) {
        if (!tell_fd(handover->plan, MSG_LISTENER, fd)) {
            fail(handover->plan, STEP_SECCOMP);
        }
        wait_for_go(handover->plan);
        close(fd);
    }
    atomic_store(&handover->done, 1);
    syscall(SYS_exit, 0);
    return 0;
}

/* Installs a filter whose listener goes to the caller. */
static void install_with_listener(const struct plan *plan, const struct sock_fprog *program)
{
    static char stack[16384] __attribute__((aligned(16)));
    static struct handover handover;
    handover.plan = plan;
    atomic_store(&handover.listener, -1);
    int flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;
    if (clone(hand_over, stack + sizeof(stack), flags, &handover) < 0) {
        fail(plan, STEP_SECCOMP);
    }
    unsigned filter_flags = (unsigned)plan->seccomp_flags | SECCOMP_FILTER_FLAG_NEW_LISTENER;
    long fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, filter_flags, program);
    if (fd < 0) {
        int error = errno;
        atomic_store(&handover.listener, -2);
        enter_fail(plan, STEP_SECCOMP, error, 0, NULL);
    }
    atomic_store(&handover.listener, (int)fd);
    while (atomic_load(&handover.done) == 0) {
        ;
    }
}

enum filter_place filter_place(const struct plan *plan)
{
    if (!(plan->flags & PLAN_SECCOMP)) {
        return FILTER_NONE;
    }
    if (plan->flags & PLAN_SECCOMP_EARLY) {
        return FILTER_EARLY;
    }
    return plan->flags & PLAN_NO_NEW_PRIVS ? FILTER_LAST : FILTER_PRIVILEGED;
}

void install_filter(const struct plan *plan, enum filter_place place)
{
    const struct sock_fprog program = {
        .len = (unsigned short)plan->seccomp.count,
        .filter = (struct sock_filter *)plan_list(plan, plan->seccomp),
    };
    if (filter_place(plan) != place) {
        return;
    }
    if (plan->flags & PLAN_SECCOMP_NOTIFY) {
        install_with_listener(plan, &program);
    } else if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, (unsigned)plan->seccomp_flags, &program) < 0) {
        fail(plan, STEP_SECCOMP);
    }
}
