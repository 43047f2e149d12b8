/* The cgroup mounts in /proc/PID/mountinfo, and the octal escapes in its paths. */
#include "../../core/cgroup.h"
#include "fuzz.h"

#include <string.h>

enum { SMALL = 24 };

/* How long the text is with its escapes resolved, and whether it has a NUL. */
static size_t plain_length(struct ctx_text text, bool *has_nul)
{
    size_t length = 0;

    *has_nul = false;
    for (; text.at < text.end; length++) {
        const char *c = text.at;
        bool octal = text.end - c >= 4 && c[0] == '\\';
        for (int i = 1; octal && i <= 3; i++) {
            octal = c[i] >= '0' && c[i] <= '7';
        }
        const int value = octal ? (c[1] - '0') * 64 + (c[2] - '0') * 8 + (c[3] - '0') : 0;
        const bool escape = octal && value > 0 && value <= 255;
        *has_nul = *has_nul || *c == '\0';
        text.at += escape ? 4 : 1;
    }
    return length;
}

static void check_unescape(struct ctx_text escaped, size_t room)
{
    char *path = malloc(room); /* of just that size, for the address sanitizer */
    bool has_nul;
    const size_t length = plain_length(escaped, &has_nul);
    const bool fits = path != NULL && ctx_unescape(escaped, path, room);

    HOLDS(fits == (!has_nul && length < room));
    HOLDS(!fits || strlen(path) == length);
    free(path);
}

static void check_field(struct ctx_text field, struct ctx_text input)
{
    HOLDS(within(field, input));
    HOLDS(memchr(field.at, ' ', ctx_text_size(field)) == NULL);
    HOLDS(memchr(field.at, '\n', ctx_text_size(field)) == NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct ctx_text input = input_text(data, size);
    struct ctx_text rest = input;
    struct ctx_cgroup_mount mount;

    while (ctx_next_cgroup_mount(&rest, &mount)) {
        struct ctx_text controller;
        const struct ctx_text options = mount.options;
        check_field(mount.root, input);
        check_field(mount.point, input);
        check_field(mount.options, input);
        HOLDS(mount.root.end + 1 == mount.point.at && mount.point.end < mount.options.at);
        check_unescape(mount.point, size + 1);
        check_unescape(mount.point, SMALL);
        while (ctx_next_controller(&mount.options, &controller)) {
            HOLDS(within(controller, options) && ctx_text_size(controller) > 0);
            HOLDS(memchr(controller.at, ',', ctx_text_size(controller)) == NULL);
            HOLDS(!ctx_text_is(controller, "rw") && !ctx_text_is(controller, "xattr"));
        }
    }
    HOLDS(rest.at == rest.end);
    check_unescape(input, SMALL);
    return 0;
}
