/* What the kernel keeps for each process: affinity, scheduling, memory policy, signals. */
#include "enter.h"

#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../common/late.h"
#include "../common/protect.h"

#define IOPRIO_WHO_PROCESS 1
#define KEYCTL_JOIN_SESSION_KEYRING 1

/* The kernel's struct sched_attr: glibc and the kernel headers disagree on who defines it. */
struct scheduler_attributes {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
    uint32_t lowest, highest; /* utilization; the flags that set it need a structure with these fields */
};

void set_affinity(const struct plan *plan, struct plan_list mask)
{
    if (mask.count != 0 &&
        syscall(SYS_sched_setaffinity, 0, (size_t)mask.count * 8, plan_list(plan, mask)) < 0) {
        fail(plan, STEP_AFFINITY);
    }
}

void join_keyring(const struct plan *plan)
{
    const char *name = plan_text(plan, plan->keyring);
    /* a kernel without keyrings has no key that could leak */
    if (name != NULL && syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name, 0, 0, 0) < 0 &&
        errno != ENOSYS) {
        fail(plan, STEP_KEYRING);
    }
}

void set_attributes(const struct plan *plan)
{
    if ((plan->flags & PLAN_IO_PRIORITY) &&
        syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, (int)plan->io_priority) < 0) {
        fail(plan, STEP_IO_PRIORITY);
    }
    if ((plan->flags & PLAN_PERSONALITY) && syscall(SYS_personality, (unsigned long)plan->personality) < 0) {
        fail(plan, STEP_PERSONALITY);
    }
    if ((plan->flags & PLAN_MEMORY_POLICY) &&
        syscall(SYS_set_mempolicy, (int)plan->memory_mode,
                plan->memory_nodes.count != 0 ? plan_list(plan, plan->memory_nodes) : NULL,
                (unsigned long)plan->memory_nodes.count * 64) < 0) {
        fail(plan, STEP_MEMORY_POLICY);
    }
    set_affinity(plan, plan->final_affinity);
    if (plan->flags & PLAN_UMASK) {
        umask((mode_t)plan->umask);
    }
}

/* An ignored signal stays ignored across execve(2): the command would inherit what the caller ignores. libc
 * refuses to set the signals that it reserves, and glibc's posix_spawn(3) leaves those ignored. */
void reset_signals(const struct plan *plan)
{
    const uint64_t by_default[4] = {0}; /* the kernel's struct sigaction: SIG_DFL, no flags, no mask */
    for (int number = 1; number < NSIG; number++) {
        if (number == SIGKILL || number == SIGSTOP) {
            continue;
        }
        if (syscall(SYS_rt_sigaction, number, by_default, NULL, sizeof(uint64_t)) < 0) {
            fail(plan, STEP_SIGNALS);
        }
    }
    const uint64_t none = 0;
    if (syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, NULL, sizeof(none)) < 0) {
        fail(plan, STEP_SIGNALS);
    }
}

void set_no_new_privs(const struct plan *plan)
{
    if ((plan->flags & PLAN_NO_NEW_PRIVS) && PROTECTED(no_new_privs) &&
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) {
        fail(plan, STEP_NO_NEW_PRIVS);
    }
}

void new_session(const struct plan *plan)
{
    if (!PROTECTED(new_session)) {
        return;
    }
    if (syscall(LATE_SESSION) < 0) {
        fail(plan, STEP_SESSION);
    }
    if ((plan->flags & PLAN_TERMINAL) && syscall(LATE_TERMINAL, 0) < 0) {
        enter_fail(plan, STEP_TERMINAL, errno, 0, "make it the controlling terminal");
    }
}

/* Set by final, after the last fork: a child does not inherit some scheduling policies, and some forbid the
 * fork. */
void set_scheduler(const struct plan *plan)
{
    const struct plan_scheduler *wanted = &plan->scheduler;
    const struct scheduler_attributes attributes = {
        .size = sizeof(attributes),
        .policy = wanted->policy,
        .flags = wanted->flags,
        .nice = wanted->nice,
        .priority = (uint32_t)wanted->priority,
        .runtime = wanted->runtime,
        .deadline = wanted->deadline,
        .period = wanted->period,
    };
    if ((plan->flags & PLAN_SCHEDULER) && syscall(LATE_SCHEDULER, &attributes, 0) < 0) {
        fail(plan, STEP_SCHEDULER);
    }
}
