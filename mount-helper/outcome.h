/* What a copy says at its end, on standard output: a line for each file that was not simply copied, the sum, a line for each target; or
 * status.json. Names are escaped (core/error.h).
 */
#ifndef CVV_MOUNT_HELPER_OUTCOME_H
#define CVV_MOUNT_HELPER_OUTCOME_H

#include <stdbool.h>
#include <stdint.h>

#include "core/mirror.h"

struct outcome {
        struct mirror *mirror;
        const struct options *options;
        const struct status *before; /* when the survey was through */
        const struct status *after;  /* at the end */
        uint64_t elapsed_ns;         /* between the two */
        struct options_list unread;  /* "PATH: reason" of directories that could not be read, escaped */
        uint64_t unverified;         /* files that are on all targets, and not verified as the mode asks; set by outcome_look() */
};

/* Looks through all files for what the totals do not tell: which of them are not verified. 0 or -errno. */
int outcome_look(struct outcome *outcome) __attribute__((nonnull, warn_unused_result));
/* Everything that was asked for is done. After outcome_look(). */
bool outcome_is_done(const struct outcome *outcome) __attribute__((nonnull));
/* Prints all of it. 0 or -errno. */
int outcome_print(const struct outcome *outcome) __attribute__((nonnull, warn_unused_result));

#endif
