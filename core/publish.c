#include "core/publish.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/cleanup.h"
#include "core/directories.h"
#include "core/io.h"
#include "core/log.h"
#include "core/need.h"
#include "core/metadata_rules.h"
#include "core/part.h"
#include "core/problem.h"
#include "core/judge.h"
#include "core/steps.h"
#include "core/touched.h"

enum {
        DIRECTORY_SYNCS_MAX = 16, /* above that one syncfs is cheaper */
        DEPTH_MAX = 8192,         /* more levels than any path has: a circle in damaged records */
};

struct published_name {
        struct file *file;  /* with a reference */
        uint64_t generation;
        uint64_t parent;
        char *name;
        bool skipped;       /* it was there and compared equal */
        struct node_version seen; /* of what has the name now */
};

struct publish_failure {
        struct file *file; /* with a reference */
        int error;
};

struct publish_batch {
        struct view *view;
        struct target *target;
        struct publish_failure *failures;
        size_t failure_count, failure_capacity;
        struct published_name *names;
        size_t count, capacity;
        uint64_t *directories; /* ids of parents to sync, unsorted */
        size_t directory_count, directory_capacity;
};

int publish_begin(struct view *view, struct target *target, struct publish_batch **ret_batch)
{
        struct publish_batch *batch = calloc(1, sizeof(*batch));

        if (!batch)
                return -ENOMEM;
        batch->view = view;
        batch->target = target;
        *ret_batch = batch;
        return 0;
}

static int note_directory(struct publish_batch *batch, uint64_t id)
{
        for (size_t i = batch->directory_count; i-- > 0 && batch->directory_count - i <= 8;)
                if (batch->directories[i] == id)
                        return 0; /* the recent ones; a double entry costs a sync, nothing else */
        if (batch->directory_count == batch->directory_capacity) {
                size_t capacity = batch->directory_capacity ? batch->directory_capacity * 2 : 32;
                uint64_t *directories = reallocarray(batch->directories, capacity, sizeof(*directories));

                if (!directories)
                        return -ENOMEM;
                batch->directories = directories;
                batch->directory_capacity = capacity;
        }
        batch->directories[batch->directory_count++] = id;
        return 0;
}

struct name_visit {
        struct publish_batch *batch;
        struct file *file;
        const struct node_record *node;
        enum part_kind kind;
        bool first;
        bool renamed; /* the first name has a new object: the others follow */
        bool looked;
        struct node_version seen; /* what the target shows of the object, where `looked` */
};

/* What the target shows of an object that has its name: it may be unable to hold the time, and what it made of it is to be known again. */
static int look_at(struct name_visit *visit)
{
        struct target *target = visit->batch->target;
        cleanup(pointer_free) char *path = NULL;
        struct statx stat;
        int result;

        if (visit->looked)
                return 0;
        result = view_path(visit->batch->view, visit->file->id, &path);
        if (result == 0)
                result = root_stat(&target->root, target_path_of(target, path), &stat);
        if (result < 0)
                return result;
        visit->seen = (struct node_version){ .size = stat.stx_size, .mtime_ns = metadata_time_ns(&stat.stx_mtime) };
        visit->looked = true;
        return 0;
}

static int note_name(struct name_visit *visit, uint64_t parent, const char *name, bool skipped)
{
        struct publish_batch *batch = visit->batch;
        struct published_name *entry;
        int result = look_at(visit);

        if (result < 0)
                return result;

        if (batch->count == batch->capacity) {
                size_t capacity = batch->capacity ? batch->capacity * 2 : 32;
                struct published_name *names = reallocarray(batch->names, capacity, sizeof(*names));

                if (!names)
                        return -ENOMEM;
                batch->names = names;
                batch->capacity = capacity;
        }
        entry = &batch->names[batch->count];
        *entry = (struct published_name){ .generation = visit->node->generation, .parent = parent, .name = strdup(name),
                                          .skipped = skipped, .seen = visit->seen };
        if (!entry->name)
                return -ENOMEM;
        entry->file = file_ref(visit->file);
        batch->count++;
        return note_directory(batch, parent);
}

/* --- step 3 --- */

/* Whether what has the final name may be replaced: the version that was published before, or the user said so. */
static int may_replace(struct publish_batch *batch, struct file *file, const struct node_record *node, const char *path,
                       bool *ret_replace, bool *ret_done)
{
        int verdict;
        int result = part_judge(file, batch->target, node, path, &verdict);

        if (result < 0)
                return result;
        *ret_replace = verdict == VERDICT_AS_RECORDED || verdict == VERDICT_REPLACE;
        *ret_done = verdict == VERDICT_CONFLICT;
        if (verdict != VERDICT_OURS && verdict != VERDICT_EQUAL && verdict != VERDICT_COMPARE)
                return 0;
        /* It looks equal, but the partial file is still here: so it is not ours, perhaps `A` where this is `a`, and nobody compared it. */
        result = judge_apply(batch->view, node->parent, node->name, batch->target->slot, VERDICT_CONFLICT);
        if (result == 0)
                problem_conflict(batch->view, file->id, batch->target);
        *ret_done = true;
        return result;
}

/* A filesystem without RENAME_NOREPLACE got a link first: after a crash both names are there for one file. */
static bool is_same_object(int a_dir, const char *a, int b_dir, const char *b)
{
        struct stat first, second;

        return fstatat(a_dir, a, &first, AT_SYMLINK_NOFOLLOW) == 0 && fstatat(b_dir, b, &second, AT_SYMLINK_NOFOLLOW) == 0 &&
               first.st_dev == second.st_dev && first.st_ino == second.st_ino;
}

/* The directory that is to hold `path`, made where it is missing. A directory that is recorded may be gone after a power cut, as its
 * record can be durable before itself: then it is made again. */
static int open_parent(struct publish_batch *batch, uint64_t directory, const char *path, const char **ret_name)
{
        struct target *target = batch->target;
        int result = directories_make(batch->view, target, directory, false);
        int parent = result < 0 ? result : io_open_parent(target->root.fd, path, ret_name);

        if (parent != -ENOENT)
                return parent;
        result = directories_make(batch->view, target, directory, true);
        return result < 0 ? result : io_open_parent(target->root.fd, path, ret_name);
}

/* exFAT says ENOENT for a name that it cannot hold, also where the object is there, and the directory. */
static int name_error(int from_dir, const char *from, int error)
{
        struct stat stat;

        return error == -ENOENT && fstatat(from_dir, from, &stat, AT_SYMLINK_NOFOLLOW) == 0 ? -EINVAL : error;
}

/* Gives the partial object the name `path`. 0, or positive: there is nothing to do; negative: the target's error. */
static int rename_partial(struct publish_batch *batch, struct file *file, const struct node_record *node, const char *path)
{
        struct target *target = batch->target;
        cleanup(fd_close) int parent = -1;
        char partial[PART_NAME_BYTES];
        const char *name;
        bool replace = false, done = false;
        int result;

        parent = open_parent(batch, node->parent, path, &name);
        if (parent < 0)
                return parent;
        part_name(view_context(batch->view), file->id, node->generation, partial);
        steps_begin(STEP_RENAME);
        result = io_rename_noreplace(target->partial_fd, partial, parent, name);
        steps_end(STEP_RENAME);
        if (result == -EEXIST && is_same_object(target->partial_fd, partial, parent, name)) {
                if (unlinkat(target->partial_fd, partial, 0) < 0)
                        return -errno;
                result = 0;
        } else if (result == -EEXIST) {
                result = may_replace(batch, file, node, path, &replace, &done);
                if (result == 0 && done) {
                        (void)unlinkat(target->partial_fd, partial, 0); /* of no use any more; else the next sweep finds it */
                        return PART_NOT_WANTED;
                }
                if (result == 0)
                        result = !replace ? -EEXIST
                                 : renameat(target->partial_fd, partial, parent, name) < 0 ? -errno : 0;
        }
        return name_error(target->partial_fd, partial, result);
}

/* The name stands for the version before: by a rename, so that it is the one or the other. The partial file has gone to the first name,
 * so that its own is free. */
static int replace_link(struct publish_batch *batch, struct file *file, const struct node_record *node, int first_parent,
                        const char *first_name, int parent, const char *name)
{
        struct target *target = batch->target;
        char partial[PART_NAME_BYTES];

        part_name(view_context(batch->view), file->id, node->generation, partial);
        if (linkat(first_parent, first_name, target->partial_fd, partial, 0) < 0)
                return -errno;
        return renameat(target->partial_fd, partial, parent, name) < 0 ? -errno : 0;
}

/* What has a further name, and is no link to the first: cvv's own, of an older version or of this one in a bad copy (marks_condemn()). */
static bool may_replace_link(const struct publish_batch *batch, const struct node_record *node, const struct stat *stat, bool published)
{
        const struct context *context = view_context(batch->view);
        struct node_version seen = { .size = (uint64_t)stat->st_size, .mtime_ns = metadata_timespec_ns(&stat->st_mtim) };
        struct judge_clock clock = judge_clock_of(context, batch->target);
        unsigned slot = batch->target->slot;

        if (options_existing(context->options) == EXISTING_REPLACE)
                return true;
        return published && (judge_is_former(node, slot, &seen, clock) || judge_is_as_published(node, slot, &seen, clock));
}

/* A further name of a file that is there under another one. `published`: cvv gave it to a version before. */
static int make_link(struct publish_batch *batch, struct file *file, const struct node_record *node, uint64_t parent_id,
                     const char *name, bool published)
{
        struct target *target = batch->target;
        cleanup(pointer_free) char *path = NULL, *first_path = NULL;
        cleanup(fd_close) int parent = -1, first_parent = -1;
        const char *last, *first_last;
        struct stat stat, first_stat;
        int result = view_join_path(batch->view, parent_id, name, &path);

        if (result == 0)
                result = view_join_path(batch->view, node->parent, node->name, &first_path);
        if (result < 0)
                return result;
        parent = open_parent(batch, parent_id, path, &last);
        first_parent = io_open_parent(target->root.fd, first_path, &first_last);
        if (parent < 0 || first_parent < 0)
                return parent < 0 ? parent : first_parent;
        if (linkat(first_parent, first_last, parent, last, 0) == 0)
                return 0;
        if (problem_is_inability(-errno))
                problem_lost(batch->view, target, PROBLEM_HARD_LINK);
        if (errno != EEXIST)
                return name_error(first_parent, first_last, -errno);
        if (fstatat(parent, last, &stat, AT_SYMLINK_NOFOLLOW) < 0 ||
            fstatat(first_parent, first_last, &first_stat, AT_SYMLINK_NOFOLLOW) < 0)
                return -errno;
        if (stat.st_ino == first_stat.st_ino && stat.st_dev == first_stat.st_dev)
                return 0; /* it was made before a crash */
        if (may_replace_link(batch, node, &stat, published))
                return replace_link(batch, file, node, first_parent, first_last, parent, last);
        result = judge_apply(batch->view, parent_id, name, target->slot, VERDICT_CONFLICT);
        if (result == 0)
                problem_conflict(batch->view, file->id, target);
        return result < 0 ? result : PART_NOT_WANTED;
}

/* A file that was there with the same bytes: times and the like may still differ, and would look like another version next time. */
static int finish_compared(struct publish_batch *batch, struct file *file, const struct node_record *node)
{
        cleanup(file_facts_release) struct file_facts *facts = file_facts_get(file, node->generation);
        unsigned lost = 0;
        int result, fd;

        mutex_lock(&file->lock);
        fd = file->parts[batch->target->slot].fd;
        mutex_unlock(&file->lock);
        if (!facts || fd < 0)
                return 0;
        result = metadata_apply(fd, &facts->metadata, &lost);
        if (result == 0)
                result = io_sync(fd);
        if (result == 0)
                problem_lost(batch->view, batch->target, lost);
        return result;
}

static int publish_first(struct name_visit *visit, uint64_t parent, const char *name)
{
        struct publish_batch *batch = visit->batch;
        cleanup(pointer_free) char *path = NULL;
        int result;

        if (visit->kind == PART_COMPARE) { /* it has its name: the finding is recorded, and the source's metadata is given */
                result = finish_compared(batch, visit->file, visit->node);
                return result < 0 ? result : note_name(visit, parent, name, true);
        }
        result = view_join_path(batch->view, parent, name, &path);
        if (result == 0)
                result = rename_partial(batch, visit->file, visit->node, target_path_of(batch->target, path));
        if (result == 0) {
                visit->renamed = true;
                touched_add(batch->target, parent);
                result = note_name(visit, parent, name, false);
        }
        return result;
}

static int publish_name(void *context, uint64_t parent, const char *name)
{
        struct name_visit *visit = context;
        struct publish_batch *batch = visit->batch;
        struct name_record record;
        bool first = visit->first, there;
        int result;

        visit->first = false;
        if (view_name(batch->view, parent, name, &record) < 0)
                return 0; /* deleted in the meantime */
        there = record.published >> batch->target->slot & 1;
        if (record.conflict >> batch->target->slot & 1)
                return first ? PART_NOT_WANTED : 0;
        if (first && !(there && visit->kind == PART_FINISHED))
                return publish_first(visit, parent, name);
        if (first || (there && !visit->renamed))
                return 0;
        result = make_link(batch, visit->file, visit->node, parent, name, there);
        if (result == 0) {
                bool skipped = !visit->renamed && (visit->kind == PART_COMPARE || (visit->node->skipped >> batch->target->slot & 1));

                touched_add(batch->target, parent);
                result = note_name(visit, parent, name, skipped);
        }
        return result < 0 ? result : 0;
}

/* A file can stand in one list twice: with its last chunk, and as a whole. */
static bool is_added(const struct publish_batch *batch, const struct file *file)
{
        for (size_t i = batch->count; i-- > 0;)
                if (batch->names[i].file == file)
                        return true;
        return false;
}

/* All of it is there, and yet it cannot have its name this time: wholemove_run() brings it again. Its place in the queue may be gone: it looked
 * finished, or a reader alone had brought it. */
static void come_again(struct publish_batch *batch, const struct file *file, const struct node_record *node)
{
        struct context *context = view_context(batch->view);

        if (!(node->flags & VIEW_NODE_QUEUED))
                (void)view_queue(batch->view, file->id, VIEW_QUEUE_ASKED); /* if not, the next mount finds it */
        context->work_found(context->callback_context);
}

/* Said when the names that it did get are recorded: that they are there would take it back. */
static void note_failure(struct publish_batch *batch, struct file *file, int error)
{
        if (batch->failure_count == batch->failure_capacity) {
                size_t capacity = batch->failure_capacity ? batch->failure_capacity * 2 : 8;
                struct publish_failure *failures = reallocarray(batch->failures, capacity, sizeof(*failures));

                if (!failures) {
                        part_fail(file, batch->target, error, "publish");
                        return;
                }
                batch->failures = failures;
                batch->failure_capacity = capacity;
        }
        batch->failures[batch->failure_count++] = (struct publish_failure){ .file = file_ref(file), .error = error };
}

void publish_add(struct publish_batch *batch, struct file *file)
{
        struct target *target = batch->target;
        struct file_part *part = &file->parts[target->slot];
        struct name_visit visit = { .batch = batch, .file = file, .first = true };
        struct node_record node;
        bool whole, ready, metadata_set;
        int result = view_node(batch->view, file->id, &node);

        if (result == 0 && !need_may_publish(view_context(batch->view)->options, &node, target->slot))
                return; /* it comes again when it was looked at, or when what was found is mended */
        mutex_lock(&file->lock);
        visit.kind = S_ISREG(file->mode) ? part->kind : (node.partial >> target->slot & 1) ? PART_PARTIAL : PART_FINISHED;
        whole = result == 0 && file->generation == node.generation && !S_ISDIR(file->mode) && bitmap_is_full(&part->present);
        ready = whole && (node.complete >> target->slot & 1);
        metadata_set = part->metadata_set || part->kind != PART_PARTIAL;
        if (ready && metadata_set)
                part->publishing = true; /* from here on no chunk is taken back: see marks.c, and release() in checkpoint.c */
        mutex_unlock(&file->lock);
        if (ready ? !metadata_set : whole && visit.kind == PART_PARTIAL) { /* not ready: the scan met the version before under its name */
                come_again(batch, file, &node);
                return;
        }
        if (ready && !is_added(batch, file)) {
                visit.node = &node;
                result = view_each_name(batch->view, file->id, &node, publish_name, &visit);
        }
        if (result < 0)
                note_failure(batch, file, result);
}

/* --- steps 4 and 5 --- */

static int sync_directory(struct publish_batch *batch, uint64_t id)
{
        cleanup(pointer_free) char *path = NULL;
        cleanup(fd_close) int fd = -1;
        int result = view_path(batch->view, id, &path);

        if (result < 0)
                return result;
        fd = io_open_beneath(batch->target->root.fd, path, O_RDONLY | O_DIRECTORY, 0);
        return fd < 0 ? fd : io_sync_directory(fd);
}

/* That a directory is synced makes what is in it durable, not its own entry above it. Which of those above were made just now, by whom, and
 * whether before a crash, is not asked: their records may be older than their durability, and a sync of what is clean costs little. */
static int note_ancestors(struct publish_batch *batch)
{
        size_t count = batch->directory_count;

        for (size_t i = 0; i < count; i++) {
                uint64_t id = batch->directories[i];

                for (unsigned depth = 0; id != VIEW_ROOT; depth++) {
                        struct node_record node;
                        int result = depth < DEPTH_MAX ? view_node(batch->view, id, &node) : -ELOOP;

                        if (result == 0)
                                result = note_directory(batch, node.parent);
                        if (result < 0)
                                return result;
                        id = node.parent;
                }
        }
        return 0;
}

static int compare_ids(const void *a, const void *b)
{
        uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;

        return left < right ? -1 : left > right;
}

static int sync_directories(struct publish_batch *batch)
{
        bool at_once = batch->target->root.device.syncfs_works;
        int result = 0;

        if (batch->directory_count <= DIRECTORY_SYNCS_MAX || !at_once)
                result = note_ancestors(batch);
        if (result < 0)
                return result;
        qsort(batch->directories, batch->directory_count, sizeof(*batch->directories), compare_ids);
        steps_begin(STEP_DIRECTORY_SYNC);
        if (batch->directory_count > DIRECTORY_SYNCS_MAX && at_once)
                result = io_sync_filesystem(batch->target->root.fd);
        else
                for (size_t i = 0; i < batch->directory_count && result == 0; i++)
                        if (i == 0 || batch->directories[i] != batch->directories[i - 1])
                                result = sync_directory(batch, batch->directories[i]);
        steps_end(STEP_DIRECTORY_SYNC);
        /* The entry that left .cvv/partial need not be durable: were it back after a crash, the sweep at the next mount finds it. */
        return result;
}

struct finish_change {
        unsigned slot;
        struct judge_clock clock;
        const struct published_name *entry;
};

static bool change_finished(void *context, struct node_record *node, struct name_record *name)
{
        const struct finish_change *change = context;
        uint64_t bit = 1ull << change->slot;

        if (node->generation != change->entry->generation) {
                /* The source changed in the meantime. What has the name is cvv's own former version, and may be replaced. */
                judge_note_former(node, change->slot, &change->entry->seen);
                name->published |= bit;
                return true;
        }
        name->published |= bit;
        name->conflict &= ~bit;
        node->complete |= bit; /* nothing of it was taken back while it was being published: publish_add() */
        node->partial &= ~bit;
        node->failed &= ~bit;
        node->conflict &= ~bit;
        node->skipped = change->entry->skipped ? node->skipped | bit : node->skipped & ~bit;
        judge_note_published(node, change->slot, &change->entry->seen, change->clock);
        return true;
}

static void record_name(struct publish_batch *batch, const struct published_name *entry)
{
        struct finish_change change = { .slot = batch->target->slot,
                                        .clock = judge_clock_of(view_context(batch->view), batch->target),
                                        .entry = entry };
        struct file_part *part = &entry->file->parts[batch->target->slot];
        int result = view_update_name(batch->view, entry->parent, entry->name, change_finished, &change);

        if (result < 0) {
                log_error("a published file could not be recorded: %s", strerror(-result));
                return; /* the next mount recognises it */
        }
        mutex_lock(&entry->file->lock);
        if (entry->file->generation == entry->generation)
                part->kind = PART_FINISHED;
        mutex_unlock(&entry->file->lock);
}

void publish_end(struct publish_batch *batch)
{
        struct context *context = view_context(batch->view);
        int result = batch->directory_count > 0 ? sync_directories(batch) : 0;

        if (result == 0 && batch->count > 0)
                result = device_confirm_sync(&batch->target->root.device, batch->target->control_fd);
        if (result < 0)
                (void)target_report(batch->target, result, "sync directory", NULL); /* not recorded: found again at the next mount */
        for (size_t i = 0; i < batch->count && result == 0; i++) {
                const struct published_name *entry = &batch->names[i];

                record_name(batch, entry);
                /* Once for all names of a file, which stand together: who hears of it looks at each of them. */
                if (i + 1 == batch->count || entry[1].file != entry->file)
                        context->published(context->callback_context, entry->file->id);
        }
        for (size_t i = 0; i < batch->count; i++) {
                file_unref(batch->names[i].file);
                free(batch->names[i].name);
        }
        for (size_t i = 0; i < batch->failure_count; i++) {
                part_fail(batch->failures[i].file, batch->target, batch->failures[i].error, "publish");
                file_unref(batch->failures[i].file);
        }
        free(batch->failures);
        free(batch->names);
        free(batch->directories);
        free(batch);
}
