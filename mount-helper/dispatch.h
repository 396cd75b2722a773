/* Which command a command line asks for: by the program's name, then by the first word. Pure.
 */
#ifndef CVV_MOUNT_HELPER_DISPATCH_H
#define CVV_MOUNT_HELPER_DISPATCH_H

enum dispatch {
        DISPATCH_UNKNOWN, /* no command at all, too */
        DISPATCH_MOUNT,
        DISPATCH_STATUS,
        DISPATCH_CTL,
        DISPATCH_UMOUNT,
        DISPATCH_COPY,
        DISPATCH_VERIFY,
        DISPATCH_PROBE,
        DISPATCH_MOUNT_HELPER,
        DISPATCH_UMOUNT_HELPER,
        DISPATCH_HELP,
        DISPATCH_VERSION,
};

/* mount.cvv and mount.fuse.cvv are the mount helper, umount.cvv and umount.fuse.cvv the one of umount. Otherwise the first
 * word is a command. `cvv SOURCE TARGET…` is a copy: two or more operands, of which one of the first two looks like a path
 * (it has a slash), or options in front. */
enum dispatch dispatch_words(int argc, char *const *argv) __attribute__((nonnull, warn_unused_result));

/* The command's word, "mount"; static. */
const char *dispatch_name(enum dispatch what) __attribute__((returns_nonnull));

#endif
