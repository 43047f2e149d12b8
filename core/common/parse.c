#include "parse.h"

#include <string.h>

enum {
    TEN = 10,
};

struct ctx_text ctx_text(const char *data, size_t size)
{
    return (struct ctx_text){data, data + size};
}

size_t ctx_text_size(struct ctx_text text)
{
    return (size_t)(text.end - text.at);
}

bool ctx_text_next(struct ctx_text *rest, char separator, struct ctx_text *part)
{
    if (rest->at == rest->end) {
        return false;
    }
    const char *found = memchr(rest->at, separator, ctx_text_size(*rest));
    *part = (struct ctx_text){rest->at, found != NULL ? found : rest->end};
    rest->at = found != NULL ? found + 1 : rest->end;
    return true;
}

bool ctx_text_is(struct ctx_text text, const char *word)
{
    return ctx_text_size(text) == strlen(word) && ctx_text_starts(text, word);
}

bool ctx_text_starts(struct ctx_text text, const char *prefix)
{
    size_t length = strlen(prefix);
    return ctx_text_size(text) >= length && memcmp(text.at, prefix, length) == 0;
}

/* The value of a digit; 16, more than any base here has, for another character. */
static unsigned int digit_value(char digit)
{
    static const char digits[] = "0123456789abcdef";
    const char *found = digit != '\0' ? strchr(digits, digit) : NULL;
    return found != NULL ? (unsigned int)(found - digits) : sizeof(digits) - 1;
}

bool ctx_text_number(struct ctx_text text, unsigned int base, uint64_t *value)
{
    uint64_t number = 0;
    if (text.at == text.end) {
        return false;
    }
    for (; text.at < text.end; text.at++) {
        unsigned int digit = digit_value(*text.at);
        if (digit >= base || number > (UINT64_MAX - digit) / base) {
            return false;
        }
        number = number * base + digit;
    }
    *value = number;
    return true;
}

bool ctx_text_signed(struct ctx_text text, int64_t *value)
{
    bool negative = ctx_text_starts(text, "-");
    text.at += negative ? 1 : 0;
    uint64_t number = 0;
    if (!ctx_text_number(text, TEN, &number) || number > INT64_MAX) {
        return false;
    }
    *value = negative ? -(int64_t)number : (int64_t)number;
    return true;
}
