/* A seccomp profile as seccomp_profile.c reads it and seccomp.c compiles it. */
#ifndef CTREXEC_SECCOMP_PROFILE_H
#define CTREXEC_SECCOMP_PROFILE_H

#include <lua.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MAX_ARCHITECTURES 24

/* One system call name of the profile. `number` is the native one, negative for a call that only other
 * architectures have. */
struct rule {
    const char *name;
    const struct scmp_arg_cmp *args;
    unsigned arg_count;
    unsigned entry;
    uint32_t action;
    int number;
    bool multiplexed;
};

struct profile {
    struct rule *rules;
    size_t rule_count;
    uint32_t architectures[MAX_ARCHITECTURES];
    size_t architecture_count;
    uint32_t default_action;
    bool unknown_is_enosys;
    bool notify;
    uint32_t flags;
};

/* Reads the OCI object at index `table`; what the profile points to is Lua's, and on the stack. Returns false
 * with a message on top of the stack. */
bool ctx_read_profile(lua_State *L, int table, struct profile *profile);

#endif
