/* The helper of the hostile build with some of its steps at another place, to see what the order protects
 * from. Linked with ld's --wrap: these functions stand for those of core/enter/, whose own order stays as it
 * is.
 *
 *   host_proc    the files of /proc/self are written inside, in the container's procfs
 *   early_close  descriptors of the host stay open until the working directory has been entered
 *   early_drop   the command's process is born with every privilege, and drops them itself
 *   one_setns    the namespaces are joined one after the other, and the container's init has its turn after
 * each, also on one processor */
#include "../../core/common/protect.h"
#include "../../core/enter/enter.h"

#include <sys/syscall.h>
#include <unistd.h>

void __real_write_own_files(const struct plan *plan);
void __real_join_namespaces(struct plan *plan);
void __real_close_for_good(int32_t *fd);
void __real_close_others(const struct plan *plan);
void __real_prove_directory(const struct plan *plan);
void __real_become_member(struct plan *plan, struct plan *shared);
void __real_become_user(const struct plan *plan, uint64_t needed);
void __real_set_limits(const struct plan *plan, const struct rlimit *processes);

void __wrap_write_own_files(const struct plan *plan);
void __wrap_join_namespaces(struct plan *plan);
void __wrap_close_for_good(int32_t *fd);
void __wrap_close_others(const struct plan *plan);
void __wrap_prove_directory(const struct plan *plan);
void __wrap_become_member(struct plan *plan, struct plan *shared);
void __wrap_become_user(const struct plan *plan, uint64_t needed);
void __wrap_set_limits(const struct plan *plan, const struct rlimit *processes);

void __wrap_write_own_files(const struct plan *plan)
{
    if (PROTECTED(host_proc)) {
        __real_write_own_files(plan);
    }
}

static void join_one_by_one(struct plan *plan)
{
    for (uint32_t bit = 1; bit != 0; bit <<= 1) {
        if ((plan->namespaces & bit) == 0) {
            continue;
        }
        if (syscall(SYS_setns, plan->init_fd, (int)bit) < 0) {
            fail(plan, STEP_NAMESPACE);
        }
        usleep(100);
    }
    plan->namespaces = 0;
}

void __wrap_join_namespaces(struct plan *plan)
{
    if (!PROTECTED(one_setns)) {
        join_one_by_one(plan);
    }
    __real_join_namespaces(plan);
    if (!PROTECTED(host_proc)) {
        __real_write_own_files(plan);
    }
}

void __wrap_close_for_good(int32_t *fd)
{
    if (PROTECTED(early_close)) {
        __real_close_for_good(fd);
    }
}

void __wrap_close_others(const struct plan *plan)
{
    if (PROTECTED(early_close)) {
        __real_close_others(plan);
    }
}

void __wrap_prove_directory(const struct plan *plan)
{
    __real_prove_directory(plan);
    if (!PROTECTED(early_close)) {
        __real_close_others(plan);
    }
}

/* With early_drop final drops its privileges itself, which a filter installed before would refuse. */
void __wrap_become_member(struct plan *plan, struct plan *shared)
{
    if (!PROTECTED(early_drop)) {
        plan->flags &= ~(uint32_t)PLAN_SECCOMP_EARLY;
    }
    __real_become_member(plan, shared);
}

static uint64_t needed_later;

void __wrap_become_user(const struct plan *plan, uint64_t needed)
{
    needed_later = needed;
    if (PROTECTED(early_drop)) {
        __real_become_user(plan, needed);
    }
}

void __wrap_set_limits(const struct plan *plan, const struct rlimit *processes)
{
    if (!PROTECTED(early_drop)) {
        __real_become_user(plan, needed_later);
    }
    __real_set_limits(plan, processes);
}
