/* The directories that a user names: whether they exist, answer, and go together. Checked before anything is changed, so that a usage error
 * (exit 2) leaves everything as it was.
 */
#ifndef CVV_CORE_PLACES_H
#define CVV_CORE_PLACES_H

#include <stdbool.h>

#include "core/error.h"
#include "core/options.h"

#define PLACE_TIMEOUT_NS 15000000000u /* a directory that takes longer hangs */

struct place {
        const char *path;
        int fd;       /* the directory, or its parent where it is absent */
        bool absent;
};

void place_close(const struct place *place);
/* Opens the directories of the targets (all of `targets` has fd -1 at first; the caller closes them), or the parents of those that are absent, and
 * checks them against each other, the source, the mount point and the state. 0; -EINVAL: usage; another -errno: the environment. */
int places_check(const struct options *options, bool has_source, struct place *targets, struct error *error);

#endif
