/* Bounded reading of the kernel's text files. A text is never taken to end in a NUL byte, and nothing is
 * copied. */
#ifndef CTREXEC_PARSE_H
#define CTREXEC_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ctx_text {
    const char *at;
    const char *end;
};

struct ctx_text ctx_text(const char *data, size_t size);
size_t ctx_text_size(struct ctx_text text);

/* Cuts the part before the first `separator` off `rest`; the last part ends with the text. Returns false when
 * `rest` is used up. Parts may be empty. */
bool ctx_text_next(struct ctx_text *rest, char separator, struct ctx_text *part);

bool ctx_text_is(struct ctx_text text, const char *word);
bool ctx_text_starts(struct ctx_text text, const char *prefix);

/* Reads the whole text as a number: nothing but digits, and no more than a uint64_t can hold. */
bool ctx_text_number(struct ctx_text text, unsigned int base, uint64_t *value);

/* As ctx_text_number in base 10, with an optional minus sign. */
bool ctx_text_signed(struct ctx_text text, int64_t *value);

#endif
