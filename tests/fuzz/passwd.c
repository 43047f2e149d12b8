/* The container's /etc/passwd. Whatever pieces read(2) gives, the answer is the same as for the whole file.
 * The first byte of the input picks the user and how the file is cut. */
#include "../../core/enter/passwd.h"
#include "fuzz.h"

#include <string.h>

enum { UID_FIELD = 2, HOME_FIELD = 5, FIELDS = 6 };

/* The uid as written: 1 to 10 digits. */
static bool is_uid(struct ctx_text field, uint32_t uid)
{
    uint64_t number;

    return ctx_text_size(field) <= 10 && ctx_text_number(field, 10, &number) && number == uid;
}

/* Cuts the line at its colons, as many as are wanted; how many fields there are. */
static int cut(struct ctx_text line, struct ctx_text fields[FIELDS])
{
    int count = 0;
    const char *start = line.at;

    for (const char *at = line.at; at <= line.end && count < FIELDS; at++) {
        if (at == line.end || *at == ':') {
            fields[count++] = (struct ctx_text){start, at};
            start = at + 1;
        }
    }
    return count;
}

/* The first line of the user whose home is a usable path. */
static bool expected_home(struct ctx_text text, uint32_t uid, struct ctx_text *home)
{
    struct ctx_text line;

    while (ctx_text_next(&text, '\n', &line)) {
        struct ctx_text fields[FIELDS];
        if (cut(line, fields) < FIELDS || !is_uid(fields[UID_FIELD], uid)) {
            continue;
        }
        *home = fields[HOME_FIELD];
        if (ctx_text_size(*home) < PASSWD_HOME_MAX && memchr(home->at, '\0', ctx_text_size(*home)) == NULL) {
            return true;
        }
    }
    return false;
}

/* Feeds pieces of the sizes that `sizes` says, as exact allocations; then the end of the file. */
static bool search_in_pieces(struct passwd_search *search, uint32_t uid, struct ctx_text text, uint32_t sizes)
{
    bool found = false;

    passwd_begin(search, uid);
    while (!found && text.at < text.end) {
        size_t piece = sizes % 7 == 0 ? ctx_text_size(text) : 1 + sizes % 13;
        piece = piece < ctx_text_size(text) ? piece : ctx_text_size(text);
        char *copy = malloc(piece);
        if (copy == NULL) {
            abort();
        }
        memcpy(copy, text.at, piece);
        found = passwd_feed(search, copy, piece);
        free(copy);
        text.at += piece;
        sizes = sizes * 1103515245 + 12345;
    }
    return found || passwd_end(search);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint32_t uids[] = {0, 1, 33, 1000, 65534, 2147483648, UINT32_MAX};
    struct passwd_search *search = malloc(sizeof(*search));
    struct ctx_text home = {NULL, NULL};

    if (search == NULL || size == 0) {
        free(search);
        return 0;
    }
    const uint32_t uid = uids[data[0] % (sizeof(uids) / sizeof(*uids))];
    const struct ctx_text text = input_text(data + 1, size - 1);
    const bool expected = expected_home(text, uid, &home);
    const uint32_t cuts[] = {0, 1, data[0] * 2654435761U};
    for (size_t i = 0; i < sizeof(cuts) / sizeof(*cuts); i++) {
        HOLDS(search_in_pieces(search, uid, text, cuts[i]) == expected);
        HOLDS(!expected || strlen(search->home) == ctx_text_size(home));
        HOLDS(!expected || memcmp(search->home, home.at, ctx_text_size(home)) == 0);
    }
    free(search);
    return 0;
}
