/* The scheduler: who is moved next, by which thread.
 *
 * Order: moves that a reader waits for; then the queue of the state (view.h), lowest priority number first; then what slow targets missed.
 * Two movers serve readers only, so that background work that waits for a target can never stand in a reader's way; the others fill.
 * A filling mover takes one file from the queue and brings its chunks in order, so that the digest of the file is fed in flight; between
 * two chunks it looks for readers first.
 *
 * What only targets lack that are behind is left to those targets' own resync threads, which work while no filling is done: they bring
 * it from a target that has it, at the pace of the slow one.
 *
 * Finished files that need a look (need.h) are handed to verification on the way.
 *
 * Nothing here polls: the queue is passed through once, and again after something changed that could let a file progress
 * (scheduler_kick).
 */
#ifndef CVV_CORE_SCHEDULER_H
#define CVV_CORE_SCHEDULER_H

#include "core/file.h"
#include "core/verify.h"

struct scheduler;

int scheduler_new(struct files *files, struct verify *verify, struct scheduler **ret_scheduler);
/* Starts `fillers` filling movers, the movers for readers, and a resync thread for each target. */
int scheduler_start(struct scheduler *scheduler, unsigned fillers);
/* Ends background work and readers' moves that have not begun; joins until the deadline. False: a thread is stuck. */
bool scheduler_stop(struct scheduler *scheduler, uint64_t deadline_ns);
void scheduler_free(struct scheduler *scheduler);

/* A move that a reader waits for; takes over the reference. */
void scheduler_submit(struct scheduler *scheduler, struct move *move);
/* Something is queued, or a target came back: the queue is passed through again. */
void scheduler_kick(struct scheduler *scheduler);
/* These targets missed something of what is queued: their resync threads bring it when nothing is filled. */
void scheduler_missed(struct scheduler *scheduler, uint64_t slots);
/* The queue is passed through again, and these targets are asked what they miss. */
void scheduler_resync(struct scheduler *scheduler, uint64_t slots);
void scheduler_pause(struct scheduler *scheduler, bool paused);
bool scheduler_is_paused(struct scheduler *scheduler);
/* Nothing is moved, and nothing queued could be: what the targets still have in hand is not looked at. */
bool scheduler_is_idle(struct scheduler *scheduler);
/* How often anything was asked of it. The same number before and after: nothing has begun in between. */
uint64_t scheduler_asked(struct scheduler *scheduler);
/* The files that are being filled now, at most `max`. */
size_t scheduler_current(struct scheduler *scheduler, uint64_t *ret_ids, size_t max);
/* Takes a node off the queue when no target lacks it any more, or none can get it. */
void scheduler_settle(struct scheduler *scheduler, uint64_t id);

#endif
