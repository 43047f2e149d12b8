/***
Modules of Lua in compiled form.

One file (scripts/precompile.lua makes it) holds the code of many modules. A module's code is used only while
the source that Lua would load is the very file it was made from, by size and time of last change: a source
that was replaced or edited always wins.

@module ctrexec.core.precompiled
@see luac(1)
*/
#include "core.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NANOSECOND 1e-9

enum {
    INDEX_MAX = 16384,
    CODE_MAX = 1 << 24,
};

/* What the searcher keeps, by number of upvalue. */
enum {
    CODE_FILE = 1,
    INDEX,
    PACKAGE,
};

/* What the index says of a module behind its name: eight bytes each, without gaps. */
struct module {
    lua_Integer size; /* of the source */
    lua_Number mtime;
    lua_Integer offset; /* of the code, from the end of the index */
    lua_Integer length;
};

/* Takes the next `size` bytes of the index. */
static bool take(const char **at, const char *end, void *data, size_t size)
{
    if ((size_t)(end - *at) < size) {
        return false;
    }
    memcpy(data, *at, size);
    *at += size;
    return true;
}

/* Finds a module in the index: its number of modules, then for each its name and the fields above, as
 * string.pack writes them with "s1jnjj". */
static bool find_module(const char *at, const char *end, const char *name, struct module *module)
{
    const size_t wanted = strlen(name);
    lua_Integer count = 0;
    if (!take(&at, end, &count, sizeof(count))) {
        return false;
    }
    while (count-- > 0) {
        unsigned char length = 0;
        if (!take(&at, end, &length, sizeof(length)) || (size_t)(end - at) < length) {
            return false;
        }
        const char *own = at;
        at += length;
        if (!take(&at, end, module, sizeof(*module))) {
            return false;
        }
        if (length == wanted && memcmp(own, name, wanted) == 0) {
            return module->offset >= 0 && module->length > 0 && module->length <= CODE_MAX;
        }
    }
    return false;
}

/* Pushes the first path of the templates at which a file exists, as package.searchpath would. */
static bool push_source(lua_State *L, const char *name, const char *templates, struct stat *status)
{
    const char *file = luaL_gsub(L, name, ".", "/");
    while (*templates != '\0') {
        const size_t length = strcspn(templates, ";");
        lua_pushlstring(L, templates, length);
        const char *path = luaL_gsub(L, lua_tostring(L, -1), "?", file);
        if (stat(path, status) == 0) {
            return true;
        }
        lua_pop(L, 2);
        templates += length + (templates[length] == ';');
    }
    return false;
}

/* Loads the code. Pushes the chunk and returns true, or pushes the reason and returns false. */
static bool load_code(lua_State *L, int fd, off_t offset, size_t length, const char *name)
{
    char *code = malloc(length);
    if (code == NULL || pread(fd, code, length, offset) != (ssize_t)length) {
        free(code);
        lua_pushliteral(L, "cannot read the compiled form");
        return false;
    }
    lua_pushfstring(L, "=%s", name);
    const int result = luaL_loadbufferx(L, code, length, lua_tostring(L, -1), "b");
    free(code);
    return result == LUA_OK;
}

/* The searcher: returns the loader and the source's path, or a message that says why there is none. */
static int search(lua_State *L)
{
    const char *name = luaL_checkstring(L, 1);
    size_t size = 0;
    const char *index = lua_tolstring(L, lua_upvalueindex(INDEX), &size);
    struct module module;
    if (!find_module(index, index + size, name, &module)) {
        lua_pushfstring(L, "no compiled form of '%s'", name);
        return 1;
    }
    lua_getfield(L, lua_upvalueindex(PACKAGE), "path");
    struct stat status;
    if (!push_source(L, name, luaL_checkstring(L, -1), &status) || status.st_size != module.size ||
        (lua_Number)status.st_mtim.tv_sec + (lua_Number)status.st_mtim.tv_nsec * NANOSECOND != module.mtime) {
        lua_pushfstring(L, "the compiled form of '%s' is of another source", name);
        return 1;
    }
    const int source = lua_gettop(L);
    const off_t offset = (off_t)(sizeof(size_t) + size) + (off_t)module.offset;
    if (!load_code(L, ctx_to_fd(L, lua_upvalueindex(CODE_FILE)), offset, (size_t)module.length, name)) {
        return 1;
    }
    lua_pushvalue(L, source);
    return 2;
}

/***
Makes a searcher for `package.searchers`.
@function searcher
@string path of the file with the compiled modules
@tparam table package Lua's, whose `path` says where the sources are
@treturn[1] function
@return[2] nil
@treturn[2] string error message
@treturn[2] int errno: ENOENT when there is no such file, EINVAL when it is no file of compiled modules
@see open(2)
*/
static int searcher(lua_State *L)
{
    const char *path = ctx_check_path(L, 1);
    size_t size = 0;
    luaL_checktype(L, 2, LUA_TTABLE);
    int *fd = ctx_new_fd(L);
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (*fd < 0) {
        return ctx_error(L, errno, "open %s", path);
    }
    char data[INDEX_MAX];
    const ssize_t got = ctx_read(*fd, data, sizeof(data));
    if (got < (ssize_t)sizeof(size)) {
        return ctx_error(L, got < 0 ? errno : EINVAL, "read %s", path);
    }
    memcpy(&size, data, sizeof(size));
    if (size > (size_t)got - sizeof(size)) {
        return ctx_error(L, EINVAL, "read %s", path);
    }
    lua_pushlstring(L, data + sizeof(size), size);
    lua_pushvalue(L, 2);
    lua_pushcclosure(L, search, PACKAGE);
    return 1;
}

int ctx_open_precompiled(lua_State *L)
{
    static const luaL_Reg functions[] = {{"searcher", searcher}, {NULL, NULL}};
    luaL_newlib(L, functions);
    return 1;
}
