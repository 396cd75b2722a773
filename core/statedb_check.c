/* statedb_check: the walk through an environment in a child process. Declared in core/statedb.h. */
#include "core/statedb.h"

#include "core/cleanup.h"
#include "core/lmdbenv.h"
#include "core/record.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FREE_DBI = 0, PAGE_STEP_BYTES = 512, SMALL_FILE_BYTES = 1 << 28 };

/* Nobody else changes the environment: whatever LMDB finds to be wrong with it is damage. */
static int check_errno(int result)
{
        return result < 0 && result != MDB_NOTFOUND && result != MDB_VERSION_MISMATCH ? -EBADMSG : lmdbenv_errno(result);
}

/* Whether a value is intact, given its key. 0 or -errno. */
typedef int check_function(void *context, const MDB_val *key, const MDB_val *value);

struct main_check {
        statedb_validate *validate;
        uint8_t last_key[STATEDB_KEY_BYTES];
        size_t last_size;
};

/* Ascending keys also mean that a walk over pages that refer to each other in a circle ends. */
static int check_main(void *context, const MDB_val *key, const MDB_val *value)
{
        struct main_check *check = context;

        if (key->mv_size == 0 || key->mv_size > STATEDB_KEY_BYTES || value->mv_size > STATEDB_VALUE_BYTES ||
            memtable_compare(check->last_key, check->last_size, key->mv_data, key->mv_size) >= 0)
                return -EBADMSG;
        memcpy(check->last_key, key->mv_data, key->mv_size);
        check->last_size = key->mv_size;
        if (check->validate)
                return check->validate(key->mv_data, key->mv_size, value->mv_data, value->mv_size) < 0 ? -EBADMSG : 0;
        for (size_t i = 0; i < value->mv_size; i += PAGE_STEP_BYTES)
                (void)((const volatile uint8_t *)value->mv_data)[i]; /* a page that is not there ends the process here */
        return 0;
}

struct free_check {
        size_t last_txnid;
        size_t last_page; /* of the file */
};

/* A list of free pages: its length, then page numbers in descending order. A wrong number here would let the next commit
 * write over live pages. */
static int check_free(void *context, const MDB_val *key, const MDB_val *value)
{
        struct free_check *check = context;
        size_t txnid, count, page, before = SIZE_MAX;

        if (key->mv_size != sizeof(txnid) || value->mv_size < sizeof(count))
                return -EBADMSG;
        memcpy(&txnid, key->mv_data, sizeof(txnid));
        memcpy(&count, value->mv_data, sizeof(count));
        if (txnid <= check->last_txnid || count > value->mv_size / sizeof(page) - 1)
                return -EBADMSG;
        check->last_txnid = txnid;
        for (size_t i = 1; i <= count; i++) {
                memcpy(&page, (const uint8_t *)value->mv_data + i * sizeof(page), sizeof(page));
                if (page < 2 || page > check->last_page || page >= before)
                        return -EBADMSG;
                before = page;
        }
        return 0;
}

static int walk(MDB_txn *txn, MDB_dbi dbi, check_function *function, void *context)
{
        MDB_val key, value;
        MDB_cursor *cursor;
        MDB_stat stat;
        size_t entries = 0;
        int result = mdb_stat(txn, dbi, &stat);

        if (result == 0)
                result = mdb_cursor_open(txn, dbi, &cursor);
        if (result != 0)
                return check_errno(result);
        for (;;) {
                result = check_errno(mdb_cursor_get(cursor, &key, &value, MDB_NEXT));
                if (result == 0)
                        result = function(context, &key, &value);
                if (result < 0)
                        break;
                entries++;
        }
        mdb_cursor_close(cursor);
        if (result != -ENOENT)
                return result;
        return entries == stat.ms_entries ? 0 : -EBADMSG;
}

/* -EPROTONOSUPPORT for a newer format, whose records would look damaged. */
static int check_format(MDB_txn *txn, MDB_dbi dbi)
{
        struct record_key name = record_key_meta(RECORD_FORMAT_NAME);
        MDB_val key = { .mv_size = name.size, .mv_data = name.bytes }, value;
        struct format_record format;
        MDB_stat stat;
        int result = check_errno(mdb_get(txn, dbi, &key, &value));

        if (result == -ENOENT) { /* only before the first commit */
                result = check_errno(mdb_stat(txn, dbi, &stat));
                return result == 0 && stat.ms_entries > 0 ? -EBADMSG : result;
        }
        if (result == 0)
                result = record_decode_format(value.mv_data, value.mv_size, &format);
        if (result == 0 && format.version > STATEDB_FORMAT)
                return -EPROTONOSUPPORT;
        return result;
}

static int walk_all(MDB_env *env, statedb_validate *validate)
{
        struct main_check main_check = { .validate = validate };
        struct free_check free_check = { 0 };
        MDB_envinfo info;
        MDB_txn *txn;
        MDB_dbi dbi;
        int result = mdb_env_info(env, &info);

        if (result == 0)
                result = mdb_txn_begin(env, NULL, MDB_RDONLY, &txn);
        if (result != 0)
                return check_errno(result);
        free_check.last_page = info.me_last_pgno;
        result = check_errno(mdb_dbi_open(txn, NULL, 0, &dbi));
        if (result == 0)
                result = check_format(txn, dbi);
        if (result == 0)
                result = walk(txn, dbi, check_main, &main_check);
        if (result == 0)
                result = walk(txn, FREE_DBI, check_free, &free_check);
        mdb_txn_abort(txn);
        return result;
}

/* Runs in the child. Without LMDB's lock file: nobody else has the environment open, and nothing is to be changed. The map
 * is no larger than the file needs, so that it fits any address space. */
static int check_environment(const char *path, statedb_validate *validate)
{
        char file[4096];
        struct stat attributes;
        MDB_env *env;
        int result;

        if ((size_t)snprintf(file, sizeof(file), "%s/data.mdb", path) >= sizeof(file))
                return -ENAMETOOLONG;
        if (stat(file, &attributes) < 0)
                return -errno;
        if (attributes.st_size == 0)
                return -EBADMSG;
        result = mdb_env_create(&env);
        if (result != 0)
                return check_errno(result);
        result = mdb_env_set_mapsize(env, ((size_t)attributes.st_size + 0xffff) & ~(size_t)0xffff);
        if (result == 0)
                result = mdb_env_open(env, path, MDB_RDONLY | MDB_NOLOCK | MDB_NOTLS, 0600);
        /* A damaged head asks for a map of a senseless size. A sound one of a small file fits anywhere. */
        if (result == EINVAL || (result == ENOMEM && attributes.st_size < SMALL_FILE_BYTES))
                result = MDB_CORRUPTED;
        result = result == 0 ? walk_all(env, validate) : check_errno(result);
        mdb_env_close(env);
        return result;
}

static _Noreturn void child_main(const char *path, statedb_validate *validate, int result_fd)
{
        static const int deadly[] = { SIGSEGV, SIGBUS, SIGABRT, SIGILL, SIGFPE };
        int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC), result;

        (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* a check that nobody waits for is of no use; without it, it only ends later */
        (void)prctl(PR_SET_DUMPABLE, 0);        /* its death is expected: no core file */
        for (size_t i = 0; i < sizeof(deadly) / sizeof(*deadly); i++)
                (void)signal(deadly[i], SIG_DFL); /* can not fail for these */
        if (null_fd >= 0)
                (void)dup2(null_fd, STDERR_FILENO); /* where LMDB's assertions print */
        result = check_environment(path, validate);
        if (write(result_fd, &result, sizeof(result)) != (ssize_t)sizeof(result))
                _exit(1); /* the parent takes the missing result for damage, which at worst costs a comparison */
        _exit(0);
}

static bool killed_from_outside(int status)
{
        if (!WIFSIGNALED(status))
                return false;
        switch (WTERMSIG(status)) {
        case SIGSEGV:
        case SIGBUS:
        case SIGABRT:
        case SIGILL:
        case SIGFPE:
        case SIGTRAP:
                return false;
        default:
                return true;
        }
}

int statedb_check(const char *path, statedb_validate *validate)
{
        cleanup(fd_close) int read_fd = -1;
        int pipe_fds[2], status = 0, result = 0;
        ssize_t got;
        pid_t child;

        if (pipe2(pipe_fds, O_CLOEXEC) < 0)
                return -errno;
        read_fd = pipe_fds[0];
        child = fork();
        if (child < 0) {
                result = -errno;
                fd_close(&pipe_fds[1]);
                return result;
        }
        if (child == 0)
                child_main(path, validate, pipe_fds[1]);
        fd_close(&pipe_fds[1]);
        do
                got = read(read_fd, &result, sizeof(result));
        while (got < 0 && errno == EINTR);
        while (waitpid(child, &status, 0) < 0 && errno == EINTR)
                ; /* where SIGCHLD is ignored there is no status, and the pipe says enough */
        if (got != (ssize_t)sizeof(result))
                return killed_from_outside(status) ? -EINTR : STATEDB_DAMAGED;
        return result == -EBADMSG ? STATEDB_DAMAGED : result;
}
