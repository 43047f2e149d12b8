/* Packing a plan: core/pack.c. Private to the core module. */
#ifndef CTREXEC_PACK_H
#define CTREXEC_PACK_H

#include "common/plan.h"
#include "core.h"

/* The descriptors that the helper is started with, each under the number that it has in this program. */
struct ctx_passed {
    int fds[PLAN_MAX_FDS];
    unsigned count;
    int copies[16]; /* made by ctx_above_stdio, to be closed after the start */
    unsigned copy_count;
};

/* Copies a descriptor to a number above 2, where the command's stdio does not overwrite it: a host program
 * that has closed its own stdio gets numbers below 3 for any descriptor. */
int ctx_above_stdio(lua_State *L, struct ctx_passed *passed, int fd);

/* Adds a descriptor, unless it is negative, and returns the number that it has in the helper. Raises an error
 * when there are too many. */
int ctx_pass(lua_State *L, struct ctx_passed *passed, int fd);

/* The descriptor in field `name` of the table at `table`, -1 when absent. */
int ctx_fd_field(lua_State *L, int table, const char *name);

/* Fills the plan from the table at `table`, which holds what core/common/plan.h describes under the same
 * names; leaves the data that follows the structure on top of the stack as a string. Raises an error for a
 * field of a wrong type. */
void ctx_pack_plan(lua_State *L, int table, struct plan *plan, struct ctx_passed *passed);

#endif
