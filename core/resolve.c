/* openat2(2) where it is missing: the kernel, a sandbox or valgrind refuses it. */
#include "core.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Every step is one name, opened without following a link, so that nothing leads out; what this cannot
 * promise as the kernel does, it refuses with ENOSYS. */
enum {
    PROMISED = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV,
    NEEDED = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS,
    STEP_FLAGS = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
};

struct walk {
    int at;         /* where the path has led so far */
    bool owned;     /* `at` is ours to close */
    bool same_only; /* RESOLVE_NO_XDEV */
    uint64_t mount;
};

/* The device number would miss a bind mount of the same file system. */
static bool mount_of(int fd, uint64_t *mount)
{
    struct statx about;

    if (statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &about) < 0) {
        return false;
    }
    if (!(about.stx_mask & STATX_MNT_ID)) {
        errno = ENOSYS;
        return false;
    }
    *mount = about.stx_mnt_id;
    return true;
}

static int close_with(int fd, int error)
{
    close(fd);
    errno = error;
    return -1;
}

static bool same_mount(const struct walk *walk, int fd)
{
    uint64_t mount;

    if (!walk->same_only) {
        return true;
    }
    if (!mount_of(fd, &mount)) {
        return false;
    }
    if (mount != walk->mount) {
        errno = EXDEV;
        return false;
    }
    return true;
}

/* Opens one name. The kernel says ELOOP of a link that it may not follow, whatever else was asked. */
static int open_name(const struct walk *walk, const char *name, int flags)
{
    struct stat about;
    int fd = openat(walk->at, name, flags | O_NOFOLLOW | O_CLOEXEC);

    if (fd < 0) {
        int error = errno;
        bool is_link = error == ENOTDIR && fstatat(walk->at, name, &about, AT_SYMLINK_NOFOLLOW) == 0 &&
                       S_ISLNK(about.st_mode);
        errno = is_link ? ELOOP : error;
        return -1;
    }
    if ((flags & O_PATH) && !(flags & O_NOFOLLOW)) {
        if (fstat(fd, &about) < 0) {
            return close_with(fd, errno);
        }
        if (S_ISLNK(about.st_mode)) {
            return close_with(fd, ELOOP);
        }
    }
    return same_mount(walk, fd) ? fd : close_with(fd, errno);
}

/* A file is opened only after a look at what it is: opening one of another mount could have effects. */
static int open_last(const struct walk *walk, const char *name, int flags)
{
    if (walk->same_only && !(flags & O_PATH)) {
        int look = open_name(walk, name, O_PATH);
        if (look < 0) {
            return -1;
        }
        close(look);
    }
    return open_name(walk, name, flags);
}

/* Copies the next name of the path, and moves behind it and its slashes. */
static bool next_name(const char **path, char *name, size_t size)
{
    size_t length = strcspn(*path, "/");

    if (length >= size) {
        errno = ENAMETOOLONG;
        return false;
    }
    memcpy(name, *path, length);
    name[length] = '\0';
    *path += length;
    *path += strspn(*path, "/");
    if (strcmp(name, "..") == 0) { /* the kernel lets it lead back as far as the start; nobody needs that */
        errno = EXDEV;
        return false;
    }
    return true;
}

static int follow(struct walk *walk, const char *path, int flags)
{
    char name[NAME_MAX + 1];

    for (;;) {
        if (!next_name(&path, name, sizeof(name))) {
            return -1;
        }
        if (*path == '\0') {
            return open_last(walk, name, flags | (path[-1] == '/' ? O_DIRECTORY : 0));
        }
        int next = open_name(walk, name, STEP_FLAGS);
        if (next < 0) {
            return -1;
        }
        if (walk->owned) {
            close(walk->at);
        }
        walk->at = next;
        walk->owned = true;
    }
}

int ctx_resolve(int dirfd, const char *path, int flags, uint64_t resolve)
{
    struct walk walk = {.at = dirfd, .same_only = (resolve & RESOLVE_NO_XDEV) != 0};

    if ((resolve & NEEDED) != NEEDED || (resolve & ~(uint64_t)PROMISED) != 0 ||
        (flags & (O_CREAT | O_TRUNC)) != 0 || (flags & O_TMPFILE) == O_TMPFILE) {
        errno = ENOSYS;
        return -1;
    }
    if (*path == '\0' || *path == '/' || strlen(path) >= PATH_MAX) {
        errno = *path == '\0' ? ENOENT : *path == '/' ? EXDEV : ENAMETOOLONG;
        return -1;
    }
    if (walk.same_only && !mount_of(dirfd, &walk.mount)) {
        return -1;
    }
    int fd = follow(&walk, path, flags);
    int error = errno;
    if (walk.owned) {
        close(walk.at);
    }
    errno = error;
    return fd;
}
