/* The last step: finds the command's program on the container's PATH, as the final user, and executes it. */
#include "enter.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../common/late.h"
#include "../common/protect.h"

/* Turns the offsets of a list into pointers, in place. */
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

/* Reports a failed execve(2). ENOENT and EACCES may be about the program or about its interpreter, so the
 * message's value tells what is known of the file, in PROGRAM_* bits. A file that has been removed in the
 * meantime does not count as forbidden. */
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

/* execve(2); returns when it fails. */
static void execute(const char *path, char **args, char **env)
{
    (void)syscall(LATE_EXECVE, path, args, env);
}

/* Becomes the program at `path`, if it is one; returns if it is none. */
static void try_program(const struct plan *plan, const char *path, char **args, char **env)
{
    /* A failed execve(2) costs several times as much as a stat(2), so the file is looked at first. Where a
     * filter is planned it may forbid stat(2): an absolute path is then executed without a look. */
    const bool look = (plan->flags & PLAN_SECCOMP) == 0;
    if (path[0] == '/' && !look) {
        execute(path, args, env);
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
        execute(path, args, env);
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

/* Executes the first file of that name on the container's PATH that is regular and has an execute bit. A file
 * that a relative entry of PATH leads to is refused, as Go's os/exec and so runc refuse it. */
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

_Noreturn void exec_command(struct plan *plan)
{
    char **env = pointers(plan, plan->env);
    char **args = pointers(plan, plan->args);
    if (args[0] == NULL) { /* plan_check refuses a plan without args */
        fail(plan, STEP_PLAN);
    }
    if (!PROTECTED(no_open)) {
        close(open(args[0], O_RDONLY));
    }
    if (strchr(args[0], '/') == NULL) {
        exec_on_path(plan, args, env);
    }
    execute(args[0], args, env);
    exec_failed(plan, errno, args[0]);
}
