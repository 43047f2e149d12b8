/* The command's descriptors: its terminal, its streams, and no others. */
#include "enter.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <linux/openat2.h>

#include "../common/late.h"
#include "../common/protect.h"

#define DEVPTS_MAGIC 0x1cd1

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
void open_terminal(const struct plan *plan)
{
    if (!(plan->flags & PLAN_TERMINAL)) {
        return;
    }
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

/* The command may open its streams again by name, as /dev/stdout, and its user must own them for that.
 * Devices belong to the host and keep their owner, except a terminal that open_terminal opened. A stream
 * whose owner cannot be changed (read-only mounts, ids that are not mapped) keeps its owner, which is no
 * reason to fail. */
void chown_stdio(const struct plan *plan)
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

/* Closes every descriptor above the command's own, except the ways to the caller, which the execve closes. */
void close_others(const struct plan *plan)
{
    const unsigned kept[] = {(unsigned)plan->control_fd, (unsigned)plan->status_fd, (unsigned)plan->go_fd};
    unsigned from = 3 + (unsigned)plan->preserve_fds;
    for (;;) {
        unsigned next = ~0U; /* the lowest kept descriptor from `from` on; a closed one (-1) is ~0 */
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

void close_for_good(int32_t *fd)
{
    if (*fd >= 0) {
        (void)syscall(LATE_CLOSE, *fd);
    }
    *fd = -1;
}
