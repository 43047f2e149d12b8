/***
OCI seccomp profiles to kernel programs, with libseccomp. A module of its own, so that only an exec into a
container with a profile loads the library.

A process sees what it sees under runc's filter (libcontainer/seccomp), but the filter is made in a shorter
way. libseccomp needs 8 ms for an engine's default profile, nearly all of it for plain "this call: that
action" rules. Those become one table of number ranges per architecture here; libseccomp is given the rest
(rules with arguments, calls that some architectures multiplex), one architecture at a time, and its program
is what the table falls through to. The spec runs both forms of many profiles over all calls.

@module ctrexec.core.seccomp
*/
#include "bpf.h"
#include "seccomp_profile.h"

#include <errno.h>
#include <lauxlib.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define X32_BIT 0x40000000U

__attribute__((visibility("default"))) int luaopen_ctrexec_core_seccomp(lua_State *L);

/* No Lua call is made while a filter of libseccomp is held: an error of Lua would leak it. */

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

/* The table can only give one call one action. Rules with conditions, or that contradict each other, are left
 * for libseccomp to merge or refuse. */
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

/* Appends a segment, or extends the one before if it has the same value. */
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
    uint32_t last = 0;
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
    /* As runc: a number above all that the profile knows is a call that is newer than the profile. It fails
     * with ENOSYS, because programs have a way round ENOSYS but not round EPERM. */
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
    char place[64];
    snprintf(place, sizeof(place), ".syscalls[%u]: cannot add a rule for", rule->entry);
    return fail(c, -result, place, rule->name);
}

/* Fills a libseccomp filter of this one architecture with the slow rules. */
static int fill_filter(struct compiler *c, scmp_filter_ctx filter, uint32_t architecture)
{
    if (architecture != seccomp_arch_native() &&
        (seccomp_arch_add(filter, architecture) != 0 || seccomp_arch_remove(filter, SCMP_ARCH_NATIVE) != 0)) {
        return fail(c, EINVAL, ".architectures:", "one that this machine's filters cannot cover");
    }
    for (size_t i = 0; i < c->profile->rule_count; i++) {
        const int result = c->slow[i] ? add_rule(c, filter, &c->profile->rules[i]) : 0;
        if (result != 0) {
            return result;
        }
    }
    return 0;
}

/* Appends libseccomp's program, by way of a memory file: 2.5 exports to a descriptor only. */
static int export_filter(struct compiler *c, scmp_filter_ctx filter)
{
    int fd = memfd_create("seccomp", MFD_CLOEXEC);
    if (fd < 0) {
        return fail(c, errno, ":", "memfd_create");
    }
    int result = -seccomp_export_bpf(filter, fd);
    struct sock_filter code[BPF_MAXINSNS];
    ssize_t size = result == 0 ? pread(fd, code, sizeof(code), 0) : 0;
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
    /* Where the profile does not cover x32, the table skips x32's calls. */
    bool guarded = architecture == SCMP_ARCH_X86_64 && !has_architecture(c->profile, SCMP_ARCH_X32);
    scmp_filter_ctx filter = seccomp_init(c->profile->default_action);
    unsigned skip = 0;
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
    int result = fill_filter(c, filter, architecture);
    if (result == 0) {
        result = export_filter(c, filter);
    }
    seccomp_release(filter);
    return result;
}

/* Compiles what runs under one value of seccomp_data.arch. x32 shares x86_64's value and sets a bit in the
 * number. */
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
        if (architecture == SCMP_ARCH_X32) {
            continue;
        }
        bpf_emit(c->program, BPF_JMP | BPF_JEQ | BPF_K, 1, 0, architecture);
        unsigned skip = bpf_emit(c->program, BPF_JMP | BPF_JA, 0, 0, 0);
        int result = compile_section(c, architecture);
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
without NEW_LISTENER; `notify`: boolean, the installer must add NEW_LISTENER and pass the listener on
@return[2] nil
@treturn[2] string what is wrong, with its place, as `seccomp.syscalls[3].action: unknown action "X"`
@treturn[2] int errno: EINVAL for a bad value, E2BIG for a program longer than the kernel takes
*/
static int compile(lua_State *L)
{
    struct profile profile = {0};
    struct compiler c = {.profile = &profile};
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    if (!ctx_read_profile(L, 1, &profile)) {
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
    int error = compile_profile(&c);
    if (error != 0) {
        lua_pushnil(L);
        lua_pushstring(L, c.error);
        lua_pushinteger(L, error);
        return 3;
    }
    lua_createtable(L, 0, 3);
    lua_pushlstring(L, (const char *)c.program->code, c.program->length * sizeof(*c.program->code));
    lua_setfield(L, -2, "program");
    lua_pushinteger(L, profile.flags);
    lua_setfield(L, -2, "flags");
    lua_pushboolean(L, profile.notify);
    lua_setfield(L, -2, "notify");
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
