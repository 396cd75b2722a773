#include "core/mirror_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/cleanup.h"
#include "core/log.h"
#include "core/problem.h"
#include "core/readback.h"
#include "core/report_text.h"

enum { COPIES_MAX = 16 };

/* --- the whole --- */

static enum mirror_state overall_state(struct mirror *mirror, const struct progress_snapshot *snapshot)
{
        bool degraded = false;

        if (scheduler_is_paused(mirror->scheduler))
                return MIRROR_PAUSED;
        if (mirror_is_busy(mirror))
                return mirror_is_verifying(mirror) ? MIRROR_VERIFYING : MIRROR_FILLING;
        if (snapshot->files[CATEGORY_FAILED] + snapshot->files[CATEGORY_CONFLICT] + snapshot->files[CATEGORY_MISSING] > 0)
                return MIRROR_FAILED;
        for (CONTEXT_EACH_TARGET(&mirror->context, mirror->context.target_mask, target))
                degraded = degraded || target_state(target) != TARGET_ONLINE;
        if (degraded)
                return MIRROR_DEGRADED;
        if (snapshot->scan_complete && snapshot->files[CATEGORY_PENDING] == 0 && view_directories_owed(mirror->view) == 0)
                return MIRROR_COMPLETE;
        return MIRROR_IDLE;
}

static int copy_text(const char *text, char **ret_copy)
{
        *ret_copy = text ? strdup(text) : NULL;
        return text && !*ret_copy ? -ENOMEM : 0;
}

/* The directory, or the one file in it (NULL: none) that is mirrored. */
static int join_path(const char *directory, const char *name, char **ret_path)
{
        if (!name)
                return copy_text(directory, ret_path);
        if (asprintf(ret_path, "%s%s%s", directory, strcmp(directory, "/") == 0 ? "" : "/", name) < 0) {
                *ret_path = NULL;
                return -ENOMEM;
        }
        return 0;
}

static int fill_target(struct mirror *mirror, struct target *target, const struct progress_snapshot *snapshot,
                       struct status_target *out)
{
        const struct progress_target *figures = &snapshot->targets[target->slot];
        int result;

        (void)mirror;
        out->lost = problem_lost_text(target);
        MUTEX_SCOPE(&target->lock);
        out->n = target->n;
        out->state = target->state;
        out->since_ns = target->since_ns;
        out->present_bytes = figures->present_bytes;
        out->verified_bytes = figures->verified_bytes;
        out->owed_bytes = figures->owed_bytes;
        out->rate_bytes_per_s = figures->rate_bytes_per_s;
        out->free_bytes = target->space_known ? (int64_t)(target->space.f_bavail * target->space.f_frsize) : -1;
        out->errors = target->error_count;
        out->verify_method = readback_method_name(atomic_load(&target->verify_method));
        result = copy_text(target->last_error[0] ? target->last_error : NULL, &out->last_error);
        if (result == 0)
                result = join_path(target->root.path, target->file_name, &out->path);
        return result == 0 ? copy_text(target->identity, &out->identity) : result;
}

static int fill_targets(struct mirror *mirror, const struct progress_snapshot *snapshot, struct status *status)
{
        int result = 0;

        status->targets = calloc(mirror->setup.target_count, sizeof(*status->targets));
        if (!status->targets)
                return -ENOMEM;
        for (CONTEXT_EACH_TARGET(&mirror->context, mirror->context.target_mask, target))
                if (result == 0)
                        result = fill_target(mirror, target, snapshot, &status->targets[status->target_count++]);
        return result;
}

static int compare_n(const void *a, const void *b)
{
        const struct status_target *left = a, *right = b;

        return left->n < right->n ? -1 : left->n > right->n;
}

/* Bytes of a live file on the target that has most of it. */
static uint64_t most_written(struct file *file)
{
        uint64_t most = 0;

        MUTEX_SCOPE(&file->lock);
        for (unsigned slot = 0; slot < file->part_count; slot++) {
                uint64_t chunks = bitmap_count(&file->parts[slot].written);
                uint64_t bytes = chunks * files_context(file->files)->chunk_bytes;

                if (chunks == file->chunk_count || bytes > file->size)
                        bytes = file->size;
                if (bytes > most)
                        most = bytes;
        }
        return most;
}

static int fill_copies(struct mirror *mirror, struct status *status)
{
        uint64_t ids[COPIES_MAX];
        size_t count = scheduler_current(mirror->scheduler, ids, COPIES_MAX);

        status->copies = calloc(COPIES_MAX, sizeof(*status->copies));
        if (!status->copies)
                return -ENOMEM;
        for (size_t i = 0; i < count; i++) {
                cleanup(file_release) struct file *file = files_peek(mirror->files, ids[i]);
                struct status_copy *copy = &status->copies[status->copy_count];

                if (!file || view_path(mirror->view, ids[i], &copy->path) < 0)
                        continue;
                copy->size_bytes = file->size;
                copy->done_bytes = most_written(file);
                status->copy_count++;
        }
        return 0;
}

/* Bytes over all (file, target) pairs; in mode full the written and the read-back ones count half each, and what need not be read back counts as if it
 * were. */
static int progress_now(struct mirror *mirror, const struct progress_snapshot *snapshot, const struct status *status)
{
        bool full = status->mode == MODE_FULL, rests = !full || !mirror_is_busy(mirror);
        uint64_t done = 0, total = status->bytes_total * mirror->setup.target_count * (full ? 2 : 1);

        for (CONTEXT_EACH_TARGET(&mirror->context, mirror->context.target_mask, target)) {
                const struct progress_target *figures = &snapshot->targets[target->slot];
                uint64_t present = figures->present_bytes, read_back = figures->verified_bytes + figures->exempt_bytes;

                done += present;
                if (full)
                        done += read_back < present ? read_back : present;
        }
        return progress_tenths(done < total ? done : total, total,
                               rests && snapshot->scan_complete && status->files[CATEGORY_PENDING] == 0 &&
                                   view_directories_owed(mirror->view) == 0);
}

static void fill_totals(struct mirror *mirror, const struct progress_snapshot *snapshot, struct status *status)
{
        memcpy(status->files, snapshot->files, sizeof(status->files));
        memcpy(status->bytes, snapshot->bytes, sizeof(status->bytes));
        for (int category = 0; category < CATEGORY_COUNT; category++) {
                if (category == CATEGORY_EXCLUDED)
                        continue;
                status->files_total += snapshot->files[category];
                status->bytes_total += snapshot->bytes[category];
        }
        status->files_verified = snapshot->files_verified;
        status->bytes_verified = snapshot->bytes_verified;
        status->owed_bytes = snapshot->owed_bytes;
        status->queued_bytes = atomic_load(&mirror->context.fill_all) ? snapshot->owed_bytes : snapshot->queued_bytes;
        status->source_copy_bytes = snapshot->source_copy_bytes;
        status->source_verify_bytes = snapshot->source_verify_bytes;
        status->passthrough_opens = snapshot->passthrough_opens;
        status->scan_complete = snapshot->scan_complete;
        status->rate_bytes_per_s = snapshot->rate_bytes_per_s;
        status->progress_tenths = progress_now(mirror, snapshot, status);
        status->eta_s = snapshot->scan_complete && status->queued_bytes > 0
                            ? progress_eta_s(status->queued_bytes, status->rate_bytes_per_s)
                            : status->queued_bytes == 0 && snapshot->scan_complete ? 0 : -1;
}

int mirror_status(struct mirror *mirror, struct status *ret_status)
{
        const struct options *options = mirror->context.options;
        struct status status = { .mode = options->mode, .fill = options->fill, .pid = getpid() };
        struct progress_snapshot snapshot;
        int result;

        progress_snapshot(&mirror->context.progress, &snapshot);
        status.state = overall_state(mirror, &snapshot);
        fill_totals(mirror, &snapshot, &status);
        status.log_dropped = log_default() ? log_dropped(log_default()) : 0;
        result = copy_text(options->mountpoint, &status.mountpoint);
        if (result == 0 && mirror->context.source)
                result = join_path(mirror->context.source->path, options->source_file, &status.source);
        if (result == 0)
                result = fill_targets(mirror, &snapshot, &status);
        if (result == 0)
                result = fill_copies(mirror, &status);
        if (result < 0) {
                status_deinit(&status);
                return result;
        }
        qsort(status.targets, status.target_count, sizeof(*status.targets), compare_n);
        *ret_status = status;
        return 0;
}

char *mirror_owed_text(struct mirror *mirror)
{
        struct status status;
        char *text = NULL;

        if (mirror_status(mirror, &status) < 0)
                return NULL;
        if (report_owed_text(&status, &text) < 0)
                text = NULL;
        status_deinit(&status);
        return text;
}

/* --- one file --- */

static enum file_state slot_state(const struct node_record *node, uint64_t finished, unsigned slot)
{
        if (node->conflict >> slot & 1)
                return FILE_CONFLICT;
        if (finished & ~view_unproven(node) & 1ull << slot)
                return node->verified >> slot & 1 ? FILE_VERIFIED : FILE_COPIED;
        if (node->failed >> slot & 1)
                return FILE_FAILED;
        return (node->partial | node->complete) >> slot & 1 ? FILE_PARTIAL : FILE_PENDING;
}

enum file_state mirror_node_state(struct mirror *mirror, const struct node_record *node)
{
        uint64_t all = mirror->context.target_mask, finished = mirror_finished_slots(mirror, node);

        if (node->conflict & all)
                return FILE_CONFLICT;
        if (view_unproven(node) & all)
                return FILE_FAILED;
        if (finished == all || !(node->flags & VIEW_NODE_SOURCE))
                return (node->verified & all) == all ? FILE_VERIFIED : FILE_COPIED;
        if ((node->failed & all) || (node->flags & VIEW_NODE_UNAVAILABLE))
                return FILE_FAILED;
        return (node->partial | node->complete) & all ? FILE_PARTIAL : FILE_PENDING;
}

static int add_range(struct status_file_target *out, uint64_t chunk, enum chunk_state state)
{
        struct status_range *ranges;

        if (out->range_count > 0 && out->ranges[out->range_count - 1].end == chunk &&
            out->ranges[out->range_count - 1].state == state) {
                out->ranges[out->range_count - 1].end++;
                return 0;
        }
        ranges = reallocarray(out->ranges, out->range_count + 1, sizeof(*ranges));
        if (!ranges)
                return -ENOMEM;
        out->ranges = ranges;
        out->ranges[out->range_count++] = (struct status_range){ chunk, chunk + 1, state };
        return 0;
}

static int fill_ranges(struct file *file, unsigned slot, bool verified, struct status_file_target *out)
{
        const struct file_part *part = &file->parts[slot];
        int result = 0;

        MUTEX_SCOPE(&file->lock);
        for (uint64_t chunk = bitmap_find_next_set(&part->written, 0); chunk != BITMAP_NONE && result == 0;
             chunk = bitmap_find_next_set(&part->written, chunk + 1))
                result = add_range(out, chunk,
                                   !bitmap_test(&part->present, chunk) ? CHUNK_WRITTEN
                                   : verified                          ? CHUNK_VERIFIED
                                                                       : CHUNK_PRESENT);
        return result;
}

static const char *type_name(uint32_t mode)
{
        switch (mode & S_IFMT) {
        case S_IFDIR:
                return "directory";
        case S_IFLNK:
                return "symlink";
        case S_IFIFO:
                return "fifo";
        case S_IFSOCK:
                return "socket";
        case S_IFCHR:
                return "char";
        case S_IFBLK:
                return "block";
        default:
                return "file";
        }
}

static int compare_file_n(const void *a, const void *b)
{
        const struct status_file_target *left = a, *right = b;

        return left->n < right->n ? -1 : left->n > right->n;
}

static int fill_file_targets(struct mirror *mirror, struct file *file, const struct node_record *node, struct status_file *out)
{
        uint64_t finished = mirror_finished_slots(mirror, node);
        int result = 0;

        out->targets = calloc(mirror->setup.target_count, sizeof(*out->targets));
        if (!out->targets)
                return -ENOMEM;
        for (CONTEXT_EACH_TARGET(&mirror->context, mirror->context.target_mask, target)) {
                struct status_file_target *one = &out->targets[out->target_count++];

                one->n = target->n;
                one->state = slot_state(node, finished, target->slot);
                if (result == 0)
                        result = fill_ranges(file, target->slot, node->verified >> target->slot & 1, one);
        }
        qsort(out->targets, out->target_count, sizeof(*out->targets), compare_file_n);
        return result;
}

int mirror_file_status(struct mirror *mirror, uint64_t id, struct status_file *ret_file)
{
        cleanup(file_release) struct file *file = NULL;
        struct status_file out = { .chunk_size = mirror->context.chunk_bytes };
        struct node_record node;
        int result = view_node(mirror->view, id, &node);

        if (result == 0)
                result = files_get(mirror->files, id, &file);
        if (result == 0)
                result = view_path(mirror->view, id, &out.path);
        if (result == 0) {
                out.type = type_name(node.mode);
                out.state = mirror_node_state(mirror, &node);
                out.size = node.size;
                out.mtime_ns = node.mtime_ns;
                out.digests = node.digests;
                result = copy_text(node.last_error < 0 ? error_describe(node.last_error) : NULL, &out.last_error);
        }
        if (result == 0)
                result = fill_file_targets(mirror, file, &node, &out);
        if (result < 0) {
                status_file_deinit(&out);
                return result == -ENOENT ? -ESTALE : result;
        }
        *ret_file = out;
        return 0;
}
