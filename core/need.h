/* What a node of the source still needs to be seen as, once targets have its bytes: a second reading of the source, a reading back of its copies, its
 * digests. What it lacks is another matter (scheduler.c); here it is decided what is to be looked at, and when it may have its final name.
 *
 * Pure functions over records: no I/O, no state, any thread.
 */
#ifndef CVV_CORE_NEED_H
#define CVV_CORE_NEED_H

#include <stdbool.h>
#include <stdint.h>

#include "core/options.h"
#include "core/record.h"

struct need {
        bool source;        /* the source is to be read (a second time) */
        uint64_t read_back; /* slots whose copy is to be read back */
        bool digest;        /* digests that were asked for are not known */
        uint64_t slots;     /* whose copy can tell: it is whole, and neither in conflict nor given up */
};

/* What a node needs of this, in mode `options->mode` with the targets of `target_mask`. A file that is taken as equal by its size and mtime has no
 * hashes to be compared with, and needs nothing unless somebody asks (VIEW_NODE_VERIFY), or mode `full` compares what exists (an earlier mount in
 * another mode may have taken it so). */
struct need need_of(const struct options *options, const struct node_record *node, uint64_t target_mask);
bool need_is_nothing(const struct need *need);
/* Whether the copy on `slot` has to be looked at for it. */
bool need_concerns(const struct need *need, unsigned slot);
/* Whether what is complete on `slot` may have its final name there. */
bool need_may_publish(const struct options *options, const struct node_record *node, unsigned slot);

#endif
