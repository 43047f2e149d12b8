/***
Control groups of version 1, of version 2, and of both at once.

A cgroup is a descriptor of its directory. Paths below a mount point are resolved so that neither ".." nor a
symbolic link nor another mount leads out of it.

@module ctrexec.core.cgroup
@see cgroups(7)
*/
#include "cgroup.h"
#include "core.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define CONFINED (RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV)

enum {
    DECIMAL = 10,
    PROC_PATH_MAX = 64,
    KEYED_FILE_MAX = 4096,
    FILE_LIMIT = 16 << 20,
    DIRECTORY_MODE = 0755,
};

/* Opens a file of /proc (with AT_FDCWD) or of a cgroup, pushes its contents and closes it. Returns 0, or an
 * errno with nothing pushed. */
static int push_file(lua_State *L, int dirfd, const char *name)
{
    int *fd = ctx_new_fd(L);
    *fd = dirfd == AT_FDCWD ? open(name, O_RDONLY | O_CLOEXEC)
                            : ctx_openat2(dirfd, name, O_RDONLY, 0, CONFINED);
    int error = *fd < 0 ? errno : ctx_push_contents(L, *fd, FILE_LIMIT);
    if (*fd >= 0) {
        close(*fd);
        *fd = -1;
    }
    if (error != 0) {
        lua_pop(L, 1);
    } else {
        lua_remove(L, -2);
    }
    return error;
}

static struct ctx_text text_on_top(lua_State *L)
{
    size_t size = 0;
    const char *data = lua_tolstring(L, -1, &size);
    return ctx_text(data, size);
}

/* Whether the path leads to this mount, and not to another that hides it. */
static bool is_visible(const char *point, uint64_t id)
{
    struct statx status;
    return statx(AT_FDCWD, point, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STATX_MNT_ID, &status) == 0 &&
           status.stx_mask & STATX_MNT_ID && status.stx_mnt_id == id;
}

/* Sets table[name] = path in the table on top of the stack, unless it is set. */
static void add_mount(lua_State *L, struct ctx_text name, const char *path)
{
    lua_pushlstring(L, name.at, ctx_text_size(name));
    lua_pushvalue(L, -1);
    if (lua_rawget(L, -3) == LUA_TNIL) {
        lua_pop(L, 1);
        lua_pushstring(L, path);
        lua_rawset(L, -3);
    } else {
        lua_pop(L, 2);
    }
}

/* Adds the mounts that show a whole hierarchy, or those that show a part of one. */
static void add_mounts(lua_State *L, struct ctx_text mountinfo, bool whole)
{
    struct ctx_cgroup_mount mount;
    while (ctx_next_cgroup_mount(&mountinfo, &mount)) {
        char point[PATH_MAX];
        if (ctx_text_is(mount.root, "/") != whole || !ctx_unescape(mount.point, point, sizeof(point)) ||
            !is_visible(point, mount.id)) {
            continue;
        }
        if (mount.unified) {
            add_mount(L, ctx_text("", 0), point);
        }
        struct ctx_text controller;
        while (!mount.unified && ctx_next_controller(&mount.options, &controller)) {
            add_mount(L, controller, point);
        }
    }
}

/***
Where the hierarchies are mounted. Of several mounts of one hierarchy the first that shows all of it counts; a
mount that is hidden by another does not.
@function mounts
@treturn[1] table mount point by controller ("cpu", "name=systemd"; controllers mounted together share one),
version 2 under ""
@return[2] nil
@treturn[2] string error message
@treturn[2] int errno
@see proc(5)
*/
static int cgroup_mounts(lua_State *L)
{
    int error = push_file(L, AT_FDCWD, "/proc/thread-self/mountinfo");
    if (error != 0) {
        return ctx_error(L, error, "mountinfo");
    }
    struct ctx_text mountinfo = text_on_top(L);
    lua_newtable(L);
    add_mounts(L, mountinfo, true);
    add_mounts(L, mountinfo, false);
    return 1;
}

static void push_controllers(lua_State *L, struct ctx_text controllers)
{
    lua_Integer count = 0;
    lua_newtable(L);
    struct ctx_text name;
    while (ctx_text_next(&controllers, ',', &name)) {
        lua_pushlstring(L, name.at, ctx_text_size(name));
        lua_rawseti(L, -2, ++count);
    }
}

static void push_cgroup(lua_State *L, const struct ctx_cgroup *cgroup)
{
    lua_createtable(L, 0, 3);
    lua_pushinteger(L, (lua_Integer)cgroup->hierarchy);
    lua_setfield(L, -2, "hierarchy");
    push_controllers(L, cgroup->controllers);
    lua_setfield(L, -2, "controllers");
    lua_pushlstring(L, cgroup->path.at, ctx_text_size(cgroup->path));
    lua_setfield(L, -2, "path");
}

/***
The cgroups of a process.
@function of
@int pid
@treturn[1] table array of tables: `hierarchy` (int, 0 is version 2), `controllers` (array of names, empty for
version 2), `path` (below the mount point, as the caller's cgroup namespace shows it)
@return[2] nil
@treturn[2] string error message
@treturn[2] int errno: ESRCH when there is no such process
@see cgroups(7)
*/
static int cgroup_of(lua_State *L)
{
    pid_t pid = ctx_check_pid(L, 1);
    lua_Integer count = 0;
    char path[PROC_PATH_MAX];
    (void)snprintf(path, sizeof(path), "/proc/%d/cgroup", (int)pid);
    int error = push_file(L, AT_FDCWD, path);
    if (error != 0) {
        return ctx_error(L, error == ENOENT ? ESRCH : error, "process %d", (int)pid);
    }
    struct ctx_text rest = text_on_top(L);
    lua_newtable(L);
    struct ctx_cgroup cgroup;
    while (ctx_next_cgroup(&rest, &cgroup)) {
        push_cgroup(L, &cgroup);
        lua_rawseti(L, -2, ++count);
    }
    return 1;
}

/* Whether a directory is of version 2 (1) or of version 1 (0). Returns -1 with errno, EINVAL for another file
 * system. */
static int is_unified(int dirfd)
{
    struct statfs status;
    if (fstatfs(dirfd, &status) < 0) {
        return -1;
    }
    if (status.f_type == CGROUP2_SUPER_MAGIC || status.f_type == CGROUP_SUPER_MAGIC) {
        return status.f_type == CGROUP2_SUPER_MAGIC;
    }
    errno = EINVAL;
    return -1;
}

/* Opens the directory at an absolute `path` below `mount`. Returns -1 with errno. */
static int open_below(const char *mount, const char *path)
{
    const char *relative = path + strspn(path, "/");
    int mountfd = open(mount, O_PATH | O_DIRECTORY | O_CLOEXEC);
    int fd = -1;
    if (mountfd < 0) {
        return -1;
    }
    if (relative == path) {
        errno = ENOENT;
    } else if (is_unified(mountfd) >= 0) {
        if (*relative == '\0') {
            return mountfd;
        }
        fd = ctx_openat2(mountfd, relative, O_PATH | O_DIRECTORY, 0, CONFINED);
    }
    int error = errno;
    close(mountfd);
    errno = error;
    return fd;
}

/***
Opens a cgroup.
@function open
@string mount the mount point of its hierarchy
@string path of the cgroup below that, starting with "/"
@treturn[1] fd of the directory (O_PATH)
@return[2] nil
@treturn[2] string error message
@treturn[2] int errno: ENOENT when there is none (or the path does not start with "/"), EXDEV when the path
leads out of the mount, ELOOP when it meets a symbolic link, EINVAL when the mount is not a cgroup file system
@see openat2(2)
*/
static int cgroup_open(lua_State *L)
{
    const char *mount = ctx_check_path(L, 1);
    const char *path = ctx_check_path(L, 2);
    int *fd = ctx_new_fd(L);
    *fd = open_below(mount, path);
    return *fd < 0 ? ctx_error(L, errno, "cgroup %s in %s", path, mount) : 1;
}

/***
Opens a control file.
@function file
@tparam int|fd dirfd the cgroup
@string name as "cgroup.procs"
@string mode "r" or "w"
@treturn[1] fd
@return[2] nil
@treturn[2] string error message
@treturn[2] int errno
@see openat2(2)
*/
static int cgroup_file(lua_State *L)
{
    static const char *const modes[] = {"r", "w", NULL};
    int dirfd = ctx_check_fd(L, 1);
    const char *name = ctx_check_path(L, 2);
    bool writes = luaL_checkoption(L, 3, NULL, modes) == 1;
    int *fd = ctx_new_fd(L);
    *fd = ctx_openat2(dirfd, name, writes ? O_WRONLY : O_RDONLY, 0, CONFINED);
    return *fd < 0 ? ctx_error(L, errno, "cgroup file %s", name) : 1;
}

/***
Opens the `tasks` of a cgroup of version 1 for writing: what `open` and `file` do, for the common case in one
step.
@function tasks
@string path of the cgroup's directory, trusted to name one
@treturn[1] fd
@return[2] nil
@treturn[2] string error message
@treturn[2] int errno: EINVAL when it is no cgroup of version 1
@see cgroups(7)
*/
static int cgroup_tasks(lua_State *L)
{
    const char *path = ctx_check_path(L, 1);
    const char *file = lua_pushfstring(L, "%s/tasks", path);
    int *fd = ctx_new_fd(L);
    /* The path may lead to any file, so the open must not block. The type of the file system, which is
     * checked below, proves that the file is a control file; such a file system has no links. */
    *fd = open(file, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW | O_CLOEXEC);
    if (*fd < 0) {
        return ctx_error(L, errno, "cgroup %s", path);
    }
    return is_unified(*fd) == 0 ? 1 : ctx_error(L, EINVAL, "cgroup %s", path);
}

/***
Reads a control file.
@function read
@tparam int|fd dirfd the cgroup
@string name as "memory.events"
@treturn[1] string
@return[2] nil
@treturn[2] string error message
@treturn[2] int errno
@see cgroups(7)
*/
static int cgroup_read(lua_State *L)
{
    int dirfd = ctx_check_fd(L, 1);
    const char *name = ctx_check_path(L, 2);
    int error = push_file(L, dirfd, name);
    return error != 0 ? ctx_error(L, error, "cgroup file %s", name) : 1;
}

/* Writes a control file in one call, as the kernel wants it. Returns 0 or an errno. */
static int write_file(int dirfd, const char *name, const char *data, size_t size)
{
    int fd = ctx_openat2(dirfd, name, O_WRONLY, 0, CONFINED);
    int error = 0;
    if (fd < 0) {
        return errno;
    }
    ssize_t count = ctx_write(fd, data, size);
    if (count < 0) {
        error = errno;
    } else if ((size_t)count != size) {
        error = EIO;
    }
    close(fd);
    return error;
}

/***
Writes a control file.
@function write
@tparam int|fd dirfd the cgroup
@string name as "cgroup.procs"
@string data
@treturn[1] bool true
@return[2] nil
@treturn[2] string error message
@treturn[2] int errno
@see cgroups(7)
*/
static int cgroup_write(lua_State *L)
{
    int dirfd = ctx_check_fd(L, 1);
    const char *name = ctx_check_path(L, 2);
    size_t size = 0;
    const char *data = luaL_checklstring(L, 3, &size);
    int error = write_file(dirfd, name, data, size);
    return error != 0 ? ctx_error(L, error, "cgroup file %s", name) : ctx_ok(L);
}

/* Reads a control file that is small and that the kernel gives in one piece. Returns 0 or an errno. */
static int read_small_file(int dirfd, const char *name, char data[KEYED_FILE_MAX], struct ctx_text *text)
{
    int fd = ctx_openat2(dirfd, name, O_RDONLY, 0, CONFINED);
    *text = ctx_text(data, 0);
    if (fd < 0) {
        return errno;
    }
    ssize_t size = ctx_read(fd, data, KEYED_FILE_MAX);
    int error = size < 0 ? errno : 0;
    close(fd);
    *text = ctx_text(data, size < 0 ? 0 : (size_t)size);
    return error;
}

/* Version 2: frozen by this cgroup or one above it, or asked to be. The root has no such files and is never
 * frozen. */
static int is_frozen_unified(int dirfd, bool *frozen)
{
    char data[KEYED_FILE_MAX];
    struct ctx_text text;
    int error = read_small_file(dirfd, "cgroup.events", data, &text);
    uint64_t value = 0;
    if (error == 0 && ctx_keyed_value(text, "frozen", &value) && value != 0) {
        *frozen = true;
        return 0;
    }
    if (error == 0) {
        error = read_small_file(dirfd, "cgroup.freeze", data, &text);
    }
    *frozen = error == 0 && ctx_text_starts(text, "1");
    return error == ENOENT ? 0 : error;
}

/* Version 1: frozen by this cgroup or one above it, or about to be. The root alone has a release_agent and no
 * state. */
static int is_frozen_legacy(int dirfd, bool *frozen)
{
    char data[KEYED_FILE_MAX];
    struct ctx_text text;
    int error = read_small_file(dirfd, "freezer.state", data, &text);
    *frozen = error == 0 && (ctx_text_starts(text, "FROZEN") || ctx_text_starts(text, "FREEZING"));
    if (error == ENOENT && faccessat(dirfd, "release_agent", F_OK, 0) == 0) {
        return 0;
    }
    return error;
}

/***
Says whether a cgroup is frozen or being frozen, by itself or by one above it.
@function frozen
@tparam int|fd dirfd a cgroup of version 2 or of the version 1 freezer
@treturn[1] bool
@return[2] nil
@treturn[2] string error message
@treturn[2] int errno: ENOENT for another version 1 hierarchy, EINVAL for no cgroup
@see cgroups(7)
*/
static int cgroup_frozen(lua_State *L)
{
    int dirfd = ctx_check_fd(L, 1);
    int unified = is_unified(dirfd);
    bool frozen = false;
    int error = 0;
    if (unified < 0) {
        error = errno;
    } else {
        error = unified ? is_frozen_unified(dirfd, &frozen) : is_frozen_legacy(dirfd, &frozen);
    }
    if (error != 0) {
        return ctx_error(L, error, "cgroup freezer");
    }
    lua_pushboolean(L, frozen);
    return 1;
}

/***
Kills every process in a cgroup of version 2 and below it.
@function kill
@tparam int|fd dirfd the cgroup
@treturn[1] bool true
@return[2] nil
@treturn[2] string error message
@treturn[2] int errno: ENOENT before Linux 5.14, in version 1 and for the root
@see cgroups(7)
*/
static int cgroup_kill(lua_State *L)
{
    int error = write_file(ctx_check_fd(L, 1), "cgroup.kill", "1", 1);
    return error != 0 ? ctx_error(L, error, "cgroup.kill") : ctx_ok(L);
}

/***
How many processes in a cgroup the kernel has killed for want of memory.

In version 2 a killed process that shared its memory with one outside the cgroup, as the helper's member does,
is not counted. So the result there is at least the number of times that the cgroup ran out of memory.
@function oom_kills
@tparam int|fd dirfd a cgroup of version 2 (counts those below it too) or of the version 1 memory hierarchy
@treturn[1] int
@return[2] nil
@treturn[2] string error message
@treturn[2] int errno: ENOENT without the memory controller, ENODATA when the kernel does not count
@see cgroups(7)
*/
static int cgroup_oom_kills(lua_State *L)
{
    int dirfd = ctx_check_fd(L, 1);
    int unified = is_unified(dirfd);
    if (unified < 0) {
        return ctx_error(L, errno, "cgroup");
    }
    char data[KEYED_FILE_MAX];
    struct ctx_text text;
    int error = read_small_file(dirfd, unified ? "memory.events" : "memory.oom_control", data, &text);
    uint64_t value = 0;
    if (error == 0 && !ctx_keyed_value(text, "oom_kill", &value)) {
        error = ENODATA;
    }
    uint64_t shortages = 0;
    if (error == 0 && ctx_keyed_value(text, "oom", &shortages) && shortages > value) {
        value = shortages;
    }
    if (error != 0) {
        return ctx_error(L, error, "cgroup memory events");
    }
    lua_pushinteger(L, (lua_Integer)value);
    return 1;
}

/***
The processes in a cgroup, in no order, without those outside the caller's pid namespace.
@function procs
@tparam int|fd dirfd the cgroup
@treturn[1] table array of pids
@return[2] nil
@treturn[2] string error message
@treturn[2] int errno: EOPNOTSUPP for a threaded cgroup
@see cgroups(7)
*/
static int cgroup_procs(lua_State *L)
{
    int error = push_file(L, ctx_check_fd(L, 1), "cgroup.procs");
    lua_Integer count = 0;
    if (error != 0) {
        return ctx_error(L, error, "cgroup.procs");
    }
    struct ctx_text rest = text_on_top(L);
    lua_newtable(L);
    struct ctx_text line;
    uint64_t pid = 0;
    while (ctx_text_next(&rest, '\n', &line)) {
        /* The kernel writes 0 for a process outside this pid namespace; kill(2) would take 0 for the caller's
         * own process group. */
        if (ctx_text_number(line, DECIMAL, &pid) && pid > 0 && pid <= INT_MAX) {
            lua_pushinteger(L, (lua_Integer)pid);
            lua_rawseti(L, -2, ++count);
        }
    }
    return 1;
}

static bool is_child_name(const char *name)
{
    return *name != '\0' && strchr(name, '/') == NULL && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

/***
Makes a cgroup.
@function create
@tparam int|fd dirfd the cgroup above it
@string name of one level
@treturn[1] fd of the new directory (O_PATH)
@return[2] nil
@treturn[2] string error message
@treturn[2] int errno: EEXIST when it is there already, EINVAL for a name of more than one level
@see mkdir(2)
*/
static int cgroup_create(lua_State *L)
{
    int dirfd = ctx_check_fd(L, 1);
    const char *name = ctx_check_path(L, 2);
    int *fd = ctx_new_fd(L);
    if (!is_child_name(name)) {
        return ctx_error(L, EINVAL, "create cgroup %s", name);
    }
    if (mkdirat(dirfd, name, DIRECTORY_MODE) < 0) {
        return ctx_error(L, errno, "create cgroup %s", name);
    }
    *fd = ctx_openat2(dirfd, name, O_PATH | O_DIRECTORY, 0, CONFINED);
    if (*fd < 0) {
        int error = errno;
        unlinkat(dirfd, name, AT_REMOVEDIR);
        return ctx_error(L, error, "open cgroup %s", name);
    }
    return 1;
}

/***
Removes a cgroup.
@function remove
@tparam int|fd dirfd the cgroup above it
@string name of one level
@treturn[1] bool true
@return[2] nil
@treturn[2] string error message
@treturn[2] int errno: EBUSY while a process or another cgroup is in it, EINVAL for a name of more than one
level
@see rmdir(2)
*/
static int cgroup_remove(lua_State *L)
{
    int dirfd = ctx_check_fd(L, 1);
    const char *name = ctx_check_path(L, 2);
    if (!is_child_name(name)) {
        return ctx_error(L, EINVAL, "remove cgroup %s", name);
    }
    return unlinkat(dirfd, name, AT_REMOVEDIR) < 0 ? ctx_error(L, errno, "remove cgroup %s", name)
                                                   : ctx_ok(L);
}

int ctx_open_cgroup(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"mounts", cgroup_mounts}, {"of", cgroup_of},
        {"open", cgroup_open},     {"file", cgroup_file},
        {"tasks", cgroup_tasks},   {"read", cgroup_read},
        {"write", cgroup_write},   {"frozen", cgroup_frozen},
        {"kill", cgroup_kill},     {"oom_kills", cgroup_oom_kills},
        {"procs", cgroup_procs},   {"create", cgroup_create},
        {"remove", cgroup_remove}, {NULL, NULL},
    };
    luaL_newlib(L, functions);
    return 1;
}
