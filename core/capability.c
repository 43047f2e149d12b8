/***
Capability names and bit sets.

The names are a table of our own: the module then needs no library that every exec would have to load.

@module ctrexec.core.capability
@see capabilities(7)
*/
#include "capability.h"
#include "core.h"

#include <errno.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

enum {
    HEXADECIMAL = 16,
    PROC_PATH_MAX = 64,
    STATUS_MAX = 16384,
    MASK_BITS = 64,
};

/* By number; linux/capability.h of Linux 5.9 and newer. */
static const char *const names[] = {
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
};

enum {
    NAME_COUNT = sizeof(names) / sizeof(*names),
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

/* Reads the line into the set it is of. Returns the set's bit in the mask of those found, or 0. */
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

/* The number of a capability, or -1. */
static int number_of(struct ctx_text name)
{
    for (int i = 0; i < NAME_COUNT; i++) {
        if (ctx_text_is(name, names[i])) {
            return i;
        }
    }
    return -1;
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
    lua_Integer count;

    luaL_checktype(L, 1, LUA_TTABLE);
    count = luaL_len(L, 1);
    lua_newtable(L);
    for (lua_Integer i = 1; i <= count; i++) {
        const char *name;
        size_t length;
        int number;
        luaL_argcheck(L, lua_geti(L, 1, i) == LUA_TSTRING, 1, "array of strings expected");
        name = lua_tolstring(L, -1, &length);
        number = number_of(ctx_text(name, length));
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
@treturn table array of strings by number; one that has no name here yet is as "CAP_41"
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
        if (i < NAME_COUNT) {
            lua_pushstring(L, names[i]);
        } else {
            lua_pushfstring(L, "CAP_%d", i);
        }
        lua_rawseti(L, -2, ++count);
    }
    return 1;
}

/***
The highest capability that the running kernel knows.
@function last
@treturn int its number
@see prctl(2)
*/
static int capability_last(lua_State *L)
{
    int last = CAP_LAST_CAP;

    while (last > 0 && prctl(PR_CAPBSET_READ, last, 0, 0, 0) < 0) {
        last--;
    }
    while (last + 1 < MASK_BITS && prctl(PR_CAPBSET_READ, last + 1, 0, 0, 0) >= 0) {
        last++;
    }
    lua_pushinteger(L, last);
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
    char data[STATUS_MAX];
    struct ctx_capabilities sets;
    ssize_t size;

    (void)snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    size = ctx_read_small(path, data, sizeof(data));
    if (size < 0) {
        return ctx_error(L, errno == ENOENT ? ESRCH : errno, "process %d", (int)pid);
    }
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
