/* The state: an LMDB environment under a write-behind table in memory, so that nobody waits for a commit who did not ask to.
 *
 * A batch of changes is applied to an ordered table in memory, at once and atomically; every reader sees it from then on.
 * One writer thread ("cvv-state") carries the changes to LMDB: each interval, when much has gathered, or when asked. To
 * commit it freezes the table, opens a new one for what comes in meanwhile, and writes the frozen one in one transaction.
 * Reads look into the new table, the frozen one, and LMDB, in that order; a tombstone ends the search.
 *
 * Crash consistency: what LMDB holds is always a prefix of the applied batches. Batches are numbered in the order in which
 * they were applied. The frozen table is exactly the batches that were applied after the last commit and up to a number
 * (`frozen_seq`), because it takes the place of the whole active table under the lock under which batches are applied; so no
 * batch is divided. It goes into LMDB by one transaction, which is durable as a whole or not at all. A frozen table whose
 * commit failed stays as it is, below the active one, and is the next to be tried; newer batches wait behind it. Repeating
 * a commit that did reach the disk after all changes nothing, as entries are final values and not steps.
 *
 * Keys are a table byte and up to 510 more, in bytewise order; values are up to 64 KiB. What they mean is core/record.h's
 * business; here only the format's number is known. Anonymous memory: both tables (limit_bytes), and, while a commit lasts,
 * the pages that it dirties.
 *
 * Locks: one mutex ("statedb" in sync.h) guards both tables; no I/O and no commit happens while it is held. All functions
 * may be called from any thread but for open, close and check; callbacks run without a lock.
 */
#ifndef CVV_CORE_STATEDB_H
#define CVV_CORE_STATEDB_H

#include "core/error.h"
#include "core/statebatch.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The format of all records: to be raised when an older cvv must not touch the state. */
enum { STATEDB_FORMAT = 1 };

/* The condition that statedb_check returns: the environment can not be used. */
enum { STATEDB_DAMAGED = 1 };

struct statedb;

struct statedb_options {
        size_t map_bytes;         /* first map, halved until it fits the address space; 0: 1 TiB, sparse */
        size_t map_limit_bytes;   /* a full map grows up to this; 0: 1 TiB */
        size_t commit_bytes;      /* changes in memory that start a commit; 0: 8 MiB */
        size_t throttle_bytes;    /* changes in memory above which statedb_throttle waits; 0: 32 MiB */
        size_t limit_bytes;       /* changes in memory above which statedb_apply fails; 0: 256 MiB */
        uint64_t interval_ms;     /* the longest that a change waits for its commit; 0: 2000 */
        uint64_t retry_ms;        /* pause after a failed commit, doubled up to 50 times this; 0: 100 */
};

/* Opens the state in the directory `path`, which exists, or makes it there. `options` NULL: defaults. Blocks on I/O; starts
 * the writer thread. Errors, each with its sentence: -EBUSY (another process has it), -EPROTONOSUPPORT (made by a newer
 * version), -EBADMSG (not a state, or damaged), those of the filesystem. */
int statedb_open(const char *path, const struct statedb_options *options, struct error *error, struct statedb **ret_db)
    __attribute__((nonnull(1, 4), warn_unused_result));

/* Commits what is left (one try), ends the writer and frees `db`; nobody else may use it any more. The result of the commit:
 * with a failure the changes since the last good one are lost. NULL is allowed. */
int statedb_close(struct statedb *db);

/* 0 when a record is intact, else a negative errno: record_validate of core/record.h, for one. */
typedef int statedb_validate(const void *key, size_t key_size, const void *value, size_t value_size);

/* Walks the whole environment in a child process, so that damage that LMDB does not survive ends the child only: the tree,
 * the list of free pages, and `validate` (which may be NULL) for each record. For a state that was not closed well, before
 * it is opened and before any thread is started. Changes nothing. Blocks as long as reading it all takes.
 * 0; STATEDB_DAMAGED; -EPROTONOSUPPORT for a newer format; -ENOENT where there is no state; -EINTR when the child was
 * killed from outside (says nothing about the state); other errors when it could not be tried. */
int statedb_check(const char *path, statedb_validate *validate) __attribute__((nonnull(1), warn_unused_result));

/* ---- reading ---- */

/* Copies the value of `key` to `ret_value` (room for `capacity` bytes) and its length to `ret_size`. May block on reading
 * LMDB's pages, never on a commit. 0, -ENOENT, -ERANGE when the room is too small, or an error of LMDB. */
int statedb_get(struct statedb *db, const void *key, size_t key_size, void *ret_value, size_t capacity, size_t *ret_size)
    __attribute__((nonnull(1, 2, 6), warn_unused_result));

/* An entry that statedb_next fills; zero it at first, then use it again and again. */
struct statedb_entry {
        uint8_t key[STATEDB_KEY_BYTES];
        size_t key_size;
        uint8_t *value; /* owned */
        size_t value_size;
        size_t value_capacity;
};

/* Frees the value and zeroes the entry. Idempotent. */
void statedb_entry_deinit(struct statedb_entry *entry) __attribute__((nonnull));

/* The entry with the smallest key that is greater than `after` and starts with `prefix`; with `after_size` 0 the first one
 * that starts with `prefix` (a key equal to it included). `after` may lie in `ret_entry`. 0, -ENOENT at the end, -EINVAL,
 * -ENOMEM or an error of LMDB. Blocks as statedb_get. For more than a few entries statedb_scan is faster. */
int statedb_next(struct statedb *db, const void *after, size_t after_size, const void *prefix, size_t prefix_size,
                 struct statedb_entry *ret_entry) __attribute__((nonnull(1, 6), warn_unused_result));

/* An entry as a scan shows it: copies, valid during the call. */
struct statedb_view {
        const uint8_t *key;
        const uint8_t *value;
        size_t key_size;
        size_t value_size;
};

/* Whether to go on. */
typedef bool statedb_scan_function(void *context, const struct statedb_view *entry);

/* Calls `function` for up to `max_entries` entries in the order of statedb_next. It reads pieces of some hundred entries,
 * each with its own read transaction and each a consistent state of all applied batches, and hands out copies: the
 * function is called without a lock or a transaction and may call anything here but statedb_close. A key that lives during
 * the whole scan is shown exactly once. Returns the number of entries shown (less than `max_entries` at the end of the
 * prefix or when the function said so), or -errno. Blocks as statedb_get. */
int64_t statedb_scan(struct statedb *db, const void *after, size_t after_size, const void *prefix, size_t prefix_size,
                     uint64_t max_entries, statedb_scan_function *function, void *context)
    __attribute__((nonnull(1, 7), warn_unused_result));

/* ---- writing ---- */

/* Applies all changes at once, in memory, and empties the batch. Never does I/O, never waits for a commit. 0, with the
 * batch's number (an empty batch gets the last one's) in `ret_seq`, which may be NULL; the batch's own error; or -ENOSPC when commits do not get on and memory is at
 * its limit. On failure nothing is applied and the batch stays as it is. */
int statedb_apply(struct statedb *db, struct statedb_batch *batch, uint64_t *ret_seq)
    __attribute__((nonnull(1, 2), warn_unused_result));

/* A batch of one change. */
int statedb_put(struct statedb *db, const void *key, size_t key_size, const void *value, size_t value_size)
    __attribute__((nonnull(1, 2), warn_unused_result));
int statedb_delete(struct statedb *db, const void *key, size_t key_size) __attribute__((nonnull, warn_unused_result));

/* Number of the last applied batch; 0 before the first. */
uint64_t statedb_applied_seq(struct statedb *db) __attribute__((nonnull));
/* All batches up to this number are durable. */
uint64_t statedb_durable_seq(struct statedb *db) __attribute__((nonnull));

/* ---- commits ---- */

/* Has the writer commit all that is applied by now, at once (also while it pauses after a failure). Does not wait. Returns
 * the number of the last batch that this is about. */
uint64_t statedb_request_commit(struct statedb *db) __attribute__((nonnull));

/* Waits until all batches up to `seq` are durable, asking for the commit where nobody did. 0; -ETIMEDOUT at `deadline_ns` of
 * clock_now_ns(); or the error of a commit that failed meanwhile, unless its retry was quicker than the
 * caller (retries go on in any case); -EINVAL for a number that
 * was not given out. Not from the commit callback. */
int statedb_wait(struct statedb *db, uint64_t seq, uint64_t deadline_ns) __attribute__((nonnull, warn_unused_result));

/* Called on the writer thread, without a lock, after each try to commit: `durable_seq` as above, `result` 0 or -errno. Set it
 * once, before the first batch. It must not wait for a commit, throttle or close. */
typedef void statedb_commit_function(void *context, uint64_t durable_seq, int result);
void statedb_on_commit(struct statedb *db, statedb_commit_function *function, void *context) __attribute__((nonnull(1)));

/* 0, or the error of the last commit. */
int statedb_health(struct statedb *db) __attribute__((nonnull));

/* For whoever makes changes faster than a disk takes them: waits while much waits in memory (throttle_bytes) and commits
 * work, for a second at most, so that the caller can look at whether it is to end. 0: go on; -ETIMEDOUT: it is still too
 * much, call again; or the error of statedb_health. Not from the commit callback. */
int statedb_throttle(struct statedb *db) __attribute__((nonnull));

#endif
