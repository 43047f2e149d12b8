/* For spec/core/seccomp_spec.lua: the program that libseccomp alone makes of a profile, an interpreter for
 * this program and for ctrexec's, and a child process that runs under a program. */
#include <errno.h>
#include <lauxlib.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <lua.h>
#include <seccomp.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

int luaopen_seccomp_reference(lua_State *L);

/* architecture(name) -> token for run, number for resolve */
static int architecture(lua_State *L)
{
    lua_pushinteger(L, seccomp_arch_resolve_name(luaL_checkstring(L, 1)));
    return 1;
}

/* native() -> token of the machine's architecture */
static int native(lua_State *L)
{
    lua_pushinteger(L, seccomp_arch_native());
    return 1;
}

/* resolve(token, name) -> the call's number there, negative if none */
static int resolve(lua_State *L)
{
    lua_pushinteger(
        L, seccomp_syscall_resolve_name_arch((uint32_t)luaL_checkinteger(L, 1), luaL_checkstring(L, 2)));
    return 1;
}

/* names(token, last) -> array of the names of the architecture's calls */
static int names(lua_State *L)
{
    uint32_t token = (uint32_t)luaL_checkinteger(L, 1);
    int last = (int)luaL_checkinteger(L, 2);
    lua_Integer count = 0;

    lua_newtable(L);
    for (int number = 0; number <= last; number++) {
        char *name = seccomp_syscall_resolve_num_arch(token, number);

        if (name == NULL) {
            continue;
        }
        lua_pushstring(L, name);
        lua_rawseti(L, -2, ++count);
        free(name);
    }
    return 1;
}

/* A rule is {name, action, {index, op, value, value_two}...}, all numbers. */
static int add_rule(lua_State *L, scmp_filter_ctx filter, int rule)
{
    struct scmp_arg_cmp args[6];
    unsigned count = 0;
    uint32_t action;
    int number;

    lua_rawgeti(L, rule, 1);
    number = seccomp_syscall_resolve_name(lua_tostring(L, -1));
    lua_rawgeti(L, rule, 2);
    action = (uint32_t)lua_tointeger(L, -1);
    for (size_t i = 3; i <= lua_rawlen(L, rule) && count < 6; i++) {
        int condition = lua_gettop(L) + 1;

        lua_rawgeti(L, rule, (lua_Integer)i);
        for (int j = 1; j <= 4; j++) {
            lua_rawgeti(L, condition, j);
        }
        args[count++] = (struct scmp_arg_cmp){
            .arg = (unsigned)lua_tointeger(L, condition + 1),
            .op = (enum scmp_compare)lua_tointeger(L, condition + 2),
            .datum_a = (scmp_datum_t)lua_tointeger(L, condition + 3),
            .datum_b = (scmp_datum_t)lua_tointeger(L, condition + 4),
        };
    }
    return number == __NR_SCMP_ERROR ? 0 : seccomp_rule_add_array(filter, action, number, count, args);
}

/* build(default action, {tokens}, {rules}, optimize) -> program, or nil, errno */
static int build(lua_State *L)
{
    scmp_filter_ctx filter = seccomp_init((uint32_t)luaL_checkinteger(L, 1));
    struct sock_filter code[BPF_MAXINSNS];
    int fd = memfd_create("reference", MFD_CLOEXEC);
    int result = 0;
    ssize_t size;

    lua_settop(L, 4);
    for (size_t i = 1; i <= lua_rawlen(L, 2) && result == 0; i++) {
        lua_rawgeti(L, 2, (lua_Integer)i);
        result = seccomp_arch_add(filter, (uint32_t)lua_tointeger(L, -1));
        if (result == -EEXIST) {
            result = 0;
        }
        lua_settop(L, 4);
    }
    seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, (uint32_t)lua_tointeger(L, 4));
    for (size_t i = 1; i <= lua_rawlen(L, 3) && result == 0; i++) {
        lua_rawgeti(L, 3, (lua_Integer)i);
        result = add_rule(L, filter, lua_gettop(L));
        lua_settop(L, 4);
    }
    if (result == 0) {
        result = seccomp_export_bpf(filter, fd);
    }
    size = pread(fd, code, sizeof(code), 0);
    close(fd);
    seccomp_release(filter);
    if (result != 0) {
        lua_pushnil(L);
        lua_pushinteger(L, -result);
        return 2;
    }
    lua_pushlstring(L, (const char *)code, (size_t)size);
    return 1;
}

/* Interprets the instructions that libseccomp and ctrexec emit. For another instruction the result is 1, a
 * value that no action has. */
static uint32_t interpret(const struct sock_filter *code, size_t length, const struct seccomp_data *data)
{
    uint32_t accumulator = 0;

    for (size_t i = 0; i < length; i++) {
        const struct sock_filter *insn = &code[i];

        switch (insn->code) {
        case BPF_LD | BPF_W | BPF_ABS:
            memcpy(&accumulator, (const char *)data + insn->k, sizeof(accumulator));
            break;
        case BPF_ALU | BPF_AND | BPF_K:
            accumulator &= insn->k;
            break;
        case BPF_JMP | BPF_JA:
            i += insn->k;
            break;
        case BPF_JMP | BPF_JEQ | BPF_K:
            i += accumulator == insn->k ? insn->jt : insn->jf;
            break;
        case BPF_JMP | BPF_JGT | BPF_K:
            i += accumulator > insn->k ? insn->jt : insn->jf;
            break;
        case BPF_JMP | BPF_JGE | BPF_K:
            i += accumulator >= insn->k ? insn->jt : insn->jf;
            break;
        case BPF_JMP | BPF_JSET | BPF_K:
            i += (accumulator & insn->k) != 0 ? insn->jt : insn->jf;
            break;
        case BPF_RET | BPF_K:
            return insn->k;
        default:
            return 1;
        }
    }
    return 1;
}

/* run(program, audit architecture, number, arguments...) -> seccomp return value */
static int run(lua_State *L)
{
    size_t size;
    const char *program = luaL_checklstring(L, 1, &size);
    struct seccomp_data data = {.arch = (uint32_t)luaL_checkinteger(L, 2),
                                .nr = (int)luaL_checkinteger(L, 3)};

    for (int i = 0; i < 6; i++) {
        data.args[i] = (uint64_t)luaL_optinteger(L, 4 + i, 0);
    }
    lua_pushinteger(L,
                    interpret((const struct sock_filter *)program, size / sizeof(struct sock_filter), &data));
    return 1;
}

/* call(program, flags, number) -> errno of that call under the program, 0 when it succeeded; nil, signal when
 * killed */
static int call(lua_State *L)
{
    size_t size;
    const char *program = luaL_checklstring(L, 1, &size);
    struct sock_fprog filter = {.len = (unsigned short)(size / sizeof(struct sock_filter)),
                                .filter = (struct sock_filter *)program};
    long flags = (long)luaL_checkinteger(L, 2);
    long number = (long)luaL_checkinteger(L, 3);
    int status = 0;
    pid_t pid = fork();

    if (pid == 0) {
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
            syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &filter)) {
            _exit(255);
        }
        _exit(syscall(number, 0L, 0L, 0L, 0L, 0L, 0L) == -1 ? errno : 0);
    }
    waitpid(pid, &status, 0);
    if (WIFEXITED(status)) {
        lua_pushinteger(L, WEXITSTATUS(status));
        return 1;
    }
    lua_pushnil(L);
    lua_pushinteger(L, WTERMSIG(status));
    return 2;
}

int luaopen_seccomp_reference(lua_State *L)
{
    static const luaL_Reg FUNCTIONS[] = {
        {"architecture", architecture},
        {"build", build},
        {"call", call},
        {"names", names},
        {"native", native},
        {"resolve", resolve},
        {"run", run},
        {NULL, NULL},
    };

    luaL_newlib(L, FUNCTIONS);
    return 1;
}
