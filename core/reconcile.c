#include "core/reconcile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <xxhash.h>

#include "core/cleanup.h"
#include "core/io.h"
#include "core/judge.h"
#include "core/listing.h"
#include "core/log.h"
#include "core/metadata_rules.h"
#include "core/touched.h"

enum {
        FRESH_SLOTS = 65536,
        NAMES_TRIED = 16, /* of a file of many, until one is met that did not vanish */
};
#define FRESH_NS 1000000000u

/* When names were last looked at: a lossy table, so that its memory is bounded; a lost entry costs one look. */
struct fresh {
        _Atomic uint64_t key, at_ns;
};

struct reconcile {
        struct view *view;
        struct context *context;
        atomic_uint batches; /* of directories that were read: whoever waits for a large one sees that it gets on */
        struct fresh fresh[FRESH_SLOTS];
};

int reconcile_new(struct view *view, struct reconcile **ret_reconcile)
{
        struct reconcile *reconcile = calloc(1, sizeof(*reconcile));

        if (!reconcile)
                return -ENOMEM;
        reconcile->view = view;
        reconcile->context = view_context(view);
        *ret_reconcile = reconcile;
        return 0;
}

void reconcile_free(struct reconcile *reconcile)
{
        free(reconcile);
}

static uint64_t fresh_key(uint64_t parent, const char *name)
{
        return XXH3_64bits_withSeed(name, strlen(name), parent) | 1;
}

static bool is_fresh(struct reconcile *reconcile, uint64_t key)
{
        struct fresh *fresh = &reconcile->fresh[key % FRESH_SLOTS];

        return fresh->key == key && clock_now_ns() - fresh->at_ns < FRESH_NS;
}

static void set_fresh(struct reconcile *reconcile, uint64_t key)
{
        struct fresh *fresh = &reconcile->fresh[key % FRESH_SLOTS];

        fresh->key = 0; /* a reader between the two stores sees neither pair half */
        fresh->at_ns = clock_now_ns();
        fresh->key = key;
}

/* --- names of the source --- */

static void fill_attributes(struct node_record *node, const struct statx *stat)
{
        node->mode = stat->stx_mode;
        node->uid = stat->stx_uid;
        node->gid = stat->stx_gid;
        node->nlink = stat->stx_nlink;
        node->size = stat->stx_size;
        node->blocks = stat->stx_blocks;
        node->rdev = makedev(stat->stx_rdev_major, stat->stx_rdev_minor);
        node->mtime_ns = metadata_time_ns(&stat->stx_mtime);
        node->ctime_ns = metadata_time_ns(&stat->stx_ctime);
        node->atime_ns = metadata_time_ns(&stat->stx_atime);
        node->btime_ns = stat->stx_mask & STATX_BTIME ? metadata_time_ns(&stat->stx_btime) : 0;
}

struct source_change {
        const struct statx *stat;
        bool excluded;
        uint64_t epoch; /* of this mount */
        bool content_changed;
        bool moved; /* it is excluded now, or no more: nothing was changed */
        uint64_t id;
};

/* As far as size, mtime and ctime tell. ctime alone counts only while something is half done: a chmod afterwards changes no
 * byte, but in the middle of a copy nobody knows what happened between two chunks. */
static bool content_differs(const struct node_record *node, const struct statx *stat)
{
        if ((node->mode & S_IFMT) != (stat->stx_mode & S_IFMT))
                return true;
        if (S_ISDIR(node->mode))
                return false;
        if (node->size != stat->stx_size || node->mtime_ns != metadata_time_ns(&stat->stx_mtime))
                return true;
        return S_ISREG(node->mode) && node->partial != 0 && node->ctime_ns != metadata_time_ns(&stat->stx_ctime);
}

/* That it is there says nothing of its bytes, so a look alone does not take back that they could not be read, or not be brought to a
 * target: new content does, and the next mount. */
static void try_again(struct node_record *node)
{
        node->flags &= ~(uint32_t)VIEW_NODE_UNREADABLE;
        node->failed = 0;
        node->last_error = 0;
}

/* What there is of the node is another version's. */
static void begin_generation(struct node_record *node)
{
        if (node->complete | node->partial)
                node->flags |= VIEW_NODE_DRIFTED;
        judge_begin_version(node);
        node->generation++;
        node->complete = node->verified = node->skipped = node->partial = node->failed = 0;
        node->flags &= ~(uint32_t)VIEW_NODE_OF_CONTENT;
        node->has_hash = false;
        memset(&node->digests, 0, sizeof(node->digests));
}

static bool change_source(void *context, struct node_record *node, struct name_record *name)
{
        struct source_change *change = context;
        struct node_record before = *node;
        bool was_source = name->flags & VIEW_NAME_SOURCE;
        bool was_excluded = name->flags & VIEW_NAME_EXCLUDED;

        change->id = name->id;
        change->moved = was_source && was_excluded != change->excluded && !S_ISDIR(node->mode);
        if (change->moved)
                return false;
        if (was_source && content_differs(node, change->stat)) {
                change->content_changed = true;
                begin_generation(node);
        }
        if (!was_source) { /* targets alone had it until now: what they have is judged like any other existing file */
                name->published = 0;
                node->complete = node->verified = node->skipped = 0;
                node->flags &= ~(uint32_t)VIEW_NODE_OF_CONTENT;
                node->source_limit = UINT64_MAX;
                node->generation++;
                change->content_changed = true; /* who has it open reads the source's from now on */
        }
        if (change->content_changed || node->epoch != change->epoch)
                try_again(node);
        fill_attributes(node, change->stat);
        node->source_ino = change->stat->stx_ino;
        node->flags |= VIEW_NODE_SOURCE;
        node->flags &= ~(uint32_t)VIEW_NODE_MISSING;
        name->flags |= VIEW_NAME_SOURCE;
        name->flags &= ~(uint32_t)(VIEW_NAME_TARGET | VIEW_NAME_VANISHED);
        name->flags = change->excluded ? name->flags | VIEW_NAME_EXCLUDED : name->flags & ~(uint32_t)VIEW_NAME_EXCLUDED;
        name->mode_type = node->mode & S_IFMT;
        return change->content_changed || !was_source || was_excluded != change->excluded || memcmp(&before, node, sizeof(before)) != 0;
}

static int known_link(struct reconcile *reconcile, const struct statx *stat, uint64_t *ret_id)
{
        const struct root *source = reconcile->context->source;
        struct inode_record inode;
        struct node_record node;
        int result;

        if (S_ISDIR(stat->stx_mode) || stat->stx_nlink < 2 ||
            makedev(stat->stx_dev_major, stat->stx_dev_minor) != source->device.st_dev)
                return -ENOENT;
        result = view_inode(reconcile->view, stat->stx_ino, &inode);
        if (result < 0)
                return result;
        if (inode.epoch != reconcile->context->epoch && !source->device.stable_inodes)
                return -ENOENT;
        result = view_node(reconcile->view, inode.id, &node);
        if (result < 0)
                return result;
        if (node.source_ino != stat->stx_ino || node.size != stat->stx_size ||
            (node.mode & S_IFMT) != (stat->stx_mode & S_IFMT) || node.mtime_ns != metadata_time_ns(&stat->stx_mtime) ||
            node.rdev != makedev(stat->stx_rdev_major, stat->stx_rdev_minor))
                return -ENOENT; /* the number belongs to another file by now */
        *ret_id = inode.id;
        return 0;
}

/* Records a name of the source that was not known. One that is excluded has a node of its own, whatever it is a link to: it must not be the
 * first name of what is copied under another one. */
static int add_source_name(struct reconcile *reconcile, uint64_t parent, const char *name, const struct statx *stat,
                           bool excluded, uint64_t *ret_id)
{
        struct name_record name_record = { .flags = VIEW_NAME_SOURCE | (excluded ? VIEW_NAME_EXCLUDED : 0),
                                           .mode_type = stat->stx_mode & S_IFMT };
        struct node_record node = { .parent = parent, .generation = 1, .source_limit = UINT64_MAX };
        int result;

        if (!excluded && known_link(reconcile, stat, &name_record.id) == 0) {
                *ret_id = name_record.id;
                return view_add(reconcile->view, parent, name, &name_record, NULL);
        }
        name_record.id = view_new_id(reconcile->view);
        fill_attributes(&node, stat);
        node.source_ino = stat->stx_ino;
        node.flags = VIEW_NODE_SOURCE;
        node.name_size = (uint16_t)strlen(name);
        memcpy(node.name, name, node.name_size);
        result = view_add(reconcile->view, parent, name, &name_record, &node);
        /* Also of a file with one name, where its number means something later: a further one may be made. */
        if (result == 0 && !excluded && !S_ISDIR(stat->stx_mode) &&
            (stat->stx_nlink > 1 || reconcile->context->source->device.stable_inodes))
                result = view_put_inode(reconcile->view, stat->stx_ino, name_record.id);
        *ret_id = name_record.id;
        return result;
}

static bool is_excluded(struct reconcile *reconcile, uint64_t parent, const char *name, bool directory)
{
        cleanup(pointer_free) char *path = NULL;

        if (parent == VIEW_ROOT && strcmp(name, ".cvv") == 0)
                return true;
        if (parent == VIEW_ROOT && reconcile->context->options->source_file &&
            strcmp(name, reconcile->context->options->source_file) != 0)
                return true;
        if (!reconcile->context->exclude || view_join_path(reconcile->view, parent, name, &path) < 0)
                return false;
        return exclude_match(reconcile->context->exclude, path, directory);
}

/* A name that the source has: its record is made or brought up to date. -ENOENT where it is excluded. */
static int take_source_name(struct reconcile *reconcile, uint64_t parent, const char *name, const struct statx *stat,
                            uint64_t *ret_id)
{
        struct context *context = reconcile->context;
        bool excluded = is_excluded(reconcile, parent, name, S_ISDIR(stat->stx_mode));
        struct source_change change = { .stat = stat, .excluded = excluded, .epoch = context->epoch };
        int result = view_update_name(reconcile->view, parent, name, change_source, &change);

        if (result == 0 && change.moved)
                result = view_remove(reconcile->view, parent, name);
        if (result == -ENOENT || (result == 0 && change.moved))
                result = add_source_name(reconcile, parent, name, stat, excluded, &change.id);
        if (result == -EEXIST) /* another thread was faster */
                result = view_update_name(reconcile->view, parent, name, change_source, &change);
        if (result < 0)
                return result;
        if (change.content_changed && context->content_changed)
                context->content_changed(context->callback_context, change.id);
        (void)view_count(reconcile->view, parent, name); /* a damaged record is met again by whoever uses it */
        if (excluded)
                return -ENOENT;
        *ret_id = change.id;
        return 0;
}

/* --- names that only targets have --- */

struct target_change {
        unsigned slot;
        const struct statx *stat;
};

static bool change_target_only(void *context, struct node_record *node, struct name_record *name)
{
        const struct target_change *change = context;
        uint64_t bit = 1ull << change->slot;

        if (!(name->flags & VIEW_NAME_TARGET))
                return false;
        if ((node->complete & bit & name->published) && judge_looks_equal(node, change->stat, 1))
                return false;
        if ((node->complete & ~bit) == 0) { /* it is the only one that shows it, so it says how it looks */
                fill_attributes(node, change->stat);
                name->mode_type = node->mode & S_IFMT;
        } else if ((node->mode & S_IFMT) != (change->stat->stx_mode & S_IFMT) || !judge_looks_equal(node, change->stat, 1)) {
                node->complete &= ~bit; /* others have another version, which came first: that one is shown */
                name->published &= ~bit;
                return true;
        }
        node->complete |= bit;
        name->published |= bit;
        return true;
}

static int take_target_name(struct reconcile *reconcile, uint64_t parent, const char *name, unsigned slot,
                            const struct statx *stat, uint64_t *ret_id)
{
        struct target_change change = { .slot = slot, .stat = stat };
        struct name_record record = { .flags = VIEW_NAME_TARGET, .mode_type = stat->stx_mode & S_IFMT,
                                      .published = 1ull << slot };
        struct node_record node = { .parent = parent, .generation = 1, .source_limit = 0, .complete = 1ull << slot };
        int result;

        if (parent == VIEW_ROOT && strcmp(name, ".cvv") == 0)
                return -ENOENT;
        result = view_update_name(reconcile->view, parent, name, change_target_only, &change);
        if (result == -ENOENT) {
                record.id = view_new_id(reconcile->view);
                fill_attributes(&node, stat);
                node.name_size = (uint16_t)strlen(name);
                memcpy(node.name, name, node.name_size);
                result = view_add(reconcile->view, parent, name, &record, &node);
        }
        if (result == -EEXIST) /* another thread was faster */
                result = view_update_name(reconcile->view, parent, name, change_target_only, &change);
        if (result == 0)
                result = view_name(reconcile->view, parent, name, &record);
        if (result == 0)
                *ret_id = record.id;
        return result;
}

/* --- one name --- */

/* The source's root itself is gone (its directory was removed): what it lacks now says nothing. */
static bool source_is_gone(struct context *context)
{
        struct stat stat;

        if (!context->source)
                return false;
        if (atomic_load(&context->source_absent))
                return true;
        if (fstat(context->source->fd, &stat) == 0 && stat.st_nlink > 0)
                return false;
        atomic_store(&context->source_absent, true);
        log_error("the source %s is gone", context->source->path);
        if (context->events)
                events_add(context->events, "source-absent", NULL, 0, NULL);
        return true;
}

/* The first target that has the name, in the order of the targets. */
static int ask_targets(struct reconcile *reconcile, uint64_t parent, const char *name, const char *path, uint64_t *ret_id)
{
        struct context *context = reconcile->context;
        int result = -ENOENT;

        for (CONTEXT_EACH_TARGET(context, context->target_mask, target)) {
                struct statx stat;
                int answer;

                if (!target_serves_reads(target))
                        continue;
                answer = root_call_stat(&target->root, target_path_of(target, path), &stat);
                if (answer == 0)
                        return take_target_name(reconcile, parent, name, target->slot, &stat, ret_id);
                if (answer != -ENOENT && answer != -ENOTDIR)
                        result = -EIO; /* nobody knows whether it has the name */
        }
        return result;
}

/* A name that is recorded as a target's alone, and that no target has now, was deleted there. -EIO: one that is recorded to have it
 * cannot be asked now; else -ENOENT. */
static int forget_target_name(struct reconcile *reconcile, uint64_t parent, const char *name)
{
        struct context *context = reconcile->context;
        struct name_record record;

        if (view_name(reconcile->view, parent, name, &record) < 0 || !(record.flags & VIEW_NAME_TARGET))
                return -ENOENT;
        for (CONTEXT_EACH_TARGET(context, record.published & context->target_mask, target))
                if (!target_serves_reads(target))
                        return -EIO;
        (void)view_remove(reconcile->view, parent, name); /* a damaged record stays: it harms nobody */
        return -ENOENT;
}

static int reconcile_name(struct reconcile *reconcile, uint64_t parent, const char *name, uint64_t *ret_id)
{
        struct context *context = reconcile->context;
        cleanup(pointer_free) char *path = NULL, *source_parent = NULL, *source_path = NULL;
        struct statx stat;
        int result = view_join_path(reconcile->view, parent, name, &path);

        if (result < 0)
                return result;
        if (context->source) {
                if (source_is_gone(context))
                        return -EIO;
                result = view_source_path(reconcile->view, parent, &source_parent);
                if (result < 0)
                        return result;
                if (asprintf(&source_path, "%s%s%s", source_parent, *source_parent ? "/" : "", name) < 0)
                        return -ENOMEM;
                result = root_stat(context->source, source_path, &stat);
                if (result == 0)
                        return take_source_name(reconcile, parent, name, &stat, ret_id);
                if (result != -ENOENT && result != -ENOTDIR && result != -ELOOP && result != -ENAMETOOLONG)
                        return result;
                if (source_is_gone(context))
                        return -EIO;
                (void)view_vanish(reconcile->view, parent, name); /* best effort: the scan repeats it */
        }
        if (parent == VIEW_ROOT && strcmp(name, ".cvv") == 0)
                return -ENOENT;
        result = ask_targets(reconcile, parent, name, path, ret_id);
        return result == -ENOENT ? forget_target_name(reconcile, parent, name) : result;
}

/* --- whole directories --- */

/* After a crash: a directory whose times or mode are not the source's was not finished. Whether cvv made it is not asked: it may have
 * been made when its record was not durable yet, and one that was there before gets the source's attributes, too, as soon as something
 * is put into it. */
static void check_directory(struct target *target, uint64_t id, const struct node_record *node, const struct statx *stat,
                            uint64_t granularity_ns)
{
        if (!S_ISDIR(stat->stx_mode))
                return;
        if (!metadata_mtime_equal(node->mtime_ns, metadata_time_ns(&stat->stx_mtime), granularity_ns) ||
            stat->stx_mode != node->mode || stat->stx_uid != node->uid || stat->stx_gid != node->gid)
                touched_add(target, id);
}

struct judging {
        struct reconcile *reconcile;
        struct target *target;
        uint64_t directory;
        const char *path; /* of the directory */
        enum existing existing;
        struct judge_clock clock;
};

static int get_records(const struct judging *judging, const char *name, struct name_record *ret_name, struct node_record *ret_node)
{
        int result = view_name(judging->reconcile->view, judging->directory, name, ret_name);

        return result < 0 ? result : view_node(judging->reconcile->view, ret_name->id, ret_node);
}

/* A verdict that takes back what is recorded. */
static bool takes_back(enum verdict verdict, const struct name_record *name, uint64_t bit)
{
        return verdict == VERDICT_LOST || verdict == VERDICT_REPLACE ||
               (verdict == VERDICT_CONFLICT && !(name->conflict & bit));
}

static bool same_state(const struct name_record *name, const struct node_record *node, const struct name_record *other_name,
                       const struct node_record *other, uint64_t bit)
{
        return name->id == other_name->id && node->generation == other->generation &&
               !(((name->published ^ other_name->published) | (name->conflict ^ other_name->conflict) |
                  (node->complete ^ other->complete)) & bit);
}

/* The object was looked at before the records were read, and may have been published in between: it is looked at again, and judged by
 * records that were the same before and after. False: they are being changed, by somebody who knows better. */
static bool judge_again(const struct judging *judging, const char *name, struct name_record *name_record, struct node_record *node,
                        enum verdict *verdict)
{
        unsigned slot = judging->target->slot;
        cleanup(pointer_free) char *path = NULL;
        struct name_record name_after;
        struct node_record node_after;
        struct statx stat;
        int result;

        if (asprintf(&path, "%s%s%s", judging->path, *judging->path ? "/" : "", name) < 0)
                return false;
        result = root_call_stat(&judging->target->root, target_path_of(judging->target, path), &stat);
        if (result < 0 && result != -ENOENT && result != -ENOTDIR)
                return false;
        if (get_records(judging, name, &name_after, &node_after) < 0 ||
            !same_state(name_record, node, &name_after, &node_after, 1ull << slot))
                return false;
        *verdict = judge_target(&node_after, &name_after, view_is_primary(&node_after, judging->directory, name), slot,
                                result == 0 ? &stat : NULL, judging->existing, judging->clock);
        return true;
}

static void judge_entry(const struct judging *judging, const char *name, const struct statx *stat)
{
        struct reconcile *reconcile = judging->reconcile;
        unsigned slot = judging->target->slot;
        enum verdict verdict;
        struct name_record name_record;
        struct node_record node;

        if (get_records(judging, name, &name_record, &node) < 0)
                return;
        if (reconcile->context->unclean && stat && S_ISDIR(node.mode))
                check_directory(judging->target, name_record.id, &node, stat, judging->clock.granularity_ns);
        verdict = judge_target(&node, &name_record, view_is_primary(&node, judging->directory, name), slot, stat, judging->existing,
                               judging->clock);
        if (takes_back(verdict, &name_record, 1ull << slot) && !judge_again(judging, name, &name_record, &node, &verdict))
                return;
        (void)judge_apply(reconcile->view, judging->directory, name, slot, verdict); /* a damaged record is met again */
}

/* Judges what one target has under the names of a batch. */
static void judge_batch(struct reconcile *reconcile, struct target *target, uint64_t directory, const char *path,
                        const struct listing *batch)
{
        struct context *context = reconcile->context;
        struct judging judging = { .reconcile = reconcile, .target = target, .directory = directory, .path = path,
                                   .existing = options_existing(context->options),
                                   .clock = judge_clock_of(context, target) };
        cleanup(listing_deinit) struct listing there = { 0 };
        char *names[LISTING_BATCH];
        int result;

        for (size_t i = 0; i < batch->count; i++)
                names[i] = (char *)(uintptr_t)target_path_of(target, batch->entries[i].name); /* a path only at the root, where that is one */
        result = listing_call_stat(&target->root, path, names, batch->count, &there);
        if (result < 0 && result != -ENOENT)
                return; /* it cannot be asked now: what it has is found out when something is brought there */
        for (size_t i = 0; i < batch->count; i++) {
                const struct listing_entry *entry = result == 0 ? &there.entries[i] : NULL;

                if (!entry || entry->error == 0 || entry->error == -ENOENT)
                        judge_entry(&judging, batch->entries[i].name, entry && entry->error == 0 ? &entry->stat : NULL);
        }
}

struct seen {
        uint64_t *hashes;
        size_t count, capacity;
        int error; /* of a name that is listed and cannot be looked at; 0: none */
};

static int seen_add(struct seen *seen, const char *name)
{
        if (seen->count == seen->capacity) {
                size_t capacity = seen->capacity ? seen->capacity * 2 : 256;
                uint64_t *hashes = reallocarray(seen->hashes, capacity, sizeof(*hashes));

                if (!hashes)
                        return -ENOMEM;
                seen->hashes = hashes;
                seen->capacity = capacity;
        }
        seen->hashes[seen->count++] = fresh_key(0, name);
        return 0;
}

static int compare_hashes(const void *a, const void *b)
{
        uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;

        return left < right ? -1 : left > right;
}

static void seen_deinit(struct seen *seen)
{
        free(seen->hashes);
}

static int take_batch(struct reconcile *reconcile, uint64_t directory, const struct listing *batch, struct seen *seen)
{
        for (size_t i = 0; i < batch->count; i++) {
                const struct listing_entry *entry = &batch->entries[i];
                uint64_t id;
                int result = seen_add(seen, entry->name);

                if (result < 0)
                        return result;
                if (entry->error != 0 && entry->error != -ENOENT)
                        seen->error = entry->error;
                if (entry->error != 0)
                        continue; /* it vanished in between, or cannot be looked at: the records stand */
                result = take_source_name(reconcile, directory, entry->name, &entry->stat, &id);
                if (result < 0 && result != -ENOENT)
                        return result;
                set_fresh(reconcile, fresh_key(directory, entry->name));
        }
        return 0;
}

/* As listing_read() of the root, where one file alone is mirrored. */
static int list_the_file(const struct context *context, struct listing *ret_listing)
{
        const char *name = context->options->source_file;
        struct statx stat;
        int result = root_stat(context->source, name, &stat);

        ret_listing->end = true;
        if (result == -ENOENT || (result == 0 && !S_ISREG(stat.stx_mode)))
                return 0; /* it is gone */
        if (result < 0)
                return result;
        ret_listing->entries = calloc(1, sizeof(*ret_listing->entries));
        if (!ret_listing->entries)
                return -ENOMEM;
        ret_listing->entries[0] = (struct listing_entry){ .name = strdup(name), .stat = stat };
        ret_listing->count = 1;
        return ret_listing->entries[0].name ? 0 : -ENOMEM;
}

static int load_from_source(struct reconcile *reconcile, uint64_t directory, const char *path, struct seen *seen)
{
        struct context *context = reconcile->context;
        cleanup(pointer_free) char *source_path = NULL;
        cleanup(fd_close) int fd = -1;
        uint64_t asked = 0;
        struct listing batch = { 0 };
        int result = view_source_path(reconcile->view, directory, &source_path);

        if (result < 0)
                return result;
        fd = io_open_beneath(context->source->fd, source_path, O_RDONLY | O_DIRECTORY, 0);
        if (fd < 0)
                return fd;
        for (CONTEXT_EACH_TARGET(context, context->target_mask, target)) {
                struct statx stat;

                if (!target_serves_reads(target))
                        continue;
                result = root_call_stat(&target->root, path, &stat);
                if (result == 0 || result == -ENOENT)
                        asked |= 1ull << target->slot;
        }
        do {
                cleanup(listing_deinit) struct listing current = { 0 };

                atomic_fetch_add(&reconcile->batches, 1);
                statedb_throttle(context->db);
                result = context->options->source_file ? list_the_file(context, &current) : listing_read(fd, batch.cookie, &current);
                if (result == 0)
                        result = take_batch(reconcile, directory, &current, seen);
                for (CONTEXT_EACH_TARGET(context, asked, target))
                        if (result == 0)
                                judge_batch(reconcile, target, directory, path, &current);
                batch.cookie = current.cookie;
                batch.end = current.end;
        } while (result == 0 && !batch.end);
        return result;
}

/* Adds what only this target has to the records, and all it has to `there`. False: it could not be seen whole. */
static bool load_from_target(struct reconcile *reconcile, struct target *target, uint64_t directory, const char *path,
                             struct seen *there)
{
        int64_t cookie = 0;
        bool end = reconcile->context->options->source_file; /* what else there is beside that file is of no concern */

        while (!end) {
                cleanup(listing_deinit) struct listing batch = { 0 };
                int result = listing_call_read(&target->root, path, cookie, &batch);

                if (result < 0)
                        return result == -ENOENT || result == -ENOTDIR;
                for (size_t i = 0; i < batch.count; i++) {
                        const struct listing_entry *entry = &batch.entries[i];
                        struct name_record name;
                        uint64_t id;

                        if (seen_add(there, entry->name) < 0)
                                return false;
                        if (entry->error != 0)
                                continue;
                        if (view_name(reconcile->view, directory, entry->name, &name) == 0 &&
                            !(name.flags & VIEW_NAME_TARGET))
                                continue;
                        (void)take_target_name(reconcile, directory, entry->name, target->slot, &entry->stat, &id);
                }
                cookie = batch.cookie;
                end = batch.end;
        }
        return true;
}

struct vanish_walk {
        struct reconcile *reconcile;
        const struct seen *seen;
        uint64_t directory;
        uint32_t flag;
        char **names;
        size_t count;
};

static bool collect_unseen(void *context, const char *name, const struct name_record *record)
{
        struct vanish_walk *walk = context;
        uint64_t hash = fresh_key(0, name);

        if (!(record->flags & walk->flag) ||
            (walk->seen->count > 0 &&
             bsearch(&hash, walk->seen->hashes, walk->seen->count, sizeof(hash), compare_hashes)))
                return true;
        walk->names[walk->count] = strdup(name);
        if (walk->names[walk->count])
                walk->count++;
        return walk->count < LISTING_BATCH;
}

/* Recorded names that the listing did not show are gone. A portion is judged without a scan of the records running, and the next one
 * begins behind it: a vanished name may stay recorded, and must not hide those behind it. */
static void vanish_unseen(struct reconcile *reconcile, uint64_t directory, struct seen *seen, uint32_t flag)
{
        char *names[LISTING_BATCH];
        struct vanish_walk walk = { .reconcile = reconcile, .seen = seen, .directory = directory, .flag = flag, .names = names };
        char last[VIEW_NAME_MAX + 1];

        if (seen->count > 0)
                qsort(seen->hashes, seen->count, sizeof(*seen->hashes), compare_hashes);
        do {
                const char *after = walk.count > 0 ? last : NULL;

                walk.count = 0;
                (void)view_list(reconcile->view, directory, after, collect_unseen, &walk); /* what cannot be read is met again */
                for (size_t i = 0; i < walk.count; i++) {
                        uint64_t id;

                        if (flag == VIEW_NAME_SOURCE)
                                (void)view_vanish(reconcile->view, directory, walk.names[i]); /* the next scan repeats it */
                        else /* looks again: it may have come meanwhile */
                                (void)reconcile_name(reconcile, directory, walk.names[i], &id);
                        (void)snprintf(last, sizeof(last), "%s", walk.names[i]); /* fits */
                        free(walk.names[i]);
                }
        } while (walk.count == LISTING_BATCH);
}

/* A directory of which the source does not show everything stands in the totals as missing, for all that nobody knows of. */
static bool change_shown(void *context, struct node_record *node)
{
        int error = *(const int *)context;

        if (error == 0 ? !(node->flags & VIEW_NODE_UNREADABLE) : (node->flags & VIEW_NODE_UNREADABLE) && node->last_error == error)
                return false;
        try_again(node);
        if (error != 0) {
                node->flags |= VIEW_NODE_UNREADABLE;
                node->last_error = error;
        }
        return true;
}

static bool change_loaded(void *context, struct node_record *node)
{
        uint64_t epoch = *(const uint64_t *)context;

        if ((node->flags & VIEW_NODE_LOADED) && node->load_epoch == epoch)
                return false;
        node->flags |= VIEW_NODE_LOADED;
        node->load_epoch = epoch;
        return true;
}

int reconcile_directory(struct reconcile *reconcile, uint64_t directory)
{
        struct context *context = reconcile->context;
        cleanup(pointer_free) char *path = NULL;
        cleanup(seen_deinit) struct seen seen = { 0 }, there = { 0 };
        bool from_source = false, all_seen = true;
        struct node_record node;
        int result = view_path(reconcile->view, directory, &path);

        if (result == 0)
                result = view_node(reconcile->view, directory, &node);
        if (result < 0)
                return result;
        if (context->source && (directory == VIEW_ROOT || (node.flags & VIEW_NODE_SOURCE))) {
                if (source_is_gone(context))
                        return -EIO;
                result = load_from_source(reconcile, directory, path, &seen);
                if (result < 0 && source_is_gone(context))
                        return -EIO;
                if (result < 0 && result != -ENOENT && result != -ENOTDIR) {
                        (void)view_update(reconcile->view, directory, change_shown, &result); /* as below */
                        return result;
                }
                (void)view_update(reconcile->view, directory, change_shown, &seen.error); /* a damaged record is met again */
                from_source = true;
        }
        for (CONTEXT_EACH_TARGET(context, context->target_mask, target))
                if (!target_serves_reads(target) || !load_from_target(reconcile, target, directory, path, &there))
                        all_seen = false;
        if (from_source)
                vanish_unseen(reconcile, directory, &seen, VIEW_NAME_SOURCE);
        if (all_seen)
                vanish_unseen(reconcile, directory, &there, VIEW_NAME_TARGET);
        set_fresh(reconcile, fresh_key(directory, "."));
        return view_update(reconcile->view, directory, change_loaded, &context->epoch);
}

/* --- for callers that must not wait for a device for long --- */

struct reconcile_job {
        struct devio_job base;
        struct reconcile *reconcile;
        uint64_t parent; /* or the directory itself */
        char *name;      /* NULL: the whole directory */
        uint64_t id;
};

static void job_free(struct devio_job *base)
{
        struct reconcile_job *job = (struct reconcile_job *)base;

        free(job->name);
        free(job);
}

static int job_run(struct devio_job *base)
{
        struct reconcile_job *job = (struct reconcile_job *)base;

        if (job->name)
                return reconcile_name(job->reconcile, job->parent, job->name, &job->id);
        return reconcile_directory(job->reconcile, job->parent);
}

static int call(struct reconcile *reconcile, uint64_t parent, const char *name, uint64_t *ret_id)
{
        struct context *context = reconcile->context;
        struct reconcile_job *job;
        int result;

        if (!context->source)
                return name ? reconcile_name(reconcile, parent, name, ret_id) : reconcile_directory(reconcile, parent);
        job = calloc(1, sizeof(*job));
        if (!job)
                return -ENOMEM;
        atomic_init(&job->base.references, 1);
        job->base.run = job_run;
        job->base.free = job_free;
        job->base.progress = &reconcile->batches;
        job->reconcile = reconcile;
        job->parent = parent;
        job->name = name ? strdup(name) : NULL;
        result = name && !job->name ? -ENOMEM : devio_call(context->source->io, &job->base, DEVIO_TIMEOUT_NS);
        if (result == 0 && ret_id)
                *ret_id = job->id;
        devio_job_unref(&job->base);
        return result;
}

int reconcile_lookup(struct reconcile *reconcile, uint64_t parent, const char *name, uint64_t *ret_id)
{
        uint64_t key = fresh_key(parent, name);
        struct name_record record;
        struct node_record directory;
        bool known = view_name(reconcile->view, parent, name, &record) == 0;
        int result;

        if (known && is_fresh(reconcile, key)) {
                *ret_id = record.id;
                return 0;
        }
        result = call(reconcile, parent, name, ret_id);
        if (result == 0 || result == -ENOENT) {
                if (result == 0)
                        set_fresh(reconcile, key);
                return result;
        }
        if (known) { /* the device does not answer: what is recorded holds */
                *ret_id = record.id;
                return 0;
        }
        if (view_node(reconcile->view, parent, &directory) == 0 && (directory.flags & VIEW_NODE_LOADED))
                return -ENOENT;
        return result == -ENOMEM ? result : -EIO;
}

int reconcile_load(struct reconcile *reconcile, uint64_t directory)
{
        struct node_record node;
        bool loaded;
        int result = view_node(reconcile->view, directory, &node);

        if (result < 0)
                return result;
        loaded = node.flags & VIEW_NODE_LOADED;
        if (loaded && is_fresh(reconcile, fresh_key(directory, ".")))
                return 0;
        result = call(reconcile, directory, NULL, NULL);
        if (result == 0 || loaded)
                return 0;
        return result == -ENOMEM || result == -EACCES ? result : -EIO;
}

int reconcile_refresh(struct reconcile *reconcile, uint64_t id, struct node_record *ret_node)
{
        char name[VIEW_NAME_MAX + 1];
        uint64_t parent, found;
        int result = view_node(reconcile->view, id, ret_node);

        if (result < 0 || id == VIEW_ROOT)
                return result;
        (void)view_live_name(reconcile->view, id, ret_node, &parent, name); /* all vanished: the first one is asked for again */
        if (is_fresh(reconcile, fresh_key(parent, name)))
                return 0;
        result = reconcile_lookup(reconcile, parent, name, &found);
        if (result == -ENOENT)
                return -ESTALE;
        return view_node(reconcile->view, id, ret_node);
}

int reconcile_renew(struct reconcile *reconcile, uint64_t id)
{
        char name[VIEW_NAME_MAX + 1], tried[VIEW_NAME_MAX + 1];
        uint64_t parent, parent_tried, found;
        struct node_record node;
        int result = view_node(reconcile->view, id, &node);

        if (result < 0 || id == VIEW_ROOT)
                return result;
        (void)view_live_name(reconcile->view, id, &node, &parent, name); /* all vanished: the first one is asked for again */
        for (unsigned tries = 0; tries < NAMES_TRIED; tries++) {
                parent_tried = parent;
                memcpy(tried, name, sizeof(tried));
                result = call(reconcile, parent, name, &found);
                if (view_live_name(reconcile->view, id, &node, &parent, name) < 0 ||
                    (parent == parent_tried && strcmp(name, tried) == 0))
                        break; /* else that one vanished, and another stands in for it */
        }
        return result;
}

static bool change_distrusted(void *context, struct node_record *node)
{
        if (node->generation != *(const uint64_t *)context)
                return false;
        begin_generation(node);
        return true;
}

int reconcile_begin_again(struct reconcile *reconcile, uint64_t id, uint64_t generation)
{
        return view_update(reconcile->view, id, change_distrusted, &generation);
}
