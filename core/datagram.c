/***
One datagram to a UNIX socket: what a syslog daemon or journald reads.
@module ctrexec.core.datagram
*/
#include "core.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int send_to(const struct sockaddr_un *address, const char *data, size_t length)
{
    int sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (sock < 0) {
        return errno;
    }
    ssize_t sent = 0;
    do {
        /* A daemon that does not read must not hold up an exec: a full queue is an error. */
        sent = sendto(sock, data, length, MSG_NOSIGNAL | MSG_DONTWAIT, (const struct sockaddr *)address,
                      sizeof(*address));
    } while (sent < 0 && errno == EINTR);
    int error = sent < 0 ? errno : 0;
    (void)close(sock);
    return error;
}

/***
Sends one datagram; does not wait for room.
@function send
@string path the socket's path, at most 107 bytes
@string data
@treturn[1] bool true
@return[2] nil
@treturn[2] string error message
@treturn[2] int errno: EAGAIN if the receiver's queue is full, EMSGSIZE if the datagram is too long
@see unix(7)
*/
static int datagram_send(lua_State *L)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const char *path = ctx_check_path(L, 1);
    size_t length = 0;
    const char *data = luaL_checklstring(L, 2, &length);
    /* An empty path would name an abstract socket. */
    if (*path == '\0') {
        return ctx_error(L, ENOENT, "send to %s", path);
    }
    if (strlen(path) >= sizeof(address.sun_path)) {
        return ctx_error(L, ENAMETOOLONG, "send to %s", path);
    }
    memcpy(address.sun_path, path, strlen(path) + 1);
    int error = send_to(&address, data, length);
    return error != 0 ? ctx_error(L, error, "send to %s", path) : ctx_ok(L);
}

int ctx_open_datagram(lua_State *L)
{
    static const luaL_Reg functions[] = {{"send", datagram_send}, {NULL, NULL}};
    luaL_newlib(L, functions);
    return 1;
}
