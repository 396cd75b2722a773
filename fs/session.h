/* The FUSE session: mounts a mirror, reads requests, hands them to the operations, ends.
 *
 * Its own loop of a fixed number of threads instead of fuse_session_loop_mt(): the number of threads never grows, whatever
 * is parked or hangs, and the loop is where request buffers can be kept (write fan-out) and the INIT reply extended
 * (passthrough with libfuse before 3.17).
 */
#ifndef CVV_FS_SESSION_H
#define CVV_FS_SESSION_H

#include "core/error.h"
#include "core/mirror.h"

struct session;

/* Creates the FUSE session and mounts it at options->mountpoint (an absolute path) as type fuse.cvv with the source as
 * fsname. On failure `error` has one sentence with its remedy (no /dev/fuse, no fusermount3, permission, mount point
 * missing). Starts no thread. `mirror` and `options` are borrowed until session_free(). */
int session_mount(struct mirror *mirror, const struct options *options, struct error *error, struct session **ret_session)
    __attribute__((nonnull, warn_unused_result));
/* Serves requests until the filesystem is unmounted or session_exit() is called; joins the loop's threads. The mirror has
 * been started. 0 or -errno; -ETIMEDOUT: a thread or a read hangs in a device and may still use the mirror: the process
 * must end with _exit, without mirror_free. */
int session_loop(struct session *session) __attribute__((nonnull, warn_unused_result));
/* Async-signal-safe: makes session_loop() return soon. */
void session_exit(struct session *session) __attribute__((nonnull));
/* Gives an end of file to who reads `.cvv`'s blocking files now, so that they let go of the mount; who opens them
 * afterwards blocks as always. Until session_free(); thread safe; waits for nothing. */
void session_end_readers(struct session *session) __attribute__((nonnull));
/* Unmounts where still mounted (lazily when busy) and frees. Until then the mount is there and who uses it waits. Behind
 * mirror_stop() (no more callbacks), before mirror_free(). NULL is allowed. */
void session_free(struct session *session);

#endif
