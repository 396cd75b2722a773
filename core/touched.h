/* The directories of a target in which something was changed, and which are to get their times and mode when nothing more is on its way
 * (directories.h). In memory only: after a crash the scan finds directories that differ.
 */
#ifndef CVV_CORE_TOUCHED_H
#define CVV_CORE_TOUCHED_H

#include "core/target.h"

void touched_add(struct target *target, uint64_t id);
/* There are some, or those that were taken are not finished. */
bool touched_pending(struct target *target);
/* Takes all of them: an array of ids in ascending order, which the caller frees. They are pending until touched_finished() says otherwise. */
size_t touched_take(struct target *target, uint64_t **ret_ids);
void touched_finished(struct target *target);
void touched_free(struct target *target);

#endif
