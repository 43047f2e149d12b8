/* The helper's processes: first forks member, if there is a v2 cgroup to join; the last of the two forks
 * final. */
#include "enter.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../common/late.h"

/* A single-threaded process that writes "0" to "tasks" moves itself without the kernel's global thread-group
 * lock, which a write of a pid to "cgroup.procs" takes and which costs milliseconds. */
void join_tasks(const struct plan *plan)
{
    const int32_t *files = plan_list(plan, plan->tasks);
    for (uint32_t i = 0; i < plan->tasks.count; i++) {
        if (write_some(files[i], "0", 1) != 1) {
            enter_fail(plan, STEP_TASKS, errno, (int)i, NULL);
        }
        close(files[i]);
    }
}

/* clone3(2), inlined: with CLONE_VM | CLONE_VFORK parent and child have one stack, and when the parent goes
 * on, the child has overwritten what was below the frame of this call. The parent may only _exit. */
static inline long clone3_inline(struct clone_args *args)
{
#if defined(__x86_64__)
    long result = 0;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "0"((long)SYS_clone3), "D"(args), "S"(sizeof(*args))
                     : "rcx", "r11", "memory");
    return result;
#elif defined(__aarch64__)
    register long number __asm__("x8") = SYS_clone3;
    register long first __asm__("x0") = (long)args;
    register long second __asm__("x1") = (long)sizeof(*args);
    __asm__ volatile("svc 0" : "+r"(first) : "r"(number), "r"(second) : "memory");
    return first;
#else
#error "clone3_inline: only x86-64 and arm64 are supported"
#endif
}

/* At a fork the kernel writes the child's pid into this page. If the page is not in memory, and the cgroup's
 * memory limit lets none in, the kernel forks all the same and writes nothing: the caller would never learn
 * of the child. So this function writes to the page before the fork, and the kernel ends a process that
 * cannot have it. */
void touch(struct plan *shared)
{
    *(volatile int32_t *)&shared->final_pid = 0;
}

/* A process that is born in a cgroup costs a fraction of one that moves there. The fork has to happen outside
 * the container: the right to it belongs to the caller's user namespace, and final, which the container may
 * look into, must not have a descriptor of the host's cgroup tree. member shares the memory of first, as
 * after vfork(2), unless it has to join a time namespace: setns(2) lets only a process with memory of its own
 * do that. */
void become_member(struct plan *plan, struct plan *shared)
{
    const bool alone = (plan->namespaces & CLONE_NEWTIME) != 0;
    if (plan->cgroup_fd < 0) {
        return;
    }
    if (alone && madvise(shared, sizeof(*shared), MADV_DOFORK) < 0) {
        fail(plan, STEP_PLAN);
    }
    struct clone_args args = {
        .flags =
            (alone ? 0 : CLONE_VM | CLONE_VFORK) | CLONE_PARENT | CLONE_INTO_CGROUP | CLONE_PARENT_SETTID,
        .parent_tid = (uint64_t)(uintptr_t)&shared->member_pid,
        .cgroup = (uint64_t)plan->cgroup_fd,
    };
    long pid = clone3_inline(&args);
    if (pid > 0) {
        _exit(0);
    }
    if (pid < 0) {
        enter_fail(plan, STEP_CLONE_INTO_CGROUP, (int)-pid, 0, NULL);
    }
    close_for_good(&plan->cgroup_fd);
    if (alone && madvise(shared, sizeof(*shared), MADV_DONTFORK) < 0) {
        fail(plan, STEP_PLAN);
    }
    die_with_caller(plan);
}

/* CLONE_PARENT: the command is the caller's child, so that the caller can wait for it. It is clone(2) and not
 * clone3(2), which the usual seccomp profiles refuse. */
void become_final(struct plan *plan, struct plan *shared)
{
    if (!(plan->flags & PLAN_SECCOMP_NOTIFY)) { /* final has to send the listener over the socket */
        close_for_good(&plan->control_fd);
    }
    touch(shared);
    const long pid = syscall(LATE_CLONE, 0, &shared->final_pid, 0, 0);
    if (pid < 0) {
        fail(plan, STEP_CLONE);
    }
    if (pid > 0) {
        _exit(0);
    }
}
