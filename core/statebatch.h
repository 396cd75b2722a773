/* A batch: changes of the state that are to be applied together (statedb_apply), gathered without any lock.
 *
 * All memory that applying needs is allocated here, so that applying can not fail half way. One thread at a time.
 */
#ifndef CVV_CORE_STATEBATCH_H
#define CVV_CORE_STATEBATCH_H

#include "core/memtable.h"

#include <stddef.h>

enum {
        STATEDB_KEY_BYTES = 511, /* LMDB's limit */
        STATEDB_VALUE_BYTES = 65536,
};

struct statedb_batch {
        struct memtable_entry *first, *last; /* owned, in the order of the calls */
        size_t bytes;
        int error; /* the first failure of put or delete */
};

void statedb_batch_init(struct statedb_batch *batch) __attribute__((nonnull));
/* Frees what was not applied. Idempotent. */
void statedb_batch_deinit(struct statedb_batch *batch) __attribute__((nonnull));
/* Adds a change; of several for one key the last counts. 0, -EINVAL for sizes out of range, -ENOMEM. The result need not be
 * looked at: the batch keeps the first failure, and statedb_apply then refuses it as a whole. */
int statedb_batch_put(struct statedb_batch *batch, const void *key, size_t key_size, const void *value, size_t value_size)
    __attribute__((nonnull(1, 2)));
/* Likewise; a key that does not exist is no error. */
int statedb_batch_delete(struct statedb_batch *batch, const void *key, size_t key_size) __attribute__((nonnull));

#endif
