/* For tests/late_calls_spec.lua: the list of core/common/late.h. */
#include "../../core/common/late.h"

#include <lauxlib.h>
#include <lua.h>
#include <seccomp.h>
#include <stdlib.h>

int luaopen_late_calls(lua_State *L);

static void add(lua_State *L, const char *place, int number, uint64_t first, uint64_t second)
{
    char *name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, number);

    lua_createtable(L, 0, 4);
    lua_pushstring(L, place);
    lua_setfield(L, -2, "place");
    lua_pushstring(L, name);
    lua_setfield(L, -2, "name");
    lua_pushinteger(L, (lua_Integer)first);
    lua_setfield(L, -2, "first");
    lua_pushinteger(L, (lua_Integer)second);
    lua_setfield(L, -2, "second");
    lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
    free(name);
}

/* An array of { place = its text in late.h, name = of the system call, first =, second = } */
int luaopen_late_calls(lua_State *L)
{
    lua_newtable(L);
#define CALL(flag, ...) add(L, #__VA_ARGS__, LATE_NUMBER(__VA_ARGS__), LATE_ARGUMENTS(__VA_ARGS__));
    LATE_CALLS(CALL)
    return 1;
}
