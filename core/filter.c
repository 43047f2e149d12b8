/* Interprets a seccomp program to see whether it allows the calls of common/late.h. If it does not, final has
 * to keep the privilege to install the program until it is installed. */
#include "filter.h"
#include "common/late.h"

#include <linux/audit.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#define CTX_AUDIT_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define CTX_AUDIT_ARCH AUDIT_ARCH_AARCH64
#else
#error "filter.c: only x86-64 and arm64 are supported"
#endif

/* The registers of the classic BPF machine; bpf(4) in BSD, Documentation/networking/filter.rst in Linux. */
struct machine {
    uint32_t a, x;
    uint32_t memory[BPF_MEMWORDS];
    const struct seccomp_data *call;
};

/* The operand of a load; false for one that seccomp does not know. */
static bool load(const struct machine *machine, const struct sock_filter *code, uint32_t *value)
{
    switch (BPF_MODE(code->code)) {
    case BPF_IMM:
        *value = code->k;
        return true;
    case BPF_LEN:
        *value = sizeof(*machine->call);
        return BPF_SIZE(code->code) == BPF_W;
    case BPF_MEM:
        *value = code->k < BPF_MEMWORDS ? machine->memory[code->k] : 0;
        return code->k < BPF_MEMWORDS;
    case BPF_ABS:
        if (code->k % sizeof(*value) != 0 || code->k > sizeof(*machine->call) - sizeof(*value)) {
            return false;
        }
        memcpy(value, (const char *)machine->call + code->k, sizeof(*value));
        return BPF_CLASS(code->code) == BPF_LD && BPF_SIZE(code->code) == BPF_W;
    default:
        return false;
    }
}

static bool store(struct machine *machine, const struct sock_filter *code, uint32_t value)
{
    if (code->k >= BPF_MEMWORDS) {
        return false;
    }
    machine->memory[code->k] = value;
    return true;
}

static bool calculate(struct machine *machine, const struct sock_filter *code)
{
    const uint32_t operand = BPF_SRC(code->code) == BPF_X ? machine->x : code->k;
    switch (BPF_OP(code->code)) {
    case BPF_ADD:
        machine->a += operand;
        return true;
    case BPF_SUB:
        machine->a -= operand;
        return true;
    case BPF_MUL:
        machine->a *= operand;
        return true;
    case BPF_DIV:
        machine->a = operand == 0 ? 0 : machine->a / operand;
        return operand != 0;
    case BPF_OR:
        machine->a |= operand;
        return true;
    case BPF_AND:
        machine->a &= operand;
        return true;
    case BPF_XOR:
        machine->a ^= operand;
        return true;
    /* The kernel accepts no constant above 31, and uses the lowest five bits of a register. */
    case BPF_LSH:
        machine->a <<= operand % 32;
        return true;
    case BPF_RSH:
        machine->a >>= operand % 32;
        return true;
    case BPF_NEG:
        machine->a = 0 - machine->a;
        return true;
    default:
        return false;
    }
}

/* How many instructions to pass over; false for an unknown condition. */
static bool jump(const struct machine *machine, const struct sock_filter *code, uint32_t *distance)
{
    const uint32_t operand = BPF_SRC(code->code) == BPF_X ? machine->x : code->k;
    bool holds = 0;
    switch (BPF_OP(code->code)) {
    case BPF_JA:
        *distance = code->k;
        return true;
    case BPF_JEQ:
        holds = machine->a == operand;
        break;
    case BPF_JGT:
        holds = machine->a > operand;
        break;
    case BPF_JGE:
        holds = machine->a >= operand;
        break;
    case BPF_JSET:
        holds = (machine->a & operand) != 0;
        break;
    default:
        return false;
    }
    *distance = holds ? code->jt : code->jf;
    return true;
}

uint32_t ctx_filter_run(const struct sock_filter *program, size_t count, const struct seccomp_data *call)
{
    struct machine machine = {.call = call};
    /* jumps only go forward, so this ends */
    for (uint64_t at = 0; at < count; at++) {
        const struct sock_filter *code = &program[at];
        uint32_t distance = 0;
        bool known = true;
        switch (BPF_CLASS(code->code)) {
        case BPF_LD:
            known = load(&machine, code, &machine.a);
            break;
        case BPF_LDX:
            known = load(&machine, code, &machine.x);
            break;
        case BPF_ST:
            known = store(&machine, code, machine.a);
            break;
        case BPF_STX:
            known = store(&machine, code, machine.x);
            break;
        case BPF_ALU:
            if (code->code == (BPF_ALU | BPF_DIV | BPF_X) && machine.x == 0) {
                return SECCOMP_RET_KILL_THREAD; /* the kernel ends the program with 0 */
            }
            known = calculate(&machine, code);
            break;
        case BPF_JMP:
            known = jump(&machine, code, &distance);
            break;
        case BPF_RET:
            return BPF_RVAL(code->code) == BPF_A ? machine.a : code->k;
        default: /* BPF_MISC */
            if (BPF_MISCOP(code->code) == BPF_TAX) {
                machine.x = machine.a;
            } else {
                machine.a = machine.x;
            }
        }
        if (!known) {
            return SECCOMP_RET_KILL_PROCESS;
        }
        at += distance;
    }
    return SECCOMP_RET_KILL_PROCESS;
}

static bool passes(const struct sock_filter *program, size_t count, int number, uint64_t first,
                   uint64_t second)
{
    const struct seccomp_data call = {.nr = number, .arch = CTX_AUDIT_ARCH, .args = {first, second}};
    const uint32_t action = ctx_filter_run(program, count, &call) & SECCOMP_RET_ACTION_FULL;
    return action == SECCOMP_RET_ALLOW || action == SECCOMP_RET_LOG;
}

bool ctx_filter_lets_enter(const struct sock_filter *program, size_t count, const struct plan *plan)
{
    const struct {
        uint32_t flag;
        int number;
        uint64_t arguments[2];
    } calls[] = {
#define CALL(flag, ...) {(flag), LATE_NUMBER(__VA_ARGS__), {LATE_ARGUMENTS(__VA_ARGS__)}},
        LATE_CALLS(CALL)
#undef CALL
    };
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        const bool made = calls[i].flag == 0 || (plan->flags & calls[i].flag) != 0;
        if (made && !passes(program, count, calls[i].number, calls[i].arguments[0], calls[i].arguments[1])) {
            return false;
        }
    }
    return true;
}
