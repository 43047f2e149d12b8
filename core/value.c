/***
Plain Lua values as bytes: for another process, or for a file.

A plain value is nil, a boolean, a number, a string or a table of such. Packing takes two passes: the first
finds the size and whatever cannot be packed, the second fills one buffer of that size, so that there is
nothing to free when Lua raises an error in between.

@module ctrexec.core.value
*/
#include "value.h"
#include "core.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum tag { TAG_NIL, TAG_FALSE, TAG_TRUE, TAG_INTEGER, TAG_FLOAT, TAG_STRING, TAG_TABLE };

/* A table is its tag, the length of its array part (a hint for the reader), and pairs up to a nil key. */
enum { TAG_SIZE = 1, NUMBER_SIZE = TAG_SIZE + 8, COUNT_SIZE = TAG_SIZE + 4 };

struct writer {
    char *next;
};

struct reader {
    const char *next;
    const char *end;
};

/* Puts the key at the top before the message below it: "args" and "[1]: ..." become ".args[1]: ...". */
static void prefix_key(lua_State *L, int key)
{
    const char *message = lua_tostring(L, -1);
    if (lua_type(L, key) == LUA_TSTRING) {
        lua_pushfstring(L, ".%s%s", lua_tostring(L, key), message);
    } else if (lua_isinteger(L, key)) {
        lua_pushfstring(L, "[%I]%s", (LUAI_UACINT)lua_tointeger(L, key), message);
    } else {
        lua_pushfstring(L, "[%s]%s", luaL_typename(L, key), message);
    }
    lua_remove(L, -2);
}

static bool measure(lua_State *L, int index, int depth, size_t *size);

/* Leaves a message on the stack when it returns false. */
static bool measure_table(lua_State *L, int index, int depth, size_t *size)
{
    if (depth == CTX_PACKED_DEPTH || !lua_checkstack(L, 8)) {
        lua_pushliteral(L, ": nested too deeply");
        return false;
    }
    *size += COUNT_SIZE + TAG_SIZE;
    lua_pushnil(L);
    while (lua_next(L, index)) {
        int key = lua_gettop(L) - 1;
        if (!measure(L, key, depth + 1, size) || !measure(L, key + 1, depth + 1, size)) {
            prefix_key(L, key);
            lua_replace(L, key);
            lua_settop(L, key);
            return false;
        }
        lua_pop(L, 1);
    }
    return true;
}

static bool measure(lua_State *L, int index, int depth, size_t *size)
{
    switch (lua_type(L, index)) {
    case LUA_TNIL:
    case LUA_TBOOLEAN:
        *size += TAG_SIZE;
        break;
    case LUA_TNUMBER:
        *size += NUMBER_SIZE;
        break;
    case LUA_TSTRING:
        *size += COUNT_SIZE + lua_rawlen(L, index);
        break;
    case LUA_TTABLE:
        if (!measure_table(L, index, depth, size)) {
            return false;
        }
        break;
    default:
        lua_pushfstring(L, ": a %s is not a plain value", luaL_typename(L, index));
        return false;
    }
    /* This also ends the packing of a small table that refers to itself many times. */
    if (*size > CTX_PACKED_MAX) {
        lua_pushliteral(L, ": too large");
        return false;
    }
    return true;
}

static void put(struct writer *writer, const void *bytes, size_t length)
{
    memcpy(writer->next, bytes, length);
    writer->next += length;
}

static void put_tag(struct writer *writer, enum tag tag)
{
    *writer->next++ = (char)tag;
}

static void put_count(struct writer *writer, enum tag tag, size_t count)
{
    uint32_t number = (uint32_t)count;
    put_tag(writer, tag);
    put(writer, &number, sizeof(number));
}

static void put_number(lua_State *L, int index, struct writer *writer)
{
    if (lua_isinteger(L, index)) {
        int64_t integer = lua_tointeger(L, index);
        put_tag(writer, TAG_INTEGER);
        put(writer, &integer, sizeof(integer));
    } else {
        double number = lua_tonumber(L, index);
        put_tag(writer, TAG_FLOAT);
        put(writer, &number, sizeof(number));
    }
}

static void write_value(lua_State *L, int index, struct writer *writer);

static void write_table(lua_State *L, int index, struct writer *writer)
{
    size_t length = lua_rawlen(L, index);
    put_count(writer, TAG_TABLE, length < CTX_PACKED_MAX ? length : 0);
    lua_pushnil(L);
    while (lua_next(L, index)) {
        int key = lua_gettop(L) - 1;
        write_value(L, key, writer);
        write_value(L, key + 1, writer);
        lua_pop(L, 1);
    }
    put_tag(writer, TAG_NIL);
}

static void write_value(lua_State *L, int index, struct writer *writer)
{
    size_t length = 0;
    const char *bytes = NULL;
    switch (lua_type(L, index)) {
    case LUA_TBOOLEAN:
        put_tag(writer, lua_toboolean(L, index) ? TAG_TRUE : TAG_FALSE);
        break;
    case LUA_TNUMBER:
        put_number(L, index, writer);
        break;
    case LUA_TSTRING:
        bytes = lua_tolstring(L, index, &length);
        put_count(writer, TAG_STRING, length);
        put(writer, bytes, length);
        break;
    case LUA_TTABLE:
        write_table(L, index, writer);
        break;
    default:
        put_tag(writer, TAG_NIL);
        break;
    }
}

const char *ctx_pack_into(lua_State *L, int index, char *room, size_t *length)
{
    struct writer writer = {.next = room};
    char *bytes = room;
    size_t size = 0;
    luaL_checkstack(L, 8, "pack");
    index = lua_absindex(L, index);
    if (!measure(L, index, 0, &size)) {
        lua_pushnil(L);
        lua_insert(L, -2);
        return NULL;
    }
    if (size > CTX_PACKED_ROOM) {
        bytes = lua_newuserdatauv(L, size, 0);
        writer.next = bytes;
    }
    write_value(L, index, &writer);
    *length = size;
    return bytes;
}

int ctx_pack(lua_State *L, int index)
{
    char room[CTX_PACKED_ROOM];
    size_t length = 0;
    const char *bytes = ctx_pack_into(L, index, room, &length);
    if (!bytes) {
        return 2;
    }
    lua_pushlstring(L, bytes, length);
    if (bytes != room) {
        lua_remove(L, -2);
    }
    return 1;
}

/* The tables of a value that were seen, as far as they fit. */
struct visited {
    const void *tables[128];
    size_t count;
};

/* False for a table that was seen before, and when there is no more room: the value then counts as
 * changed. */
static bool visit(struct visited *visited, const void *table)
{
    for (size_t i = 0; i < visited->count; i++) {
        if (visited->tables[i] == table) {
            return false;
        }
    }
    if (visited->count == sizeof(visited->tables) / sizeof(*visited->tables)) {
        return false;
    }
    visited->tables[visited->count++] = table;
    return true;
}

static bool take(struct reader *reader, void *into, size_t length)
{
    if ((size_t)(reader->end - reader->next) < length) {
        return false;
    }
    memcpy(into, reader->next, length);
    reader->next += length;
    return true;
}

static bool matches(lua_State *L, int index, struct reader *reader, struct visited *visited);

static bool matches_string(lua_State *L, int index, struct reader *reader)
{
    uint32_t expected = 0;
    if (lua_type(L, index) != LUA_TSTRING || !take(reader, &expected, sizeof(expected))) {
        return false;
    }
    size_t length = 0;
    const char *bytes = lua_tolstring(L, index, &length);
    if (length != expected || (size_t)(reader->end - reader->next) < length ||
        memcmp(bytes, reader->next, length) != 0) {
        return false;
    }
    reader->next += length;
    return true;
}

/* Compares in the order of lua_next, in which the table was packed. A table that was changed and changed back
 * may have another order, and counts as changed. */
static bool matches_table(lua_State *L, int index, struct reader *reader, struct visited *visited)
{
    int key = lua_gettop(L) + 1;
    uint32_t length = 0;
    if (!lua_istable(L, index) || !lua_checkstack(L, 8) || !visit(visited, lua_topointer(L, index)) ||
        !take(reader, &length, sizeof(length))) {
        return false;
    }
    if (lua_getmetatable(L, index)) {
        return false;
    }
    lua_pushnil(L);
    while (lua_next(L, index)) {
        if (!matches(L, key, reader, visited) || !matches(L, key + 1, reader, visited)) {
            return false;
        }
        lua_pop(L, 1);
    }
    lua_pushnil(L);
    if (!matches(L, key, reader, visited)) {
        return false;
    }
    lua_pop(L, 1);
    return true;
}

static bool matches(lua_State *L, int index, struct reader *reader, struct visited *visited)
{
    unsigned char tag = 0;
    if (!take(reader, &tag, sizeof(tag))) {
        return false;
    }
    int64_t integer = 0;
    double number = 0;
    double value = 0;
    switch (tag) {
    case TAG_NIL:
        return lua_isnil(L, index);
    case TAG_FALSE:
    case TAG_TRUE:
        return lua_isboolean(L, index) && lua_toboolean(L, index) == (tag == TAG_TRUE);
    case TAG_INTEGER:
        return lua_isinteger(L, index) && take(reader, &integer, sizeof(integer)) &&
               lua_tointeger(L, index) == integer;
    case TAG_FLOAT:
        value = lua_tonumber(L, index);
        return lua_type(L, index) == LUA_TNUMBER && !lua_isinteger(L, index) &&
               take(reader, &number, sizeof(number)) && value == number;
    case TAG_STRING:
        return matches_string(L, index, reader);
    default:
        return matches_table(L, index, reader, visited);
    }
}

bool ctx_untouched(lua_State *L, int value, const char *bytes, size_t length)
{
    struct visited visited = {.count = 0};
    struct reader reader = {.next = bytes, .end = bytes + length};
    int top = lua_gettop(L);
    bool result = matches(L, lua_absindex(L, value), &reader, &visited) && reader.next == reader.end;
    lua_settop(L, top);
    return result;
}

static bool read_value(lua_State *L, struct reader *reader, int depth);

static bool read_string(lua_State *L, struct reader *reader)
{
    uint32_t length = 0;
    if (!take(reader, &length, sizeof(length)) || (size_t)(reader->end - reader->next) < length) {
        return false;
    }
    lua_pushlstring(L, reader->next, length);
    reader->next += length;
    return true;
}

static bool read_number(lua_State *L, struct reader *reader, enum tag tag)
{
    int64_t integer = 0;
    if (tag == TAG_INTEGER && take(reader, &integer, sizeof(integer))) {
        lua_pushinteger(L, integer);
        return true;
    }
    double number = 0;
    if (tag == TAG_FLOAT && take(reader, &number, sizeof(number))) {
        lua_pushnumber(L, number);
        return true;
    }
    return false;
}

/* Lua raises an error for a NaN as a key; there is none in what this file writes. */
static bool usable_key(lua_State *L)
{
    return lua_type(L, -1) != LUA_TNUMBER || lua_rawequal(L, -1, -1);
}

static bool read_table(lua_State *L, struct reader *reader, int depth)
{
    uint32_t length = 0;
    /* Every element takes two bytes or more, so the hint cannot ask for more memory than the size of the
     * message justifies. */
    if (depth == CTX_PACKED_DEPTH || !take(reader, &length, sizeof(length)) ||
        length > (size_t)(reader->end - reader->next) / 2) {
        return false;
    }
    lua_createtable(L, (int)length, 0);
    for (;;) {
        if (!read_value(L, reader, depth + 1) || !usable_key(L)) {
            return false;
        }
        if (lua_isnil(L, -1)) {
            lua_pop(L, 1);
            return true;
        }
        if (!read_value(L, reader, depth + 1)) {
            return false;
        }
        lua_rawset(L, -3);
    }
}

static bool read_value(lua_State *L, struct reader *reader, int depth)
{
    unsigned char tag = 0;
    if (!lua_checkstack(L, 4) || !take(reader, &tag, sizeof(tag))) {
        return false;
    }
    switch (tag) {
    case TAG_NIL:
        lua_pushnil(L);
        return true;
    case TAG_FALSE:
    case TAG_TRUE:
        lua_pushboolean(L, tag == TAG_TRUE);
        return true;
    case TAG_INTEGER:
    case TAG_FLOAT:
        return read_number(L, reader, tag);
    case TAG_STRING:
        return read_string(L, reader);
    case TAG_TABLE:
        return read_table(L, reader, depth);
    default:
        return false;
    }
}

int ctx_unpack(lua_State *L, const char *bytes, size_t length)
{
    struct reader reader = {.next = bytes, .end = bytes + length};
    int top = lua_gettop(L);
    if (read_value(L, &reader, 0) && reader.next == reader.end) {
        return 1;
    }
    lua_settop(L, top);
    lua_pushnil(L);
    lua_pushliteral(L, "malformed packed value");
    return 2;
}

/***
Packs a plain value.
@function pack
@param value nil, a boolean, a number, a string or a table of such
@treturn[1] string the bytes; the same for a table that has not been changed in between
@return[2] nil
@treturn[2] string what cannot be packed, as `.args[1]: a function is not a plain value`
*/
int ctx_value_pack(lua_State *L)
{
    luaL_checkany(L, 1);
    return ctx_pack(L, 1);
}

/***
Unpacks what `pack` made. The bytes may be hostile.
@function unpack
@string bytes
@return[1] the value
@return[2] nil
@treturn[2] string error message
*/
int ctx_value_unpack(lua_State *L)
{
    size_t length = 0;
    const char *bytes = luaL_checklstring(L, 1, &length);
    return ctx_unpack(L, bytes, length);
}

int ctx_open_value(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"pack", ctx_value_pack}, {"unpack", ctx_value_unpack}, {NULL, NULL}};
    luaL_newlib(L, functions);
    return 1;
}
