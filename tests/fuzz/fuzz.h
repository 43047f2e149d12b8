/* What the fuzz targets share. Each target is one file with an LLVMFuzzerTestOneInput: tests/fuzz/run builds
 * it with libFuzzer and the address and undefined behaviour sanitizers. */
#ifndef CTREXEC_FUZZ_H
#define CTREXEC_FUZZ_H

#include "../../core/common/parse.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A target may define the second, its own mutator; libFuzzer defines the first for it. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed);

_Noreturn static inline void broken(const char *property, const char *file, int line)
{
    fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, property);
    abort();
}

/* A property of the code under test. libFuzzer keeps the input for which it does not hold. */
#define HOLDS(property) ((property) ? (void)0 : broken(#property, __FILE__, __LINE__))

/* Whether the part lies within the whole, or is empty at its end. */
static inline bool within(struct ctx_text part, struct ctx_text whole)
{
    return part.at >= whole.at && part.at <= part.end && part.end <= whole.end;
}

static inline struct ctx_text input_text(const uint8_t *data, size_t size)
{
    return ctx_text((const char *)data, size);
}

/* The number that strtoull(3) finds at the start of the text, which need not end in a NUL. */
static inline uint64_t number_at(struct ctx_text text, int base)
{
    char copy[72] = "";
    size_t size = 0;

    if (text.at < text.end && *text.at == '-') {
        copy[size++] = *text.at++;
    }
    /* leading zeros may be more than there is room for */
    while (text.end - text.at > 1 && text.at[0] == '0' && text.at[1] == '0') {
        text.at++;
    }
    for (; size < sizeof(copy) - 1 && text.at < text.end; size++) {
        copy[size] = *text.at++;
    }
    return strtoull(copy, NULL, base);
}

#endif
