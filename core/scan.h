/* The scan: a walk over the whole view in the background. It brings every directory's records up to date (reconcile.h), which counts all
 * files for the totals, and queues what is lacking while everything is to be filled. It never delays anybody: look-ups do not wait for it.
 *
 * Memory: the ids of the directories that are still to be visited.
 */
#ifndef CVV_CORE_SCAN_H
#define CVV_CORE_SCAN_H

#include "core/reconcile.h"

struct scan;

/* `found` is called for each node that some target lacks while everything is queued. `ended` after each walk. Both without locks. */
int scan_new(struct reconcile *reconcile, struct view *view, void (*ended)(void *context), void *callback_context,
             struct scan **ret_scan);
int scan_start(struct scan *scan);
/* Walks once more after the walk under way. */
void scan_again(struct scan *scan);
/* The last walk that went to its end. */
struct scan_look {
        uint64_t number;       /* of walks that did; 0: none, and nothing else holds */
        uint64_t changes;      /* context.changes as it began */
        uint64_t ended_ns;
        bool saw_all;          /* nothing kept it from seeing everything */
        uint64_t unsafe_names; /* names of the source for which erase_is_safe() did not hold; counted in mode `full` only */
};
struct scan_look scan_last(struct scan *scan);
/* A walk is under way or asked for. */
bool scan_is_running(struct scan *scan);
/* False: the thread hangs in the source. */
bool scan_stop(struct scan *scan, uint64_t deadline_ns);
void scan_free(struct scan *scan);

/* Queues `id` and all below it with `priority`, on the calling thread, after bringing the records up to date (`reconcile` NULL: as they are). May
 * take as long as walking the directory. 0 or -errno. */
int scan_queue_tree(struct reconcile *reconcile, struct view *view, uint64_t id, uint8_t priority);
/* The same for what targets have of `id` and all below it: it is to be looked at again (verify.h), whatever was found before. */
int scan_verify_tree(struct reconcile *reconcile, struct view *view, uint64_t id);

#endif
