/***
Starting the helper and following it until the command runs.

`start` packs the plan, starts the helper and returns at once with an *entry*, whose events tell how far it
is. The decisions that the events ask for are Lua's.

@module ctrexec.core.spawn
*/
#include "core.h"
#include "plan.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef P_PIDFD
#define P_PIDFD 3
#endif
#ifndef CLONE_PIDFD
#define CLONE_PIDFD 0x00001000
#endif
#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif

#define CTX_ENTRY "ctrexec.entry"
#define PACK_STRING_MAX (32 << 20)

/* The helper's bytes: core/enter_image.S. */
extern const unsigned char ctx_enter_image[];
extern const unsigned char ctx_enter_image_end[];

/* The names of enum plan_step, as Lua sees them. */
static const char *const step_names[STEP_COUNT] = {
    [STEP_PLAN] = "plan",
    [STEP_OOM_SCORE_ADJ] = "oom_score_adj",
    [STEP_LOGIN_UID] = "login_uid",
    [STEP_LABEL] = "label",
    [STEP_KEY_LABEL] = "key_label",
    [STEP_RLIMIT] = "rlimit",
    [STEP_AFFINITY] = "affinity",
    [STEP_TASKS] = "tasks",
    [STEP_CLONE_INTO_CGROUP] = "cgroup",
    [STEP_CLONE] = "clone",
    [STEP_NAMESPACE] = "namespace",
    [STEP_BECOME_ROOT] = "become_root",
    [STEP_SESSION] = "session",
    [STEP_KEYRING] = "keyring",
    [STEP_MOUNT] = "mount",
    [STEP_TERMINAL] = "terminal",
    [STEP_SCHEDULER] = "scheduler",
    [STEP_IO_PRIORITY] = "io_priority",
    [STEP_PERSONALITY] = "personality",
    [STEP_MEMORY_POLICY] = "memory_policy",
    [STEP_CLOSE] = "close",
    [STEP_CWD] = "cwd",
    [STEP_CWD_OUTSIDE] = "cwd_outside",
    [STEP_NO_NEW_PRIVS] = "no_new_privs",
    [STEP_SECCOMP] = "seccomp",
    [STEP_BOUNDING] = "bounding",
    [STEP_GROUPS] = "groups",
    [STEP_GID] = "gid",
    [STEP_UID] = "uid",
    [STEP_CAPABILITIES] = "capabilities",
    [STEP_AMBIENT] = "ambient",
    [STEP_READ] = "read",
    [STEP_LOOKUP] = "lookup",
    [STEP_EXEC] = "exec",
};

/* ----------------------------------------------------------------------------------------------- packing */

/* The block grows in a Lua buffer, so that an error raised half-way leaks nothing. `table` is the stack index
 * of the plan table; the buffer must stay on top of the stack between two additions. */
struct packer {
    lua_State *L;
    int table;
    luaL_Buffer data;
    struct plan plan;
};

/* Raises an error, like luaL_error. */
static void bad_field(lua_State *L, const char *name, const char *expected)
{
    luaL_error(L, "plan.%s: expected %s", name, expected);
}

static uint32_t position(const struct packer *packer)
{
    return (uint32_t)(sizeof(struct plan) + luaL_bufflen(&packer->data));
}

static void align(struct packer *packer)
{
    while (position(packer) % 8 != 0)
        luaL_addchar(&packer->data, '\0');
}

static lua_Integer integer_field(lua_State *L, int table, const char *name, lua_Integer otherwise)
{
    lua_getfield(L, table, name);
    int is_integer = 1;
    lua_Integer value = lua_isnil(L, -1) ? otherwise : lua_tointegerx(L, -1, &is_integer);
    if (!is_integer)
        bad_field(L, name, "an integer");
    lua_pop(L, 1);
    return value;
}

static bool flag_field(const struct packer *packer, const char *name)
{
    lua_getfield(packer->L, packer->table, name);
    bool value = lua_toboolean(packer->L, -1);
    lua_pop(packer->L, 1);
    return value;
}

static int fd_field(lua_State *L, int table, const char *name)
{
    lua_getfield(L, table, name);
    int fd = ctx_opt_fd(L, lua_gettop(L));
    lua_pop(L, 1);
    return fd;
}

/* The string on the top of the stack, proven to be one without NUL and of sane size; it stays there. */
static const char *text_on_top(lua_State *L, const char *name, size_t *length)
{
    if (lua_type(L, -1) != LUA_TSTRING)
        bad_field(L, name, "a string");
    const char *text = lua_tolstring(L, -1, length);
    if (memchr(text, '\0', *length) != NULL)
        bad_field(L, name, "no NUL byte");
    if (*length > PACK_STRING_MAX)
        bad_field(L, name, "a shorter string");
    return text;
}

/* Appends the string on the top of the stack (above the buffer) and pops it. */
static void append_top(struct packer *packer)
{
    luaL_addvalue(&packer->data);
    luaL_addchar(&packer->data, '\0');
}

static struct plan_text text_field(struct packer *packer, const char *name)
{
    struct plan_text text = {0};
    size_t length;
    lua_getfield(packer->L, packer->table, name);
    if (lua_isnil(packer->L, -1)) {
        lua_pop(packer->L, 1);
        return text;
    }
    text_on_top(packer->L, name, &length);
    text.offset = position(packer);
    text.length = (uint32_t)length;
    append_top(packer);
    return text;
}

/* The array field `name` is pushed below the buffer's reach by index: it returns its stack index and its
 * length. Absent is an empty array. The buffer was not used yet when this is called: see pack(). */
static int array_field(lua_State *L, int table, const char *name, uint32_t *count)
{
    lua_getfield(L, table, name);
    if (!lua_isnil(L, -1) && !lua_istable(L, -1))
        bad_field(L, name, "an array");
    lua_Unsigned length = lua_isnil(L, -1) ? 0 : lua_rawlen(L, -1);
    if (length > PLAN_MAX_SIZE / 8)
        bad_field(L, name, "a shorter array");
    *count = (uint32_t)length;
    return lua_gettop(L);
}

/* Strings first, then their offsets: two passes over an array that this call alone can see. */
static struct plan_list strings(struct packer *packer, int array, uint32_t count, uint32_t spare,
                                const char *name)
{
    lua_State *L = packer->L;
    uint64_t at = position(packer);
    for (uint32_t i = 1; i <= count; i++) {
        size_t length;
        lua_rawgeti(L, array, i);
        text_on_top(L, name, &length);
        append_top(packer);
        if (position(packer) > PLAN_MAX_SIZE / 2)
            bad_field(L, name, "a shorter list");
    }
    align(packer);
    const struct plan_list list = {.offset = position(packer), .count = count};
    for (uint32_t i = 1; i <= count; i++) {
        lua_rawgeti(L, array, i);
        const uint64_t offset = at;
        at += lua_rawlen(L, -1) + 1;
        lua_pop(L, 1);
        luaL_addlstring(&packer->data, (const char *)&offset, sizeof(offset));
    }
    const uint64_t zero = 0;
    for (uint32_t i = 0; i < spare; i++)
        luaL_addlstring(&packer->data, (const char *)&zero, sizeof(zero));
    return list;
}

static lua_Integer element_integer(lua_State *L, int array, uint32_t index, const char *name)
{
    int is_integer;
    lua_rawgeti(L, array, index);
    lua_Integer value = lua_tointegerx(L, -1, &is_integer);
    if (!is_integer)
        bad_field(L, name, "integers");
    lua_pop(L, 1);
    return value;
}

/* An array of integers, `width` bytes each. */
static struct plan_list integers(struct packer *packer, int array, uint32_t count, size_t width,
                                 const char *name)
{
    struct plan_list list = {0};
    if (count == 0)
        return list;
    align(packer);
    list.offset = position(packer);
    list.count = count;
    for (uint32_t i = 1; i <= count; i++) {
        const uint64_t value = (uint64_t)element_integer(packer->L, array, i, name);
        const uint32_t narrow = (uint32_t)value;
        if (width == sizeof(narrow))
            luaL_addlstring(&packer->data, (const char *)&narrow, sizeof(narrow));
        else
            luaL_addlstring(&packer->data, (const char *)&value, sizeof(value));
    }
    return list;
}

static struct plan_list rlimits(struct packer *packer, int array, uint32_t count)
{
    lua_State *L = packer->L;
    struct plan_list list = {0};
    if (count == 0)
        return list;
    align(packer);
    list.offset = position(packer);
    list.count = count;
    for (uint32_t i = 1; i <= count; i++) {
        lua_rawgeti(L, array, i);
        if (!lua_istable(L, -1))
            bad_field(L, "rlimits", "tables");
        const int entry = lua_gettop(L);
        const struct plan_rlimit limit = {
            .resource = (uint32_t)integer_field(L, entry, "resource", -1),
            .soft = (uint64_t)integer_field(L, entry, "soft", 0),
            .hard = (uint64_t)integer_field(L, entry, "hard", 0),
        };
        lua_pop(L, 1);
        luaL_addlstring(&packer->data, (const char *)&limit, sizeof(limit));
    }
    return list;
}

static struct plan_list bytes(struct packer *packer, int string)
{
    struct plan_list list = {0};
    size_t length = 0;
    const char *data = lua_tolstring(packer->L, string, &length);
    if (data == NULL || length == 0)
        return list;
    if (length % 8 != 0 || length / 8 > USHRT_MAX)
        bad_field(packer->L, "seccomp", "a BPF program");
    align(packer);
    list.offset = position(packer);
    list.count = (uint32_t)(length / 8);
    luaL_addlstring(&packer->data, data, length);
    return list;
}

/* ------------------------------------------------------------------------------------------ descriptors */

/* The descriptors that the helper is started with, each at the number that it has here. */
struct passed {
    int fds[PLAN_MAX_FDS];
    unsigned count;
};

static void pass(lua_State *L, struct passed *passed, int fd)
{
    if (fd < 0)
        return;
    if (passed->count == PLAN_MAX_FDS)
        luaL_error(L, "plan: more than %d descriptors", (int)PLAN_MAX_FDS);
    passed->fds[passed->count++] = fd;
}

/* An array of descriptors, as int32 and into `passed`. */
static struct plan_list descriptors(struct packer *packer, int array, uint32_t count, struct passed *passed)
{
    lua_State *L = packer->L;
    struct plan_list list = {0};
    if (count == 0)
        return list;
    align(packer);
    list.offset = position(packer);
    list.count = count;
    for (uint32_t i = 1; i <= count; i++) {
        lua_rawgeti(L, array, i);
        const int32_t fd = ctx_check_fd(L, lua_gettop(L));
        lua_pop(L, 1);
        pass(L, passed, fd);
        luaL_addlstring(&packer->data, (const char *)&fd, sizeof(fd));
    }
    return list;
}

/* Targets first, then the entries that point at them. */
static struct plan_list mounts(struct packer *packer, int array, uint32_t count, struct passed *passed)
{
    lua_State *L = packer->L;
    struct plan_list list = {0};
    struct plan_mount entries[64];
    if (count == 0)
        return list;
    if (count > sizeof(entries) / sizeof(entries[0]))
        bad_field(L, "mounts", "at most 64 entries");
    for (uint32_t i = 0; i < count; i++) {
        size_t length;
        lua_rawgeti(L, array, i + 1);
        if (!lua_istable(L, -1))
            bad_field(L, "mounts", "tables");
        memset(&entries[i], 0, sizeof(entries[i]));
        entries[i].fd = fd_field(L, lua_gettop(L), "fd");
        pass(L, passed, entries[i].fd);
        lua_getfield(L, -1, "target");
        lua_remove(L, -2);
        text_on_top(L, "mounts", &length);
        entries[i].target.offset = position(packer);
        entries[i].target.length = (uint32_t)length;
        append_top(packer);
    }
    align(packer);
    list.offset = position(packer);
    list.count = count;
    luaL_addlstring(&packer->data, (const char *)entries, count * sizeof(entries[0]));
    return list;
}

/* ------------------------------------------------------------------------------------------- the fields */

static uint32_t plan_flags(const struct packer *packer)
{
    static const struct {
        const char *name;
        uint32_t flag;
    } booleans[] = {
        {"terminal", PLAN_TERMINAL},
        {"wait", PLAN_WAIT},
        {"no_new_privs", PLAN_NO_NEW_PRIVS},
        {"set_home", PLAN_SET_HOME},
        {"groups_optional", PLAN_GROUPS_OPTIONAL},
        {"skip_groups", PLAN_SKIP_GROUPS},
        {"umask", PLAN_UMASK},
        {"personality", PLAN_PERSONALITY},
        {"oom_score_adj", PLAN_OOM_SCORE_ADJ},
        {"login_uid", PLAN_LOGIN_UID},
        {"scheduler", PLAN_SCHEDULER},
        {"io_priority", PLAN_IO_PRIORITY},
        {"memory_policy", PLAN_MEMORY_POLICY},
        {"seccomp", PLAN_SECCOMP},
        {"seccomp_notify", PLAN_SECCOMP_NOTIFY},
        {"chown_stdio", PLAN_CHOWN_STDIO},
        {"become_root", PLAN_BECOME_ROOT},
    };
    uint32_t flags = 0;
    for (size_t i = 0; i < sizeof(booleans) / sizeof(booleans[0]); i++)
        if (flag_field(packer, booleans[i].name))
            flags |= booleans[i].flag;
    return flags;
}

static void pack_scheduler(struct packer *packer)
{
    lua_State *L = packer->L;
    lua_getfield(L, packer->table, "scheduler");
    if (!lua_isnil(L, -1)) {
        if (!lua_istable(L, -1))
            bad_field(L, "scheduler", "a table");
        const int table = lua_gettop(L);
        packer->plan.scheduler = (struct plan_scheduler){
            .policy = (uint32_t)integer_field(L, table, "policy", 0),
            .nice = (int32_t)integer_field(L, table, "nice", 0),
            .flags = (uint64_t)integer_field(L, table, "flags", 0),
            .priority = (uint64_t)integer_field(L, table, "priority", 0),
            .runtime = (uint64_t)integer_field(L, table, "runtime", 0),
            .deadline = (uint64_t)integer_field(L, table, "deadline", 0),
            .period = (uint64_t)integer_field(L, table, "period", 0),
        };
    }
    lua_pop(L, 1);
}

static uint32_t id_field(const struct packer *packer, const char *name)
{
    lua_Integer value = integer_field(packer->L, packer->table, name, 0);
    if (value < 0 || value > UINT32_MAX)
        bad_field(packer->L, name, "a number from 0 to 4294967295");
    return (uint32_t)value;
}

static void pack_numbers(struct packer *packer)
{
    struct plan *plan = &packer->plan;
    lua_State *L = packer->L;
    const int table = packer->table;
    plan->flags = plan_flags(packer);
    plan->namespaces = id_field(packer, "namespaces");
    plan->preserve_fds = (int32_t)id_field(packer, "preserve_fds");
    plan->oom_score_adj = (int32_t)integer_field(L, table, "oom_score_adj", 0);
    plan->login_uid = id_field(packer, "login_uid");
    plan->rows = (uint16_t)id_field(packer, "rows");
    plan->columns = (uint16_t)id_field(packer, "columns");
    plan->umask = id_field(packer, "umask");
    plan->personality = (uint64_t)integer_field(L, table, "personality", 0);
    plan->io_priority = id_field(packer, "io_priority");
    plan->memory_mode = id_field(packer, "memory_policy");
    plan->uid = id_field(packer, "uid");
    plan->gid = id_field(packer, "gid");
    plan->bounding = (uint64_t)integer_field(L, table, "bounding", 0);
    plan->effective = (uint64_t)integer_field(L, table, "effective", 0);
    plan->permitted = (uint64_t)integer_field(L, table, "permitted", 0);
    plan->inheritable = (uint64_t)integer_field(L, table, "inheritable", 0);
    plan->ambient = (uint64_t)integer_field(L, table, "ambient", 0);
    plan->seccomp_flags = (uint64_t)integer_field(L, table, "seccomp_flags", 0);
    pack_scheduler(packer);
}

/* The whole plan; the finished data string is left on top of the stack. */
static void pack(struct packer *packer, struct passed *passed)
{
    struct plan *plan = &packer->plan;
    lua_State *L = packer->L;
    enum { ARGS, ENV, TASKS, RLIMITS, INITIAL, FINAL, NODES, GROUPS, MOUNTS, ARRAYS };
    static const char *const names[ARRAYS] = {
        [ARGS] = "args",
        [ENV] = "env",
        [TASKS] = "tasks",
        [RLIMITS] = "rlimits",
        [INITIAL] = "initial_affinity",
        [FINAL] = "final_affinity",
        [NODES] = "memory_nodes",
        [GROUPS] = "groups",
        [MOUNTS] = "mounts",
    };
    int array[ARRAYS];
    uint32_t count[ARRAYS];
    luaL_checkstack(L, ARRAYS + 8, NULL);
    pack_numbers(packer);
    for (int i = 0; i < ARRAYS; i++)
        array[i] = array_field(L, packer->table, names[i], &count[i]);
    lua_getfield(L, packer->table, "seccomp");
    const int seccomp = lua_gettop(L);
    if (count[ARGS] == 0)
        bad_field(L, "args", "at least one string");

    luaL_buffinit(L, &packer->data);
    plan->exec_attribute = text_field(packer, "exec_attribute");
    plan->exec_label = text_field(packer, "exec_label");
    plan->key_label = text_field(packer, "key_label");
    plan->keyring = text_field(packer, "keyring");
    plan->cwd = text_field(packer, "cwd");
    plan->path = text_field(packer, "path");
    plan->read = text_field(packer, "read");
    plan->args = strings(packer, array[ARGS], count[ARGS], 1, names[ARGS]);
    plan->env = strings(packer, array[ENV], count[ENV], 2, names[ENV]);
    plan->tasks = descriptors(packer, array[TASKS], count[TASKS], passed);
    plan->rlimits = rlimits(packer, array[RLIMITS], count[RLIMITS]);
    plan->initial_affinity = integers(packer, array[INITIAL], count[INITIAL], 8, names[INITIAL]);
    plan->final_affinity = integers(packer, array[FINAL], count[FINAL], 8, names[FINAL]);
    plan->memory_nodes = integers(packer, array[NODES], count[NODES], 8, names[NODES]);
    plan->groups = integers(packer, array[GROUPS], count[GROUPS], 4, names[GROUPS]);
    plan->mounts = mounts(packer, array[MOUNTS], count[MOUNTS], passed);
    plan->seccomp = bytes(packer, seccomp);
    plan->magic = PLAN_MAGIC;
    plan->version = PLAN_VERSION;
    plan->size = position(packer);
    luaL_pushresult(&packer->data);
    if (plan->exec_label.offset != 0 && plan->exec_attribute.offset == 0)
        bad_field(L, "exec_attribute", "a string when exec_label is there");
    if (plan->cwd.offset == 0)
        bad_field(L, "cwd", "a string");
}

/* ------------------------------------------------------------------------------------------- the helper */

/* A sealed memfd that holds the helper, read-only: the container may see it as /proc/PID/exe and cannot
 * change a byte of it, not even as root with every capability. -1 and errno on failure. */
static int helper_image(void)
{
    const size_t size = (size_t)(ctx_enter_image_end - ctx_enter_image);
    int writable = memfd_create("ctrexec", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC);
    if (writable < 0 && errno == EINVAL) /* before Linux 6.3 every memfd is executable */
        writable = memfd_create("ctrexec", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (writable < 0)
        return -1;
    size_t done = 0;
    while (done < size) {
        ssize_t written = write(writable, ctx_enter_image + done, size - done);
        if (written < 0 && errno != EINTR)
            break;
        done += written > 0 ? (size_t)written : 0;
    }
    int image = -1;
    if (done == size &&
        fcntl(writable, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) == 0) {
        /* Reopened, because execve(2) refuses a file that anybody has open for writing. */
        char path[32];
        snprintf(path, sizeof(path), "/proc/self/fd/%d", writable);
        image = open(path, O_RDONLY | O_CLOEXEC);
    }
    int error = errno;
    close(writable);
    errno = error;
    return image;
}

/* The image is made once a Lua state and kept in its registry; the fd object closes with the state. */
static int cached_image(lua_State *L)
{
    static const char key = 0;
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &key) == LUA_TNIL) {
        int image = helper_image();
        if (image < 0)
            return -1;
        ctx_push_fd(L, image);
        lua_pushvalue(L, -1);
        lua_rawsetp(L, LUA_REGISTRYINDEX, &key);
        lua_remove(L, -2);
    }
    int fd = ctx_check_fd(L, lua_gettop(L));
    lua_pop(L, 1);
    return fd;
}

/* What the child between clone and execveat needs; it shares our memory, so nothing here may change
 * meanwhile. */
struct launch {
    int image;
    int plan_fd;
    int stdio[3];
    struct passed passed; /* sorted, without stdio */
    char plan_argument[16];
    int error; /* set by the child when it cannot even start the helper */
};

static int compare_int(const void *left, const void *right)
{
    const int a = *(const int *)left, b = *(const int *)right;
    return (a > b) - (a < b);
}

/* Every descriptor that is not passed is closed, whatever the host program forgot to mark close-on-exec. */
static void close_gaps(const struct passed *passed)
{
    unsigned first = 3;
    for (unsigned i = 0; i < passed->count; i++) {
        const unsigned fd = (unsigned)passed->fds[i];
        if (fd > first)
            syscall(SYS_close_range, first, fd - 1, 0);
        if (fd >= first)
            first = fd + 1;
    }
    syscall(SYS_close_range, first, ~0U, 0);
}

/* Runs on a stack of its own in our memory, as after vfork(2): only system calls, no locks, no allocation.
 * Every signal is blocked, so that no handler of the host program runs in it. */
#if defined(__SANITIZE_ADDRESS__)
__attribute__((no_sanitize_address))
#endif
static int
launch_helper(void *argument)
{
    struct launch *launch = argument;
    char *const argv[] = {(char *)PLAN_COMM, launch->plan_argument, NULL};
    char *const envp[] = {NULL};
    for (int fd = 0; fd <= 2; fd++) {
        /* dup2 of a descriptor onto itself would keep its close-on-exec flag */
        if (launch->stdio[fd] == fd ? fcntl(fd, F_SETFD, 0) < 0 : dup2(launch->stdio[fd], fd) < 0)
            goto failed;
    }
    for (unsigned i = 0; i < launch->passed.count; i++)
        if (launch->passed.fds[i] != launch->image && fcntl(launch->passed.fds[i], F_SETFD, 0) < 0)
            goto failed;
    close_gaps(&launch->passed);
    syscall(SYS_execveat, launch->image, "", argv, envp, AT_EMPTY_PATH);
failed:
    launch->error = errno;
    _exit(127);
}

/* Starts the helper; its pid, and its pidfd in *pidfd. -1 and errno on failure. */
static pid_t launch(struct launch *launch, int *pidfd)
{
    char stack[65536] __attribute__((aligned(16)));
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    pid_t pid = clone(launch_helper, stack + sizeof(stack), CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD,
                      launch, pidfd);
    int error = errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (pid > 0 && launch->error != 0) {
        error = launch->error;
        siginfo_t info;
        while (waitid(P_PIDFD, (id_t)*pidfd, &info, WEXITED | __WALL) < 0 && errno == EINTR)
            ;
        close(*pidfd);
        pid = -1;
    }
    errno = error;
    return pid;
}

/* ----------------------------------------------------------------------------------------------- entries */

/* A command on its way in. */
struct entry {
    int control;     /* our end of the helper's socket; -1 when the story is over */
    int plan_fd;     /* the shared page in which the kernel notes the children */
    int first_pidfd; /* of the first helper process, until it is reaped */
    pid_t first;
    int child_pidfd; /* of the process that becomes the command, until Lua has it */
    pid_t child;
    bool told; /* "started", "error" or "died" was given */
};

static struct entry *check_entry(lua_State *L)
{
    return luaL_checkudata(L, 1, CTX_ENTRY);
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* What the kernel wrote at the forks; 0 where there was none. */
static void read_children(const struct entry *entry, pid_t *member, pid_t *final)
{
    int32_t pids[2] = {0, 0};
    _Static_assert(offsetof(struct plan, final_pid) == offsetof(struct plan, member_pid) + sizeof(pids[0]),
                   "member_pid and final_pid are read as one");
    if (pread(entry->plan_fd, pids, sizeof(pids), offsetof(struct plan, member_pid)) != (ssize_t)sizeof(pids))
        pids[0] = pids[1] = 0;
    *member = pids[0];
    *final = pids[1];
}

static void reap_pid(pid_t pid)
{
    siginfo_t info;
    if (pid > 0)
        while (waitid(P_PID, (id_t)pid, &info, WEXITED | __WALL) < 0 && errno == EINTR)
            ;
}

/* The helper processes that stay outside end by themselves as soon as the fork is done. They are ours, so
 * their pids cannot be recycled before this. */
static void reap_helpers(struct entry *entry, bool kill_first)
{
    pid_t member = 0, final = 0;
    if (entry->first_pidfd < 0)
        return;
    if (entry->plan_fd >= 0)
        read_children(entry, &member, &final);
    if (kill_first) {
        syscall(SYS_pidfd_send_signal, entry->first_pidfd, SIGKILL, NULL, 0);
        if (member > 0)
            kill(member, SIGKILL);
        read_children(entry, &member, &final);
    }
    reap_pid(entry->first);
    reap_pid(member);
    close_fd(&entry->first_pidfd);
    if (entry->child == 0)
        entry->child = final;
}

/* Ends whatever has not become the command. A frozen process cannot die before it is thawed: it is killed all
 * the same, but not waited for beyond a second. */
static void abort_entry(struct entry *entry)
{
    reap_helpers(entry, true);
    close_fd(&entry->control);
    if (!entry->told && entry->child > 0) {
        if (entry->child_pidfd < 0)
            entry->child_pidfd = (int)syscall(SYS_pidfd_open, entry->child, 0);
        siginfo_t info;
        /* only a child of ours is killed: the number may have been reaped by the host program */
        if (entry->child_pidfd >= 0 &&
            waitid(P_PIDFD, (id_t)entry->child_pidfd, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) == 0) {
            struct pollfd ended = {.fd = entry->child_pidfd, .events = POLLIN};
            syscall(SYS_pidfd_send_signal, entry->child_pidfd, SIGKILL, NULL, 0);
            if (poll(&ended, 1, 1000) > 0)
                waitid(P_PIDFD, (id_t)entry->child_pidfd, &info, WEXITED | __WALL);
        }
    }
    entry->told = true;
    close_fd(&entry->child_pidfd);
    close_fd(&entry->plan_fd);
}

static int push_event(lua_State *L, const char *name)
{
    lua_createtable(L, 0, 6);
    lua_pushstring(L, name);
    lua_setfield(L, -2, "event");
    return 1;
}

static void set_integer(lua_State *L, const char *name, lua_Integer value)
{
    lua_pushinteger(L, value);
    lua_setfield(L, -2, name);
}

/* The comm of a process, which is the helper's until the execve. False when it cannot be read any more. */
static bool still_helper(pid_t pid, bool *known)
{
    char path[40], comm[sizeof(PLAN_COMM) + 1] = "";
    snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd >= 0 ? read(fd, comm, sizeof(comm) - 1) : -1;
    if (fd >= 0)
        close(fd);
    *known = got > 0;
    return got > 0 && strncmp(comm, PLAN_COMM "\n", sizeof(PLAN_COMM)) == 0;
}

static bool child_ended(const struct entry *entry)
{
    struct pollfd ended = {.fd = entry->child_pidfd, .events = POLLIN};
    return poll(&ended, 1, 0) > 0;
}

/* The helper died without a word: killed, or the memory limit of the container was reached. */
static int push_death(lua_State *L, struct entry *entry)
{
    siginfo_t info = {0};
    entry->told = true;
    push_event(L, "died");
    if (entry->child_pidfd >= 0 && waitid(P_PIDFD, (id_t)entry->child_pidfd, &info, WEXITED | __WALL) == 0) {
        lua_pushstring(L, info.si_code == CLD_EXITED ? "exited" : "killed");
        lua_setfield(L, -2, "reason");
        set_integer(L, "status", info.si_status);
    }
    close_fd(&entry->child_pidfd);
    close_fd(&entry->plan_fd);
    close_fd(&entry->control);
    return 1;
}

/* End of file on the socket: an execve happened or the process is dying. Close-on-exec runs a moment before
 * the kernel renames the process, so its old name is looked at until it changes or the process has ended. */
static int push_outcome(lua_State *L, struct entry *entry)
{
    reap_helpers(entry, false);
    if (entry->child_pidfd < 0)
        return push_death(L, entry);
    bool known;
    while (still_helper(entry->child, &known)) {
        if (child_ended(entry)) {
            if (still_helper(entry->child, &known))
                return push_death(L, entry);
            break;
        }
        sched_yield();
    }
    if (!known && child_ended(entry)) /* reaped by the host program: what it was is lost */
        return push_death(L, entry);
    entry->told = true;
    close_fd(&entry->control);
    close_fd(&entry->plan_fd);
    push_event(L, "started");
    return 1;
}

struct packet {
    struct plan_message message;
    ssize_t size;
    pid_t sender;
    int fd;
};

/* One message with its sender as the kernel knows it. Descriptors beyond the first are closed. */
static void receive(int control, struct packet *packet)
{
    struct iovec data = {.iov_base = &packet->message, .iov_len = sizeof(packet->message)};
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(struct ucred)) + CMSG_SPACE(4 * sizeof(int))];
    } control_data;
    struct msghdr header = {
        .msg_iov = &data,
        .msg_iovlen = 1,
        .msg_control = control_data.bytes,
        .msg_controllen = sizeof(control_data.bytes),
    };
    packet->sender = 0;
    packet->fd = -1;
    do
        packet->size = recvmsg(control, &header, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    while (packet->size < 0 && errno == EINTR);
    if (packet->size < 0)
        return;
    for (struct cmsghdr *item = CMSG_FIRSTHDR(&header); item != NULL; item = CMSG_NXTHDR(&header, item)) {
        if (item->cmsg_level != SOL_SOCKET)
            continue;
        if (item->cmsg_type == SCM_CREDENTIALS) {
            struct ucred sender;
            memcpy(&sender, CMSG_DATA(item), sizeof(sender));
            packet->sender = sender.pid;
        } else if (item->cmsg_type == SCM_RIGHTS) {
            const size_t count = (item->cmsg_len - CMSG_LEN(0)) / sizeof(int);
            for (size_t i = 0; i < count; i++) {
                int fd;
                memcpy(&fd, CMSG_DATA(item) + i * sizeof(fd), sizeof(fd));
                if (packet->fd < 0)
                    packet->fd = fd;
                else
                    close(fd);
            }
        }
    }
}

static int push_error_event(lua_State *L, struct entry *entry, const struct plan_message *message)
{
    const uint32_t step = message->step < STEP_COUNT && message->step > 0 ? message->step : STEP_PLAN;
    push_event(L, "error");
    lua_pushstring(L, step_names[step]);
    lua_setfield(L, -2, "step");
    set_integer(L, "errno", message->error);
    set_integer(L, "value", message->value);
    set_integer(L, "pid", entry->first);
    lua_pushstring(L, strerror(message->error));
    lua_setfield(L, -2, "message");
    lua_pushlstring(L, message->detail, strnlen(message->detail, sizeof(message->detail)));
    lua_setfield(L, -2, "detail");
    abort_entry(entry);
    return 1;
}

static int push_fd_event(lua_State *L, const char *name, struct packet *packet)
{
    push_event(L, name);
    ctx_push_fd(L, packet->fd);
    packet->fd = -1;
    lua_setfield(L, -2, "fd");
    return 1;
}

/* Takes a message when it comes from whom it must: a process of the container that got hold of the socket is
 * not heard. Pushes an event and returns 1, or 0 when the message is to be passed over. */
static int take(lua_State *L, struct entry *entry, struct packet *packet)
{
    pid_t member, final;
    if (packet->size != (ssize_t)sizeof(packet->message))
        return 0;
    read_children(entry, &member, &final);
    const bool outside = packet->sender == entry->first || (member > 0 && packet->sender == member);
    const bool inside = final > 0 && packet->sender == final;
    switch (packet->message.kind) {
    case MSG_CHILD:
        if (!outside || packet->fd < 0 || entry->child_pidfd >= 0)
            return 0;
        entry->child = final;
        entry->child_pidfd = packet->fd;
        packet->fd = -1;
        push_event(L, "child");
        set_integer(L, "pid", final);
        return 1;
    case MSG_TERMINAL:
        return inside && packet->fd >= 0 ? push_fd_event(L, "terminal", packet) : 0;
    case MSG_LISTENER:
        return inside && packet->fd >= 0 ? push_fd_event(L, "listener", packet) : 0;
    case MSG_READY:
        return inside ? push_event(L, "ready") : 0;
    case MSG_ERROR:
        return inside || outside ? push_error_event(L, entry, &packet->message) : 0;
    default:
        return 0;
    }
}

/* A copy of the socket may have been taken by somebody in the container, so that its end is never seen: the
 * process's own state decides then. Pushes an event and returns 1, or 0 when it is still on its way. */
static int look_at_child(lua_State *L, struct entry *entry)
{
    bool known;
    if (entry->child_pidfd < 0)
        return 0;
    const bool helper = still_helper(entry->child, &known);
    return child_ended(entry) || (known && !helper) ? push_outcome(L, entry) : 0;
}

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/***
The next event of an entry.

Events: `child` (`pid`: the process that will be the command exists), `terminal` and `listener` (`fd`),
`ready` (the plan asked to wait: call `go`), and one of the last ones: `started`, `error` (`step`, `errno`,
`message`, `value`, `detail`, `pid` of the first helper) and `died` (`reason` "exited" or "killed" and
`status`, when known).

@function entry:next
@tparam[opt] integer timeout milliseconds to wait; without it, until there is an event
@treturn table|false the event; false when the time is over
@return nil, message, errno (EINTR, or EBADF after the last event)
@see poll(2)
*/
static int entry_next(lua_State *L)
{
    enum { GLANCE = 20 };
    struct entry *entry = check_entry(L);
    const lua_Integer timeout = luaL_optinteger(L, 2, -1);
    const int64_t end = timeout < 0 ? INT64_MAX : now_ms() + timeout;
    if (entry->control < 0)
        return ctx_error(L, EBADF, "entry");
    for (;;) {
        struct pollfd control = {.fd = entry->control, .events = POLLIN};
        int64_t left = timeout < 0 ? GLANCE : end - now_ms();
        int ready = poll(&control, 1, left < 0 ? 0 : left < GLANCE ? (int)left : GLANCE);
        if (ready < 0)
            return ctx_error(L, errno, "poll");
        if (ready == 0) {
            if (look_at_child(L, entry) != 0)
                return 1;
            if (timeout >= 0 && now_ms() >= end) {
                lua_pushboolean(L, 0);
                return 1;
            }
            continue;
        }
        struct packet packet;
        receive(entry->control, &packet);
        if (packet.size < 0 && errno == EAGAIN)
            continue;
        if (packet.size <= 0)
            return push_outcome(L, entry);
        int pushed = take(L, entry, &packet);
        close_fd(&packet.fd);
        if (pushed != 0)
            return 1;
    }
}

/***
Lets a waiting helper go on: after `ready` (the command starts) and after `listener`.

@function entry:go
@treturn boolean true
@return nil, message, errno
*/
static int entry_go(lua_State *L)
{
    const struct entry *entry = check_entry(L);
    if (entry->control < 0)
        return ctx_error(L, EBADF, "entry");
    ssize_t sent;
    do
        sent = send(entry->control, "", 1, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent < 0 ? ctx_error(L, errno, "send") : ctx_ok(L);
}

/***
The descriptor to poll for reading before `next(0)`.

@function entry:fd
@treturn integer the descriptor, -1 after the last event; it stays the entry's
*/
static int entry_fd(lua_State *L)
{
    lua_pushinteger(L, check_entry(L)->control);
    return 1;
}

/***
Takes over the pidfd of the command, from the `child` event on.

@function entry:pidfd
@treturn fd the pidfd, owned by the caller
@return nil, message, errno (ESRCH when there is no child yet, or it was taken)
@see pidfd_open(2)
*/
static int entry_pidfd(lua_State *L)
{
    const struct entry *entry = check_entry(L);
    int copy = entry->child_pidfd < 0 ? -1 : fcntl(entry->child_pidfd, F_DUPFD_CLOEXEC, 3);
    if (copy < 0)
        return ctx_error(L, entry->child_pidfd < 0 ? ESRCH : errno, "pidfd");
    ctx_push_fd(L, copy);
    return 1;
}

/***
Kills and reaps everything of an entry that has not become the command. Does nothing after `started`. Also
done by
`__gc` and `__close`.

@function entry:abort
*/
static int entry_abort(lua_State *L)
{
    abort_entry(check_entry(L));
    return 0;
}

/* ------------------------------------------------------------------------------------------------- start */

static int write_plan(const struct plan *plan, const char *data)
{
    int fd = memfd_create("ctrexec-plan", MFD_CLOEXEC);
    if (fd < 0)
        return -1;
    const struct iovec parts[] = {
        {.iov_base = (void *)plan, .iov_len = sizeof(*plan)},
        {.iov_base = (void *)data, .iov_len = plan->size - sizeof(*plan)},
    };
    ssize_t written = writev(fd, parts, 2);
    if (written == (ssize_t)plan->size)
        return fd;
    int error = written < 0 ? errno : ENOSPC;
    close(fd);
    errno = error;
    return -1;
}

/* A host program may have closed its own stdio, so that a descriptor of ours got number 0, 1 or 2, where it
 * would be overwritten by the command's stdio. */
static int above_stdio(int fd)
{
    if (fd < 0 || fd > 2)
        return fd;
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    int error = errno;
    close(fd);
    errno = error;
    return copy;
}

/* Sources of the command's stdio that another dup2 would overwrite are moved away first. */
static int stdio_source(lua_State *L, int table, const char *name, int number, struct passed *copies)
{
    int fd = fd_field(L, table, name);
    if (fd < 0)
        fd = fcntl(number, F_GETFD) >= 0 ? number : open("/dev/null", O_RDWR | O_CLOEXEC);
    if (fd >= 0 && fd <= 2 && fd != number) {
        fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        pass(L, copies, fd);
    }
    return fd;
}

static int make_sockets(int pair[2])
{
    const int on = 1;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return -1;
    pair[0] = above_stdio(pair[0]);
    pair[1] = above_stdio(pair[1]);
    return setsockopt(pair[0], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on));
}

/***
Starts the helper on its way into a container.

The plan's fields are those of `struct plan` in core/plan.h under the same names, with `init`, `cgroup`,
`root`, `stdin`, `stdout` and `stderr` as descriptors; flags are booleans, or follow from the field that they
announce. Nothing of it is checked for sense here: that is the business of lua/ctrexec/plan.lua.

@function start
@tparam table plan
@treturn entry the entry
@return nil, message, errno
@see clone3(2), setns(2), execveat(2), memfd_create(2)
*/
static int start(lua_State *L)
{
    struct packer packer = {.L = L, .table = 1};
    struct launch launch_data = {.image = -1};
    struct passed copies = {.count = 0};
    int pair[2] = {-1, -1};
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);

    struct entry *entry = lua_newuserdatauv(L, sizeof(*entry), 0);
    *entry = (struct entry){.control = -1, .plan_fd = -1, .first_pidfd = -1, .child_pidfd = -1};
    luaL_setmetatable(L, CTX_ENTRY);
    launch_data.image = cached_image(L);
    if (launch_data.image < 0)
        return ctx_error(L, errno, "make the helper's sealed memfd");

    packer.plan.init_fd = fd_field(L, 1, "init");
    packer.plan.cgroup_fd = fd_field(L, 1, "cgroup");
    packer.plan.root_fd = fd_field(L, 1, "root");
    pass(L, &launch_data.passed, packer.plan.init_fd);
    pass(L, &launch_data.passed, packer.plan.cgroup_fd);
    pass(L, &launch_data.passed, packer.plan.root_fd);
    pass(L, &launch_data.passed, launch_data.image);
    pack(&packer, &launch_data.passed);
    for (int fd = 3; fd < 3 + packer.plan.preserve_fds; fd++)
        pass(L, &launch_data.passed, fd);
    pass(L, &launch_data.passed, INT_MAX); /* room for the last two, so that nothing is raised from here on */
    pass(L, &launch_data.passed, INT_MAX);
    launch_data.passed.count -= 2;

    launch_data.stdio[0] = stdio_source(L, 1, "stdin", 0, &copies);
    launch_data.stdio[1] = stdio_source(L, 1, "stdout", 1, &copies);
    launch_data.stdio[2] = stdio_source(L, 1, "stderr", 2, &copies);
    pid_t pid = -1;
    if (make_sockets(pair) == 0) {
        packer.plan.control_fd = pair[1];
        entry->plan_fd = above_stdio(write_plan(&packer.plan, lua_tostring(L, -1)));
    }
    if (entry->plan_fd >= 0) {
        launch_data.passed.fds[launch_data.passed.count++] = pair[1];
        launch_data.passed.fds[launch_data.passed.count++] = entry->plan_fd;
        snprintf(launch_data.plan_argument, sizeof(launch_data.plan_argument), "%d", entry->plan_fd);
        qsort(launch_data.passed.fds, launch_data.passed.count, sizeof(int), compare_int);
        pid = launch(&launch_data, &entry->first_pidfd);
    }
    int error = errno;
    for (unsigned i = 0; i < copies.count; i++)
        close(copies.fds[i]);
    if (pair[1] >= 0)
        close(pair[1]);
    if (pid < 0) {
        close_fd(&pair[0]);
        close_fd(&entry->plan_fd);
        entry->first_pidfd = -1;
        return ctx_error(L, error, "start the helper");
    }
    entry->first = pid;
    entry->control = pair[0];
    lua_settop(L, 2);
    return 1;
}

static void make_class(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"next", entry_next},   {"go", entry_go},      {"fd", entry_fd},         {"pidfd", entry_pidfd},
        {"abort", entry_abort}, {"__gc", entry_abort}, {"__close", entry_abort}, {NULL, NULL},
    };
    if (luaL_newmetatable(L, CTX_ENTRY)) {
        luaL_setfuncs(L, methods, 0);
        lua_pushvalue(L, -1);
        lua_setfield(L, -2, "__index");
    }
    lua_pop(L, 1);
}

int ctx_open_spawn(lua_State *L)
{
    static const luaL_Reg functions[] = {{"start", start}, {NULL, NULL}};
    make_class(L);
    luaL_newlib(L, functions);
    return 1;
}
