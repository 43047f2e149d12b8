/* The kernel's texts about cgroups: /proc/PID/cgroup, /proc/PID/mountinfo and files of keys and values. */
#include "cgroup.h"

#include <limits.h>
#include <string.h>

enum {
    DECIMAL = 10,
    OCTAL = 8,
    ESCAPE_SIZE = 4,
};

bool ctx_next_cgroup(struct ctx_text *rest, struct ctx_cgroup *cgroup)
{
    struct ctx_text line;
    while (ctx_text_next(rest, '\n', &line)) {
        struct ctx_text hierarchy;
        if (ctx_text_next(&line, ':', &hierarchy) &&
            ctx_text_number(hierarchy, DECIMAL, &cgroup->hierarchy) &&
            ctx_text_next(&line, ':', &cgroup->controllers) && ctx_text_starts(line, "/")) {
            cgroup->path = line;
            return true;
        }
    }
    return false;
}

static bool skip_fields(struct ctx_text *line, int count)
{
    struct ctx_text field;
    while (count > 0 && ctx_text_next(line, ' ', &field)) {
        count--;
    }
    return count == 0;
}

/* Any number of optional fields end with a "-" by itself. */
static bool skip_optional_fields(struct ctx_text *line)
{
    struct ctx_text field;
    while (ctx_text_next(line, ' ', &field)) {
        if (ctx_text_is(field, "-")) {
            return true;
        }
    }
    return false;
}

static bool parse_mount(struct ctx_text line, struct ctx_cgroup_mount *mount)
{
    struct ctx_text id;
    if (!ctx_text_next(&line, ' ', &id) || !ctx_text_number(id, DECIMAL, &mount->id)) {
        return false;
    }
    struct ctx_text type;
    /* The parent mount and the device come before the root, the mount's own options before the optional
     * fields. */
    if (!skip_fields(&line, 2) || !ctx_text_next(&line, ' ', &mount->root) ||
        !ctx_text_next(&line, ' ', &mount->point) || !skip_fields(&line, 1) || !skip_optional_fields(&line) ||
        !ctx_text_next(&line, ' ', &type)) {
        return false;
    }
    mount->unified = ctx_text_is(type, "cgroup2");
    if (!mount->unified && !ctx_text_is(type, "cgroup")) {
        return false;
    }
    return skip_fields(&line, 1) && ctx_text_next(&line, ' ', &mount->options);
}

bool ctx_next_cgroup_mount(struct ctx_text *rest, struct ctx_cgroup_mount *mount)
{
    struct ctx_text line;
    while (ctx_text_next(rest, '\n', &line)) {
        if (parse_mount(line, mount)) {
            return true;
        }
    }
    return false;
}

static bool is_controller(struct ctx_text option)
{
    static const char *const others[] = {
        "rw",           "ro",       "none",           "xattr",         "noprefix",
        "favordynmods", "seclabel", "clone_children", "cpuset_v2_mode"};
    for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++) {
        if (ctx_text_is(option, others[i])) {
            return false;
        }
    }
    return ctx_text_starts(option, "name=") || memchr(option.at, '=', ctx_text_size(option)) == NULL;
}

bool ctx_next_controller(struct ctx_text *options, struct ctx_text *controller)
{
    while (ctx_text_next(options, ',', controller)) {
        if (ctx_text_size(*controller) > 0 && is_controller(*controller)) {
            return true;
        }
    }
    return false;
}

/* The character that "\ooo" at the start of the text stands for. */
static bool escaped_character(struct ctx_text text, char *character)
{
    if (ctx_text_size(text) < ESCAPE_SIZE || *text.at != '\\') {
        return false;
    }
    text = ctx_text(text.at + 1, ESCAPE_SIZE - 1);
    uint64_t value = 0;
    if (!ctx_text_number(text, OCTAL, &value) || value == 0 || value > UCHAR_MAX) {
        return false;
    }
    *character = (char)(unsigned char)value;
    return true;
}

bool ctx_unescape(struct ctx_text escaped, char *path, size_t size)
{
    size_t length = 0;
    while (escaped.at < escaped.end) {
        char character = *escaped.at;
        escaped.at += escaped_character(escaped, &character) ? ESCAPE_SIZE : 1;
        if (character == '\0' || length + 1 >= size) {
            return false;
        }
        path[length++] = character;
    }
    if (length >= size) {
        return false;
    }
    path[length] = '\0';
    return true;
}

bool ctx_keyed_value(struct ctx_text text, const char *key, uint64_t *value)
{
    struct ctx_text line;
    struct ctx_text word;
    while (ctx_text_next(&text, '\n', &line)) {
        if (ctx_text_next(&line, ' ', &word) && ctx_text_is(word, key)) {
            return ctx_text_number(line, DECIMAL, value);
        }
    }
    return false;
}
