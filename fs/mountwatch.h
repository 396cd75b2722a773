/* Notices when a mount is taken out of the mount table, also while somebody still uses it (umount -l): the kernel tells the
 * daemon only when the last file is closed, and a blocked reader of `.cvv/events` would keep its file open for ever.
 */
#ifndef CVV_FS_MOUNTWATCH_H
#define CVV_FS_MOUNTWATCH_H

#include <stdbool.h>

/* Waits until the mount at `path` is gone from this process's mount table, or until `end_fd` is readable. True: it is gone.
 * Where the table cannot be watched, it waits for `end_fd` alone. Asks nothing of the mounted filesystem. */
bool mountwatch_wait(const char *path, int end_fd) __attribute__((nonnull, warn_unused_result));

#endif
