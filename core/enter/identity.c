/* Who the command is: capabilities, groups, user. */
#include "enter.h"

#include <errno.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/capability.h>

#include "../common/late.h"
#include "../common/protect.h"

#define LAST_CAPABILITY 63

static void drop_bounding(const struct plan *plan)
{
    for (int bit = 0; bit <= LAST_CAPABILITY; bit++) {
        if (plan->bounding >> bit & 1) {
            continue;
        }
        if (prctl(PR_CAPBSET_DROP, bit, 0, 0, 0) == 0) {
            continue;
        }
        const int error = errno, there = prctl(PR_CAPBSET_READ, bit, 0, 0, 0);
        if (there < 0 && errno == EINVAL) {
            return; /* above the kernel's last capability */
        }
        if (there != 0) {
            enter_fail(plan, STEP_BOUNDING, error, bit, NULL);
        }
    }
}

static void set_user(const struct plan *plan)
{
    if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0) {
        fail(plan, STEP_CAPABILITIES);
    }
    if (!(plan->flags & PLAN_SKIP_GROUPS) &&
        syscall(SYS_setgroups, (size_t)plan->groups.count, plan_list(plan, plan->groups)) < 0 &&
        !((plan->flags & PLAN_GROUPS_OPTIONAL) && errno == EPERM)) {
        fail(plan, STEP_GROUPS);
    }
    if (syscall(SYS_setresgid, plan->gid, plan->gid, plan->gid) < 0) {
        enter_fail(plan, STEP_GID, errno, (int)plan->gid, NULL);
    }
    if (syscall(SYS_setresuid, plan->uid, plan->uid, plan->uid) < 0) {
        enter_fail(plan, STEP_UID, errno, (int)plan->uid, NULL);
    }
}

/* The sets are written in full, so inheritable and ambient are empty unless the plan says otherwise
 * (CVE-2022-29162). `needed`: the capabilities that final keeps until just before the execve. */
static void set_capabilities(const struct plan *plan, uint64_t needed)
{
    if (syscall(LATE_KEEPCAPS, 0, 0, 0) < 0) {
        fail(plan, STEP_CAPABILITIES);
    }
    const uint64_t effective = plan->effective | needed, permitted = plan->permitted | needed;
    const uint64_t inheritable = PROTECTED(capability_sets) ? plan->inheritable : plan->permitted;
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {
        {(uint32_t)effective, (uint32_t)permitted, (uint32_t)inheritable},
        {(uint32_t)(effective >> 32), (uint32_t)(permitted >> 32), (uint32_t)(inheritable >> 32)},
    };
    if (syscall(LATE_CAPSET, &header, data) < 0) {
        fail(plan, STEP_CAPABILITIES);
    }
    if (syscall(LATE_CLEAR_AMBIENT, 0, 0, 0) < 0) {
        fail(plan, STEP_AMBIENT);
    }
    for (int bit = 0; bit <= LAST_CAPABILITY; bit++) {
        if ((plan->ambient >> bit & 1) && syscall(LATE_RAISE_AMBIENT, bit, 0, 0) < 0) {
            enter_fail(plan, STEP_AMBIENT, errno, bit, NULL);
        }
    }
}

/* Returns those of the wanted capabilities that this process has. */
static uint64_t permitted_of(const struct plan *plan, uint64_t wanted)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {{0}};
    if (wanted == 0) {
        return 0;
    }
    if (syscall(LATE_CAPGET, &header, data) < 0) {
        fail(plan, STEP_CAPABILITIES);
    }
    return wanted & ((uint64_t)data[1].permitted << 32 | data[0].permitted);
}

uint64_t needed_capabilities(const struct plan *plan)
{
    uint64_t needed = 0;
    if (filter_place(plan) == FILTER_PRIVILEGED) {
        needed |= 1ULL << CAP_SYS_ADMIN;
    }
    if (plan->flags & PLAN_SCHEDULER) {
        needed |= 1ULL << CAP_SYS_NICE;
    }
    return permitted_of(plan, needed);
}

void become_user(const struct plan *plan, uint64_t needed)
{
    drop_bounding(plan);
    set_user(plan);
    set_capabilities(plan, needed);
}

void drop_needed_capabilities(const struct plan *plan, uint64_t needed)
{
    if (needed != 0) {
        set_capabilities(plan, 0);
    }
}

void hide(const struct plan *plan)
{
    if (PROTECTED(dumpable) && syscall(LATE_HIDE, 0, 0, 0) < 0) {
        fail(plan, STEP_HIDE);
    }
}
