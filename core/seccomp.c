/***
OCI seccomp profiles to kernel programs, with libseccomp. A module of its own, so that only an exec into a
container with a profile loads the library.

What a process sees is what runc's profile does (libcontainer/seccomp), by a shorter way. libseccomp needs 8
ms for an engine's default profile, nearly all of it for plain "this call: that action" rules. Those become
one table of number ranges per architecture here; libseccomp is given the rest (rules with arguments, calls
that some architectures multiplex), one architecture at a time, and its program is what the table falls
through to. The spec runs both forms of many profiles over all calls.

@module ctrexec.core.seccomp
*/
#include "bpf.h"

#include <ctype.h>
#include <errno.h>
#include <lauxlib.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <lua.h>
#include <seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)
#endif

#define ARCH_PREFIX "SCMP_ARCH_"
#define MAX_ARCHITECTURES 24
#define MAX_ARGUMENT 5
#define X32_BIT 0x40000000U

__attribute__((visibility("default"))) int luaopen_ctrexec_core_seccomp(lua_State *L);

/* One system call name of the profile. `number` is the native one, negative for a call that only others have.
 */
struct rule {
    const char *name;
    const struct scmp_arg_cmp *args;
    unsigned arg_count;
    unsigned entry;
    uint32_t action;
    int number;
    bool multiplexed;
};

struct profile {
    struct rule *rules;
    size_t rule_count;
    uint32_t architectures[MAX_ARCHITECTURES];
    size_t architecture_count;
    uint32_t default_action;
    bool unknown_is_enosys;
    bool notify;
    uint32_t flags;
};

/* ---- Reading the Lua table. Readers return false with the message on top of the stack. ---- */

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
    const char *name;
    uint64_t error;

    if (!get_string(r, table, field, &name)) {
        return false;
    }
    if (!look_up(ACTIONS, name, action)) {
        return bad(r, field, "unknown action", name);
    }
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
    char lower[32];
    size_t i;

    if (strncmp(name, ARCH_PREFIX, strlen(ARCH_PREFIX)) != 0) {
        return 0;
    }
    name += strlen(ARCH_PREFIX);
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
    size_t count;

    /* libseccomp's filters always cover the native one, listed or not; so does the ENOSYS rule of runc 1.1.15
     * and later (before, a profile without architectures had none). */
    add_architecture(profile, seccomp_arch_native());
    if (!get_array(r, table, ".architectures", &count)) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        char field[48];
        const char *name = "";
        uint32_t architecture;

        snprintf(field, sizeof(field), ".architectures[%zu]", i);
        lua_rawgeti(L, -1, (lua_Integer)i + 1);
        if (!to_string(r, field, &name)) {
            return false;
        }
        architecture = find_architecture(name);
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
    size_t count;

    if (!get_array(r, table, ".flags", &count)) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        char field[48];
        const char *name = "";
        uint32_t flag;

        snprintf(field, sizeof(field), ".flags[%zu]", i);
        lua_rawgeti(L, -1, (lua_Integer)i + 1);
        if (!to_string(r, field, &name)) {
            return false;
        }
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
    const char *name;
    uint64_t index;
    uint32_t op;

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
    struct scmp_arg_cmp *args;
    size_t count;
    int array;

    if (!get_array(r, table, ".args", &count)) {
        return false;
    }
    array = lua_gettop(L);
    args = lua_newuserdatauv(L, count * sizeof(*args), 0);
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

/* socketcall(2) and ipc(2) stand for these on some architectures; libseccomp then has rules for both ways in.
 */
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
    size_t count;

    if (!get_array(r, table, ".names", &count)) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        struct rule *rule = &profile->rules[profile->rule_count++];
        char field[32];

        *rule = *form;
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
    size_t entries;
    size_t names;
    int list;

    if (!count_names(r, table, &entries, &names)) {
        return false;
    }
    list = lua_gettop(L);
    profile->rules = lua_newuserdatauv(L, names * sizeof(*profile->rules), 0);
    for (size_t i = 0; i < entries; i++) {
        struct rule form = {.entry = (unsigned)i};
        int entry;

        luaL_checkstack(L, LUA_MINSTACK, "seccomp profile");
        r->syscall = (int)i;
        lua_rawgeti(L, list, (lua_Integer)i + 1);
        entry = lua_gettop(L);
        if (!get_action(r, entry, ".action", ".errnoRet", &form.action) || !read_arguments(r, entry, &form) ||
            !read_names(r, entry, &form, profile)) {
            return false;
        }
        /* Only the conditions stay, one object per entry that has any. */
        lua_remove(L, entry);
        if (form.arg_count == 0) {
            lua_pop(L, 1);
        }
    }
    r->syscall = -1;
    return true;
}

static bool read_profile(struct reader *r, int table, struct profile *profile)
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
    /* Where nothing is refused by default, the kernel itself says ENOSYS; a tracer wants to see the call. */
    profile->unknown_is_enosys = profile->default_action != SCMP_ACT_ALLOW &&
                                 profile->default_action != SCMP_ACT_LOG &&
                                 (profile->default_action & SECCOMP_RET_ACTION_FULL) != SCMP_ACT_TRACE(0);
    return true;
}

/* ---- Compiling. No Lua call from here on, so nothing is lost to a Lua error. ---- */

/* A rule as one architecture has it. */
struct entry {
    uint32_t number;
    size_t rule;
};

struct compiler {
    const struct profile *profile;
    struct bpf_program *program;
    struct entry *entries;        /* room for one per rule */
    struct bpf_segment *segments; /* room for two per rule, and two more */
    bool *slow;                   /* per rule: left to libseccomp on the present architecture */
    char error[160];
};

static int fail(struct compiler *c, int error, const char *what, const char *object)
{
    char text[64];

    snprintf(c->error, sizeof(c->error), "seccomp%s %s: %s", what, object,
             strerror_r(error, text, sizeof(text)));
    return error;
}

static bool multiplexes(uint32_t architecture)
{
    switch (architecture) {
    case SCMP_ARCH_X86_64:
    case SCMP_ARCH_X32:
    case SCMP_ARCH_AARCH64:
    case SCMP_ARCH_ARM:
    case SCMP_ARCH_RISCV64:
        return false;
    default:
        return true;
    }
}

static int by_number(const void *left, const void *right)
{
    const struct entry *a = left;
    const struct entry *b = right;

    if (a->number != b->number) {
        return a->number < b->number ? -1 : 1;
    }
    return a->rule < b->rule ? -1 : 1;
}

/* A rule that says what the default says anyway, or names a call that libseccomp does not know, is passed
 * over. */
static bool is_void(const struct profile *profile, const struct rule *rule)
{
    return rule->action == profile->default_action || rule->number == __NR_SCMP_ERROR;
}

/* Lists the architecture's numbers in order and finds its largest one, 0 if it has none of the calls at all.
 */
static size_t collect(struct compiler *c, uint32_t architecture, uint32_t *last)
{
    const struct profile *profile = c->profile;
    size_t count = 0;

    *last = 0;
    for (size_t i = 0; i < profile->rule_count; i++) {
        const struct rule *rule = &profile->rules[i];
        int number = seccomp_syscall_resolve_name_arch(architecture, rule->name);

        if (number > 0 && (uint32_t)number > *last) {
            *last = (uint32_t)number;
        }
        c->slow[i] = !is_void(profile, rule) && rule->multiplexed && multiplexes(architecture);
        if (number >= 0 && !c->slow[i] && !is_void(profile, rule)) {
            c->entries[count++] = (struct entry){.number = (uint32_t)number, .rule = i};
        }
    }
    qsort(c->entries, count, sizeof(*c->entries), by_number);
    return count;
}

/* The table's job is one call, one action. What has conditions or is contradictory is libseccomp's to merge
 * or refuse. */
static bool is_plain(const struct compiler *c, const struct entry *entries, size_t count)
{
    const struct rule *first = &c->profile->rules[entries[0].rule];

    for (size_t i = 0; i < count; i++) {
        const struct rule *rule = &c->profile->rules[entries[i].rule];

        if (rule->arg_count != 0 || rule->action != first->action) {
            return false;
        }
    }
    return true;
}

/* Appends a segment, joined to the one before where they say the same. */
static size_t add_segment(struct compiler *c, size_t count, uint32_t start, uint32_t value)
{
    if (count > 0 && c->segments[count - 1].start == start) {
        count--;
    }
    if (count > 0 && c->segments[count - 1].value == value) {
        return count;
    }
    c->segments[count] = (struct bpf_segment){.start = start, .value = value};
    return count + 1;
}

/* Turns the plain rules into segments, marks the others as slow. */
static size_t make_segments(struct compiler *c, uint32_t architecture)
{
    uint32_t last;
    size_t entry_count = collect(c, architecture, &last);
    size_t count = add_segment(c, 0, 0, BPF_SEGMENT_NEXT);

    for (size_t i = 0; i < entry_count;) {
        const struct entry *group = &c->entries[i];
        size_t length = 1;

        while (i + length < entry_count && group[length].number == group->number) {
            length++;
        }
        if (is_plain(c, group, length)) {
            count = add_segment(c, count, group->number, c->profile->rules[group->rule].action);
            count = add_segment(c, count, group->number + 1, BPF_SEGMENT_NEXT);
        } else {
            for (size_t j = 0; j < length; j++) {
                c->slow[group[j].rule] = true;
            }
        }
        i += length;
    }
    /* runc's rule: a number beyond all that the profile knows is a call from after its time, and programs
     * have a way round ENOSYS but not round EPERM. */
    if (c->profile->unknown_is_enosys && last > 0) {
        count = add_segment(c, count, last + 1, SCMP_ACT_ERRNO(ENOSYS));
    }
    return count;
}

static int add_rule(struct compiler *c, scmp_filter_ctx filter, const struct rule *rule)
{
    unsigned seen = 0;
    bool repeated = false;
    int result = 0;
    char place[64];

    for (unsigned i = 0; i < rule->arg_count; i++) {
        repeated = repeated || (seen & (1U << rule->args[i].arg)) != 0;
        seen |= 1U << rule->args[i].arg;
    }
    if (!repeated) {
        result = seccomp_rule_add_array(filter, rule->action, rule->number, rule->arg_count, rule->args);
    }
    /* As runc: libseccomp takes one condition an argument, so conditions on the same one become alternatives.
     */
    for (unsigned i = 0; repeated && result == 0 && i < rule->arg_count; i++) {
        result = seccomp_rule_add_array(filter, rule->action, rule->number, 1, &rule->args[i]);
    }
    if (result == 0) {
        return 0;
    }
    snprintf(place, sizeof(place), ".syscalls[%u]: cannot add a rule for", rule->entry);
    return fail(c, -result, place, rule->name);
}

/* Fills a libseccomp filter of this one architecture with the slow rules. */
static int fill_filter(struct compiler *c, scmp_filter_ctx filter, uint32_t architecture)
{
    int result;

    if (architecture != seccomp_arch_native()) {
        result = seccomp_arch_add(filter, architecture);
        if (result == 0) {
            result = seccomp_arch_remove(filter, SCMP_ARCH_NATIVE);
        }
        if (result != 0) {
            return fail(c, EINVAL, ".architectures:", "one that this machine's filters cannot cover");
        }
    }
    for (size_t i = 0; i < c->profile->rule_count; i++) {
        result = c->slow[i] ? add_rule(c, filter, &c->profile->rules[i]) : 0;
        if (result != 0) {
            return result;
        }
    }
    return 0;
}

/* Appends libseccomp's program, by way of a memory file: 2.5 exports to a descriptor only. */
static int export_filter(struct compiler *c, scmp_filter_ctx filter)
{
    struct sock_filter code[BPF_MAXINSNS];
    int fd = memfd_create("seccomp", MFD_CLOEXEC);
    ssize_t size;
    int result;

    if (fd < 0) {
        return fail(c, errno, ":", "memfd_create");
    }
    result = -seccomp_export_bpf(filter, fd);
    size = result == 0 ? pread(fd, code, sizeof(code), 0) : 0;
    if (size < 0) {
        result = errno;
    }
    close(fd);
    if (result != 0) {
        return fail(c, result, ":", "export");
    }
    bpf_append(c->program, code, (size_t)size / sizeof(*code));
    return 0;
}

static bool has_architecture(const struct profile *profile, uint32_t architecture)
{
    for (size_t i = 0; i < profile->architecture_count; i++) {
        if (profile->architectures[i] == architecture) {
            return true;
        }
    }
    return false;
}

/* The program of one architecture; the accumulator holds the system call number. */
static int compile_architecture(struct compiler *c, uint32_t architecture)
{
    /* Where x32 is not covered, its calls are none of the table's business. */
    bool guarded = architecture == SCMP_ARCH_X86_64 && !has_architecture(c->profile, SCMP_ARCH_X32);
    scmp_filter_ctx filter = seccomp_init(c->profile->default_action);
    unsigned skip = 0;
    int result;

    if (filter == NULL) {
        return fail(c, EINVAL, ".defaultAction:", "not supported by this kernel");
    }
    if (guarded) {
        bpf_emit(c->program, BPF_JMP | BPF_JSET | BPF_K, 0, 1, X32_BIT);
        skip = bpf_emit(c->program, BPF_JMP | BPF_JA, 0, 0, 0);
    }
    bpf_search(c->program, c->segments, make_segments(c, architecture));
    if (guarded) {
        bpf_land(c->program, skip);
    }
    result = fill_filter(c, filter, architecture);
    if (result == 0) {
        result = export_filter(c, filter);
    }
    seccomp_release(filter);
    return result;
}

/* All that runs under one value of seccomp_data.arch. x32 shares x86_64's and sets a bit in the number. */
static int compile_section(struct compiler *c, uint32_t architecture)
{

    bpf_emit(c->program, BPF_LD | BPF_W | BPF_ABS, 0, 0, offsetof(struct seccomp_data, nr));
    if (architecture == SCMP_ARCH_X86_64 && has_architecture(c->profile, SCMP_ARCH_X32)) {
        bpf_emit(c->program, BPF_JMP | BPF_JSET | BPF_K, 1, 0, X32_BIT);
        unsigned skip = bpf_emit(c->program, BPF_JMP | BPF_JA, 0, 0, 0);
        int result = compile_architecture(c, SCMP_ARCH_X32);

        if (result != 0) {
            return result;
        }
        bpf_land(c->program, skip);
    }
    return compile_architecture(c, architecture);
}

static int compile_profile(struct compiler *c)
{
    const struct profile *profile = c->profile;

    bpf_emit(c->program, BPF_LD | BPF_W | BPF_ABS, 0, 0, offsetof(struct seccomp_data, arch));
    for (size_t i = 0; i < profile->architecture_count; i++) {
        uint32_t architecture = profile->architectures[i];
        unsigned skip;
        int result;

        if (architecture == SCMP_ARCH_X32) {
            continue;
        }
        bpf_emit(c->program, BPF_JMP | BPF_JEQ | BPF_K, 1, 0, architecture);
        skip = bpf_emit(c->program, BPF_JMP | BPF_JA, 0, 0, 0);
        result = compile_section(c, architecture);
        if (result != 0) {
            return result;
        }
        bpf_land(c->program, skip);
    }
    /* libseccomp's answer to an architecture that the profile does not list. */
    bpf_emit(c->program, BPF_RET | BPF_K, 0, 0, SCMP_ACT_KILL_THREAD);
    if (c->program->overflow) {
        return fail(c, E2BIG, ":", "more than 4096 instructions");
    }
    return 0;
}

/***
Compiles an OCI `linux.seccomp` object (runtime-spec 1.3, config-linux.md "Seccomp") to a program for
seccomp(2).

`listenerPath` and `listenerMetadata` are not looked at. JSON's null is taken as absent, as in lua-cjson's
tables. Places in messages are counted from 0, as in the JSON file.

@function compile
@tparam table profile the object
@treturn[1] table `program`: bytes of an array of struct sock_filter; `flags`: integer, SECCOMP_FILTER_FLAG_*
without NEW_LISTENER; `notify`: boolean, the installer must add NEW_LISTENER and pass the listener on;
`warnings`: array of strings
@treturn[2] nil
@treturn[2] string what is wrong, with its place, as `seccomp.syscalls[3].action: unknown action "X"`
@treturn[2] integer errno: EINVAL for a bad value, E2BIG for a program longer than the kernel takes
*/
static int compile(lua_State *L)
{
    struct reader reader = {.L = L, .syscall = -1, .argument = -1};
    struct profile profile = {0};
    struct compiler c = {.profile = &profile};
    int error;

    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    if (!read_profile(&reader, 1, &profile)) {
        lua_pushnil(L);
        lua_insert(L, -2);
        lua_pushinteger(L, EINVAL);
        return 3;
    }
    c.program = lua_newuserdatauv(L, sizeof(*c.program), 0);
    c.program->length = 0;
    c.program->overflow = false;
    c.entries = lua_newuserdatauv(L, profile.rule_count * sizeof(*c.entries), 0);
    c.segments = lua_newuserdatauv(L, (2 * profile.rule_count + 2) * sizeof(*c.segments), 0);
    c.slow = lua_newuserdatauv(L, profile.rule_count * sizeof(*c.slow), 0);
    error = compile_profile(&c);
    if (error != 0) {
        lua_pushnil(L);
        lua_pushstring(L, c.error);
        lua_pushinteger(L, error);
        return 3;
    }
    lua_createtable(L, 0, 4);
    lua_pushlstring(L, (const char *)c.program->code, c.program->length * sizeof(*c.program->code));
    lua_setfield(L, -2, "program");
    lua_pushinteger(L, profile.flags);
    lua_setfield(L, -2, "flags");
    lua_pushboolean(L, profile.notify);
    lua_setfield(L, -2, "notify");
    lua_newtable(L);
    lua_setfield(L, -2, "warnings");
    return 1;
}

int luaopen_ctrexec_core_seccomp(lua_State *L)
{
    static const luaL_Reg FUNCTIONS[] = {
        {"compile", compile},
        {NULL, NULL},
    };

    luaL_newlib(L, FUNCTIONS);
    return 1;
}
