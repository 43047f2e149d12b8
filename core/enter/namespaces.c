/* The container's namespaces and root. */
#include "enter.h"

#include <sys/syscall.h>
#include <unistd.h>

/* One call joins all namespaces. With a call for each, the container's init could change its namespaces in
 * between, and the command would enter a mixture that was never the container. */
void join_namespaces(struct plan *plan)
{
    if (plan->namespaces != 0 && syscall(SYS_setns, plan->init_fd, (int)plan->namespaces) < 0) {
        fail(plan, STEP_NAMESPACE);
    }
    if (plan->root_fd >= 0) {
        if (fchdir(plan->root_fd) < 0 || chroot(".") < 0 || chdir("/") < 0) {
            fail(plan, STEP_NAMESPACE);
        }
        close(plan->root_fd);
    }
    close_for_good(&plan->init_fd);
    /* Raw calls: libc's functions would use locks and signals to change every thread of a program. */
    if ((plan->flags & PLAN_BECOME_ROOT) &&
        (syscall(SYS_setresgid, 0, 0, 0) < 0 || syscall(SYS_setresuid, 0, 0, 0) < 0)) {
        fail(plan, STEP_BECOME_ROOT);
    }
}
