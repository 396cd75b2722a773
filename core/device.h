/* What a directory lies on: the kind of device, what its filesystem can do, and an identity that outlives its path.
 *
 * The identity is the filesystem's UUID plus the directory's place in it: its file handle, else its inode number, else
 * (where the filesystem renumbers inodes at each mount) a hash of its path inside the filesystem. Remounting, another mount
 * path or another device name do not change it; another card at the same path has another one. Two devices that were copied
 * block by block have one identity: that is known and accepted. Where a filesystem has no identity of its own the field is
 * empty, and a marker file of the caller stands in.
 *
 * What the kernel does not tell comes from a table of filesystems in device.c; what stands in neither is assumed to be
 * absent. Nothing is ever written to find out; reading a directory may move its atime where the process does not own it.
 *
 * Every function here does I/O and may block for as long as the filesystem hangs: call them from a thread that may wait.
 * They are safe in any thread and need no lock.
 */
#ifndef CVV_CORE_DEVICE_H
#define CVV_CORE_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "core/error.h"

enum device_kind {
        DEVICE_SOLID,    /* a block device that does not rotate */
        DEVICE_SPINNING, /* a block device that says it rotates */
        DEVICE_NETWORK,  /* the data is on another machine, FUSE clients such as sshfs included */
        DEVICE_MEMORY,   /* tmpfs, ramfs */
        DEVICE_FUSE,     /* another FUSE filesystem */
        DEVICE_UNKNOWN,  /* none of these, or a stack of several (overlayfs) */
};

enum { DEVICE_UUID_BYTES = 72, DEVICE_IDENTITY_BYTES = 256, DEVICE_WEAK_IDENTITY_BYTES = 512 };

struct device {
        enum device_kind kind;
        dev_t st_dev;                 /* valid while mounted; anonymous (major 0) on btrfs, networks, tmpfs, FUSE */
        ino_t root_ino;               /* of the directory that was probed */
        uint64_t fs_type;             /* f_type of statfs, as an unsigned 32-bit number */
        char fs_name[32];             /* from mountinfo: "ext4", "fuse.sshfs" */
        char uuid[DEVICE_UUID_BYTES]; /* lower case without dashes, or "fsid-<hex>" made from it; "" where there is none */
        /* "uuid=<uuid>/handle=<hex>" (or "/ino=<number>", "/path=<hash>"), or "": the caller's marker file stands in */
        char identity[DEVICE_IDENTITY_BYTES];
        /* "type=<name>/device=<major:minor>/source=<text>/…": what is known in any case, to tell "same path, other thing".
         * Equal ones may be different things. Anonymous device numbers are written as 0:0, since they change at each mount.
         */
        char weak_identity[DEVICE_WEAK_IDENTITY_BYTES];
        bool stable_inodes;            /* inode numbers survive a remount (tmpfs: as long as it is mounted) */
        bool direct_io;                /* a file can probably be read with O_DIRECT; an open may still say EINVAL */
        bool syncfs_works;             /* syncfs makes data durable; false on FUSE, where it returns 0 and does nothing */
        uint64_t mtime_granularity_ns; /* what an mtime is rounded to: 1, 10000000 (exFAT), 2000000000 (vfat), … */
        bool read_only;                /* filesystem or mount, at the time of the probe */
};

/* Fills *ret_device for the directory `directory_fd` (O_PATH is enough; what needs reading is left out where it may not be
 * read). 0, or a negative errno with `error` (may be NULL) filled; -ENOTDIR where it is no directory. *ret_device is
 * untouched on failure. */
int device_probe(int directory_fd, struct device *ret_device, struct error *error)
    __attribute__((nonnull(2), warn_unused_result));

/* True when both, probed while mounted, lie on one filesystem (subvolumes of one btrfs included). */
bool device_same_filesystem(const struct device *a, const struct device *b) __attribute__((nonnull, warn_unused_result));

/* 1 when the directory `inner_fd` is `outer_fd` or lies inside it, also when one of them is seen through a bind mount; 0
 * when it does not; a negative errno when that cannot be found out. */
int device_contains(int outer_fd, int inner_fd) __attribute__((warn_unused_result));

/* To be called after good syncs on the filesystem that was probed, before anything relies on them; `directory_fd` is a directory of it that is
 * cvv's own, opened for reading. 0: they hold; else -errno, and they count as failed. Blocks as a sync does.
 *
 * ext4 tells success of an fsync that waits for its pages while the journal is aborted (the disk was pulled out, the filesystem shut down): it
 * looks for its transaction, which was thrown away, and takes that for done (seen with 6.18, in a third of the tries; marks of lost chunks were
 * committed). So a change that begins afterwards is made durable: the journal keeps the order, and is not taken in any more once aborted. */
int device_confirm_sync(const struct device *device, int directory_fd) __attribute__((nonnull, warn_unused_result));

/* The parts that are decided without a device, or with a given one; for device_probe and its tests. */

/* Finds the link in `directory` (/dev/disk/by-uuid) that leads to the block device `device` and writes its name, lower case
 * and without dashes, to ret_uuid. 0; -ENOENT where there is none. */
int device_uuid_from_links(const char *directory, dev_t device, char ret_uuid[static DEVICE_UUID_BYTES])
    __attribute__((nonnull, warn_unused_result));

/* True for the FUSE filesystems known to keep their data on another machine. `source` is that of mountinfo. */
bool device_fuse_is_network(const char *fs_name, const char *source) __attribute__((nonnull, warn_unused_result));

/* The coarsest granularity among those in use (1 ns to 2 s) of which all `count` times, in nanoseconds, are multiples; 1 s
 * where there are none. */
uint64_t device_granularity_of(const uint64_t *times_ns, size_t count) __attribute__((warn_unused_result));

#endif
