/* Reads the helper's messages without trusting them: the container may get hold of final's pipe and write to
 * it. */
#include "message.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

int ctx_take_descriptor(struct msghdr *header)
{
    int first = -1;
    for (struct cmsghdr *item = CMSG_FIRSTHDR(header); item != NULL; item = CMSG_NXTHDR(header, item)) {
        if (item->cmsg_level != SOL_SOCKET || item->cmsg_type != SCM_RIGHTS || item->cmsg_len < CMSG_LEN(0)) {
            continue;
        }
        const size_t count = (item->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd = 0;
            memcpy(&fd, CMSG_DATA(item) + i * sizeof(fd), sizeof(fd));
            if (first < 0) {
                first = fd;
            } else {
                close(fd);
            }
        }
    }
    return first;
}

static void receive_from_socket(int fd, struct ctx_packet *packet)
{
    struct iovec data = {.iov_base = &packet->message, .iov_len = sizeof(packet->message)};
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(4 * sizeof(int))];
    } control;
    struct msghdr header = {.msg_iov = &data,
                            .msg_iovlen = 1,
                            .msg_control = control.bytes,
                            .msg_controllen = sizeof(control.bytes)};
    packet->size = recvmsg(fd, &header, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (packet->size >= 0) {
        packet->fd = ctx_take_descriptor(&header);
    }
}

/* Does not wait: the reading end of the pipe is O_NONBLOCK, a pipe having no MSG_DONTWAIT. */
void ctx_receive(int fd, bool is_socket, struct ctx_packet *packet)
{
    packet->fd = -1;
    do {
        if (is_socket) {
            receive_from_socket(fd, packet);
        } else {
            packet->size = read(fd, &packet->message, sizeof(packet->message));
        }
    } while (packet->size < 0 && errno == EINTR);
}

bool ctx_packet_valid(const struct ctx_packet *packet)
{
    const struct plan_message *message = &packet->message;
    if (packet->size != (ssize_t)sizeof(*message) || message->detail[PLAN_DETAIL - 1] != '\0') {
        return false;
    }
    switch (message->kind) {
    case MSG_TERMINAL:
    case MSG_LISTENER:
        return packet->fd >= 0;
    case MSG_READY:
        return true;
    case MSG_ERROR:
        return message->step > 0 && message->step < STEP_COUNT;
    default:
        return false;
    }
}
