/* The helper that enters a container and becomes the command.
 *
 * A static program of its own, started from a sealed memfd: the container can see and attack this program and
 * the plan, never the caller's interpreter, memory or descriptors (CVE-2019-5736, CVE-2016-9962,
 * CVE-2024-21626).
 *
 *   first    started by core/launch.c in the caller's namespaces. Writes its own files in the host's procfs.
 *   member   only for a cgroup of version 2: born in that cgroup, and goes on where first stopped.
 *   final    the command's process: born in the container's pid namespace, as a child of the caller.
 *
 * first and member are in no pid namespace of the container, so no process there can see, trace or signal
 * them. They take every step that needs a privilege, and only then is final born: with the identity and the
 * capabilities of the command, and with no descriptors but the command's and two pipes to the caller (and the
 * control socket, if the filter has a listener). A container whose processes may trace (CAP_SYS_PTRACE) gains
 * no more by tracing final than by tracing the command.
 *
 * The helper prints nothing, allocates nothing, parses nothing but the plan and the container's passwd. A
 * failure is one message to the caller; end of file on the status pipe means that the execve has happened, or
 * that final died. */
#include "enter.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

/* The whole order. A step that the plan does not ask for does nothing. */
static _Noreturn void enter(struct plan *plan, struct plan *shared)
{
    struct rlimit processes;

    /* Outside, as the caller. */
    die_with_caller(plan);
    write_own_files(plan);
    raise_hard_limits(plan, &processes);
    set_affinity(plan, plan->initial_affinity);
    join_tasks(plan);
    become_member(plan, shared);
    join_namespaces(plan);

    /* Inside the container's namespaces, and not yet visible there: every step that takes a privilege.
     * Copying a file for the caller takes none, so final does that. */
    if (plan->read.offset != 0) {
        become_final(plan, shared);
        die_with_caller(plan);
        copy_file(plan);
    }
    join_keyring(plan);
    lend_files(plan);
    open_terminal(plan);
    set_attributes(plan);
    close_others(plan);
    const bool there = change_directory(plan);
    set_home(plan);
    chown_stdio(plan);
    reset_signals(plan);
    set_no_new_privs(plan);
    install_filter(plan, FILTER_EARLY);
    const uint64_t needed = needed_capabilities(plan);
    become_user(plan, needed);
    hide(plan);            /* again: a change of user sets the dumpable flag to fs.suid_dumpable */
    die_with_caller(plan); /* again: a change of user clears the parent-death signal too */

    /* final, the first process that the container can see, which becomes the command. From here on every
     * system call is made by its name in common/late.h, because the filter may be installed already. */
    become_final(plan, shared);
    die_with_caller(plan);
    new_session(plan);
    set_scheduler(plan);
    set_limits(plan, &processes);
    if (!there) {
        demand_directory(plan); /* as the command's user: a network file system may refuse root */
    }
    prove_directory(plan);
    wait_until_released(plan);
    outlive_caller(plan); /* now, because a filter that is installed below may refuse the call */
    install_filter(plan, FILTER_PRIVILEGED);
    drop_needed_capabilities(plan, needed);
    install_filter(plan, FILTER_LAST); /* as late as possible: it need not allow the steps above */
    exec_command(plan);
}

static int64_t number_argument(const char *text)
{
    int64_t number = 0;
    for (; *text >= '0' && *text <= '9' && number < 1 << 20; text++) {
        number = number * 10 + (*text - '0');
    }
    return *text == '\0' ? number : -1;
}

/* Copies the plan into anonymous memory: final then has no file mapped, above all not the shared page in
 * which the kernel notes the pids for the caller. Returns NULL when the plan is malformed. */
static struct plan *read_plan(int fd, size_t size)
{
    char *plan = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    size_t done = 0;
    while (plan != MAP_FAILED && done < size) {
        ssize_t got = pread(fd, plan + done, size - done, (off_t)done);
        if (got == 0 || (got < 0 && errno != EINTR)) {
            return NULL;
        }
        done += got > 0 ? (size_t)got : 0;
    }
    return plan != MAP_FAILED && plan_check((struct plan *)plan, size) ? (struct plan *)plan : NULL;
}

/* argv: PLAN_COMM, the plan's descriptor. Only core/launch.c starts this program; anything else ends it at
 * once. */
int main(int argc, char **argv)
{
    int fd = argc == 2 ? (int)number_argument(argv[1]) : -1;
    struct stat about;
    if (fd < 3 || fstat(fd, &about) < 0 || about.st_size < (off_t)sizeof(struct plan) ||
        about.st_size > PLAN_MAX_SIZE) {
        return ENTER_FAILED;
    }
    struct plan *plan = read_plan(fd, (size_t)about.st_size);
    struct plan *shared = mmap(NULL, sizeof(struct plan), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (plan == NULL || shared == MAP_FAILED) {
        return ENTER_FAILED;
    }
    if (madvise(shared, sizeof(struct plan), MADV_DONTFORK) < 0) {
        fail(plan, STEP_PLAN);
    }
    touch(shared); /* now, while the caller's cgroup still pays for the page */
    close(fd);
    prctl(PR_SET_NAME, PLAN_COMM, 0, 0, 0);
    if (fcntl(plan->control_fd, F_SETFD, FD_CLOEXEC) < 0 || fcntl(plan->status_fd, F_SETFD, FD_CLOEXEC) < 0 ||
        fcntl(plan->go_fd, F_SETFD, FD_CLOEXEC) < 0) {
        fail(plan, STEP_PLAN);
    }
    enter(plan, shared);
}
