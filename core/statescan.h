/* The merge that statedb's ordered reads are made of: two memtables over LMDB, in pieces of bounded size.
 *
 * Step one copies the memtables' entries of a stretch of keys, tombstones included, into a run; it needs the memtables'
 * lock and does no I/O. Step two walks LMDB over the same stretch, lets the copied entries win, and drops what tombstones
 * hide; it needs a read transaction and no lock. A run owns copies only.
 */
#ifndef CVV_CORE_STATESCAN_H
#define CVV_CORE_STATESCAN_H

#include "core/memtable.h"

#include <lmdb.h>

struct run_entry {
        uint32_t offset; /* of the key in the run's bytes; the value follows */
        uint32_t value_size;
        uint16_t key_size;
        bool tombstone;
};

struct run {
        struct run_entry *entries;
        uint8_t *bytes;
        size_t entry_capacity, byte_capacity;
        size_t count, used;
        bool complete; /* nothing of the range lies behind the last entry */
};

/* Where a piece begins: the first key greater than `key` (or equal, with `inclusive`) that starts with `prefix`. */
struct run_range {
        const uint8_t *prefix; /* borrowed */
        size_t prefix_size;
        uint8_t key[511];
        size_t key_size;
        bool inclusive;
};

/* Room for `entries` entries with `bytes` bytes, which must suffice for the longest key and value. 0 or -ENOMEM. */
int run_init(struct run *run, size_t entries, size_t bytes) __attribute__((nonnull, warn_unused_result));
void run_deinit(struct run *run) __attribute__((nonnull));

/* Moves the start behind `key`, which is at most 511 bytes long. */
void run_range_advance(struct run_range *range, const void *key, size_t key_size) __attribute__((nonnull));

static inline const uint8_t *run_key(const struct run *run, size_t i)
{
        return run->bytes + run->entries[i].offset;
}

static inline const uint8_t *run_value(const struct run *run, size_t i)
{
        return run_key(run, i) + run->entries[i].key_size;
}

/* Step one: fills `ret_run` from its start with the entries of `range`, `newer` hiding `older`, until it is full or
 * complete. */
void run_gather(const struct memtable *newer, const struct memtable *older, const struct run_range *range,
                struct run *ret_run) __attribute__((nonnull));

/* Step two: fills `ret_run` from its start with the live entries of `range` and advances `range` behind what was looked at;
 * `ret_run->complete` says that the range is at its end. A piece may have no entry and yet not be complete. 0 or -errno. */
int run_merge(MDB_txn *txn, MDB_dbi dbi, const struct run *gathered, struct run_range *range, struct run *ret_run)
    __attribute__((nonnull, warn_unused_result));

#endif
