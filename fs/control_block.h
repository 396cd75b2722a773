/* The files of `.cvv` that make their readers wait: `events`, `wait` and `safe-to-erase`.
 *
 * A read that finds nothing is parked; one thread of its own answers parked reads and wakes pollers when something
 * happened, so that neither the session's loop nor whoever adds an event ever waits or replies. Reading is a stream:
 * offsets mean nothing, each open file has its own place. Seeking succeeds all the same, since head(1) seeks back in a
 * regular file and complains where it cannot.
 *
 *   events  the recent history, then each new line; end of file when the mirror's events are closed
 *   wait    once nothing queued can progress: the state's word and a newline, then end of file
 *   safe-to-erase  its text, then end of file; where a look at the source is needed for it, once that has ended
 *
 * All end when control_block_stop() is called. Thread safe. Lock: one, a leaf, above which only the events' own is taken;
 * the mirror is asked without it.
 */
#ifndef CVV_FS_CONTROL_BLOCK_H
#define CVV_FS_CONTROL_BLOCK_H

#include <stdbool.h>

#include "core/mirror.h"
#include "fs/control_tree.h"
#include "fs/lowlevel.h"

struct control_block;
struct control_block_file;

/* `mirror` is borrowed until control_block_free(). 0 or -errno. */
int control_block_new(struct mirror *mirror, struct control_block **ret_block) __attribute__((nonnull, warn_unused_result));
/* Starts the thread. 0 or -errno. */
int control_block_start(struct control_block *block) __attribute__((nonnull, warn_unused_result));
/* Answers all parked reads with an end of file, wakes the pollers, joins the thread. Later reads find the end. Idempotent.
 */
void control_block_stop(struct control_block *block) __attribute__((nonnull));
/* Ends the files that are open now: parked reads are answered with an end of file, pollers are woken, and later reads of
 * these files find the end (behind what they have in their buffer), once; then ENXIO, since tail -f takes an end for a
 * pause and would keep its file open. Files that are opened afterwards work as always. Waits for nothing; also before
 * control_block_start() and after control_block_stop(). */
void control_block_end_readers(struct control_block *block) __attribute__((nonnull));
/* Whether a CONTROL_EVENTS that was ended so is open still. */
bool control_block_has_ended(struct control_block *block) __attribute__((nonnull, warn_unused_result));
/* After control_block_stop(); every file is closed. The mirror calls back no more: it has stopped
 * or calls mirror_on_idle's subscriber under its own care. NULL is allowed. */
void control_block_free(struct control_block *block);

/* Opens CONTROL_EVENTS, CONTROL_WAIT or CONTROL_SAFE_TO_ERASE. 0 or -ENOMEM. */
int control_block_open(struct control_block *block, enum control_kind kind, struct control_block_file **ret_file)
    __attribute__((nonnull, warn_unused_result));
void control_block_close(struct control_block_file *file) __attribute__((nonnull));

/* Replies to `req` with up to `size` bytes, now or later; with EAGAIN where it would wait and `nonblocking`; with EINTR
 * when the kernel interrupts it. */
void control_block_read(struct control_block_file *file, fuse_req_t req, size_t size, bool nonblocking)
    __attribute__((nonnull));
/* Replies with what is ready. `handle` (may be NULL) is taken over and notified when there is something to read. */
void control_block_poll(struct control_block_file *file, fuse_req_t req, struct fuse_pollhandle *handle)
    __attribute__((nonnull(1, 2)));

#endif
