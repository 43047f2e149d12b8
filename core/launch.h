/* Starting the helper: core/launch.c. Private to the core module. */
#ifndef CTREXEC_LAUNCH_H
#define CTREXEC_LAUNCH_H

#include "pack.h"

#include <sys/types.h>

/* What the child needs between clone(2) and execveat(2). The child shares the host program's memory, so
 * nothing here may change meanwhile. */
struct ctx_launch {
    int image;
    int stdio[3];
    struct ctx_passed passed; /* without stdio */
    char plan_argument[16];
    int error; /* set by the child when it cannot even start the helper */
};

/* The descriptor of the helper's image, which the Lua state keeps; -1 and errno on failure. */
int ctx_helper_image(lua_State *L);

/* Starts the helper; its pid, and its pidfd in *pidfd. -1 and errno on failure. Sorts `launch->passed`. */
pid_t ctx_launch(struct ctx_launch *launch, int *pidfd);

#endif
