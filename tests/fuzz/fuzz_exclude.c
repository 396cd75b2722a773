/* Patterns, then a path: NUL ends each pattern but the last string, which is the path. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/cleanup.h"
#include "core/exclude.h"

enum { PATTERNS_MAX = 16 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        cleanup(exclude_release) struct exclude *exclude = NULL;
        cleanup(pointer_free) char *text = malloc(size + 1);
        char *patterns[PATTERNS_MAX], *path = text;
        size_t count = 0;

        if (!text)
                abort();
        if (size > 0)
                memcpy(text, data, size);
        text[size] = '\0';
        for (char *next; count < PATTERNS_MAX && (next = path + strlen(path) + 1) <= text + size; path = next)
                patterns[count++] = path;
        if (exclude_new(patterns, count, &exclude) == 0) {
                (void)exclude_match(exclude, path, true); /* it is enough that they come back */
                (void)exclude_match(exclude, path, false);
        }
        return 0;
}
