/* The end of a mount as `cvv umount` brings it about: takes the mount off, names who keeps it busy, waits until its daemon
 * is gone.
 *
 * Blocked readers of `.cvv` do not count as users: the daemon gives them an end of file.
 */
#ifndef CVV_MOUNT_HELPER_FAREWELL_H
#define CVV_MOUNT_HELPER_FAREWELL_H

#include <stdbool.h>
#include <sys/types.h>

#include "mount-helper/client.h"
#include "mount-helper/detach.h"

/* The daemon of a mount. */
struct farewell {
        pid_t pid;
        int pid_fd;   /* owned; below 0: it cannot be waited for */
        char *resume; /* its command line, quoted, or NULL; owned */
};

/* Takes hold of the daemon `pid`, before the mount is taken off. Where it cannot be reached (another pid namespace) there
 * is nothing to wait for. */
void farewell_init(struct farewell *farewell, pid_t pid) __attribute__((nonnull));
void farewell_deinit(struct farewell *farewell) __attribute__((nonnull));

/* Takes the mount off. Where only readers of files in `.cvv` keep it busy, the daemon ends them, and they have 2 s to let
 * go; where it stays busy, names the holders, a line each. 0, or -errno after a line was printed. */
int farewell_unmount(const struct farewell *farewell, const struct client *client, enum detach_how how)
    __attribute__((nonnull, warn_unused_result));

/* Waits until the daemon has ended. 0; -EINTR where interrupt_signal() is set. */
int farewell_wait(const struct farewell *farewell) __attribute__((nonnull, warn_unused_result));

#endif
