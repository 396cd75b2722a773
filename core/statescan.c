#include "core/statescan.h"

#include "core/lmdbenv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int run_init(struct run *run, size_t entries, size_t bytes)
{
        *run = (struct run){ .entry_capacity = entries, .byte_capacity = bytes };
        run->entries = calloc(entries, sizeof(*run->entries));
        run->bytes = malloc(bytes);
        if (!run->entries || !run->bytes) {
                run_deinit(run);
                return -ENOMEM;
        }
        return 0;
}

void run_deinit(struct run *run)
{
        free(run->entries);
        free(run->bytes);
        *run = (struct run){ 0 };
}

void run_range_advance(struct run_range *range, const void *key, size_t key_size)
{
        memmove(range->key, key, key_size);
        range->key_size = key_size;
        range->inclusive = false;
}

static void run_clear(struct run *run)
{
        run->count = 0;
        run->used = 0;
        run->complete = false;
}

static bool run_has_room(const struct run *run, size_t size)
{
        return run->count < run->entry_capacity && size <= run->byte_capacity - run->used;
}

static void run_append(struct run *run, const void *key, size_t key_size, const void *value, size_t value_size,
                       bool tombstone)
{
        run->entries[run->count++] = (struct run_entry){
                .offset = (uint32_t)run->used,
                .key_size = (uint16_t)key_size,
                .value_size = (uint32_t)value_size,
                .tombstone = tombstone,
        };
        memcpy(run->bytes + run->used, key, key_size);
        if (value_size > 0)
                memcpy(run->bytes + run->used + key_size, value, value_size);
        run->used += key_size + value_size;
}

static bool has_prefix(const struct run_range *range, const void *key, size_t key_size)
{
        return key_size >= range->prefix_size &&
               (range->prefix_size == 0 || memcmp(key, range->prefix, range->prefix_size) == 0);
}

static const struct memtable_entry *next_in_range(const struct memtable *table, const struct run_range *range,
                                                  const void *key, size_t key_size, bool inclusive)
{
        const struct memtable_entry *entry = memtable_next(table, key, key_size, inclusive);

        return entry && has_prefix(range, entry->bytes, entry->key_size) ? entry : NULL;
}

void run_gather(const struct memtable *newer, const struct memtable *older, const struct run_range *range,
                struct run *ret_run)
{
        const struct memtable_entry *a = next_in_range(newer, range, range->key, range->key_size, range->inclusive);
        const struct memtable_entry *b = next_in_range(older, range, range->key, range->key_size, range->inclusive);

        run_clear(ret_run);
        while (a || b) {
                int order = !a ? 1 : !b ? -1 : memtable_compare(a->bytes, a->key_size, b->bytes, b->key_size);
                const struct memtable_entry *entry = order <= 0 ? a : b;

                if (!run_has_room(ret_run, (size_t)entry->key_size + entry->value_size))
                        return;
                run_append(ret_run, entry->bytes, entry->key_size, memtable_entry_value(entry), entry->value_size,
                           entry->tombstone);
                if (order <= 0)
                        a = next_in_range(newer, range, a->bytes, a->key_size, false);
                if (order >= 0)
                        b = next_in_range(older, range, b->bytes, b->key_size, false);
        }
        ret_run->complete = true;
}

/* LMDB's side of the merge. */
struct disk {
        MDB_cursor *cursor;
        MDB_val key, value;
        bool at_end;
};

static int disk_step(struct disk *disk, const struct run_range *range, MDB_cursor_op operation)
{
        int result = mdb_cursor_get(disk->cursor, &disk->key, &disk->value, operation);

        disk->at_end = result == MDB_NOTFOUND || (result == 0 && !has_prefix(range, disk->key.mv_data, disk->key.mv_size));
        if (result == 0 && (disk->key.mv_size > LMDBENV_KEY_BYTES || disk->value.mv_size > LMDBENV_VALUE_BYTES))
                return -EBADMSG; /* never put: a damaged page */
        return result == MDB_NOTFOUND ? 0 : lmdbenv_errno(result);
}

static int disk_start(struct disk *disk, const struct run_range *range)
{
        int result;

        if (range->key_size == 0)
                return disk_step(disk, range, MDB_FIRST);
        disk->key = (MDB_val){ .mv_size = range->key_size, .mv_data = (void *)(uintptr_t)range->key };
        result = disk_step(disk, range, MDB_SET_RANGE);
        if (result == 0 && !disk->at_end && !range->inclusive &&
            memtable_compare(disk->key.mv_data, disk->key.mv_size, range->key, range->key_size) == 0)
                result = disk_step(disk, range, MDB_NEXT);
        return result;
}

/* Takes the smaller of both sides' next keys until one is at the end of what is known. */
static int merge(struct disk *disk, const struct run *gathered, struct run_range *range, struct run *out)
{
        const uint8_t *last = NULL;
        size_t last_size = 0, i = 0;
        int result = 0;

        for (;;) {
                const struct run_entry *entry = i < gathered->count ? &gathered->entries[i] : NULL;
                int order;

                if (!entry && (disk->at_end || !gathered->complete)) {
                        out->complete = gathered->complete;
                        break;
                }
                order = !entry ? 1 : disk->at_end ? -1 : memtable_compare(run_key(gathered, i), entry->key_size,
                                                                          disk->key.mv_data, disk->key.mv_size);
                if (order > 0) {
                        if (!run_has_room(out, disk->key.mv_size + disk->value.mv_size))
                                break;
                        run_append(out, disk->key.mv_data, disk->key.mv_size, disk->value.mv_data, disk->value.mv_size,
                                   false);
                        last = disk->key.mv_data;
                        last_size = disk->key.mv_size;
                } else {
                        if (!entry->tombstone && !run_has_room(out, (size_t)entry->key_size + entry->value_size))
                                break;
                        if (!entry->tombstone)
                                run_append(out, run_key(gathered, i), entry->key_size, run_value(gathered, i),
                                           entry->value_size, false);
                        last = run_key(gathered, i++);
                        last_size = entry->key_size;
                }
                if (order >= 0)
                        result = disk_step(disk, range, MDB_NEXT);
                if (result < 0)
                        return result;
        }
        if (last)
                run_range_advance(range, last, last_size);
        return 0;
}

int run_merge(MDB_txn *txn, MDB_dbi dbi, const struct run *gathered, struct run_range *range, struct run *ret_run)
{
        struct disk disk = { 0 };
        int result = lmdbenv_errno(mdb_cursor_open(txn, dbi, &disk.cursor));

        if (result < 0)
                return result;
        run_clear(ret_run);
        result = disk_start(&disk, range);
        if (result == 0)
                result = merge(&disk, gathered, range, ret_run);
        mdb_cursor_close(disk.cursor);
        return result;
}
