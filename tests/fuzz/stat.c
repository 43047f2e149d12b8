/* /proc/PID/stat: the command name is the container's to choose. */
#include "../../core/process.h"
#include "fuzz.h"

#include <string.h>

/* The text from field `number` on of those behind the last parenthesis, which single spaces separate. */
static struct ctx_text field(struct ctx_text rest, int number)
{
    for (; number > 0; number--) {
        const char *space = memchr(rest.at, ' ', ctx_text_size(rest));
        HOLDS(space != NULL);
        rest.at = space + 1;
    }
    return rest;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct ctx_text input = input_text(data, size);
    struct ctx_stat stat;

    if (!ctx_parse_stat(input, &stat)) {
        return 0;
    }
    HOLDS(within(stat.comm, input));
    HOLDS(stat.comm.at[-1] == '(' && *stat.comm.end == ')');
    HOLDS(memchr(input.at, '(', ctx_text_size(input)) == stat.comm.at - 1);

    const struct ctx_text rest = {stat.comm.end + 2, input.end};
    HOLDS(memchr(rest.at, ')', ctx_text_size(rest)) == NULL);
    HOLDS(stat.state == *rest.at);
    HOLDS(stat.ppid == (int64_t)number_at(field(rest, 1), 10));
    HOLDS(stat.pgrp == (int64_t)number_at(field(rest, 2), 10));
    HOLDS(stat.session == (int64_t)number_at(field(rest, 3), 10));
    HOLDS(stat.tty == (int64_t)number_at(field(rest, 4), 10));
    HOLDS(stat.flags == number_at(field(rest, 6), 10));
    HOLDS(stat.start_time == number_at(field(rest, 19), 10));
    /* a number counts only if another field follows it: a full buffer may have cut the last one */
    field(rest, 20);
    return 0;
}
