/* The records of the view: reading, listing and changing them. See view.h. */
#include "core/view_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/cleanup.h"
#include "core/log.h"

enum { ID_RESERVE = 4096 }; /* ids are reserved in the state in portions, so that not each new one is a record */

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

/* What decoding a record gave. One that is damaged is dealt with by who asked; the state as a whole is looked at before it is used again. */
static int decoded(struct view *view, int result)
{
        if (result == -EBADMSG)
                atomic_store(&view->context->damaged, true);
        return result;
}

int view_get_name(struct view *view, uint64_t parent, const char *name, struct name_record *ret_name)
{
        struct record_key key = record_key_name(parent, name, strlen(name));
        uint8_t buffer[RECORD_VALUE_BYTES];
        size_t size;
        int result = get(view, &key, buffer, &size);

        return result < 0 ? result : decoded(view, record_decode_name(buffer, size, ret_name));
}

int view_put_node(struct statedb_batch *batch, uint64_t id, const struct node_record *node)
{
        struct record_key key = record_key_node(id);
        uint8_t buffer[RECORD_VALUE_BYTES];
        size_t size;
        int result = record_encode_node(node, buffer, sizeof(buffer), &size);

        return result < 0 ? result : statedb_batch_put(batch, key.bytes, key.size, buffer, size);
}

int view_put_name(struct statedb_batch *batch, uint64_t parent, const char *name, const struct name_record *record)
{
        struct record_key key = record_key_name(parent, name, strlen(name));
        uint8_t buffer[RECORD_VALUE_BYTES];
        size_t size;
        int result = record_encode_name(record, buffer, sizeof(buffer), &size);

        return result < 0 ? result : statedb_batch_put(batch, key.bytes, key.size, buffer, size);
}

int view_put_link(struct statedb_batch *batch, uint64_t id, uint64_t parent, const char *name)
{
        struct record_key key = record_key_link(id, parent, name, strlen(name));
        uint8_t buffer[RECORD_BLOB_EXTRA_BYTES];
        size_t size;
        int result = record_encode_blob(TABLE_LINK, NULL, 0, buffer, sizeof(buffer), &size);

        return result < 0 ? result : statedb_batch_put(batch, key.bytes, key.size, buffer, size);
}

int view_apply(struct view *view, struct statedb_batch *batch)
{
        return statedb_apply(view->context->db, batch, NULL);
}

int view_node(struct view *view, uint64_t id, struct node_record *ret_node)
{
        struct record_key key = record_key_node(id);
        uint8_t buffer[RECORD_VALUE_BYTES];
        size_t size;
        int result = get(view, &key, buffer, &size);

        return result < 0 ? result : decoded(view, record_decode_node(buffer, size, ret_node));
}

int view_name(struct view *view, uint64_t parent, const char *name, struct name_record *ret_name)
{
        struct name_record record;
        int result = view_get_name(view, parent, name, &record);

        if (result < 0)
                return result == -ENAMETOOLONG ? -ENOENT : result;
        if (record.flags & (VIEW_NAME_EXCLUDED | VIEW_NAME_WHITEOUT))
                return -ENOENT;
        *ret_name = record;
        return 0;
}

void view_first_name(const struct node_record *node, char name[static VIEW_NAME_MAX + 1])
{
        memcpy(name, node->name, node->name_size);
        name[node->name_size] = '\0';
}

int view_primary_name(struct view *view, const struct node_record *node, struct name_record *ret_name)
{
        char name[VIEW_NAME_MAX + 1];

        view_first_name(node, name);
        return view_get_name(view, node->parent, name, ret_name);
}

/* --- listing --- */

bool view_parse_name_key(const struct statedb_view *entry, uint64_t *ret_parent, char ret_name[static VIEW_NAME_MAX + 1])
{
        struct record_key_parts parts;

        if (record_key_parse(entry->key, entry->key_size, &parts) < 0 || parts.name_size > VIEW_NAME_MAX)
                return false;
        memcpy(ret_name, parts.name, parts.name_size);
        ret_name[parts.name_size] = '\0';
        *ret_parent = parts.parent;
        return true;
}

struct list_walk {
        bool (*visit)(void *context, const char *name, const struct name_record *record);
        void *context;
};

static bool list_entry(void *context, const struct statedb_view *entry)
{
        struct list_walk *walk = context;
        struct name_record record;
        char name[VIEW_NAME_MAX + 1];
        uint64_t parent;

        if (!view_parse_name_key(entry, &parent, name) || record_decode_name(entry->value, entry->value_size, &record) < 0) {
                log_error("a damaged name record is passed over");
                return true;
        }
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
        char name[VIEW_NAME_MAX + 1];
        uint64_t parent;

        if (!view_parse_name_key(entry, &parent, name))
                return true;
        walk->result = walk->visit(walk->context, parent, name);
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

        view_first_name(node, name);
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

        return result < 0 ? result : decoded(view, record_decode_inode(buffer, size, ret_inode));
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

/* --- changes --- */

/* Whether any of the node's names may have another place in the totals: a node may have very many. */
static bool categories_can_differ(const struct node_record *a, const struct node_record *b)
{
        return a->complete != b->complete || a->verified != b->verified || a->skipped != b->skipped || a->failed != b->failed ||
               ((a->flags ^ b->flags) & (VIEW_NODE_UNAVAILABLE | VIEW_NODE_UNPROVEN)) || a->mode != b->mode || a->size != b->size;
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
        if (view_get_name(view, parent, name, &record) < 0 || !view_name_is_counted(view, &record))
                return 0; /* not counted yet: it will be as it is then */
        view_account_name(view, reclassify->old_node, reclassify->node, parent, name, &record);
        return view_put_name(reclassify->batch, parent, name, &record);
}

/* Something was copied, or is new in the source: who looked at the source before has not seen it. */
void view_note_change(struct view *view)
{
        atomic_fetch_add(&view->context->changes, 1);
}

int view_reclassify_locked(struct view *view, struct statedb_batch *batch, uint64_t id, const struct node_record *old_node,
                           const struct node_record *node, uint64_t skip_parent, const char *skip_name)
{
        struct reclassify reclassify = { .view = view, .batch = batch, .old_node = old_node, .node = node,
                                         .skip_parent = skip_parent, .skip_name = skip_name };

        return id != VIEW_ROOT && categories_can_differ(old_node, node) ? view_each_name(view, id, node, reclassify_name, &reclassify) : 0;
}

int view_write_node_locked(struct view *view, struct statedb_batch *batch, uint64_t id, const struct node_record *old_node,
                           struct node_record *node, uint64_t skip_parent, const char *skip_name,
                           const struct view_counted *counted)
{
        int result = view_put_node(batch, id, node);

        if (result == 0)
                result = view_reclassify_locked(view, batch, id, old_node, node, skip_parent, skip_name);
        if (result == 0) {
                view_account_node(view, id, old_node, node, counted);
                result = view_apply(view, batch);
        }
        if (old_node->generation != node->generation)
                view_note_change(view);
        return result;
}

static int update(struct view *view, uint64_t id, bool (*change)(void *change_context, struct node_record *node),
                  void *change_context, const struct view_counted *counted)
{
        cleanup(statedb_batch_deinit) struct statedb_batch batch;
        struct node_record old_node, node;
        int result;

        statedb_batch_init(&batch);
        MUTEX_SCOPE(&view->lock);
        result = view_node(view, id, &node);
        if (result == 0) {
                old_node = node;
                if (change(change_context, &node))
                        return view_write_node_locked(view, &batch, id, &old_node, &node, 0, NULL, counted);
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
        return update(view, id, change, change_context, &(struct view_counted){ .slot = slot, .verified = counted });
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
        result = view_get_name(view, parent, name, &record);
        if (result == 0)
                result = view_node(view, record.id, &node);
        if (result < 0)
                return result;
        old_node = node;
        old_record = record;
        if (!change(change_context, &node, &record))
                return 0;
        if (record.published != old_record.published || record.flags != old_record.flags)
                view_note_change(view);
        if (view_name_is_counted(view, &record))
                view_account_name(view, &old_node, &node, parent, name, &record);
        result = view_put_name(&batch, parent, name, &record);
        if (result < 0)
                return result;
        return view_write_node_locked(view, &batch, record.id, &old_node, &node, parent, name, NULL);
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
        result = view_get_name(view, parent, name, &record);
        if (result == 0)
                result = view_node(view, record.id, &node);
        if (result < 0)
                return result;
        excluded = record.flags & VIEW_NAME_EXCLUDED;
        if (view_name_is_counted(view, &record) && (excluded || node.epoch == view->context->epoch))
                return 0;
        old_node = node;
        view_account_name(view, &old_node, &node, parent, name, &record);
        if (!excluded) { /* an excluded name owes nobody anything; another name of the node may */
                node.epoch = view->context->epoch;
                view_account_node(view, record.id, &old_node, &node, NULL);
        }
        result = view_put_name(&batch, parent, name, &record);
        if (result == 0)
                result = view_put_node(&batch, record.id, &node);
        return result < 0 ? result : view_apply(view, &batch);
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
        if (view_get_name(view, parent, name, &existing) == 0)
                return -EEXIST; /* another thread was faster */
        result = view_put_name(&batch, parent, name, name_record);
        if (result == 0 && node)
                result = view_put_node(&batch, name_record->id, node);
        if (result == 0 && !node) {
                result = view_node(view, name_record->id, &linked);
                linked.flags |= VIEW_NODE_LINKS;
                if (result == 0)
                        result = view_put_node(&batch, name_record->id, &linked);
                if (result == 0)
                        result = view_put_link(&batch, name_record->id, parent, name);
        }
        if (name_record->flags & VIEW_NAME_SOURCE)
                view_note_change(view);
        return result < 0 ? result : view_apply(view, &batch);
}
