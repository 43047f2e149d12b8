/* The target of a link in /proc/PID/ns. */
#include "../../core/namespace.h"
#include "fuzz.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct ctx_text input = input_text(data, size);
    uint64_t inode;

    if (!ctx_parse_namespace(input, &inode)) {
        return 0;
    }
    const char *bracket = memchr(input.at, '[', size);
    HOLDS(bracket != NULL && input.end[-1] == ']');
    HOLDS(number_at((struct ctx_text){bracket + 1, input.end}, 10) == inode);
    for (const char *at = bracket + 1; at < input.end - 1; at++) {
        HOLDS(*at >= '0' && *at <= '9');
    }
    return 0;
}
