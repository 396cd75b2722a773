/* statedb when the disk fails, when the map is too small, and when the process is killed. */
#include "statedb_fixture.h"

#include "core/record.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

static const size_t KIB = 1024, MIB = 1024 * 1024;

static void put_sized(struct fixture *fixture, unsigned number, size_t size)
{
        static uint8_t value[STATEDB_VALUE_BYTES];
        char key[16];

        memset(value, (int)number, size);
        (void)snprintf(key, sizeof(key), "N%06u", number);
        assert_int_equal(statedb_put(fixture->db, key, strlen(key), value, size), 0);
}

static void assert_sized(struct fixture *fixture, unsigned number, size_t size)
{
        static uint8_t value[STATEDB_VALUE_BYTES];
        char key[16];
        size_t got;

        (void)snprintf(key, sizeof(key), "N%06u", number);
        assert_int_equal(statedb_get(fixture->db, key, strlen(key), value, sizeof(value), &got), 0);
        assert_int_equal(got, size);
        assert_int_equal(value[size - 1], (uint8_t)number);
}

struct reader {
        struct fixture *fixture;
        struct mutex mutex;
        bool stop;
};

static void *read_on(void *argument)
{
        struct reader *reader = argument;

        for (;;) {
                char value[8];
                size_t size = 0;
                int result = statedb_get(reader->fixture->db, "Nfixed", 6, value, sizeof(value), &size);

                if (result < 0 || size != 5 || memcmp(value, "fixed", 5) != 0) {
                        (void)fprintf(stderr, "a reader got %d\n", result); /* asserting is for the main thread only */
                        abort();
                }
                MUTEX_SCOPE(&reader->mutex);
                if (reader->stop)
                        return NULL;
        }
}

static void reader_stop(struct reader *reader, pthread_t thread)
{
        mutex_lock(&reader->mutex);
        reader->stop = true;
        mutex_unlock(&reader->mutex);
        assert_int_equal(pthread_join(thread, NULL), 0);
}

static void full_map_grows_under_readers(void **state)
{
        struct fixture *fixture = *state;
        struct statedb_options options = { .map_bytes = 256 * KIB, .map_limit_bytes = 64 * MIB, .interval_ms = 3600000 };
        struct reader reader = { .fixture = fixture, .mutex = MUTEX_INIT };
        pthread_t thread;

        fixture_open(fixture, &options);
        fixture_put(fixture, "Nfixed", "fixed");
        assert_int_equal(fixture_wait(fixture), 0);
        assert_int_equal(thread_start(&thread, "reader", read_on, &reader), 0);
        for (unsigned i = 0; i < 100; i++) {
                put_sized(fixture, i, 40000);
                if (i % 10 == 0)
                        assert_int_equal(fixture_wait(fixture), 0);
        }
        assert_int_equal(fixture_wait(fixture), 0);
        reader_stop(&reader, thread);
        assert_int_equal(statedb_health(fixture->db), 0);
        assert_int_equal(fixture_close(fixture), 0);
        fixture_open(fixture, &options);
        for (unsigned i = 0; i < 100; i++)
                assert_sized(fixture, i, 40000);
}

static void commit_that_never_works_leaves_memory_and_the_last_state(void **state)
{
        struct fixture *fixture = *state;
        struct statedb_options options = { .map_bytes = 256 * KIB, .map_limit_bytes = 256 * KIB, .interval_ms = 3600000,
                                           .limit_bytes = MIB, .retry_ms = 1, .throttle_bytes = 1 };
        static const char zeros[40000];
        unsigned put = 0;
        int result = 0;

        fixture_open(fixture, &options);
        fixture_put(fixture, "Nfixed", "fixed");
        assert_int_equal(fixture_wait(fixture), 0);
        for (; put < 10; put++)
                put_sized(fixture, put, 40000);
        assert_int_equal(fixture_wait(fixture), -ENOSPC);
        assert_int_equal(statedb_health(fixture->db), -ENOSPC);
        assert_int_equal(statedb_throttle(fixture->db), -ENOSPC);
        fixture_put(fixture, "Nfixed", "newer");
        fixture_assert(fixture, "Nfixed", "newer");
        for (; put < 100 && result == 0; put++)
                result = statedb_put(fixture->db, &put, sizeof(put), zeros, sizeof(zeros));
        assert_int_equal(result, -ENOSPC);
        for (unsigned i = 0; i < 10; i++)
                assert_sized(fixture, i, 40000);
        assert_int_equal(fixture_wait(fixture), -ENOSPC);
        assert_int_equal(fixture_close(fixture), -ENOSPC);

        assert_int_equal(statedb_check(fixture->path, NULL), 0);
        fixture_open(fixture, NULL);
        fixture_assert(fixture, "Nfixed", "fixed");
        fixture_assert_absent(fixture, "N000000");
}

static void limit_file_size(rlim_t bytes)
{
        struct rlimit limit;

        assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
        limit.rlim_cur = bytes < limit.rlim_max ? bytes : limit.rlim_max;
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void failed_commit_is_repeated_below_newer_changes(void **state)
{
        struct fixture *fixture = *state;
        struct statedb_options options = { .interval_ms = 3600000, .retry_ms = 10 };
        uint64_t failed_seq;

        assert_true(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
        fixture_open(fixture, &options);
        fixture_put(fixture, "Nfixed", "fixed");
        fixture_put(fixture, "Ngone", "x");
        assert_int_equal(fixture_wait(fixture), 0);
        limit_file_size(64 * KIB);
        for (unsigned i = 0; i < 20; i++)
                put_sized(fixture, i, 40000);
        fixture_delete(fixture, "Ngone");
        fixture_put(fixture, "Nfixed", "second");
        assert_true(fixture_wait(fixture) < 0);
        failed_seq = statedb_applied_seq(fixture->db);
        assert_true(statedb_durable_seq(fixture->db) < failed_seq);
        fixture_put(fixture, "Nfixed", "third");
        fixture_assert_absent(fixture, "Ngone");
        fixture_assert(fixture, "Nfixed", "third");
        limit_file_size(RLIM_INFINITY);
        while (fixture_wait(fixture) < 0)
                ; /* a try that began before the limit was lifted may still fail */
        assert_int_equal(statedb_health(fixture->db), 0);
        fixture_assert(fixture, "Nfixed", "third");
        assert_int_equal(fixture_close(fixture), 0);
        fixture_open(fixture, NULL);
        fixture_assert(fixture, "Nfixed", "third");
        fixture_assert_absent(fixture, "Ngone");
        for (unsigned i = 0; i < 20; i++)
                assert_sized(fixture, i, 40000);
}

/* The descriptor with which LMDB writes its meta pages. */
static int meta_descriptor(const struct fixture *fixture)
{
        for (int fd = 3; fd < 64; fd++) {
                char link[32], path[128] = "";
                int flags = fcntl(fd, F_GETFL);

                (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
                if (flags >= 0 && flags & O_DSYNC && readlink(link, path, sizeof(path) - 1) > 0 &&
                    strcmp(path, fixture->data_path) == 0)
                        return fd;
        }
        return -1;
}

struct failures {
        struct mutex mutex;
        unsigned count;
};

static void count_failures(void *context, uint64_t durable_seq, int result)
{
        struct failures *failures = context;

        MUTEX_SCOPE(&failures->mutex);
        failures->count += result == -EBADF;
}

static void environment_that_lmdb_gave_up_is_reopened_under_readers(void **state)
{
        struct fixture *fixture = *state;
        struct statedb_options options = { .interval_ms = 3600000, .retry_ms = 1 };
        struct reader reader = { .fixture = fixture, .mutex = MUTEX_INIT };
        struct failures failures = { .mutex = MUTEX_INIT };
        int meta, useless = open("/dev/null", O_RDONLY | O_CLOEXEC);
        pthread_t thread;

        fixture_open(fixture, &options);
        statedb_on_commit(fixture->db, count_failures, &failures);
        fixture_put(fixture, "Nfixed", "fixed");
        assert_int_equal(fixture_wait(fixture), 0);
        assert_int_equal(thread_start(&thread, "reader", read_on, &reader), 0);
        for (int i = 0; i < 5; i++) {
                char value[16];

                meta = meta_descriptor(fixture);
                assert_true(meta >= 0);
                assert_int_equal(dup3(useless, meta, O_CLOEXEC), meta);
                (void)snprintf(value, sizeof(value), "%d", i);
                fixture_put(fixture, "Nnew", value);
                while (fixture_wait(fixture) == -EBADF) /* 0 already at first where the second try was quicker than we are */
                        fixture_assert(fixture, "Nnew", value);
                fixture_assert(fixture, "Nnew", value);
                assert_int_equal(statedb_durable_seq(fixture->db), statedb_applied_seq(fixture->db));
                assert_int_equal(statedb_health(fixture->db), 0);
        }
        reader_stop(&reader, thread);
        assert_int_equal(fixture_close(fixture), 0);
        assert_int_equal(failures.count, 5);
        assert_int_equal(statedb_check(fixture->path, NULL), 0);
        fixture_open(fixture, NULL);
        fixture_assert(fixture, "Nnew", "4");
        fixture_assert(fixture, "Nfixed", "fixed");
        (void)close(useless); /* nothing was written */
}

/* ---- killed at any instant ---- */

enum { CELLS = 40 };

/* Batch n puts n into the counter and into cell n % CELLS, and deletes cell (n + 7) % CELLS. */
static void apply_numbered(struct statedb *db, uint32_t n)
{
        uint8_t cell[3] = { 'N', 'c', (uint8_t)(n % CELLS) };
        struct statedb_batch batch;

        statedb_batch_init(&batch);
        statedb_batch_put(&batch, "Ncount", 6, &n, sizeof(n));
        statedb_batch_put(&batch, cell, sizeof(cell), &n, sizeof(n));
        cell[2] = (uint8_t)((n + 7) % CELLS);
        statedb_batch_delete(&batch, cell, sizeof(cell));
        if (statedb_apply(db, &batch, NULL) < 0)
                _exit(2);
}

static void child_writes(const char *path, int durable_fd)
{
        struct statedb_options options = { .interval_ms = 1 };
        struct statedb *db;

        if (statedb_open(path, &options, NULL, &db) < 0)
                _exit(3);
        for (uint32_t n = 1;; n++) {
                apply_numbered(db, n);
                if (n % 50 != 0)
                        continue;
                if (statedb_wait(db, n, UINT64_MAX) < 0 || write(durable_fd, &n, sizeof(n)) != sizeof(n))
                        _exit(4);
        }
}

static uint32_t read_number(struct fixture *fixture, const void *key, size_t key_size)
{
        uint32_t number;
        size_t size;
        int result = statedb_get(fixture->db, key, key_size, &number, sizeof(number), &size);

        assert_true(result == 0 || result == -ENOENT);
        return result == 0 ? number : 0;
}

static void assert_is_prefix(struct fixture *fixture, uint32_t at_least)
{
        uint32_t count = read_number(fixture, "Ncount", 6), cells[CELLS] = { 0 };

        assert_true(count >= at_least);
        for (uint32_t n = 1; n <= count; n++) {
                cells[n % CELLS] = n;
                cells[(n + 7) % CELLS] = 0;
        }
        for (unsigned i = 0; i < CELLS; i++) {
                uint8_t key[3] = { 'N', 'c', (uint8_t)i };

                assert_int_equal(read_number(fixture, key, sizeof(key)), cells[i]);
        }
}

static void killed_process_leaves_a_prefix_of_its_batches(void **state)
{
        struct fixture *fixture = *state;

        for (unsigned round = 0; round < 10; round++) {
                uint32_t durable = 0, number;
                int fds[2], status;
                pid_t child;

                assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
                child = fork();
                assert_true(child >= 0);
                if (child == 0)
                        child_writes(fixture->path, fds[1]);
                (void)close(fds[1]); /* the child's end */
                for (unsigned i = 0; i <= round; i++)
                        if (read(fds[0], &number, sizeof(number)) == sizeof(number))
                                durable = number;
                assert_int_equal(kill(child, SIGKILL), 0);
                assert_int_equal(waitpid(child, &status, 0), child);
                assert_true(WIFSIGNALED(status));
                while (read(fds[0], &number, sizeof(number)) == sizeof(number))
                        durable = number;
                (void)close(fds[0]); /* only read */
                assert_true(durable > 0);

                assert_int_equal(statedb_check(fixture->path, NULL), 0);
                fixture_open(fixture, NULL);
                assert_is_prefix(fixture, durable);
                assert_int_equal(fixture_close(fixture), 0);
        }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(full_map_grows_under_readers),
                TEST(commit_that_never_works_leaves_memory_and_the_last_state),
                TEST(failed_commit_is_repeated_below_newer_changes),
                TEST(environment_that_lmdb_gave_up_is_reopened_under_readers),
                TEST(killed_process_leaves_a_prefix_of_its_batches),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
