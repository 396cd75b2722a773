/* Reads of a live file: each is answered from the best place that has the bytes, without a thread that waits.
 *
 * A request is cut into pieces, at most one for each block. A piece comes from a target that has the chunk, or from the memory of a move
 * that is bringing it. While a piece is nowhere, the request is parked on the move of that chunk (which is claimed and
 * submitted where there is none); when the block is there it goes on. Blocks of other pieces it keeps meanwhile, where the pool gives leave
 * (bufpool_keep): no target may take them, and then they are gone with their moves. A target is read at
 * once where its page cache has the bytes (RWF_NOWAIT), else on the threads of its device. A target that fails is left out, its chunk is
 * marked lacking there, and the request goes elsewhere. So does one whose target does not answer for some seconds.
 */
#ifndef CVV_CORE_FILEREAD_H
#define CVV_CORE_FILEREAD_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "core/file.h"

typedef void (*file_read_done)(void *context, int result, const struct iovec *data, int data_count);

/* A read of `size` bytes at `offset`, not begun yet; the token has a reference for the caller. 0 or -ENOMEM. */
int file_read_new(struct file *file, uint64_t offset, size_t size, file_read_done done, void *context,
                  struct file_read **ret_read);
/* Begins it: `done` is called exactly once, on any thread, without locks, perhaps before this returns. */
void file_read_go(struct file_read *read);
/* Ends it with -EINTR where it has not ended yet. */
void file_read_cancel(struct file_read *read);
void file_read_unref(struct file_read *read);
/* To be called about once a second, by one thread: requests that have waited too long for a target go on elsewhere. Does not block. */
void file_reads_expire(struct context *context);

/* --- for the mover --- */
/* Takes the readers off a move that wait for block `index` or an earlier one. The move's file is locked by the caller. */
struct file_read *file_read_take_locked(struct move *move, size_t index);
/* Goes on with parked readers (a list from file_read_take_locked or file_move_read_done); with an error they end with it, unless a target
 * has their bytes. */
void file_read_resume(struct file_read *list, int error);

#endif
