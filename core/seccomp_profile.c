/* Reading an OCI seccomp profile. Readers return false with the message on top of the stack. */
#include "seccomp_profile.h"

#include <ctype.h>
#include <errno.h>
#include <lauxlib.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <string.h>

#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)
#endif

#define ARCH_PREFIX "SCMP_ARCH_"
#define MAX_ARGUMENT 5

/* The place being read, for messages; -1 where there is no such level. Counted from 0, as in the JSON file.
 */
struct reader {
    lua_State *L;
    int syscall;
    int argument;
};

static bool bad(const struct reader *r, const char *field, const char *problem, const char *value)
{
    char place[80] = "seccomp";
    if (r->argument >= 0) {
        snprintf(place, sizeof(place), "seccomp.syscalls[%d].args[%d]", r->syscall, r->argument);
    } else if (r->syscall >= 0) {
        snprintf(place, sizeof(place), "seccomp.syscalls[%d]", r->syscall);
    }
    if (value != NULL) {
        lua_pushfstring(r->L, "%s%s: %s \"%s\"", place, field, problem, value);
    } else {
        lua_pushfstring(r->L, "%s%s: %s", place, field, problem);
    }
    return false;
}

static bool wrong_type(const struct reader *r, const char *field, const char *expected, int index)
{
    char problem[80];
    snprintf(problem, sizeof(problem), "expected %s, got a %s", expected, luaL_typename(r->L, index));
    return bad(r, field, problem, NULL);
}

/* JSON's null is a null pointer with lua-cjson. */
static bool is_absent(lua_State *L, int index)
{
    return lua_isnoneornil(L, index) || (lua_islightuserdata(L, index) && lua_touserdata(L, index) == NULL);
}

/* Pushes table[key]; `field` is ".key". */
static bool get(lua_State *L, int table, const char *field)
{
    lua_pushstring(L, field + 1);
    lua_rawget(L, table);
    return !is_absent(L, -1);
}

/* Pushes the array table[key], nil when absent, and gives its length. */
static bool get_array(const struct reader *r, int table, const char *field, size_t *length)
{
    lua_State *L = r->L;
    *length = 0;
    if (!get(L, table, field)) {
        return true;
    }
    if (!lua_istable(L, -1)) {
        return wrong_type(r, field, "an array", -1);
    }
    *length = lua_rawlen(L, -1);
    if (*length == 0) {
        lua_pushnil(L);
        if (lua_next(L, -2) != 0) {
            return bad(r, field, "expected an array, got an object", NULL);
        }
    }
    return true;
}

/* The string at the top of the stack; it stays alive in the caller's table. */
static bool to_string(const struct reader *r, const char *field, const char **value)
{
    *value = "";
    if (lua_type(r->L, -1) != LUA_TSTRING) {
        return wrong_type(r, field, "a string", -1);
    }
    *value = lua_tostring(r->L, -1);
    return true;
}

/* A required string of a table. */
static bool get_string(const struct reader *r, int table, const char *field, const char **value)
{
    *value = "";
    get(r->L, table, field);
    if (!to_string(r, field, value)) {
        return false;
    }
    lua_pop(r->L, 1);
    return true;
}

/* An unsigned number of a table, or `absent`. lua-cjson gives doubles, in which 2^64-1 (an often used mask)
 * is 2^64. */
static bool get_unsigned(const struct reader *r, int table, const char *field, uint64_t absent,
                         uint64_t *value)
{
    lua_State *L = r->L;
    *value = absent;
    if (get(L, table, field)) {
        lua_Number number = lua_tonumber(L, -1);
        if (lua_type(L, -1) != LUA_TNUMBER) {
            return wrong_type(r, field, "a number", -1);
        }
        if (lua_isinteger(L, -1) && lua_tointeger(L, -1) >= 0) {
            *value = (uint64_t)lua_tointeger(L, -1);
        } else if (!(number >= 0 && number <= 0x1p64) ||
                   (number < 0x1p63 && number != (lua_Number)(uint64_t)number)) {
            return bad(r, field, "not an unsigned 64-bit integer:", lua_tostring(L, -1));
        } else {
            *value = number < 0x1p64 ? (uint64_t)number : UINT64_MAX;
        }
    }
    lua_pop(L, 1);
    return true;
}

struct name_value {
    const char *name;
    uint32_t value;
};

static const struct name_value ACTIONS[] = {
    {"SCMP_ACT_ALLOW", SCMP_ACT_ALLOW},
    {"SCMP_ACT_ERRNO", SCMP_ACT_ERRNO(0)},
    {"SCMP_ACT_KILL", SCMP_ACT_KILL_THREAD},
    {"SCMP_ACT_KILL_PROCESS", SCMP_ACT_KILL_PROCESS},
    {"SCMP_ACT_KILL_THREAD", SCMP_ACT_KILL_THREAD},
    {"SCMP_ACT_LOG", SCMP_ACT_LOG},
    {"SCMP_ACT_NOTIFY", SCMP_ACT_NOTIFY},
    {"SCMP_ACT_TRACE", SCMP_ACT_TRACE(0)},
    {"SCMP_ACT_TRAP", SCMP_ACT_TRAP},
    {NULL, 0},
};

static const struct name_value OPERATORS[] = {
    {"SCMP_CMP_EQ", SCMP_CMP_EQ}, {"SCMP_CMP_GE", SCMP_CMP_GE},
    {"SCMP_CMP_GT", SCMP_CMP_GT}, {"SCMP_CMP_LE", SCMP_CMP_LE},
    {"SCMP_CMP_LT", SCMP_CMP_LT}, {"SCMP_CMP_MASKED_EQ", SCMP_CMP_MASKED_EQ},
    {"SCMP_CMP_NE", SCMP_CMP_NE}, {NULL, 0},
};

/* SECCOMP_FILTER_FLAG_TSYNC is accepted and adds nothing: the filter is installed by a process of one thread.
 */
static const struct name_value FLAGS[] = {
    {"SECCOMP_FILTER_FLAG_LOG", SECCOMP_FILTER_FLAG_LOG},
    {"SECCOMP_FILTER_FLAG_SPEC_ALLOW", SECCOMP_FILTER_FLAG_SPEC_ALLOW},
    {"SECCOMP_FILTER_FLAG_TSYNC", 0},
    {"SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV},
    {NULL, 0},
};

static bool look_up(const struct name_value *table, const char *name, uint32_t *value)
{
    for (; table->name != NULL; table++) {
        if (strcmp(table->name, name) == 0) {
            *value = table->value;
            return true;
        }
    }
    return false;
}

/* An action with its errno; as with runc, EPERM where none is given, and ignored by actions that have none.
 */
static bool get_action(const struct reader *r, int table, const char *field, const char *errno_field,
                       uint32_t *action)
{
    const char *name = NULL;
    if (!get_string(r, table, field, &name)) {
        return false;
    }
    if (!look_up(ACTIONS, name, action)) {
        return bad(r, field, "unknown action", name);
    }
    uint64_t error = 0;
    if (!get_unsigned(r, table, errno_field, EPERM, &error)) {
        return false;
    }
    if (error > UINT16_MAX) {
        return bad(r, errno_field, "larger than 65535", NULL);
    }
    if (*action == SCMP_ACT_ERRNO(0) || *action == SCMP_ACT_TRACE(0)) {
        *action |= (uint32_t)error;
    }
    return true;
}

static bool add_architecture(struct profile *profile, uint32_t architecture)
{
    for (size_t i = 0; i < profile->architecture_count; i++) {
        if (profile->architectures[i] == architecture) {
            return true;
        }
    }
    if (profile->architecture_count == MAX_ARCHITECTURES) {
        return false;
    }
    profile->architectures[profile->architecture_count++] = architecture;
    return true;
}

/* "SCMP_ARCH_X86_64" is "x86_64" to libseccomp; 0 when it does not know the name. */
static uint32_t find_architecture(const char *name)
{
    if (strncmp(name, ARCH_PREFIX, strlen(ARCH_PREFIX)) != 0) {
        return 0;
    }
    name += strlen(ARCH_PREFIX);
    char lower[32];
    size_t i = 0;
    for (i = 0; i < sizeof(lower) - 1 && name[i] != '\0'; i++) {
        if (islower((unsigned char)name[i])) {
            return 0;
        }
        lower[i] = (char)tolower((unsigned char)name[i]);
    }
    lower[i] = '\0';
    return seccomp_arch_resolve_name(lower);
}

static bool read_architectures(const struct reader *r, int table, struct profile *profile)
{
    lua_State *L = r->L;
    /* libseccomp's filters always cover the native one, listed or not; so does the ENOSYS rule of runc 1.1.15
     * and later (before, a profile without architectures had none). */
    add_architecture(profile, seccomp_arch_native());
    size_t count = 0;
    if (!get_array(r, table, ".architectures", &count)) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        const char *name = "";
        char field[48];
        snprintf(field, sizeof(field), ".architectures[%zu]", i);
        lua_rawgeti(L, -1, (lua_Integer)i + 1);
        if (!to_string(r, field, &name)) {
            return false;
        }
        uint32_t architecture = find_architecture(name);
        if (architecture == SCMP_ARCH_NATIVE || !add_architecture(profile, architecture)) {
            return bad(r, field, "unknown architecture", name);
        }
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    return true;
}

static bool read_flags(const struct reader *r, int table, struct profile *profile)
{
    lua_State *L = r->L;
    size_t count = 0;
    if (!get_array(r, table, ".flags", &count)) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        const char *name = "";
        char field[48];
        snprintf(field, sizeof(field), ".flags[%zu]", i);
        lua_rawgeti(L, -1, (lua_Integer)i + 1);
        if (!to_string(r, field, &name)) {
            return false;
        }
        uint32_t flag = 0;
        if (!look_up(FLAGS, name, &flag)) {
            return bad(r, field, "unknown flag", name);
        }
        profile->flags |= flag;
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    return true;
}

static bool read_argument(const struct reader *r, int table, struct scmp_arg_cmp *arg)
{
    const char *name = NULL;
    uint64_t index = 0;
    uint32_t op = 0;
    if (!get_unsigned(r, table, ".index", 0, &index) || !get_unsigned(r, table, ".value", 0, &arg->datum_a) ||
        !get_unsigned(r, table, ".valueTwo", 0, &arg->datum_b) || !get_string(r, table, ".op", &name)) {
        return false;
    }
    if (index > MAX_ARGUMENT) {
        return bad(r, ".index", "larger than 5", NULL);
    }
    if (!look_up(OPERATORS, name, &op)) {
        return bad(r, ".op", "unknown operator", name);
    }
    arg->arg = (unsigned)index;
    arg->op = (enum scmp_compare)op;
    return true;
}

/* Reads the conditions of one entry into memory that Lua owns; it is left on the stack. */
static bool read_arguments(struct reader *r, int table, struct rule *rule)
{
    lua_State *L = r->L;
    size_t count = 0;
    if (!get_array(r, table, ".args", &count)) {
        return false;
    }
    int array = lua_gettop(L);
    struct scmp_arg_cmp *args = lua_newuserdatauv(L, count * sizeof(*args), 0);
    for (size_t i = 0; i < count; i++) {
        r->argument = (int)i;
        lua_rawgeti(L, array, (lua_Integer)i + 1);
        if (!lua_istable(L, -1)) {
            return wrong_type(r, "", "an object", -1);
        }
        if (!read_argument(r, lua_gettop(L), &args[i])) {
            return false;
        }
        lua_pop(L, 1);
    }
    r->argument = -1;
    lua_remove(L, array);
    rule->args = args;
    rule->arg_count = (unsigned)count;
    return true;
}

/* On some architectures these calls go through socketcall(2) or ipc(2); libseccomp then makes rules for the
 * direct call and for the one that stands for it. */
static bool is_multiplexed(const char *name)
{
    static const char *const NAMES[] = {
        "accept",   "accept4",  "bind",     "connect", "getpeername", "getsockname", "getsockopt",
        "ipc",      "listen",   "msgctl",   "msgget",  "msgrcv",      "msgsnd",      "recv",
        "recvfrom", "recvmmsg", "recvmsg",  "semctl",  "semget",      "semop",       "semtimedop",
        "send",     "sendmmsg", "sendmsg",  "sendto",  "setsockopt",  "shmat",       "shmctl",
        "shmdt",    "shmget",   "shutdown", "socket",  "socketcall",  "socketpair",  NULL,
    };
    for (const char *const *known = NAMES; *known != NULL; known++) {
        if (**known == *name && strcmp(*known, name) == 0) {
            return true;
        }
    }
    return false;
}

/* Appends one rule per name; there is room, for the names were counted. */
static bool read_names(const struct reader *r, int table, const struct rule *form, struct profile *profile)
{
    lua_State *L = r->L;
    size_t count = 0;
    if (!get_array(r, table, ".names", &count)) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        struct rule *rule = &profile->rules[profile->rule_count++];
        *rule = *form;
        char field[32];
        snprintf(field, sizeof(field), ".names[%zu]", i);
        lua_rawgeti(L, -1, (lua_Integer)i + 1);
        if (!to_string(r, field, &rule->name)) {
            return false;
        }
        if (*rule->name == '\0') {
            return bad(r, field, "empty", NULL);
        }
        if (rule->action == SCMP_ACT_NOTIFY && strcmp(rule->name, "write") == 0) {
            return bad(r, field, "SCMP_ACT_NOTIFY cannot be used for the write syscall", NULL);
        }
        rule->number = seccomp_syscall_resolve_name(rule->name);
        rule->multiplexed = is_multiplexed(rule->name);
        profile->notify = profile->notify || rule->action == SCMP_ACT_NOTIFY;
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    return true;
}

/* Pushes the list of entries and counts the names in it. */
static bool count_names(struct reader *r, int table, size_t *entries, size_t *names)
{
    lua_State *L = r->L;
    *names = 0;
    if (!get_array(r, table, ".syscalls", entries)) {
        return false;
    }
    for (size_t i = 0; i < *entries; i++) {
        r->syscall = (int)i;
        lua_rawgeti(L, -1, (lua_Integer)i + 1);
        if (!lua_istable(L, -1)) {
            return wrong_type(r, "", "an object", -1);
        }
        get(L, lua_gettop(L), ".names");
        if (lua_istable(L, -1)) {
            *names += lua_rawlen(L, -1);
        }
        lua_pop(L, 2);
    }
    r->syscall = -1;
    return true;
}

static bool read_syscalls(struct reader *r, int table, struct profile *profile)
{
    lua_State *L = r->L;
    size_t entries = 0;
    size_t names = 0;
    if (!count_names(r, table, &entries, &names)) {
        return false;
    }
    int list = lua_gettop(L);
    profile->rules = lua_newuserdatauv(L, names * sizeof(*profile->rules), 0);
    for (size_t i = 0; i < entries; i++) {
        struct rule form = {.entry = (unsigned)i};
        luaL_checkstack(L, LUA_MINSTACK, "seccomp profile");
        r->syscall = (int)i;
        lua_rawgeti(L, list, (lua_Integer)i + 1);
        int entry = lua_gettop(L);
        if (!get_action(r, entry, ".action", ".errnoRet", &form.action) || !read_arguments(r, entry, &form) ||
            !read_names(r, entry, &form, profile)) {
            return false;
        }
        /* Only the conditions stay on the stack, one object for each entry that has any. */
        lua_remove(L, entry);
        if (form.arg_count == 0) {
            lua_pop(L, 1);
        }
    }
    r->syscall = -1;
    return true;
}

static bool read_all(struct reader *r, int table, struct profile *profile)
{
    if (!get_action(r, table, ".defaultAction", ".defaultErrnoRet", &profile->default_action)) {
        return false;
    }
    if (profile->default_action == SCMP_ACT_NOTIFY) {
        return bad(r, ".defaultAction", "SCMP_ACT_NOTIFY cannot be used as default action", NULL);
    }
    if (!read_architectures(r, table, profile) || !read_flags(r, table, profile) ||
        !read_syscalls(r, table, profile)) {
        return false;
    }
    if ((profile->flags & SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV) != 0 && !profile->notify) {
        return bad(r, ".flags", "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV needs a rule with SCMP_ACT_NOTIFY",
                   NULL);
    }
    /* A profile that refuses nothing by default leaves ENOSYS to the kernel, and a tracer wants to see the
     * call. */
    profile->unknown_is_enosys = profile->default_action != SCMP_ACT_ALLOW &&
                                 profile->default_action != SCMP_ACT_LOG &&
                                 (profile->default_action & SECCOMP_RET_ACTION_FULL) != SCMP_ACT_TRACE(0);
    return true;
}

bool ctx_read_profile(lua_State *L, int table, struct profile *profile)
{
    struct reader reader = {.L = L, .syscall = -1, .argument = -1};
    return read_all(&reader, table, profile);
}
