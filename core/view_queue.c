/* The queue of what is brought unasked. See view.h. */
#include "core/view.h"

#include <errno.h>

static bool change_queued(void *context, struct node_record *node)
{
        bool queued = *(const bool *)context;

        if (queued == !!(node->flags & VIEW_NODE_QUEUED))
                return false;
        node->flags ^= VIEW_NODE_QUEUED;
        return true;
}

int view_queue(struct view *view, uint64_t id, uint8_t priority)
{
        struct queue_record record = { .sequence = 0 };
        struct record_key key = record_key_queue(priority, id);
        uint8_t buffer[RECORD_VALUE_BYTES];
        bool queued = true;
        size_t size;
        int result = record_encode_queue(&record, buffer, sizeof(buffer), &size);

        if (result == 0)
                result = statedb_put(view_context(view)->db, key.bytes, key.size, buffer, size);
        if (result == 0)
                result = view_update(view, id, change_queued, &queued);
        return result;
}

int view_unqueue(struct view *view, uint64_t id)
{
        bool queued = false;

        for (uint8_t priority = VIEW_QUEUE_ASKED; priority <= VIEW_QUEUE_FILL; priority++) {
                struct record_key key = record_key_queue(priority, id);
                int result = statedb_delete(view_context(view)->db, key.bytes, key.size);

                if (result < 0)
                        return result;
        }
        return view_update(view, id, change_queued, &queued);
}

int view_next_queued(struct view *view, uint8_t *priority, uint64_t *id)
{
        struct record_key prefix = record_prefix_table(TABLE_QUEUE);
        struct record_key after = { .size = 0 };
        struct statedb_entry entry = { .value = NULL };
        struct record_key_parts parts;
        int result;

        if (*priority != 0)
                after = record_key_queue(*priority, *id);
        result = statedb_next(view_context(view)->db, after.bytes, after.size, prefix.bytes, prefix.size, &entry);
        if (result == 0)
                result = record_key_parse(entry.key, entry.key_size, &parts);
        statedb_entry_deinit(&entry);
        if (result < 0)
                return result;
        *priority = parts.priority;
        *id = parts.id;
        return 0;
}
