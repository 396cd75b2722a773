#include "core/checkpoint.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/cleanup.h"
#include "core/directories.h"
#include "core/io.h"
#include "core/log.h"
#include "core/marks.h"
#include "core/need.h"
#include "core/publish.h"
#include "core/steps.h"
#include "core/touched.h"
#include "core/wholemove.h"

enum { SINGLE_SYNCS_MAX = 8 };

struct checkpointer {
        struct view *view;
        struct verify *verify;
        struct target *target;
        bool (*idle)(void *context);
        void *idle_context;
};

/* --- the sync --- */

/* The distinct files of the list, which comes in runs of the same file; false where there are more than `max`. */
static bool distinct_files(const struct unsynced_list *list, struct file **files, size_t max, size_t *ret_count)
{
        size_t count = 0;

        for (size_t i = 0; i < list->count; i++) {
                size_t at = 0;

                while (at < count && files[at] != list->items[i].file)
                        at++;
                if (at < count)
                        continue;
                if (count == max)
                        return false;
                files[count++] = list->items[i].file;
        }
        *ret_count = count;
        return true;
}

/* On the descriptor that wrote: a new one would not hear of an earlier failure. Objects without a descriptor were made by name; their
 * directory tells. */
static int sync_file(struct file *file, struct target *target)
{
        int fd;

        mutex_lock(&file->lock);
        fd = file->parts[target->slot].fd;
        mutex_unlock(&file->lock);
        return fd >= 0 ? io_sync(fd) : 0;
}

static int sync_list(struct target *target, const struct unsynced_list *list)
{
        struct file *few[SINGLE_SYNCS_MAX];
        size_t count = 0;
        int result = 0;

        if (distinct_files(list, few, SINGLE_SYNCS_MAX, &count)) {
                for (size_t i = 0; i < count && result == 0; i++)
                        result = sync_file(few[i], target);
                return result;
        }
        if (target->root.device.syncfs_works)
                return io_sync_filesystem(target->root.fd);
        for (size_t i = 0; i < list->count && result == 0; i++)
                if (i == 0 || list->items[i].file != list->items[i - 1].file)
                        result = sync_file(list->items[i].file, target);
        return result;
}

/* --- one checkpoint --- */

/* Nothing that waits for its final name stays reserved for it, whatever became of it; and who went by because it was, comes again. */
static void release(struct checkpointer *checkpointer, const struct unsynced_list *list)
{
        struct context *context = view_context(checkpointer->view);
        bool again = false;

        for (size_t i = 0; i < list->count; i++) {
                const struct unsynced *item = &list->items[i];

                if (wholemove_release(item->file, checkpointer->target->slot, item->chunk == TARGET_WHOLE, true))
                        again = true;
        }
        if (again)
                context->work_found(context->callback_context);
}

static void mark(struct target *target, struct unsynced_list *list, bool *complete)
{
        for (size_t i = 0; i < list->count; i++) {
                const struct unsynced *item = &list->items[i];
                int result = marks_present(item->file, target->slot, item->chunk, item->generation, item->epoch,
                                           &complete[i]);

                if (result < 0)
                        log_error("target %u: a mark could not be recorded: %s", target->n, strerror(-result));
        }
}

/* Hands over what is to be looked at before it gets its name, or because its digest is not known; takes it off `complete` where it has to wait. */
static void verify(struct checkpointer *checkpointer, const struct unsynced_list *list, bool *complete)
{
        struct target *target = checkpointer->target;
        const struct options *options = view_context(checkpointer->view)->options;

        for (size_t i = 0; i < list->count; i++) {
                struct file *file = list->items[i].file;
                struct node_record node;

                if (!complete[i] || view_node(checkpointer->view, file->id, &node) < 0 ||
                    !verify_wants(checkpointer->verify, &node, target->slot))
                        continue;
                complete[i] = need_may_publish(options, &node, target->slot);
                verify_add(checkpointer->verify, file, target->slot);
        }
}

/* `complete` NULL: all of the list. */
static void publish(struct checkpointer *checkpointer, const struct unsynced_list *list, const bool *complete)
{
        struct target *target = checkpointer->target;
        struct publish_batch *batch;

        if (publish_begin(checkpointer->view, target, &batch) < 0)
                return; /* no memory: complete and unpublished, it is found again by the fill */
        for (size_t i = 0; i < list->count; i++)
                if (!complete || complete[i])
                        publish_add(batch, list->items[i].file);
        publish_end(batch);
}

static void log_checkpoint(struct checkpointer *checkpointer, const struct unsynced_list *list)
{
        struct target *target = checkpointer->target;
        char detail[96];

        (void)snprintf(detail, sizeof(detail), "%zu chunks, %" PRIu64 " bytes", list->count, list->bytes); /* fits */
        events_add(view_context(checkpointer->view)->events, "checkpoint", NULL, (int)target->n, detail);
}

static void run_checkpoint(struct checkpointer *checkpointer, struct unsynced_list *list)
{
        struct target *target = checkpointer->target;
        struct context *context = view_context(checkpointer->view);
        cleanup(pointer_free) bool *complete = calloc(list->count, sizeof(*complete));
        int result = complete ? 0 : -ENOMEM;

        if (result == 0) {
                steps_begin(STEP_SYNC);
                result = sync_list(target, list);
                if (result == 0)
                        result = device_confirm_sync(&target->root.device, target->control_fd);
                steps_end(STEP_SYNC);
                if (result < 0)
                        (void)target_report(target, result, "sync", NULL); /* what follows holds for every failure */
        }
        if (result < 0) {
                /* The pages that failed may be those of a write that came after the list was taken, and the kernel tells once. */
                marks_lose_unsynced(list->items[0].file->files, target->slot);
                context->work_found(context->callback_context);
                return;
        }
        mark(target, list, complete);
        steps_begin(STEP_COMMIT);
        result = statedb_wait(context->db, statedb_request_commit(context->db), UINT64_MAX);
        steps_end(STEP_COMMIT);
        if (result < 0) {
                log_error("the state cannot be written: %s; nothing is published until it can", strerror(-result));
                return; /* complete and unpublished: the fill finds it again */
        }
        log_checkpoint(checkpointer, list);
        verify(checkpointer, list, complete);
        publish(checkpointer, list, complete);
}

/* --- the thread --- */

static bool is_due_locked(const struct target *target, uint64_t now)
{
        const struct unsynced_list *list = &target->unsynced;

        if (target->checkpoint_wanted > target->checkpoint_done)
                return true;
        if (list->count == 0)
                return false;
        return target->stopping || target_interval_is_full_locked(target) ||
               now - list->since_ns >= TARGET_INTERVAL_MS * 1000000ull;
}

/* Nothing more can come: the writer has ended, and all that it wrote is synced. */
static bool is_over_locked(const struct target *target)
{
        return target->stopping && (!target->writer_started || target->writer_ended) && target->unsynced.count == 0 &&
               target->verified.count == 0 && target->checkpoint_wanted <= target->checkpoint_done;
}

static void finish_directories(struct checkpointer *checkpointer)
{
        struct target *target = checkpointer->target;

        if (!touched_pending(target) || !target_takes_writes(target) || !checkpointer->idle(checkpointer->idle_context))
                return;
        (void)directories_finish(checkpointer->view, target); /* said there; the scan finds what is left */
        if (target->changed)
                target->changed(target->changed_context, target);
}

static void drop_list(struct unsynced_list *list)
{
        for (size_t i = 0; i < list->count; i++)
                file_unref(list->items[i].file);
        free(list->items);
        *list = (struct unsynced_list){ 0 };
}

/* One round, with the lock held before and after. */
static void round_locked(struct checkpointer *checkpointer)
{
        struct target *target = checkpointer->target;
        uint64_t ticket = target->checkpoint_wanted;

        target->syncing = target->unsynced;
        target->unsynced = (struct unsynced_list){ 0 };
        target->syncing_since_ns = clock_now_ns();
        mutex_unlock(&target->lock);

        if (target->syncing.count > 0) /* only this thread touches it while syncing_since_ns is set */
                run_checkpoint(checkpointer, &target->syncing);
        release(checkpointer, &target->syncing);
        target_refresh_space(target);
        drop_list(&target->syncing);

        mutex_lock(&target->lock);
        target->syncing_since_ns = 0;
        target->checkpoint_done = ticket;
        condition_broadcast(&target->checkpoint);
        mutex_unlock(&target->lock);
        if (target->changed)
                target->changed(target->changed_context, target);
        mutex_lock(&target->lock);
}

/* Gives their names to what was verified: its marks are committed since before it was looked at. With the lock held before and after. */
static void publish_verified_locked(struct checkpointer *checkpointer)
{
        struct target *target = checkpointer->target;
        struct unsynced_list list = target->verified;

        target->verified = (struct unsynced_list){ 0 };
        target->publishing_verified = true;
        mutex_unlock(&target->lock);
        publish(checkpointer, &list, NULL);
        for (size_t i = 0; i < list.count; i++)
                verify_release(list.items[i].file, target->slot);
        release(checkpointer, &list);
        drop_list(&list);
        mutex_lock(&target->lock);
        target->publishing_verified = false;
        mutex_unlock(&target->lock);
        if (target->changed)
                target->changed(target->changed_context, target);
        mutex_lock(&target->lock);
}

static void *checkpoint_main(void *argument)
{
        struct checkpointer *checkpointer = argument;
        struct target *target = checkpointer->target;

        mutex_lock(&target->lock);
        while (!is_over_locked(target)) {
                uint64_t now = clock_now_ns();

                if (target->verified.count > 0) {
                        publish_verified_locked(checkpointer);
                        continue;
                }
                if (is_due_locked(target, now)) {
                        mutex_unlock(&target->lock);
                        verify_wait_room(checkpointer->verify, target->slot); /* so the target goes at the pace of its verification */
                        mutex_lock(&target->lock);
                        round_locked(checkpointer);
                        continue;
                }
                if (!target->stopping) {
                        mutex_unlock(&target->lock);
                        target_refresh_space(target);
                        finish_directories(checkpointer);
                        mutex_lock(&target->lock);
                }
                if (!is_over_locked(target) && target->verified.count == 0 && !is_due_locked(target, clock_now_ns())) {
                        uint64_t since = target->unsynced.count > 0 ? target->unsynced.since_ns : now;

                        (void)condition_wait_until(&target->checkpoint, &target->lock,
                                                   since + TARGET_INTERVAL_MS * 1000000ull); /* the loop looks again */
                }
        }
        mutex_unlock(&target->lock);
        if (touched_pending(target) && target_serves_reads(target))
                (void)directories_finish(checkpointer->view, target); /* said there */
        mutex_lock(&target->lock);
        target->checkpointer_ended = true;
        condition_broadcast(&target->checkpoint);
        mutex_unlock(&target->lock);
        free(checkpointer);
        return NULL;
}

int checkpoint_start(struct view *view, struct verify *verify, struct target *target, bool (*idle)(void *context), void *idle_context)
{
        struct checkpointer *checkpointer = calloc(1, sizeof(*checkpointer));
        char name[16];
        int result;

        if (!checkpointer)
                return -ENOMEM;
        *checkpointer = (struct checkpointer){ .view = view, .verify = verify, .target = target, .idle = idle, .idle_context = idle_context };
        (void)snprintf(name, sizeof(name), "cvv-sync-%u", target->n); /* a cut name is still a name */
        result = thread_start(&target->checkpointer, name, checkpoint_main, checkpointer);
        if (result < 0)
                free(checkpointer);
        target->checkpointer_started = result == 0;
        return result;
}

uint64_t checkpoint_request(struct target *target)
{
        MUTEX_SCOPE(&target->lock);
        target->checkpoint_wanted++;
        condition_broadcast(&target->checkpoint);
        return target->checkpoint_wanted;
}

int checkpoint_wait(struct target *target, uint64_t ticket, uint64_t deadline_ns)
{
        MUTEX_SCOPE(&target->lock);
        while (target->checkpoint_done < ticket && !target->checkpointer_ended)
                if (!condition_wait_until(&target->checkpoint, &target->lock, deadline_ns))
                        return -ETIMEDOUT;
        return target->checkpoint_done < ticket ? -ESHUTDOWN : 0;
}

void checkpoint_hurry(struct target *target)
{
        MUTEX_SCOPE(&target->lock);
        if (target->unsynced.count == 0 || target->job_count > 0 || target->syncing_since_ns != 0 ||
            target->checkpoint_wanted > target->checkpoint_done)
                return;
        target->checkpoint_wanted++;
        condition_broadcast(&target->checkpoint);
}

void checkpoint_wake(struct target *target)
{
        MUTEX_SCOPE(&target->lock);
        condition_broadcast(&target->checkpoint);
}
