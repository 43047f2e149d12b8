/* What the kernel says of a seccomp program, without installing one. */
#ifndef CTREXEC_FUZZ_SECCOMP_H
#define CTREXEC_FUZZ_SECCOMP_H

#include "fuzz.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A thread that has a filter of its own. */
static inline void *diverge(void *ready)
{
    struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog program = {.len = 1, .filter = &allow};

    HOLDS(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) == 0);
    sem_post(ready);
    for (;;) {
        pause();
    }
    return NULL;
}

/* Whether the kernel would take the program. When it is asked to install the program in all threads at once,
 * the kernel checks the program first, and then finds the thread that has another filter: so it installs
 * nothing, and returns that thread's number. */
static inline bool kernel_takes(const struct sock_filter *code, size_t count)
{
    static pthread_t thread;
    struct sock_fprog program = {.len = (unsigned short)count, .filter = (struct sock_filter *)code};

    if (thread == 0) {
        sem_t ready;
        sem_init(&ready, 0, 0);
        HOLDS(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
        HOLDS(pthread_create(&thread, NULL, diverge, &ready) == 0);
        while (sem_wait(&ready) < 0 && errno == EINTR) {
        }
    }
    const long result = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program);
    HOLDS(result > 0 || (result < 0 && (errno == EINVAL || errno == ENOMEM)));
    return result > 0;
}

#endif
