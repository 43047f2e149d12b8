/***
Capability names and bit sets. Names, numbers and the kernel's last capability are libcap's.

@module ctrexec.core.capability
@see capabilities(7)
*/
#include "capability.h"
#include "core.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/capability.h>

enum {
    HEXADECIMAL = 16,
    PROC_PATH_MAX = 64,
    STATUS_MAX = 16384,
    MASK_BITS = 64,
    NAME_MAX_SIZE = 64,
};

static const struct {
    const char *field;
    size_t offset;
} status_fields[] = {
    {"CapInh:\t", offsetof(struct ctx_capabilities, inheritable)},
    {"CapPrm:\t", offsetof(struct ctx_capabilities, permitted)},
    {"CapEff:\t", offsetof(struct ctx_capabilities, effective)},
    {"CapBnd:\t", offsetof(struct ctx_capabilities, bounding)},
    {"CapAmb:\t", offsetof(struct ctx_capabilities, ambient)},
};

enum {
    FIELD_COUNT = sizeof(status_fields) / sizeof(*status_fields),
};

/* Reads a line into the set that it names. Returns the set's bit in the mask of those found, or 0. */
static unsigned int parse_line(struct ctx_text line, struct ctx_capabilities *sets)
{
    for (size_t i = 0; i < FIELD_COUNT; i++) {
        if (ctx_text_starts(line, status_fields[i].field)) {
            uint64_t *set = (uint64_t *)(void *)((char *)sets + status_fields[i].offset);
            line.at += strlen(status_fields[i].field);
            return ctx_text_number(line, HEXADECIMAL, set) ? 1U << i : 0;
        }
    }
    return 0;
}

bool ctx_parse_capabilities(struct ctx_text text, struct ctx_capabilities *sets)
{
    unsigned int found = 0;
    struct ctx_text line;
    while (ctx_text_next(&text, '\n', &line)) {
        found |= parse_line(line, sets);
    }
    return found == (1U << FIELD_COUNT) - 1;
}

/* The number of a capability, or -1. libcap also takes names in any case, numbers, and names with more text
 * behind them, so the result counts only if libcap gives that number the same name. */
static int number_of(const char *name)
{
    size_t length = 0;
    char lower[NAME_MAX_SIZE];
    for (; name[length] != '\0'; length++) {
        if (length + 1 == sizeof(lower) || islower((unsigned char)name[length])) {
            return -1;
        }
        lower[length] = (char)tolower((unsigned char)name[length]);
    }
    lower[length] = '\0';
    cap_value_t number = 0;
    if (strncmp(name, "CAP_", 4) != 0 || cap_from_name(lower, &number) != 0) {
        return -1;
    }
    char *known = cap_to_name(number);
    const bool same = known != NULL && strcmp(known, lower) == 0;
    cap_free(known);
    return same ? number : -1;
}

/* Pushes the name of a capability, as "CAP_41" where libcap has none yet. */
static void push_name(lua_State *L, int number)
{
    char *known = cap_to_name(number);
    char upper[NAME_MAX_SIZE];
    (void)snprintf(upper, sizeof(upper), "CAP_%d", number);
    if (known != NULL && strncmp(known, "cap_", 4) == 0) {
        (void)snprintf(upper, sizeof(upper), "%s", known);
    }
    cap_free(known);
    for (char *letter = upper; *letter != '\0'; letter++) {
        *letter = (char)toupper((unsigned char)*letter);
    }
    lua_pushstring(L, upper);
}

/***
The bit set of some capability names.
@function mask
@tparam table names array of strings, as "CAP_CHOWN"
@treturn int the set
@treturn table array of the names that are not known
*/
static int capability_mask(lua_State *L)
{
    lua_Unsigned mask = 0;
    lua_Integer unknown = 0;
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_Integer count = luaL_len(L, 1);
    lua_newtable(L);
    for (lua_Integer i = 1; i <= count; i++) {
        luaL_argcheck(L, lua_geti(L, 1, i) == LUA_TSTRING, 1, "array of strings expected");
        size_t length = 0;
        const char *name = lua_tolstring(L, -1, &length);
        int number = strlen(name) == length ? number_of(name) : -1;
        if (number >= 0) {
            mask |= UINT64_C(1) << (unsigned int)number;
            lua_pop(L, 1);
        } else {
            lua_rawseti(L, 2, ++unknown);
        }
    }
    lua_pushinteger(L, (lua_Integer)mask);
    lua_insert(L, -2);
    return 2;
}

/***
The names in a bit set.
@function names
@int mask
@treturn table array of strings by number; one that libcap has no name for yet is as "CAP_41"
*/
static int capability_names(lua_State *L)
{
    lua_Unsigned mask = (lua_Unsigned)luaL_checkinteger(L, 1);
    lua_Integer count = 0;
    lua_newtable(L);
    for (int i = 0; i < MASK_BITS; i++) {
        if (!(mask >> (unsigned int)i & 1U)) {
            continue;
        }
        push_name(L, i);
        lua_rawseti(L, -2, ++count);
    }
    return 1;
}

/***
The highest capability that the running kernel knows.
@function last
@treturn int its number
@see cap_get_bound(3)
*/
static int capability_last(lua_State *L)
{
    lua_pushinteger(L, cap_max_bits() - 1);
    return 1;
}

static void set_mask(lua_State *L, const char *name, uint64_t mask)
{
    lua_pushinteger(L, (lua_Integer)mask);
    lua_setfield(L, -2, name);
}

/***
The capabilities of a process.
@function of
@int pid
@treturn[1] table bit sets `inheritable`, `permitted`, `effective`, `bounding`, `ambient`
@return[2] nil
@treturn[2] string error message
@treturn[2] int errno: ESRCH when there is no such process
@see proc(5)
*/
static int capability_of(lua_State *L)
{
    pid_t pid = ctx_check_pid(L, 1);
    char path[PROC_PATH_MAX];
    (void)snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    char data[STATUS_MAX];
    ssize_t size = ctx_read_small(path, data, sizeof(data));
    if (size < 0) {
        return ctx_error(L, errno == ENOENT ? ESRCH : errno, "process %d", (int)pid);
    }
    struct ctx_capabilities sets;
    if (!ctx_parse_capabilities(ctx_text(data, (size_t)size), &sets)) {
        return ctx_error(L, EPROTO, "%s", path);
    }
    lua_createtable(L, 0, FIELD_COUNT);
    set_mask(L, "inheritable", sets.inheritable);
    set_mask(L, "permitted", sets.permitted);
    set_mask(L, "effective", sets.effective);
    set_mask(L, "bounding", sets.bounding);
    set_mask(L, "ambient", sets.ambient);
    return 1;
}

int ctx_open_capability(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"mask", capability_mask},
        {"names", capability_names},
        {"last", capability_last},
        {"of", capability_of},
        {NULL, NULL},
    };
    luaL_newlib(L, functions);
    return 1;
}
