#ifndef CTREXEC_PIDFD_H
#define CTREXEC_PIDFD_H

#include "common/parse.h"

/* The pid in a pidfd's fdinfo file: -1 for a process that is gone, 0 for one outside our pid namespace. */
bool ctx_parse_fdinfo(struct ctx_text text, int64_t *pid);

#endif
