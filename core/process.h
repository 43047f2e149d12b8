#ifndef CTREXEC_PROCESS_H
#define CTREXEC_PROCESS_H

#include "common/parse.h"

/* The fields of /proc/PID/stat that matter here; proc_pid_stat(5). */
struct ctx_stat {
    struct ctx_text comm;
    char state;
    int64_t ppid;
    int64_t pgrp;
    int64_t session;
    int64_t tty;
    uint64_t flags;      /* PF_* of the kernel's <linux/sched.h> */
    uint64_t start_time; /* clock ticks after boot */
};

/* Parses /proc/PID/stat; the command name may hold any byte, parentheses and newlines too. */
bool ctx_parse_stat(struct ctx_text text, struct ctx_stat *stat);

#endif
