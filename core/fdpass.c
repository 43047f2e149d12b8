/***
Descriptors sent and received over AF_UNIX sockets.

@module ctrexec.core.fdpass
@see unix(7)
*/
#include "common/protect.h"
#include "core.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    /* SCM_MAX_FD, which no public header of the kernel defines. */
    FDS_MAX = 253,
    RECEIVE_MAX = 1 << 20,
    MILLISECONDS = 1000,
};

/* A peer that never accepts or never reads must not block the caller for ever. */
static int set_timeout(int fd, lua_Integer milliseconds)
{
    const struct timeval limit = {
        .tv_sec = (time_t)(milliseconds / MILLISECONDS),
        .tv_usec = (suseconds_t)(milliseconds % MILLISECONDS * MILLISECONDS),
    };
    return setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) < 0 ||
                   setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) < 0
               ? -1
               : 0;
}

static int connect_path(int fd, const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t length = strlen(path);
    /* The kernel takes an empty path for the abstract name space. */
    if (length == 0 || length >= sizeof(address.sun_path)) {
        errno = length == 0 ? ENOENT : ENAMETOOLONG;
        return -1;
    }
    memcpy(address.sun_path, path, length);
    int result = 0;
    do {
        result = connect(fd, (const struct sockaddr *)&address, sizeof(address));
    } while (result < 0 && errno == EINTR);
    if (result < 0 && errno == EAGAIN) {
        errno = ETIMEDOUT;
    }
    return result;
}

/***
Connects to a stream socket.
@function connect
@string path of the socket, 107 bytes at most
@int[opt] timeout milliseconds after which connecting fails with ETIMEDOUT, and each later sending and
receiving on the socket with EAGAIN; none waits without limit
@bool[opt=false] send_only whether the peer is kept from sending: a descriptor that it sent would be closed
with the socket, and the peer can make that close take as long as it likes
@treturn[1] fd
@return[2] nil
@treturn[2] string error message
@treturn[2] int errno
@see unix(7)
@see shutdown(2)
*/
static int fdpass_connect(lua_State *L)
{
    const char *path = ctx_check_path(L, 1);
    lua_Integer timeout = luaL_optinteger(L, 2, 0);
    bool send_only = lua_toboolean(L, 3) && PROTECTED(send_only);
    luaL_argcheck(L, lua_isnoneornil(L, 2) || timeout > 0, 2, "must be positive");
    int *fd = ctx_new_fd(L);
    *fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (*fd < 0 || (timeout > 0 && set_timeout(*fd, timeout) < 0) ||
        (send_only && shutdown(*fd, SHUT_RD) < 0) || connect_path(*fd, path) < 0) {
        return ctx_error(L, errno, "connect %s", path);
    }
    return 1;
}

union control {
    struct cmsghdr align;
    char data[CMSG_SPACE(sizeof(int[FDS_MAX]))];
};

/* Makes the control message for the descriptors in the array at `arg`. Returns its size. */
static size_t pack_fds(lua_State *L, int arg, union control *control)
{
    luaL_checktype(L, arg, LUA_TTABLE);
    size_t count = lua_rawlen(L, arg);
    luaL_argcheck(L, count <= FDS_MAX, arg, "too many descriptors");
    if (count == 0) {
        return 0;
    }
    memset(control, 0, sizeof(*control));
    control->align.cmsg_level = SOL_SOCKET;
    control->align.cmsg_type = SCM_RIGHTS;
    control->align.cmsg_len = CMSG_LEN(count * sizeof(int));
    for (size_t i = 0; i < count; i++) {
        lua_geti(L, arg, (lua_Integer)i + 1);
        int fd = ctx_to_fd(L, -1);
        luaL_argcheck(L, fd >= 0, arg, "open descriptors expected");
        memcpy(CMSG_DATA(&control->align) + i * sizeof(fd), &fd, sizeof(fd));
        lua_pop(L, 1);
    }
    return CMSG_SPACE(count * sizeof(int));
}

/***
Sends descriptors with some bytes. No SIGPIPE is raised.
@function send
@tparam int|fd socket
@tparam table fds array of descriptors, 253 at most
@string data at least one byte, which carries the descriptors
@treturn[1] int how many bytes were sent; all descriptors go with the first
@return[2] nil
@treturn[2] string error message
@treturn[2] int errno: EPIPE when the peer is gone, EAGAIN when a time-out is over
@see sendmsg(2)
*/
static int fdpass_send(lua_State *L)
{
    int fd = ctx_check_fd(L, 1);
    union control control;
    size_t control_size = pack_fds(L, 2, &control);
    size_t size = 0;
    const char *data = luaL_checklstring(L, 3, &size);
    struct iovec bytes = {.iov_base = (void *)data, .iov_len = size};
    struct msghdr message = {
        .msg_iov = &bytes,
        .msg_iovlen = 1,
        .msg_control = control_size > 0 ? &control : NULL,
        .msg_controllen = control_size,
    };

    luaL_argcheck(L, size > 0, 3, "at least one byte expected");
    ssize_t count = 0;
    do {
        count = sendmsg(fd, &message, PROTECTED(no_sigpipe) ? MSG_NOSIGNAL : 0);
    } while (count < 0 && errno == EINTR);
    if (count < 0) {
        return ctx_error(L, errno, "send descriptors");
    }
    lua_pushinteger(L, count);
    return 1;
}

/* Pushes an array of `count` objects that own nothing yet, so that whatever arrives has an owner at once. */
static void push_owners(lua_State *L, int count)
{
    lua_createtable(L, count, 0);
    for (int i = 1; i <= count; i++) {
        ctx_new_fd(L);
        lua_rawseti(L, -2, i);
    }
}

/* Gives a descriptor to the next free owner in the array at `owners`; closes it when there is none. */
static void adopt(lua_State *L, int owners, int index, int max, int fd)
{
    if (index > max) {
        close(fd);
        return;
    }
    lua_rawgeti(L, owners, index);
    *(int *)lua_touserdata(L, -1) = fd;
    lua_pop(L, 1);
}

/* Takes the descriptors out of a message. Returns how many the array at `owners` has now. */
static int unpack_fds(lua_State *L, struct msghdr *message, int owners, int max)
{
    int count = 0;
    for (struct cmsghdr *part = CMSG_FIRSTHDR(message); part != NULL; part = CMSG_NXTHDR(message, part)) {
        size_t fds = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        for (size_t i = 0; i < fds; i++) {
            int fd = 0;
            memcpy(&fd, CMSG_DATA(part) + i * sizeof(fd), sizeof(fd));
            adopt(L, owners, ++count, max, fd);
        }
    }
    return count < max ? count : max;
}

/***
Receives bytes and the descriptors that come with them, close-on-exec. More descriptors than asked for are
closed.
@function receive
@tparam int|fd socket
@int max_bytes at most; a single call gives at most 1 MiB
@int max_fds at most, 0 to 253
@treturn[1] string the bytes; "" when the peer has closed the connection
@treturn[1] table array of fd objects
@return[2] nil
@treturn[2] string error message
@treturn[2] int errno: EAGAIN when a time-out is over
@see recvmsg(2)
*/
static int fdpass_receive(lua_State *L)
{
    int fd = ctx_check_fd(L, 1);
    lua_Integer max_bytes = luaL_checkinteger(L, 2);
    lua_Integer max_fds = luaL_checkinteger(L, 3);
    union control control;
    struct iovec bytes;
    struct msghdr message = {.msg_iov = &bytes, .msg_iovlen = 1, .msg_control = &control};
    int owned = 0;

    luaL_argcheck(L, max_bytes > 0, 2, "must be positive");
    luaL_argcheck(L, max_fds >= 0 && max_fds <= FDS_MAX, 3, "out of range");
    lua_settop(L, 3);
    push_owners(L, (int)max_fds);
    bytes.iov_len = max_bytes < RECEIVE_MAX ? (size_t)max_bytes : RECEIVE_MAX;
    luaL_Buffer data;
    bytes.iov_base = luaL_buffinitsize(L, &data, bytes.iov_len);
    message.msg_controllen = CMSG_SPACE((size_t)max_fds * sizeof(int));
    ssize_t count = 0;
    do {
        count = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
    } while (count < 0 && errno == EINTR);
    int error = errno;
    if (count >= 0) {
        owned = unpack_fds(L, &message, 4, (int)max_fds);
    }
    luaL_pushresultsize(&data, count > 0 ? (size_t)count : 0);
    if (count < 0) {
        return ctx_error(L, error, "receive descriptors");
    }
    for (int i = owned + 1; i <= max_fds; i++) {
        lua_pushnil(L);
        lua_rawseti(L, 4, i);
    }
    lua_pushvalue(L, 4);
    return 2;
}

int ctx_open_fdpass(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"connect", fdpass_connect}, {"send", fdpass_send}, {"receive", fdpass_receive}, {NULL, NULL}};
    luaL_newlib(L, functions);
    return 1;
}
