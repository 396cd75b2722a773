/* Another program, run to its end beside the threads of this one, with a time limit.
 */
#ifndef CVV_MOUNT_HELPER_PROGRAM_H
#define CVV_MOUNT_HELPER_PROGRAM_H

#include <stddef.h>

/* Runs the program words[0], found in the system's usual directories, with the arguments behind it (NULL ends them), in the
 * C locale and no other environment. What it writes is kept in `ret_output` (`size` bytes, at least 1; cut, terminated).
 * Waits `timeout_ms` at most, below 0 for ever. Returns its exit status (0 to 255); -ENOENT where it is not installed;
 * -ETIMEDOUT, after which it may go on alone; -EIO where it was killed; another -errno. Any thread. */
int program_run(char *const *words, int timeout_ms, char *ret_output, size_t size)
    __attribute__((nonnull, warn_unused_result));

#endif
