/* The working directory. */
#include "enter.h"

#include <errno.h>
#include <unistd.h>

#include "../common/late.h"
#include "../common/protect.h"

bool change_directory(const struct plan *plan)
{
    return syscall(LATE_CHDIR, plan_text(plan, plan->cwd)) == 0;
}

void demand_directory(const struct plan *plan)
{
    if (!change_directory(plan)) {
        enter_fail(plan, STEP_CWD, errno, 0, plan_text(plan, plan->cwd));
    }
}

/* A working directory that was reached through a leaked descriptor, or that the container has swapped for
 * another, may lie outside the root. getcwd(2) then gives a path that begins with "(unreachable)" instead of
 * "/" (CVE-2024-21626). */
void prove_directory(const struct plan *plan)
{
    if (!PROTECTED(prove_directory)) {
        return;
    }
    char path[PLAN_PATH_MAX];
    if (syscall(LATE_GETCWD, path, sizeof(path)) < 0) {
        fail(plan, STEP_CWD_OUTSIDE);
    }
    if (path[0] != '/') {
        enter_fail(plan, STEP_CWD_OUTSIDE, ENOENT, 0, path);
    }
}
