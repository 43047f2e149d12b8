/* What stands outside the container: the peers of ctrexec's sockets, and a file prepared by the test. They
 * say "ready" on standard output. */
#include "attack.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <linux/capability.h>

static int listener(const char *path, struct sockaddr_un *address)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    snprintf(address->sun_path, sizeof address->sun_path, "%s", path);
    if (fd < 0 || bind(fd, (struct sockaddr *)address, sizeof *address) < 0 || listen(fd, 0) < 0)
        exit(1);
    return fd;
}

static _Noreturn void stay(void)
{
    puts("ready");
    fflush(stdout);
    for (;;)
        pause();
}

/* backlog PATH: a socket that accepts nobody, and whose queue of connections is full. */
int backlog(int argc, char **argv)
{
    struct sockaddr_un address;
    if (argc < 1)
        return 2;
    listener(argv[0], &address);
    for (;;) {
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
            stay();
    }
}

/* agent PATH: takes every connection, reads nothing and answers nothing. */
int agent(int argc, char **argv)
{
    struct sockaddr_un address;
    if (argc < 1)
        return 2;
    int fd = listener(argv[0], &address);
    puts("ready");
    fflush(stdout);
    while (accept(fd, NULL, NULL) >= 0)
        ;
    return 1;
}

/* file-capability PATH NUMBER: gives a file an inheritable capability that is effective at once. */
int file_capability(int argc, char **argv)
{
    if (argc < 2)
        return 2;
    const struct vfs_cap_data data = {
        .magic_etc = VFS_CAP_REVISION_2 | VFS_CAP_FLAGS_EFFECTIVE,
        .data = {{.inheritable = 1U << strtoul(argv[1], NULL, 10)}},
    };
    return setxattr(argv[0], "security.capability", &data, sizeof data, 0) < 0;
}
