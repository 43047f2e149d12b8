/* Packing a plan: from the table of lua/ctrexec/exec/plan.lua to the block that the helper reads. */
#include "pack.h"
#include "filter.h"

#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <string.h>

#define STRING_MAX (32 << 20)

/* The block grows in a Lua buffer, so that an error raised half-way leaks nothing. `table` is the stack index
 * of the plan table; the buffer must stay on top of the stack between two additions. */
struct packer {
    lua_State *L;
    int table;
    luaL_Buffer data;
    struct plan plan;
};

/* Raises an error, like luaL_error. */
static void bad_field(lua_State *L, const char *name, const char *expected)
{
    luaL_error(L, "plan.%s: expected %s", name, expected);
}

static uint32_t position(const struct packer *packer)
{
    return (uint32_t)(sizeof(struct plan) + luaL_bufflen(&packer->data));
}

static void align(struct packer *packer)
{
    while (position(packer) % 8 != 0) {
        luaL_addchar(&packer->data, '\0');
    }
}

static lua_Integer integer_field(lua_State *L, int table, const char *name, lua_Integer otherwise)
{
    lua_getfield(L, table, name);
    int is_integer = 1;
    lua_Integer value = lua_isnil(L, -1) ? otherwise : lua_tointegerx(L, -1, &is_integer);
    if (!is_integer) {
        bad_field(L, name, "an integer");
    }
    lua_pop(L, 1);
    return value;
}

static bool flag_field(const struct packer *packer, const char *name)
{
    lua_getfield(packer->L, packer->table, name);
    bool value = lua_toboolean(packer->L, -1);
    lua_pop(packer->L, 1);
    return value;
}

int ctx_fd_field(lua_State *L, int table, const char *name)
{
    lua_getfield(L, table, name);
    int fd = ctx_opt_fd(L, lua_gettop(L));
    lua_pop(L, 1);
    return fd;
}

/* The string on the top of the stack, proven to be one without NUL and of sane size; it stays there. */
static const char *text_on_top(lua_State *L, const char *name, size_t *length)
{
    if (lua_type(L, -1) != LUA_TSTRING) {
        bad_field(L, name, "a string");
    }
    const char *text = lua_tolstring(L, -1, length);
    if (memchr(text, '\0', *length) != NULL) {
        bad_field(L, name, "no NUL byte");
    }
    if (*length > STRING_MAX) {
        bad_field(L, name, "a shorter string");
    }
    return text;
}

/* Appends the string on the top of the stack (above the buffer) and pops it. */
static void append_top(struct packer *packer)
{
    luaL_addvalue(&packer->data);
    luaL_addchar(&packer->data, '\0');
}

/* Appends the string, or nothing for nil, that is on the top of the stack and pops it. */
static struct plan_text text_from_top(struct packer *packer, const char *name)
{
    struct plan_text text = {0};
    if (lua_isnil(packer->L, -1)) {
        lua_pop(packer->L, 1);
        return text;
    }
    size_t length = 0;
    text_on_top(packer->L, name, &length);
    text.offset = position(packer);
    text.length = (uint32_t)length;
    append_top(packer);
    return text;
}

static struct plan_text text_field(struct packer *packer, const char *name)
{
    lua_getfield(packer->L, packer->table, name);
    return text_from_top(packer, name);
}

/* Pushes the array field `name`, and returns its stack index and its length; an absent field is an empty
 * array. Only before the buffer is begun, see pack(): afterwards the buffer must be on top of the stack. */
static int array_field(lua_State *L, int table, const char *name, uint32_t *count)
{
    lua_getfield(L, table, name);
    if (!lua_isnil(L, -1) && !lua_istable(L, -1)) {
        bad_field(L, name, "an array");
    }
    lua_Unsigned length = lua_isnil(L, -1) ? 0 : lua_rawlen(L, -1);
    if (length > PLAN_MAX_SIZE / 8) {
        bad_field(L, name, "a shorter array");
    }
    *count = (uint32_t)length;
    return lua_gettop(L);
}

/* Packs the strings first, then their offsets. Both passes see the same array, because no Lua code runs in
 * between. */
static struct plan_list strings(struct packer *packer, int array, uint32_t count, uint32_t spare,
                                const char *name)
{
    lua_State *L = packer->L;
    uint64_t at = position(packer);
    for (uint32_t i = 1; i <= count; i++) {
        lua_rawgeti(L, array, i);
        size_t length = 0;
        text_on_top(L, name, &length);
        append_top(packer);
        if (position(packer) > PLAN_MAX_SIZE / 2) {
            bad_field(L, name, "a shorter list");
        }
    }
    align(packer);
    const struct plan_list list = {.offset = position(packer), .count = count};
    for (uint32_t i = 1; i <= count; i++) {
        lua_rawgeti(L, array, i);
        const uint64_t offset = at;
        at += lua_rawlen(L, -1) + 1;
        lua_pop(L, 1);
        luaL_addlstring(&packer->data, (const char *)&offset, sizeof(offset));
    }
    const uint64_t zero = 0;
    for (uint32_t i = 0; i < spare; i++) {
        luaL_addlstring(&packer->data, (const char *)&zero, sizeof(zero));
    }
    return list;
}

static lua_Integer element_integer(lua_State *L, int array, uint32_t index, const char *name)
{
    lua_rawgeti(L, array, index);
    int is_integer = 0;
    lua_Integer value = lua_tointegerx(L, -1, &is_integer);
    if (!is_integer) {
        bad_field(L, name, "integers");
    }
    lua_pop(L, 1);
    return value;
}

/* An array of integers, `width` bytes each. */
static struct plan_list integers(struct packer *packer, int array, uint32_t count, size_t width,
                                 const char *name)
{
    struct plan_list list = {0};
    if (count == 0) {
        return list;
    }
    align(packer);
    list.offset = position(packer);
    list.count = count;
    for (uint32_t i = 1; i <= count; i++) {
        const uint64_t value = (uint64_t)element_integer(packer->L, array, i, name);
        const uint32_t narrow = (uint32_t)value;
        if (width == sizeof(narrow)) {
            luaL_addlstring(&packer->data, (const char *)&narrow, sizeof(narrow));
        } else {
            luaL_addlstring(&packer->data, (const char *)&value, sizeof(value));
        }
    }
    return list;
}

static struct plan_list rlimits(struct packer *packer, int array, uint32_t count)
{
    lua_State *L = packer->L;
    struct plan_list list = {0};
    if (count == 0) {
        return list;
    }
    align(packer);
    list.offset = position(packer);
    list.count = count;
    for (uint32_t i = 1; i <= count; i++) {
        lua_rawgeti(L, array, i);
        if (!lua_istable(L, -1)) {
            bad_field(L, "rlimits", "tables");
        }
        const int entry = lua_gettop(L);
        const struct plan_rlimit limit = {
            .resource = (uint32_t)integer_field(L, entry, "resource", -1),
            .soft = (uint64_t)integer_field(L, entry, "soft", 0),
            .hard = (uint64_t)integer_field(L, entry, "hard", 0),
        };
        lua_pop(L, 1);
        luaL_addlstring(&packer->data, (const char *)&limit, sizeof(limit));
    }
    return list;
}

static struct plan_list bytes(struct packer *packer, int string)
{
    struct plan_list list = {0};
    size_t length = 0;
    const char *data = lua_tolstring(packer->L, string, &length);
    if (data == NULL || length == 0) {
        return list;
    }
    if (length % 8 != 0 || length / 8 > USHRT_MAX) {
        bad_field(packer->L, "seccomp", "a BPF program");
    }
    align(packer);
    list.offset = position(packer);
    list.count = (uint32_t)(length / 8);
    luaL_addlstring(&packer->data, data, length);
    return list;
}

int ctx_above_stdio(lua_State *L, struct ctx_passed *passed, int fd)
{
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (copy < 0 || passed->copy_count == sizeof(passed->copies) / sizeof(passed->copies[0])) {
        luaL_error(L, "plan: descriptor %d cannot be copied", fd);
    }
    passed->copies[passed->copy_count++] = copy;
    return copy;
}

int ctx_pass(lua_State *L, struct ctx_passed *passed, int fd)
{
    if (fd < 0) {
        return fd;
    }
    if (fd <= 2) {
        fd = ctx_above_stdio(L, passed, fd);
    }
    if (passed->count == PLAN_MAX_FDS) {
        luaL_error(L, "plan: more than %d descriptors", (int)PLAN_MAX_FDS);
    }
    passed->fds[passed->count++] = fd;
    return fd;
}

/* Packs an array of descriptors as int32, and adds each to `passed`. */
static struct plan_list descriptors(struct packer *packer, int array, uint32_t count,
                                    struct ctx_passed *passed)
{
    lua_State *L = packer->L;
    struct plan_list list = {0};
    if (count == 0) {
        return list;
    }
    align(packer);
    list.offset = position(packer);
    list.count = count;
    for (uint32_t i = 1; i <= count; i++) {
        lua_rawgeti(L, array, i);
        const int32_t fd = ctx_pass(L, passed, ctx_check_fd(L, lua_gettop(L)));
        lua_pop(L, 1);
        luaL_addlstring(&packer->data, (const char *)&fd, sizeof(fd));
    }
    return list;
}

/* Packs the string field `name` of the table array[index]. Only that string may stand above the buffer. */
static struct plan_text element_text(struct packer *packer, int array, uint32_t index, const char *name)
{
    lua_rawgeti(packer->L, array, index);
    lua_getfield(packer->L, -1, name);
    lua_remove(packer->L, -2);
    return text_from_top(packer, name);
}

/* Strings first, then the entries that point at them. */
static struct plan_list mounts(struct packer *packer, int array, uint32_t count, struct ctx_passed *passed)
{
    lua_State *L = packer->L;
    struct plan_list list = {0};
    if (count == 0) {
        return list;
    }
    struct plan_mount entries[64];
    if (count > sizeof(entries) / sizeof(entries[0])) {
        bad_field(L, "mounts", "at most 64 entries");
    }
    for (uint32_t i = 0; i < count; i++) {
        lua_rawgeti(L, array, i + 1);
        if (!lua_istable(L, -1)) {
            bad_field(L, "mounts", "tables");
        }
        memset(&entries[i], 0, sizeof(entries[i]));
        entries[i].fd = ctx_pass(L, passed, ctx_fd_field(L, lua_gettop(L), "fd"));
        lua_getfield(L, -1, "copy");
        entries[i].copy = (uint32_t)lua_toboolean(L, -1);
        lua_pop(L, 2);
        entries[i].target = element_text(packer, array, i + 1, "target");
        entries[i].links = element_text(packer, array, i + 1, "links");
        if (entries[i].fd < 0 || entries[i].target.offset == 0) {
            bad_field(L, "mounts", "a descriptor and a target in each");
        }
    }
    align(packer);
    list.offset = position(packer);
    list.count = count;
    luaL_addlstring(&packer->data, (const char *)entries, count * sizeof(entries[0]));
    return list;
}

static uint32_t plan_flags(const struct packer *packer)
{
    static const struct {
        const char *name;
        uint32_t flag;
    } booleans[] = {
        {"terminal", PLAN_TERMINAL},
        {"wait", PLAN_WAIT},
        {"no_new_privs", PLAN_NO_NEW_PRIVS},
        {"set_home", PLAN_SET_HOME},
        {"groups_optional", PLAN_GROUPS_OPTIONAL},
        {"skip_groups", PLAN_SKIP_GROUPS},
        {"umask", PLAN_UMASK},
        {"personality", PLAN_PERSONALITY},
        {"oom_score_adj", PLAN_OOM_SCORE_ADJ},
        {"login_uid", PLAN_LOGIN_UID},
        {"scheduler", PLAN_SCHEDULER},
        {"io_priority", PLAN_IO_PRIORITY},
        {"memory_policy", PLAN_MEMORY_POLICY},
        {"seccomp", PLAN_SECCOMP},
        {"seccomp_notify", PLAN_SECCOMP_NOTIFY},
        {"chown_stdio", PLAN_CHOWN_STDIO},
        {"become_root", PLAN_BECOME_ROOT},
    };
    uint32_t flags = 0;
    for (size_t i = 0; i < sizeof(booleans) / sizeof(booleans[0]); i++) {
        if (flag_field(packer, booleans[i].name)) {
            flags |= booleans[i].flag;
        }
    }
    return flags;
}

static void pack_scheduler(struct packer *packer)
{
    lua_State *L = packer->L;
    lua_getfield(L, packer->table, "scheduler");
    if (!lua_isnil(L, -1)) {
        if (!lua_istable(L, -1)) {
            bad_field(L, "scheduler", "a table");
        }
        const int table = lua_gettop(L);
        packer->plan.scheduler = (struct plan_scheduler){
            .policy = (uint32_t)integer_field(L, table, "policy", 0),
            .nice = (int32_t)integer_field(L, table, "nice", 0),
            .flags = (uint64_t)integer_field(L, table, "flags", 0),
            .priority = (uint64_t)integer_field(L, table, "priority", 0),
            .runtime = (uint64_t)integer_field(L, table, "runtime", 0),
            .deadline = (uint64_t)integer_field(L, table, "deadline", 0),
            .period = (uint64_t)integer_field(L, table, "period", 0),
        };
    }
    lua_pop(L, 1);
}

static uint32_t id_field(const struct packer *packer, const char *name)
{
    lua_Integer value = integer_field(packer->L, packer->table, name, 0);
    if (value < 0 || value > UINT32_MAX) {
        bad_field(packer->L, name, "a number from 0 to 4294967295");
    }
    return (uint32_t)value;
}

static void pack_numbers(struct packer *packer)
{
    struct plan *plan = &packer->plan;
    lua_State *L = packer->L;
    const int table = packer->table;
    plan->flags = plan_flags(packer);
    plan->namespaces = id_field(packer, "namespaces");
    plan->preserve_fds = (int32_t)id_field(packer, "preserve_fds");
    if (plan->preserve_fds < 0) {
        bad_field(L, "preserve_fds", "a number of descriptors");
    }
    plan->oom_score_adj = (int32_t)integer_field(L, table, "oom_score_adj", 0);
    plan->login_uid = id_field(packer, "login_uid");
    plan->rows = (uint16_t)id_field(packer, "rows");
    plan->columns = (uint16_t)id_field(packer, "columns");
    plan->umask = id_field(packer, "umask");
    plan->personality = (uint64_t)integer_field(L, table, "personality", 0);
    plan->io_priority = id_field(packer, "io_priority");
    plan->memory_mode = id_field(packer, "memory_policy");
    plan->uid = id_field(packer, "uid");
    plan->gid = id_field(packer, "gid");
    plan->bounding = (uint64_t)integer_field(L, table, "bounding", 0);
    plan->effective = (uint64_t)integer_field(L, table, "effective", 0);
    plan->permitted = (uint64_t)integer_field(L, table, "permitted", 0);
    plan->inheritable = (uint64_t)integer_field(L, table, "inheritable", 0);
    plan->ambient = (uint64_t)integer_field(L, table, "ambient", 0);
    plan->seccomp_flags = (uint64_t)integer_field(L, table, "seccomp_flags", 0);
    pack_scheduler(packer);
}

/* Whether the filter can be installed while the helper still has its privileges. */
static bool is_early(const struct plan *plan, const char *program)
{
    return (plan->flags & PLAN_SECCOMP) != 0 &&
           (plan->flags & (PLAN_NO_NEW_PRIVS | PLAN_SECCOMP_NOTIFY)) == 0 &&
           ctx_filter_lets_enter((const struct sock_filter *)(const void *)program, plan->seccomp.count,
                                 plan);
}

/* The whole plan; the finished data string is left on top of the stack. */
static void pack(struct packer *packer, struct ctx_passed *passed)
{
    struct plan *plan = &packer->plan;
    lua_State *L = packer->L;
    enum { ARGS, ENV, TASKS, RLIMITS, INITIAL, FINAL, NODES, GROUPS, MOUNTS, ARRAYS };
    static const char *const names[ARRAYS] = {
        [ARGS] = "args",
        [ENV] = "env",
        [TASKS] = "tasks",
        [RLIMITS] = "rlimits",
        [INITIAL] = "initial_affinity",
        [FINAL] = "final_affinity",
        [NODES] = "memory_nodes",
        [GROUPS] = "groups",
        [MOUNTS] = "mounts",
    };
    luaL_checkstack(L, ARRAYS + 8, NULL);
    pack_numbers(packer);
    int array[ARRAYS];
    uint32_t count[ARRAYS];
    for (int i = 0; i < ARRAYS; i++) {
        array[i] = array_field(L, packer->table, names[i], &count[i]);
    }
    lua_getfield(L, packer->table, "seccomp");
    const int seccomp = lua_gettop(L);
    if (count[ARGS] == 0) {
        bad_field(L, "args", "at least one string");
    }

    luaL_buffinit(L, &packer->data);
    plan->exec_attribute = text_field(packer, "exec_attribute");
    plan->exec_label = text_field(packer, "exec_label");
    plan->key_label = text_field(packer, "key_label");
    plan->keyring = text_field(packer, "keyring");
    plan->cwd = text_field(packer, "cwd");
    plan->path = text_field(packer, "path");
    plan->read = text_field(packer, "read");
    plan->args = strings(packer, array[ARGS], count[ARGS], PLAN_ARGS_SPARE, names[ARGS]);
    plan->env = strings(packer, array[ENV], count[ENV], PLAN_ENV_SPARE, names[ENV]);
    plan->tasks = descriptors(packer, array[TASKS], count[TASKS], passed);
    plan->rlimits = rlimits(packer, array[RLIMITS], count[RLIMITS]);
    plan->initial_affinity = integers(packer, array[INITIAL], count[INITIAL], 8, names[INITIAL]);
    plan->final_affinity = integers(packer, array[FINAL], count[FINAL], 8, names[FINAL]);
    plan->memory_nodes = integers(packer, array[NODES], count[NODES], 8, names[NODES]);
    plan->groups = integers(packer, array[GROUPS], count[GROUPS], 4, names[GROUPS]);
    plan->mounts = mounts(packer, array[MOUNTS], count[MOUNTS], passed);
    plan->seccomp = bytes(packer, seccomp);
    if (is_early(plan, lua_tostring(L, seccomp))) {
        plan->flags |= PLAN_SECCOMP_EARLY;
    }
    plan->magic = PLAN_MAGIC;
    plan->version = PLAN_VERSION;
    plan->size = position(packer);
    luaL_pushresult(&packer->data);
    if (plan->exec_label.offset != 0 && plan->exec_attribute.offset == 0) {
        bad_field(L, "exec_attribute", "a string when exec_label is there");
    }
    if (plan->cwd.offset == 0) {
        bad_field(L, "cwd", "a string");
    }
}

void ctx_pack_plan(lua_State *L, int table, struct plan *plan, struct ctx_passed *passed)
{
    struct packer packer = {.L = L, .table = table, .plan = *plan};
    pack(&packer, passed);
    *plan = packer.plan;
}
