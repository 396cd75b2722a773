/* One move: brings a chunk from its origin to the targets that lack it. The only copy loop.
 *
 * The origin is read block by block; each block is hashed while it is in the cache, given to the readers that wait for it, and queued for
 * the targets. A move that a reader waits for does not wait for a target, unless all that write at a good pace would be left out: then for
 * the first of them, a moment (else the chunk would be read from the source once more). Slow and hung targets stop no reader.
 * A background one goes at the pace of the fastest target that it aims at: it waits until the queue of one of them is at most half full,
 * then gives the block to all that have any room. Who has none then is more than half a queue behind the fastest: the chunk stays lacking
 * there and comes again later.
 *
 * A chunk counts only when it was read whole and the source's size, mtime and ctime were the same before the first byte and after the last.
 */
#ifndef CVV_CORE_CHUNKMOVE_H
#define CVV_CORE_CHUNKMOVE_H

#include "core/file.h"

/* Does a claimed move and takes over the reference. On a mover thread; blocks on the origin's device. Returns 0, or the failure of the
 * origin (the readers got it): -EIO and the like, -ESTALE where the source changed. What becomes of the targets is not waited for. */
int chunkmove_run(struct move *move);

/* Gives up a claimed move that has not begun; its readers get `error`. Takes over the reference. */
void chunkmove_abandon(struct move *move, int error);

#endif
