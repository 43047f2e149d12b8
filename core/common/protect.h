/* The protections that tests/hostile takes out, one at a time, to see that its attack works without it.
 *
 * In every build but that of those tests (`make test-hostile`, build-hostile/) PROTECTED is the constant 1
 * and leaves no trace. There it is 0 for the names that the environment variable CTX_TEST_WITHOUT lists. A
 * step that protects by its place in the helper's order is moved by tests/hostile/order.c. */
#ifndef CTREXEC_PROTECT_H
#define CTREXEC_PROTECT_H

#include <stddef.h>

#ifdef CTX_TEST_BUILD

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static inline bool ctx_protected(const char *name)
{
    const char *without = getenv("CTX_TEST_WITHOUT");
    const size_t length = strlen(name);
    for (; without != NULL && *without != '\0'; without = strchr(without, ',')) {
        without += *without == ',';
        if (strncmp(without, name, length) == 0 && (without[length] == ',' || without[length] == '\0')) {
            return false;
        }
    }
    return true;
}
#define PROTECTED(name) ctx_protected(#name)

/* The variable as a string of an environment, for the helper, which gets no other; NULL when it is not set.
 */
static inline char *ctx_test_environment(void)
{
    static const char name[] = "CTX_TEST_WITHOUT=";
    char *value = getenv("CTX_TEST_WITHOUT");
    return value != NULL ? value - sizeof(name) + 1 : NULL;
}

#else

#define PROTECTED(name) 1

static inline char *ctx_test_environment(void)
{
    return NULL;
}

#endif

#endif
