/* Directories on the targets: made when something in them is brought (or they are queued themselves), finished at the end.
 *
 * A directory is made for its owner alone (the group bits of the source's mode may be the mask of an ACL), and gets owner, times, attributes
 * and its true mode when nothing more is on its way: each name that is published in it moves its mtime (touched.h).
 */
#ifndef CVV_CORE_DIRECTORIES_H
#define CVV_CORE_DIRECTORIES_H

#include "core/view.h"

/* Makes the directory `id` and those above it on the target; those that are recorded as being there only where `again`. 0 or the target's error; -ENOTDIR where something else has the name. On a
 * thread of the target. */
int directories_make(struct view *view, struct target *target, uint64_t id, bool again);
/* Gives all touched directories their metadata, durably. On a thread of the target; asks the source with a time-out. */
int directories_finish(struct view *view, struct target *target);

#endif
