/* Packed values over a stream socket: the length, then the bytes. */
#include "channel.h"
#include "value.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

bool ctx_send_packed(int channel, const char *bytes, size_t length)
{
    uint32_t size = (uint32_t)length;
    struct iovec parts[] = {{&size, sizeof(size)}, {NULL, length}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = sizeof(parts) / sizeof(*parts)};
    /* iov_base is not const, though sendmsg(2) only reads. */
    memcpy(&parts[1].iov_base, &bytes, sizeof(bytes));

    while (message.msg_iovlen > 0) {
        ssize_t sent = sendmsg(channel, &message, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) {
            continue;
        }
        if (sent < 0) {
            return false;
        }
        while (message.msg_iovlen > 0 && (size_t)sent >= message.msg_iov->iov_len) {
            sent -= (ssize_t)message.msg_iov->iov_len;
            message.msg_iov++;
            message.msg_iovlen--;
        }
        if (message.msg_iovlen > 0) {
            message.msg_iov->iov_base = (char *)message.msg_iov->iov_base + sent;
            message.msg_iov->iov_len -= (size_t)sent;
        }
    }
    return true;
}

/* False with errno 0 at the end of the stream. */
static bool receive_all(int channel, void *bytes, size_t length)
{
    char *next = bytes;
    while (length > 0) {
        ssize_t got = recv(channel, next, length, 0);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            errno = got == 0 ? 0 : errno;
            return false;
        }
        next += got;
        length -= (size_t)got;
    }
    return true;
}

bool ctx_receive_packed(lua_State *L, int channel)
{
    uint32_t size = 0;
    if (!receive_all(channel, &size, sizeof(size))) {
        return false;
    }
    if (size > CTX_PACKED_MAX) {
        errno = EMSGSIZE;
        return false;
    }
    char room[CTX_PACKED_ROOM];
    char *buffer = size <= sizeof(room) ? room : lua_newuserdatauv(L, size, 0);
    if (!receive_all(channel, buffer, size)) {
        return false;
    }
    if (ctx_unpack(L, buffer, size) != 1) {
        errno = EBADMSG;
        return false;
    }
    return true;
}
