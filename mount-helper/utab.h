/* The note in libmount's table (/run/mount/utab) that makes umount(8) call umount.fuse.cvv, and so wait for the daemon.
 *
 * Without it umount(8), run by root, learns from statfs(2) no more than "fuse" and looks for umount.fuse only (tried with
 * util-linux 2.38). mount(8) and umount(8) themselves write the table: `-f -i` does that and nothing else. Everything here
 * is for root, does nothing for others, and costs the waiting when it fails, no more.
 */
#ifndef CVV_MOUNT_HELPER_UTAB_H
#define CVV_MOUNT_HELPER_UTAB_H

/* Notes the mount of `source` (as in the mount table) at `mountpoint`, instead of what a mount that ended badly may have
 * left there. Runs programs, a few milliseconds. Any thread. */
void utab_add(const char *source, const char *mountpoint, const char *type) __attribute__((nonnull));

/* Removes what is noted about `mountpoint`, where nothing is mounted any longer. */
void utab_remove(const char *mountpoint) __attribute__((nonnull));

/* How many lines of the table's text are about `mountpoint`. Pure. */
int utab_count(const char *text, const char *mountpoint) __attribute__((nonnull));

#endif
