/* Names that go: forgotten ones, and those that the source has no more. See view.h. */
#include "core/view_internal.h"

#include <errno.h>
#include <string.h>

#include "core/cleanup.h"

struct first_link {
        uint64_t parent;
        char name[VIEW_NAME_MAX + 1];
        bool found;
};

static bool first_link_entry(void *context, const struct statedb_view *entry)
{
        struct first_link *first = context;

        first->found = view_parse_name_key(entry, &first->parent, first->name);
        return !first->found;
}

/* The first name of the node is another one now. */
static int account_promoted(struct view *view, struct statedb_batch *batch, const struct node_record *old_node,
                            const struct node_record *node, const struct first_link *first)
{
        struct name_record record;

        if (view_get_name(view, first->parent, first->name, &record) < 0 || !view_name_is_counted(view, &record))
                return 0;
        view_account_name(view, old_node, node, first->parent, first->name, &record);
        return view_put_name(batch, first->parent, first->name, &record);
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
        return view_put_node(batch, id, node);
}

static int forget_name_locked(struct view *view, struct statedb_batch *batch, uint64_t parent, const char *name,
                              const struct name_record *record, struct node_record *node)
{
        struct record_key key = record_key_name(parent, name, strlen(name));
        int result = statedb_batch_delete(batch, key.bytes, key.size);

        view_uncount_name(view, node, parent, name, record);
        if (result == 0)
                result = unlink_locked(view, batch, record->id, node, parent, name);
        return result < 0 ? result : view_apply(view, batch);
}

int view_remove(struct view *view, uint64_t parent, const char *name)
{
        cleanup(statedb_batch_deinit) struct statedb_batch batch;
        struct name_record record;
        struct node_record node;
        int result;

        statedb_batch_init(&batch);
        MUTEX_SCOPE(&view->lock);
        result = view_get_name(view, parent, name, &record);
        if (result == 0)
                result = view_node(view, record.id, &node);
        if (result < 0)
                return result;
        if (view_name_is_counted(view, &record) && (record.flags & VIEW_NAME_SOURCE))
                return 0; /* it stands in the totals of this mount */
        return forget_name_locked(view, &batch, parent, name, &record, &node);
}

/* --- names that the source has no more --- */

/* Whether the source has the node under that name, as far as is recorded, and the view too. */
static bool is_live(struct view *view, uint64_t parent, const char *name)
{
        struct name_record record;

        return view_get_name(view, parent, name, &record) == 0 && (record.flags & VIEW_NAME_SOURCE) &&
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
        char name[VIEW_NAME_MAX + 1];
        uint64_t parent;

        if (!view_parse_name_key(entry, &parent, name) || (parent == walk->skip_parent && strcmp(name, walk->skip_name) == 0))
                return true;
        walk->found = is_live(walk->view, parent, name);
        if (walk->found) {
                walk->parent = parent;
                memcpy(walk->name, name, strlen(name) + 1);
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

        view_first_name(node, walk->name);
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

        view_first_name(node, first);
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
        result = view_get_name(view, parent, name, &record);
        if (result == 0)
                result = view_node(view, record.id, &node);
        if (result < 0 || !(record.flags & VIEW_NAME_SOURCE) || (record.flags & VIEW_NAME_WHITEOUT))
                return result;
        result = find_other_live(view, record.id, &node, &walk);
        if (result < 0)
                return result;
        counted = view_name_is_counted(view, &record);
        done = all != 0 && (view_finished(&node, &record) & all) == all;
        if ((record.flags & VIEW_NAME_EXCLUDED) ||
            (!counted && record.published == 0 && (walk.found || (node.complete | node.partial) == 0)))
                return forget_name_locked(view, &batch, parent, name, &record, &node);
        if ((record.flags & VIEW_NAME_VANISHED) && (counted || done) && !(node.flags & VIEW_NODE_MISSING) == walk.found)
                return 0; /* known */
        old_node = node;
        view_note_change(view);
        record.flags |= VIEW_NAME_VANISHED;
        node.flags = walk.found ? node.flags & ~(uint32_t)VIEW_NODE_MISSING : node.flags | VIEW_NODE_MISSING;
        if (counted || !done) {
                view_account_name(view, &old_node, &node, parent, name, &record);
                node.epoch = view->context->epoch;
        }
        result = view_put_name(&batch, parent, name, &record);
        return result < 0 ? result : view_write_node_locked(view, &batch, record.id, &old_node, &node, parent, name, NULL);
}
