/* Plain Lua values as bytes. */
#ifndef CTREXEC_VALUE_H
#define CTREXEC_VALUE_H

#include <lua.h>
#include <stdbool.h>
#include <stddef.h>

/* The largest packed value, and how deep its tables may be nested. */
enum { CTX_PACKED_MAX = 16 * 1024 * 1024, CTX_PACKED_DEPTH = 64 };

/* Pushes the packed form of the value at `index` as a string and returns 1; or, when it holds what cannot be
 * packed (a function, a cycle, too much), pushes nil and a message that names the place by path and
 * returns 2. */
int ctx_pack(lua_State *L, int index);

/* The size of a buffer that most values fit into. On the stack it costs nothing, while two large blocks for
 * each message would make malloc(3) tidy up each time. */
enum { CTX_PACKED_ROOM = 8192 };

/* As `ctx_pack`, but gives the bytes: in `room`, CTX_PACKED_ROOM bytes, or in a userdata that it pushes. NULL
 * when it has pushed nil and a message. */
const char *ctx_pack_into(lua_State *L, int index, char *room, size_t *length);

/* Whether a value is as it was when `ctx_pack` made these bytes of it, with nothing hidden in it: no
 * metatable and no table that occurs twice. It may say no without reason: of a very large value, or of one
 * that was changed and changed back. */
bool ctx_untouched(lua_State *L, int value, const char *bytes, size_t length);

/* Pushes the value that `bytes` hold and returns 1; or pushes nil and a message and returns 2. The bytes may
 * be hostile. */
int ctx_unpack(lua_State *L, const char *bytes, size_t length);

/* The bindings `pack` and `unpack`, which the sandbox gives to its chunk as well. */
int ctx_value_pack(lua_State *L);
int ctx_value_unpack(lua_State *L);

#endif
