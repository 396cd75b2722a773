/* An ordered map from byte keys to values or tombstones: what statedb holds in memory until LMDB has it.
 *
 * A treap: a search tree by key that is a heap by random priorities, hence O(log n) expected for every operation, with
 * neither rebalancing rules nor allocation inside: an entry is made beforehand, so that linking it in can not fail. An entry
 * is never taken out again, only replaced by a newer one with the same key; a deletion is an entry too (a tombstone), which
 * hides what lies below. The table of one commit is thrown away as a whole.
 *
 * It is not thread-safe: the owner's lock guards it. Nothing here blocks. Equal seeds and equal calls give equal tables.
 */
#ifndef CVV_CORE_MEMTABLE_H
#define CVV_CORE_MEMTABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct memtable_entry {
        struct memtable_entry *left;
        struct memtable_entry *right; /* outside a table: free for the owner's list */
        uint32_t priority;
        uint32_t value_size; /* 0 for a tombstone */
        uint16_t key_size;
        bool tombstone;
        uint8_t bytes[]; /* the key, then the value */
};

struct memtable {
        struct memtable_entry *root;
        size_t count; /* entries, tombstones included */
        size_t bytes; /* memory of all entries, as memtable_entry_bytes() */
        uint64_t random;
};

/* Makes `table` empty; `seed` starts the priorities. */
void memtable_init(struct memtable *table, uint64_t seed) __attribute__((nonnull));
/* Frees all entries and leaves an empty table. A zeroed table is allowed. */
void memtable_deinit(struct memtable *table) __attribute__((nonnull));

/* A new entry with copies of key and value, owned by the caller; `value` NULL makes a tombstone (then `value_size` is 0;
 * an empty value is any other pointer with size 0). NULL when memory is short, the key is longer than 64 KiB - 1 or the
 * value longer than 4 GiB - 1. */
struct memtable_entry *memtable_entry_new(const void *key, size_t key_size, const void *value, size_t value_size)
    __attribute__((nonnull(1), warn_unused_result));
void memtable_entry_free(struct memtable_entry *entry);

static inline const uint8_t *memtable_entry_value(const struct memtable_entry *entry)
{
        return entry->bytes + entry->key_size;
}

/* Memory that `entry` takes, with what the allocator needs for it. */
size_t memtable_entry_bytes(const struct memtable_entry *entry) __attribute__((nonnull));

/* Order of two keys as LMDB has it: bytewise, a prefix before what is longer. Below, at or above 0. */
int memtable_compare(const void *a, size_t a_size, const void *b, size_t b_size) __attribute__((nonnull));

/* Links `entry` in; the table owns it from now on. An older entry of the same key is freed. Can not fail. */
void memtable_insert(struct memtable *table, struct memtable_entry *entry) __attribute__((nonnull));

/* The entry of `key` (which may be a tombstone), or NULL. It lives until its key is inserted again. */
const struct memtable_entry *memtable_get(const struct memtable *table, const void *key, size_t key_size)
    __attribute__((nonnull));

/* The first entry whose key is greater than `key`, or, with `inclusive`, equal to it; NULL at the end. An empty key with
 * `inclusive` gives the first of all. */
const struct memtable_entry *memtable_next(const struct memtable *table, const void *key, size_t key_size, bool inclusive)
    __attribute__((nonnull));

#endif
