/* Forking a process that shares nothing with the program that starts it. */
#ifndef CTREXEC_FORK_H
#define CTREXEC_FORK_H

#include <stddef.h>
#include <sys/types.h>

/* Where the process keeps the first of the descriptors that it is given; the others follow. */
enum { CTX_KEPT_FD = 3, CTX_KEPT_MAX = 4 };

struct ctx_clean_process {
    const char *name; /* as /proc/PID/comm shows it */
    int fds[CTX_KEPT_MAX];
    size_t fd_count;
    void (*run)(void *argument); /* what the process does; it exits when this returns */
    void *argument;
};

/* Forks a process that has /dev/null for stdio, the descriptors given and none else of the program's, default
 * signal actions with nothing blocked, / as working directory and a umask of 077, and that others cannot look
 * into. Returns its pid, or -1 with errno. The memory is a copy of the program's: its locks and its Lua state
 * must not be touched. */
pid_t ctx_fork_clean(const struct ctx_clean_process *process);

#endif
