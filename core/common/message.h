/* Reading what the helper sends: core/common/message.c. */
#ifndef CTREXEC_MESSAGE_H
#define CTREXEC_MESSAGE_H

#include "plan.h"

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/types.h>

struct ctx_packet {
    struct plan_message message;
    ssize_t size; /* as read(2) gives it; -1 with errno */
    int fd;       /* the descriptor that came with it, -1 when there was none */
};

/* Reads one packet without waiting, from the socket (with its descriptor; the caller closes it) or from the
 * pipe. */
void ctx_receive(int fd, bool is_socket, struct ctx_packet *packet);

/* The first descriptor in the control data of a message, -1 when there is none. The others are closed. */
int ctx_take_descriptor(struct msghdr *header);

/* Whether the packet is a message that the helper could have sent. Its detail ends with a NUL. */
bool ctx_packet_valid(const struct ctx_packet *packet);

#endif
