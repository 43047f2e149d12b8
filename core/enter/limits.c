/* Resource limits. */
#include "enter.h"

#include <errno.h>
#include <sys/resource.h>
#include <unistd.h>

#include "../common/late.h"

/* Raising a hard limit takes a privilege on the host, so that is done before the namespaces are joined.
 * set_limits sets the limits themselves in final, where a low one cannot disturb the entry. The fork of final
 * counts against RLIMIT_NPROC of the command's user, so that limit is lifted until then. */
void raise_hard_limits(const struct plan *plan, struct rlimit *processes)
{
    struct rlimit none = {.rlim_cur = RLIM_INFINITY, .rlim_max = RLIM_INFINITY};
    const struct plan_rlimit *limits = plan_list(plan, plan->rlimits);
    for (uint32_t i = 0; i < plan->rlimits.count; i++) {
        struct rlimit now;
        if (getrlimit((int)limits[i].resource, &now) < 0) {
            enter_fail(plan, STEP_RLIMIT, errno, (int)limits[i].resource, NULL);
        }
        if (limits[i].hard <= now.rlim_max) {
            continue;
        }
        now.rlim_max = limits[i].hard;
        if (setrlimit((int)limits[i].resource, &now) < 0) {
            enter_fail(plan, STEP_RLIMIT, errno, (int)limits[i].resource, NULL);
        }
    }
    if (getrlimit(RLIMIT_NPROC, processes) < 0) {
        enter_fail(plan, STEP_RLIMIT, errno, RLIMIT_NPROC, NULL);
    }
    if (setrlimit(RLIMIT_NPROC, &none) < 0) {
        none.rlim_cur = none.rlim_max = processes->rlim_max; /* without a privilege, the hard limit */
        setrlimit(RLIMIT_NPROC, &none);
    }
}

void set_limits(const struct plan *plan, const struct rlimit *processes)
{
    const struct plan_rlimit *limits = plan_list(plan, plan->rlimits);
    bool processes_given = false;
    for (uint32_t i = 0; i < plan->rlimits.count; i++) {
        processes_given = processes_given || limits[i].resource == RLIMIT_NPROC;
        const struct rlimit wanted = {.rlim_cur = limits[i].soft, .rlim_max = limits[i].hard};
        if (syscall(LATE_LIMIT, (int)limits[i].resource, &wanted, NULL) < 0) {
            enter_fail(plan, STEP_RLIMIT, errno, (int)limits[i].resource, NULL);
        }
    }
    if (!processes_given && syscall(LATE_LIMIT, RLIMIT_NPROC, processes, NULL) < 0) {
        enter_fail(plan, STEP_RLIMIT, errno, RLIMIT_NPROC, NULL);
    }
}
