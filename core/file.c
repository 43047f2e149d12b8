/***
Files and directories, without following what an attacker may have put in the way.

Every descriptor is close-on-exec and never becomes the controlling terminal. A path that holds a NUL byte
names nothing (ENOENT).

@module ctrexec.core.file
*/
#include "core.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#define NANOSECOND 1e-9

/* Stand-ins for the access modes until all flags are known: O_RDONLY, O_WRONLY and O_RDWR have no bits of
 * their own. */
#define FLAG_READ (UINT64_C(1) << 62)
#define FLAG_WRITE (UINT64_C(1) << 63)

enum {
    DEFAULT_MODE = 0600,
    MODE_BITS = 07777,
    LIST_BUFFER = 16384,
    TEMPORARY_ATTEMPTS = 16,
    TEMPORARY_MAX = 32,
};

struct named_flag {
    const char *name;
    uint64_t value;
};

static const struct named_flag open_flags[] = {
    {"read", FLAG_READ},
    {"write", FLAG_WRITE},
    {"append", FLAG_WRITE | O_APPEND},
    {"create", O_CREAT},
    {"exclusive", O_EXCL},
    {"truncate", O_TRUNC},
    {"path", O_PATH},
    {"directory", O_DIRECTORY},
    {"nofollow", O_NOFOLLOW},
    {"nonblock", O_NONBLOCK},
    {NULL, 0},
};

static const struct named_flag resolve_flags[] = {
    {"beneath", RESOLVE_BENEATH},         {"in_root", RESOLVE_IN_ROOT},
    {"no_symlinks", RESOLVE_NO_SYMLINKS}, {"no_magiclinks", RESOLVE_NO_MAGICLINKS},
    {"no_xdev", RESOLVE_NO_XDEV},         {NULL, 0},
};

static uint64_t flag_value(lua_State *L, int arg, const struct named_flag *flags, const char *name)
{
    for (const struct named_flag *flag = flags; flag->name != NULL; flag++) {
        if (strcmp(flag->name, name) == 0) {
            return flag->value;
        }
    }
    /* An unknown name is an error, because a misspelt protection would protect nothing. */
    luaL_argerror(L, arg, lua_pushfstring(L, "unknown flag '%s'", name));
    return 0;
}

/* The union of the flags that the table at `arg` sets; nil sets none. */
static uint64_t check_flags(lua_State *L, int arg, const struct named_flag *flags)
{
    uint64_t value = 0;
    if (lua_isnoneornil(L, arg)) {
        return 0;
    }
    luaL_checktype(L, arg, LUA_TTABLE);
    for (lua_pushnil(L); lua_next(L, arg) != 0; lua_pop(L, 1)) {
        luaL_argcheck(L, lua_type(L, -2) == LUA_TSTRING, arg, "flags are named");
        uint64_t flag = flag_value(L, arg, flags, lua_tostring(L, -2));
        value |= lua_toboolean(L, -1) ? flag : 0;
    }
    return value;
}

static int check_open_flags(lua_State *L, int arg)
{
    uint64_t named = check_flags(L, arg, open_flags);
    int flags = (int)(named & ~(FLAG_READ | FLAG_WRITE)) | O_CLOEXEC;
    if (flags & O_PATH) {
        return flags;
    }
    if (named & FLAG_WRITE) {
        flags |= (named & FLAG_READ) ? O_RDWR : O_WRONLY;
    }
    return flags | O_NOCTTY;
}

static mode_t check_mode(lua_State *L, int arg)
{
    lua_Integer mode = luaL_optinteger(L, arg, DEFAULT_MODE);
    luaL_argcheck(L, mode >= 0 && mode <= MODE_BITS, arg, "mode out of range");
    return (mode_t)mode;
}

/***
Opens a file.
@function open
@string path
@tparam[opt] table flags booleans: `read` (the default), `write`, `append`, `create`, `exclusive`, `truncate`,
  `path` (O_PATH), `directory`, `nofollow`, `nonblock`; another name raises an error
@int[opt=384] mode permission bits of a file that is created (0600), less the umask
@treturn[1] fd
@return[2] nil
@treturn[2] string error message
@treturn[2] int errno
@see open(2)
*/
static int file_open(lua_State *L)
{
    const char *path = ctx_check_path(L, 1);
    int flags = check_open_flags(L, 2);
    mode_t mode = check_mode(L, 3);
    int *fd = ctx_new_fd(L);
    do {
        *fd = open(path, flags, mode);
    } while (*fd < 0 && errno == EINTR);
    return *fd < 0 ? ctx_error(L, errno, "open %s", path) : 1;
}

/***
Opens a file below a directory, with limits on how its path may be resolved.
@function openat
@tparam int|fd dirfd the directory
@string path relative to it
@tparam[opt] table flags as for `open`
@tparam[opt] table resolve booleans: `beneath`, `in_root`, `no_symlinks`, `no_magiclinks`, `no_xdev`; another
name raises an error
@int[opt=384] mode permission bits of a file that is created (0600), less the umask
@treturn[1] fd
@return[2] nil
@treturn[2] string error message
@treturn[2] int errno: EXDEV when the path leads out, ELOOP when it meets a link that is not allowed
@see openat2(2)
*/
static int file_openat(lua_State *L)
{
    int dirfd = ctx_check_fd(L, 1);
    const char *path = ctx_check_path(L, 2);
    int flags = check_open_flags(L, 3);
    uint64_t resolve = check_flags(L, 4, resolve_flags);
    mode_t mode = check_mode(L, 5);
    int *fd = ctx_new_fd(L);
    *fd = ctx_openat2(dirfd, path, flags, mode, resolve);
    return *fd < 0 ? ctx_error(L, errno, "open %s", path) : 1;
}

static const char *type_name(mode_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFREG:
        return "file";
    case S_IFDIR:
        return "directory";
    case S_IFIFO:
        return "fifo";
    case S_IFSOCK:
        return "socket";
    case S_IFCHR:
        return "char";
    case S_IFBLK:
        return "block";
    case S_IFLNK:
        return "link";
    default:
        /* memfd secrets and anonymous inodes (pidfd, epoll) have no type. */
        return "anonymous";
    }
}

static void push_stat(lua_State *L, const struct stat *status)
{
    lua_createtable(L, 0, 10);
    lua_pushstring(L, type_name(status->st_mode));
    lua_setfield(L, -2, "type");
    ctx_set_integer(L, "uid", status->st_uid);
    ctx_set_integer(L, "gid", status->st_gid);
    ctx_set_integer(L, "mode", status->st_mode & MODE_BITS);
    ctx_set_integer(L, "dev", (lua_Integer)status->st_dev);
    ctx_set_integer(L, "ino", (lua_Integer)status->st_ino);
    ctx_set_integer(L, "size", status->st_size);
    ctx_set_integer(L, "nlink", (lua_Integer)status->st_nlink);
    lua_pushnumber(L, (lua_Number)status->st_mtim.tv_sec + (lua_Number)status->st_mtim.tv_nsec * NANOSECOND);
    lua_setfield(L, -2, "mtime");
    lua_pushnumber(L, (lua_Number)status->st_ctim.tv_sec + (lua_Number)status->st_ctim.tv_nsec * NANOSECOND);
    lua_setfield(L, -2, "ctime");
}

/***
What a file is.
@function stat
@tparam int|fd|string file a descriptor or a path
@bool[opt=false] nofollow describe a symbolic link itself, not what it names
@treturn[1] table `type` ("file", "directory", "fifo", "socket", "char", "block", "link", "anonymous"), `uid`,
`gid`, `mode` (permission bits), `dev`, `ino`, `size` (bytes), `nlink`, `mtime` and `ctime` (of the last
change of its content and of itself: seconds since the epoch, floats)
@return[2] nil
@treturn[2] string error message
@treturn[2] int errno
@see stat(2)
*/
static int file_stat(lua_State *L)
{
    struct stat status;
    if (lua_type(L, 1) == LUA_TSTRING) {
        const char *path = ctx_check_path(L, 1);
        if (fstatat(AT_FDCWD, path, &status, lua_toboolean(L, 2) ? AT_SYMLINK_NOFOLLOW : 0) < 0) {
            return ctx_error(L, errno, "stat %s", path);
        }
    } else {
        int fd = ctx_check_fd(L, 1);
        if (fstat(fd, &status) < 0) {
            return ctx_error(L, errno, "stat descriptor %d", fd);
        }
    }
    push_stat(L, &status);
    return 1;
}

/***
Reads a file from its current position to its end.
@function read_all
@tparam int|fd fd
@int limit how many bytes at most
@treturn[1] string
@return[2] nil
@treturn[2] string error message
@treturn[2] int errno: EFBIG when there is more than `limit` bytes
@see read(2)
*/
static int file_read_all(lua_State *L)
{
    int fd = ctx_check_fd(L, 1);
    lua_Integer limit = luaL_checkinteger(L, 2);
    luaL_argcheck(L, limit >= 0, 2, "must not be negative");
    int error = ctx_push_contents(L, fd, (size_t)limit);
    return error != 0 ? ctx_error(L, error, "read descriptor %d", fd) : 1;
}

/***
Renames a file, over an existing one.
@function rename
@string old
@string new
@treturn[1] bool true
@return[2] nil
@treturn[2] string error message
@treturn[2] int errno
@see rename(2)
*/
static int file_rename(lua_State *L)
{
    const char *old = ctx_check_path(L, 1);
    const char *new = ctx_check_path(L, 2);
    return rename(old, new) < 0 ? ctx_error(L, errno, "rename %s to %s", old, new) : ctx_ok(L);
}

/***
Removes a file or an empty directory.
@function remove
@string path
@treturn[1] bool true
@return[2] nil
@treturn[2] string error message
@treturn[2] int errno
@see remove(3)
*/
static int file_remove(lua_State *L)
{
    const char *path = ctx_check_path(L, 1);
    return remove(path) < 0 ? ctx_error(L, errno, "remove %s", path) : ctx_ok(L);
}

/***
The kind of file system that a descriptor is on.
@function fstype
@tparam int|fd fd
@treturn[1] int the magic number, as 0x9fa0 for procfs
@return[2] nil
@treturn[2] string error message
@treturn[2] int errno
@see statfs(2)
*/
static int file_fstype(lua_State *L)
{
    int fd = ctx_check_fd(L, 1);
    struct statfs status;
    if (fstatfs(fd, &status) < 0) {
        return ctx_error(L, errno, "statfs descriptor %d", fd);
    }
    lua_pushinteger(L, (uint32_t)status.f_type);
    return 1;
}

struct directory_entry {
    uint64_t inode;
    int64_t offset;
    unsigned short length;
    unsigned char type;
    char name[];
};

/* Appends the names of one getdents64(2) buffer to the list on top of the stack. */
static void append_names(lua_State *L, const char *entries, long size)
{
    lua_Integer count = luaL_len(L, -1);
    for (long at = 0; at < size;) {
        const struct directory_entry *entry = (const void *)(entries + at);
        if (strcmp(entry->name, ".") != 0 && strcmp(entry->name, "..") != 0) {
            lua_pushstring(L, entry->name);
            lua_rawseti(L, -2, ++count);
        }
        at += entry->length;
    }
}

/***
The names in a directory, in no order, without "." and "..".
@function list
@tparam int|fd|string dir a path, or a descriptor (O_PATH will do)
@treturn[1] table array of strings
@return[2] nil
@treturn[2] string error message
@treturn[2] int errno
@see getdents64(2)
*/
static int file_list(lua_State *L)
{
    _Alignas(struct directory_entry) char entries[LIST_BUFFER];
    bool by_path = lua_type(L, 1) == LUA_TSTRING;
    int dirfd = by_path ? AT_FDCWD : ctx_check_fd(L, 1);
    const char *path = by_path ? ctx_check_path(L, 1) : ".";
    int *fd = ctx_new_fd(L);
    long size = 0;

    *fd = openat(dirfd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*fd < 0) {
        return ctx_error(L, errno, "open directory %s", path);
    }
    lua_newtable(L);
    while ((size = syscall(SYS_getdents64, *fd, entries, sizeof(entries))) > 0) {
        append_names(L, entries, size);
    }
    if (size < 0) {
        return ctx_error(L, errno, "list %s", path);
    }
    close(*fd);
    *fd = -1;
    return 1;
}

/***
The absolute path of a file, without symbolic links.
@function realpath
@string path of a file that exists
@treturn[1] string
@return[2] nil
@treturn[2] string error message
@treturn[2] int errno
@see realpath(3)
*/
static int file_realpath(lua_State *L)
{
    const char *path = ctx_check_path(L, 1);
    char resolved[PATH_MAX];
    if (realpath(path, resolved) == NULL) {
        return ctx_error(L, errno, "realpath %s", path);
    }
    lua_pushstring(L, resolved);
    return 1;
}

/* Creates a new file with a unique name in the directory and stores the name. Returns -1 with errno. */
static int create_temporary(int dirfd, char name[TEMPORARY_MAX], mode_t mode)
{
    int fd = -1;
    for (int attempt = 0; attempt < TEMPORARY_ATTEMPTS; attempt++) {
        uint64_t number = 0;
        if (getrandom(&number, sizeof(number), GRND_NONBLOCK) != (ssize_t)sizeof(number)) {
            number = (uint64_t)getpid() << 32U | (uint64_t)attempt;
        }
        (void)snprintf(name, TEMPORARY_MAX, ".ctrexec-%016" PRIx64, number);
        fd = openat(dirfd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
        if (fd >= 0 || errno != EEXIST) {
            break;
        }
    }
    return fd;
}

static int write_fully(int fd, const char *data, size_t length)
{
    while (length > 0) {
        ssize_t count = ctx_write(fd, data, length);
        if (count < 0) {
            return -1;
        }
        data += count;
        length -= (size_t)count;
    }
    return 0;
}

/* Writes a temporary file beside `name` and renames it to `name`. Returns 0, or an errno with no temporary
 * file left. */
static int replace_file(int dirfd, const char *name, const char *data, size_t length, mode_t mode)
{
    int error = 0;
    char temporary[TEMPORARY_MAX];
    int fd = create_temporary(dirfd, temporary, mode);
    if (fd < 0) {
        return errno;
    }
    if (write_fully(fd, data, length) < 0) {
        error = errno;
    }
    /* A file system with quota or a server behind it may report the failed write only here. */
    if (close(fd) < 0 && error == 0) {
        error = errno;
    }
    if (error == 0 && renameat(dirfd, temporary, dirfd, name) < 0) {
        error = errno;
    }
    if (error != 0) {
        unlinkat(dirfd, temporary, 0);
    }
    return error;
}

/* Opens the directory part of a path and points `name` at the rest. Returns -1 with errno. */
static int open_parent(const char *path, const char **name)
{
    char parent[PATH_MAX] = ".";
    const char *slash = strrchr(path, '/');
    size_t length = slash != NULL ? (size_t)(slash - path) + 1 : 0;
    if (length >= sizeof(parent)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    if (length > 0) {
        memcpy(parent, path, length);
        parent[length] = '\0';
    }
    *name = path + length;
    return open(parent, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

/***
Writes a file so that a reader sees all of it or none: a temporary file in the same directory is renamed over
it. No temporary file is left on an error.
@function write_atomic
@string path
@string data
@int[opt=384] mode permission bits (0600), less the umask
@treturn[1] bool true
@return[2] nil
@treturn[2] string error message
@treturn[2] int errno
@see rename(2)
*/
static int file_write_atomic(lua_State *L)
{
    const char *path = ctx_check_path(L, 1);
    size_t length = 0;
    const char *data = luaL_checklstring(L, 2, &length);
    mode_t mode = check_mode(L, 3);
    const char *name = NULL;
    int dirfd = open_parent(path, &name);
    if (dirfd < 0) {
        return ctx_error(L, errno, "open %s", path);
    }
    int error = replace_file(dirfd, name, data, length, mode);
    close(dirfd);
    return error != 0 ? ctx_error(L, error, "write %s", path) : ctx_ok(L);
}

int ctx_open_file(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"open", file_open},
        {"openat", file_openat},
        {"stat", file_stat},
        {"read_all", file_read_all},
        {"rename", file_rename},
        {"remove", file_remove},
        {"fstype", file_fstype},
        {"list", file_list},
        {"realpath", file_realpath},
        {"write_atomic", file_write_atomic},
        {NULL, NULL},
    };
    luaL_newlib(L, functions);
    return 1;
}
