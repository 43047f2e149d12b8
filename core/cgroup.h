#ifndef CTREXEC_CGROUP_H
#define CTREXEC_CGROUP_H

#include "common/parse.h"

/* One line of /proc/PID/cgroup; cgroups(7). Version 2 is hierarchy 0 with no controllers. */
struct ctx_cgroup {
    uint64_t hierarchy;
    struct ctx_text controllers;
    struct ctx_text path;
};

/* Cuts the next well-formed line off `rest`. Returns false at the end. */
bool ctx_next_cgroup(struct ctx_text *rest, struct ctx_cgroup *cgroup);

/* One cgroup mount of /proc/PID/mountinfo; proc_pid_mountinfo(5). `root` and `point` are escaped as they
 * stand there. */
struct ctx_cgroup_mount {
    uint64_t id;
    bool unified;
    struct ctx_text root;
    struct ctx_text point;
    struct ctx_text options;
};

/* Cuts the lines up to and with the next mount of a cgroup file system off `rest`. Returns false at the end.
 */
bool ctx_next_cgroup_mount(struct ctx_text *rest, struct ctx_cgroup_mount *mount);

/* Cuts the next name of a controller, or "name=...", off the options of a version 1 mount. */
bool ctx_next_controller(struct ctx_text *options, struct ctx_text *controller);

/* Resolves mountinfo's octal escapes into `path`, which ends in a NUL byte. Returns false when it does not
 * fit. */
bool ctx_unescape(struct ctx_text escaped, char *path, size_t size);

/* The number after `key` and a space on a line of its own, as in memory.events. */
bool ctx_keyed_value(struct ctx_text text, const char *key, uint64_t *value);

#endif
