/* Descriptors through sockets, for the targets that receive some. */
#ifndef CTREXEC_FUZZ_SOCKETS_H
#define CTREXEC_FUZZ_SOCKETS_H

#include "fuzz.h"

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* SCM_MAX_FD of the kernel */
enum { MOST_FDS = 253 };

/* Counts the open descriptors, where at most `most` are received at once: the kernel gives the lowest free
 * numbers. */
static inline int open_descriptors(int most)
{
    int count = 0;

    for (int fd = 0; fd < most + 24; fd++) {
        count += fcntl(fd, F_GETFD) >= 0;
    }
    return count;
}

/* Sends the bytes, and `fd_count` copies of the descriptor. */
static inline void send_packet(int socket, const uint8_t *bytes, size_t size, int fd, size_t fd_count)
{
    struct iovec data = {.iov_base = (void *)bytes, .iov_len = size};
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(MOST_FDS * sizeof(int))];
    } control = {.bytes = {0}};
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1};

    if (fd_count > 0) {
        message.msg_control = control.bytes;
        message.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = CMSG_LEN(fd_count * sizeof(int));
        for (size_t i = 0; i < fd_count; i++) {
            memcpy(CMSG_DATA(&control.header) + i * sizeof(fd), &fd, sizeof(fd));
        }
    }
    HOLDS(sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)size);
}

#endif
