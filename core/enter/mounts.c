/* Lending files of the host to one command.
 *
 * The command gets a copy of the container's mount namespace, so that the container's other processes never
 * have these mounts in theirs. Where the mount point for a tree does not exist, it is not created in the
 * container's file system: a small tmpfs covers the directory, everything that was in the directory is bound
 * there again, and the mount point is made in the tmpfs. The trees come from the caller as detached mounts
 * that are read-only already. */
#include "enter.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/sched.h>

/* <linux/mount.h> collides with <sys/mount.h> */
#define CTX_MOVE_MOUNT_EMPTY_PATH 0x4 /* MOVE_MOUNT_F_EMPTY_PATH */
#define CTX_OPEN_TREE_CLONE 1         /* OPEN_TREE_CLONE */
#define CTX_AT_RECURSIVE 0x8000       /* AT_RECURSIVE */

#define MAX_COVERED 8
#define NAME_LIMIT 256
#define MAX_ENTRIES 4096                    /* in a covered directory: each costs a mount */
#define COVER_OPTIONS "mode=0755,size=256m" /* at most: a tmpfs takes memory only for what is in it */

/* The directories that the helper has covered with a tmpfs. Each tmpfs is a device of its own. */
struct covers {
    const struct plan *plan;
    unsigned count;
    dev_t devices[MAX_COVERED];
    char paths[MAX_COVERED][PLAN_PATH_MAX];
};

static _Noreturn void failed(const struct covers *covers, int error, const char *path)
{
    enter_fail(covers->plan, STEP_MOUNT, error, 0, path);
}

static int clone_tree(int folder, const char *name)
{
    const unsigned flags = CTX_OPEN_TREE_CLONE | O_CLOEXEC | CTX_AT_RECURSIVE | AT_SYMLINK_NOFOLLOW;
    return (int)syscall(SYS_open_tree, folder, name, flags);
}

static int attach_tree(int tree, int folder, const char *name)
{
    return (int)syscall(SYS_move_mount, tree, "", folder, name, CTX_MOVE_MOUNT_EMPTY_PATH);
}

/* Makes a mount point for a file of this kind: a directory, or an empty file. */
static int make_place(int folder, const char *name, mode_t kind)
{
    int result = S_ISDIR(kind) ? mkdirat(folder, name, 0755) : mknodat(folder, name, S_IFREG | 0644, 0);
    return result < 0 && errno != EEXIST ? -1 : 0;
}

static int copy_link(int from, int to, const char *name)
{
    char target[PLAN_PATH_MAX];
    ssize_t length = readlinkat(from, name, target, sizeof(target) - 1);
    if (length < 0) {
        return -1;
    }
    target[length] = '\0';
    return symlinkat(target, to, name);
}

/* Whether the helper failed for lack of memory, space, descriptors or rights of its own, and not because of
 * what the container did. The command would miss a file that exists, so such a failure is reported. */
static bool is_ours(int error)
{
    return error == ENOMEM || error == ENOSPC || error == EMFILE || error == ENFILE || error == EPERM;
}

static bool bind_tree(int from, int to, const char *name, mode_t kind)
{
    int tree = clone_tree(from, name);
    if (tree < 0) {
        return false;
    }
    const bool bound = make_place(to, name, kind) == 0 && attach_tree(tree, to, name) == 0;
    int error = errno;
    close(tree);
    errno = error;
    return bound;
}

/* Shows one entry of a covered directory in the tmpfs that covers it. An entry that the container removes
 * meanwhile, or that cannot be bound, is left out. */
static void bind_entry(const struct covers *covers, int from, int to, const char *name)
{
    struct stat about;
    bool there = fstatat(from, name, &about, AT_SYMLINK_NOFOLLOW) == 0;
    if (there && S_ISLNK(about.st_mode)) {
        there = copy_link(from, to, name) == 0;
    } else if (there) {
        there = bind_tree(from, to, name, about.st_mode);
    }
    if (!there && is_ours(errno)) {
        failed(covers, errno, name);
    }
}

struct directory_entry { /* getdents64(2) */
    uint64_t inode;
    int64_t offset;
    unsigned short size;
    unsigned char type;
    char name[];
};

static bool is_dots(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

static void bind_entries(const struct covers *covers, int from, int to, const char *except)
{
    char buffer[4096] __attribute__((aligned(8)));
    unsigned count = 0;
    int listing = openat(from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (listing < 0) {
        failed(covers, errno, "list the directory to cover");
    }
    for (;;) {
        long got = syscall(SYS_getdents64, listing, buffer, sizeof(buffer));
        if (got < 0) {
            failed(covers, errno, "list the directory to cover");
        }
        if (got == 0) {
            break;
        }
        for (long at = 0; at < got;) {
            const struct directory_entry *entry = (const struct directory_entry *)(buffer + at);
            at += entry->size;
            if (is_dots(entry->name) || (except != NULL && strcmp(entry->name, except) == 0)) {
                continue;
            }
            if (++count > MAX_ENTRIES) {
                failed(covers, E2BIG, "too many entries in the directory to cover");
            }
            bind_entry(covers, from, to, entry->name);
        }
    }
    close(listing);
}

static int mount_cover(const char *path)
{
    return mount("ctrexec", path, "tmpfs", MS_NOSUID | MS_NODEV, COVER_OPTIONS);
}

/* Finds a directory in the root, not a symbolic link, on which the new root can be mounted. */
static bool find_directory(int root, char *name, size_t size)
{
    char buffer[4096] __attribute__((aligned(8)));
    int listing = openat(root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool found = false;
    long got = 0;
    if (listing < 0) {
        return false;
    }
    struct stat about;
    while (!found && (got = syscall(SYS_getdents64, listing, buffer, sizeof(buffer))) > 0) {
        for (long at = 0; at < got && !found;) {
            const struct directory_entry *entry = (const struct directory_entry *)(buffer + at);
            at += entry->size;
            size_t length = strlen(entry->name);
            if (is_dots(entry->name) || length + 2 > size) {
                continue;
            }
            found = fstatat(root, entry->name, &about, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(about.st_mode);
            if (found) {
                name[0] = '/';
                memcpy(name + 1, entry->name, length + 1);
            }
        }
    }
    const int error = got < 0 ? errno : ENOENT;
    close(listing);
    errno = error;
    return found;
}

/* The root cannot be covered in place: the new root is built on one of its directories, and pivot_root(2)
 * changes to it. */
static void cover_root(const struct covers *covers)
{
    int old = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    char place[PLAN_PATH_MAX];
    if (old < 0 || !find_directory(old, place, sizeof(place))) {
        failed(covers, errno, "find a directory to build the new root on");
    }
    int tree = clone_tree(AT_FDCWD, place); /* before the tmpfs hides it */
    if (tree < 0 || mount_cover(place) < 0) {
        failed(covers, errno, place);
    }
    int new = open(place, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (new < 0) {
        failed(covers, errno, place);
    }
    bind_entries(covers, old, new, place + 1);
    if (make_place(new, place + 1, S_IFDIR) < 0 || attach_tree(tree, new, place + 1) < 0) {
        failed(covers, errno, place);
    }
    close(tree);
    if (fchdir(new) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0 ||
        chdir("/") < 0) {
        failed(covers, errno, "change to the new root");
    }
    close(new);
    close(old);
}

static void cover_directory(const struct covers *covers, const char *path)
{
    int old = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (old < 0 || mount_cover(path) < 0) {
        failed(covers, errno, path);
    }
    int new = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (new < 0) {
        failed(covers, errno, path);
    }
    bind_entries(covers, old, new, NULL);
    close(new);
    close(old);
}

/* Whether the directory lies in a tmpfs of the helper already, so that mount points can be made in it. */
static bool is_covered(const struct covers *covers, const char *path)
{
    struct stat about;
    if (stat(path, &about) < 0) {
        return false;
    }
    for (unsigned i = 0; i < covers->count; i++) {
        if (covers->devices[i] == about.st_dev) {
            return true;
        }
    }
    return false;
}

static void cover(struct covers *covers, const char *path)
{
    if (is_covered(covers, path)) {
        return;
    }
    if (covers->count == MAX_COVERED) {
        failed(covers, E2BIG, path);
    }
    if (strcmp(path, "/") == 0) {
        cover_root(covers);
    } else {
        cover_directory(covers, path);
    }
    struct stat about;
    if (stat(path, &about) < 0) {
        failed(covers, errno, path);
    }
    covers->devices[covers->count] = about.st_dev;
    memcpy(covers->paths[covers->count++], path, strlen(path) + 1); /* `path` has the same size */
}

static bool is_directory(const char *path)
{
    struct stat about;
    return stat(path, &about) == 0 && S_ISDIR(about.st_mode);
}

/* Covers the deepest directory of the path that exists, and makes the missing directories in the tmpfs. */
static void make_folder(struct covers *covers, const char *folder)
{
    bool covered = false;
    char path[PLAN_PATH_MAX];
    memcpy(path, folder, strlen(folder) + 1);
    if (is_directory(path)) {
        cover(covers, path);
        return;
    }
    for (char *end = strchr(path + 1, '/');; end = strchr(end + 1, '/')) {
        if (end != NULL) {
            *end = '\0';
        }
        if (!covered && !is_directory(path)) {
            char *parent = strrchr(path, '/');
            *parent = '\0';
            cover(covers, parent == path ? "/" : path);
            *parent = '/';
            covered = true;
        }
        if (covered && mkdir(path, 0755) < 0) {
            failed(covers, errno, path);
        }
        if (end == NULL) {
            return;
        }
        *end = '/';
    }
}

/* Makes the symbolic links beside the tree. A file that the image has under such a name stays. */
static void add_links(const struct covers *covers, const struct plan_mount *mount, int folder,
                      const char *name)
{
    const char *links = plan_text(covers->plan, mount->links);
    for (const char *end = NULL; links != NULL && (end = strchr(links, '\n')) != NULL; links = end + 1) {
        size_t length = (size_t)(end - links);
        char link[NAME_LIMIT];
        if (length == 0 || length >= sizeof(link)) {
            continue;
        }
        memcpy(link, links, length);
        link[length] = '\0';
        if (symlinkat(name, folder, link) < 0 && is_ours(errno)) {
            failed(covers, errno, link);
        }
    }
}

static void copy_into(const struct covers *covers, int from, int folder, const char *name)
{
    /* the image's own file of that name is a mount in the tmpfs, or a symbolic link: it makes way for the
     * copy */
    if (fchdir(folder) == 0 && umount2(name, MNT_DETACH | UMOUNT_NOFOLLOW) < 0 && errno != EINVAL &&
        errno != ENOENT) {
        failed(covers, errno, name);
    }
    unlinkat(folder, name, 0);
    int to = openat(folder, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);
    if (to < 0) {
        failed(covers, errno, name);
    }
    ssize_t copied = 0;
    do {
        copied = sendfile(to, from, NULL, 1 << 20);
    } while (copied > 0);
    if (copied < 0) {
        failed(covers, errno, name);
    }
    close(to);
}

static void place_tree(struct covers *covers, const struct plan_mount *mount)
{
    const char *target = plan_text(covers->plan, mount->target);
    const char *slash = strrchr(target, '/');
    struct stat tree, there;
    char folder[PLAN_PATH_MAX];
    if (slash == NULL || slash[1] == '\0' || mount->target.length >= sizeof(folder)) {
        failed(covers, EINVAL, target);
    }
    if (fstat(mount->fd, &tree) < 0) {
        failed(covers, errno, target);
    }
    const size_t length = slash == target ? 1 : (size_t)(slash - target);
    memcpy(folder, target, length);
    folder[length] = '\0';

    /* a copy needs a directory in a tmpfs of the helper, and must not be written into a file that is there
     * already */
    const bool exists =
        !mount->copy && stat(target, &there) == 0 && S_ISDIR(there.st_mode) == S_ISDIR(tree.st_mode);
    if (!exists || mount->links.offset != 0) {
        make_folder(covers, folder);
    }
    int parent = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (parent < 0) {
        failed(covers, errno, target);
    }
    if (mount->copy) {
        copy_into(covers, mount->fd, parent, slash + 1);
    } else if ((!exists && make_place(parent, slash + 1, tree.st_mode) < 0) ||
               attach_tree(mount->fd, parent, slash + 1) < 0) {
        failed(covers, errno, target);
    }
    add_links(covers, mount, parent, slash + 1);
    close(parent);
    close(mount->fd);
}

void lend_files(const struct plan *plan)
{
    static struct covers covers;
    const struct plan_mount *mounts = plan_list(plan, plan->mounts);
    if (plan->mounts.count == 0) {
        return;
    }
    covers.plan = plan;
    /* private: nothing that is mounted here may propagate back into the container's own namespace */
    if (syscall(SYS_unshare, CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
        failed(&covers, errno, "make a mount namespace");
    }
    for (uint32_t i = 0; i < plan->mounts.count; i++) {
        place_tree(&covers, &mounts[i]);
    }
    for (unsigned i = 0; i < covers.count; i++) {
        if (mount(NULL, covers.paths[i], NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV,
                  NULL) < 0) {
            failed(&covers, errno, covers.paths[i]);
        }
    }
}
