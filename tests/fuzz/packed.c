/* What a policy's process sends: bytes that core/value.c turns into Lua values. They are refused, or
 * they are a value that comes back the same when it is packed and unpacked again. */
#include "../../core/value.h"
#include "fuzz.h"
#include "lua.h"

#include <string.h>

static size_t count_pairs(lua_State *L, int table)
{
    size_t count = 0;

    for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1)) {
        count++;
    }
    return count;
}

static bool same_tables(lua_State *L, int a, int b);

static bool same(lua_State *L, int a, int b)
{
    if (lua_istable(L, a) && lua_istable(L, b)) {
        return same_tables(L, a, b);
    }
    const bool both_nan = lua_type(L, a) == LUA_TNUMBER && lua_type(L, b) == LUA_TNUMBER &&
                          !lua_rawequal(L, a, a) && !lua_rawequal(L, b, b);
    return both_nan || (lua_rawequal(L, a, b) && lua_isinteger(L, a) == lua_isinteger(L, b));
}

/* Every pair of table `a` is in table `b`, and `b` has no more pairs. */
static bool same_tables(lua_State *L, int a, int b)
{
    HOLDS(lua_checkstack(L, 8));
    lua_pushnil(L);
    while (lua_next(L, a)) {
        const int value = lua_gettop(L);
        lua_pushvalue(L, value - 1);
        lua_rawget(L, b);
        /* a table as a key is another one after it was packed */
        const bool equal = lua_istable(L, value - 1) || same(L, value, value + 1);
        lua_settop(L, value - 1);
        if (!equal) {
            lua_pop(L, 1);
            return false;
        }
    }
    return count_pairs(L, a) == count_pairs(L, b);
}

/* Runs protected, so that an error that Lua raises shows. The bytes are the string at 1. */
static int round_trip(lua_State *L)
{
    size_t size;
    const char *bytes = lua_tolstring(L, 1, &size);

    if (ctx_unpack(L, bytes, size) != 1) {
        HOLDS(lua_gettop(L) == 3 && lua_isnil(L, 2) && lua_isstring(L, 3));
        return 0;
    }
    HOLDS(lua_gettop(L) == 2);
    HOLDS(ctx_pack(L, 2) == 1);
    size_t packed_size;
    const char *packed = lua_tolstring(L, 3, &packed_size);
    HOLDS(packed_size <= size);
    HOLDS(ctx_unpack(L, packed, packed_size) == 1);
    HOLDS(lua_gettop(L) == 4 && same(L, 2, 4));
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    lua_State *L = fuzz_lua();

    /* an allocation of just that size, so that the sanitizer sees a read past it: a Lua string has a NUL
     * there */
    char *copy = malloc(size);
    if (copy == NULL) {
        return 0;
    }
    memcpy(copy, data, size);
    ctx_unpack(L, copy, size);
    free(copy);
    lua_settop(L, 0);
    lua_pushcfunction(L, round_trip);
    lua_pushlstring(L, (const char *)data, size);
    if (lua_pcall(L, 1, 0, 0) != LUA_OK) {
        fprintf(stderr, "raised: %s\n", lua_tostring(L, -1));
        abort();
    }
    return 0;
}
