/* For the targets that read a Lua table which was JSON: the input is the document, and it is mutated by
 * tests/fuzz/mutate.lua, which knows its structure. */
#ifndef CTREXEC_FUZZ_JSON_H
#define CTREXEC_FUZZ_JSON_H

#include "fuzz.h"
#include "lua.h"

#include <string.h>

/* Pushes a value of a module; an error ends the run. */
static inline void push_function(lua_State *L, const char *module, const char *name)
{
    lua_getglobal(L, "require");
    lua_pushstring(L, module);
    if (lua_pcall(L, 1, 1, 0) != LUA_OK) {
        fprintf(stderr, "%s\n", lua_tostring(L, -1));
        abort();
    }
    lua_getfield(L, -1, name);
    lua_remove(L, -2);
}

/* Pushes the document as ctrexec.lib.json reads it. */
static inline bool push_document(lua_State *L, const uint8_t *data, size_t size)
{
    push_function(L, "ctrexec.lib.json", "decode");
    lua_pushlstring(L, (const char *)data, size);
    lua_pushliteral(L, "document");
    HOLDS(lua_pcall(L, 2, 1, 0) == LUA_OK);
    return lua_istable(L, -1);
}

static inline size_t mutate_document(uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
    lua_State *L = fuzz_lua();
    size_t length;

    lua_settop(L, 0);
    lua_getglobal(L, "math");
    lua_getfield(L, -1, "randomseed");
    lua_pushinteger(L, seed);
    lua_call(L, 1, 0);
    push_function(L, "tests.fuzz.mutate", "json");
    lua_pushlstring(L, (const char *)data, size);
    if (lua_pcall(L, 1, 1, 0) != LUA_OK) {
        fprintf(stderr, "mutate: %s\n", lua_tostring(L, -1));
        abort();
    }
    const char *text = lua_tolstring(L, -1, &length);
    length = length < max_size ? length : max_size;
    memcpy(data, text, length);
    lua_settop(L, 0);
    return length;
}

#endif
