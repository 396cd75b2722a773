/* Checkpoints of one target: sync what was written, record it as present, publish what is whole.
 *
 * Each target has a thread of its own for this, so that a hung one delays nobody's marks. An interval ends after 2 s, 256 MiB, many
 * small files, or when somebody asks. The order (the argument stands in publish.h):
 *   take the un-synced list; sync; marks into the state; commit, and wait for it; (verification, in modes that verify, after which it comes back;)
 *   publish; directory sync; record.
 * Only what was on the list before the sync began is marked. After a failed sync everything on the list is lacking again, whatever a later
 * sync says: the kernel may have dropped the pages.
 *
 * Few files are synced one by one (fsync, as their metadata is set by then); many by one syncfs, where the filesystem has one that works.
 */
#ifndef CVV_CORE_CHECKPOINT_H
#define CVV_CORE_CHECKPOINT_H

#include "core/file.h"
#include "core/verify.h"

/* `idle` says, without blocking, whether nothing more is on its way to any target: then directories are finished. */
int checkpoint_start(struct view *view, struct verify *verify, struct target *target, bool (*idle)(void *context), void *idle_context);
/* Asks for a checkpoint of what is written now. Returns its ticket. */
uint64_t checkpoint_request(struct target *target);
/* Waits for a ticket: 0, or -ETIMEDOUT at `deadline_ns`. */
int checkpoint_wait(struct target *target, uint64_t ticket, uint64_t deadline_ns);
/* All that was asked for is written: where that is so on this target too, and nothing has asked for a checkpoint yet, it begins now. */
void checkpoint_hurry(struct target *target);
/* Wakes the thread, to look again whether directories can be finished. */
void checkpoint_wake(struct target *target);

#endif
