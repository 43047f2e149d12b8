/***
The program that this process runs.

@module ctrexec.core.program
*/
#include "core.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/* The strings of the array at `index` as execve(2) wants them. Lua owns the strings and the memory. */
static char **check_arguments(lua_State *L, int index)
{
    const lua_Integer count = luaL_len(L, index);
    luaL_argcheck(L, count > 0, index, "no arguments");
    char **arguments = lua_newuserdatauv(L, ((size_t)count + 1) * sizeof(*arguments), 0);
    for (lua_Integer i = 0; i < count; i++) {
        luaL_argcheck(L, lua_geti(L, index, i + 1) == LUA_TSTRING, index, "not an array of strings");
        size_t length = 0;
        const char *text = lua_tolstring(L, -1, &length);
        luaL_argcheck(L, strlen(text) == length, index, "a string with a NUL byte");
        /* The table keeps the string, execve(2) does not write to it. */
        arguments[i] = (char *)text;
        lua_pop(L, 1);
    }
    arguments[count] = NULL;
    return arguments;
}

/* The environment with `variable`, "NAME=VALUE", in it. Lua owns its memory. */
static char **environment_with(lua_State *L, const char *variable)
{
    const size_t name = strcspn(variable, "=") + 1;
    size_t count = 0;
    while (environ[count] != NULL) {
        count++;
    }
    char **all = lua_newuserdatauv(L, (count + 2) * sizeof(*all), 0);
    count = 0;
    for (char **entry = environ; *entry != NULL; entry++) {
        if (strncmp(*entry, variable, name) != 0) {
            all[count++] = *entry;
        }
    }
    all[count++] = (char *)variable; /* execve(2) does not write to it */
    all[count] = NULL;
    return all;
}

/***
Runs another program in place of this one: same process, environment (but for `variable`), working directory,
umask and signal mask. Descriptors that this program did not open itself stay open.

@function replace
@string path of the program; no PATH is searched
@tparam {string,...} arguments from the program's own name on
@string[opt] variable "NAME=VALUE", to be set in its environment
@return[1] nil only on failure: after success nothing is left that could return
@treturn[1] string error message
@treturn[1] int errno
@see execve(2)
*/
static int replace(lua_State *L)
{
    const char *path = ctx_check_path(L, 1);
    const char *variable = luaL_optstring(L, 3, NULL);
    char **arguments = check_arguments(L, 2);
    luaL_argcheck(L, variable == NULL || strchr(variable, '=') != NULL, 3, "not NAME=VALUE");
    execve(path, arguments, variable != NULL ? environment_with(L, variable) : environ);
    return ctx_error(L, errno, "%s", path);
}

int ctx_open_program(lua_State *L)
{
    static const luaL_Reg functions[] = {{"replace", replace}, {NULL, NULL}};
    luaL_newlib(L, functions);
    return 1;
}
