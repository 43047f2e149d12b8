#include "fork.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { SCRATCH_FD = 10, PRIVATE_UMASK = 077 };

/* Opens /dev/null for stdio, gives the kept descriptors their numbers and closes all others. The kept ones
 * are close-on-exec: a program that the process starts gets none of them. */
static bool keep_only(const int *fds, size_t count)
{
    int scratch[CTX_KEPT_MAX];
    for (size_t i = 0; i < count; i++) {
        scratch[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, SCRATCH_FD);
    }
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int stream = STDIN_FILENO; stream <= STDERR_FILENO; stream++) {
        if (null < 0 || (null == stream ? fcntl(stream, F_SETFD, 0) : dup2(null, stream)) < 0) {
            return false;
        }
    }
    for (size_t i = 0; i < count; i++) {
        if (dup3(scratch[i], CTX_KEPT_FD + (int)i, O_CLOEXEC) < 0) {
            return false;
        }
    }
    return syscall(SYS_close_range, CTX_KEPT_FD + (unsigned)count, ~0U, 0U) == 0;
}

/* The parent's signal handlers work on the parent's state, of which this process has only a copy. */
static void reset_signals(void)
{
    struct sigaction action = {.sa_handler = SIG_DFL};
    for (int number = 1; number < NSIG; number++) {
        (void)sigaction(number, &action, NULL);
    }
    sigset_t none;
    (void)sigemptyset(&none);
    (void)pthread_sigmask(SIG_SETMASK, &none, NULL);
}

_Noreturn static void run(const struct ctx_clean_process *process)
{
    reset_signals();
    (void)prctl(PR_SET_DUMPABLE, 0);
    (void)prctl(PR_SET_NAME, process->name);
    (void)umask(PRIVATE_UMASK);
    if (!keep_only(process->fds, process->fd_count) || chdir("/") != 0) {
        _exit(EXIT_FAILURE);
    }
    process->run(process->argument);
    _exit(EXIT_SUCCESS);
}

/* All signals stay blocked until the new process has reset the handlers: a handler of the program that ran in
 * it would act for the program. */
pid_t ctx_fork_clean(const struct ctx_clean_process *process)
{
    sigset_t all;
    (void)sigfillset(&all);
    sigset_t before;
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    const pid_t pid = fork();
    if (pid == 0) {
        run(process);
    }
    const int error = errno;
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = error;
    return pid;
}
