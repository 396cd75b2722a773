/* `-o remount`: changes a mount that is there.
 *
 * The kernel's flags (ro, nosuid, noatime, …) change at once; those that are not named stay. Of cvv's own options `limit`
 * and `fill=all` change at once, through `.cvv/control`; what else differs from the running mount is said to stay as it is,
 * since /etc/fstab may hold it for the next mount.
 */
#ifndef CVV_MOUNT_HELPER_REMOUNT_H
#define CVV_MOUNT_HELPER_REMOUNT_H

#include "core/error.h"
#include "core/options.h"

/* The flags of mount(2) that a mount with these options (of the mount, and of its filesystem) has. Pure. */
unsigned long remount_current_flags(const char *options, const char *super_options) __attribute__((nonnull));

/* `flags` after one word of an option list; words that are no flag change nothing. Pure. */
unsigned long remount_apply_word(unsigned long flags, const char *word) __attribute__((nonnull));

/* Remounts options->mountpoint. `lists` are the `count` -o lists as they were given, to know what was named. 0; -EINVAL
 * where nothing of cvv is mounted there; -EPERM and others with a sentence. Prints what does not change. */
int remount_run(const struct options *options, char *const *lists, int count, struct error *error)
    __attribute__((nonnull(1, 4), warn_unused_result));

#endif
