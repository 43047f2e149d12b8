/* For the specs of terminals and sockets: the peers that ctrexec talks to (servers of console, pidfd and
 * seccomp listener sockets, the agent that answers a listener), and the seals of a descriptor. */
#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <lua.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <linux/seccomp.h>

enum { BACKLOG = 8 };

/* The system call that mkdir(1) makes. */
#ifdef SYS_mkdir
enum { MKDIR_CALL = SYS_mkdir };
#else
enum { MKDIR_CALL = SYS_mkdirat };
#endif

int luaopen_peers(lua_State *L);

static int failed(lua_State *L, const char *call)
{
    return luaL_error(L, "%s: %s", call, strerror(errno));
}

/* A socket at the path that is the first argument. */
static int bound(lua_State *L, int type)
{
    size_t length;
    const char *path = luaL_checklstring(L, 1, &length);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

    luaL_argcheck(L, length < sizeof(address.sun_path), 1, "too long");
    memcpy(address.sun_path, path, length);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
        return failed(L, path);
    }
    lua_pushinteger(L, fd);
    return fd;
}

/* listen(path) -> descriptor of a stream socket, close-on-exec */
static int listen_at(lua_State *L)
{
    return listen(bound(L, SOCK_STREAM), BACKLOG) == 0 ? 1 : failed(L, "listen");
}

/* datagram(path) -> descriptor of a datagram socket, close-on-exec */
static int datagram_at(lua_State *L)
{
    bound(L, SOCK_DGRAM);
    return 1;
}

/* accept(listening) -> descriptor, close-on-exec */
static int accept_from(lua_State *L)
{
    int fd = accept4((int)luaL_checkinteger(L, 1), NULL, NULL, SOCK_CLOEXEC);

    if (fd < 0) {
        return failed(L, "accept");
    }
    lua_pushinteger(L, fd);
    return 1;
}

/* seals(fd) -> F_SEAL_* bits, or nil, errno where the file has none */
static int seals(lua_State *L)
{
    int result = fcntl((int)luaL_checkinteger(L, 1), F_GET_SEALS);

    if (result < 0) {
        lua_pushnil(L);
        lua_pushinteger(L, errno);
        return 2;
    }
    lua_pushinteger(L, result);
    return 1;
}

/* notification(listener) -> id, pid, system call number, or nil, errno (seccomp_unotify(2)) */
static int notification(lua_State *L)
{
    struct seccomp_notif request = {0};

    if (ioctl((int)luaL_checkinteger(L, 1), SECCOMP_IOCTL_NOTIF_RECV, &request) != 0) {
        lua_pushnil(L);
        lua_pushinteger(L, errno);
        return 2;
    }
    lua_pushinteger(L, (lua_Integer)request.id);
    lua_pushinteger(L, request.pid);
    lua_pushinteger(L, request.data.nr);
    return 3;
}

/* answer(listener, id, error) -> whether it was taken; the call fails with that errno, or runs when it is 0
 */
static int answer(lua_State *L)
{
    const int error = (int)luaL_checkinteger(L, 3);
    struct seccomp_notif_resp response = {
        .id = (__u64)luaL_checkinteger(L, 2),
        .error = -error,
        .flags = error == 0 ? SECCOMP_USER_NOTIF_FLAG_CONTINUE : 0,
    };

    lua_pushboolean(L, ioctl((int)luaL_checkinteger(L, 1), SECCOMP_IOCTL_NOTIF_SEND, &response) == 0);
    return 1;
}

int luaopen_peers(lua_State *L)
{
    static const luaL_Reg FUNCTIONS[] = {
        {"accept", accept_from},
        {"answer", answer},
        {"datagram", datagram_at},
        {"listen", listen_at},
        {"notification", notification},
        {"seals", seals},
        {NULL, NULL},
    };

    luaL_newlib(L, FUNCTIONS);
    lua_pushinteger(L, MKDIR_CALL);
    lua_setfield(L, -2, "MKDIR_CALL");
    return 1;
}
