/* What /proc/self/mountinfo says about one mount: the filesystem's name, its source, and which part of it is seen where.
 *
 * A mount is found by its id (statx STATX_MNT_ID), not by its device number: btrfs gives each subvolume a device number of
 * its own that mountinfo does not show. Parsing is a pure function of one line. Nothing here is cached; mounts come and go.
 */
#ifndef CVV_CORE_MOUNTINFO_H
#define CVV_CORE_MOUNTINFO_H

#include <stdint.h>

/* One mount. The strings are owned by the struct, and octal escapes (\040) are already undone. */
struct mountinfo {
        uint64_t id;
        unsigned int major; /* device of the filesystem: on btrfs the same for all of its subvolumes */
        unsigned int minor;
        char *root;        /* the directory of the filesystem that lies at mount_point; "/" for all of it */
        char *mount_point; /* as seen from the root of this process */
        char *fs_name;     /* "ext4", "fuse.sshfs" */
        char *source;      /* "/dev/sda1", "server:/export"; any text */
};

/* Parses one line (without or with its newline) into *ret_mount, which the caller ends with mountinfo_deinit.
 * 0; -EINVAL where the line is not of mountinfo's form; -ENOMEM. *ret_mount is untouched on failure. */
int mountinfo_parse(const char *line, struct mountinfo *ret_mount) __attribute__((nonnull, warn_unused_result));

/* Finds the mount with the id `id` in /proc/self/mountinfo. The caller ends *ret_mount with mountinfo_deinit.
 * 0; -ENOENT where this process cannot see such a mount; another negative errno where the file cannot be read.
 * Reads procfs, so it waits for no device. Any thread. */
int mountinfo_find(uint64_t id, struct mountinfo *ret_mount) __attribute__((nonnull, warn_unused_result));

/* The mount on which `fd` (any descriptor, O_PATH too) lies, as mountinfo_find. */
int mountinfo_find_fd(int fd, struct mountinfo *ret_mount) __attribute__((nonnull, warn_unused_result));

/* Turns `path`, absolute and below the mount's mount point, into the path inside the filesystem, which is the same wherever
 * the filesystem or a part of it is mounted. *ret_path is allocated, for the caller to free.
 * 0; -ENOENT where `path` is not below the mount point; -ENOMEM. */
int mountinfo_path_inside(const struct mountinfo *mount, const char *path, char **ret_path)
    __attribute__((nonnull, warn_unused_result));

/* Frees the strings and empties the struct. Accepts a zeroed one. */
void mountinfo_deinit(struct mountinfo *mount) __attribute__((nonnull));

#endif
