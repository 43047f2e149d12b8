/* An OCI seccomp profile is compiled or refused. The kernel takes every compiled program; and to each of the
 * machine's system calls that the profile names without conditions and without contradictions, the program
 * gives the profile's answer. */
#include "seccomp.h"
#include "../../core/filter.h"
#include "fuzz.h"
#include "json.h"

#include <errno.h>
#include <seccomp.h>
#include <string.h>

int luaopen_ctrexec_core_seccomp(lua_State *L);

enum { LAST_CALL = 512 };

/* What the profile says of each call. */
struct expected {
    bool named;   /* some entry has the name */
    bool unclear; /* conditions, or two answers: libseccomp decides */
    uint32_t action;
};

/* The action of an entry or, with "defaultAction", of the profile; the names were accepted by the compiler.
 */
static uint32_t action_of(lua_State *L, int table, const char *field, const char *errno_field)
{
    static const struct {
        const char *name;
        uint32_t value;
    } actions[] = {
        {"SCMP_ACT_ALLOW", SECCOMP_RET_ALLOW},
        {"SCMP_ACT_ERRNO", SECCOMP_RET_ERRNO},
        {"SCMP_ACT_KILL", SECCOMP_RET_KILL_THREAD},
        {"SCMP_ACT_KILL_PROCESS", SECCOMP_RET_KILL_PROCESS},
        {"SCMP_ACT_KILL_THREAD", SECCOMP_RET_KILL_THREAD},
        {"SCMP_ACT_LOG", SECCOMP_RET_LOG},
        {"SCMP_ACT_NOTIFY", SECCOMP_RET_USER_NOTIF},
        {"SCMP_ACT_TRACE", SECCOMP_RET_TRACE},
        {"SCMP_ACT_TRAP", SECCOMP_RET_TRAP},
    };
    uint32_t action = 0;

    lua_getfield(L, table, field);
    for (size_t i = 0; i < sizeof(actions) / sizeof(*actions); i++) {
        if (strcmp(lua_tostring(L, -1), actions[i].name) == 0) {
            action = actions[i].value;
        }
    }
    lua_getfield(L, table, errno_field);
    if (action == SECCOMP_RET_ERRNO || action == SECCOMP_RET_TRACE) {
        action |= lua_isnil(L, -1) ? EPERM : (uint32_t)lua_tointeger(L, -1);
    }
    lua_pop(L, 2);
    return action;
}

/* Notes what one entry says, and the highest number that it names. */
static void read_entry(lua_State *L, struct expected calls[LAST_CALL], int *last)
{
    const int entry = lua_gettop(L);
    const uint32_t action = action_of(L, entry, "action", "errnoRet");

    lua_getfield(L, entry, "args");
    const bool conditional = lua_istable(L, -1) && lua_rawlen(L, -1) > 0;
    lua_getfield(L, entry, "names");
    for (lua_Integer i = 1; lua_istable(L, -1) && i <= luaL_len(L, -1); i++) {
        lua_rawgeti(L, -1, i);
        const int number = seccomp_syscall_resolve_name(lua_tostring(L, -1));
        lua_pop(L, 1);
        *last = number > *last ? number : *last;
        if (number >= 0 && number < LAST_CALL) {
            struct expected *call = &calls[number];
            call->unclear = call->unclear || conditional || (call->named && call->action != action);
            call->named = true;
            call->action = action;
        }
    }
    lua_settop(L, entry - 1);
}

/* The profile is at `table`. */
static void check_answers(lua_State *L, int table, const struct sock_filter *code, size_t count)
{
    struct expected calls[LAST_CALL] = {0};
    const uint32_t otherwise = action_of(L, table, "defaultAction", "defaultErrnoRet");
    const uint32_t kind = otherwise & SECCOMP_RET_ACTION_FULL;
    const bool refuses = kind != SECCOMP_RET_ALLOW && kind != SECCOMP_RET_LOG && kind != SECCOMP_RET_TRACE;
    int last = 0;

    lua_getfield(L, table, "syscalls");
    for (lua_Integer i = 1; lua_istable(L, -1) && i <= luaL_len(L, -1); i++) {
        lua_rawgeti(L, -1, i);
        read_entry(L, calls, &last);
    }
    for (int number = 0; number < LAST_CALL; number++) {
        const struct seccomp_data call = {.nr = number, .arch = seccomp_arch_native()};
        const uint32_t answer = ctx_filter_run(code, count, &call);
        const uint32_t unknown =
            refuses && last > 0 && number > last ? SECCOMP_RET_ERRNO | ENOSYS : otherwise;
        HOLDS(calls[number].unclear || answer == (calls[number].named ? calls[number].action : unknown));
    }
}

static void check_program(lua_State *L)
{
    size_t size;
    HOLDS(lua_getfield(L, 2, "program") == LUA_TSTRING);
    const char *bytes = lua_tolstring(L, -1, &size);
    struct sock_filter *code = malloc(size);

    HOLDS(size > 0 && size % sizeof(*code) == 0 && size / sizeof(*code) <= BPF_MAXINSNS && code != NULL);
    memcpy(code, bytes, size);
    HOLDS(kernel_takes(code, size / sizeof(*code)));
    check_answers(L, 1, code, size / sizeof(*code));
    free(code);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    lua_State *L = fuzz_lua();

    lua_settop(L, 0);
    if (!push_document(L, data, size)) {
        return 0;
    }
    luaopen_ctrexec_core_seccomp(L);
    lua_getfield(L, 2, "compile");
    lua_remove(L, 2);
    lua_pushvalue(L, 1);
    HOLDS(lua_pcall(L, 1, 3, 0) == LUA_OK);
    if (lua_istable(L, 2)) {
        check_program(L);
    } else {
        HOLDS(lua_isnil(L, 2) && lua_type(L, 3) == LUA_TSTRING && lua_isinteger(L, 4));
    }
    lua_settop(L, 0);
    return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
    return mutate_document(data, size, max_size, seed);
}
