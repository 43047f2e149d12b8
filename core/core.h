/* The private header of the core module: what every binding shares. */
#ifndef CTREXEC_CORE_H
#define CTREXEC_CORE_H

#include <lauxlib.h>
#include <lua.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* The version of ctrexec; the Makefile reads it here, Lua as core.VERSION. */
#define CTX_VERSION "0.1.0"

/* The metatable name of an owned file descriptor: closed by close(), __close and __gc, whichever is first. */
#define CTX_FD "ctrexec.fd"

/* Pushes an owned descriptor object. If Lua runs out of memory the descriptor is closed before the error. */
void ctx_push_fd(lua_State *L, int fd);

/* Pushes a descriptor object that owns nothing yet (-1) and returns a pointer to its number. A binding stores
 * what it opens there, so that no error can be raised between the opening and the owning. */
int *ctx_new_fd(lua_State *L);

/* The descriptor number at `index`, or -1 when there is none there: for descriptors inside a table. */
int ctx_to_fd(lua_State *L, int index);

/* The descriptor number of argument `arg`: an integer or an fd object. Raises an argument error for anything
 * else, for a negative number and for a closed object. */
int ctx_check_fd(lua_State *L, int arg);

/* As ctx_check_fd, but -1 for none or nil. */
int ctx_opt_fd(lua_State *L, int arg);

/* Takes the descriptor out of the fd object at `arg`: the object is closed, the caller owns the number. */
int ctx_release_fd(lua_State *L, int arg);

/* The error return of every binding: pushes nil, "WHAT: strerror(error)", error and returns 3.
 * `what` is a printf format naming the call and its object, as "open /proc/1/ns". */
int ctx_error(lua_State *L, int error, const char *what, ...) __attribute__((format(printf, 3, 4)));

/* The text of strerror_r(3) for an error. If the cause is a seccomp filter that this program runs under, the
 * text says what to do. */
const char *ctx_reason(int error, char *buffer, size_t size);

/* Pushes true and returns 1: the success return of a binding that has nothing to give. */
int ctx_ok(lua_State *L);

/* The string argument `arg` as a path. A name that holds a NUL byte can name no file: it becomes the empty
 * path, which every call refuses with ENOENT, instead of being cut short. */
const char *ctx_check_path(lua_State *L, int arg);

/* The integer argument `arg` as a pid; -1, which names no process, for a number that is not a valid pid. */
pid_t ctx_check_pid(lua_State *L, int arg);

/* Sets a field of the table on top of the stack. */
void ctx_set_integer(lua_State *L, const char *name, lua_Integer value);
void ctx_set_boolean(lua_State *L, const char *name, bool value);

struct ctx_named_number {
    const char *name;
    int number;
};

/* Pushes a table of names and numbers. A number is looked up when its name is first asked for, so that a
 * program does not pay for names that it never uses. An unknown name gives nil, or raises an error if `kind`
 * says what such a name stands for ("error"). `numbers` must be static. */
void ctx_push_numbers(lua_State *L, const struct ctx_named_number *numbers, size_t count, const char *kind);

/* openat2(2). Retries EINTR, and EAGAIN a limited number of times: the kernel gives it when a rename
 * elsewhere in the tree may have changed the path. Returns a close-on-exec descriptor, or -1 with errno:
 * ENOSYS where a seccomp filter refuses the call. */
int ctx_openat2(int dirfd, const char *path, int flags, mode_t mode, uint64_t resolve);

/* Whether a seccomp filter that this program runs under refuses openat2(2), which Linux has since 5.6. */
bool ctx_openat2_is_refused(void);

/* read(2) and write(2) with EINTR retried. A write without a reader fails with EPIPE and raises no SIGPIPE,
 * which would end a host program that does not ignore it. */
ssize_t ctx_read(int fd, void *data, size_t size);
ssize_t ctx_write(int fd, const void *data, size_t size);

/* Reads all of a small file, at most `size` bytes, into `data`. Returns the length, or -1 with errno. */
ssize_t ctx_read_small(const char *path, char *data, size_t size);

/* Reads `fd` to its end and pushes the string. Returns 0, or an errno (EFBIG beyond `limit` bytes) with
 * nothing pushed. */
int ctx_push_contents(lua_State *L, int fd, size_t limit);

/* The module itself: leaves the table of all primitives on the stack and returns 1. */
int luaopen_ctrexec_core(lua_State *L);

/* One function for each primitive: it leaves the primitive's table of functions on the stack and returns
 * 1. */
int ctx_open_background(lua_State *L);
int ctx_open_capability(lua_State *L);
int ctx_open_cgroup(lua_State *L);
int ctx_open_clock(lua_State *L);
int ctx_open_datagram(lua_State *L);
int ctx_open_errno(lua_State *L);
int ctx_open_fd(lua_State *L);
int ctx_open_fdpass(lua_State *L);
int ctx_open_file(lua_State *L);
int ctx_open_kernel(lua_State *L);
int ctx_open_mount(lua_State *L);
int ctx_open_namespace(lua_State *L);
int ctx_open_pidfd(lua_State *L);
int ctx_open_poll(lua_State *L);
int ctx_open_precompiled(lua_State *L);
int ctx_open_process(lua_State *L);
int ctx_open_program(lua_State *L);
int ctx_open_recorder(lua_State *L);
int ctx_open_relay(lua_State *L);
int ctx_open_sandbox(lua_State *L);
int ctx_open_signal(lua_State *L);
int ctx_open_spawn(lua_State *L);
int ctx_open_terminal(lua_State *L);
int ctx_open_value(lua_State *L);

#endif
