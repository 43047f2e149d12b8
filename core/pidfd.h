#ifndef CTREXEC_PIDFD_H
#define CTREXEC_PIDFD_H

#include "common/parse.h"

#include <sys/wait.h>

/* waitid(2) by a pidfd, which glibc before 2.36 does not name. */
#undef P_PIDFD
#define P_PIDFD ((idtype_t)3)

/* The pid in a pidfd's fdinfo file: -1 for a process that is gone, 0 for one outside the reader's pid
 * namespace. */
bool ctx_parse_fdinfo(struct ctx_text text, int64_t *pid);

#endif
