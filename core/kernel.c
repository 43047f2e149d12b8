/***
The running kernel.

@module ctrexec.core.kernel
*/
#include "core.h"

#include <sys/utsname.h>

/***
The release of the running kernel.
@function release
@treturn string as "6.1.0-18-amd64"
@see uname(2)
*/
static int kernel_release(lua_State *L)
{
    struct utsname names;
    uname(&names);
    lua_pushstring(L, names.release);
    return 1;
}

int ctx_open_kernel(lua_State *L)
{
    static const luaL_Reg functions[] = {{"release", kernel_release}, {NULL, NULL}};
    luaL_newlib(L, functions);
    return 1;
}
