/***
The core module: what a Lua program cannot do without C, and nothing that decides anything.

It is a table of tables, one a kernel primitive: `core.fd`, `core.pidfd` and so on. A call that fails returns
nil, a message and the errno; a wrong argument raises an error. `core.VERSION` is ctrexec's version, as
"0.1.0".

@module ctrexec.core
*/
#include "core.h"

__attribute__((visibility("default"))) int luaopen_ctrexec_core(lua_State *L)
{
    static const luaL_Reg primitives[] = {
        {"background", ctx_open_background},
        {"capability", ctx_open_capability},
        {"cgroup", ctx_open_cgroup},
        {"clock", ctx_open_clock},
        {"datagram", ctx_open_datagram},
        {"errno", ctx_open_errno},
        {"fd", ctx_open_fd},
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
    const size_t count = sizeof(primitives) / sizeof(*primitives);
    lua_createtable(L, 0, (int)count + 1);
    lua_pushliteral(L, CTX_VERSION);
    lua_setfield(L, -2, "VERSION");
    for (size_t i = 0; i < count; i++) {
        primitives[i].func(L);
        lua_setfield(L, -2, primitives[i].name);
    }
    return 1;
}
