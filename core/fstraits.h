/* What is known of each type of filesystem and cannot be asked of it. A pure table; no I/O.
 *
 * A filesystem that is not in the table gets no promise: nothing about it is assumed to be stable, and its granularity is
 * measured.
 */
#ifndef CVV_CORE_FSTRAITS_H
#define CVV_CORE_FSTRAITS_H

#include <stdbool.h>
#include <stdint.h>

#define FS_EXT UINT32_C(0xef53) /* ext2, ext3 and ext4 */
#define FS_BTRFS UINT32_C(0x9123683e)

enum fs_class { FS_CLASS_BLOCK, FS_CLASS_NETWORK, FS_CLASS_MEMORY, FS_CLASS_FUSE, FS_CLASS_OTHER };

struct fs_traits {
        uint32_t magic;     /* f_type of statfs */
        const char *name;   /* where mountinfo gives none */
        enum fs_class class;
        bool stable_inodes; /* inode numbers survive a remount */
        bool stable_handle; /* so do file handles; known to hold no random or uninitialised part */
        bool fsid_is_uuid;  /* f_fsid is made from the UUID, not from the device number */
        bool folds_case;    /* names that differ in case are one */
        bool direct_io;     /* O_DIRECT opens succeed */
        bool syncfs_works;  /* syncfs makes data durable where it belongs */
        uint64_t mtime_granularity_ns; /* 0: depends on what is behind it, measure */
};

/* The entry of `magic` (f_type as an unsigned 32-bit number); for an unknown one an entry of FS_CLASS_OTHER that promises
 * nothing. Never NULL; static. */
const struct fs_traits *fs_traits_of(uint32_t magic) __attribute__((returns_nonnull));

#endif
