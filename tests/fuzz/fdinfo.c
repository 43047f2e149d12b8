/* /proc/self/fdinfo/N of a pidfd. */
#include "../../core/pidfd.h"
#include "fuzz.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char key[] = "Pid:\t";
    const struct ctx_text input = input_text(data, size);
    int64_t pid;

    if (!ctx_parse_fdinfo(input, &pid)) {
        return 0;
    }
    struct ctx_text found = {memmem(data, size, key, sizeof(key) - 1), input.end};
    while (found.at != NULL && found.at != input.at && found.at[-1] != '\n') {
        found.at = memmem(found.at + 1, (size_t)(input.end - found.at - 1), key, sizeof(key) - 1);
    }
    HOLDS(found.at != NULL);
    found.at += sizeof(key) - 1;
    HOLDS(pid == (int64_t)number_at(found, 10));
    return 0;
}
