/* Puts the files of a damaged state out of the way, so that nothing is ever deleted: into a directory
 * `damaged-<UTC time>` beside them, with a file `reason` that says why.
 */
#ifndef CVV_CORE_STATEASIDE_H
#define CVV_CORE_STATEASIDE_H

#include <stddef.h>

/* Moves those of the `count` files of the directory that are there, in the order given, and makes that durable. 0, also where
 * none is there (then nothing is made); a negative errno: some may have been moved, and calling again moves what is left.
 * Blocks on I/O; needs no lock. */
int stateaside_move(int directory_fd, const char *const *files, size_t count, const char *reason)
    __attribute__((nonnull, warn_unused_result));

#endif
