/***
Which namespaces a process is in, and which of them differ from the caller's.

@module ctrexec.core.namespace
@see namespaces(7)
*/
#include "namespace.h"
#include "core.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif

enum {
    LINK_MAX_SIZE = 64,
    PROC_PATH_MAX = 64,
    DECIMAL = 10,
};

/* A process may start its children in another namespace than its own, after unshare(2) for example. Then the
 * children's namespace counts here, because ctrexec's helper is such a child: `children` names its link. */
static const struct kind {
    const char *name;
    const char *children;
    int flag;
} kinds[] = {
    {"user", NULL, CLONE_NEWUSER},
    {"mnt", NULL, CLONE_NEWNS},
    {"pid", "pid_for_children", CLONE_NEWPID},
    {"net", NULL, CLONE_NEWNET},
    {"ipc", NULL, CLONE_NEWIPC},
    {"uts", NULL, CLONE_NEWUTS},
    {"cgroup", NULL, CLONE_NEWCGROUP},
    {"time", "time_for_children", CLONE_NEWTIME},
};

enum {
    KIND_COUNT = sizeof(kinds) / sizeof(*kinds),
};

bool ctx_parse_namespace(struct ctx_text link, uint64_t *inode)
{
    struct ctx_text name;
    if (!ctx_text_next(&link, '[', &name) || link.at == link.end || link.end[-1] != ']') {
        return false;
    }
    link.end--;
    return ctx_text_number(link, DECIMAL, inode);
}

/* Reads one namespace's inode number; 0 when there is no such link: the kernel lacks the kind, or the process
 * is dead. Returns 0 or an errno. Reading the link is cheaper than stat(2), which has to instantiate the
 * inode. */
static int read_inode(int nsdir, const char *name, uint64_t *inode)
{
    char link[LINK_MAX_SIZE];
    ssize_t size = readlinkat(nsdir, name, link, sizeof(link));
    *inode = 0;
    if (size < 0) {
        return errno == ENOENT ? 0 : errno;
    }
    return ctx_parse_namespace(ctx_text(link, (size_t)size), inode) ? 0 : EPROTO;
}

static int open_namespaces(pid_t pid)
{
    char path[PROC_PATH_MAX];
    (void)snprintf(path, sizeof(path), "/proc/%d/ns", (int)pid);
    int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) {
        errno = ESRCH;
    }
    return fd;
}

/* The inode numbers of all kinds, 0 for a kind that the kernel lacks. Returns 0 or an errno. */
static int read_all(int nsdir, uint64_t inodes[KIND_COUNT])
{
    for (size_t i = 0; i < KIND_COUNT; i++) {
        int error = read_inode(nsdir, kinds[i].name, &inodes[i]);
        if (error != 0) {
            return error;
        }
        /* Every kernel has mount namespaces: a process without one has exited. */
        if (inodes[i] == 0 && kinds[i].flag == CLONE_NEWNS) {
            return ESRCH;
        }
    }
    return 0;
}

static int read_target(pid_t pid, uint64_t inodes[KIND_COUNT])
{
    int nsdir = open_namespaces(pid);
    if (nsdir < 0) {
        return errno;
    }
    int error = read_all(nsdir, inodes);
    close(nsdir);
    return error;
}

/* Whether namespace `inode` is another than the one of this thread, or of its children. */
static int compare(int own_nsdir, const struct kind *kind, uint64_t inode, bool *differs)
{
    uint64_t own = 0;
    int error = read_inode(own_nsdir, kind->name, &own);
    *differs = false;
    if (error != 0 || own == 0) {
        return error;
    }
    /* The kernel has this kind, so every living process is in one. If a dead process were taken for one that
     * shares this thread's namespaces, the command would run on the host. */
    if (inode == 0) {
        return ESRCH;
    }
    *differs = own != inode;
    if (!*differs && kind->children != NULL) {
        error = read_inode(own_nsdir, kind->children, &own);
        *differs = own != inode;
    }
    return error;
}

static int compare_all(const uint64_t inodes[KIND_COUNT], int *mask)
{
    int nsdir = open("/proc/thread-self/ns", O_PATH | O_DIRECTORY | O_CLOEXEC);
    int error = nsdir < 0 ? errno : 0;
    *mask = 0;
    for (size_t i = 0; i < KIND_COUNT && error == 0; i++) {
        bool differs = 0;
        error = compare(nsdir, &kinds[i], inodes[i], &differs);
        *mask |= differs ? kinds[i].flag : 0;
    }
    if (nsdir >= 0) {
        close(nsdir);
    }
    return error;
}

/***
The namespaces of a process.
@function ids
@int pid
@treturn[1] table inode numbers under `user`, `mnt`, `pid`, `net`, `ipc`, `uts`, `cgroup`, `time`, without
those that the kernel lacks
@return[2] nil
@treturn[2] string error message
@treturn[2] int errno: ESRCH when the process is gone or a zombie, EACCES when it may not be inspected
@see namespaces(7)
*/
static int namespace_ids(lua_State *L)
{
    pid_t pid = ctx_check_pid(L, 1);
    uint64_t inodes[KIND_COUNT] = {0};
    int error = read_target(pid, inodes);
    if (error != 0) {
        return ctx_error(L, error, "namespaces of process %d", (int)pid);
    }
    lua_createtable(L, 0, KIND_COUNT);
    for (size_t i = 0; i < KIND_COUNT; i++) {
        if (inodes[i] != 0) {
            lua_pushinteger(L, (lua_Integer)inodes[i]);
            lua_setfield(L, -2, kinds[i].name);
        }
    }
    return 1;
}

/***
The namespaces of a process that are not those of the calling thread and of what it starts. A kind that the
kernel lacks does not differ. The pid may be a new process's by now: ask the pidfd afterwards whether it is
still alive.
@function differing
@int pid
@treturn[1] int the CLONE_NEW* bits to give to setns(2) with a pidfd
@treturn[1] table the same as name = true
@return[2] nil
@treturn[2] string error message
@treturn[2] int errno: ESRCH when the process is gone or a zombie, EACCES when it may not be inspected
@see setns(2)
*/
static int namespace_differing(lua_State *L)
{
    pid_t pid = ctx_check_pid(L, 1);
    uint64_t inodes[KIND_COUNT] = {0};
    int mask = 0;
    int error = read_target(pid, inodes);
    if (error == 0) {
        error = compare_all(inodes, &mask);
    }
    if (error != 0) {
        return ctx_error(L, error, "namespaces of process %d", (int)pid);
    }
    lua_pushinteger(L, mask);
    lua_createtable(L, 0, KIND_COUNT);
    for (size_t i = 0; i < KIND_COUNT; i++) {
        if (mask & kinds[i].flag) {
            lua_pushboolean(L, 1);
            lua_setfield(L, -2, kinds[i].name);
        }
    }
    return 2;
}

/***
The CLONE_NEW* bit of each kind by its name under /proc/PID/ns.
@table names
@field user CLONE_NEWUSER
@field mnt CLONE_NEWNS
@field pid CLONE_NEWPID
@field net CLONE_NEWNET
@field ipc CLONE_NEWIPC
@field uts CLONE_NEWUTS
@field cgroup CLONE_NEWCGROUP
@field time CLONE_NEWTIME
*/
static void push_names(lua_State *L)
{
    lua_createtable(L, 0, KIND_COUNT);
    for (size_t i = 0; i < KIND_COUNT; i++) {
        lua_pushinteger(L, kinds[i].flag);
        lua_setfield(L, -2, kinds[i].name);
    }
}

int ctx_open_namespace(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"ids", namespace_ids}, {"differing", namespace_differing}, {NULL, NULL}};
    luaL_newlib(L, functions);
    push_names(L);
    lua_setfield(L, -2, "names");
    return 1;
}
