/* Files of the container that the helper reads: its passwd for HOME, and one for the caller. */
#include "enter.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/openat2.h>

#include "../common/protect.h"
#include "passwd.h"

#define FILE_LIMIT (8 << 20)

/* Opens a regular file at a path where the container may have put anything: a fifo must not block the helper,
 * a device is not read, and no magic link of a procfs leads to a file outside the container. Returns -1 with
 * errno. */
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

/* A container that makes a file longer than this wants to keep the helper busy. */
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

/* Puts the user's home directory where the environment has an empty "HOME=", or, where it has none, into the
 * spare slot behind the last string. */
void set_home(struct plan *plan)
{
    if (!(plan->flags & PLAN_SET_HOME)) {
        return;
    }
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
    /* an offset from the plan, as in the other slots; pointers() adds the plan's address, and a wrap-around
     * cancels out */
    env[slot] = (uint64_t)(uintptr_t)buffer - (uint64_t)(uintptr_t)plan;
}

/* Copies a file of the container to the caller. The helper reads it, because the container may serve the file
 * system itself and never answer: the caller can kill the helper. */
_Noreturn void copy_file(const struct plan *plan)
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
        if (got == 0) { /* a final NUL says that this was all: the host program may lose the exit status */
            _exit(write_some(1, "", 1) == 1 ? 0 : ENTER_FAILED);
        }
        if (write_some(1, buffer, (size_t)got) != got) {
            fail(plan, STEP_READ);
        }
        total += (size_t)got;
    }
    enter_fail(plan, STEP_READ, EFBIG, 0, NULL);
}
