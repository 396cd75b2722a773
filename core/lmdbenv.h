/* One LMDB environment as statedb uses it: the only process, one unnamed database, one writer, pooled read transactions.
 *
 * The map is as large as the address space allows, up to what is asked for, because a map that never grows never has to wait
 * for readers. Where it does have to grow, or where LMDB refuses to go on after a failed write of its meta page (MDB_PANIC,
 * also for readers), the environment is closed and opened anew while readers wait outside; they hold a transaction only for
 * moments. Commits are fully synced: no flag that trades durability for speed is set.
 *
 * LMDB never overwrites pages of the last two states: what a failed commit wrote belongs to no state, the next try writes
 * all of it again, and so a page that a failed sync lost is never relied on.
 *
 * The lock file is made anew at each opening, under an exclusive lock of an own file, `owner.lock`: LMDB tells a reader that
 * died by its process id only, and in a container that is the same at each start. Its blocks are allocated beforehand, so
 * that a full filesystem is an error and not a SIGBUS.
 *
 * The one inner mutex is never held together with another lock, nor over I/O.
 */
#ifndef CVV_CORE_LMDBENV_H
#define CVV_CORE_LMDBENV_H

#include "core/error.h"
#include "core/memtable.h"

#include <lmdb.h>

enum {
        LMDBENV_KEY_BYTES = 511,     /* longest key */
        LMDBENV_VALUE_BYTES = 65536, /* longest value */
};

struct lmdbenv;

/* -errno of an LMDB result: -ENOSPC for a full map, -EBADMSG for a damaged or foreign file, -EPROTONOSUPPORT for a file of
 * another LMDB version, -EIO after a panic, 0 for success. */
int lmdbenv_errno(int result);

/* Opens, or makes, the environment in the directory `path`. `map_bytes` is the map that is tried first; each time that it
 * does not fit into the address space it is halved. When the map is full it is doubled up to `limit_bytes`. Blocks on I/O.
 * Errors: -EBUSY when another process has it open, those of lmdbenv_errno, and of the filesystem. */
int lmdbenv_open(const char *path, size_t map_bytes, size_t limit_bytes, struct error *error, struct lmdbenv **ret_env)
    __attribute__((nonnull(1, 5), warn_unused_result));
/* No transaction may be out. NULL is allowed. */
void lmdbenv_close(struct lmdbenv *env);

/* Lends a read transaction with the newest committed state as its snapshot; give it back soon with lmdbenv_read_end, with
 * all its cursors closed. Waits while all transactions are out or the environment is reopened. A thread takes one at a time.
 * 0 or -errno. Any thread. */
int lmdbenv_read_begin(struct lmdbenv *env, MDB_txn **ret_txn) __attribute__((nonnull, warn_unused_result));
void lmdbenv_read_end(struct lmdbenv *env, MDB_txn *txn) __attribute__((nonnull));

/* The database handle; the same for the whole life. */
MDB_dbi lmdbenv_dbi(const struct lmdbenv *env) __attribute__((nonnull));

/* Puts and deletes what `table` says in one transaction and commits it durably, all of it or nothing; a failure leaves
 * open which of the two (the last write, of the meta page, may have failed), so the caller repeats it. Grows or reopens the
 * environment where that helps. Blocks on I/O. One thread at a time. 0 or -errno. */
int lmdbenv_commit(struct lmdbenv *env, const struct memtable *table) __attribute__((nonnull, warn_unused_result));

#endif
