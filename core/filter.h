/* What a seccomp program answers to a system call, without asking the kernel. */
#ifndef CTREXEC_FILTER_H
#define CTREXEC_FILTER_H

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <stddef.h>

#include "common/plan.h"

/* The program's answer, a SECCOMP_RET_* value with its data; SECCOMP_RET_KILL_PROCESS for a program that the
 * kernel would not have taken. */
uint32_t ctx_filter_run(const struct sock_filter *program, size_t count, const struct seccomp_data *call);

/* Whether the program allows the helper's last steps: those from the fork of final on. */
bool ctx_filter_lets_enter(const struct sock_filter *program, size_t count, const struct plan *plan);

#endif
