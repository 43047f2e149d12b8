/* The files of this process in the host's procfs. */
#include "enter.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "../common/protect.h"

#define PROC_MAGIC 0x9fa0

/* Opens a file of this process in the caller's procfs. The value is written before any namespace is joined,
 * and final inherits it. So the container never sees a descriptor of the host's procfs, and its own /proc,
 * which may lie, is never used (CVE-2019-16884, CVE-2025-52881). */
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

/* The files are opened while the process is still dumpable, because procfs gives those of a non-dumpable
 * process to root and a rootless caller is not root. */
void write_own_files(const struct plan *plan)
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
