/* A plan's table is packed or refused with an error; what is packed passes the helper's own check, and says
 * what the table says. The input is the table as JSON; "seccomp" is any string. */
#include "../../core/pack.h"
#include "fuzz.h"
#include "json.h"

#include <string.h>
#include <unistd.h>

struct packing {
    struct plan plan;
    struct ctx_passed passed;
};

/* Leaves the data behind the structure, a string, on the stack. */
static int pack(lua_State *L)
{
    struct packing *packing = lua_touserdata(L, 2);

    ctx_pack_plan(L, 1, &packing->plan, &packing->passed);
    return 1;
}

/* The strings of a list are those of the table's array. */
static void check_strings(lua_State *L, const struct plan *plan, struct plan_list list, const char *name)
{
    const uint64_t *offsets = plan_list(plan, list);

    lua_getfield(L, 1, name);
    HOLDS(list.count == (lua_isnil(L, -1) ? 0 : lua_rawlen(L, -1)));
    for (uint32_t i = 0; i < list.count; i++) {
        lua_rawgeti(L, -1, i + 1);
        HOLDS(strcmp((const char *)plan + offsets[i], lua_tostring(L, -1)) == 0);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

static void check_text(lua_State *L, const struct plan *plan, struct plan_text text, const char *name)
{
    const char *packed = plan_text(plan, text);

    lua_getfield(L, 1, name);
    HOLDS((packed == NULL) == lua_isnil(L, -1));
    HOLDS(packed == NULL || strcmp(packed, lua_tostring(L, -1)) == 0);
    lua_pop(L, 1);
}

static void check_block(lua_State *L, const struct plan *head, const char *data, size_t size)
{
    struct plan *plan = malloc(sizeof(*plan) + size);

    HOLDS(plan != NULL);
    memcpy(plan, head, sizeof(*plan));
    memcpy(plan + 1, data, size);
    HOLDS(plan_check(plan, sizeof(*plan) + size));
    check_strings(L, plan, plan->args, "args");
    check_strings(L, plan, plan->env, "env");
    check_text(L, plan, plan->cwd, "cwd");
    check_text(L, plan, plan->path, "path");
    check_text(L, plan, plan->keyring, "keyring");
    check_text(L, plan, plan->exec_label, "exec_label");
    free(plan);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    lua_State *L = fuzz_lua();
    struct packing *packing = calloc(1, sizeof(*packing));

    lua_settop(L, 0);
    if (packing == NULL || !push_document(L, data, size)) {
        free(packing);
        return 0;
    }
    lua_pushcfunction(L, pack);
    lua_pushvalue(L, 1);
    lua_pushlightuserdata(L, packing);
    if (lua_pcall(L, 2, 1, 0) == LUA_OK) {
        size_t length;
        const char *bytes = lua_tolstring(L, 2, &length);
        check_block(L, &packing->plan, bytes, length);
    } else {
        HOLDS(lua_type(L, 2) == LUA_TSTRING);
    }
    for (unsigned i = 0; i < packing->passed.copy_count; i++) {
        close(packing->passed.copies[i]);
    }
    lua_settop(L, 0);
    free(packing);
    return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
    return mutate_document(data, size, max_size, seed);
}
