/* /proc/PID/cgroup, whose paths the container names, and keyed files as memory.events. */
#include "../../core/cgroup.h"
#include "fuzz.h"

#include <string.h>

static size_t lines_of(struct ctx_text text)
{
    size_t count = 1;

    for (; text.at < text.end; text.at++) {
        count += *text.at == '\n';
    }
    return count;
}

static void check_lines(struct ctx_text input)
{
    struct ctx_text rest = input;
    struct ctx_cgroup cgroup;
    const char *last = input.at;
    size_t count = 0;

    while (ctx_next_cgroup(&rest, &cgroup)) {
        count++;
        HOLDS(within(cgroup.controllers, input) && within(cgroup.path, input));
        HOLDS(cgroup.controllers.at > last && cgroup.controllers.end[0] == ':');
        HOLDS(cgroup.path.at == cgroup.controllers.end + 1 && *cgroup.path.at == '/');
        HOLDS(cgroup.path.end == input.end || *cgroup.path.end == '\n');
        HOLDS(memchr(cgroup.controllers.at, '\n', (size_t)(cgroup.path.end - cgroup.controllers.at)) == NULL);
        HOLDS(memchr(cgroup.controllers.at, ':', ctx_text_size(cgroup.controllers)) == NULL);
        /* only the hierarchy's number stands before the controllers */
        const char *line = cgroup.controllers.at - 1;
        while (line > input.at && line[-1] != '\n') {
            line--;
        }
        HOLDS(number_at((struct ctx_text){line, input.end}, 10) == cgroup.hierarchy);
        last = cgroup.path.end;
    }
    HOLDS(rest.at == rest.end && count <= lines_of(input));
}

static void check_keys(struct ctx_text input)
{
    uint64_t value;

    if (ctx_keyed_value(input, "oom_kill", &value)) {
        char line[64];
        /* the value may differ from how it is written by leading zeros only */
        int length = snprintf(line, sizeof(line), "%llu", (unsigned long long)value);
        HOLDS(memmem(input.at, ctx_text_size(input), "oom_kill ", strlen("oom_kill ")) != NULL);
        HOLDS(memmem(input.at, ctx_text_size(input), line, (size_t)length) != NULL);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    check_lines(input_text(data, size));
    check_keys(input_text(data, size));
    return 0;
}
