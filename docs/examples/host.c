/* A C program with a Lua state of its own that runs a command in a container.
 *
 *   gcc -I/usr/include/lua5.4 -o host host.c -llua5.4 && ./host CONTAINER [ROOT] */
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdio.h>

static const char program[] =
    "local id, root = ...\n"
    "local web <close> = assert(require 'ctrexec'.open(id, { root = root }))\n"
    "local result = assert(web:exec { 'sh', '-c', 'echo hello; exit 3', timeout = 20 })\n"
    "return result.code, result.stdout\n";

int main(int argc, char **argv)
{
    lua_State *L = argc < 2 ? NULL : luaL_newstate();

    if (L == NULL) {
        fputs("usage: host CONTAINER [ROOT]\n", stderr);
        return 2;
    }
    luaL_openlibs(L);
    luaL_loadstring(L, program);
    lua_pushstring(L, argv[1]);
    lua_pushstring(L, argc > 2 ? argv[2] : NULL);
    if (lua_pcall(L, 2, 2, 0) != LUA_OK) {
        fprintf(stderr, "host: %s\n", lua_tostring(L, -1));
        lua_close(L);
        return 1;
    }
    printf("exit status %d, output: %s", (int)lua_tointeger(L, -2), lua_tostring(L, -1));
    lua_close(L);
    return 0;
}
