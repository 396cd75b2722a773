#include "core/lmdbenv.h"

#include "core/cleanup.h"
#include "core/sync.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

enum {
        READERS = 126,
        POOLED_READERS = 120,   /* transactions of ours; LMDB needs slots for no one else */
        LOCK_FILE_BYTES = 8192, /* what LMDB 0.9 makes of 126 readers */
        MAP_SMALLEST_BYTES = 1024 * 1024,
};

struct lmdbenv {
        int directory_fd;
        int owner_fd; /* holds the flock */
        size_t limit_bytes;
        MDB_dbi dbi;

        /* Changed by the committing thread only, while `reopening` keeps readers out. */
        MDB_env *handle; /* NULL after a failed reopening */
        size_t map_bytes;

        struct mutex mutex; /* guards what follows */
        struct condition changed;
        MDB_txn *idle[POOLED_READERS]; /* reset, to be renewed */
        unsigned idle_count;
        unsigned lent;     /* transactions that are out */
        uint64_t openings; /* reopenings that ended, well or not */
        bool reopening;
};

int lmdbenv_errno(int result)
{
        if (result >= 0)
                return -result;
        switch (result) {
        case MDB_NOTFOUND:
                return -ENOENT;
        case MDB_MAP_FULL:
                return -ENOSPC;
        case MDB_TXN_FULL:
                return -EFBIG;
        case MDB_READERS_FULL:
        case MDB_MAP_RESIZED:
                return -EAGAIN;
        case MDB_VERSION_MISMATCH:
                return -EPROTONOSUPPORT;
        case MDB_BAD_VALSIZE:
                return -EINVAL;
        case MDB_CORRUPTED:
        case MDB_PAGE_NOTFOUND:
        case MDB_INVALID:
        case MDB_INCOMPATIBLE:
        case MDB_CURSOR_FULL:
        case MDB_PAGE_FULL:
                return -EBADMSG;
        default:
                return -EIO;
        }
}

MDB_dbi lmdbenv_dbi(const struct lmdbenv *env)
{
        return env->dbi;
}

/* Opens the handle with a map of exactly `map_bytes` (more when the data need it). An LMDB result. */
static int open_handle(int directory_fd, size_t map_bytes, MDB_env **ret_handle)
{
        char path[64];
        MDB_env *handle;
        int result = mdb_env_create(&handle), dead;

        if (result != 0)
                return result;
        (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", directory_fd); /* fits */
        result = mdb_env_set_mapsize(handle, map_bytes);
        if (result == 0)
                result = mdb_env_set_maxreaders(handle, READERS);
        if (result == 0)
                result = mdb_env_open(handle, path, MDB_NOTLS | MDB_NORDAHEAD, 0600);
        if (result == 0)
                result = mdb_reader_check(handle, &dead);
        if (result != 0) {
                mdb_env_close(handle);
                return result;
        }
        *ret_handle = handle;
        return 0;
}

/* As open_handle, with the largest map that fits. */
static int open_fitting(int directory_fd, size_t map_bytes, MDB_env **ret_handle, size_t *ret_map_bytes)
{
        for (;;) {
                int result = open_handle(directory_fd, map_bytes, ret_handle);

                if (result != ENOMEM || map_bytes / 2 < MAP_SMALLEST_BYTES) {
                        if (result == 0)
                                *ret_map_bytes = map_bytes;
                        return result;
                }
                map_bytes /= 2;
        }
}

static int take_ownership(int directory_fd, struct error *error, int *ret_fd)
{
        cleanup(fd_close) int fd = openat(directory_fd, "owner.lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

        if (fd < 0)
                return error_set(error, -errno, "the state's file owner.lock cannot be opened: %s", strerror(errno));
        if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
                if (errno == EWOULDBLOCK)
                        return error_set(error, -EBUSY, "the state is in use by another cvv process");
                return error_set(error, -errno, "the state's file owner.lock cannot be locked: %s", strerror(errno));
        }
        *ret_fd = fd_steal(&fd);
        return 0;
}

static int renew_lock_file(int directory_fd, struct error *error)
{
        cleanup(fd_close) int fd = -1;
        int result;

        if (unlinkat(directory_fd, "lock.mdb", 0) < 0 && errno != ENOENT)
                return error_set(error, -errno, "the state's file lock.mdb cannot be removed: %s", strerror(errno));
        fd = openat(directory_fd, "lock.mdb", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd < 0)
                return error_set(error, -errno, "the state's file lock.mdb cannot be made: %s", strerror(errno));
        result = posix_fallocate(fd, 0, LOCK_FILE_BYTES);
        if (result != 0) {
                return error_set(error, -result, "the state's file lock.mdb cannot be made: %s", strerror(result));
        }
        return 0;
}

/* The handle of the unnamed database is a constant of LMDB, but has to be asked for in each new environment. */
static int open_database(MDB_env *handle, MDB_dbi *ret_dbi)
{
        MDB_txn *txn;
        int result = mdb_txn_begin(handle, NULL, MDB_RDONLY, &txn);

        if (result != 0)
                return result;
        result = mdb_dbi_open(txn, NULL, 0, ret_dbi);
        if (result != 0) {
                mdb_txn_abort(txn);
                return result;
        }
        return mdb_txn_commit(txn);
}

int lmdbenv_open(const char *path, size_t map_bytes, size_t limit_bytes, struct error *error, struct lmdbenv **ret_env)
{
        struct lmdbenv *env = calloc(1, sizeof(*env));
        int result;

        if (!env)
                return error_set(error, -ENOMEM, "not enough memory for the state");
        mutex_init(&env->mutex);
        condition_init(&env->changed);
        env->limit_bytes = limit_bytes;
        env->owner_fd = -1;
        env->directory_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (env->directory_fd < 0) {
                result = error_set(error, -errno, "the state directory %s cannot be opened: %s", path, strerror(errno));
                goto fail;
        }
        result = take_ownership(env->directory_fd, error, &env->owner_fd);
        if (result == 0)
                result = renew_lock_file(env->directory_fd, error);
        if (result < 0)
                goto fail;
        result = open_fitting(env->directory_fd, map_bytes, &env->handle, &env->map_bytes);
        if (result == 0)
                result = open_database(env->handle, &env->dbi);
        if (result != 0) {
                result = error_set(error, lmdbenv_errno(result), "the state in %s cannot be opened: %s", path,
                                   mdb_strerror(result));
                goto fail;
        }
        *ret_env = env;
        return 0;
fail:
        lmdbenv_close(env);
        return result;
}

static void drop_idle(struct lmdbenv *env)
{
        while (env->idle_count > 0)
                mdb_txn_abort(env->idle[--env->idle_count]);
}

void lmdbenv_close(struct lmdbenv *env)
{
        if (!env)
                return;
        drop_idle(env);
        if (env->handle)
                mdb_env_close(env->handle);
        fd_close(&env->owner_fd);
        fd_close(&env->directory_fd);
        condition_deinit(&env->changed);
        mutex_deinit(&env->mutex);
        free(env);
}

/* Waits for a place and takes it; *ret_txn is NULL where a new transaction has to be begun. */
static int take_place(struct lmdbenv *env, MDB_txn **ret_txn, uint64_t *ret_openings)
{
        MUTEX_SCOPE(&env->mutex);
        while (env->reopening || env->lent == POOLED_READERS)
                condition_wait(&env->changed, &env->mutex);
        if (!env->handle)
                return -EIO;
        *ret_txn = env->idle_count > 0 ? env->idle[--env->idle_count] : NULL;
        *ret_openings = env->openings;
        env->lent++;
        return 0;
}

static void return_place(struct lmdbenv *env, MDB_txn *txn)
{
        MUTEX_SCOPE(&env->mutex);
        if (txn)
                env->idle[env->idle_count++] = txn;
        if (env->lent-- == POOLED_READERS || env->reopening)
                condition_broadcast(&env->changed);
}

int lmdbenv_read_begin(struct lmdbenv *env, MDB_txn **ret_txn)
{
        for (;;) {
                uint64_t openings;
                MDB_txn *txn;
                int result = take_place(env, &txn, &openings);

                if (result < 0)
                        return result;
                result = txn ? mdb_txn_renew(txn) : mdb_txn_begin(env->handle, NULL, MDB_RDONLY, &txn);
                if (result == 0) {
                        *ret_txn = txn;
                        return 0;
                }
                if (txn)
                        mdb_txn_abort(txn); /* one that was to be renewed still has its slot */
                return_place(env, NULL);
                if (result != MDB_PANIC)
                        return lmdbenv_errno(result);
                /* The commit that failed reopens the environment at once. */
                MUTEX_SCOPE(&env->mutex);
                while (env->openings == openings)
                        condition_wait(&env->changed, &env->mutex);
        }
}

void lmdbenv_read_end(struct lmdbenv *env, MDB_txn *txn)
{
        mdb_txn_reset(txn);
        return_place(env, txn);
}

/* Closes the environment and opens it with a map of `map_bytes`, or with as much of it as fits. */
static int reopen(struct lmdbenv *env, size_t map_bytes)
{
        MDB_env *handle = NULL;
        size_t got_bytes = map_bytes;
        int result;

        mutex_lock(&env->mutex);
        env->reopening = true;
        while (env->lent > 0)
                condition_wait(&env->changed, &env->mutex);
        mutex_unlock(&env->mutex);

        drop_idle(env); /* nobody else looks at it now */
        if (env->handle)
                mdb_env_close(env->handle);
        result = open_fitting(env->directory_fd, map_bytes, &handle, &got_bytes);
        if (result == 0) {
                result = open_database(handle, &env->dbi);
                if (result != 0) {
                        mdb_env_close(handle);
                        handle = NULL;
                }
        }

        MUTEX_SCOPE(&env->mutex);
        env->handle = handle;
        if (result == 0)
                env->map_bytes = got_bytes;
        env->reopening = false;
        env->openings++;
        condition_broadcast(&env->changed);
        return result;
}

/* One try. An LMDB result. */
static int commit_once(struct lmdbenv *env, const struct memtable *table)
{
        const struct memtable_entry *entry = memtable_next(table, "", 0, true);
        MDB_txn *txn;
        int result = mdb_txn_begin(env->handle, NULL, 0, &txn);

        if (result != 0)
                return result;
        for (; entry; entry = memtable_next(table, entry->bytes, entry->key_size, false)) {
                MDB_val key = { .mv_size = entry->key_size, .mv_data = (void *)(uintptr_t)entry->bytes };
                MDB_val value = { .mv_size = entry->value_size,
                                  .mv_data = (void *)(uintptr_t)memtable_entry_value(entry) };

                result = entry->tombstone ? mdb_del(txn, env->dbi, &key, NULL) : mdb_put(txn, env->dbi, &key, &value, 0);
                if (entry->tombstone && result == MDB_NOTFOUND)
                        result = 0; /* put and deleted between two commits */
                if (result != 0) {
                        mdb_txn_abort(txn);
                        return result;
                }
        }
        return mdb_txn_commit(txn); /* frees the transaction in any case */
}

/* Whether LMDB has given the environment up: then it says so to every new transaction. */
static bool is_given_up(struct lmdbenv *env)
{
        MDB_txn *txn;
        int result = mdb_txn_begin(env->handle, NULL, 0, &txn);

        if (result == 0)
                mdb_txn_abort(txn);
        return result == MDB_PANIC;
}

/* Doubles the map. False where it can not get larger. */
static bool grow(struct lmdbenv *env)
{
        size_t before = env->map_bytes;
        size_t wanted = before > env->limit_bytes / 2 ? env->limit_bytes : before * 2;

        return wanted > before && reopen(env, wanted) == 0 && env->map_bytes > before;
}

int lmdbenv_commit(struct lmdbenv *env, const struct memtable *table)
{
        int result;

        if (!env->handle) {
                result = reopen(env, env->map_bytes);
                if (result != 0)
                        return lmdbenv_errno(result);
        }
        do
                result = commit_once(env, table);
        while (result == MDB_MAP_FULL && grow(env));
        if (result != 0 && env->handle && is_given_up(env))
                (void)reopen(env, env->map_bytes); /* a failure shows at the next commit; the commit's own is what counts */
        return lmdbenv_errno(result);
}
