/* Takes a mount off: as root with umount2(2), else through fusermount3. */
#ifndef CVV_MOUNT_HELPER_DETACH_H
#define CVV_MOUNT_HELPER_DETACH_H

#include <stdbool.h>

enum detach_how {
        DETACH_CLEAN, /* fails with -EBUSY while the mount is in use */
        DETACH_LAZY,  /* from the tree at once, for good when its last user is gone; also for dead mounts */
        DETACH_FORCE, /* aborts what hangs first (root only; as DETACH_CLEAN otherwise) */
};

/* Unmounts what is at `path` (absolute, without links). 0; -EBUSY; -EINVAL where nothing is mounted there; -EPERM; -ENOENT
 * where fusermount3 is needed and not there; -EIO where it failed without a known reason; another -errno. Does not wait for
 * the mount's daemon. Safe beside other threads; gives fusermount3 `timeout_ms` (-ETIMEDOUT), below 0 for ever. */
int detach_mount(const char *path, enum detach_how how, int timeout_ms) __attribute__((nonnull, warn_unused_result));

/* The errno that fusermount3's last words stand for; -EIO for others. Pure. */
int detach_reason(const char *words) __attribute__((nonnull));

#endif
