#ifndef CTREXEC_CAPABILITY_H
#define CTREXEC_CAPABILITY_H

#include "common/parse.h"

/* The capability sets of /proc/PID/status; proc_pid_status(5). */
struct ctx_capabilities {
    uint64_t inheritable;
    uint64_t permitted;
    uint64_t effective;
    uint64_t bounding;
    uint64_t ambient;
};

/* Parses /proc/PID/status. Returns false unless all five sets are there. */
bool ctx_parse_capabilities(struct ctx_text text, struct ctx_capabilities *sets);

#endif
