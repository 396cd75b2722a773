#include "core/statebatch.h"

#include <errno.h>

void statedb_batch_init(struct statedb_batch *batch)
{
        *batch = (struct statedb_batch){ 0 };
}

void statedb_batch_deinit(struct statedb_batch *batch)
{
        while (batch->first) {
                struct memtable_entry *entry = batch->first;

                batch->first = entry->right;
                memtable_entry_free(entry);
        }
        *batch = (struct statedb_batch){ 0 };
}

static int batch_add(struct statedb_batch *batch, const void *key, size_t key_size, const void *value, size_t value_size)
{
        bool fits = key_size > 0 && key_size <= STATEDB_KEY_BYTES && value_size <= STATEDB_VALUE_BYTES;
        struct memtable_entry *entry = fits ? memtable_entry_new(key, key_size, value, value_size) : NULL;

        if (!entry) {
                int result = fits ? -ENOMEM : -EINVAL;

                batch->error = batch->error ? batch->error : result;
                return result;
        }
        if (batch->last)
                batch->last->right = entry;
        else
                batch->first = entry;
        batch->last = entry;
        batch->bytes += memtable_entry_bytes(entry);
        return 0;
}

int statedb_batch_put(struct statedb_batch *batch, const void *key, size_t key_size, const void *value, size_t value_size)
{
        return batch_add(batch, key, key_size, value_size == 0 ? "" : value, value_size);
}

int statedb_batch_delete(struct statedb_batch *batch, const void *key, size_t key_size)
{
        return batch_add(batch, key, key_size, NULL, 0);
}
