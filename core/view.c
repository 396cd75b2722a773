#include "core/view.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "core/cleanup.h"
#include "core/log.h"

enum {
        NAME_CATEGORY_SHIFT = 4,
        NAME_CATEGORY_MASK = 0x7 << NAME_CATEGORY_SHIFT, /* then VIEW_NAME_VANISHED */
        NAME_FLAGS_MASK = ((1 << NAME_CATEGORY_SHIFT) - 1) | VIEW_NAME_VANISHED,
        NAME_EPOCH_SHIFT = 8,
        ID_RESERVE = 4096,  /* ids are reserved in the state in portions, so that not each new one is a record */
};

struct view {
        struct context *context;
        struct mutex lock; /* guards the read-modify-write of names and nodes, and: */
        uint64_t next_id, reserved_id;
        atomic_uint_least64_t directories_owed;
};

/* The end of the ids that were reserved; 0: none ever were. */
static int get_reserved(const struct context *context, uint64_t *ret_end)
{
        struct record_key key = record_key_meta(VIEW_IDS_NAME);
        uint8_t buffer[RECORD_VALUE_BYTES];
        struct meta_record ids;
        size_t size;
        int result = statedb_get(context->db, key.bytes, key.size, buffer, sizeof(buffer), &size);

        if (result == 0)
                result = record_decode_meta(buffer, size, &ids);
        if (result < 0 && result != -ENOENT)
                return result;
        *ret_end = result == 0 ? ids.next_id : 0;
        return 0;
}

int view_new(struct context *context, uint64_t first_free_id, struct view **ret_view)
{
        struct view *view;
        uint64_t reserved;
        int result = get_reserved(context, &reserved);

        if (result < 0)
                return result;
        view = calloc(1, sizeof(*view));
        if (!view)
                return -ENOMEM;
        view->context = context;
        mutex_init(&view->lock);
        view->next_id = first_free_id > VIEW_ROOT ? first_free_id : VIEW_ROOT + 1;
        if (reserved > view->next_id)
                view->next_id = reserved;
        view->reserved_id = view->next_id;
        *ret_view = view;
        return 0;
}

void view_free(struct view *view)
{
        if (!view)
                return;
        mutex_deinit(&view->lock);
        free(view);
}

struct context *view_context(const struct view *view)
{
        return view->context;
}

/* --- records --- */

static int get(struct view *view, const struct record_key *key, uint8_t *buffer, size_t *ret_size)
{
        if (key->size == 0)
                return -ENAMETOOLONG;
        return statedb_get(view->context->db, key->bytes, key->size, buffer, RECORD_VALUE_BYTES, ret_size);
}

static int get_node(struct view *view, uint64_t id, struct node_record *ret_node)
{
        struct record_key key = record_key_node(id);
        uint8_t buffer[RECORD_VALUE_BYTES];
        size_t size;
        int result = get(view, &key, buffer, &size);

        return result < 0 ? result : record_decode_node(buffer, size, ret_node);
}

static int get_name(struct view *view, uint64_t parent, const char *name, struct name_record *ret_name)
{
        struct record_key key = record_key_name(parent, name, strlen(name));
        uint8_t buffer[RECORD_VALUE_BYTES];
        size_t size;
        int result = get(view, &key, buffer, &size);

        return result < 0 ? result : record_decode_name(buffer, size, ret_name);
}

static int put_node(struct statedb_batch *batch, uint64_t id, const struct node_record *node)
{
        struct record_key key = record_key_node(id);
        uint8_t buffer[RECORD_VALUE_BYTES];
        size_t size;
        int result = record_encode_node(node, buffer, sizeof(buffer), &size);

        return result < 0 ? result : statedb_batch_put(batch, key.bytes, key.size, buffer, size);
}

static int put_name(struct statedb_batch *batch, uint64_t parent, const char *name, const struct name_record *record)
{
        struct record_key key = record_key_name(parent, name, strlen(name));
        uint8_t buffer[RECORD_VALUE_BYTES];
        size_t size;
        int result = record_encode_name(record, buffer, sizeof(buffer), &size);

        return result < 0 ? result : statedb_batch_put(batch, key.bytes, key.size, buffer, size);
}

static int put_link(struct statedb_batch *batch, uint64_t id, uint64_t parent, const char *name)
{
        struct record_key key = record_key_link(id, parent, name, strlen(name));
        uint8_t buffer[RECORD_BLOB_EXTRA_BYTES];
        size_t size;
        int result = record_encode_blob(TABLE_LINK, NULL, 0, buffer, sizeof(buffer), &size);

        return result < 0 ? result : statedb_batch_put(batch, key.bytes, key.size, buffer, size);
}

static int apply(struct view *view, struct statedb_batch *batch)
{
        return statedb_apply(view->context->db, batch, NULL);
}

int view_node(struct view *view, uint64_t id, struct node_record *ret_node)
{
        return get_node(view, id, ret_node);
}

int view_name(struct view *view, uint64_t parent, const char *name, struct name_record *ret_name)
{
        struct name_record record;
        int result = get_name(view, parent, name, &record);

        if (result < 0)
                return result == -ENAMETOOLONG ? -ENOENT : result;
        if (record.flags & (VIEW_NAME_EXCLUDED | VIEW_NAME_WHITEOUT))
                return -ENOENT;
        *ret_name = record;
        return 0;
}

static void primary_name(const struct node_record *node, char name[static VIEW_NAME_MAX + 1])
{
        memcpy(name, node->name, node->name_size);
        name[node->name_size] = '\0';
}

int view_primary_name(struct view *view, const struct node_record *node, struct name_record *ret_name)
{
        char name[VIEW_NAME_MAX + 1];

        primary_name(node, name);
        return get_name(view, node->parent, name, ret_name);
}

/* --- listing --- */

struct list_walk {
        bool (*visit)(void *context, const char *name, const struct name_record *record);
        void *context;
};

static bool list_entry(void *context, const struct statedb_view *entry)
{
        struct list_walk *walk = context;
        struct record_key_parts parts;
        struct name_record record;
        char name[VIEW_NAME_MAX + 1];

        if (record_key_parse(entry->key, entry->key_size, &parts) < 0 || parts.name_size > VIEW_NAME_MAX ||
            record_decode_name(entry->value, entry->value_size, &record) < 0) {
                log_error("a damaged name record is passed over");
                return true;
        }
        memcpy(name, parts.name, parts.name_size);
        name[parts.name_size] = '\0';
        return walk->visit(walk->context, name, &record);
}

int view_list(struct view *view, uint64_t directory, const char *after,
              bool (*visit)(void *context, const char *name, const struct name_record *record), void *visit_context)
{
        struct list_walk walk = { .visit = visit, .context = visit_context };
        struct record_key prefix = record_prefix_id(TABLE_NAME, directory);
        struct record_key from = { .size = 0 };
        int64_t result;

        if (after)
                from = record_key_name(directory, after, strlen(after));
        result = statedb_scan(view->context->db, from.bytes, from.size, prefix.bytes, prefix.size, UINT64_MAX, list_entry,
                              &walk);
        return result < 0 ? (int)result : 0;
}

struct link_walk {
        int (*visit)(void *context, uint64_t parent, const char *name);
        void *context;
        int result;
};

static bool link_entry(void *context, const struct statedb_view *entry)
{
        struct link_walk *walk = context;
        struct record_key_parts parts;
        char name[VIEW_NAME_MAX + 1];

        if (record_key_parse(entry->key, entry->key_size, &parts) < 0 || parts.name_size > VIEW_NAME_MAX)
                return true;
        memcpy(name, parts.name, parts.name_size);
        name[parts.name_size] = '\0';
        walk->result = walk->visit(walk->context, parts.parent, name);
        return walk->result == 0;
}

int view_each_name(struct view *view, uint64_t id, const struct node_record *node,
                   int (*visit)(void *context, uint64_t parent, const char *name), void *visit_context)
{
        struct link_walk walk = { .visit = visit, .context = visit_context };
        struct record_key prefix = record_prefix_id(TABLE_LINK, id);
        char name[VIEW_NAME_MAX + 1];
        int64_t scanned;
        int result;

        primary_name(node, name);
        result = visit(visit_context, node->parent, name);
        if (result != 0 || !(node->flags & VIEW_NODE_LINKS))
                return result;
        scanned = statedb_scan(view->context->db, NULL, 0, prefix.bytes, prefix.size, UINT64_MAX, link_entry, &walk);
        return scanned < 0 ? (int)scanned : walk.result;
}

int view_inode(struct view *view, uint64_t source_ino, struct inode_record *ret_inode)
{
        struct record_key key = record_key_inode(source_ino);
        uint8_t buffer[RECORD_VALUE_BYTES];
        size_t size;
        int result = get(view, &key, buffer, &size);

        return result < 0 ? result : record_decode_inode(buffer, size, ret_inode);
}

int view_put_inode(struct view *view, uint64_t source_ino, uint64_t id)
{
        struct inode_record inode = { .id = id, .epoch = view->context->epoch };
        struct record_key key = record_key_inode(source_ino);
        uint8_t buffer[RECORD_VALUE_BYTES];
        size_t size;
        int result = record_encode_inode(&inode, buffer, sizeof(buffer), &size);

        return result < 0 ? result : statedb_put(view->context->db, key.bytes, key.size, buffer, size);
}

/* --- totals --- */

enum category view_name_category(const struct name_record *name)
{
        return (enum category)((name->flags & NAME_CATEGORY_MASK) >> NAME_CATEGORY_SHIFT);
}

enum category view_classify(uint64_t target_mask, const struct node_record *node, const struct name_record *name)
{
        uint64_t done = view_finished(node, name) & target_mask;

        if (name->flags & VIEW_NAME_EXCLUDED)
                return CATEGORY_EXCLUDED;
        if ((name->flags & VIEW_NAME_VANISHED) || (S_ISDIR(node->mode) && (node->flags & VIEW_NODE_UNREADABLE)))
                return CATEGORY_MISSING; /* whatever the targets have: the source is not what it was */
        if (name->conflict & target_mask)
                return CATEGORY_CONFLICT;
        if (done == target_mask && target_mask != 0)
                return (node->skipped & target_mask) == target_mask ? CATEGORY_SKIPPED : CATEGORY_COPIED;
        if (node->flags & VIEW_NODE_UNAVAILABLE)
                return CATEGORY_MISSING;
        return node->failed & target_mask ? CATEGORY_FAILED : CATEGORY_PENDING;
}

static uint32_t epoch_bits(const struct view *view)
{
        return (uint32_t)(view->context->epoch & 0xffffff);
}

static bool name_is_counted(const struct view *view, const struct name_record *name)
{
        return name->flags >> NAME_EPOCH_SHIFT == epoch_bits(view);
}

bool view_name_is_counted(const struct view *view, const struct name_record *name)
{
        return name_is_counted(view, name);
}

/* Whether a name is among the files of the totals. */
static bool counts_as_file(const struct node_record *node, enum category category)
{
        return !S_ISDIR(node->mode) || category == CATEGORY_EXCLUDED ||
               (category == CATEGORY_MISSING && (node->flags & VIEW_NODE_UNREADABLE));
}

bool view_is_primary(const struct node_record *node, uint64_t parent, const char *name)
{
        return node->parent == parent && strlen(name) == node->name_size && memcmp(node->name, name, node->name_size) == 0;
}

/* The bytes that a name has in the totals. */
static int64_t name_bytes(const struct node_record *node, uint64_t parent, const char *name)
{
        return S_ISREG(node->mode) && view_is_primary(node, parent, name) ? (int64_t)node->size : 0;
}

static void count_directory(struct view *view, bool owed_before, bool owed_now)
{
        if (owed_now && !owed_before)
                atomic_fetch_add(&view->directories_owed, 1);
        if (owed_before && !owed_now)
                atomic_fetch_sub(&view->directories_owed, 1);
}

/* On all targets, and there under this name. */
static bool is_verified(const struct view *view, const struct node_record *node, enum category category)
{
        uint64_t mask = view->context->target_mask;

        return (category == CATEGORY_COPIED || category == CATEGORY_SKIPPED) && (node->verified & mask) == mask;
}

static void count_verified(struct view *view, bool before, int64_t bytes_before, bool now, int64_t bytes_now)
{
        int64_t files = (int64_t)now - (int64_t)before;
        int64_t bytes = (now ? bytes_now : 0) - (before ? bytes_before : 0);

        if (files != 0 || bytes != 0)
                progress_verified_add(&view->context->progress, files, bytes);
}

/* Brings the share of one name in the totals from (`old_node`, its counted category) to (`node`, what the records give). */
static void account_name(struct view *view, const struct node_record *old_node, const struct node_record *node,
                         uint64_t parent, const char *name, struct name_record *record)
{
        bool was_counted = name_is_counted(view, record);
        enum category from = view_name_category(record);
        enum category to = view_classify(view->context->target_mask, node, record);
        /* Whether it was, and is, among the files of the totals: the source may change a name's type. */
        bool was_file = was_counted && counts_as_file(old_node, from);
        bool is_file = counts_as_file(node, to);
        int64_t old_bytes = was_file ? name_bytes(old_node, parent, name) : 0;
        int64_t bytes = name_bytes(node, parent, name);

        if (!(record->flags & VIEW_NAME_SOURCE))
                return;
        record->flags &= NAME_FLAGS_MASK;
        record->flags |= epoch_bits(view) << NAME_EPOCH_SHIFT | (uint32_t)to << NAME_CATEGORY_SHIFT;
        count_directory(view, was_counted && !was_file && from == CATEGORY_PENDING, !is_file && to == CATEGORY_PENDING);
        if (was_file && !is_file)
                progress_add(&view->context->progress, from, -1, -old_bytes);
        if (!was_file && is_file)
                progress_add(&view->context->progress, to, 1, bytes);
        if (was_file || is_file)
                count_verified(view, was_file && is_verified(view, old_node, from), old_bytes,
                               is_file && is_verified(view, node, to), bytes);
        if (!was_file || !is_file)
                return;
        if (from != to)
                progress_move(&view->context->progress, from, to, (uint64_t)old_bytes);
        if (bytes != old_bytes)
                progress_add(&view->context->progress, to, 0, bytes - old_bytes);
}

struct group_sum {
        unsigned slot;
        uint64_t size, chunk_bytes, bytes;
};

static uint64_t chunk_length(uint64_t size, uint64_t chunk_bytes, uint64_t chunk)
{
        uint64_t offset = chunk * chunk_bytes;

        return offset >= size ? 0 : size - offset < chunk_bytes ? size - offset : chunk_bytes;
}

static bool sum_group(void *context, const struct statedb_view *entry)
{
        struct group_sum *sum = context;
        cleanup(pointer_free) struct group_record *group = malloc(sizeof(*group));
        struct record_key_parts parts;

        if (!group || record_key_parse(entry->key, entry->key_size, &parts) < 0 ||
            record_decode_group(entry->value, entry->value_size, group) < 0)
                return true;
        for (unsigned i = 0; i < group->slot_count; i++) {
                if (group->slots[i].slot != sum->slot)
                        continue;
                for (unsigned c = 0; c < group->chunk_count; c++)
                        if (group->slots[i].present[c / 64] >> (c % 64) & 1)
                                sum->bytes += chunk_length(sum->size, sum->chunk_bytes,
                                                           (uint64_t)parts.group * RECORD_GROUP_CHUNKS + c);
        }
        return true;
}

uint64_t view_slot_bytes(struct view *view, uint64_t id, const struct node_record *node, unsigned slot)
{
        struct group_sum sum = { .slot = slot, .size = node->size, .chunk_bytes = view->context->chunk_bytes };
        struct record_key prefix = record_prefix_generation(TABLE_GROUP, id, node->generation);

        if (node->complete >> slot & 1)
                return node->size;
        if (!(node->partial >> slot & 1) || node->size <= sum.chunk_bytes)
                return 0;
        if (statedb_scan(view->context->db, NULL, 0, prefix.bytes, prefix.size, UINT64_MAX, sum_group, &sum) < 0)
                return 0; /* what cannot be read counts as lacking, and is copied again */
        return sum.bytes;
}

struct share {
        uint64_t present, verified, owed, queued;
};

/* What lacks of the node is owed to the slot: it is there to be had, and can be there. */
static bool is_owed(const struct node_record *node, unsigned slot)
{
        return !((node->conflict | node->failed) >> slot & 1) && !(node->flags & VIEW_NODE_UNAVAILABLE);
}

static int64_t verified_bytes(const struct node_record *node, unsigned slot)
{
        return S_ISREG(node->mode) && (node->complete & node->verified) >> slot & 1 ? (int64_t)node->size : 0;
}

/* What a node contributes to the figures of one slot. */
static struct share node_share(struct view *view, uint64_t id, const struct node_record *node, unsigned slot)
{
        struct share share = { 0 };

        if (!S_ISREG(node->mode) || !(node->flags & VIEW_NODE_SOURCE))
                return share;
        share.present = view_slot_bytes(view, id, node, slot);
        share.verified = (uint64_t)verified_bytes(node, slot);
        if (is_owed(node, slot))
                share.owed = node->size - share.present;
        if (node->flags & VIEW_NODE_QUEUED)
                share.queued = share.owed;
        return share;
}

static bool share_can_differ(const struct node_record *a, const struct node_record *b)
{
        return a->size != b->size || a->complete != b->complete || a->verified != b->verified || a->partial != b->partial || a->conflict != b->conflict ||
               a->failed != b->failed || a->generation != b->generation || a->flags != b->flags || a->mode != b->mode;
}

/* Bytes that stand in the totals of a slot as verified, and not in its record. */
struct counted {
        unsigned slot;
        uint64_t verified;
};

static void account_node(struct view *view, uint64_t id, const struct node_record *old_node, struct node_record *node,
                         const struct counted *counted)
{
        struct progress *progress = &view->context->progress;
        bool was_counted = old_node && old_node->epoch == view->context->epoch;

        if (node->epoch != view->context->epoch || (was_counted && !counted && !share_can_differ(old_node, node))) {
                if (counted)
                        progress_target_add(progress, counted->slot, 0, -(int64_t)counted->verified, 0);
                return;
        }
        for (unsigned slot = 0; slot < TARGET_SLOTS; slot++) {
                struct share before = { 0 }, after;

                if (!(view->context->target_mask >> slot & 1))
                        continue;
                if (was_counted)
                        before = node_share(view, id, old_node, slot);
                if (counted && counted->slot == slot)
                        before.verified += counted->verified;
                after = node_share(view, id, node, slot);
                if (after.verified > 0 && view->context->targets[slot])
                        target_note_verify_method(view->context->targets[slot], node->verify_method);
                progress_target_add(progress, slot, (int64_t)(after.present - before.present),
                                    (int64_t)(after.verified - before.verified), (int64_t)(after.owed - before.owed));
                if (after.queued != before.queued)
                        progress_queued_add(progress, slot, (int64_t)(after.queued - before.queued));
        }
}

/* --- changes --- */

/* Whether any of the node's names may have another place in the totals: a node may have very many. */
static bool categories_can_differ(const struct node_record *a, const struct node_record *b)
{
        return a->complete != b->complete || a->verified != b->verified || a->skipped != b->skipped || a->failed != b->failed ||
               ((a->flags ^ b->flags) & VIEW_NODE_UNAVAILABLE) || a->mode != b->mode || a->size != b->size;
}

struct reclassify {
        struct view *view;
        struct statedb_batch *batch;
        const struct node_record *old_node, *node;
        uint64_t skip_parent; /* this name is the caller's */
        const char *skip_name;
};

static int reclassify_name(void *context, uint64_t parent, const char *name)
{
        struct reclassify *reclassify = context;
        struct view *view = reclassify->view;
        struct name_record record;

        if (reclassify->skip_name && parent == reclassify->skip_parent && strcmp(name, reclassify->skip_name) == 0)
                return 0;
        if (get_name(view, parent, name, &record) < 0 || !name_is_counted(view, &record))
                return 0; /* not counted yet: it will be as it is then */
        account_name(view, reclassify->old_node, reclassify->node, parent, name, &record);
        return put_name(reclassify->batch, parent, name, &record);
}

/* Something was copied, or is new in the source: who looked at the source before has not seen it. */
static void note_change(struct view *view)
{
        atomic_fetch_add(&view->context->changes, 1);
}

static int write_node_locked(struct view *view, struct statedb_batch *batch, uint64_t id, const struct node_record *old_node,
                             struct node_record *node, uint64_t skip_parent, const char *skip_name,
                             const struct counted *counted)
{
        struct reclassify reclassify = { .view = view, .batch = batch, .old_node = old_node, .node = node,
                                         .skip_parent = skip_parent, .skip_name = skip_name };
        int result = put_node(batch, id, node);

        if (result == 0 && id != VIEW_ROOT && categories_can_differ(old_node, node))
                result = view_each_name(view, id, node, reclassify_name, &reclassify);
        if (result == 0) {
                account_node(view, id, old_node, node, counted);
                result = apply(view, batch);
        }
        if (old_node->generation != node->generation)
                note_change(view);
        return result;
}

static int update(struct view *view, uint64_t id, bool (*change)(void *change_context, struct node_record *node),
                  void *change_context, const struct counted *counted)
{
        cleanup(statedb_batch_deinit) struct statedb_batch batch;
        struct node_record old_node, node;
        int result;

        statedb_batch_init(&batch);
        MUTEX_SCOPE(&view->lock);
        result = get_node(view, id, &node);
        if (result == 0) {
                old_node = node;
                if (change(change_context, &node))
                        return write_node_locked(view, &batch, id, &old_node, &node, 0, NULL, counted);
        }
        if (counted)
                progress_target_add(&view->context->progress, counted->slot, 0, -(int64_t)counted->verified, 0);
        return result;
}

int view_update(struct view *view, uint64_t id, bool (*change)(void *change_context, struct node_record *node),
                void *change_context)
{
        return update(view, id, change, change_context, NULL);
}

int view_update_verified(struct view *view, uint64_t id, bool (*change)(void *change_context, struct node_record *node),
                         void *change_context, unsigned slot, uint64_t counted)
{
        return update(view, id, change, change_context, &(struct counted){ .slot = slot, .verified = counted });
}

int view_update_name(struct view *view, uint64_t parent, const char *name,
                     bool (*change)(void *change_context, struct node_record *node, struct name_record *name_record),
                     void *change_context)
{
        cleanup(statedb_batch_deinit) struct statedb_batch batch;
        struct node_record old_node, node;
        struct name_record old_record, record;
        int result;

        statedb_batch_init(&batch);
        MUTEX_SCOPE(&view->lock);
        result = get_name(view, parent, name, &record);
        if (result == 0)
                result = get_node(view, record.id, &node);
        if (result < 0)
                return result;
        old_node = node;
        old_record = record;
        if (!change(change_context, &node, &record))
                return 0;
        if (record.published != old_record.published || record.flags != old_record.flags)
                note_change(view);
        if (name_is_counted(view, &record))
                account_name(view, &old_node, &node, parent, name, &record);
        result = put_name(&batch, parent, name, &record);
        if (result < 0)
                return result;
        return write_node_locked(view, &batch, record.id, &old_node, &node, parent, name, NULL);
}

int view_count(struct view *view, uint64_t parent, const char *name)
{
        cleanup(statedb_batch_deinit) struct statedb_batch batch;
        struct node_record old_node, node;
        struct name_record record;
        bool excluded;
        int result;

        statedb_batch_init(&batch);
        MUTEX_SCOPE(&view->lock);
        result = get_name(view, parent, name, &record);
        if (result == 0)
                result = get_node(view, record.id, &node);
        if (result < 0)
                return result;
        excluded = record.flags & VIEW_NAME_EXCLUDED;
        if (name_is_counted(view, &record) && (excluded || node.epoch == view->context->epoch))
                return 0;
        old_node = node;
        account_name(view, &old_node, &node, parent, name, &record);
        if (!excluded) { /* an excluded name owes nobody anything; another name of the node may */
                node.epoch = view->context->epoch;
                account_node(view, record.id, &old_node, &node, NULL);
        }
        result = put_name(&batch, parent, name, &record);
        if (result == 0)
                result = put_node(&batch, record.id, &node);
        return result < 0 ? result : apply(view, &batch);
}

int view_add(struct view *view, uint64_t parent, const char *name, const struct name_record *name_record,
             const struct node_record *node)
{
        cleanup(statedb_batch_deinit) struct statedb_batch batch;
        struct node_record linked;
        struct name_record existing;
        int result;

        statedb_batch_init(&batch);
        MUTEX_SCOPE(&view->lock);
        if (get_name(view, parent, name, &existing) == 0)
                return -EEXIST; /* another thread was faster */
        result = put_name(&batch, parent, name, name_record);
        if (result == 0 && node)
                result = put_node(&batch, name_record->id, node);
        if (result == 0 && !node) {
                result = get_node(view, name_record->id, &linked);
                linked.flags |= VIEW_NODE_LINKS;
                if (result == 0)
                        result = put_node(&batch, name_record->id, &linked);
                if (result == 0)
                        result = put_link(&batch, name_record->id, parent, name);
        }
        if (name_record->flags & VIEW_NAME_SOURCE)
                note_change(view);
        return result < 0 ? result : apply(view, &batch);
}

struct first_link {
        uint64_t parent;
        char name[VIEW_NAME_MAX + 1];
        bool found;
};

static bool first_link_entry(void *context, const struct statedb_view *entry)
{
        struct first_link *first = context;
        struct record_key_parts parts;

        if (record_key_parse(entry->key, entry->key_size, &parts) < 0 || parts.name_size > VIEW_NAME_MAX)
                return true;
        first->parent = parts.parent;
        memcpy(first->name, parts.name, parts.name_size);
        first->name[parts.name_size] = '\0';
        first->found = true;
        return false;
}

/* The first name of the node is another one now. */
static int account_promoted(struct view *view, struct statedb_batch *batch, const struct node_record *old_node,
                            const struct node_record *node, const struct first_link *first)
{
        struct name_record record;

        if (get_name(view, first->parent, first->name, &record) < 0 || !name_is_counted(view, &record))
                return 0;
        account_name(view, old_node, node, first->parent, first->name, &record);
        return put_name(batch, first->parent, first->name, &record);
}

/* Takes the name out of its node: another name becomes the first one, or the node goes with its last. */
static int unlink_locked(struct view *view, struct statedb_batch *batch, uint64_t id, struct node_record *node,
                         uint64_t parent, const char *name)
{
        struct record_key prefix = record_prefix_id(TABLE_LINK, id);
        struct record_key key = record_key_link(id, parent, name, strlen(name));
        struct node_record old_node = *node;
        struct first_link first = { 0 };
        int64_t scanned = 0;
        int result;

        if (!view_is_primary(node, parent, name))
                return statedb_batch_delete(batch, key.bytes, key.size);
        if (node->flags & VIEW_NODE_LINKS)
                scanned = statedb_scan(view->context->db, NULL, 0, prefix.bytes, prefix.size, 1, first_link_entry, &first);
        if (scanned < 0)
                return (int)scanned;
        if (!first.found) {
                key = record_key_node(id);
                return statedb_batch_delete(batch, key.bytes, key.size);
        }
        node->parent = first.parent;
        node->name_size = (uint16_t)strlen(first.name);
        memcpy(node->name, first.name, node->name_size + 1u);
        result = account_promoted(view, batch, &old_node, node, &first);
        if (result < 0)
                return result;
        key = record_key_link(id, first.parent, first.name, node->name_size);
        (void)statedb_batch_delete(batch, key.bytes, key.size); /* the batch keeps its first error */
        return put_node(batch, id, node);
}

/* Takes the share of a name out of the totals. */
static void uncount_name(struct view *view, const struct node_record *node, uint64_t parent, const char *name,
                         const struct name_record *record)
{
        enum category from = view_name_category(record);
        int64_t bytes = name_bytes(node, parent, name);

        if (!name_is_counted(view, record) || !(record->flags & VIEW_NAME_SOURCE))
                return;
        count_directory(view, !counts_as_file(node, from) && from == CATEGORY_PENDING, false);
        if (!counts_as_file(node, from))
                return;
        progress_add(&view->context->progress, from, -1, -bytes);
        count_verified(view, is_verified(view, node, from), bytes, false, 0);
}

static int forget_name_locked(struct view *view, struct statedb_batch *batch, uint64_t parent, const char *name,
                              const struct name_record *record, struct node_record *node)
{
        struct record_key key = record_key_name(parent, name, strlen(name));
        int result = statedb_batch_delete(batch, key.bytes, key.size);

        uncount_name(view, node, parent, name, record);
        if (result == 0)
                result = unlink_locked(view, batch, record->id, node, parent, name);
        return result < 0 ? result : apply(view, batch);
}

int view_remove(struct view *view, uint64_t parent, const char *name)
{
        cleanup(statedb_batch_deinit) struct statedb_batch batch;
        struct name_record record;
        struct node_record node;
        int result;

        statedb_batch_init(&batch);
        MUTEX_SCOPE(&view->lock);
        result = get_name(view, parent, name, &record);
        if (result == 0)
                result = get_node(view, record.id, &node);
        if (result < 0)
                return result;
        if (name_is_counted(view, &record) && (record.flags & VIEW_NAME_SOURCE))
                return 0; /* it stands in the totals of this mount */
        return forget_name_locked(view, &batch, parent, name, &record, &node);
}

/* --- names that the source has no more --- */

/* Whether the source has the node under that name, as far as is recorded, and the view too. */
static bool is_live(struct view *view, uint64_t parent, const char *name)
{
        struct name_record record;

        return get_name(view, parent, name, &record) == 0 && (record.flags & VIEW_NAME_SOURCE) &&
               !(record.flags & (VIEW_NAME_VANISHED | VIEW_NAME_EXCLUDED | VIEW_NAME_WHITEOUT));
}

struct live_walk {
        struct view *view;
        uint64_t skip_parent; /* this name is not asked for */
        const char *skip_name;
        uint64_t parent;
        char *name;
        bool found;
};

static bool live_link(void *context, const struct statedb_view *entry)
{
        struct live_walk *walk = context;
        struct record_key_parts parts;
        char name[VIEW_NAME_MAX + 1];

        if (record_key_parse(entry->key, entry->key_size, &parts) < 0 || parts.name_size > VIEW_NAME_MAX)
                return true;
        memcpy(name, parts.name, parts.name_size);
        name[parts.name_size] = '\0';
        if (parts.parent == walk->skip_parent && strcmp(name, walk->skip_name) == 0)
                return true;
        walk->found = is_live(walk->view, parts.parent, name);
        if (walk->found) {
                walk->parent = parts.parent;
                memcpy(walk->name, name, parts.name_size + 1);
        }
        return !walk->found;
}

/* Another live name than that one: the first one of the node, else the next of its links behind that one, and round. So each of many names
 * that vanish in order finds the next at once. */
static int find_other_live(struct view *view, uint64_t id, const struct node_record *node, struct live_walk *walk)
{
        struct record_key prefix = record_prefix_id(TABLE_LINK, id);
        struct record_key from = record_key_link(id, walk->skip_parent, walk->skip_name, strlen(walk->skip_name));
        struct statedb *db = view->context->db;
        int64_t scanned = 0;

        primary_name(node, walk->name);
        walk->parent = node->parent;
        walk->found = !view_is_primary(node, walk->skip_parent, walk->skip_name) && is_live(view, node->parent, walk->name);
        if (!walk->found && (node->flags & VIEW_NODE_LINKS))
                scanned = statedb_scan(db, from.bytes, from.size, prefix.bytes, prefix.size, UINT64_MAX, live_link, walk);
        if (scanned >= 0 && !walk->found && (node->flags & VIEW_NODE_LINKS))
                scanned = statedb_scan(db, NULL, 0, prefix.bytes, prefix.size, UINT64_MAX, live_link, walk);
        return scanned < 0 ? (int)scanned : 0;
}

int view_live_name(struct view *view, uint64_t id, const struct node_record *node, uint64_t *ret_parent, char *ret_name)
{
        char first[VIEW_NAME_MAX + 1];
        struct live_walk walk = { .view = view, .skip_parent = node->parent, .skip_name = first, .name = ret_name };
        int result = 0;

        primary_name(node, first);
        if ((node->flags & VIEW_NODE_LINKS) && !is_live(view, node->parent, first))
                result = find_other_live(view, id, node, &walk);
        if (result < 0)
                return result;
        *ret_parent = walk.found ? walk.parent : node->parent;
        if (!walk.found)
                memcpy(ret_name, first, sizeof(first));
        return walk.found || is_live(view, node->parent, first) ? 0 : -ENOENT;
}

int view_vanish(struct view *view, uint64_t parent, const char *name)
{
        uint64_t all = view->context->target_mask;
        char other[VIEW_NAME_MAX + 1];
        struct live_walk walk = { .view = view, .skip_parent = parent, .skip_name = name, .name = other };
        cleanup(statedb_batch_deinit) struct statedb_batch batch;
        struct node_record old_node, node;
        struct name_record record;
        bool counted, done;
        int result;

        statedb_batch_init(&batch);
        MUTEX_SCOPE(&view->lock);
        result = get_name(view, parent, name, &record);
        if (result == 0)
                result = get_node(view, record.id, &node);
        if (result < 0 || !(record.flags & VIEW_NAME_SOURCE) || (record.flags & VIEW_NAME_WHITEOUT))
                return result;
        result = find_other_live(view, record.id, &node, &walk);
        if (result < 0)
                return result;
        counted = name_is_counted(view, &record);
        done = all != 0 && (view_finished(&node, &record) & all) == all;
        if ((record.flags & VIEW_NAME_EXCLUDED) ||
            (!counted && record.published == 0 && (walk.found || (node.complete | node.partial) == 0)))
                return forget_name_locked(view, &batch, parent, name, &record, &node);
        if ((record.flags & VIEW_NAME_VANISHED) && (counted || done) && !(node.flags & VIEW_NODE_MISSING) == walk.found)
                return 0; /* known */
        old_node = node;
        note_change(view);
        record.flags |= VIEW_NAME_VANISHED;
        node.flags = walk.found ? node.flags & ~(uint32_t)VIEW_NODE_MISSING : node.flags | VIEW_NODE_MISSING;
        if (counted || !done) {
                account_name(view, &old_node, &node, parent, name, &record);
                node.epoch = view->context->epoch;
        }
        result = put_name(&batch, parent, name, &record);
        return result < 0 ? result : write_node_locked(view, &batch, record.id, &old_node, &node, parent, name, NULL);
}

int view_apply_marks(struct view *view, uint64_t id, unsigned slot, view_fill_marks *fill, void *fill_context)
{
        struct progress *progress = &view->context->progress;
        cleanup(statedb_batch_deinit) struct statedb_batch batch;
        struct node_record node;
        int64_t present_delta = 0, verified_delta = 0;
        bool changed = false, owed;
        int result;

        statedb_batch_init(&batch);
        MUTEX_SCOPE(&view->lock);
        result = get_node(view, id, &node);
        if (result == 0) {
                verified_delta = -verified_bytes(&node, slot);
                result = fill(fill_context, &node, &changed, &batch, &present_delta);
        }
        if (result != 0)
                return result;
        if (changed)
                result = put_node(&batch, id, &node);
        if (result == 0)
                result = apply(view, &batch);
        verified_delta += verified_bytes(&node, slot);
        if (present_delta != 0)
                note_change(view);
        if (result < 0 || (present_delta == 0 && verified_delta == 0) || node.epoch != view->context->epoch)
                return result;
        owed = is_owed(&node, slot);
        progress_target_add(progress, slot, present_delta, verified_delta, owed ? -present_delta : 0);
        if (owed && (node.flags & VIEW_NODE_QUEUED))
                progress_queued_add(progress, slot, -present_delta);
        return 0;
}

struct strip_walk {
        struct statedb_batch *batch;
        uint64_t slots;
        int result;
};

static bool strip_group(void *context, const struct statedb_view *entry)
{
        struct strip_walk *walk = context;
        cleanup(pointer_free) struct group_record *group = malloc(sizeof(*group));
        uint8_t buffer[RECORD_VALUE_BYTES];
        unsigned kept = 0;
        size_t size;

        if (!group) {
                walk->result = -ENOMEM;
                return false;
        }
        if (record_decode_group(entry->value, entry->value_size, group) < 0) { /* damaged: it says nothing any more */
                walk->result = statedb_batch_delete(walk->batch, entry->key, entry->key_size);
                return walk->result == 0;
        }
        for (unsigned i = 0; i < group->slot_count; i++)
                if (!(walk->slots >> group->slots[i].slot & 1))
                        group->slots[kept++] = group->slots[i];
        if (kept == group->slot_count)
                return true;
        group->slot_count = (uint8_t)kept;
        walk->result = record_encode_group(group, buffer, sizeof(buffer), &size);
        if (walk->result == 0)
                walk->result = statedb_batch_put(walk->batch, entry->key, entry->key_size, buffer, size);
        return walk->result == 0;
}

int view_strip_groups(struct view *view, uint64_t id, uint64_t generation, uint64_t slots, struct statedb_batch *batch)
{
        struct strip_walk walk = { .batch = batch, .slots = slots };
        struct record_key prefix = record_prefix_generation(TABLE_GROUP, id, generation);
        int64_t scanned = statedb_scan(view->context->db, NULL, 0, prefix.bytes, prefix.size, UINT64_MAX, strip_group, &walk);

        return scanned < 0 ? (int)scanned : walk.result;
}

static int reserve_ids(struct view *view, uint64_t end)
{
        struct record_key key = record_key_meta(VIEW_IDS_NAME);
        struct meta_record ids = { .next_id = end };
        uint8_t buffer[RECORD_VALUE_BYTES];
        size_t size;
        int result = record_encode_meta(&ids, buffer, sizeof(buffer), &size);

        return result < 0 ? result : statedb_put(view->context->db, key.bytes, key.size, buffer, size);
}

/* An id that is given out before its reservation is durable can only stand in records that are not durable either: commits are a
 * prefix of what was applied. */
uint64_t view_new_id(struct view *view)
{
        MUTEX_SCOPE(&view->lock);
        if (view->next_id >= view->reserved_id && reserve_ids(view, view->next_id + ID_RESERVE) == 0)
                view->reserved_id = view->next_id + ID_RESERVE;
        return view->next_id++;
}

struct forget_walk {
        struct view *view;
        struct statedb_batch batch;
        uint64_t bit;
        int result;
};

static bool forget_name(void *context, const struct statedb_view *entry)
{
        struct forget_walk *walk = context;
        struct name_record name;
        uint8_t buffer[RECORD_VALUE_BYTES];
        size_t size;

        if (record_decode_name(entry->value, entry->value_size, &name) < 0 || !((name.published | name.conflict) & walk->bit))
                return true;
        name.published &= ~walk->bit;
        name.conflict &= ~walk->bit;
        walk->result = record_encode_name(&name, buffer, sizeof(buffer), &size);
        if (walk->result == 0)
                walk->result = statedb_put(walk->view->context->db, entry->key, entry->key_size, buffer, size);
        while (walk->result == 0 && statedb_throttle(walk->view->context->db) == -ETIMEDOUT)
                ;
        return walk->result == 0;
}

static bool forget_node(void *context, const struct statedb_view *entry)
{
        struct forget_walk *walk = context;
        cleanup(statedb_batch_deinit) struct statedb_batch batch;
        struct record_key_parts parts;
        struct node_record node;
        uint8_t buffer[RECORD_VALUE_BYTES];
        size_t size;

        statedb_batch_init(&batch);
        if (record_key_parse(entry->key, entry->key_size, &parts) < 0 ||
            record_decode_node(entry->value, entry->value_size, &node) < 0 ||
            !((node.complete | node.verified | node.skipped | node.conflict | node.failed | node.partial | node.former | node.altered) &
              walk->bit))
                return true;
        node.partial &= ~walk->bit;
        node.complete &= ~walk->bit;
        node.verified &= ~walk->bit;
        node.skipped &= ~walk->bit;
        node.conflict &= ~walk->bit;
        node.failed &= ~walk->bit;
        node.former &= ~walk->bit;
        node.altered &= ~walk->bit;
        node.kept[__builtin_ctzll(walk->bit)] = (struct node_version){ 0 };
        walk->result = record_encode_node(&node, buffer, sizeof(buffer), &size);
        if (walk->result == 0)
                walk->result = statedb_batch_put(&batch, entry->key, entry->key_size, buffer, size);
        if (walk->result == 0)
                walk->result = view_strip_groups(walk->view, parts.id, node.generation, walk->bit, &batch);
        if (walk->result == 0)
                walk->result = statedb_apply(walk->view->context->db, &batch, NULL);
        while (walk->result == 0 && statedb_throttle(walk->view->context->db) == -ETIMEDOUT)
                ;
        return walk->result == 0;
}

int view_forget_slot(struct view *view, unsigned slot)
{
        struct forget_walk walk = { .view = view, .bit = 1ull << slot };
        struct record_key names = record_prefix_table(TABLE_NAME), nodes = record_prefix_table(TABLE_NODE);
        int64_t scanned = statedb_scan(view->context->db, NULL, 0, names.bytes, names.size, UINT64_MAX, forget_name, &walk);

        if (scanned >= 0 && walk.result == 0)
                scanned = statedb_scan(view->context->db, NULL, 0, nodes.bytes, nodes.size, UINT64_MAX, forget_node, &walk);
        return scanned < 0 ? (int)scanned : walk.result;
}

uint64_t view_directories_owed(struct view *view)
{
        return atomic_load(&view->directories_owed);
}
