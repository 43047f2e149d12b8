/* What the two sides of a sandbox share: the program that starts it and its process. */
#ifndef CTREXEC_SANDBOX_H
#define CTREXEC_SANDBOX_H

#include <stddef.h>
#include <sys/time.h>

/* The one page that the program and the child share: which unit the child is running when it is killed. */
struct ctx_sandbox_progress {
    int unit;
};

struct ctx_sandbox_job {
    const char *chunk;
    size_t chunk_length;
    const char *argument; /* packed */
    size_t argument_length;
    double time_limit;   /* of each unit, in seconds */
    size_t memory_limit; /* of each unit, in bytes */
    struct ctx_sandbox_progress *progress;
};

/* In the process of the sandbox: runs the job's chunk and ends. The channel is descriptor CTX_KEPT_FD. */
_Noreturn void ctx_run_sandbox(void *job);

/* Seconds as setitimer(2) and setsockopt(2) take them. */
struct timeval ctx_timeval(double seconds);

#endif
