/* The table of long options, and how each one's value gets into struct options. For the parsers beside options.h. */
#ifndef CVV_CORE_OPTIONS_TABLE_H
#define CVV_CORE_OPTIONS_TABLE_H

#include <stdbool.h>
#include <stddef.h>

#include "core/options.h"

/* Which command takes an option. */
enum { OPTION_FOR_MOUNT = 1, OPTION_FOR_COPY = 2, OPTION_FOR_BOTH = 3 };

struct option_row {
        const char *name; /* without hyphens in front */
        char letter;      /* the short option, or 0 */
        bool has_value;
        unsigned commands; /* bits of OPTION_FOR_… */
        int (*set)(struct options *options, const char *label, const char *value, struct error *error);
};

/* The table. Constant; *ret_count rows. */
const struct option_row *option_table(size_t *ret_count) __attribute__((nonnull, returns_nonnull));

/* The row of that name (`length` bytes of it), NULL if there is none. */
const struct option_row *option_find(const char *name, size_t length) __attribute__((nonnull));

/* Sets one option. `prefix` ("--" or "-o ") stands before its name in sentences. `value` is NULL exactly for a row without
 * has_value. 0, -EINVAL with a sentence, -ENOMEM; after a failure `options` is unchanged. */
int option_set(struct options *options, const struct option_row *row, const char *prefix, const char *value,
               struct error *error) __attribute__((nonnull(1, 2, 3), warn_unused_result));

#endif
