/* The operations: what the kernel asks, turned into calls of the mirror and of `.cvv`.
 *
 * Requests that may wait for a device go through a gate, so that a hung device never takes the last threads of the loop:
 * look-ups, attributes, directories, opens and the like. Reads of data park and never wait; `.cvv`, statfs, releases and
 * what is refused anyway are answered at once. Through this mount nothing is changed: what would is answered EROFS.
 *
 * The kernel checks permissions (default_permissions, ACLs as extended attributes). Node ids are the mirror's ids, which
 * are permanent, so that forgetting means nothing and every id can be looked up again (export).
 */
#ifndef CVV_FS_OPS_H
#define CVV_FS_OPS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/mirror.h"
#include "fs/lowlevel.h"

struct ops;

/* For a loop of `thread_count` threads, at least OPS_THREADS_MIN. `mirror` and `options` are borrowed until ops_free().
 * 0 or -errno. */
enum { OPS_THREADS_MIN = 4 };
int ops_new(struct mirror *mirror, const struct options *options, unsigned thread_count, struct ops **ret_ops)
    __attribute__((nonnull, warn_unused_result));
void ops_free(struct ops *ops);

/* For fuse_session_new(), with the `struct ops` as user data. */
extern const struct fuse_lowlevel_ops ops_table;

/* Starts the thread behind `.cvv`'s blocking files. 0 or -errno. */
int ops_start(struct ops *ops) __attribute__((nonnull, warn_unused_result));
/* Ends the blocking files that are open now; those opened afterwards block as always. */
void ops_end_readers(struct ops *ops) __attribute__((nonnull));
/* Ends blocking files: their readers get an end of file, now and later. */
void ops_end_blocking(struct ops *ops) __attribute__((nonnull));
/* Refuses requests that wait at the gates, so that the loop's threads come free. */
void ops_close_gates(struct ops *ops) __attribute__((nonnull));
/* When the loop is over: ends blocking files and gives up parked reads; all of them are answered. `close_open`: the loop's
 * threads have all ended, so that what the kernel has open can be closed, for no release will come. False: some reads are
 * not answered by `deadline_ns` of clock_now_ns(); ops_free() must not be called then. */
bool ops_stop(struct ops *ops, bool close_open, uint64_t deadline_ns) __attribute__((nonnull, warn_unused_result));

#endif
