/* The steps of entering, one file for each concern. core/enter/enter.c shows their order.
 *
 * A step that the plan does not ask for does nothing. One that fails reports to the caller and ends the
 * process. */
#ifndef CTREXEC_ENTER_H
#define CTREXEC_ENTER_H

#include "../common/plan.h"

#include <sys/resource.h>
#include <sys/types.h>

#define ENTER_FAILED 255 /* the exit status of a process of the helper that failed */

/* ---- caller.c ---- */

/* Reports a failed step to the caller and ends the process; `fail` with errno and nothing else. */
_Noreturn void enter_fail(const struct plan *plan, enum plan_step step, int error, int value,
                          const char *detail);
_Noreturn void fail(const struct plan *plan, enum plan_step step);

/* Sends a message with a descriptor over the control socket: a pipe cannot carry a descriptor. */
bool tell_fd(const struct plan *plan, uint32_t kind, int fd);

/* read(2) and write(2), repeated after EINTR. */
ssize_t read_some(int fd, void *data, size_t size);
ssize_t write_some(int fd, const void *data, size_t size);

/* die_with_caller has the kernel kill this process when the caller ends; a fork and a change of user each
 * undo that. outlive_caller takes it back before the execve, because the command may outlive ctrexec. */
void die_with_caller(const struct plan *plan);
void outlive_caller(const struct plan *plan);

/* Waits for the caller's "go", one byte. Ends this process when the caller has closed its end of the pipe. */
void wait_for_go(const struct plan *plan);

/* Tells the caller that all but the start is done, and waits for its "go". */
void wait_until_released(const struct plan *plan);

/* ---- own_files.c ---- */

/* Writes oom score, login uid and labels, and hides the process. */
void write_own_files(const struct plan *plan);

/* ---- limits.c ---- */

/* Raises the hard limits, which takes a privilege on the host, and lifts RLIMIT_NPROC, whose old value goes
 * into `processes`. set_limits sets the limits of the plan and gives RLIMIT_NPROC its old value back. */
void raise_hard_limits(const struct plan *plan, struct rlimit *processes);
void set_limits(const struct plan *plan, const struct rlimit *processes);

/* ---- attributes.c ---- */

void set_affinity(const struct plan *plan, struct plan_list mask);
void join_keyring(const struct plan *plan);

/* I/O priority, personality, memory policy, affinity, umask. */
void set_attributes(const struct plan *plan);
void reset_signals(const struct plan *plan);
void set_no_new_privs(const struct plan *plan);
void new_session(const struct plan *plan);
void set_scheduler(const struct plan *plan);

/* ---- processes.c ---- */

/* Moves this process into the cgroups of version 1. */
void join_tasks(const struct plan *plan);

/* Brings the page into memory in which the kernel notes the pids of member and final. */
void touch(struct plan *shared);

/* Each forks the process that it is named after, which goes on; the process that called ends. */
void become_member(struct plan *plan, struct plan *shared);
void become_final(struct plan *plan, struct plan *shared);

/* ---- namespaces.c ---- */

void join_namespaces(struct plan *plan);

/* ---- mounts.c ---- */

/* Mounts the plan's trees in a copy of the container's mount namespace that only this process has. */
void lend_files(const struct plan *plan);

/* ---- streams.c ---- */

/* Opens a terminal of the container as stdio and sends its master to the caller. */
void open_terminal(const struct plan *plan);

/* Gives the streams to the command's user. */
void chown_stdio(const struct plan *plan);

/* Closes every descriptor that the command does not get, except the ways to the caller, which the execve
 * closes. */
void close_others(const struct plan *plan);

/* Closes a descriptor of the plan and sets it to -1. */
void close_for_good(int32_t *fd);

/* ---- directory.c ---- */

/* Whether the command's working directory could be entered; `demand_directory` fails where it cannot. */
bool change_directory(const struct plan *plan);
void demand_directory(const struct plan *plan);

/* Proves that the working directory is inside the container's root. */
void prove_directory(const struct plan *plan);

/* ---- files.c ---- */

/* HOME from the container's passwd. */
void set_home(struct plan *plan);

/* Copies a file of the container to the caller, in place of a command. */
_Noreturn void copy_file(const struct plan *plan);

/* ---- seccomp.c ---- */

/* Where in the order the filter is installed. */
enum filter_place {
    FILTER_NONE,
    FILTER_EARLY,      /* before the privileges are dropped: the filter allows the calls of common/late.h */
    FILTER_PRIVILEGED, /* in final, which keeps the privilege for it */
    FILTER_LAST,       /* directly before the execve: with no_new_privs it takes no privilege */
};

enum filter_place filter_place(const struct plan *plan);

/* Installs the filter if this is its place. */
void install_filter(const struct plan *plan, enum filter_place place);

/* ---- identity.c ---- */

/* The capabilities that final needs until just before the execve, although the command may not have them:
 * CAP_SYS_ADMIN for FILTER_PRIVILEGED, CAP_SYS_NICE for a scheduling policy. Those that this process lacks
 * are left out. */
uint64_t needed_capabilities(const struct plan *plan);

/* Sets the bounding set, the groups, gid, uid and capabilities of the command, and keeps the needed
 * capabilities. */
void become_user(const struct plan *plan, uint64_t needed);

/* Drops the needed capabilities, so that only those of the command remain. */
void drop_needed_capabilities(const struct plan *plan, uint64_t needed);

/* Makes this process non-dumpable: no process without CAP_SYS_PTRACE may look into it, whatever its user. */
void hide(const struct plan *plan);

/* ---- command.c ---- */

_Noreturn void exec_command(struct plan *plan);

#endif
