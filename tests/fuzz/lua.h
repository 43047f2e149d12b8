/* For the targets whose code reads Lua values. The Lua library itself is not instrumented. */
#ifndef CTREXEC_FUZZ_LUA_H
#define CTREXEC_FUZZ_LUA_H

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdlib.h>

/* One state for all inputs: the collector frees what an input has left. Lua's search paths come from the
 * environment. */
static inline lua_State *fuzz_lua(void)
{
    static lua_State *L;

    if (L == NULL) {
        L = luaL_newstate();
        if (L == NULL) {
            abort();
        }
        luaL_openlibs(L);
    }
    return L;
}

#endif
