/* What the mount table says about the mount at a path: found and read without a call into the mounted filesystem, so that
 * it works on dead and hung mounts, and on mounts of other users.
 */
#ifndef CVV_MOUNT_HELPER_MOUNTTABLE_H
#define CVV_MOUNT_HELPER_MOUNTTABLE_H

#include <stdbool.h>

#include "core/mountinfo.h"

/* One mount. The strings are owned. */
struct mount_entry {
        struct mountinfo info;
        char *options;       /* of this mount: "rw,nosuid,relatime" */
        char *super_options; /* of the filesystem: "rw,user_id=0,group_id=0" */
};

/* Parses one line of mountinfo, without or with its newline. 0, -EINVAL or -ENOMEM; *ret_entry is untouched on failure. */
int mount_entry_parse(const char *line, struct mount_entry *ret_entry) __attribute__((nonnull, warn_unused_result));

/* Finds the topmost mount at exactly `path` (absolute, without links). 0; -ENOENT where there is none; another -errno. The
 * caller ends *ret_entry with mount_entry_deinit(). */
int mount_entry_find(const char *path, struct mount_entry *ret_entry) __attribute__((nonnull, warn_unused_result));

/* The mount point of a mount below `path`, allocated. 0; -ENOENT where there is none; another -errno. */
int mount_entry_find_below(const char *path, char **ret_path) __attribute__((nonnull, warn_unused_result));

/* Frees the strings and empties the struct. Accepts a zeroed one. */
void mount_entry_deinit(struct mount_entry *entry) __attribute__((nonnull));

/* Whether the list has the word `name`. */
bool mount_list_has(const char *list, const char *name) __attribute__((nonnull));
/* The number in `name=NUMBER` of the list, -1 where there is none. */
long mount_list_number(const char *list, const char *name) __attribute__((nonnull));

#endif
