#ifndef CTREXEC_NAMESPACE_H
#define CTREXEC_NAMESPACE_H

#include "common/parse.h"

/* The inode number in the target of a /proc/PID/ns link, as "mnt:[4026531841]". Returns false for another
 * text. */
bool ctx_parse_namespace(struct ctx_text link, uint64_t *inode);

#endif
