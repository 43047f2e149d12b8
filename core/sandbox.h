/* Plain Lua values as bytes: what goes between a program and the sandbox process that runs its policies. */
#ifndef CTREXEC_SANDBOX_H
#define CTREXEC_SANDBOX_H

#include <lua.h>
#include <stddef.h>

/* The largest packed value, and how deep its tables may be nested. */
enum { CTX_PACKED_MAX = 16 * 1024 * 1024, CTX_PACKED_DEPTH = 64 };

/* Pushes the packed form of the value at `index` as a string and returns 1; or, when it holds what cannot be
 * packed (a function, a cycle, too much), pushes nil and a message that names the place by path and
 * returns 2. */
int ctx_pack(lua_State *L, int index);

/* Pushes the value that `bytes` hold and returns 1; or pushes nil and a message and returns 2. The bytes may
 * be hostile. */
int ctx_unpack(lua_State *L, const char *bytes, size_t length);

#endif
