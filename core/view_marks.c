/* The marks of chunks, and all that is recorded of a slot. See view.h. */
#include "core/view_internal.h"

#include <errno.h>
#include <stdlib.h>

#include "core/cleanup.h"

int view_apply_marks(struct view *view, uint64_t id, unsigned slot, view_fill_marks *fill, void *fill_context)
{
        struct progress *progress = &view->context->progress;
        cleanup(statedb_batch_deinit) struct statedb_batch batch;
        struct node_record old_node, node;
        int64_t present_delta = 0, verified_delta = 0;
        bool changed = false, owed;
        int result;

        statedb_batch_init(&batch);
        MUTEX_SCOPE(&view->lock);
        result = view_node(view, id, &node);
        if (result == 0) {
                old_node = node;
                verified_delta = -view_verified_bytes(&node, slot);
                result = fill(fill_context, &node, &changed, &batch, &present_delta);
        }
        if (result != 0)
                return result;
        if (changed)
                result = view_put_node(&batch, id, &node);
        if (result == 0 && changed)
                result = view_reclassify_locked(view, &batch, id, &old_node, &node, 0, NULL);
        if (result == 0)
                result = view_apply(view, &batch);
        if (result == 0 && changed && node.epoch == view->context->epoch)
                view_account_exempt(view, &old_node, &node);
        verified_delta += view_verified_bytes(&node, slot);
        if (present_delta != 0)
                view_note_change(view);
        if (result < 0 || (present_delta == 0 && verified_delta == 0) || node.epoch != view->context->epoch)
                return result;
        owed = view_is_owed(&node, slot);
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
