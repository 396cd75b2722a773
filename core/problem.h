/* What went less than well and is no failure of a device: metadata that a target cannot hold, conflicts. Counted and said as events;
 * what concerns one file stands in its record (failed, conflict, last_error), and report_lists.h makes the lists from there.
 */
#ifndef CVV_CORE_PROBLEM_H
#define CVV_CORE_PROBLEM_H

#include "core/view.h"

/* What a target cannot hold besides enum metadata_loss: whole names. */
enum {
        PROBLEM_HARD_LINK = 1 << 7,
        PROBLEM_SYMLINK = 1 << 8,
        PROBLEM_SPECIAL = 1 << 9, /* FIFO, socket, device */
};

/* Whether an errno (negative) says that the filesystem has no such thing, or that this user may not make it. */
bool problem_is_inability(int error);
/* Counts what metadata_apply() could not keep on a target (its ret_lost), or one of the above. */
void problem_lost(struct view *view, struct target *target, unsigned lost);
/* Something else has the name of the node on the target: an event, and a line in the log. */
void problem_conflict(struct view *view, uint64_t id, struct target *target);
/* The source does not give the node's bytes: it is missing until the source is read anew (`retry`, new content, the next mount). */
void problem_unreadable(struct view *view, uint64_t id, int error);
/* A summary such as "owner of 12 files, ACL of 3 files", or NULL where nothing was lost. The caller frees it. */
char *problem_lost_text(const struct target *target);

#endif
