/* What the helper and the container send over the control socket and the status pipe, through real sockets
 * and pipes: whatever comes, no descriptor stays open, and only a message that the helper could have sent
 * counts as one.
 *
 * The input is a row of packets: a byte whose bits say how many descriptors come with the packet (0 to 7) and
 * whether it goes through a pipe, a length, and the bytes. */
#include "../../core/common/message.h"
#include "fuzz.h"
#include "sockets.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* of the first byte of a packet */
enum { PIPE_BIT = 8 };

static void check_packet(const struct ctx_packet *packet, bool had_fd)
{
    const struct plan_message *message = &packet->message;

    HOLDS((packet->fd >= 0) == had_fd);
    HOLDS(!had_fd || (fcntl(packet->fd, F_GETFD) & FD_CLOEXEC) != 0);
    if (!ctx_packet_valid(packet)) {
        return;
    }
    HOLDS(packet->size == (ssize_t)sizeof(*message));
    HOLDS(strnlen(message->detail, PLAN_DETAIL) < PLAN_DETAIL);
    HOLDS(message->kind >= MSG_TERMINAL && message->kind <= MSG_ERROR);
    HOLDS(message->kind > MSG_LISTENER || packet->fd >= 0);
    HOLDS(message->kind != MSG_ERROR || (message->step > 0 && message->step < STEP_COUNT));
}

/* Sends one packet and receives it. The receiver's memory holds what an earlier packet may have left. */
static void exchange(const uint8_t *bytes, size_t size, unsigned head)
{
    struct ctx_packet packet;
    const bool is_pipe = (head & PIPE_BIT) != 0;
    const size_t fd_count = is_pipe || size == 0 ? 0 : head % PIPE_BIT;
    int ends[2];
    int error =
        is_pipe ? pipe2(ends, O_CLOEXEC) : socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends);

    HOLDS(error == 0);
    memset(&packet, 'x', sizeof(packet));
    if (is_pipe) {
        HOLDS(write(ends[1], bytes, size) == (ssize_t)size);
        close(ends[1]); /* so that an empty pipe is at its end, and its reader does not wait */
        ends[1] = -1;
    } else {
        send_packet(ends[1], bytes, size, ends[0], fd_count);
    }
    const int before = open_descriptors(PIPE_BIT);
    ctx_receive(ends[0], !is_pipe, &packet);
    const size_t room = sizeof(packet.message);
    HOLDS(packet.size == (ssize_t)(size < room ? size : room));
    HOLDS(memcmp(&packet.message, bytes, (size_t)packet.size) == 0);
    check_packet(&packet, fd_count > 0);
    if (packet.fd >= 0) {
        close(packet.fd);
    }
    HOLDS(open_descriptors(PIPE_BIT) == before);
    close(ends[0]);
    if (ends[1] >= 0) {
        close(ends[1]);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    while (size >= 2) {
        const unsigned head = data[0];
        size_t length = data[1] < size - 2 ? data[1] : size - 2;
        exchange(data + 2, length, head);
        data += 2 + length;
        size -= 2 + length;
    }
    return 0;
}
