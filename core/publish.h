/* Publishing: a whole object gets its final name on a target.
 *
 * The order, and why a crash at any point does no harm (each step is durable before the next begins):
 *   1. the chunks are synced            (checkpoint.c)  crash: the partial file lacks marks, and those chunks come again
 *   2. the marks are committed          (checkpoint.c)  crash: all is present, recovery publishes
 *   3. rename to the final name         (here)          crash: see 5
 *   4. its directory is synced, and     (here)          crash: the rename is there or is not; if not, the partial file is
 *      those above it
 *   5. `published` is recorded          (here)          crash before: the partial file is gone and the final name has the recorded size and
 *                                                       mtime: recognised as ours (judge_target: VERDICT_OURS)
 * Metadata is set on the partial file before step 1, so that the rename makes everything visible at once. Names that exist are never
 * replaced, unless it is the version that cvv itself published before, or `--existing replace` says so.
 *
 * Runs on the checkpoint thread of the target.
 */
#ifndef CVV_CORE_PUBLISH_H
#define CVV_CORE_PUBLISH_H

#include "core/file.h"

struct publish_batch;

int publish_begin(struct view *view, struct target *target, struct publish_batch **ret_batch);
/* Steps 3: renames, for the names that lack it. The file must be complete on the target. Takes no reference. */
void publish_add(struct publish_batch *batch, struct file *file);
/* Steps 4 and 5 for all that were added, and frees the batch. */
void publish_end(struct publish_batch *batch);

#endif
