/* The helper that enters a container and becomes the command.
 *
 * A static program of its own, started from a sealed memfd: what the container can see and attack is this and
 * the plan, never the caller's interpreter, memory or descriptors (CVE-2019-5736, CVE-2016-9962,
 * CVE-2024-21626).
 *
 *   first    started by spawn.c in the caller's namespaces. Writes what belongs to the host's procfs.
 *   member   v2 only: first's double, born in the container's cgroup.
 *   final    the command's process: born in the container's pid namespace, as a child of the caller.
 *
 * first and member are in no pid namespace of the container, so nobody there can see, trace or signal them.
 * They do all that takes a privilege, and only then is final born: with the identity and the capabilities of
 * the command, and with no descriptor but the command's and two pipes to the caller. A container whose
 * processes may trace (CAP_SYS_PTRACE) gains by tracing final what it would gain by tracing the command.
 *
 * The helper prints nothing, allocates nothing, parses nothing but the plan and the container's passwd. A
 * failure is one message to the caller; end of file on the status pipe means that the execve has happened, or
 * that final died. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/openat2.h>
#include <linux/sched.h>
#include <linux/seccomp.h>

#include "../common/protect.h"
#include "enter.h"
#include "passwd.h"

#define ENTER_FAILED 255
#define DEVPTS_MAGIC 0x1cd1
#define PROC_MAGIC 0x9fa0
#define KEYCTL_JOIN_SESSION_KEYRING 1
#define IOPRIO_WHO_PROCESS 1
#define FILE_LIMIT (8 << 20)
#define LAST_CAPABILITY 63

/* The kernel's struct sched_attr: glibc and the kernel headers disagree on who defines it. */
struct scheduler_attributes {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
    uint32_t lowest, highest; /* utilization; the flags that set them are refused without these fields */
};

/* ------------------------------------------------------------------------------------------------ messages
 */

/* A message with a descriptor, which only goes over the socket. */
static bool tell_fd(const struct plan *plan, uint32_t kind, int fd)
{
    const struct plan_message message = {.kind = kind};
    struct iovec data = {.iov_base = (void *)&message, .iov_len = sizeof(message)};
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    memset(&control, 0, sizeof(control));
    struct msghdr packet = {.msg_iov = &data,
                            .msg_iovlen = 1,
                            .msg_control = control.bytes,
                            .msg_controllen = sizeof(control.bytes)};
    control.header.cmsg_level = SOL_SOCKET;
    control.header.cmsg_type = SCM_RIGHTS;
    control.header.cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
    ssize_t sent = 0;
    do {
        sent = sendmsg(plan->control_fd, &packet, MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    return sent >= 0;
}

static ssize_t write_some(int fd, const void *data, size_t size)
{
    ssize_t count = 0;
    do {
        count = write(fd, data, size);
    } while (count < 0 && errno == EINTR);
    return count;
}

static ssize_t read_some(int fd, void *data, size_t size)
{
    ssize_t count = 0;
    do {
        count = read(fd, data, size);
    } while (count < 0 && errno == EINTR);
    return count;
}

/* final has only the pipe: it takes no descriptors, so a container that gets hold of it has no way to hand
 * the caller a file whose close blocks. */
static bool tell(const struct plan *plan, const struct plan_message *message)
{
    if (!PROTECTED(tell)) {
        return true;
    }
    const int fd = plan->control_fd >= 0 ? plan->control_fd : plan->status_fd;
    return write_some(fd, message, sizeof(*message)) == (ssize_t)sizeof(*message);
}

_Noreturn void enter_fail(const struct plan *plan, enum plan_step step, int error, int value,
                          const char *detail)
{
    struct plan_message message = {.kind = MSG_ERROR, .step = step, .error = error, .value = value};
    if (detail != NULL) {
        size_t length = strnlen(detail, PLAN_DETAIL - 1);
        memcpy(message.detail, detail, length);
    }
    tell(plan, &message);
    _exit(ENTER_FAILED);
}

static _Noreturn void fail(const struct plan *plan, enum plan_step step)
{
    enter_fail(plan, step, errno, 0, NULL);
}

/* The caller may have been killed before the parent-death signal was armed: its end of the pipe tells. */
static void end_if_abandoned(const struct plan *plan)
{
    struct pollfd caller = {.fd = plan->go_fd, .events = 0};
    int ready = 0;
    do {
        ready = poll(&caller, 1, 0);
    } while (ready < 0 && errno == EINTR);
    if (ready < 0) {
        fail(plan, STEP_DEATH_SIGNAL);
    }
    if (ready > 0 && (caller.revents & (POLLHUP | POLLERR)) != 0) {
        _exit(ENTER_FAILED);
    }
}

/* Nothing that ctrexec started outlives it before the execve. fork(2) and a change of user both reset the
 * signal. */
static void die_with_caller(const struct plan *plan)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0) {
        fail(plan, STEP_DEATH_SIGNAL);
    }
    end_if_abandoned(plan);
}

/* The command may outlive the caller. */
static void outlive_caller(const struct plan *plan)
{
    if (prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0) < 0) {
        fail(plan, STEP_DEATH_SIGNAL);
    }
    end_if_abandoned(plan);
}

/* Waits for one byte of the caller's; a caller that closed its end has given up. */
static void wait_for_go(const struct plan *plan)
{
    char go = 0;
    if (read_some(plan->go_fd, &go, 1) != 1) {
        _exit(ENTER_FAILED);
    }
}

/* ------------------------------------------------------------------------------------------------ first */

/* A file of this process in the caller's procfs. It is written before any namespace is joined and inherited
 * over the fork, so no descriptor of the host's procfs ever exists where the container can see it, and the
 * container's own /proc, which may lie, is never used (CVE-2019-16884, CVE-2025-52881). */
static int open_own_file(const struct plan *plan, const char *name, enum plan_step step)
{
    int fd = open(name, O_WRONLY | O_CLOEXEC);
    if (fd < 0) {
        enter_fail(plan, step, errno, 0, name);
    }
    struct statfs fs;
    if (PROTECTED(host_proc) && (fstatfs(fd, &fs) < 0 || fs.f_type != PROC_MAGIC)) {
        enter_fail(plan, step, ENOSYS, 0, name);
    }
    return fd;
}

static void write_own_file(const struct plan *plan, int fd, const char *text, size_t length,
                           enum plan_step step)
{
    if (write_some(fd, text, length) != (ssize_t)length) {
        fail(plan, step);
    }
    close(fd);
}

/* Decimal digits without stdio; `end` is one past the buffer. */
static char *decimal(char *end, int64_t number)
{
    uint64_t rest = number < 0 ? 0 - (uint64_t)number : (uint64_t)number;
    do {
        *--end = (char)('0' + rest % 10);
    } while ((rest /= 10) != 0);
    if (number < 0) {
        *--end = '-';
    }
    return end;
}

static void write_own_number(const struct plan *plan, int fd, int64_t number, enum plan_step step)
{
    char digits[24];
    char *start = decimal(digits + sizeof(digits), number);
    write_own_file(plan, fd, start, (size_t)(digits + sizeof(digits) - start), step);
}

/* "/proc/self/attr/" + name into `path`. */
static void attribute_path(char *path, size_t size, const char *name)
{
    static const char folder[] = "/proc/self/attr/";
    size_t length = strnlen(name, size - sizeof(folder));
    memcpy(path, folder, sizeof(folder) - 1);
    memcpy(path + sizeof(folder) - 1, name, length);
    path[sizeof(folder) - 1 + length] = '\0';
}

/* No process without CAP_SYS_PTRACE may look into this one, whatever its user. */
static void hide(const struct plan *plan)
{
    if (PROTECTED(dumpable) && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0) {
        fail(plan, STEP_HIDE);
    }
}

/* The files are opened while the process is still dumpable, because procfs gives those of a non-dumpable
 * process to root and a rootless caller is not root. */
static void write_own_files(const struct plan *plan)
{
    int oom = -1, login = -1, label = -1, key = -1;
    if (plan->flags & PLAN_OOM_SCORE_ADJ) {
        oom = open_own_file(plan, "/proc/self/oom_score_adj", STEP_OOM_SCORE_ADJ);
    }
    if (plan->flags & PLAN_LOGIN_UID) {
        login = open_own_file(plan, "/proc/self/loginuid", STEP_LOGIN_UID);
    }
    if (plan->exec_label.offset != 0) {
        char path[64];
        attribute_path(path, sizeof(path), plan_text(plan, plan->exec_attribute));
        label = open_own_file(plan, path, STEP_LABEL);
    }
    if (plan->key_label.offset != 0) {
        key = open_own_file(plan, "/proc/self/attr/keycreate", STEP_KEY_LABEL);
    }

    hide(plan);

    if (oom >= 0) {
        write_own_number(plan, oom, plan->oom_score_adj, STEP_OOM_SCORE_ADJ);
    }
    if (login >= 0) {
        write_own_number(plan, login, plan->login_uid, STEP_LOGIN_UID);
    }
    if (label >= 0) {
        write_own_file(plan, label, plan_text(plan, plan->exec_label), plan->exec_label.length, STEP_LABEL);
    }
    if (key >= 0) {
        write_own_file(plan, key, plan_text(plan, plan->key_label), plan->key_label.length, STEP_KEY_LABEL);
    }
}

/* Hard limits can only be raised with a privilege of the host, so that part is done here; the limits
 * themselves are set at the end, where a low one cannot disturb the entry. The fork of final counts against
 * the limit of processes of the command's user, so there is none until then; `processes` is what it was. */
static void raise_hard_limits(const struct plan *plan, struct rlimit *processes)
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
        none.rlim_cur = none.rlim_max = processes->rlim_max; /* without a privilege, what there is */
        setrlimit(RLIMIT_NPROC, &none);
    }
}

static void set_limits(const struct plan *plan, const struct rlimit *processes)
{
    const struct plan_rlimit *limits = plan_list(plan, plan->rlimits);
    bool processes_given = false;
    for (uint32_t i = 0; i < plan->rlimits.count; i++) {
        processes_given = processes_given || limits[i].resource == RLIMIT_NPROC;
        const struct rlimit wanted = {.rlim_cur = limits[i].soft, .rlim_max = limits[i].hard};
        if (setrlimit((int)limits[i].resource, &wanted) < 0) {
            enter_fail(plan, STEP_RLIMIT, errno, (int)limits[i].resource, NULL);
        }
    }
    if (!processes_given && setrlimit(RLIMIT_NPROC, processes) < 0) {
        enter_fail(plan, STEP_RLIMIT, errno, RLIMIT_NPROC, NULL);
    }
}

static void set_affinity(const struct plan *plan, struct plan_list mask)
{
    if (mask.count != 0 &&
        syscall(SYS_sched_setaffinity, 0, (size_t)mask.count * 8, plan_list(plan, mask)) < 0) {
        fail(plan, STEP_AFFINITY);
    }
}

/* A single-threaded process that writes "0" to "tasks" moves itself without the kernel's global thread-group
 * lock, which a write of a pid to "cgroup.procs" takes and which costs milliseconds. */
static void join_tasks(const struct plan *plan)
{
    const int32_t *files = plan_list(plan, plan->tasks);
    for (uint32_t i = 0; i < plan->tasks.count; i++) {
        if (write_some(files[i], "0", 1) != 1) {
            enter_fail(plan, STEP_TASKS, errno, (int)i, NULL);
        }
        close(files[i]);
    }
}

/* clone3(2) on the caller's own stack: with CLONE_VM | CLONE_VFORK the parent comes back to a stack that its
 * child has used, so it must not be a function that returns, and the parent may only _exit. */
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

/* The kernel notes a child or, where the page is not there and cannot be had because the cgroup's memory
 * limit is reached, says nothing and goes on: the child would be nobody's. A page fault of ours ends this
 * process instead. */
static void touch(struct plan *shared)
{
    *(volatile int32_t *)&shared->final_pid = 0;
}

/* Being born in a cgroup costs a fraction of moving there. It has to happen here, outside: the right to do it
 * belongs to the caller's user namespace, and a descriptor of the host's cgroup tree must not exist in
 * `final`, which the container may look into. The double shares this memory, as after vfork(2), unless it has
 * to join a time namespace, which takes only a process with memory of its own (setns(2)). */
static void become_member(struct plan *plan, struct plan *shared)
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
    if (PROTECTED(early_close)) {
        close(plan->cgroup_fd);
    }
    if (alone && madvise(shared, sizeof(*shared), MADV_DONTFORK) < 0) {
        fail(plan, STEP_PLAN);
    }
    die_with_caller(plan);
}

/* All in one call: the container's init may change them meanwhile, and what it never had together is no
 * container. (To be shown without that, also on one processor, init has its turn after each call.) */
static int set_namespaces(const struct plan *plan)
{
    if (PROTECTED(one_setns)) {
        return (int)syscall(SYS_setns, plan->init_fd, (int)plan->namespaces);
    }
    for (uint32_t bit = 1; bit != 0; bit <<= 1) {
        if ((plan->namespaces & bit) == 0) {
            continue;
        }
        if (syscall(SYS_setns, plan->init_fd, (int)bit) < 0) {
            return -1;
        }
        usleep(100);
    }
    return 0;
}

static void join_namespaces(const struct plan *plan)
{
    if (plan->namespaces != 0 && set_namespaces(plan) < 0) {
        fail(plan, STEP_NAMESPACE);
    }
    if (plan->root_fd >= 0) {
        if (fchdir(plan->root_fd) < 0 || chroot(".") < 0 || chdir("/") < 0) {
            fail(plan, STEP_NAMESPACE);
        }
        close(plan->root_fd);
    }
    if (plan->init_fd >= 0 && PROTECTED(early_close)) {
        close(plan->init_fd);
    }
    /* The raw calls: libc's would take the locks and signals of a threaded program. */
    if ((plan->flags & PLAN_BECOME_ROOT) &&
        (syscall(SYS_setresgid, 0, 0, 0) < 0 || syscall(SYS_setresuid, 0, 0, 0) < 0)) {
        fail(plan, STEP_BECOME_ROOT);
    }
}

/* --------------------------------------------------------------------------- inside, before final is born */

static void join_keyring(const struct plan *plan)
{
    const char *name = plan_text(plan, plan->keyring);
    /* a kernel without keyrings has nothing to leak */
    if (name != NULL && syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name, 0, 0, 0) < 0 &&
        errno != ENOSYS) {
        fail(plan, STEP_KEYRING);
    }
}

static int open_beneath(int folder, const char *name, uint64_t flags)
{
    const struct open_how how = {
        .flags = flags | O_CLOEXEC,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS,
    };
    return (int)syscall(SYS_openat2, folder, name, &how, sizeof(how));
}

/* The container may have put anything at /dev/ptmx and /dev/pts (CVE-2025-52565). The directory is proven to
 * be a devpts before anything in it is opened; there only the kernel makes files, and NO_XDEV keeps out what
 * was mounted over one. The peer comes from the master itself, not from a path. */
static void open_terminal(const struct plan *plan)
{
    int folder = open("/dev/pts", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0) {
        enter_fail(plan, STEP_TERMINAL, errno, 0, "open /dev/pts");
    }
    struct statfs fs;
    if (PROTECTED(devpts) && (fstatfs(folder, &fs) < 0 || fs.f_type != DEVPTS_MAGIC)) {
        enter_fail(plan, STEP_TERMINAL, ENODEV, 0, "/dev/pts is not a devpts");
    }
    int master = PROTECTED(devpts) ? open_beneath(folder, "ptmx", O_RDWR | O_NOCTTY)
                                   : openat(folder, "ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
    close(folder);
    int unlock = 0;
    if (master < 0 || ioctl(master, TIOCSPTLCK, &unlock) < 0) {
        enter_fail(plan, STEP_TERMINAL, errno, 0, "open /dev/pts/ptmx");
    }
    int slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (slave < 0) {
        enter_fail(plan, STEP_TERMINAL, errno, 0, "open the terminal's peer");
    }
    const struct winsize size = {.ws_row = plan->rows, .ws_col = plan->columns};
    if ((size.ws_row != 0 || size.ws_col != 0) && ioctl(master, TIOCSWINSZ, &size) < 0) {
        enter_fail(plan, STEP_TERMINAL, errno, 0, "set the window size");
    }
    for (int fd = 0; fd <= 2; fd++) {
        if (dup2(slave, fd) < 0) {
            enter_fail(plan, STEP_TERMINAL, errno, 0, "put the terminal on stdio");
        }
    }
    close(slave);
    if (!tell_fd(plan, MSG_TERMINAL, master)) {
        enter_fail(plan, STEP_TERMINAL, errno, 0, "send it to the caller");
    }
    close(master);
}

static void set_attributes(const struct plan *plan)
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

/* Closes everything above the passed descriptors but the ways to the caller, which the execve closes. */
static void close_others(const struct plan *plan)
{
    const unsigned kept[] = {(unsigned)plan->control_fd, (unsigned)plan->status_fd, (unsigned)plan->go_fd};
    unsigned from = 3 + (unsigned)plan->preserve_fds;
    for (;;) {
        unsigned next = ~0U; /* the lowest of those from here on; a closed one is ~0 */
        for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++) {
            if (kept[i] >= from && kept[i] < next) {
                next = kept[i];
            }
        }
        if (next > from && syscall(SYS_close_range, from, next == ~0U ? next : next - 1, 0) < 0) {
            fail(plan, STEP_CLOSE);
        }
        if (next == ~0U) {
            return;
        }
        from = next + 1;
    }
}

/* Once with every privilege, and where that fails once more as the command's user, who alone may be allowed
 * to (a directory on a file system that squashes root). */
static bool change_directory(const struct plan *plan, bool last)
{
    const char *cwd = plan_text(plan, plan->cwd);
    if (chdir(cwd) == 0) {
        return true;
    }
    if (!last) {
        return false;
    }
    enter_fail(plan, STEP_CWD, errno, 0, cwd);
}

/* A directory that was reached through a leaked descriptor or swapped under us lies outside the root; the
 * kernel then answers with "(unreachable)" instead of an absolute path (CVE-2024-21626). */
static void prove_directory(const struct plan *plan)
{
    if (!PROTECTED(prove_directory)) {
        return;
    }
    char path[PLAN_PATH_MAX];
    if (syscall(SYS_getcwd, path, sizeof(path)) < 0) {
        fail(plan, STEP_CWD_OUTSIDE);
    }
    if (path[0] != '/') {
        enter_fail(plan, STEP_CWD_OUTSIDE, ENOENT, 0, path);
    }
}

/* The file is the container's: a fifo must not block us, a device is not read, and no magic link of a procfs
 * leads to a file that is not the container's. -1 and errno. */
static int open_regular(const char *path)
{
    const struct open_how how = {
        .flags = O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC,
        .resolve = RESOLVE_NO_MAGICLINKS,
    };
    if (!PROTECTED(regular_only)) {
        return open(path, O_RDONLY | O_CLOEXEC);
    }
    int fd = (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof(how));
    if (fd < 0) {
        return -1;
    }
    struct stat about;
    if (fstat(fd, &about) == 0 && S_ISREG(about.st_mode)) {
        return fd;
    }
    close(fd);
    errno = EINVAL;
    return -1;
}

/* A file beyond this is an attack on our time, not a list of users. */
static bool within_limit(size_t total)
{
    return total < FILE_LIMIT || !PROTECTED(file_limit);
}

static bool read_home(uint32_t uid, struct passwd_search *search)
{
    passwd_begin(search, uid);
    int fd = open_regular("/etc/passwd");
    if (fd < 0) {
        return false;
    }
    bool found = false;
    ssize_t got = 0;
    char buffer[8192];
    for (size_t total = 0; !found && within_limit(total); total += (size_t)got) {
        got = read_some(fd, buffer, sizeof(buffer));
        if (got <= 0) {
            break;
        }
        found = passwd_feed(search, buffer, (size_t)got);
    }
    if (!found && got == 0) {
        found = passwd_end(search);
    }
    close(fd);
    return found;
}

/* A file of the container for the caller, read by a process that can be killed: the file system may be one
 * that the container serves itself and never answers. */
static _Noreturn void copy_file(const struct plan *plan)
{
    int fd = open_regular(plan_text(plan, plan->read));
    if (fd < 0) {
        fail(plan, STEP_READ);
    }
    char buffer[8192];
    for (size_t total = 0; within_limit(total);) {
        ssize_t got = read_some(fd, buffer, sizeof(buffer));
        if (got < 0) {
            fail(plan, STEP_READ);
        }
        if (got == 0) { /* a last NUL says that this was all: the host program may lose the exit status */
            _exit(write_some(1, "", 1) == 1 ? 0 : ENTER_FAILED);
        }
        if (write_some(1, buffer, (size_t)got) != got) {
            fail(plan, STEP_READ);
        }
        total += (size_t)got;
    }
    enter_fail(plan, STEP_READ, EFBIG, 0, NULL);
}

/* An empty HOME gets the value where it stands; else it goes into the spare slot behind the last string. */
static void set_home(struct plan *plan)
{
    static const char name[] = "HOME=";
    static char buffer[sizeof(name) + PASSWD_HOME_MAX];
    struct passwd_search search;
    const char *home = read_home(plan->uid, &search) ? search.home : "/";
    size_t length = strnlen(home, PASSWD_HOME_MAX - 1);
    memcpy(buffer, name, sizeof(name) - 1);
    memcpy(buffer + sizeof(name) - 1, home, length);
    buffer[sizeof(name) - 1 + length] = '\0';
    uint64_t *env = (uint64_t *)((char *)plan + plan->env.offset);
    uint32_t slot = 0;
    while (slot < plan->env.count && strcmp((char *)plan + env[slot], name) != 0) {
        slot++;
    }
    if (slot == plan->env.count) {
        plan->env.count++;
    }
    /* relative to the plan like the others; the sum in pointers() undoes the difference, wrap-around included
     */
    env[slot] = (uint64_t)(uintptr_t)buffer - (uint64_t)(uintptr_t)plan;
}

/* The command may want to reopen its streams by name. Devices belong to the host and stay as they are, but
 * for the pty, which is ours. Not every stream can be given away (read-only mounts, unmapped ids): no reason
 * to fail. */
static void chown_stdio(const struct plan *plan)
{
    if (!(plan->flags & PLAN_CHOWN_STDIO)) {
        return;
    }
    for (int fd = 0; fd <= 2; fd++) {
        struct stat about;
        if (fstat(fd, &about) < 0 || about.st_uid == plan->uid) {
            continue;
        }
        bool device = S_ISCHR(about.st_mode) || S_ISBLK(about.st_mode) || S_ISDIR(about.st_mode);
        if (device && !(plan->flags & PLAN_TERMINAL) && PROTECTED(chown_devices)) {
            continue;
        }
        if (fchown(fd, plan->uid, (gid_t)-1) < 0) {
            continue;
        }
    }
}

/* Dispositions that were ignored survive an execve; the command must not inherit a host program's taste. */
static void reset_signals(const struct plan *plan)
{
    struct sigaction action;
    for (int number = 1; number < NSIG; number++) {
        if (number == SIGKILL || number == SIGSTOP) {
            continue;
        }
        memset(&action, 0, sizeof(action));
        action.sa_handler = SIG_DFL;
        /* EINVAL: those that libc keeps for itself */
        if (sigaction(number, &action, NULL) < 0 && errno != EINVAL) {
            fail(plan, STEP_SIGNALS);
        }
    }
    const uint64_t none = 0;
    if (syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, NULL, sizeof(none)) < 0) {
        fail(plan, STEP_SIGNALS);
    }
}

/* ---------------------------------------------------------------------------------------------- seccomp */

/* The listener must reach the caller although the filter may trap the very call that sends it. A thread that
 * the filter does not bind sends it; the two talk through memory, and the bound one makes no system call
 * until the listener has taken over. */
struct handover {
    const struct plan *plan;
    _Atomic int listener; /* -1: not there yet, -2: none will come */
    _Atomic int done;
};

static int hand_over(void *argument)
{
    struct handover *handover = argument;
    int fd = 0;
    while ((fd = atomic_load(&handover->listener)) == -1) {
        syscall(SYS_sched_yield);
    }
    if (fd >= 0) {
        if (!tell_fd(handover->plan, MSG_LISTENER, fd)) {
            fail(handover->plan, STEP_SECCOMP);
        }
        wait_for_go(handover->plan);
        close(fd);
    }
    atomic_store(&handover->done, 1);
    syscall(SYS_exit, 0);
    return 0;
}

/* musl's; the header hides it without _GNU_SOURCE in some versions */
extern int clone(int (*)(void *), void *, int, void *, ...);

static void install_filter(const struct plan *plan)
{
    static char stack[16384] __attribute__((aligned(16)));
    static struct handover handover;
    const struct sock_fprog program = {
        .len = (unsigned short)plan->seccomp.count,
        .filter = (struct sock_filter *)plan_list(plan, plan->seccomp),
    };
    if (!(plan->flags & PLAN_SECCOMP_NOTIFY)) {
        if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, (unsigned)plan->seccomp_flags, &program) < 0) {
            fail(plan, STEP_SECCOMP);
        }
        return;
    }
    handover.plan = plan;
    atomic_store(&handover.listener, -1);
    int flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;
    if (clone(hand_over, stack + sizeof(stack), flags, &handover) < 0) {
        fail(plan, STEP_SECCOMP);
    }
    unsigned filter_flags = (unsigned)plan->seccomp_flags | SECCOMP_FILTER_FLAG_NEW_LISTENER;
    long fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, filter_flags, &program);
    if (fd < 0) {
        int error = errno;
        atomic_store(&handover.listener, -2);
        enter_fail(plan, STEP_SECCOMP, error, 0, NULL);
    }
    atomic_store(&handover.listener, (int)fd);
    while (atomic_load(&handover.done) == 0) {
        ;
    }
}

/* --------------------------------------------------------------------------------------------- identity */

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
 * (CVE-2022-29162). `kept` are those that final needs a moment longer. */
static void set_capabilities(const struct plan *plan, uint64_t kept)
{
    if (prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) < 0) {
        fail(plan, STEP_CAPABILITIES);
    }
    const uint64_t effective = plan->effective | kept, permitted = plan->permitted | kept;
    const uint64_t inheritable = PROTECTED(capability_sets) ? plan->inheritable : plan->permitted;
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {
        {(uint32_t)effective, (uint32_t)permitted, (uint32_t)inheritable},
        {(uint32_t)(effective >> 32), (uint32_t)(permitted >> 32), (uint32_t)(inheritable >> 32)},
    };
    if (syscall(SYS_capset, &header, data) < 0) {
        fail(plan, STEP_CAPABILITIES);
    }
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0) {
        fail(plan, STEP_AMBIENT);
    }
    for (int bit = 0; bit <= LAST_CAPABILITY; bit++) {
        if ((plan->ambient >> bit & 1) && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, bit, 0, 0) < 0) {
            enter_fail(plan, STEP_AMBIENT, errno, bit, NULL);
        }
    }
}

/* ------------------------------------------------------------------------------------------- the command */

/* Offsets become pointers, in place. */
static char **pointers(struct plan *plan, struct plan_list list)
{
    uint64_t *slots = (uint64_t *)((char *)plan + list.offset);
    for (uint32_t i = 0; i < list.count; i++) {
        slots[i] += (uint64_t)(uintptr_t)plan;
    }
    slots[list.count] = 0;
    return (char **)slots;
}

static bool is_program(const struct stat *about)
{
    return S_ISREG(about->st_mode) && (about->st_mode & 0111) != 0;
}

/* What ENOENT and EACCES are about depends on the file: the value holds PROGRAM_* bits. One that is gone
 * again by now is nothing that the user may not execute. */
static _Noreturn void exec_failed(const struct plan *plan, int error, const char *path)
{
    int value = 0;
    struct stat about;
    if (stat(path, &about) == 0) {
        value = PROGRAM_THERE;
        if (is_program(&about)) {
            value |= PROGRAM_MODE | (access(path, X_OK) == 0 || errno != EACCES ? PROGRAM_ALLOWED : 0);
        }
        if (S_ISDIR(about.st_mode)) {
            error = EISDIR;
        }
    }
    enter_fail(plan, STEP_EXEC, error, value, path);
}

/* Becomes the program at `path`, if it is one; returns if it is none. */
static void try_program(const struct plan *plan, const char *path, char **args, char **env)
{
    /* An execve that fails costs several times a stat; but a filter may forbid to look. */
    const bool look = (plan->flags & PLAN_SECCOMP) == 0;
    if (path[0] == '/' && !look) {
        execve(path, args, env);
    }
    const int error = errno;
    struct stat about;
    if (stat(path, &about) != 0 || !is_program(&about)) {
        return;
    }
    if (path[0] != '/') {
        enter_fail(plan, STEP_LOOKUP, ENOENT, PROGRAM_THERE, path);
    }
    if (look) {
        execve(path, args, env);
    }
    exec_failed(plan, look ? errno : error, path);
}

/* `path` becomes FOLDER/NAME, or NAME where the folder is empty. */
static void join(char *path, const char *folder, size_t length, const char *name)
{
    memcpy(path, folder, length);
    if (length > 0) {
        path[length++] = '/';
    }
    memcpy(path + length, name, strlen(name) + 1);
}

/* The first file of that name with a mode bit for execution is the program, on the container's PATH and for
 * the final user. One that lies in the working directory is not run, as no program of Go would do. */
static _Noreturn void exec_on_path(const struct plan *plan, char **args, char **env)
{
    const size_t name = strlen(args[0]);
    char path[PLAN_PATH_MAX];
    const char *folder = plan_text(plan, plan->path);
    while (folder != NULL && name != 0) {
        const char *end = strchr(folder, ':');
        const size_t length = end != NULL ? (size_t)(end - folder) : strlen(folder);
        if (length + 1 + name < sizeof(path)) {
            join(path, folder, length, args[0]);
            try_program(plan, path, args, env);
        }
        folder = end != NULL ? end + 1 : NULL;
    }
    enter_fail(plan, STEP_LOOKUP, ENOENT, 0, args[0]);
}

static _Noreturn void exec_command(struct plan *plan)
{
    char **env = pointers(plan, plan->env);
    char **args = pointers(plan, plan->args);
    if (args[0] == NULL) { /* plan_check has seen that there is one */
        fail(plan, STEP_PLAN);
    }
    if (!PROTECTED(no_open)) {
        close(open(args[0], O_RDONLY));
    }
    if (strchr(args[0], '/') == NULL) {
        exec_on_path(plan, args, env);
    }
    execve(args[0], args, env);
    exec_failed(plan, errno, args[0]);
}

/* ------------------------------------------------------------------------------------------------ final */

/* What member leaves to final. */
struct rest {
    struct rlimit processes; /* the limit of processes, where the plan has none */
    bool there;              /* in the working directory */
    bool filter;             /* the seccomp filter is still to be installed */
    uint64_t kept;           /* capabilities that are not the command's */
};

static void new_session(const struct plan *plan)
{
    if (!PROTECTED(new_session)) {
        return;
    }
    if (setsid() < 0) {
        fail(plan, STEP_SESSION);
    }
    if ((plan->flags & PLAN_TERMINAL) && ioctl(0, TIOCSCTTY, 0) < 0) {
        enter_fail(plan, STEP_TERMINAL, errno, 0, "make it the controlling terminal");
    }
}

/* Some policies do not survive a fork, and some forbid it. */
static void set_scheduler(const struct plan *plan)
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
    if ((plan->flags & PLAN_SCHEDULER) && syscall(SYS_sched_setattr, 0, &attributes, 0) < 0) {
        fail(plan, STEP_SCHEDULER);
    }
}

/* Of these capabilities, the ones that there are. */
static uint64_t permitted_of(const struct plan *plan, uint64_t wanted)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {{0}};
    if (wanted == 0) {
        return 0;
    }
    if (syscall(SYS_capget, &header, data) < 0) {
        fail(plan, STEP_CAPABILITIES);
    }
    return wanted & ((uint64_t)data[1].permitted << 32 | data[0].permitted);
}

static void become_user(const struct plan *plan, uint64_t kept)
{
    drop_bounding(plan);
    set_user(plan);
    set_capabilities(plan, kept);
}

static _Noreturn void final(struct plan *plan, const struct rest *rest)
{
    const bool no_new_privs = (plan->flags & PLAN_NO_NEW_PRIVS) != 0;
    die_with_caller(plan);
    if (plan->read.offset != 0) {
        copy_file(plan);
    }
    new_session(plan);
    set_scheduler(plan);
    if (!PROTECTED(early_drop)) {
        become_user(plan, rest->kept);
    }
    set_limits(plan, &rest->processes);
    if (!rest->there) {
        change_directory(plan, true);
    }
    prove_directory(plan);
    if (!PROTECTED(early_close)) {
        close_others(plan);
    }
    if (plan->flags & PLAN_WAIT) {
        const struct plan_message message = {.kind = MSG_READY};
        if (!tell(plan, &message)) { /* nobody would say "go" */
            _exit(ENTER_FAILED);
        }
        wait_for_go(plan);
    }
    outlive_caller(plan); /* which the filter may refuse */
    if (rest->filter && !no_new_privs) {
        install_filter(plan);
    }
    if (rest->kept != 0) {
        set_capabilities(plan, 0);
    }
    if (rest->filter &&
        no_new_privs) { /* as late as possible: the fewest calls of ours must be allowed by it */
        install_filter(plan);
    }
    exec_command(plan);
}

/* CLONE_PARENT: the command is the caller's child, so that the caller can wait for it. It is clone(2) and not
 * clone3(2), which the usual seccomp profiles refuse. */
static _Noreturn void fork_final(struct plan *plan, struct plan *shared, const struct rest *rest)
{
    const bool listens = rest->filter && (plan->flags & PLAN_SECCOMP_NOTIFY) != 0;
    if (!listens && PROTECTED(early_close)) {
        close(plan->control_fd);
        plan->control_fd = -1;
    }
    touch(shared);
    long pid = syscall(SYS_clone, CLONE_PARENT | CLONE_PARENT_SETTID, 0, &shared->final_pid, 0, 0);
    if (pid < 0) {
        fail(plan, STEP_CLONE);
    }
    if (pid == 0) {
        final(plan, rest);
    }
    _exit(0);
}

/* All that takes a privilege. What final keeps for a moment is little: CAP_SYS_NICE where a scheduling policy
 * was asked for; CAP_SYS_ADMIN only under a filter without no_new_privs that has a listener or forbids the
 * fork. */
static void prepare_final(struct plan *plan, struct rest *rest)
{
    const bool no_new_privs = (plan->flags & PLAN_NO_NEW_PRIVS) != 0;
    const bool early = (plan->flags & PLAN_SECCOMP_EARLY) != 0 && PROTECTED(early_drop);
    join_keyring(plan);
    enter_mount_trees(plan);
    if (plan->flags & PLAN_TERMINAL) {
        open_terminal(plan);
    }
    set_attributes(plan);
    if (PROTECTED(early_close)) {
        close_others(plan);
    }
    rest->there = change_directory(plan, false);
    if (plan->flags & PLAN_SET_HOME) {
        set_home(plan);
    }
    chown_stdio(plan);
    reset_signals(plan);
    if (no_new_privs && PROTECTED(no_new_privs) && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) {
        fail(plan, STEP_NO_NEW_PRIVS);
    }
    /* Without no_new_privs a filter takes CAP_SYS_ADMIN, so it goes before the drop. */
    if (early) {
        install_filter(plan);
    }
    rest->filter = (plan->flags & PLAN_SECCOMP) != 0 && !early;
    if (rest->filter && !no_new_privs) {
        rest->kept |= 1ULL << CAP_SYS_ADMIN;
    }
    if (plan->flags & PLAN_SCHEDULER) {
        rest->kept |= 1ULL << CAP_SYS_NICE;
    }
    rest->kept = permitted_of(plan, rest->kept);
    if (PROTECTED(early_drop)) {
        become_user(plan, rest->kept);
    }
    /* A change of user undoes both, in the first case to what the sysctl fs.suid_dumpable says. */
    hide(plan);
    die_with_caller(plan);
}

/* ------------------------------------------------------------------------------------------------- start */

static int64_t number_argument(const char *text)
{
    int64_t number = 0;
    for (; *text >= '0' && *text <= '9' && number < 1 << 20; text++) {
        number = number * 10 + (*text - '0');
    }
    return *text == '\0' ? number : -1;
}

/* The plan, in memory of its own: what final has mapped leads to no file, least of all to the one in which
 * the kernel notes the children for the caller. NULL when it is malformed. */
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

/* argv: PLAN_COMM, the plan's descriptor. Nobody but spawn.c starts this program; anything else ends it at
 * once. */
int main(int argc, char **argv)
{
    int fd = argc == 2 ? (int)number_argument(argv[1]) : -1;
    struct rest rest = {0};
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
    touch(shared); /* here, where the caller pays for it */
    close(fd);
    prctl(PR_SET_NAME, PLAN_COMM, 0, 0, 0);
    if (fcntl(plan->control_fd, F_SETFD, FD_CLOEXEC) < 0 || fcntl(plan->status_fd, F_SETFD, FD_CLOEXEC) < 0 ||
        fcntl(plan->go_fd, F_SETFD, FD_CLOEXEC) < 0) {
        fail(plan, STEP_PLAN);
    }
    die_with_caller(plan);
    if (PROTECTED(host_proc)) {
        write_own_files(plan);
    }
    raise_hard_limits(plan, &rest.processes);
    set_affinity(plan, plan->initial_affinity);
    join_tasks(plan);
    become_member(plan, shared);
    join_namespaces(plan);
    if (!PROTECTED(host_proc)) {
        write_own_files(plan);
    }
    if (plan->read.offset == 0) {
        prepare_final(plan, &rest);
    }
    fork_final(plan, shared, &rest);
}
