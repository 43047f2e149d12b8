/* The plan: the one description of what the helper must do to enter a container and start the command.
 *
 * core/spawn.c packs it from the table that lua/ctrexec/exec/plan.lua makes, core/enter/enter.c reads it. It
 * is one block of memory: this structure, then the data that the references point at. Every number is in host
 * byte order: the block never leaves the machine. plan_check() proves every reference before the helper
 * follows one.
 *
 * What is not here: the console, pidfd and seccomp listener sockets of the caller. They stay in the caller;
 * the helper hands the pty master and the listener back over the control socket, and the caller passes them
 * on. So no process in the container ever holds a socket of an engine. */
#ifndef CTREXEC_PLAN_H
#define CTREXEC_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PLAN_MAGIC 0x43545845u /* "CTXE" */
#define PLAN_VERSION 1u
#define PLAN_MAX_SIZE (64u << 20) /* above the largest argument block execve(2) takes (6 MiB), with room */
#define PLAN_MAX_FDS 1024u
#define PLAN_PATH_MAX 4096u
#define PLAN_ARGS_SPARE 1u /* for the NULL */
#define PLAN_ENV_SPARE 2u  /* for HOME, and the NULL */

/* The name of the entering process, as /proc/PID/comm shows it until the execve. */
#define PLAN_COMM "ctrexec:[enter]"

enum plan_flag {
    PLAN_TERMINAL = 1u << 0,     /* a pty of the container's devpts becomes stdio and controlling terminal */
    PLAN_WAIT = 1u << 1,         /* report MSG_READY and start the command only when the caller says go */
    PLAN_NO_NEW_PRIVS = 1u << 2, /* PR_SET_NO_NEW_PRIVS; also moves seccomp behind the capability drop */
    PLAN_SET_HOME = 1u << 3,     /* HOME from the container's passwd, "/" when the uid is not there */
    PLAN_GROUPS_OPTIONAL = 1u << 4, /* setgroups(2) may be denied by the user namespace */
    PLAN_SKIP_GROUPS = 1u << 5,     /* rootless: do not touch supplementary groups at all */
    PLAN_UMASK = 1u << 6,
    PLAN_PERSONALITY = 1u << 7,
    PLAN_OOM_SCORE_ADJ = 1u << 8,
    PLAN_LOGIN_UID = 1u << 9,
    PLAN_SCHEDULER = 1u << 10,
    PLAN_IO_PRIORITY = 1u << 11,
    PLAN_MEMORY_POLICY = 1u << 12,
    PLAN_SECCOMP = 1u << 13,
    PLAN_SECCOMP_NOTIFY = 1u << 14, /* the filter has a listener: hand it to the caller before going on */
    PLAN_CHOWN_STDIO = 1u << 15,    /* give pipes, sockets, files and the pty on 0..2 to the new user */
    PLAN_BECOME_ROOT = 1u << 16,    /* after joining the user namespace: uid and gid 0 of it */
    PLAN_SECCOMP_EARLY = 1u << 17,  /* the filter allows every step after it: core/filter.c tests that */
};

/* A byte string in the block: `length` bytes at `offset`, followed by a NUL. offset 0 means absent. */
struct plan_text {
    uint32_t offset;
    uint32_t length;
};

/* An array in the block: `count` elements at `offset`, aligned to 8 bytes. */
struct plan_list {
    uint32_t offset;
    uint32_t count;
};

struct plan_rlimit {
    uint32_t resource; /* RLIMIT_* */
    uint32_t unused;
    uint64_t soft, hard;
};

struct plan_mount {
    int32_t fd;              /* a detached read-only tree of the host, from open_tree(2) */
    uint32_t copy;           /* instead, fd is a regular file whose content is copied: core/enter/mounts.c */
    struct plan_text target; /* absolute path in the container */
    struct plan_text
        links; /* names, each ended by a newline, of links beside the target; a file in the way stays */
};

/* sched_setattr(2) */
struct plan_scheduler {
    uint32_t policy;
    int32_t nice;
    uint64_t flags;
    uint64_t priority;
    uint64_t runtime, deadline, period; /* nanoseconds */
};

struct plan {
    uint32_t magic, version, size, flags;

    /* The kernel writes these pids at each fork (CLONE_PARENT_SETTID), through a shared mapping that final
     * does not get. The caller reads them there: it knows its children even if the helper was killed before
     * it could report, and no process can forge a report. */
    int32_t member_pid, final_pid;

    /* Descriptors of the helper; -1 where there is none. Set by spawn.c. */
    int32_t control_fd; /* SOCK_SEQPACKET: messages of first and member; of final only with a listener */
    int32_t status_fd;  /* pipe: messages of final. It ends with the execve, or with final. */
    int32_t go_fd;      /* pipe: one byte for each "go" of the caller; it ends with the caller */
    int32_t init_fd;    /* pidfd of the container's init, for setns(2) */
    int32_t cgroup_fd;  /* directory of the v2 cgroup in which member is born */
    int32_t root_fd;    /* root to change to, for a process without container state (chroot(2)) */

    uint32_t namespaces;  /* CLONE_NEW* that differ from the caller's: set by plan.lua from core.namespace */
    int32_t preserve_fds; /* how many descriptors from 3 on the command keeps */

    struct plan_list tasks; /* int32: v1 "tasks" and resctrl "tasks" files, open for writing */

    /* Written to the helper's own files in the caller's procfs before any namespace is joined; final inherits
     * them. Set by plan.lua from the process object and the container's settings. */
    int32_t oom_score_adj;
    uint32_t login_uid;
    struct plan_text exec_attribute; /* file below /proc/self/attr: "exec" or "apparmor/exec" */
    struct plan_text exec_label;     /* what goes into it: an SELinux label or "exec PROFILE" */
    struct plan_text key_label;      /* SELinux label of the session keyring (attr/keycreate) */

    struct plan_list rlimits;          /* struct plan_rlimit */
    struct plan_list initial_affinity; /* uint64 words of the CPU mask, before the cgroup is joined */
    struct plan_list final_affinity;   /* the same, after */

    struct plan_text keyring; /* name of the new session keyring; absent: the caller's keyring stays */
    uint16_t rows, columns;   /* initial window size; 0: leave the pty's own */
    uint32_t umask;
    uint64_t personality; /* personality(2) */
    struct plan_scheduler scheduler;
    uint32_t io_priority; /* ioprio_set(2) value */
    uint32_t memory_mode; /* set_mempolicy(2) mode with its flags */
    struct plan_list memory_nodes;

    struct plan_list mounts; /* struct plan_mount: only the command sees them */
    struct plan_text read;   /* instead of a command: copy this file of the container to stdout and exit */
    struct plan_text cwd;

    /* uint64 offsets of strings, which the helper turns into pointers in place. PLAN_*_SPARE more slots
     * follow the counted ones, and nothing else lies in this memory. */
    struct plan_list env;
    struct plan_list args;
    struct plan_text path; /* PATH to look args[0] up in when it has no slash */

    uint32_t uid, gid;                                             /* in the container's user namespace */
    struct plan_list groups;                                       /* uint32 */
    uint64_t bounding, effective, permitted, inheritable, ambient; /* bit N = capability N */

    struct plan_list seccomp; /* struct sock_filter, 8 bytes each */
    uint64_t seccomp_flags;   /* SECCOMP_FILTER_FLAG_* besides NEW_LISTENER */
};

/* What failed. The names that Lua sees are in core/entry_events.c, in this order. */
enum plan_step {
    STEP_PLAN = 1,
    STEP_DEATH_SIGNAL,
    STEP_HIDE,
    STEP_OOM_SCORE_ADJ,
    STEP_LOGIN_UID,
    STEP_LABEL,
    STEP_KEY_LABEL,
    STEP_RLIMIT,
    STEP_AFFINITY,
    STEP_TASKS,
    STEP_CLONE_INTO_CGROUP,
    STEP_CLONE,
    STEP_NAMESPACE,
    STEP_BECOME_ROOT,
    STEP_SESSION,
    STEP_KEYRING,
    STEP_MOUNT,
    STEP_TERMINAL,
    STEP_SCHEDULER,
    STEP_IO_PRIORITY,
    STEP_PERSONALITY,
    STEP_MEMORY_POLICY,
    STEP_SIGNALS,
    STEP_CLOSE,
    STEP_CWD,
    STEP_CWD_OUTSIDE,
    STEP_NO_NEW_PRIVS,
    STEP_SECCOMP,
    STEP_BOUNDING,
    STEP_GROUPS,
    STEP_GID,
    STEP_UID,
    STEP_CAPABILITIES,
    STEP_AMBIENT,
    STEP_READ,
    STEP_LOOKUP,
    STEP_EXEC,
    STEP_COUNT
};

/* STEP_EXEC and STEP_LOOKUP: what is known of the file that was found, as bits of the message's value. */
enum plan_program {
    PROGRAM_THERE = 1,   /* it exists; with STEP_LOOKUP: found by a relative entry of PATH */
    PROGRAM_MODE = 2,    /* a regular file with an execute bit */
    PROGRAM_ALLOWED = 4, /* the final user may execute it */
};

enum plan_message_kind {
    MSG_TERMINAL = 1, /* the pty master comes with it */
    MSG_LISTENER,     /* the seccomp listener comes with it; the helper waits for a "go" */
    MSG_READY,        /* PLAN_WAIT: everything is done but the start */
    MSG_ERROR,        /* step, error, value, detail; the process exits */
};

#define PLAN_DETAIL 120

struct plan_message {
    uint32_t kind;
    uint32_t step;
    int32_t error; /* errno */
    int32_t value;
    char detail[PLAN_DETAIL]; /* a name that belongs to the step; NUL-terminated */
};

/* True when every reference of the block of `size` bytes stays inside it, even after the helper has written
 * into args and env, and when every string ends with a NUL. */
bool plan_check(const struct plan *plan, size_t size);

/* The string, or NULL when absent. Only after plan_check. */
const char *plan_text(const struct plan *plan, struct plan_text text);

/* The first element of the list. Only after plan_check. */
const void *plan_list(const struct plan *plan, struct plan_list list);

#endif
