/* What an object is besides its bytes: owner, mode, ACLs, extended attributes, times. Captured from a source object,
 * applied to an object on a target.
 *
 * What a target's filesystem cannot hold, or this user may not set, is a loss: a flag for the report, never an error and
 * never silent. A failing medium (EIO, EROFS, a full disk, …) is an error. After applying, the object is looked at again;
 * owner, mode and mtime count as kept only when they are seen there, as some filesystems accept a call and do nothing.
 *
 * Applying gives the object at no moment a permission bit that the source lacks, also when an ACL or the owner is lost: a
 * lost ACL narrows the mode (metadata_rules.h), a lost owner takes setuid, setgid and file capabilities away.
 *
 * Extended attributes: user.*, security.*, trusted.* (listed for root only), the two POSIX ACLs, and namespaces of other
 * systems (osx.*). Not copied: user.cvv.* (ours); system.* other than the ACLs, and btrfs.*, afs.*, trusted.SGI_* (views of
 * what the filesystem keeps elsewhere); security.evm (bound to the inode). Birth and change time cannot be set.
 *
 * All functions may block on the medium, so none is called with a lock held. They are safe from any thread; a struct
 * metadata is not to be changed while others read it.
 */
#ifndef CVV_CORE_METADATA_H
#define CVV_CORE_METADATA_H

#include <stddef.h>
#include <sys/stat.h>

enum metadata_loss {
        METADATA_LOST_OWNER = 1 << 0,      /* user or group */
        METADATA_LOST_MODE = 1 << 1,       /* permission bits, setuid, setgid, sticky */
        METADATA_LOST_XATTR = 1 << 2,      /* user.*, trusted.* and others */
        METADATA_LOST_ACL = 1 << 3,        /* POSIX access or default ACL */
        METADATA_LOST_TIMES = 1 << 4,      /* access or modification time; rounding to a coarse clock is no loss */
        METADATA_LOST_CAPABILITY = 1 << 5, /* security.capability */
        METADATA_LOST_LABEL = 1 << 6,      /* other security.*: SELinux, Smack, AppArmor, IMA */
};

/* Values of one object beyond this are lost (METADATA_LOST_XATTR), so that no source fills the memory. */
enum { METADATA_XATTR_BYTES_MAX = 4 << 20 };

struct metadata_xattr {
        char *name;
        void *value; /* never NULL */
        size_t size; /* at most 64 KiB */
};

struct metadata {
        struct statx stat; /* basic fields and birth time, as captured */
        size_t xattr_count;
        struct metadata_xattr *xattrs;
        unsigned unread; /* enum metadata_loss: what the source did not let us read; metadata_apply() reports it as lost */
};

/* Captures the object that `fd` has open: a file or directory opened O_RDONLY, or anything opened O_PATH|O_NOFOLLOW
 * (symlink, FIFO, device, socket; its attributes are reached through /proc). The caller releases *ret. 0 or -errno. */
int metadata_capture(int fd, struct metadata *ret) __attribute__((nonnull, warn_unused_result));

/* Frees what a capture took. Idempotent, accepts a zeroed object. */
void metadata_deinit(struct metadata *metadata) __attribute__((nonnull));

/* Gives the object that `fd` has open, as for metadata_capture(), the owner, mode, attributes, ACLs and times of `source`;
 * removes user.* attributes, ACLs and a file capability that the source lacks. Comes after the last write, which would
 * change times and drop capabilities. Not durable until synced. Repeating it is harmless. 0: *ret_lost has the enum
 * metadata_loss bits of what could not be kept. -EINVAL: the object is not of the source's type. Other -errno: the medium
 * failed; the object may be half done, with fewer permissions than it should have. */
int metadata_apply(int fd, const struct metadata *source, unsigned *ret_lost) __attribute__((nonnull, warn_unused_result));

/* As metadata_apply(), for the object `name` (a single name, not followed where it is a symlink) in the directory `dir_fd`;
 * meant for what cannot be opened, as symlinks and special files. */
int metadata_apply_at(int dir_fd, const char *name, const struct metadata *source, unsigned *ret_lost)
    __attribute__((nonnull, warn_unused_result));

#endif
