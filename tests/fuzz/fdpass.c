/* Descriptors from a peer, through core.fdpass.receive: no more than asked for, close-on-exec, none left
 * behind. The input: how many descriptors the peer sends, how many are asked for, how many bytes are asked
 * for, the bytes. */
#include "../../core/core.h"
#include "fuzz.h"
#include "lua.h"
#include "sockets.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum { HEAD = 3 };

/* The results of `receive` are the two values at the top. */
static void check_results(lua_State *L, const uint8_t *bytes, size_t expected, lua_Integer fds)
{
    size_t length;
    const char *got = lua_tolstring(L, -2, &length);

    HOLDS(got != NULL && length == expected && memcmp(got, bytes, length) == 0);
    HOLDS(luaL_len(L, -1) == fds);
    for (lua_Integer i = 1; i <= fds; i++) {
        lua_rawgeti(L, -1, i);
        HOLDS((fcntl(ctx_to_fd(L, -1), F_GETFD) & FD_CLOEXEC) != 0);
        close(ctx_release_fd(L, lua_gettop(L)));
        lua_pop(L, 1);
    }
}

static void receive(lua_State *L, int socket, lua_Integer max_bytes, lua_Integer max_fds)
{
    lua_settop(L, 0);
    ctx_open_fdpass(L);
    lua_getfield(L, -1, "receive");
    lua_pushinteger(L, socket);
    lua_pushinteger(L, max_bytes);
    lua_pushinteger(L, max_fds);
    HOLDS(lua_pcall(L, 3, 2, 0) == LUA_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    lua_State *L = fuzz_lua();
    int ends[2];

    if (size <= HEAD || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) {
        return 0;
    }
    const size_t sent = data[0] % (MOST_FDS + 1);
    const lua_Integer max_fds = data[1] % (MOST_FDS + 1);
    const size_t max_bytes = 1U + data[2];
    luaL_newmetatable(
        L, CTX_FD); /* as core.fd makes it; the descriptors are closed here, not by the collector */
    data += HEAD;
    size -= HEAD;
    send_packet(ends[1], data, size, ends[0], sent);
    const int before = open_descriptors(MOST_FDS);
    receive(L, ends[0], (lua_Integer)max_bytes, max_fds);
    check_results(L, data, size < max_bytes ? size : max_bytes,
                  (lua_Integer)sent < max_fds ? (lua_Integer)sent : max_fds);
    HOLDS(open_descriptors(MOST_FDS) == before);
    lua_settop(L, 0);
    close(ends[0]);
    close(ends[1]);
    return 0;
}
