/***
Detached read-only mounts of host files, to be lent to a command.

@module ctrexec.core.mount
*/
#include "core.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

/* <linux/mount.h> collides with <sys/mount.h> of some C libraries, and older headers lack mount_setattr(2).
 */
enum {
    CTX_OPEN_TREE_CLONE = 1,
    CTX_ATTR_RDONLY = 1,
    CTX_ATTR_NOSUID = 2,
    CTX_ATTR_NODEV = 4,
};

#ifndef SYS_mount_setattr
#define SYS_mount_setattr 442
#endif

struct attributes { /* struct mount_attr of mount_setattr(2) */
    uint64_t set, clear, propagation, userns;
};

static int read_only_clone(const char *path)
{
    const struct attributes attributes = {.set = CTX_ATTR_RDONLY | CTX_ATTR_NOSUID | CTX_ATTR_NODEV};
    const int tree = (int)syscall(SYS_open_tree, AT_FDCWD, path, CTX_OPEN_TREE_CLONE | O_CLOEXEC);
    if (tree < 0 ||
        syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &attributes, sizeof(attributes)) == 0) {
        return tree;
    }
    int error = errno;
    close(tree);
    errno = error;
    return -1;
}

/***
Makes a detached bind mount of a file or directory that is read-only, without set-user-ID programs and
devices. What is mounted below a directory is not part of it.

@function clone
@string path
@treturn[1] fd of the mount
@return[2] nil
@treturn[2] string error message
@treturn[2] int errno: EPERM without CAP_SYS_ADMIN, ENOSYS before Linux 5.12
@see open_tree(2), mount_setattr(2)
*/
static int mount_clone(lua_State *L)
{
    const char *path = ctx_check_path(L, 1);
    int *fd = ctx_new_fd(L);
    *fd = read_only_clone(path);
    return *fd < 0 ? ctx_error(L, errno, "clone the mount of %s", path) : 1;
}

int ctx_open_mount(lua_State *L)
{
    static const luaL_Reg functions[] = {{"clone", mount_clone}, {NULL, NULL}};
    luaL_newlib(L, functions);
    return 1;
}
