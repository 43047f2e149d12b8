/* What runs outside the container: the peers of ctrexec's sockets, and the preparation of a file for a test.
 * Those that stay say "ready" on standard output. */
#include "attack.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <linux/capability.h>
#include <linux/kd.h>
#include <linux/vt.h>

static int listener(const char *path, struct sockaddr_un *address)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    memset(address, 0, sizeof(*address));
    address->sun_family = AF_UNIX;
    snprintf(address->sun_path, sizeof(address->sun_path), "%s", path);
    if (fd < 0 || bind(fd, (struct sockaddr *)address, sizeof(*address)) < 0 || listen(fd, 0) < 0) {
        exit(1);
    }
    return fd;
}

static _Noreturn void stay(void)
{
    puts("ready");
    fflush(stdout);
    for (;;) {
        pause();
    }
}

/* backlog PATH: a socket that never accepts a connection, and whose queue of connections is full. */
int backlog(int argc, char **argv)
{
    struct sockaddr_un address;
    if (argc < 1) {
        return 2;
    }
    listener(argv[0], &address);
    for (;;) {
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
            stay();
        }
    }
}

/* agent PATH: takes every connection, reads nothing and answers nothing. */
int agent(int argc, char **argv)
{
    struct sockaddr_un address;
    if (argc < 1) {
        return 2;
    }
    int fd = listener(argv[0], &address);
    puts("ready");
    fflush(stdout);
    while (accept(fd, NULL, NULL) >= 0) {
        ;
    }
    return 1;
}

/* closer PATH: takes every connection and closes it. */
int closer(int argc, char **argv)
{
    struct sockaddr_un address;
    if (argc < 1) {
        return 2;
    }
    int fd = listener(argv[0], &address);
    puts("ready");
    fflush(stdout);
    for (int peer; (peer = accept(fd, NULL, NULL)) >= 0;) {
        close(peer);
    }
    return 1;
}

/* Sends the socket to the next process that connects, and keeps the connection until that process closes
 * it. */
static _Noreturn void send_back(int listening, int bomb, int done)
{
    char data[256];
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int peer = accept(listening, NULL, NULL);
    prctl(PR_SET_PDEATHSIG, 0);
    bool sent = send_fd(peer, bomb) > 0;
    close(bomb); /* the parent has it still */
    if (write(done, sent ? "y" : "n", 1) != 1) {
        _exit(1);
    }
    while (read(peer, data, sizeof(data)) > 0) {
        ;
    }
    _exit(0);
}

/* returner PATH: sends every process that connects a socket whose close takes an hour. Its own copies of
 * that socket are closed by the exit of a child process, which does not wait. */
int returner(int argc, char **argv)
{
    struct sockaddr_un address;
    if (argc < 1) {
        return 2;
    }
    int fd = listener(argv[0], &address), deaf = deaf_listener();
    const pid_t own = getpid();
    puts("ready");
    fflush(stdout);
    for (;;) {
        pid_t pid = fork();
        if (pid == 0) {
            int done[2];
            char byte;
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            if (getppid() != own || pipe(done) < 0) {
                _exit(1);
            }
            int bomb = lingering_socket(deaf);
            if (fork() == 0) {
                send_back(fd, bomb, done[1]);
            }
            _exit(read(done[0], &byte, 1) == 1 ? 0 : 1);
        }
        if (pid < 0 || waitpid(pid, NULL, 0) != pid) {
            return 1;
        }
    }
}

/* In the child: runs the command in a session of its own at that terminal. */
static _Noreturn void sit_at(int terminal, char **argv)
{
    setsid();
    ioctl(terminal, TIOCSCTTY, 0);
    for (int fd = 0; fd <= 2; fd++) {
        dup2(terminal, fd);
    }
    execvp(argv[0], argv);
    _exit(127);
}

/* console COMMAND ARGUMENT...: runs the command at a free virtual console, which is in front for that time.
 * Exits with 77 and a reason where there is none. */
int console(int argc, char **argv)
{
    struct vt_stat before;
    char path[32];
    int number = -1, mode = KD_GRAPHICS, status = 0;
    int any = open("/dev/tty0", O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (argc < 1) {
        return 2;
    }
    flock(any, LOCK_EX); /* one test after the other: only one console can be in front */
    if (any < 0 || ioctl(any, VT_GETSTATE, &before) < 0 || ioctl(any, VT_OPENQRY, &number) < 0 ||
        number < 1) {
        puts("this machine has no virtual console");
        return 77;
    }
    if (ioctl(any, KDGETMODE, &mode) < 0 || mode != KD_TEXT) {
        puts("the virtual consoles are in use by something graphical");
        return 77;
    }
    snprintf(path, sizeof(path), "/dev/tty%d", number);
    int own = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (own < 0 || ioctl(any, VT_ACTIVATE, number) < 0 || ioctl(any, VT_WAITACTIVE, number) < 0) {
        puts("no virtual console can be brought to the front");
        return 77;
    }
    pid_t pid = fork();
    if (pid == 0) {
        sit_at(own, argv);
    }
    bool ended = pid > 0 && waitpid(pid, &status, 0) == pid;
    ioctl(any, VT_ACTIVATE, before.v_active);
    ioctl(any, VT_WAITACTIVE, before.v_active);
    close(own);
    ioctl(any, VT_DISALLOCATE, number);
    return ended && WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

/* file-capability PATH NUMBER: gives a file an inheritable capability that is effective at once. */
int file_capability(int argc, char **argv)
{
    if (argc < 2) {
        return 2;
    }
    const struct vfs_cap_data data = {
        .magic_etc = VFS_CAP_REVISION_2 | VFS_CAP_FLAGS_EFFECTIVE,
        .data = {{.inheritable = 1U << strtoul(argv[1], NULL, 10)}},
    };
    return setxattr(argv[0], "security.capability", &data, sizeof(data), 0) < 0;
}
