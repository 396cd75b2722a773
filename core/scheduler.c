#include "core/scheduler.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/chunkmove.h"
#include "core/cleanup.h"
#include "core/holders.h"
#include "core/log.h"
#include "core/need.h"
#include "core/problem.h"
#include "core/verify.h"
#include "core/wholemove.h"

enum {
        READER_MOVERS = 2,
        FILLERS_MAX = 16,
        MOVERS_MAX = FILLERS_MAX + READER_MOVERS,
        ATTEMPTS_MAX = 3, /* for one file in one pass: a source file that changes all the time comes again in the next */
};

struct mover {
        struct scheduler *scheduler;
        pthread_t thread;
        bool fills;
        uint64_t current; /* the file that it fills, 0: none */
        bool passed_by;   /* the queue came to that file meanwhile: something in it may be lacking again */
        bool ended;
};

struct resyncer {
        struct scheduler *scheduler;
        struct target *target;
};

struct scheduler {
        struct files *files;
        struct view *view;
        struct context *context;
        struct verify *verify;
        struct mutex lock; /* guards all below */
        struct condition changed;
        struct move *demand, **demand_tail;
        uint8_t cursor_priority;   /* the queue is passed up to here */
        uint64_t cursor_id;
        bool passing;              /* the cursor has not reached the end */
        bool again;                /* pass once more */
        bool paused, stopping;
        unsigned filling;          /* movers that hold a file */
        unsigned moving;           /* readers' moves that run */
        uint64_t asked;            /* how often there was something to do */
        uint64_t resync_wanted;    /* slots that missed something */
        uint64_t resyncing;        /* slots whose thread is at work */
        unsigned mover_count, resyncer_count, resyncers_ended;
        struct mover movers[MOVERS_MAX];
        pthread_t resync_threads[TARGET_SLOTS];
        struct resyncer resyncers[TARGET_SLOTS];
};

int scheduler_new(struct files *files, struct verify *verify, struct scheduler **ret_scheduler)
{
        struct scheduler *scheduler = calloc(1, sizeof(*scheduler));

        if (!scheduler)
                return -ENOMEM;
        scheduler->files = files;
        scheduler->view = files_view(files);
        scheduler->context = files_context(files);
        scheduler->verify = verify;
        scheduler->demand_tail = &scheduler->demand;
        mutex_init(&scheduler->lock);
        condition_init(&scheduler->changed);
        *ret_scheduler = scheduler;
        return 0;
}

void scheduler_free(struct scheduler *scheduler)
{
        if (!scheduler)
                return;
        condition_deinit(&scheduler->changed);
        mutex_deinit(&scheduler->lock);
        free(scheduler);
}

/* Tells those who wait for idleness, through the room signal that mirror_life.c listens to. */
static void announce(struct scheduler *scheduler)
{
        context_room_signal(scheduler->context);
}

/* --- readers' moves --- */

void scheduler_submit(struct scheduler *scheduler, struct move *move)
{
        mutex_lock(&scheduler->lock);
        if (!scheduler->stopping) {
                move->next_queued = NULL;
                *scheduler->demand_tail = move;
                scheduler->demand_tail = &move->next_queued;
                scheduler->asked++;
                condition_broadcast(&scheduler->changed);
                mutex_unlock(&scheduler->lock);
                return;
        }
        mutex_unlock(&scheduler->lock);
        chunkmove_abandon(move, -ESHUTDOWN);
}

static struct move *take_demand_locked(struct scheduler *scheduler)
{
        struct move *move = scheduler->demand;

        if (!move)
                return NULL;
        scheduler->demand = move->next_queued;
        if (!scheduler->demand)
                scheduler->demand_tail = &scheduler->demand;
        return move;
}

/* Serves readers until none waits. Called and returns with the lock held. */
static void serve_readers_locked(struct scheduler *scheduler)
{
        struct move *move;

        while ((move = take_demand_locked(scheduler))) {
                scheduler->moving++;
                mutex_unlock(&scheduler->lock);
                (void)chunkmove_run(move); /* its readers got the result */
                mutex_lock(&scheduler->lock);
                scheduler->moving--;
        }
}

/* --- what a file still needs --- */

static uint64_t usable_slots(struct scheduler *scheduler)
{
        struct context *context = scheduler->context;
        uint64_t slots = 0;

        for (CONTEXT_EACH_TARGET(context, context->target_mask, target))
                if (target_takes_writes(target))
                        slots |= 1ull << target->slot;
        return slots;
}

struct lack {
        struct scheduler *scheduler;
        uint64_t slots; /* that lack a name */
        bool wanted;    /* it has a name that is not excluded */
};

static int lack_name(void *context, uint64_t parent, const char *name)
{
        struct lack *lack = context;
        struct name_record record;

        /* A queue is older than the patterns of this mount, and may be passed before the scan comes to the name. */
        if (view_name(lack->scheduler->view, parent, name, &record) < 0 ||
            view_is_excluded(lack->scheduler->view, parent, name, S_ISDIR(record.mode_type)))
                return 0;
        lack->wanted = true;
        lack->slots |= ~record.published & ~record.conflict;
        return 0;
}

/* The slots that lack the node or one of its names, and can get it. */
static uint64_t needed_slots(struct scheduler *scheduler, uint64_t id, const struct node_record *node)
{
        struct lack lack = { .scheduler = scheduler, .slots = ~node->complete | node->partial };

        if (!(node->flags & VIEW_NODE_SOURCE) || id == VIEW_ROOT)
                return 0;
        if (view_each_name(scheduler->view, id, node, lack_name, &lack) < 0)
                return 0; /* unreadable records: the scan says so */
        if (!lack.wanted)
                return 0;
        return lack.slots & ~(node->conflict | node->failed) & scheduler->context->target_mask;
}

/* The slots where the finished node needs a look. Where it is not finished yet, its checkpoint sees to that. */
static uint64_t verify_slots(struct scheduler *scheduler, const struct node_record *node)
{
        struct name_record name;
        uint64_t slots = 0;

        if (view_primary_name(scheduler->view, node, &name) < 0)
                return 0;
        for (CONTEXT_EACH_TARGET(scheduler->context, view_finished(node, &name) & ~name.conflict & scheduler->context->target_mask, target))
                if (verify_wants(scheduler->verify, node, target->slot))
                        slots |= 1ull << target->slot;
        return slots;
}

void scheduler_settle(struct scheduler *scheduler, uint64_t id)
{
        struct node_record node;

        if (view_node(scheduler->view, id, &node) < 0 || !(node.flags & VIEW_NODE_QUEUED) ||
            needed_slots(scheduler, id, &node) != 0 || verify_slots(scheduler, &node) != 0)
                return;
        (void)view_unqueue(scheduler->view, id); /* it would be passed once more, and left alone */
}

/* Slots where all chunks are present, none is on its way again, and yet the final name is missing. */
static uint64_t unpublished_slots(struct file *file, uint64_t needed)
{
        uint64_t slots = 0;

        MUTEX_SCOPE(&file->lock);
        for (unsigned slot = 0; slot < file->part_count; slot++) {
                const struct file_part *part = &file->parts[slot];

                if ((needed >> slot & 1) && part->kind != PART_BLOCKED && bitmap_is_full(&part->present) &&
                    !file_is_claimed_locked(file, slot))
                        slots |= 1ull << slot;
        }
        return slots;
}

/* `left`: a resync asks, which makes way for filling, and remembers here that it did; NULL: a filling mover. */
static bool must_leave(struct scheduler *scheduler, bool *left)
{
        MUTEX_SCOPE(&scheduler->lock);
        if (!left && scheduler->demand && !scheduler->stopping)
                serve_readers_locked(scheduler);
        if (!scheduler->stopping && !scheduler->paused && !(left && (scheduler->passing || scheduler->filling > 0)))
                return false;
        if (left)
                *left = true;
        return true;
}

/* A chunk that is lacking on targets only which cannot keep up, while others have it, is left to their resync threads. */
static bool is_for_resync(struct scheduler *scheduler, struct file *file, uint64_t chunk, uint64_t slots)
{
        struct context *context = scheduler->context;
        uint64_t lacking;
        bool somebody_has_it;

        mutex_lock(&file->lock);
        lacking = file_lacking_locked(file, chunk, slots);
        somebody_has_it = file_holder_locked(file, chunk, 0) >= 0;
        mutex_unlock(&file->lock);
        if (!somebody_has_it)
                return false;
        for (CONTEXT_EACH_TARGET(context, lacking, target))
                if (target_level(target) != TARGET_QUEUE_FULL)
                        return false;
        mutex_lock(&scheduler->lock);
        scheduler->resync_wanted |= lacking;
        mutex_unlock(&scheduler->lock);
        return lacking != 0;
}

static int move_chunk(struct file *file, uint64_t chunk, uint64_t slots)
{
        struct move *move;
        int result;

        mutex_lock(&file->lock);
        result = chunk < file->chunk_count ? file_claim_locked(file, chunk, slots, false, &move) : FILE_CLAIM_NOTHING;
        mutex_unlock(&file->lock);
        return result == 0 ? chunkmove_run(move) : result < 0 ? result : 0;
}

/* A filling mover does not wait for the verification of one target: the target's own thread does, and looks through the queue for it. */
static bool leave_to_resync(struct scheduler *scheduler, struct target *target)
{
        if (verify_has_room(scheduler->verify, target->slot) || !target_takes_writes(target))
                return false;
        MUTEX_SCOPE(&scheduler->lock);
        scheduler->resync_wanted |= 1ull << target->slot;
        return true;
}

/* Hands the finished file over to be looked at. `fills`: for a filling mover. */
static void hand_over(struct scheduler *scheduler, struct file *file, uint64_t slots, bool fills)
{
        for (CONTEXT_EACH_TARGET(scheduler->context, slots, target)) {
                if (!target_serves_reads(target))
                        continue; /* it comes again when the target is back */
                if (fills && leave_to_resync(scheduler, target))
                        continue;
                verify_wait_room(scheduler->verify, target->slot);
                mutex_lock(&scheduler->lock);
                scheduler->asked++;
                mutex_unlock(&scheduler->lock);
                verify_add(scheduler->verify, file, target->slot);
        }
}

/* Something has all of it: the source, or a target. A directory that cannot be read is there all the same. */
static bool is_available(struct scheduler *scheduler, const struct node_record *node)
{
        if (!(node->flags & (S_ISDIR(node->mode) ? VIEW_NODE_MISSING : VIEW_NODE_UNAVAILABLE)))
                return true;
        for (CONTEXT_EACH_TARGET(scheduler->context, node->complete & ~node->conflict & scheduler->context->target_mask, target))
                if (!S_ISDIR(node->mode) && target_serves_reads(target))
                        return true;
        return false;
}

/* Brings what the file lacks on `allowed`. */
static void bring_file(struct scheduler *scheduler, uint64_t id, uint64_t allowed, bool *left)
{
        cleanup(file_release) struct file *file = NULL;
        struct node_record node;
        unsigned attempts = 0;
        uint64_t from = 0, needed, unseen;
        int result = 0;

        if (view_node(scheduler->view, id, &node) < 0)
                return;
        needed = is_available(scheduler, &node) ? needed_slots(scheduler, id, &node) & allowed : 0;
        unseen = verify_slots(scheduler, &node) & allowed;
        if ((needed | unseen) == 0 || files_get(scheduler->files, id, &file) < 0)
                return;
        hand_over(scheduler, file, unseen, !left);
        if (needed == 0)
                return;
        mutex_lock(&file->lock);
        file->source_lost = node.flags & VIEW_NODE_UNAVAILABLE;
        mutex_unlock(&file->lock);
        if (S_ISREG(node.mode) && (node.complete | node.partial))
                holders_open(file); /* what others have is taken from there */
        while (S_ISREG(node.mode) && !must_leave(scheduler, left)) {
                uint64_t chunk = file_next_lacking(file, from, needed & usable_slots(scheduler));

                if (chunk >= file->chunk_count)
                        break;
                from = chunk;
                if (!left && is_for_resync(scheduler, file, chunk, needed)) {
                        from = chunk + 1;
                        continue;
                }
                result = move_chunk(file, chunk, needed);
                if (result == 0)
                        from = chunk + 1;
                else if (++attempts == ATTEMPTS_MAX || (result != -ESTALE && result != -EBADMSG))
                        break;
                else
                        from = 0;
        }
        if (result == 0 && !must_leave(scheduler, left)) {
                uint64_t slots = S_ISREG(node.mode) ? unpublished_slots(file, needed) : needed;

                if (slots)
                        result = wholemove_run(file, slots);
        }
        if (result == -EIO || result == -EACCES || result == -EPERM || result == -ENODATA)
                problem_unreadable(scheduler->view, id, result);
        if (!left && (needed & ~usable_slots(scheduler)) == 0)
                scheduler_settle(scheduler, id);
}

/* --- the filling movers --- */

/* The next file of the queue that no mover has. Called with the lock held; gives it up in between. */
static bool next_file_locked(struct scheduler *scheduler, uint64_t *ret_id)
{
        uint8_t priority = scheduler->cursor_priority;
        uint64_t id = scheduler->cursor_id;
        int result;

        /* The state's locks stand below this one, and it is memory or a mapped page. */
        result = view_next_queued(scheduler->view, &priority, &id);
        if (result == 0) {
                scheduler->cursor_priority = priority;
                scheduler->cursor_id = id;
                *ret_id = id;
                return true;
        }
        scheduler->cursor_priority = 0;
        scheduler->cursor_id = 0;
        scheduler->passing = scheduler->again;
        scheduler->again = false;
        condition_broadcast(&scheduler->changed);
        return false;
}

static bool is_filled_by_another_locked(struct scheduler *scheduler, uint64_t id)
{
        for (unsigned i = 0; i < scheduler->mover_count; i++) {
                if (scheduler->movers[i].current != id)
                        continue;
                scheduler->movers[i].passed_by = true;
                return true;
        }
        return false;
}

static void pass_again_locked(struct scheduler *scheduler)
{
        if (scheduler->passing)
                scheduler->again = true;
        scheduler->passing = true;
        scheduler->asked++;
        condition_broadcast(&scheduler->changed);
}

static void fill_one_locked(struct scheduler *scheduler, struct mover *mover)
{
        uint64_t id;

        if (!next_file_locked(scheduler, &id) || is_filled_by_another_locked(scheduler, id))
                return;
        mover->current = id;
        scheduler->filling++;
        mutex_unlock(&scheduler->lock);
        bring_file(scheduler, id, scheduler->context->target_mask, NULL);
        mutex_lock(&scheduler->lock);
        mover->current = 0;
        scheduler->filling--;
        if (mover->passed_by)
                pass_again_locked(scheduler);
        mover->passed_by = false;
}

static void *mover_main(void *argument)
{
        struct mover *mover = argument;
        struct scheduler *scheduler = mover->scheduler;

        mutex_lock(&scheduler->lock);
        while (!scheduler->stopping) {
                bool worked = false;

                if (scheduler->demand) {
                        serve_readers_locked(scheduler);
                        worked = true;
                } else if (mover->fills && scheduler->passing && !scheduler->paused) {
                        fill_one_locked(scheduler, mover);
                        worked = true;
                }
                if (!worked) {
                        condition_wait(&scheduler->changed, &scheduler->lock);
                        continue;
                }
                if (!scheduler->passing && scheduler->filling == 0) {
                        condition_broadcast(&scheduler->changed);
                        mutex_unlock(&scheduler->lock);
                        announce(scheduler);
                        mutex_lock(&scheduler->lock);
                }
        }
        mover->ended = true;
        condition_broadcast(&scheduler->changed);
        mutex_unlock(&scheduler->lock);
        return NULL;
}

/* --- resync --- */

static bool resync_due_locked(const struct scheduler *scheduler, const struct target *target)
{
        return !scheduler->paused && !scheduler->passing && scheduler->filling == 0 &&
               (scheduler->resync_wanted >> target->slot & 1);
}

/* Returns whether it came through without making way. */
static bool resync(struct scheduler *scheduler, struct target *target)
{
        bool left = false;
        uint8_t priority = 0;
        uint64_t id = 0;

        while (!left && !must_leave(scheduler, &left) && target_takes_writes(target) &&
               view_next_queued(scheduler->view, &priority, &id) == 0)
                bring_file(scheduler, id, 1ull << target->slot, &left);
        return !left;
}

static void *resync_main(void *argument)
{
        struct resyncer *resyncer = argument;
        struct scheduler *scheduler = resyncer->scheduler;
        struct target *target = resyncer->target;
        uint64_t bit = 1ull << target->slot;

        mutex_lock(&scheduler->lock);
        while (!scheduler->stopping) {
                bool done;

                if (!resync_due_locked(scheduler, target)) {
                        condition_wait(&scheduler->changed, &scheduler->lock);
                        continue;
                }
                scheduler->resyncing |= bit;
                scheduler->resync_wanted &= ~bit; /* what is asked for from here on is not in this round */
                mutex_unlock(&scheduler->lock);
                done = resync(scheduler, target);
                mutex_lock(&scheduler->lock);
                scheduler->resyncing &= ~bit;
                if (!done)
                        scheduler->resync_wanted |= bit;
                done = !(scheduler->resync_wanted & bit);
                mutex_unlock(&scheduler->lock);
                if (done && target_state(target) == TARGET_BEHIND)
                        target_set_state(target, TARGET_ONLINE, NULL);
                announce(scheduler);
                mutex_lock(&scheduler->lock);
        }
        scheduler->resyncers_ended++;
        condition_broadcast(&scheduler->changed);
        mutex_unlock(&scheduler->lock);
        return NULL;
}

/* --- lifecycle and control --- */

static int start_mover(struct scheduler *scheduler, bool fills)
{
        struct mover *mover = &scheduler->movers[scheduler->mover_count];
        int result;

        mover->scheduler = scheduler;
        mover->fills = fills;
        result = thread_start(&mover->thread, fills ? "cvv-fill" : "cvv-demand", mover_main, mover);
        if (result == 0)
                scheduler->mover_count++;
        return result;
}

int scheduler_start(struct scheduler *scheduler, unsigned fillers)
{
        struct context *context = scheduler->context;
        int result = 0;

        MUTEX_SCOPE(&scheduler->lock);
        scheduler->passing = true;
        for (unsigned i = 0; i < READER_MOVERS && result == 0; i++)
                result = start_mover(scheduler, false);
        for (unsigned i = 0; i < fillers && i < FILLERS_MAX && result == 0; i++)
                result = start_mover(scheduler, true);
        for (CONTEXT_EACH_TARGET(context, context->target_mask, target)) {
                struct resyncer *resyncer = &scheduler->resyncers[scheduler->resyncer_count];
                char name[16];

                if (result < 0)
                        break;
                *resyncer = (struct resyncer){ .scheduler = scheduler, .target = target };
                (void)snprintf(name, sizeof(name), "cvv-resync-%u", target->n); /* a cut name is still a name */
                result = thread_start(&scheduler->resync_threads[scheduler->resyncer_count], name, resync_main, resyncer);
                if (result == 0)
                        scheduler->resyncer_count++;
        }
        return result;
}

static bool all_ended_locked(const struct scheduler *scheduler)
{
        for (unsigned i = 0; i < scheduler->mover_count; i++)
                if (!scheduler->movers[i].ended)
                        return false;
        return scheduler->resyncers_ended == scheduler->resyncer_count;
}

bool scheduler_stop(struct scheduler *scheduler, uint64_t deadline_ns)
{
        struct move *waiting;
        bool all;

        mutex_lock(&scheduler->lock);
        scheduler->stopping = true;
        waiting = scheduler->demand;
        scheduler->demand = NULL;
        scheduler->demand_tail = &scheduler->demand;
        condition_broadcast(&scheduler->changed);
        mutex_unlock(&scheduler->lock);
        while (waiting) {
                struct move *next = waiting->next_queued;

                chunkmove_abandon(waiting, -ESHUTDOWN);
                waiting = next;
        }
        announce(scheduler);
        mutex_lock(&scheduler->lock);
        while (!all_ended_locked(scheduler) && condition_wait_until(&scheduler->changed, &scheduler->lock, deadline_ns))
                ;
        all = all_ended_locked(scheduler);
        mutex_unlock(&scheduler->lock);
        for (unsigned i = 0; all && i < scheduler->mover_count; i++)
                (void)pthread_join(scheduler->movers[i].thread, NULL); /* it has ended */
        for (unsigned i = 0; all && i < scheduler->resyncer_count; i++)
                (void)pthread_join(scheduler->resync_threads[i], NULL);
        return all;
}

void scheduler_kick(struct scheduler *scheduler)
{
        MUTEX_SCOPE(&scheduler->lock);
        pass_again_locked(scheduler);
}

void scheduler_missed(struct scheduler *scheduler, uint64_t slots)
{
        MUTEX_SCOPE(&scheduler->lock);
        scheduler->resync_wanted |= slots;
        scheduler->asked++;
        condition_broadcast(&scheduler->changed);
}

void scheduler_resync(struct scheduler *scheduler, uint64_t slots)
{
        scheduler_missed(scheduler, slots);
        scheduler_kick(scheduler);
}

void scheduler_pause(struct scheduler *scheduler, bool paused)
{
        mutex_lock(&scheduler->lock);
        scheduler->paused = paused;
        if (!paused)
                pass_again_locked(scheduler); /* the files that were left in the middle lie before the cursor */
        condition_broadcast(&scheduler->changed);
        mutex_unlock(&scheduler->lock);
        announce(scheduler);
}

bool scheduler_is_paused(struct scheduler *scheduler)
{
        MUTEX_SCOPE(&scheduler->lock);
        return scheduler->paused;
}

bool scheduler_is_idle(struct scheduler *scheduler)
{
        MUTEX_SCOPE(&scheduler->lock);
        if (scheduler->demand || scheduler->moving > 0 || scheduler->filling > 0 || scheduler->resyncing)
                return false;
        if (scheduler->paused)
                return true;
        for (CONTEXT_EACH_TARGET(scheduler->context, scheduler->resync_wanted, target))
                if (target_takes_writes(target))
                        return false;
        return !scheduler->passing;
}

uint64_t scheduler_asked(struct scheduler *scheduler)
{
        MUTEX_SCOPE(&scheduler->lock);
        return scheduler->asked;
}

size_t scheduler_current(struct scheduler *scheduler, uint64_t *ret_ids, size_t max)
{
        size_t count = 0;

        MUTEX_SCOPE(&scheduler->lock);
        for (unsigned i = 0; i < scheduler->mover_count && count < max; i++)
                if (scheduler->movers[i].current != 0)
                        ret_ids[count++] = scheduler->movers[i].current;
        return count;
}
