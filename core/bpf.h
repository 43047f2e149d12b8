/* A seccomp program under construction: the few shapes of classic BPF that seccomp.c needs. */
#ifndef CTREXEC_BPF_H
#define CTREXEC_BPF_H

#include <linux/filter.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The kernel refuses longer programs (BPF_MAXINSNS). `overflow` is set, and nothing written, past the end. */
struct bpf_program {
    struct sock_filter code[BPF_MAXINSNS];
    unsigned length;
    bool overflow;
};

/* System call numbers from `start` up to the next segment's start get `value`, a seccomp return value. */
struct bpf_segment {
    uint32_t start;
    uint32_t value;
};

/* In place of a seccomp return value: go on behind the table. No action has this value. */
#define BPF_SEGMENT_NEXT UINT32_MAX

/* Appends one instruction and returns its index. */
unsigned bpf_emit(struct bpf_program *program, uint16_t code, uint8_t jt, uint8_t jf, uint32_t k);

/* Appends instructions made elsewhere; their jumps are relative, so they may stand anywhere. */
void bpf_append(struct bpf_program *program, const struct sock_filter *code, size_t length);

/* Makes the unconditional jump at `index` land on the next instruction to be emitted. */
void bpf_land(struct bpf_program *program, unsigned index);

/* Appends a binary search of the accumulator. The segments are ascending, and the first one starts at 0. */
void bpf_search(struct bpf_program *program, const struct bpf_segment *segments, size_t count);

#endif
