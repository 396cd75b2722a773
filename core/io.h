/* Whole reads and writes, opens that stay beneath a root, durable small files.
 *
 * Every name is resolved from a directory descriptor, beneath it, and no symbolic link is followed: neither a link in a
 * source or target nor a rename during the walk leads out. Paths are relative, of any bytes and of any length; the kernel's
 * limit of PATH_MAX holds for one call only, so a longer path is walked in pieces.
 *
 * Not here: bounded queues, retries of failed media, deadlines. Each function may block in the kernel for as long as the
 * medium takes, so none is called with a lock held. All are safe from any thread. Results are 0 or more, else -errno as the
 * kernel gave it; outputs stay untouched on failure. Reads, writes, opens and syncs that a signal interrupts are repeated.
 */
#ifndef CVV_CORE_IO_H
#define CVV_CORE_IO_H

#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum io_result {
        IO_NO_DATA = 1, /* io_next_data(): nothing but a hole is left */
};

/* Reads `size` bytes at `offset` into `buffer`. Returns how many: fewer than `size` only at the end of the file. A read
 * that fails after some bytes is a failure. Also for O_DIRECT, where `buffer`, `size` and `offset` are the caller's to
 * align. */
int64_t io_read_full(int fd, void *buffer, size_t size, uint64_t offset) __attribute__((warn_unused_result));

/* Writes all `size` bytes at `offset`. 0, or -errno with an unknown part written; a write of nothing is -EIO. The bytes are
 * durable only after a sync. */
int io_write_full(int fd, const void *buffer, size_t size, uint64_t offset) __attribute__((warn_unused_result));

/* Opens `path` beneath the directory `root_fd` (which may be O_PATH) and returns a descriptor that the caller owns. "" and
 * "." are the root itself. `flags` as for open(2), O_CLOEXEC is added; `mode` counts where something is created. A trailing
 * slash demands a directory. O_PATH|O_NOFOLLOW opens a final symlink itself. -EXDEV: absolute path or a `..` component;
 * -ELOOP (without openat2 also -ENOTDIR): a symlink is in the way; -EISDIR: O_CREAT and a trailing slash; -EAGAIN:
 * O_NONBLOCK and a lease of another process. */
int io_open_beneath(int root_fd, const char *path, int flags, mode_t mode) __attribute__((nonnull, warn_unused_result));

/* Opens the regular file `path` beneath `root_fd` for reading, without changing its access time where the kernel permits
 * that (owner or CAP_FOWNER). Nothing else is ever opened: the open of a FIFO hangs, that of a device acts. -EINVAL: not a
 * regular file; -ELOOP: a symlink; else as io_open_beneath(). May wait for a lease to be broken. */
int io_open_source(int root_fd, const char *path) __attribute__((nonnull, warn_unused_result));

/* Opens the directory that holds the last component of `path` and returns its descriptor (O_PATH|O_DIRECTORY, owned by the
 * caller). *ret_name is that component and points into `path`.
 * -EINVAL: the last component is empty, `.` or `..`; else as io_open_beneath(). */
int io_open_parent(int root_fd, const char *path, const char **ret_name) __attribute__((nonnull, warn_unused_result));

/* Makes the missing directories above the last component of `path`, each with `mode` less the umask. *ret_created says how
 * many this call made; they are the innermost ones. They are durable only once the directories that hold them are synced.
 * What was made before a failure stays. Errors as io_open_parent() and mkdir(2). */
int io_make_parents(int root_fd, const char *path, mode_t mode, int *ret_created)
    __attribute__((nonnull, warn_unused_result));

/* Renames `from` to `to` (single names in two directories of one filesystem), and never over something: -EEXIST when `to`
 * is there, be it another spelling on a case-insensitive filesystem. Not durable until both directories are synced.
 *
 * Where the filesystem has no RENAME_NOREPLACE (NFS, many FUSE filesystems) a new link is made and the old one removed; a
 * crash in between leaves both names on one file. Where links are impossible too (exFAT), the name is looked up, then
 * renamed: what another process creates within these microseconds is replaced. That race is open there, nothing closes it.
 */
int io_rename_noreplace(int from_dir, const char *from, int to_dir, const char *to)
    __attribute__((nonnull, warn_unused_result));

/* fsync, fdatasync, syncfs. A failure means that anything written since the last good sync may be lost, for good: a later
 * success proves nothing about it. syncfs does nothing, successfully, on FUSE filesystems. */
int io_sync(int fd) __attribute__((warn_unused_result));
int io_sync_data(int fd) __attribute__((warn_unused_result));
int io_sync_filesystem(int fd) __attribute__((warn_unused_result));

/* Makes the names in a directory durable. `fd` was opened O_RDONLY, not O_PATH. EINVAL counts as success: it says that the
 * filesystem has no such operation (some remote and FUSE ones), its names go out with each call, and no other call of this
 * directory would do more. */
int io_sync_directory(int fd) __attribute__((warn_unused_result));

/* Replaces the file `name` in `dir_fd` by `size` bytes of `data` (NULL where `size` is 0): temporary file NAME.tmp.RANDOM,
 * sync, rename, sync of the directory. After a crash the old or the new content stands there whole, perhaps beside a
 * temporary file. On failure the temporary file is removed and the old content stays, except when the last step, the
 * directory's sync, failed: then the new content is there but may not survive a power cut. `mode` less the umask. -EINVAL:
 * `name` is not a single name; -ENAMETOOLONG: no room for the suffix. */
int io_write_file_durable(int dir_fd, const char *name, const void *data, size_t size, mode_t mode)
    __attribute__((nonnull(2), warn_unused_result));

/* Reads the whole regular file `name` in `dir_fd`, no link followed. *ret_data is the caller's to free and has a 0 byte
 * after its *ret_size bytes. -EFBIG: more than `limit` bytes; -EINVAL: not a single name, or not a regular file; -ELOOP: a
 * symlink. */
int io_read_file(int dir_fd, const char *name, size_t limit, char **ret_data, size_t *ret_size)
    __attribute__((nonnull, warn_unused_result));

/* Finds the first data at or after `from` and before `end` (bytes): [*ret_data_start, *ret_data_end), cut to that range.
 * All is data on a filesystem that cannot tell. IO_NO_DATA: only a hole, or the end of the file, is left; a caller that
 * relied on the size checks that it has not changed. Moves the descriptor's file position, which nothing here uses; threads
 * may share it. */
int io_next_data(int fd, uint64_t from, uint64_t end, uint64_t *ret_data_start, uint64_t *ret_data_end)
    __attribute__((nonnull, warn_unused_result));
/* The file has at least as many blocks as its size needs, so that there is no point in looking for holes: on tmpfs each question walks the cache to the
 * next one, to the end of the file where there is none. */
bool io_is_dense(int fd) __attribute__((warn_unused_result));

#endif
