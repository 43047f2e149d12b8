/* What every binding needs of Lua: checked arguments, error returns, fields of tables. */
#include "core.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { MESSAGE_MAX = PATH_MAX + 256 };

const char *ctx_reason(int error, char *buffer, size_t size)
{
    if (error == ENOSYS && ctx_openat2_is_refused()) {
        return "openat2(2) is refused to ctrexec, allow it in the seccomp profile that ctrexec runs under";
    }
    return strerror_r(error, buffer, size);
}

int ctx_error(lua_State *L, int error, const char *what, ...)
{
    va_list arguments;
    va_start(arguments, what);
    char message[MESSAGE_MAX];
    (void)vsnprintf(message, sizeof(message), what, arguments);
    va_end(arguments);
    lua_pushnil(L);
    char reason[128];
    lua_pushfstring(L, "%s: %s", message, ctx_reason(error, reason, sizeof(reason)));
    lua_pushinteger(L, error);
    return 3;
}

int ctx_ok(lua_State *L)
{
    lua_pushboolean(L, 1);
    return 1;
}

const char *ctx_check_path(lua_State *L, int arg)
{
    size_t length = 0;
    const char *path = luaL_checklstring(L, arg, &length);
    return strlen(path) == length ? path : "";
}

pid_t ctx_check_pid(lua_State *L, int arg)
{
    lua_Integer pid = luaL_checkinteger(L, arg);
    return pid > 0 && pid <= INT_MAX ? (pid_t)pid : -1;
}

void ctx_set_integer(lua_State *L, const char *name, lua_Integer value)
{
    lua_pushinteger(L, value);
    lua_setfield(L, -2, name);
}

void ctx_set_boolean(lua_State *L, const char *name, bool value)
{
    lua_pushboolean(L, value);
    lua_setfield(L, -2, name);
}

/* __index of a table of ctx_push_numbers: finds the number and keeps it in the table. */
static int look_up_number(lua_State *L)
{
    const struct ctx_named_number *numbers = lua_touserdata(L, lua_upvalueindex(1));
    const lua_Integer count = lua_tointeger(L, lua_upvalueindex(2));
    const char *kind = lua_tostring(L, lua_upvalueindex(3));
    const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : NULL;
    for (lua_Integer i = 0; name != NULL && i < count; i++) {
        if (strcmp(numbers[i].name, name) == 0) {
            lua_pushinteger(L, numbers[i].number);
            lua_pushvalue(L, 2);
            lua_pushvalue(L, -2);
            lua_rawset(L, 1);
            return 1;
        }
    }
    return kind != NULL ? luaL_error(L, "there is no %s '%s'", kind, luaL_tolstring(L, 2, NULL)) : 0;
}

void ctx_push_numbers(lua_State *L, const struct ctx_named_number *numbers, size_t count, const char *kind)
{
    lua_newtable(L);
    lua_createtable(L, 0, 1);
    lua_pushlightuserdata(L, (void *)numbers); /* only read */
    lua_pushinteger(L, (lua_Integer)count);
    lua_pushstring(L, kind);
    lua_pushcclosure(L, look_up_number, 3);
    lua_setfield(L, -2, "__index");
    lua_setmetatable(L, -2);
}
