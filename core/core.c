/***
The core module: what a Lua program cannot do without C. It makes no decisions.

It is a table of tables, one for each kernel primitive: `core.fd`, `core.pidfd` and so on. A call that fails
returns nil, a message and the errno; a wrong argument raises an error. `core.VERSION` is ctrexec's version,
as "0.1.0".

@module ctrexec.core
*/
#include <string.h>

#include "core.h"

static const luaL_Reg primitives[] = {
    {"background", ctx_open_background},
    {"capability", ctx_open_capability},
    {"cgroup", ctx_open_cgroup},
    {"clock", ctx_open_clock},
    {"datagram", ctx_open_datagram},
    {"errno", ctx_open_errno},
    {"fdpass", ctx_open_fdpass},
    {"file", ctx_open_file},
    {"kernel", ctx_open_kernel},
    {"mount", ctx_open_mount},
    {"namespace", ctx_open_namespace},
    {"pidfd", ctx_open_pidfd},
    {"poll", ctx_open_poll},
    {"precompiled", ctx_open_precompiled},
    {"process", ctx_open_process},
    {"program", ctx_open_program},
    {"recorder", ctx_open_recorder},
    {"relay", ctx_open_relay},
    {"sandbox", ctx_open_sandbox},
    {"signal", ctx_open_signal},
    {"spawn", ctx_open_spawn},
    {"terminal", ctx_open_terminal},
    {"value", ctx_open_value},
};

/* A primitive's table is made when it is first named: a short-lived program needs half of them. */
static int open_primitive(lua_State *L)
{
    const char *name = luaL_checkstring(L, 2);
    const size_t count = sizeof(primitives) / sizeof(*primitives);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(primitives[i].name, name) == 0) {
            primitives[i].func(L);
            lua_pushvalue(L, -1);
            lua_setfield(L, 1, name);
            return 1;
        }
    }
    return 0;
}

__attribute__((visibility("default"))) int luaopen_ctrexec_core(lua_State *L)
{
    lua_newtable(L);
    lua_pushliteral(L, CTX_VERSION);
    lua_setfield(L, -2, "VERSION");
    ctx_open_fd(L); /* first, because the other primitives return its objects */
    lua_setfield(L, -2, "fd");
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, open_primitive);
    lua_setfield(L, -2, "__index");
    lua_setmetatable(L, -2);
    return 1;
}
