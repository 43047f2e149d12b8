#include "passwd.h"

enum { FIELD_UID = 2, FIELD_HOME = 5 };

static void next_line(struct passwd_search *search)
{
    search->field = 0;
    search->skip = false;
    search->number = 0;
    search->digits = 0;
    search->length = 0;
}

void passwd_begin(struct passwd_search *search, uint32_t uid)
{
    search->uid = uid;
    search->found = false;
    next_line(search);
}

static void end_field(struct passwd_search *search)
{
    if (search->field == FIELD_UID && (search->digits == 0 || search->number != search->uid)) {
        search->skip = true;
    }
    if (search->field == FIELD_HOME && !search->skip) {
        search->home[search->length] = '\0';
        search->found = true;
    }
    search->field++;
}

static void uid_digit(struct passwd_search *search, char c)
{
    if (c < '0' || c > '9' || search->digits == 10) {
        search->skip = true;
    } else {
        search->number = search->number * 10 + (unsigned)(c - '0');
        search->digits++;
    }
}

static void home_byte(struct passwd_search *search, char c)
{
    /* a NUL would cut the value short, and no system call takes a path longer than PATH_MAX */
    if (c == '\0' || search->length == sizeof(search->home) - 1) {
        search->skip = true;
    } else {
        search->home[search->length++] = c;
    }
}

bool passwd_feed(struct passwd_search *search, const char *bytes, size_t count)
{
    for (size_t i = 0; i < count && !search->found; i++) {
        char c = bytes[i];
        if (c == '\n') {
            end_field(search);
            if (!search->found) {
                next_line(search);
            }
        } else if (c == ':') {
            end_field(search);
        } else if (search->field == FIELD_UID && !search->skip) {
            uid_digit(search, c);
        } else if (search->field == FIELD_HOME && !search->skip) {
            home_byte(search, c);
        }
    }
    return search->found;
}

bool passwd_end(struct passwd_search *search)
{
    return passwd_feed(search, "\n", 1);
}
