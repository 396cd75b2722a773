/* What the state remembers of a target: its record, and whether a directory that is opened now is that target. See setup.h for the event
 * counts. No threads, no locks.
 */
#ifndef CVV_CORE_TARGETRECORD_H
#define CVV_CORE_TARGETRECORD_H

#include <stdbool.h>
#include <stdint.h>

#include "core/record.h"
#include "core/statedb.h"
#include "core/target.h"

/* 0 or -errno. */
int targetrecord_put(struct statedb *db, const struct target_record *record);
/* 0; -ENOENT: that slot was never used; another -errno. */
int targetrecord_get(struct statedb *db, uint8_t slot, struct target_record *ret_record);

/* Pure. The target is the recorded one, by its filesystem and directory, or by its marker where the filesystem has no identity. */
bool targetrecord_is_same(const struct target *target, const struct target_record *record);
/* Whether the recorded target should be at this path, and something else is: a drive that is not mounted, as long as what is there is not
 * a filesystem of its own. What lies under a mount point is never filled by mistake. Looks at the directory above. */
bool targetrecord_is_not_mounted(const struct target *target, const struct target_record *record);
/* Pure. What the state says of the target is void: the event counts do not fit. */
bool targetrecord_is_void(const struct target *target, const struct target_record *record, uint64_t event_pending);

#endif
