/* core/resolve.c stands in for openat2(2) where a sandbox refuses that: on a tree with all sorts of links it
 * opens what the kernel opens, and refuses with the kernel's errno what the kernel refuses. The input is a
 * byte for the flags, and a path. */
#include "../../core/core.h"
#include "fuzz.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { PATH_ROOM = 5000 };

static void must(int result)
{
    HOLDS(result >= 0 || errno == EEXIST);
}

/* The tree, in the working directory, which tests/fuzz/run makes and removes. */
static int tree(void)
{
    static int root = -1;

    if (root >= 0) {
        return root;
    }
    must(mkdir("resolve.tree", 0700));
    root = open("resolve.tree", O_PATH | O_DIRECTORY | O_CLOEXEC);
    HOLDS(root >= 0);
    must(mkdirat(root, "a", 0700));
    must(mkdirat(root, "a/b", 0700));
    must(mknodat(root, "a/file", S_IFREG | 0600, 0));
    must(mknodat(root, "fifo", S_IFIFO | 0600, 0));
    must(symlinkat("a", root, "link"));
    must(symlinkat("../..", root, "a/up"));
    must(symlinkat("/", root, "a/b/root"));
    must(symlinkat("loop", root, "loop"));
    return root;
}

/* Names of the tree are likelier than chance makes them. */
static void make_path(char path[PATH_ROOM], const uint8_t *data, size_t size)
{
    static const char *const words[] = {"a",    "b",    "file", "fifo", "link", "up",
                                        "root", "loop", ".",    "..",   "/",    "//"};
    size_t length = 0;

    for (size_t i = 0; i < size && length + 8 < PATH_ROOM; i++) {
        const size_t word = data[i] - 128U;
        if (data[i] >= 128 && word < sizeof(words) / sizeof(*words)) {
            memcpy(path + length, words[word], strlen(words[word]));
            length += strlen(words[word]);
        } else {
            path[length++] = (char)data[i];
        }
    }
    path[length] = '\0';
}

/* ".." leads out of the promise, where the kernel lets it lead back. */
static bool has_dots(const char *path)
{
    for (const char *at = strstr(path, ".."); at != NULL; at = strstr(at + 1, "..")) {
        if ((at == path || at[-1] == '/') && (at[2] == '\0' || at[2] == '/')) {
            return true;
        }
    }
    return false;
}

static void compare(int own, int kernel, int own_error, int kernel_error)
{
    struct stat own_file = {0};
    struct stat kernel_file = {0};

    HOLDS((own < 0) == (kernel < 0));
    if (own < 0) {
        HOLDS(own_error == kernel_error);
        return;
    }
    HOLDS(fstat(own, &own_file) == 0 && fstat(kernel, &kernel_file) == 0);
    HOLDS(own_file.st_dev == kernel_file.st_dev && own_file.st_ino == kernel_file.st_ino);
    HOLDS((fcntl(own, F_GETFD) & FD_CLOEXEC) != 0);
    HOLDS(((fcntl(own, F_GETFL) ^ fcntl(kernel, F_GETFL)) & (O_ACCMODE | O_PATH | O_NONBLOCK)) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const int flags[] = {O_PATH,
                                O_PATH | O_DIRECTORY,
                                O_RDONLY | O_NONBLOCK,
                                O_WRONLY | O_NONBLOCK,
                                O_RDONLY | O_DIRECTORY,
                                O_RDONLY | O_NOFOLLOW | O_NONBLOCK,
                                O_PATH | O_NOFOLLOW};
    static const uint64_t resolve[] = {RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS,
                                       RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS |
                                           RESOLVE_NO_XDEV};
    static char path[PATH_ROOM];

    if (size == 0) {
        return 0;
    }
    make_path(path, data + 1, size - 1);
    const int flag = flags[data[0] / 2 % (sizeof(flags) / sizeof(*flags))];
    const struct open_how how = {.flags = (uint64_t)flag | O_CLOEXEC, .resolve = resolve[data[0] % 2]};
    errno = 0;
    const int kernel = (int)syscall(SYS_openat2, tree(), path, &how, sizeof(how));
    const int kernel_error = errno;
    errno = 0;
    const int own = ctx_resolve(tree(), path, flag, how.resolve);
    const int own_error = errno;
    if (has_dots(path)) {
        HOLDS(own < 0);
    } else {
        compare(own, kernel, own_error, kernel_error);
    }
    if (own >= 0) {
        close(own);
    }
    if (kernel >= 0) {
        close(kernel);
    }
    return 0;
}
