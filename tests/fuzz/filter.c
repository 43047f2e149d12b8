/* core/filter.c runs a seccomp program on paper, also one that crun compiled. Whatever the program is, the
 * run ends and stays within bounds; and where the kernel would take the program, the answer is the kernel's.
 *
 * The kernel gives its answer when the program is a socket's filter: that runs on the same machine, except
 * that it loads in network byte order. The input is the 64 bytes of struct seccomp_data, then the program. */
#include "../../core/filter.h"
#include "fuzz.h"
#include "seccomp.h"

#include <arpa/inet.h>
#include <string.h>
#include <sys/socket.h>

enum { MOST = 1024, WORDS = sizeof(struct seccomp_data) / sizeof(uint32_t) };

/* A socket's filter says how much of a packet is taken. So each return of the program becomes one of two: all
 * of the packet for the expected value, nothing for others, or the other way round when 0 is expected: a
 * division by zero ends a program with 0, which takes nothing. */
static size_t as_question(const struct sock_filter *code, size_t count, uint32_t expected,
                          struct sock_filter question[MOST + 3])
{
    const uint32_t yes = expected == 0 ? 0 : UINT32_MAX;
    /* behind the program: compares a value that is returned from the accumulator */
    const struct sock_filter compare[] = {
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, expected, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, yes),
        BPF_STMT(BPF_RET | BPF_K, ~yes),
    };
    for (size_t i = 0; i < count; i++) {
        question[i] = code[i];
        if (code[i].code == (BPF_RET | BPF_K)) {
            question[i].k = code[i].k == expected ? yes : ~yes;
        } else if (code[i].code == (BPF_RET | BPF_A)) {
            question[i] = (struct sock_filter)BPF_STMT(BPF_JMP | BPF_JA, (uint32_t)(count - i - 1));
        }
    }
    memcpy(question + count, compare, sizeof(compare));
    return count + 3;
}

/* Whether the kernel's answer is the expected one too. */
static bool kernel_agrees(const struct sock_filter *code, size_t count, const struct seccomp_data *call,
                          uint32_t expected)
{
    static int ends[2] = {-1, -1};
    struct sock_filter question[MOST + 3];
    uint32_t packet[WORDS];
    struct sock_fprog program = {.len = (unsigned short)as_question(code, count, expected, question),
                                 .filter = question};

    HOLDS(ends[0] >= 0 || socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, ends) == 0);
    HOLDS(setsockopt(ends[0], SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) == 0);
    memcpy(packet, call, sizeof(packet));
    for (size_t i = 0; i < WORDS; i++) {
        packet[i] = htonl(packet[i]);
    }
    const bool taken = send(ends[1], packet, sizeof(packet), MSG_DONTWAIT) == (ssize_t)sizeof(packet) &&
                       recv(ends[0], packet, sizeof(packet), MSG_DONTWAIT) == (ssize_t)sizeof(packet);
    return taken == (expected != 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct seccomp_data call;

    if (size < sizeof(call) + sizeof(struct sock_filter)) {
        return 0;
    }
    memcpy(&call, data, sizeof(call));
    const size_t count = (size - sizeof(call)) / sizeof(struct sock_filter);
    struct sock_filter *code = malloc(count * sizeof(*code));
    if (code == NULL || count > MOST) {
        free(code);
        return 0;
    }
    memcpy(code, data + sizeof(call), count * sizeof(*code));
    const uint32_t answer = ctx_filter_run(code, count, &call);
    if (kernel_takes(code, count)) {
        HOLDS(kernel_agrees(code, count, &call, answer));
    }
    const struct plan plan = {.flags = PLAN_TERMINAL | PLAN_SCHEDULER | PLAN_WAIT};
    ctx_filter_lets_enter(code, count, &plan);
    free(code);
    return 0;
}

/* ---- making programs, which chance alone would not make ---- */

static uint32_t next_random(uint32_t *state)
{
    *state = *state * 1664525 + 1013904223;
    return *state >> 8;
}

static uint32_t operand(uint32_t *random, uint32_t left)
{
    const uint32_t some[] = {0, 1, 4, 16, 31, 32, 33, 60, 64, 0x7fff0000, 0x80000000, UINT32_MAX, left};

    return some[next_random(random) % (sizeof(some) / sizeof(*some))];
}

/* A random operation of any kind that the kernel takes. */
static uint16_t operation(uint32_t *random)
{
    static const uint16_t others[] = {
        BPF_LD | BPF_W | BPF_ABS,
        BPF_LD | BPF_IMM,
        BPF_LDX | BPF_IMM,
        BPF_LD | BPF_W | BPF_LEN,
        BPF_LDX | BPF_W | BPF_LEN,
        BPF_LD | BPF_MEM,
        BPF_LDX | BPF_MEM,
        BPF_ST,
        BPF_STX,
        BPF_MISC | BPF_TAX,
        BPF_MISC | BPF_TXA,
        BPF_ALU | BPF_NEG,
        BPF_JMP | BPF_JA,
        BPF_RET | BPF_K,
        BPF_RET | BPF_A,
    };
    static const uint16_t calculations[] = {BPF_ADD, BPF_SUB, BPF_MUL, BPF_DIV, BPF_AND,
                                            BPF_OR,  BPF_XOR, BPF_LSH, BPF_RSH};
    static const uint16_t jumps[] = {BPF_JEQ, BPF_JGT, BPF_JGE, BPF_JSET};
    const uint16_t source = next_random(random) % 2 == 0 ? BPF_K : BPF_X;

    switch (next_random(random) % 4) {
    case 0:
        return BPF_JMP | source | jumps[next_random(random) % (sizeof(jumps) / sizeof(*jumps))];
    case 1:
        return BPF_ALU | source |
               calculations[next_random(random) % (sizeof(calculations) / sizeof(*calculations))];
    default:
        return others[next_random(random) % (sizeof(others) / sizeof(*others))];
    }
}

/* A random instruction that the kernel usually takes with `left` instructions behind it. */
static struct sock_filter instruction(uint32_t *random, uint32_t left)
{
    struct sock_filter code = {.code = operation(random)};

    code.k = operand(random, left);
    if (BPF_CLASS(code.code) == BPF_JMP && left > 0) {
        code.jt = (uint8_t)(next_random(random) % left);
        code.jf = (uint8_t)(next_random(random) % left);
        code.k = BPF_OP(code.code) == BPF_JA ? next_random(random) % left : code.k;
    } else if (BPF_CLASS(code.code) == BPF_LD && BPF_MODE(code.code) == BPF_ABS) {
        code.k = next_random(random) % WORDS * 4;
    } else if (BPF_MODE(code.code) == BPF_MEM || BPF_CLASS(code.code) == BPF_ST ||
               BPF_CLASS(code.code) == BPF_STX) {
        code.k = next_random(random) % 2; /* few places, so that what is loaded was stored */
    } else if (BPF_CLASS(code.code) == BPF_ALU &&
               (BPF_OP(code.code) == BPF_LSH || BPF_OP(code.code) == BPF_RSH)) {
        code.k %= 32;
    }
    return code;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
    const size_t head = sizeof(struct seccomp_data);
    const struct sock_filter end = BPF_STMT(BPF_RET | BPF_A, 0);
    uint32_t random = seed;

    if (next_random(&random) % 4 == 0 || size < head || max_size < head + 64 * sizeof(end)) {
        return LLVMFuzzerMutate(data, size, max_size);
    }
    uint32_t count = (uint32_t)((size - head) / sizeof(end));
    if (count < 2 || next_random(&random) % 8 == 0) {
        count = 2 + next_random(&random) % 30;
        for (uint32_t i = 0; i + 1 < count; i++) {
            const struct sock_filter code = instruction(&random, count - i - 1);
            memcpy(data + head + i * sizeof(code), &code, sizeof(code));
        }
        memcpy(data + head + (count - 1) * sizeof(end), &end, sizeof(end));
    } else {
        const uint32_t at = next_random(&random) % (count - 1);
        const struct sock_filter code = instruction(&random, count - at - 1);
        memcpy(data + head + at * sizeof(code), &code, sizeof(code));
    }
    return head + count * sizeof(end);
}
