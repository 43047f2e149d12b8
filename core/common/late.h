/* The system calls that the helper makes between the seccomp filter and execve(2).
 *
 * Without no_new_privs a filter takes a privilege to install, so the helper installs it before the command's
 * process is born: what the container can see never has that privilege. The filter must then allow whatever
 * the helper does after that. Each of these calls has a name here, which stands for its number and for those
 * of its arguments that a filter can judge. The helper makes the call by that name, core/filter.c asks the
 * filter about it, and tests/late_calls_spec.lua traces that the helper makes no other call, except those
 * that runc makes under the filter as well: for the command's groups, user and capabilities. */
#ifndef CTREXEC_LATE_H
#define CTREXEC_LATE_H

#include "plan.h"

#include <linux/sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>

#define LATE_HIDE SYS_prctl, PR_SET_DUMPABLE, 0
#define LATE_CLOSE SYS_close
#define LATE_CAPGET SYS_capget
#define LATE_CLONE SYS_clone, CLONE_PARENT | CLONE_PARENT_SETTID
#define LATE_EXIT SYS_exit_group
#define LATE_DIE_WITH_CALLER SYS_prctl, PR_SET_PDEATHSIG, SIGKILL
#define LATE_OUTLIVE_CALLER SYS_prctl, PR_SET_PDEATHSIG, 0
#define LATE_SESSION SYS_setsid
#define LATE_TERMINAL SYS_ioctl, 0, TIOCSCTTY
#define LATE_SCHEDULER SYS_sched_setattr, 0
#define LATE_LIMIT SYS_prlimit64, 0
#define LATE_CHDIR SYS_chdir
#define LATE_GETCWD SYS_getcwd
#define LATE_WRITE SYS_write
#define LATE_READ SYS_read
#define LATE_KEEPCAPS SYS_prctl, PR_SET_KEEPCAPS, 0
#define LATE_CAPSET SYS_capset
#define LATE_CLEAR_AMBIENT SYS_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL
#define LATE_RAISE_AMBIENT SYS_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE
#define LATE_EXECVE SYS_execve

/* Looks at one descriptor without waiting: poll(2); arm64 has only ppoll(2). */
#ifdef SYS_poll
#define LATE_POLL(descriptor) SYS_poll, (descriptor), 1, 0
#else
#define LATE_POLL(descriptor) SYS_ppoll, (descriptor), 1, &(const struct timespec){0}, NULL, 0
#endif

/* Every late call, with the plan's flag that it depends on; 0: the call is always made. */
#define LATE_CALLS(CALL)                                                                                     \
    CALL(PLAN_SCHEDULER, LATE_CAPGET)                                                                        \
    CALL(0, LATE_HIDE)                                                                                       \
    CALL(0, LATE_CLOSE)                                                                                      \
    CALL(0, LATE_CLONE)                                                                                      \
    CALL(0, LATE_EXIT)                                                                                       \
    CALL(0, LATE_DIE_WITH_CALLER)                                                                            \
    CALL(0, LATE_POLL(0))                                                                                    \
    CALL(0, LATE_SESSION)                                                                                    \
    CALL(PLAN_TERMINAL, LATE_TERMINAL)                                                                       \
    CALL(PLAN_SCHEDULER, LATE_SCHEDULER)                                                                     \
    CALL(0, LATE_LIMIT)                                                                                      \
    CALL(0, LATE_CHDIR)                                                                                      \
    CALL(0, LATE_GETCWD)                                                                                     \
    CALL(0, LATE_WRITE)                                                                                      \
    CALL(PLAN_WAIT, LATE_READ)                                                                               \
    CALL(0, LATE_OUTLIVE_CALLER)                                                                             \
    CALL(PLAN_SCHEDULER, LATE_KEEPCAPS)                                                                      \
    CALL(PLAN_SCHEDULER, LATE_CAPSET)                                                                        \
    CALL(PLAN_SCHEDULER, LATE_CLEAR_AMBIENT)                                                                 \
    CALL(PLAN_SCHEDULER, LATE_RAISE_AMBIENT)                                                                 \
    CALL(0, LATE_EXECVE)

/* The number and the first two arguments of such a call; an address or a descriptor is 0. */
#define LATE_NUMBER(...) LATE_FIRST_(__VA_ARGS__, 0)
#define LATE_FIRST_(number, ...) (number)
#define LATE_ARGUMENTS(...) LATE_ARGUMENTS_(__VA_ARGS__, 0, 0, 0)
#define LATE_ARGUMENTS_(number, first, second, ...) (first), (second)

#endif
