#include "core/statedb.h"

#include "core/cleanup.h"
#include "core/lmdbenv.h"
#include "core/record.h"
#include "core/statescan.h"
#include "core/sync.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const size_t MAP_BYTES = sizeof(size_t) > 4 ? (size_t)1 << 40 : (size_t)1 << 30;
static const uint64_t NS_PER_MS = 1000000;
static const uint64_t NEVER = UINT64_MAX;

enum {
        BACKOFF_STEPS = 50,
        THROTTLE_MS = 1000,
        SCAN_ENTRIES = 512,
        SCAN_BYTES = 256 * 1024,
        NEXT_ENTRIES = 16,
        ENTRY_BYTES = STATEDB_KEY_BYTES + STATEDB_VALUE_BYTES,
};
_Static_assert((int)STATEDB_KEY_BYTES == (int)LMDBENV_KEY_BYTES, "one limit");
_Static_assert((int)STATEDB_VALUE_BYTES == (int)LMDBENV_VALUE_BYTES, "one limit");
_Static_assert(sizeof(((struct run_range *)0)->key) == STATEDB_KEY_BYTES, "one limit");

struct statedb {
        struct lmdbenv *env;
        struct statedb_options options;
        pthread_t writer;

        struct mutex mutex;        /* guards all that follows; the frozen table is not changed while it is being committed */
        struct condition work;     /* for the writer */
        struct condition progress; /* a try to commit has ended */
        struct memtable active;    /* batches from frozen_seq + 1 to applied_seq */
        struct memtable frozen;    /* batches from durable_seq + 1 to frozen_seq; empty when these are the same */
        uint64_t applied_seq, frozen_seq, durable_seq;
        uint64_t requested_seq; /* to be committed without delay */
        uint64_t dirty_ns;      /* when the first batch of the active table came */
        uint64_t failed_ns;     /* when the last try failed */
        uint64_t pause_ms;      /* from then to the next */
        uint64_t failures;      /* tries that failed */
        bool retry_now;         /* someone asked during the pause */
        bool quit;
        int health;     /* result of the last try */
        int last_error; /* of the last try that failed */
        statedb_commit_function *on_commit;
        void *on_commit_context;
};

/* ---- the writer ---- */

/* When the next try to commit is due; NEVER while there is nothing to do. */
static uint64_t due_locked(const struct statedb *db)
{
        if (db->durable_seq == db->applied_seq)
                return NEVER;
        if (db->quit)
                return 0;
        if (db->health != 0)
                return db->failed_ns + NS_PER_MS * (db->retry_now ? db->options.retry_ms : db->pause_ms);
        if (db->requested_seq > db->durable_seq || db->active.bytes >= db->options.commit_bytes)
                return 0;
        return db->dirty_ns + NS_PER_MS * db->options.interval_ms;
}

static void freeze_locked(struct statedb *db)
{
        if (db->frozen_seq > db->durable_seq)
                return; /* the last try failed: the same again */
        db->frozen = db->active;
        db->frozen_seq = db->applied_seq;
        memtable_init(&db->active, db->frozen.random);
}

/* Books the result of a try; the table that is to be freed, without the lock, goes to `ret_done`. */
static void settle_locked(struct statedb *db, int result, struct memtable *ret_done)
{
        if (result == 0) {
                *ret_done = db->frozen;
                memtable_init(&db->frozen, 0);
                db->durable_seq = db->frozen_seq;
                db->pause_ms = 0;
        } else {
                uint64_t longest = db->options.retry_ms * BACKOFF_STEPS;

                db->pause_ms = db->pause_ms == 0 ? db->options.retry_ms : db->pause_ms * 2;
                if (db->pause_ms > longest)
                        db->pause_ms = longest;
                db->failed_ns = clock_now_ns();
                db->failures++;
                db->last_error = result;
        }
        db->health = result;
        condition_broadcast(&db->progress);
}

/* One try; the caller holds the lock, which is let go meanwhile. */
static int commit_unlocking(struct statedb *db)
{
        struct memtable done = { 0 };
        statedb_commit_function *function;
        uint64_t durable_seq;
        void *context;
        int result;

        freeze_locked(db);
        db->retry_now = false;
        mutex_unlock(&db->mutex);
        result = lmdbenv_commit(db->env, &db->frozen);
        mutex_lock(&db->mutex);
        settle_locked(db, result, &done);
        function = db->on_commit;
        context = db->on_commit_context;
        durable_seq = db->durable_seq;
        mutex_unlock(&db->mutex);
        memtable_deinit(&done);
        if (function)
                function(context, durable_seq, result);
        mutex_lock(&db->mutex);
        return result;
}

static void *writer_main(void *argument)
{
        struct statedb *db = argument;

        MUTEX_SCOPE(&db->mutex);
        for (;;) {
                uint64_t due = due_locked(db);

                if (due == NEVER && db->quit)
                        return NULL;
                if (due == NEVER)
                        condition_wait(&db->work, &db->mutex);
                else if (due > clock_now_ns())
                        (void)condition_wait_until(&db->work, &db->mutex, due); /* looks at everything anew */
                else if (commit_unlocking(db) < 0 && db->quit)
                        return NULL;
        }
}

/* ---- opening and closing ---- */

static struct statedb_options with_defaults(const struct statedb_options *given)
{
        struct statedb_options options = given ? *given : (struct statedb_options){ 0 };
        const struct statedb_options defaults = {
                .map_bytes = MAP_BYTES,
                .map_limit_bytes = MAP_BYTES,
                .commit_bytes = (size_t)8 << 20,
                .throttle_bytes = (size_t)32 << 20,
                .limit_bytes = (size_t)256 << 20,
                .interval_ms = 2000,
                .retry_ms = 100,
        };

        options.map_bytes = options.map_bytes ? options.map_bytes : defaults.map_bytes;
        options.map_limit_bytes = options.map_limit_bytes ? options.map_limit_bytes : defaults.map_limit_bytes;
        options.commit_bytes = options.commit_bytes ? options.commit_bytes : defaults.commit_bytes;
        options.throttle_bytes = options.throttle_bytes ? options.throttle_bytes : defaults.throttle_bytes;
        options.limit_bytes = options.limit_bytes ? options.limit_bytes : defaults.limit_bytes;
        options.interval_ms = options.interval_ms ? options.interval_ms : defaults.interval_ms;
        options.retry_ms = options.retry_ms ? options.retry_ms : defaults.retry_ms;
        return options;
}

/* Writes the format's number into a new environment. */
static int make_format(struct statedb *db, const char *path, struct error *error)
{
        const struct record_key key = record_key_meta(RECORD_FORMAT_NAME);
        struct format_record format = { .version = STATEDB_FORMAT };
        uint8_t value[RECORD_VALUE_BYTES];
        struct memtable table = { 0 };
        struct memtable_entry *entry;
        size_t size;
        int result = record_encode_format(&format, value, sizeof(value), &size);

        if (result < 0)
                return result;
        entry = memtable_entry_new(key.bytes, key.size, value, size);
        if (!entry)
                return error_set(error, -ENOMEM, "not enough memory for the state");
        memtable_insert(&table, entry);
        result = lmdbenv_commit(db->env, &table);
        memtable_deinit(&table);
        if (result < 0) {
                return error_set(error, result, "the state in %s cannot be written: %s", path, strerror(-result));
        }
        return 0;
}

static int check_format(struct statedb *db, const char *path, struct error *error)
{
        const struct record_key key = record_key_meta(RECORD_FORMAT_NAME);
        cleanup(statedb_entry_deinit) struct statedb_entry first = { 0 };
        uint8_t value[RECORD_VALUE_BYTES];
        struct format_record format;
        size_t size;
        int result = statedb_get(db, key.bytes, key.size, value, sizeof(value), &size);

        if (result == 0)
                result = record_decode_format(value, size, &format);
        if (result == -ENOENT) {
                result = statedb_next(db, NULL, 0, NULL, 0, &first);
                if (result == -ENOENT)
                        return make_format(db, path, error);
                if (result == 0)
                        result = -EBADMSG;
        }
        if (result < 0)
                return error_set(error, result == -ERANGE ? -EBADMSG : result,
                                 "the state in %s is damaged, or is not a state of cvv", path);
        if (format.version > STATEDB_FORMAT)
                return error_set(error, -EPROTONOSUPPORT,
                                 "the state in %s was made by a newer version of cvv (format %u, this one knows %d)", path,
                                 format.version, STATEDB_FORMAT);
        return 0;
}

static void statedb_free(struct statedb *db)
{
        lmdbenv_close(db->env);
        memtable_deinit(&db->active);
        memtable_deinit(&db->frozen);
        condition_deinit(&db->progress);
        condition_deinit(&db->work);
        mutex_deinit(&db->mutex);
        free(db);
}

int statedb_open(const char *path, const struct statedb_options *options, struct error *error, struct statedb **ret_db)
{
        struct statedb *db = calloc(1, sizeof(*db));
        int result;

        if (!db)
                return error_set(error, -ENOMEM, "not enough memory for the state");
        mutex_init(&db->mutex);
        condition_init(&db->work);
        condition_init(&db->progress);
        db->options = with_defaults(options);
        memtable_init(&db->active, clock_now_ns());
        result = lmdbenv_open(path, db->options.map_bytes, db->options.map_limit_bytes, error, &db->env);
        if (result == 0)
                result = check_format(db, path, error);
        if (result == 0) {
                result = thread_start(&db->writer, "cvv-state", writer_main, db);
                if (result < 0)
                        result = error_set(error, result, "no thread can be started for the state");
        }
        if (result < 0) {
                statedb_free(db);
                return result;
        }
        *ret_db = db;
        return 0;
}

int statedb_close(struct statedb *db)
{
        int result;

        if (!db)
                return 0;
        mutex_lock(&db->mutex);
        db->quit = true;
        condition_signal(&db->work);
        mutex_unlock(&db->mutex);
        (void)pthread_join(db->writer, NULL); /* fails only for a thread that does not exist */
        result = db->durable_seq == db->applied_seq ? 0 : db->health;
        statedb_free(db);
        return result;
}

/* ---- reading ---- */

static int copy_value(const void *value, size_t size, void *ret_value, size_t capacity, size_t *ret_size)
{
        if (size > capacity)
                return -ERANGE;
        if (size > 0)
                memcpy(ret_value, value, size);
        *ret_size = size;
        return 0;
}

/* Looks into both tables. True when these decide, with the result in `ret_result`. */
static bool get_from_memory(struct statedb *db, const void *key, size_t key_size, void *ret_value, size_t capacity,
                            size_t *ret_size, int *ret_result)
{
        const struct memtable_entry *entry;

        MUTEX_SCOPE(&db->mutex);
        entry = memtable_get(&db->active, key, key_size);
        if (!entry)
                entry = memtable_get(&db->frozen, key, key_size);
        if (!entry)
                return false;
        *ret_result = entry->tombstone ? -ENOENT
                                       : copy_value(memtable_entry_value(entry), entry->value_size, ret_value, capacity,
                                                    ret_size);
        return true;
}

/* A transaction that begins after the look into memory sees at least what had left memory by then. */
int statedb_get(struct statedb *db, const void *key, size_t key_size, void *ret_value, size_t capacity, size_t *ret_size)
{
        MDB_val wanted = { .mv_size = key_size, .mv_data = (void *)(uintptr_t)key }, found;
        MDB_txn *txn;
        int result;

        if (key_size == 0 || key_size > STATEDB_KEY_BYTES)
                return -EINVAL;
        if (get_from_memory(db, key, key_size, ret_value, capacity, ret_size, &result))
                return result;
        result = lmdbenv_read_begin(db->env, &txn);
        if (result < 0)
                return result;
        result = lmdbenv_errno(mdb_get(txn, lmdbenv_dbi(db->env), &wanted, &found));
        if (result == 0)
                result = copy_value(found.mv_data, found.mv_size, ret_value, capacity, ret_size);
        lmdbenv_read_end(db->env, txn);
        return result;
}

static int range_init(struct run_range *range, const void *after, size_t after_size, const void *prefix,
                      size_t prefix_size)
{
        if (after_size > STATEDB_KEY_BYTES || prefix_size > STATEDB_KEY_BYTES)
                return -EINVAL;
        *range = (struct run_range){ .prefix = prefix, .prefix_size = prefix_size };
        if (after_size > 0 && (prefix_size == 0 || memtable_compare(after, after_size, prefix, prefix_size) >= 0)) {
                run_range_advance(range, after, after_size);
                return 0;
        }
        if (prefix_size > 0)
                run_range_advance(range, prefix, prefix_size);
        range->inclusive = true;
        return 0;
}

/* Gathers under the lock, provided that no commit ended since `durable_seq` was looked at. */
static bool gather(struct statedb *db, uint64_t durable_seq, const struct run_range *range, struct run *ret_run)
{
        MUTEX_SCOPE(&db->mutex);
        if (db->durable_seq != durable_seq)
                return false;
        run_gather(&db->active, &db->frozen, range, ret_run);
        return true;
}

/* One piece: memory and LMDB as they were at one moment, which is when the memory was looked at: the transaction began
 * before, and no commit ended in between. */
static int read_piece(struct statedb *db, struct run_range *range, struct run *memory, struct run *ret_run)
{
        for (;;) {
                uint64_t durable_seq = statedb_durable_seq(db);
                MDB_txn *txn;
                int result = lmdbenv_read_begin(db->env, &txn);
                bool consistent;

                if (result < 0)
                        return result;
                consistent = gather(db, durable_seq, range, memory);
                if (consistent)
                        result = run_merge(txn, lmdbenv_dbi(db->env), memory, range, ret_run);
                lmdbenv_read_end(db->env, txn);
                if (consistent)
                        return result;
        }
}

void statedb_entry_deinit(struct statedb_entry *entry)
{
        free(entry->value);
        *entry = (struct statedb_entry){ 0 };
}

static int entry_fill(struct statedb_entry *entry, const struct run *run)
{
        const struct run_entry *found = &run->entries[0];

        if (found->value_size > entry->value_capacity || !entry->value) {
                uint8_t *grown = realloc(entry->value, found->value_size + 256);

                if (!grown)
                        return -ENOMEM;
                entry->value = grown;
                entry->value_capacity = found->value_size + 256;
        }
        memcpy(entry->key, run_key(run, 0), found->key_size);
        memcpy(entry->value, run_value(run, 0), found->value_size);
        entry->key_size = found->key_size;
        entry->value_size = found->value_size;
        return 0;
}

int statedb_next(struct statedb *db, const void *after, size_t after_size, const void *prefix, size_t prefix_size,
                 struct statedb_entry *ret_entry)
{
        cleanup(run_deinit) struct run memory = { 0 };
        cleanup(run_deinit) struct run found = { 0 };
        struct run_range range;
        int result = range_init(&range, after, after_size, prefix, prefix_size);

        if (result == 0)
                result = run_init(&memory, NEXT_ENTRIES, 2 * ENTRY_BYTES);
        if (result == 0)
                result = run_init(&found, 1, ENTRY_BYTES);
        while (result == 0 && found.count == 0 && !found.complete)
                result = read_piece(db, &range, &memory, &found);
        if (result < 0)
                return result;
        return found.count == 0 ? -ENOENT : entry_fill(ret_entry, &found);
}

/* Shows what `run` holds. True when the scan goes on. */
static bool show(const struct run *run, uint64_t max_entries, statedb_scan_function *function, void *context,
                 int64_t *shown)
{
        for (size_t i = 0; i < run->count; i++) {
                struct statedb_view view = {
                        .key = run_key(run, i),
                        .value = run_value(run, i),
                        .key_size = run->entries[i].key_size,
                        .value_size = run->entries[i].value_size,
                };

                if ((uint64_t)*shown >= max_entries)
                        return false;
                ++*shown;
                if (!function(context, &view))
                        return false;
        }
        return !run->complete;
}

int64_t statedb_scan(struct statedb *db, const void *after, size_t after_size, const void *prefix, size_t prefix_size,
                     uint64_t max_entries, statedb_scan_function *function, void *context)
{
        cleanup(run_deinit) struct run memory = { 0 };
        cleanup(run_deinit) struct run found = { 0 };
        size_t piece = max_entries < SCAN_ENTRIES ? (size_t)max_entries + 1 : SCAN_ENTRIES;
        struct run_range range;
        int64_t shown = 0;
        int result = range_init(&range, after, after_size, prefix, prefix_size);

        if (result == 0)
                result = run_init(&memory, SCAN_ENTRIES, SCAN_BYTES);
        if (result == 0)
                result = run_init(&found, piece, SCAN_BYTES);
        if (result < 0)
                return result;
        do {
                result = read_piece(db, &range, &memory, &found);
                if (result < 0)
                        return result;
        } while (show(&found, max_entries, function, context, &shown) && (uint64_t)shown < max_entries);
        return shown;
}

/* ---- writing ---- */

int statedb_apply(struct statedb *db, struct statedb_batch *batch, uint64_t *ret_seq)
{
        bool was_clean, was_small;

        if (batch->error)
                return batch->error;
        MUTEX_SCOPE(&db->mutex);
        if (batch->first && db->active.bytes + db->frozen.bytes + batch->bytes > db->options.limit_bytes)
                return -ENOSPC;
        was_clean = db->applied_seq == db->frozen_seq;
        was_small = db->active.bytes < db->options.commit_bytes;
        if (batch->first)
                db->applied_seq++;
        while (batch->first) {
                struct memtable_entry *entry = batch->first;

                batch->first = entry->right;
                memtable_insert(&db->active, entry);
        }
        statedb_batch_init(batch);
        if (was_clean)
                db->dirty_ns = clock_now_ns();
        if (was_clean || (was_small && db->active.bytes >= db->options.commit_bytes))
                condition_signal(&db->work);
        if (ret_seq)
                *ret_seq = db->applied_seq;
        return 0;
}

static int apply_one(struct statedb *db, struct statedb_batch *batch)
{
        int result = statedb_apply(db, batch, NULL);

        statedb_batch_deinit(batch);
        return result;
}

int statedb_put(struct statedb *db, const void *key, size_t key_size, const void *value, size_t value_size)
{
        struct statedb_batch batch = { 0 };

        (void)statedb_batch_put(&batch, key, key_size, value, value_size); /* apply returns it */
        return apply_one(db, &batch);
}

int statedb_delete(struct statedb *db, const void *key, size_t key_size)
{
        struct statedb_batch batch = { 0 };

        (void)statedb_batch_delete(&batch, key, key_size); /* apply returns it */
        return apply_one(db, &batch);
}

/* ---- asking and waiting ---- */

uint64_t statedb_applied_seq(struct statedb *db)
{
        MUTEX_SCOPE(&db->mutex);
        return db->applied_seq;
}

uint64_t statedb_durable_seq(struct statedb *db)
{
        MUTEX_SCOPE(&db->mutex);
        return db->durable_seq;
}

int statedb_health(struct statedb *db)
{
        MUTEX_SCOPE(&db->mutex);
        return db->health;
}

void statedb_on_commit(struct statedb *db, statedb_commit_function *function, void *context)
{
        MUTEX_SCOPE(&db->mutex);
        db->on_commit = function;
        db->on_commit_context = context;
}

static void request_locked(struct statedb *db, uint64_t seq)
{
        if (seq <= db->durable_seq)
                return;
        if (seq > db->requested_seq)
                db->requested_seq = seq;
        db->retry_now = true;
        condition_signal(&db->work);
}

uint64_t statedb_request_commit(struct statedb *db)
{
        MUTEX_SCOPE(&db->mutex);
        request_locked(db, db->applied_seq);
        return db->applied_seq;
}

int statedb_wait(struct statedb *db, uint64_t seq, uint64_t deadline_ns)
{
        uint64_t failures;

        MUTEX_SCOPE(&db->mutex);
        if (seq > db->applied_seq)
                return -EINVAL;
        failures = db->failures;
        request_locked(db, seq);
        while (db->durable_seq < seq && db->failures == failures)
                if (!condition_wait_until(&db->progress, &db->mutex, deadline_ns))
                        break;
        if (db->durable_seq >= seq)
                return 0;
        return db->failures != failures ? db->last_error : -ETIMEDOUT;
}

int statedb_throttle(struct statedb *db)
{
        uint64_t deadline_ns = clock_now_ns() + NS_PER_MS * THROTTLE_MS;

        MUTEX_SCOPE(&db->mutex);
        while (db->health == 0 && db->active.bytes + db->frozen.bytes > db->options.throttle_bytes) {
                request_locked(db, db->applied_seq);
                if (!condition_wait_until(&db->progress, &db->mutex, deadline_ns))
                        return -ETIMEDOUT;
        }
        return db->health;
}
