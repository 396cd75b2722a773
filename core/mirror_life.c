#include "core/mirror_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "core/checkpoint.h"
#include "core/chunkmove.h"
#include "core/cleanup.h"
#include "core/directories.h"
#include "core/fileread.h"
#include "core/io.h"
#include "core/log.h"
#include "core/metadata_rules.h"
#include "core/part.h"
#include "core/problem.h"
#include "core/report_text.h"
#include "core/steps.h"
#include "core/touched.h"

enum {
        WRITE_SLOW_MS = 4000,  /* a target's write that takes longer, or reads on all threads of its device: it is behind */
        WRITE_HANG_MS = 20000, /* longer than this: it hangs */
        SYNC_HANG_MS = 120000, /* so for a sync, which may have a whole interval to write */
        STOP_HANG_MS = 8000,   /* so for any single call but a sync, when all is to end */
        TICK_MS = 1000,
};

/* --- what the modules call back --- */

/* While everything is queued, that holds for what changed, too; the scan may be past it. */
static void queue_changed(struct mirror *mirror, uint64_t id)
{
        struct node_record node;
        struct name_record name;

        if (!atomic_load(&mirror->context.fill_all) || view_node(mirror->view, id, &node) < 0 ||
            view_primary_name(mirror->view, &node, &name) < 0)
                return;
        if (!(name.flags & (VIEW_NAME_EXCLUDED | VIEW_NAME_WHITEOUT)) && !(node.flags & VIEW_NODE_QUEUED) &&
            mirror_finished_slots(mirror, &node) != mirror->context.target_mask)
                (void)view_queue(mirror->view, id, VIEW_QUEUE_FILL); /* else the next scan finds it */
}

static void on_content_changed(void *context, uint64_t id)
{
        struct mirror *mirror = context;
        cleanup(file_release) struct file *file = files_peek(mirror->files, id);
        cleanup(pointer_free) char *path = NULL;

        if (file)
                file_reload(file);
        queue_changed(mirror, id);
        if (view_path(mirror->view, id, &path) == 0) {
                events_add(mirror->context.events, "source-changed", path, 0, NULL);
                log_info("%s changed in the source: it is copied again", path);
        }
        if (mirror->scheduler)
                scheduler_kick(mirror->scheduler);
}

static void on_submit(void *context, struct move *move)
{
        struct mirror *mirror = context;

        scheduler_submit(mirror->scheduler, move);
}

/* What lives of the file was loaded before the record came up to date: its mover met nothing else than what the record says now. */
static bool is_outdated(struct file *file, const struct node_record *node)
{
        MUTEX_SCOPE(&file->lock);
        return file->generation != node->generation || file->size != node->size || file->mtime_ns != node->mtime_ns ||
               file->ctime_ns != node->ctime_ns;
}

/* Size and times are as they were, and the bytes, or what the mover saw of them, are not. Where a target has the file whole, that version
 * stays: the hashes of all of its chunks are known, so no others get to the targets that lack it, and what a new generation published could
 * not be told from it. While nothing can have its final name yet, as the second reading of the source is still to come, that is no concern. */
static int begin_again(struct mirror *mirror, uint64_t id, const struct node_record *node)
{
        const struct options *options = mirror->context.options;
        cleanup(pointer_free) char *path = NULL;
        int result;

        if (node->complete != 0 && (options->mode == MODE_TRANSFER || (node->flags & VIEW_NODE_REREAD) ||
                                    mirror_finished_slots(mirror, node) != 0)) {
                if (view_path(mirror->view, id, &path) == 0)
                        log_warning("%s has other bytes in the source than those that were copied, with the same size and times", path);
                return -EIO;
        }
        result = reconcile_begin_again(mirror->reconcile, id, node->generation);
        if (result < 0 || view_path(mirror->view, id, &path) < 0)
                return result < 0 ? -EIO : 0;
        events_add(mirror->context.events, "source-changed", path, 0, "its size and times are the same");
        log_warning("%s changed in the source, although its size and times are the same: it is copied again", path);
        return 0;
}

static int on_drifted(void *context, uint64_t id, uint64_t generation)
{
        struct mirror *mirror = context;
        cleanup(file_release) struct file *file = NULL;
        struct node_record before, after;
        int result = view_node(mirror->view, id, &before), again = 0;

        if (result < 0)
                return -EIO;
        if (before.generation == generation)
                result = reconcile_renew(mirror->reconcile, id);
        if (view_node(mirror->view, id, &after) < 0)
                return -EIO;
        if (after.generation == generation) { /* else content_changed has done it */
                file = files_peek(mirror->files, id);
                if (result == 0 && after.ctime_ns == before.ctime_ns && !(after.flags & VIEW_NODE_UNAVAILABLE) &&
                    !(file && is_outdated(file, &after)))
                        again = begin_again(mirror, id, &after);
                if (file)
                        file_reload(file);
                if (again < 0) /* it would be met again and again */
                        problem_unreadable(mirror->view, id, -EBADMSG);
                if (result == 0 && again == 0)
                        scheduler_kick(mirror->scheduler); /* what was not marked yet is lacking, and its mover may have left */
        }
        return result < 0 || again < 0 || (after.flags & VIEW_NODE_UNAVAILABLE) ? -EIO : 0;
}

static void on_fell_behind(void *context, struct target *target)
{
        struct mirror *mirror = context;

        if (target_state(target) == TARGET_ONLINE)
                target_set_state(target, TARGET_BEHIND, "it does not keep up with the others");
        scheduler_missed(mirror->scheduler, 1ull << target->slot);
}

static void on_work_found(void *context)
{
        struct mirror *mirror = context;

        scheduler_kick(mirror->scheduler);
}

static void on_published(void *context, uint64_t id)
{
        struct mirror *mirror = context;

        struct node_record node;
        cleanup(pointer_free) char *path = NULL;

        scheduler_settle(mirror->scheduler, id);
        if (view_node(mirror->view, id, &node) == 0 && mirror_finished_slots(mirror, &node) == mirror->context.target_mask &&
            view_path(mirror->view, id, &path) == 0)
                events_add(mirror->context.events, "copied", path, 0, NULL);
}

static void on_target_changed(void *context, struct target *target)
{
        struct mirror *mirror = context;

        (void)target;
        context_room_signal(&mirror->context);
}

static bool nothing_is_moved(struct mirror *mirror)
{
        return scheduler_is_idle(mirror->scheduler) && !(atomic_load(&mirror->context.fill_all) && scan_is_running(mirror->scan));
}

static bool targets_are_drained(struct mirror *mirror)
{
        for (CONTEXT_EACH_TARGET(&mirror->context, mirror->context.target_mask, target))
                if (target_takes_writes(target) && !target_is_drained(target))
                        return false;
        return true;
}

/* Nothing more is on its way to any target that works: then directories get their times. What was queued for a target when it was asked what
 * is moved may have asked for more as it ended, and that may even be with another target by now, one that was looked at before: so nothing
 * may have been asked for all the while. */
static bool nothing_on_its_way(void *context)
{
        struct mirror *mirror = context;
        uint64_t asked = scheduler_asked(mirror->scheduler);

        /* From a target to verification and back: what was at the one when the other was asked is at the one again, or done. */
        return nothing_is_moved(mirror) && targets_are_drained(mirror) && verify_is_idle(mirror->verify) &&
               targets_are_drained(mirror) && nothing_is_moved(mirror) && scheduler_asked(mirror->scheduler) == asked;
}

bool mirror_is_verifying(struct mirror *mirror)
{
        return nothing_is_moved(mirror) && targets_are_drained(mirror) &&
               (!verify_is_idle(mirror->verify) || mirror_look_is_due(mirror));
}

bool mirror_is_busy(struct mirror *mirror)
{
        if (atomic_load(&mirror->surveying))
                return scan_is_running(mirror->scan);
        if (!nothing_on_its_way(mirror))
                return true;
        for (CONTEXT_EACH_TARGET(&mirror->context, mirror->context.target_mask, target))
                if (target_takes_writes(target) && touched_pending(target))
                        return true;
        return mirror_look_is_due(mirror);
}

void mirror_on_idle(struct mirror *mirror, void (*notify)(void *context), void *context)
{
        MUTEX_SCOPE(&mirror->lock);
        mirror->idle_notify = notify;
        mirror->idle_context = context;
}

static void on_scan_ended(void *context)
{
        struct mirror *mirror = context;
        struct meta_record meta;

        events_add(mirror->context.events, "scan-complete", NULL, 0, NULL);
        if (setup_get_meta(mirror->context.db, &meta) == 0 && (meta.flags & META_FILL_ALL)) {
                meta.flags &= ~(uint32_t)META_FILL_ALL; /* each name that lacks something is in the queue now */
                (void)setup_put_meta(mirror->context.db, &meta); /* left set, it costs a scan */
        }
        scheduler_kick(mirror->scheduler);
}

/* --- the watchdog --- */

static void watch_target(struct mirror *mirror, struct target *target)
{
        uint64_t now = clock_now_ns(), stuck_ns = target->root.io ? devio_stuck_ns(target->root.io) : 0;
        uint64_t verify_ns = verify_stuck_ns(mirror->verify, target->slot);
        bool hangs, slow, reads_hang = false, reads_end = false, recovers = false;

        mutex_lock(&target->lock);
        hangs = stuck_ns > WRITE_HANG_MS * 1000000ull || verify_ns > WRITE_HANG_MS * 1000000ull ||
                (target->writer_busy_since_ns && now > target->writer_busy_since_ns + WRITE_HANG_MS * 1000000ull) ||
                (target->syncing_since_ns && now > target->syncing_since_ns + SYNC_HANG_MS * 1000000ull);
        slow = target->state == TARGET_ONLINE && target->writer_busy_since_ns &&
               now > target->writer_busy_since_ns + WRITE_SLOW_MS * 1000000ull;
        if (target->state == TARGET_ONLINE && stuck_ns > WRITE_SLOW_MS * 1000000ull)
                target->reads_hang = reads_hang = true;
        else if (target->reads_hang && stuck_ns == 0)
                reads_end = true;
        target->reads_hang = target->reads_hang && !reads_end;
        if (hangs && (target->state == TARGET_ONLINE || target->state == TARGET_BEHIND))
                target->hung = true;
        else if (!hangs && target->hung && target->state == TARGET_OFFLINE)
                recovers = true;
        if (target->state == TARGET_FULL && target->space_known &&
            target->space.f_bavail * target->space.f_frsize > target->free_at_full + 2 * BUFPOOL_BLOCK_BYTES)
                recovers = true;
        hangs = hangs && target->hung && target->state != TARGET_OFFLINE;
        if (recovers)
                target->hung = false;
        mutex_unlock(&target->lock);
        if (slow && !hangs)
                on_fell_behind(mirror, target);
        if (reads_hang && !hangs)
                target_set_state(target, TARGET_BEHIND, "its reads hang");
        if (reads_end)
                scheduler_missed(mirror->scheduler, 1ull << target->slot); /* who looks at that tells when it is no more behind */
        if (hangs)
                target_set_state(target, TARGET_OFFLINE, "it does not answer");
        if (recovers) {
                target_set_state(target, TARGET_BEHIND, "it is back");
                scheduler_resync(mirror->scheduler, 1ull << target->slot);
        }
}

/* Looks after hung targets, and tells who waits for idleness: both need no haste, but idleness is told as soon as it comes. */
static void *watchdog_main(void *argument)
{
        struct mirror *mirror = argument;
        uint64_t next_tick_ns = clock_now_ns();

        for (;;) {
                uint64_t serial = context_room_serial(&mirror->context);
                void (*notify)(void *context);
                void *notify_context;
                bool stopping;

                mutex_lock(&mirror->lock);
                stopping = mirror->stopping;
                notify = mirror->idle_notify;
                notify_context = mirror->idle_context;
                mutex_unlock(&mirror->lock);
                if (stopping)
                        break;
                if (clock_now_ns() >= next_tick_ns) {
                        for (CONTEXT_EACH_TARGET(&mirror->context, mirror->context.target_mask, target))
                                watch_target(mirror, target);
                        file_reads_expire(&mirror->context);
                        next_tick_ns = clock_now_ns() + TICK_MS * 1000000ull;
                }
                if (atomic_load(&mirror->context.fill_all) && nothing_is_moved(mirror))
                        for (CONTEXT_EACH_TARGET(&mirror->context, mirror->context.target_mask, target))
                                checkpoint_hurry(target); /* nothing is gained by the end of the interval */
                if (nothing_on_its_way(mirror))
                        for (CONTEXT_EACH_TARGET(&mirror->context, mirror->context.target_mask, target))
                                if (touched_pending(target))
                                        checkpoint_wake(target);
                if (!atomic_load(&mirror->surveying) && nothing_on_its_way(mirror) && mirror_look_is_due(mirror))
                        mirror_look_again(mirror);
                if (notify && !mirror_is_busy(mirror))
                        notify(notify_context);
                context_room_wait_until(&mirror->context, serial, next_tick_ns);
        }
        mutex_lock(&mirror->lock);
        mirror->watchdog_ended = true;
        condition_broadcast(&mirror->changed);
        mutex_unlock(&mirror->lock);
        return NULL;
}

/* --- lifecycle --- */

static void set_up_context(struct mirror *mirror, const struct options *options)
{
        struct context *context = &mirror->context;
        const struct setup *setup = &mirror->setup;

        context->options = options;
        context->db = setup->db;
        context->source = setup->has_source ? &mirror->setup.source : NULL;
        context->unclean = setup->unclean;
        context->epoch = setup->meta.epoch;
        context->chunk_bytes = setup->meta.chunk_bytes;
        context->source_tag = setup->source_tag;
        atomic_store(&context->fill_all, options->fill == FILL_ALL || (setup->meta.flags & META_FILL_ALL));
        for (size_t i = 0; i < setup->target_count; i++) {
                struct target *target = setup->targets[i];

                context->targets[target->slot] = target;
                context->target_mask |= 1ull << target->slot;
                target->events = context->events;
                target->changed = on_target_changed;
                target->changed_context = mirror;
        }
        context->content_changed = on_content_changed;
        context->submit = on_submit;
        context->drifted = on_drifted;
        context->fell_behind = on_fell_behind;
        context->work_found = on_work_found;
        context->published = on_published;
        context->callback_context = mirror;
}

/* The root is a node like any other, but nobody looks it up. */
static int ensure_root(struct mirror *mirror)
{
        struct context *context = &mirror->context;
        const struct root *root = context->source ? context->source : &mirror->setup.targets[0]->root;
        struct node_record node = { .parent = VIEW_ROOT, .generation = 1, .source_limit = UINT64_MAX, .name_size = 1, .name = "." };
        struct record_key key = record_key_node(VIEW_ROOT);
        uint8_t buffer[RECORD_VALUE_BYTES];
        struct statx stat;
        size_t size;
        int result = root_stat(root, "", &stat);

        if (result < 0)
                return result;
        (void)view_node(mirror->view, VIEW_ROOT, &node); /* absent in a new state */
        node.mode = stat.stx_mode;
        node.uid = stat.stx_uid;
        node.gid = stat.stx_gid;
        node.nlink = stat.stx_nlink;
        node.size = stat.stx_size;
        node.mtime_ns = metadata_time_ns(&stat.stx_mtime);
        node.ctime_ns = metadata_time_ns(&stat.stx_ctime);
        node.atime_ns = metadata_time_ns(&stat.stx_atime);
        node.flags |= context->source ? VIEW_NODE_SOURCE : 0;
        result = record_encode_node(&node, buffer, sizeof(buffer), &size);
        return result < 0 ? result : statedb_put(context->db, key.bytes, key.size, buffer, size);
}

static int make_services(struct mirror *mirror, const struct options *options)
{
        struct context *context = &mirror->context;
        int result = events_new(&context->events);

        if (result == 0)
                result = bufpool_new(options->memory_bytes, BUFPOOL_BLOCK_BYTES, &context->bufpool);
        if (result == 0)
                result = limiter_new(options->limit_bytes_per_s, &context->limiter);
        if (result == 0 && options->exclude.count > 0)
                result = exclude_new(options->exclude.items, options->exclude.count, &context->exclude);
        return result;
}

static int make_modules(struct mirror *mirror)
{
        int result = view_new(&mirror->context, mirror->setup.meta.next_id, &mirror->view);

        if (result == 0)
                result = ensure_root(mirror);
        for (size_t i = 0; result == 0 && i < mirror->setup.target_count; i++) {
                struct target *target = mirror->setup.targets[i];

                if (mirror->setup.void_slots >> target->slot & 1) {
                        log_warning("target %u is not as the state knows it: what it holds is compared", target->n);
                        result = view_forget_slot(mirror->view, target->slot);
                }
        }
        if (result == 0)
                result = reconcile_new(mirror->view, &mirror->reconcile);
        if (result == 0)
                result = files_new(mirror->view, &mirror->files);
        if (result == 0)
                result = verify_new(mirror->files, &mirror->verify);
        if (result == 0)
                result = scheduler_new(mirror->files, mirror->verify, &mirror->scheduler);
        if (result == 0)
                result = scan_new(mirror->reconcile, mirror->view, on_scan_ended, mirror, &mirror->scan);
        return result;
}

static int open_mirror(const struct options *options, bool survey, void (*notice)(const char *line), struct error *error,
                       struct mirror **ret_mirror)
{
        struct mirror *mirror = calloc(1, sizeof(*mirror));
        int result;

        if (!mirror)
                return error_set(error, -ENOMEM, "not enough memory");
        mutex_init(&mirror->lock);
        condition_init(&mirror->changed);
        mutex_init(&mirror->context.room_lock);
        condition_init(&mirror->context.room_changed);
        progress_init(&mirror->context.progress);
        mirror->owner = getuid();
        steps_init();
        atomic_init(&mirror->surveying, survey);
        result = survey ? setup_open_untouched(options, error, &mirror->setup)
                        : setup_open(options, notice, error, &mirror->setup);
        if (result == 0) {
                result = make_services(mirror, options);
                set_up_context(mirror, options);
                if (result == 0)
                        result = make_modules(mirror);
                if (result < 0)
                        (void)error_set(error, result, "cannot set up the mirror: %s", strerror(-result));
        }
        if (result < 0) {
                mirror_free(mirror);
                return result;
        }
        *ret_mirror = mirror;
        return 0;
}

int mirror_open(const struct options *options, void (*notice)(const char *line), struct error *error,
                struct mirror **ret_mirror)
{
        return open_mirror(options, false, notice, error, ret_mirror);
}

int mirror_open_untouched(const struct options *options, void (*notice)(const char *line), struct error *error,
                          struct mirror **ret_mirror)
{
        return open_mirror(options, true, notice, error, ret_mirror);
}

static unsigned choose_fillers(const struct mirror *mirror)
{
        const struct root *source = mirror->context.source;

        if (mirror->context.options->jobs > 0)
                return mirror->context.options->jobs;
        return source && source->device.kind == DEVICE_SPINNING ? 1 : source && source->device.kind == DEVICE_NETWORK ? 4 : 2;
}

enum { UNSYNCED_LEAST = 16 };

/* So many files may be queued and un-synced on a target: each is open on all targets, and those of slow targets are not those of fast ones. */
static size_t choose_unsynced_max(const struct mirror *mirror)
{
        struct rlimit files = { .rlim_cur = 1024 };
        size_t share;

        (void)getrlimit(RLIMIT_NOFILE, &files); /* if not: what every process may open */
        /* Of two kinds of targets: two intervals, two that wait for verification, and two for their names. A third of the descriptors is left. */
        share = files.rlim_cur / 18 / mirror->setup.target_count;
        return share > UNSYNCED_LEAST ? share : UNSYNCED_LEAST;
}

static int start_devices(struct mirror *mirror)
{
        uint64_t ceiling = mirror->context.options->memory_bytes / (2 * mirror->setup.target_count);
        int result = mirror->context.source ? root_start(mirror->context.source, "cvv-meta-src", 4) : 0;

        for (size_t i = 0; i < mirror->setup.target_count && result == 0; i++) {
                target_refresh_space(mirror->setup.targets[i]);
                mirror->setup.targets[i]->unsynced_max = choose_unsynced_max(mirror);
                result = target_start(mirror->setup.targets[i], ceiling);
        }
        return result;
}

/* What looks, and writes nothing. */
static int start_looking(struct mirror *mirror)
{
        int result = thread_start(&mirror->watchdog, "cvv-watchdog", watchdog_main, mirror);

        mirror->watchdog_started = result == 0;
        return result == 0 ? scan_start(mirror->scan) : result;
}

static int start_work(struct mirror *mirror)
{
        int result = verify_start(mirror->verify);

        for (size_t i = 0; i < mirror->setup.target_count && result == 0; i++) {
                struct target *target = mirror->setup.targets[i];

                part_sweep(mirror->view, target);
                if (mirror->context.unclean)
                        touched_add(target, VIEW_ROOT);
                result = checkpoint_start(mirror->view, mirror->verify, target, nothing_on_its_way, mirror);
        }
        return result == 0 ? scheduler_start(mirror->scheduler, choose_fillers(mirror)) : result;
}

static int started(struct mirror *mirror, int result, struct error *error)
{
        if (result < 0)
                return error_set(error, result, "cannot start: %s", strerror(-result));
        events_add(mirror->context.events, "mounted", NULL, 0, NULL);
        return 0;
}

int mirror_start(struct mirror *mirror, struct error *error)
{
        int result = start_devices(mirror);

        if (result == 0)
                result = start_work(mirror);
        return started(mirror, result == 0 ? start_looking(mirror) : result, error);
}

int mirror_start_survey(struct mirror *mirror, struct error *error)
{
        int result = start_devices(mirror);

        if (result == 0)
                result = start_looking(mirror);
        return result < 0 ? error_set(error, result, "cannot start: %s", strerror(-result)) : 0;
}

int mirror_begin(struct mirror *mirror, void (*notice)(const char *line), struct error *error)
{
        int result = setup_attach(&mirror->setup, notice, error);

        if (result < 0)
                return result;
        result = scan_queue_tree(NULL, mirror->view, VIEW_ROOT, VIEW_QUEUE_FILL);
        atomic_store(&mirror->context.fill_all, true);
        if (result == 0)
                result = start_work(mirror);
        if (result == 0)
                atomic_store(&mirror->surveying, false);
        return started(mirror, result, error);
}

int mirror_checkpoint(struct mirror *mirror, uint64_t deadline_ns)
{
        uint64_t tickets[TARGET_SLOTS];
        int result = 0;

        for (CONTEXT_EACH_TARGET(&mirror->context, mirror->context.target_mask, target))
                tickets[target->slot] = checkpoint_request(target);
        for (CONTEXT_EACH_TARGET(&mirror->context, mirror->context.target_mask, target)) {
                int one = target_serves_reads(target) ? checkpoint_wait(target, tickets[target->slot], deadline_ns) : 0;

                if (result == 0)
                        result = one;
        }
        if (result == 0)
                result = statedb_wait(mirror->context.db, statedb_request_commit(mirror->context.db), deadline_ns);
        return result;
}

/* One call into the target has taken so long that nobody waits for it any more. A sync may take as long as it has to. */
static bool is_stuck_locked(const struct target *target)
{
        uint64_t now = clock_now_ns(), limit_ns = STOP_HANG_MS * 1000000ull;

        return (target->writer_busy_since_ns && now > target->writer_busy_since_ns + limit_ns) ||
               (target->looking_since_ns && now > target->looking_since_ns + limit_ns);
}

/* Waits for the end of one of the target's threads. False: it is stuck, or the deadline passed. */
static bool wait_for_end_locked(struct target *target, const bool *ended, uint64_t deadline_ns)
{
        while (!*ended) {
                uint64_t look_ns = clock_now_ns() + TICK_MS * 1000000ull;

                if (is_stuck_locked(target) || clock_now_ns() >= deadline_ns)
                        return false;
                (void)condition_wait_until(&target->checkpoint, &target->lock, look_ns < deadline_ns ? look_ns : deadline_ns);
        }
        return true;
}

static void begin_stop(struct target *target)
{
        MUTEX_SCOPE(&target->lock);
        target->stopping = true;
        condition_broadcast(&target->work); /* its checkpoint thread hears of it when the writer has ended */
}

/* Waits for the threads of one target: first its writer, then, when all that it wrote is synced, the checkpoints. */
static bool wait_for_stop(struct target *target, uint64_t deadline_ns)
{
        bool ended;

        mutex_lock(&target->lock);
        ended = !target->writer_started || wait_for_end_locked(target, &target->writer_ended, deadline_ns);
        condition_broadcast(&target->checkpoint);
        ended = ended && (!target->checkpointer_started || wait_for_end_locked(target, &target->checkpointer_ended, deadline_ns));
        mutex_unlock(&target->lock);
        if (!ended)
                return false;
        if (target->writer_started)
                (void)pthread_join(target->writer, NULL); /* it has ended */
        if (target->checkpointer_started)
                (void)pthread_join(target->checkpointer, NULL);
        target->writer_started = target->checkpointer_started = false;
        return true;
}

static bool stop_watchdog(struct mirror *mirror, uint64_t deadline_ns)
{
        bool ended;

        if (!mirror->watchdog_started)
                return true;
        mutex_lock(&mirror->lock);
        mirror->stopping = true;
        mirror->idle_notify = NULL;
        mutex_unlock(&mirror->lock);
        context_room_signal(&mirror->context);
        mutex_lock(&mirror->lock);
        while (!mirror->watchdog_ended && condition_wait_until(&mirror->changed, &mirror->lock, deadline_ns))
                ;
        ended = mirror->watchdog_ended;
        mutex_unlock(&mirror->lock);
        if (ended)
                (void)pthread_join(mirror->watchdog, NULL); /* it has ended */
        mirror->watchdog_started = !ended;
        return ended;
}

/* Nothing is owed to the target: what cvv put there for itself goes. */
static bool clean_target(struct mirror *mirror, struct target *target)
{
        int result;

        if (!target_serves_reads(target))
                return false;
        part_sweep(mirror->view, target);
        result = target_remove_marker(target);
        if (result < 0) {
                if (result != -ENOTEMPTY && result != -EEXIST)
                        log_warning("target %u: .cvv could not be removed: %s", target->n, strerror(-result));
                return false;
        }
        return true;
}

static bool target_is_owed(struct mirror *mirror, const struct target *target)
{
        struct progress_snapshot snapshot;

        progress_snapshot(&mirror->context.progress, &snapshot);
        return !snapshot.scan_complete || snapshot.targets[target->slot].owed_bytes > 0 || snapshot.files[CATEGORY_PENDING] > 0 ||
               snapshot.files[CATEGORY_FAILED] > 0 || view_directories_owed(mirror->view) > 0;
}

static int finish_state(struct mirror *mirror)
{
        uint64_t removed = 0;
        int result;

        if (!mirror->setup.attached)
                return setup_record_end(&mirror->setup, 0);
        for (CONTEXT_EACH_TARGET(&mirror->context, mirror->context.target_mask, target))
                if (!target_is_owed(mirror, target))
                        removed |= 1ull << target->slot;
        /* First the state learns that the markers go, then they go: a marker that stays is no harm, one that is missed is. */
        result = setup_record_end(&mirror->setup, removed);
        if (result < 0)
                return result;
        for (CONTEXT_EACH_TARGET(&mirror->context, removed, target))
                (void)clean_target(mirror, target); /* said there */
        return 0;
}

int mirror_stop(struct mirror *mirror, uint64_t deadline_ns)
{
        uint64_t soon_ns = clock_now_ns() + STOP_HANG_MS * 1000000ull; /* for what reads and looks; syncs may take longer */
        bool ended = true;
        int result;

        if (soon_ns > deadline_ns)
                soon_ns = deadline_ns;
        atomic_store(&mirror->context.stopping, true);
        verify_wake(mirror->verify);
        limiter_close(mirror->context.limiter);
        bufpool_close(mirror->context.bufpool);
        context_room_signal(&mirror->context);
        ended = stop_watchdog(mirror, soon_ns) && ended;
        ended = scan_stop(mirror->scan, soon_ns) && ended;
        ended = scheduler_stop(mirror->scheduler, soon_ns) && ended;
        ended = verify_stop(mirror->verify, soon_ns) && ended;
        for (CONTEXT_EACH_TARGET(&mirror->context, mirror->context.target_mask, target))
                begin_stop(target); /* all at once: a slow one has the others wait for it only once */
        for (CONTEXT_EACH_TARGET(&mirror->context, mirror->context.target_mask, target))
                ended = wait_for_stop(target, deadline_ns) && ended;
        for (CONTEXT_EACH_TARGET(&mirror->context, mirror->context.target_mask, target))
                ended = root_stop(&target->root, soon_ns) && ended;
        if (mirror->context.source)
                ended = root_stop(mirror->context.source, soon_ns) && ended;
        events_add(mirror->context.events, "unmounted", NULL, 0, NULL);
        events_close(mirror->context.events);
        if (ended) {
                result = finish_state(mirror);
        } else { /* nothing of a stuck target is touched: what is recorded is true */
                result = setup_record_end(&mirror->setup, 0);
        }
        if (result < 0)
                log_error("the state could not be written at the end: %s", strerror(-result));
        return ended ? 0 : MIRROR_STUCK;
}

void mirror_free(struct mirror *mirror)
{
        if (!mirror)
                return;
        for (size_t i = 0; i < mirror->setup.target_count; i++)
                touched_free(mirror->setup.targets[i]);
        scan_free(mirror->scan);
        scheduler_free(mirror->scheduler);
        verify_free(mirror->verify);
        files_free(mirror->files);
        reconcile_free(mirror->reconcile);
        view_free(mirror->view);
        mirror->setup.damaged = atomic_load(&mirror->context.damaged);
        setup_close(&mirror->setup);
        exclude_free(mirror->context.exclude);
        limiter_free(mirror->context.limiter);
        bufpool_unref(mirror->context.bufpool);
        events_unref(mirror->context.events);
        progress_deinit(&mirror->context.progress);
        condition_deinit(&mirror->context.room_changed);
        mutex_deinit(&mirror->context.room_lock);
        condition_deinit(&mirror->changed);
        mutex_deinit(&mirror->lock);
        free(mirror);
}

struct events *mirror_events(struct mirror *mirror)
{
        return mirror->context.events;
}

const struct options *mirror_options(struct mirror *mirror)
{
        return mirror->context.options;
}

uid_t mirror_owner(struct mirror *mirror)
{
        return mirror->owner;
}

void mirror_count_passthrough(struct mirror *mirror)
{
        progress_passthrough_opened(&mirror->context.progress);
}
