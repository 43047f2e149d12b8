/* What the parts of the helper share: core/enter/enter.c, core/enter/mounts.c. */
#ifndef CTREXEC_ENTER_H
#define CTREXEC_ENTER_H

#include "../common/plan.h"

/* Reports a failed step to the caller and ends the process. */
_Noreturn void enter_fail(const struct plan *plan, enum plan_step step, int error, int value,
                          const char *detail);

/* Mounts the plan's trees in a copy of the container's mount namespace that only this process has. */
void enter_mount_trees(const struct plan *plan);

#endif
