#include "bpf.h"

#include <string.h>

/* A subtree of this many segments is never longer than the 255 instructions that a conditional jump spans. */
#define SHORT_SUBTREE 64

unsigned bpf_emit(struct bpf_program *program, uint16_t code, uint8_t jt, uint8_t jf, uint32_t k)
{
    struct sock_filter instruction = {.code = code, .jt = jt, .jf = jf, .k = k};
    unsigned index = program->length;
    bpf_append(program, &instruction, 1);
    return index;
}

void bpf_append(struct bpf_program *program, const struct sock_filter *code, size_t length)
{
    if (length > BPF_MAXINSNS - program->length) {
        program->overflow = true;
        return;
    }
    memcpy(program->code + program->length, code, length * sizeof(*code));
    program->length += (unsigned)length;
}

void bpf_land(struct bpf_program *program, unsigned index)
{
    if (index < program->length) {
        program->code[index].k = program->length - index - 1;
    }
}

static void search(struct bpf_program *program, const struct bpf_segment *segments, size_t count)
{
    size_t half = count / 2;
    unsigned node = 0;
    if (count == 1) {
        if (segments->value == BPF_SEGMENT_NEXT) {
            bpf_emit(program, BPF_JMP | BPF_JA, 0, 0, BPF_SEGMENT_NEXT);
        } else {
            bpf_emit(program, BPF_RET | BPF_K, 0, 0, segments->value);
        }
        return;
    }
    if (half > SHORT_SUBTREE) {
        bpf_emit(program, BPF_JMP | BPF_JGE | BPF_K, 0, 1, segments[half].start);
        node = bpf_emit(program, BPF_JMP | BPF_JA, 0, 0, 0);
        search(program, segments, half);
        bpf_land(program, node);
    } else {
        node = bpf_emit(program, BPF_JMP | BPF_JGE | BPF_K, 0, 0, segments[half].start);
        search(program, segments, half);
        if (!program->overflow) {
            program->code[node].jt = (uint8_t)(program->length - node - 1);
        }
    }
    search(program, segments + half, count - half);
}

void bpf_search(struct bpf_program *program, const struct bpf_segment *segments, size_t count)
{
    unsigned first = program->length;
    search(program, segments, count);
    for (unsigned i = first; i < program->length; i++) {
        if (program->code[i].code == (BPF_JMP | BPF_JA) && program->code[i].k == BPF_SEGMENT_NEXT) {
            bpf_land(program, i);
        }
    }
}
