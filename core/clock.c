/***
Time.

@module ctrexec.core.clock
*/
#include "core.h"

#include <time.h>

#define NANOSECOND 1e-9

/***
The monotonic clock, for deadlines.
@function now
@treturn number seconds since an unspecified moment
@see clock_gettime(2)
*/
static int clock_now(lua_State *L)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    lua_pushnumber(L, (lua_Number)now.tv_sec + (lua_Number)now.tv_nsec * NANOSECOND);
    return 1;
}

int ctx_open_clock(lua_State *L)
{
    static const luaL_Reg functions[] = {{"now", clock_now}, {NULL, NULL}};
    luaL_newlib(L, functions);
    return 1;
}
