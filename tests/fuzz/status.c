/* The capability sets of /proc/PID/status, whose first line holds a name of the container's choice. */
#include "../../core/capability.h"
#include "fuzz.h"

#include <string.h>

/* Whether a line consists of `key`, which ends in a tab, and this number. */
static bool has_line(struct ctx_text text, const char *key, uint64_t value)
{
    struct ctx_text line;

    while (ctx_text_next(&text, '\n', &line)) {
        if (ctx_text_size(line) <= strlen(key) || memcmp(line.at, key, strlen(key)) != 0) {
            continue;
        }
        line.at += strlen(key);
        if (number_at(line, 16) == value) {
            return true;
        }
    }
    return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct ctx_text input = input_text(data, size);
    struct ctx_capabilities sets;

    if (!ctx_parse_capabilities(input, &sets)) {
        return 0;
    }
    HOLDS(has_line(input, "CapInh:\t", sets.inheritable));
    HOLDS(has_line(input, "CapPrm:\t", sets.permitted));
    HOLDS(has_line(input, "CapEff:\t", sets.effective));
    HOLDS(has_line(input, "CapBnd:\t", sets.bounding));
    HOLDS(has_line(input, "CapAmb:\t", sets.ambient));
    return 0;
}
