#include "statedb_fixture.h"

#include "core/record.h"

#include <time.h>

/* Commits only when asked: an hour is never. */
static const struct statedb_options ON_REQUEST = { .interval_ms = 3600000 };

static void changes_are_seen_at_once_and_survive_closing(void **state)
{
        struct fixture *fixture = *state;

        fixture_open(fixture, &ON_REQUEST);
        fixture_put(fixture, "Na", "one");
        fixture_put(fixture, "Nb", "two");
        fixture_assert(fixture, "Na", "one");
        assert_int_equal(statedb_durable_seq(fixture->db), 0);
        assert_int_equal(statedb_applied_seq(fixture->db), 2);
        assert_int_equal(fixture_close(fixture), 0);

        fixture_open(fixture, NULL);
        fixture_assert(fixture, "Na", "one");
        fixture_delete(fixture, "Na");
        fixture_assert_absent(fixture, "Na");
        assert_int_equal(fixture_wait(fixture), 0);
        fixture_assert_absent(fixture, "Na");
        fixture_assert(fixture, "Nb", "two");
        assert_int_equal(fixture_close(fixture), 0);
}

static void small_room_is_ERANGE_in_memory_and_on_disk(void **state)
{
        struct fixture *fixture = *state;
        char room[8] = "xxxxxxx";
        size_t size = 99;

        fixture_open(fixture, &ON_REQUEST);
        fixture_put(fixture, "N", "12345678");
        for (int i = 0; i < 2; i++) {
                assert_int_equal(statedb_get(fixture->db, "N", 1, room, 7, &size), -ERANGE);
                assert_int_equal(size, 99);
                assert_string_equal(room, "xxxxxxx");
                assert_int_equal(fixture_wait(fixture), 0);
        }
}

static void sizes_out_of_range_are_EINVAL_and_the_batch_is_refused(void **state)
{
        struct fixture *fixture = *state;
        static uint8_t big[STATEDB_VALUE_BYTES + 1];
        struct statedb_batch batch;

        fixture_open(fixture, &ON_REQUEST);
        assert_int_equal(statedb_put(fixture->db, "", 0, "x", 1), -EINVAL);
        assert_int_equal(statedb_put(fixture->db, big, STATEDB_KEY_BYTES + 1, "x", 1), -EINVAL);
        assert_int_equal(statedb_put(fixture->db, "k", 1, big, sizeof(big)), -EINVAL);
        memset(big, 'k', STATEDB_KEY_BYTES);
        assert_int_equal(statedb_put(fixture->db, big, STATEDB_KEY_BYTES, big, STATEDB_VALUE_BYTES), 0);
        statedb_batch_init(&batch);
        (void)statedb_batch_put(&batch, "Na", 2, "x", 1);
        (void)statedb_batch_delete(&batch, "", 0);
        assert_int_equal(statedb_apply(fixture->db, &batch, NULL), -EINVAL);
        fixture_assert_absent(fixture, "Na");
        statedb_batch_deinit(&batch);
        assert_int_equal(fixture_wait(fixture), 0);
        assert_int_equal(statedb_applied_seq(fixture->db), 1);
}

static void batch_is_applied_in_order_and_numbered(void **state)
{
        struct fixture *fixture = *state;
        struct statedb_batch batch;
        uint64_t seq = 0;

        fixture_open(fixture, &ON_REQUEST);
        fixture_put(fixture, "Nold", "x");
        statedb_batch_init(&batch);
        statedb_batch_put(&batch, "Na", 2, "1", 1);
        statedb_batch_put(&batch, "Na", 2, "2", 1);
        statedb_batch_delete(&batch, "Nold", 4);
        statedb_batch_delete(&batch, "Nnever", 6);
        statedb_batch_put(&batch, "Nempty", 6, NULL, 0);
        assert_int_equal(statedb_apply(fixture->db, &batch, &seq), 0);
        assert_int_equal(seq, 2);
        assert_null(batch.first);
        for (int i = 0; i < 2; i++) {
                fixture_assert(fixture, "Na", "2");
                fixture_assert(fixture, "Nempty", "");
                fixture_assert_absent(fixture, "Nold");
                assert_int_equal(fixture_wait(fixture), 0);
        }
        assert_int_equal(statedb_apply(fixture->db, &batch, &seq), 0); /* empty */
        assert_int_equal(seq, 2);
        statedb_batch_deinit(&batch);
}

static void wait_knows_only_numbers_that_were_given_out(void **state)
{
        struct fixture *fixture = *state;

        fixture_open(fixture, &ON_REQUEST);
        assert_int_equal(statedb_wait(fixture->db, 0, 0), 0);
        assert_int_equal(statedb_wait(fixture->db, 1, 0), -EINVAL);
        fixture_put(fixture, "N", "x");
        assert_int_equal(statedb_request_commit(fixture->db), 1);
        assert_int_equal(statedb_wait(fixture->db, 1, clock_now_ns() + FIXTURE_WAIT_NS), 0);
        assert_int_equal(statedb_durable_seq(fixture->db), 1);
        assert_int_equal(statedb_wait(fixture->db, 1, 0), 0);
}

/* ---- commits that nobody asked for ---- */

struct observer {
        struct mutex mutex;
        struct condition changed;
        uint64_t durable_seq;
        unsigned calls;
};

static void observe(void *context, uint64_t durable_seq, int result)
{
        struct observer *observer = context;

        MUTEX_SCOPE(&observer->mutex);
        observer->durable_seq = durable_seq;
        observer->calls++;
        condition_broadcast(&observer->changed);
}

static bool observe_until(struct observer *observer, uint64_t seq)
{
        uint64_t deadline_ns = clock_now_ns() + FIXTURE_WAIT_NS;

        MUTEX_SCOPE(&observer->mutex);
        while (observer->durable_seq < seq)
                if (!condition_wait_until(&observer->changed, &observer->mutex, deadline_ns))
                        return false;
        return true;
}

static void commit_comes_by_itself_after_the_interval(void **state)
{
        struct fixture *fixture = *state;
        struct statedb_options options = { .interval_ms = 20 };
        struct observer observer = { .mutex = MUTEX_INIT };

        condition_init(&observer.changed);
        fixture_open(fixture, &options);
        statedb_on_commit(fixture->db, observe, &observer);
        fixture_put(fixture, "N", "x");
        assert_true(observe_until(&observer, 1));
        fixture_put(fixture, "N", "y");
        assert_true(observe_until(&observer, 2));
        assert_int_equal(fixture_close(fixture), 0);
        condition_deinit(&observer.changed);
}

static void commit_comes_by_itself_when_much_has_gathered(void **state)
{
        struct fixture *fixture = *state;
        struct statedb_options options = { .interval_ms = 3600000, .commit_bytes = 100000 };
        struct observer observer = { .mutex = MUTEX_INIT };
        static char value[1000];
        char key[16];

        condition_init(&observer.changed);
        fixture_open(fixture, &options);
        statedb_on_commit(fixture->db, observe, &observer);
        for (int i = 0; i < 1000; i++) {
                (void)snprintf(key, sizeof(key), "N%04d", i);
                assert_int_equal(statedb_put(fixture->db, key, 5, value, sizeof(value)), 0);
                assert_int_equal(statedb_throttle(fixture->db), 0);
        }
        assert_true(observe_until(&observer, 50));
        assert_int_equal(fixture_close(fixture), 0);
        condition_deinit(&observer.changed);
}

static void throttle_returns_when_memory_is_below_its_bound(void **state)
{
        struct fixture *fixture = *state;
        struct statedb_options options = { .interval_ms = 3600000, .throttle_bytes = 1000 };
        static char value[2000];

        fixture_open(fixture, &options);
        assert_int_equal(statedb_put(fixture->db, "N", 1, value, sizeof(value)), 0);
        while (statedb_throttle(fixture->db) == -ETIMEDOUT)
                ;
        assert_int_equal(statedb_durable_seq(fixture->db), 1);
}

/* ---- ordered reads ---- */

static void next_merges_memory_over_disk(void **state)
{
        struct fixture *fixture = *state;
        struct statedb_entry entry = { 0 };
        char seen[64] = "";
        int result;

        fixture_open(fixture, &ON_REQUEST);
        fixture_put(fixture, "M", "other table");
        fixture_put(fixture, "Na", "disk");
        fixture_put(fixture, "Nb", "disk");
        fixture_put(fixture, "Nd", "disk");
        fixture_put(fixture, "O", "other table");
        assert_int_equal(fixture_wait(fixture), 0);
        fixture_delete(fixture, "Nb");
        fixture_delete(fixture, "Nx");
        fixture_put(fixture, "Nc", "new");
        fixture_put(fixture, "Nd", "changed");
        fixture_put(fixture, "N", "new");
        result = statedb_next(fixture->db, NULL, 0, "N", 1, &entry);
        while (result == 0) {
                strncat(seen, (char *)entry.key, entry.key_size);
                strcat(seen, "=");
                strncat(seen, (char *)entry.value, entry.value_size);
                strcat(seen, " ");
                result = statedb_next(fixture->db, entry.key, entry.key_size, "N", 1, &entry);
        }
        assert_int_equal(result, -ENOENT);
        assert_string_equal(seen, "N=new Na=disk Nc=new Nd=changed ");
        assert_int_equal(statedb_next(fixture->db, "A", 1, "N", 1, &entry), 0); /* after lies before the prefix */
        assert_int_equal(entry.key_size, 1);
        assert_int_equal(statedb_next(fixture->db, "O", 1, "N", 1, &entry), -ENOENT);
        assert_int_equal(statedb_next(fixture->db, "Nd", 2, NULL, 0, &entry), 0);
        assert_memory_equal(entry.key, "O", 1);
        statedb_entry_deinit(&entry);
        statedb_entry_deinit(&entry);
}

struct collector {
        uint32_t next;
        uint32_t step;
        uint64_t count, stop_at;
};

static bool collect(void *context, const struct statedb_view *entry)
{
        struct collector *collector = context;
        uint32_t number, value;

        assert_int_equal(entry->key_size, 5);
        assert_int_equal(entry->value_size, 4);
        memcpy(&number, entry->key + 1, 4);
        memcpy(&value, entry->value, 4);
        assert_int_equal(__builtin_bswap32(number), collector->next);
        assert_int_equal(value, collector->next);
        collector->next += collector->step;
        collector->count++;
        return collector->count != collector->stop_at;
}

static void put_number(struct fixture *fixture, uint32_t number, bool delete)
{
        uint32_t big = __builtin_bswap32(number);
        uint8_t key[5] = { 'N' };

        memcpy(key + 1, &big, 4);
        if (delete)
                assert_int_equal(statedb_delete(fixture->db, key, sizeof(key)), 0);
        else
                assert_int_equal(statedb_put(fixture->db, key, sizeof(key), &number, sizeof(number)), 0);
}

static void scan_shows_each_live_entry_once(void **state)
{
        struct fixture *fixture = *state;
        struct collector collector = { .step = 2 };

        fixture_open(fixture, &ON_REQUEST);
        for (uint32_t i = 0; i < 20000; i++)
                if (i % 4 != 2)
                        put_number(fixture, i, false);
        assert_int_equal(fixture_wait(fixture), 0);
        for (uint32_t i = 0; i < 20000; i++)
                if (i % 4 >= 1)
                        put_number(fixture, i, i % 4 != 2);
        assert_int_equal(statedb_scan(fixture->db, NULL, 0, "N", 1, UINT64_MAX, collect, &collector), 10000);
        collector = (struct collector){ .step = 2 };
        assert_int_equal(statedb_scan(fixture->db, NULL, 0, "N", 1, 777, collect, &collector), 777);
        assert_int_equal(collector.count, 777);
        collector = (struct collector){ .step = 2, .stop_at = 600 };
        assert_int_equal(statedb_scan(fixture->db, NULL, 0, "N", 1, UINT64_MAX, collect, &collector), 600);
        collector = (struct collector){ .step = 2, .next = 10002 };
        assert_int_equal(statedb_scan(fixture->db, "N\0\0\x27\x10", 5, "N", 1, 3, collect, &collector), 3);
        assert_int_equal(statedb_scan(fixture->db, NULL, 0, "Z", 1, 3, collect, &collector), 0);
        assert_int_equal(fixture_wait(fixture), 0);
        collector = (struct collector){ .step = 2 };
        assert_int_equal(statedb_scan(fixture->db, NULL, 0, "N", 1, UINT64_MAX, collect, &collector), 10000);
}

static void scan_passes_more_tombstones_than_fit_into_a_piece(void **state)
{
        struct fixture *fixture = *state;
        struct collector collector = { .step = 1, .next = 5000 };

        fixture_open(fixture, &ON_REQUEST);
        for (uint32_t i = 0; i <= 5000; i++)
                put_number(fixture, i, false);
        assert_int_equal(fixture_wait(fixture), 0);
        for (uint32_t i = 0; i < 5000; i++)
                put_number(fixture, i, true);
        assert_int_equal(statedb_scan(fixture->db, NULL, 0, "N", 1, UINT64_MAX, collect, &collector), 1);
        struct statedb_entry entry = { 0 };
        assert_int_equal(statedb_next(fixture->db, NULL, 0, "N", 1, &entry), 0);
        assert_int_equal(entry.value_size, 4);
        statedb_entry_deinit(&entry);
}

static void largest_values_pass_through_next_and_scan(void **state)
{
        struct fixture *fixture = *state;
        struct statedb_entry entry = { 0 };
        uint8_t *value = malloc(STATEDB_VALUE_BYTES);

        assert_non_null(value);
        fixture_open(fixture, &ON_REQUEST);
        for (int i = 0; i < 20; i++) {
                char key[8];

                memset(value, i, STATEDB_VALUE_BYTES);
                (void)snprintf(key, sizeof(key), "N%02d", i);
                assert_int_equal(statedb_put(fixture->db, key, 3, value, STATEDB_VALUE_BYTES), 0);
                if (i == 10)
                        assert_int_equal(fixture_wait(fixture), 0);
        }
        for (int i = 0; i < 20; i++) {
                assert_int_equal(statedb_next(fixture->db, entry.key, entry.key_size, "N", 1, &entry), 0);
                assert_int_equal(entry.value_size, STATEDB_VALUE_BYTES);
                assert_int_equal(entry.value[STATEDB_VALUE_BYTES - 1], i);
        }
        assert_int_equal(statedb_next(fixture->db, entry.key, entry.key_size, "N", 1, &entry), -ENOENT);
        statedb_entry_deinit(&entry);
        free(value);
}

/* ---- threads ---- */

enum { PAIRS = 32, ROUNDS = 1500 };

struct workers {
        struct statedb *db;
        struct mutex mutex;
        bool stop;
};

static bool stopped(struct workers *workers)
{
        MUTEX_SCOPE(&workers->mutex);
        return workers->stop;
}

struct pair_check {
        uint32_t values[PAIRS * 2];
        unsigned count;
};

static bool take_pair(void *context, const struct statedb_view *entry)
{
        struct pair_check *check = context;

        if (check->count == PAIRS * 2 || entry->value_size != 4)
                abort();
        memcpy(&check->values[check->count++], entry->value, 4);
        return true;
}

/* Both keys of a pair are always changed in one batch, so a piece never shows one half. */
static void *pair_reader(void *argument)
{
        struct workers *workers = argument;

        while (!stopped(workers)) {
                struct pair_check check = { .count = 0 };
                struct statedb_entry entry = { 0 };

                if (statedb_scan(workers->db, NULL, 0, "P", 1, UINT64_MAX, take_pair, &check) < 0)
                        abort();
                if (check.count % 2 != 0)
                        abort();
                for (unsigned i = 0; i < check.count; i += 2)
                        if (check.values[i] != check.values[i + 1])
                                abort();
                int result = statedb_next(workers->db, NULL, 0, "P", 1, &entry);
                if (result < 0 && result != -ENOENT)
                        abort();
                statedb_entry_deinit(&entry);
        }
        return NULL;
}

static void apply_pair(struct statedb *db, unsigned pair, uint32_t value, bool delete)
{
        struct statedb_batch batch;
        uint8_t key[3] = { 'P', (uint8_t)pair, 0 };

        statedb_batch_init(&batch);
        for (int half = 0; half < 2; half++) {
                key[2] = (uint8_t)half;
                if (delete)
                        statedb_batch_delete(&batch, key, sizeof(key));
                else
                        statedb_batch_put(&batch, key, sizeof(key), &value, sizeof(value));
        }
        if (statedb_apply(db, &batch, NULL) < 0)
                abort();
}

struct writer_job {
        struct workers *workers;
        unsigned base;
};

/* Each writer has its own keys and always reads back what it wrote, whatever commits. */
static void *pair_writer(void *argument)
{
        const struct writer_job *job = argument;
        struct workers *workers = job->workers;
        unsigned base = job->base, seed = base + 1;

        for (uint32_t i = 0; i < ROUNDS; i++) {
                unsigned pair = base + (unsigned)rand_r(&seed) % (PAIRS / 2);
                uint8_t key[3] = { 'P', (uint8_t)pair, 1 };
                bool delete = rand_r(&seed) % 4 == 0;
                uint32_t got = 0;
                size_t size = 0;
                int result;

                apply_pair(workers->db, pair, i, delete);
                if (i % 16 == 0)
                        (void)statedb_request_commit(workers->db);
                result = statedb_get(workers->db, key, sizeof(key), &got, sizeof(got), &size);
                if (delete ? result != -ENOENT : result != 0 || got != i)
                        abort();
        }
        return NULL;
}

static void readers_see_whole_batches_while_commits_go_on(void **state)
{
        struct fixture *fixture = *state;
        struct statedb_options options = { .interval_ms = 1 };
        struct workers workers = { .mutex = MUTEX_INIT };
        struct writer_job jobs[2] = { { &workers, 0 }, { &workers, PAIRS / 2 } };
        pthread_t readers[2], writers[2];

        fixture_open(fixture, &options);
        workers.db = fixture->db;
        for (int i = 0; i < 2; i++)
                assert_int_equal(thread_start(&readers[i], "reader", pair_reader, &workers), 0);
        for (int i = 0; i < 2; i++)
                assert_int_equal(thread_start(&writers[i], "writer", pair_writer, &jobs[i]), 0);
        for (int i = 0; i < 2; i++)
                assert_int_equal(pthread_join(writers[i], NULL), 0);
        mutex_lock(&workers.mutex);
        workers.stop = true;
        mutex_unlock(&workers.mutex);
        for (int i = 0; i < 2; i++)
                assert_int_equal(pthread_join(readers[i], NULL), 0);
        assert_int_equal(fixture_close(fixture), 0);
}

/* ---- against a model ---- */

static void random_calls_agree_with_an_array_over_reopenings(void **state)
{
        enum { KEYS = 300, CALLS = 6000 };
        static uint32_t model[KEYS]; /* 0: absent */
        struct fixture *fixture = *state;
        unsigned seed = (unsigned)time(NULL);

        print_message("seed %u\n", seed);
        memset(model, 0, sizeof(model));
        fixture_open(fixture, &ON_REQUEST);
        for (uint32_t call = 1; call < CALLS; call++) {
                uint32_t number = (uint32_t)rand_r(&seed) % KEYS, big = __builtin_bswap32(number), got;
                uint8_t key[5] = { 'N' };
                size_t size;

                memcpy(key + 1, &big, 4);
                if (rand_r(&seed) % 3 == 0) {
                        assert_int_equal(statedb_delete(fixture->db, key, 5), 0);
                        model[number] = 0;
                } else {
                        assert_int_equal(statedb_put(fixture->db, key, 5, &call, 4), 0);
                        model[number] = call;
                }
                if (rand_r(&seed) % 64 == 0)
                        (void)statedb_request_commit(fixture->db);
                if (rand_r(&seed) % 2000 == 0) {
                        assert_int_equal(fixture_close(fixture), 0);
                        fixture_open(fixture, &ON_REQUEST);
                }
                number = (uint32_t)rand_r(&seed) % KEYS;
                big = __builtin_bswap32(number);
                memcpy(key + 1, &big, 4);
                int result = statedb_get(fixture->db, key, 5, &got, 4, &size);
                assert_int_equal(result, model[number] ? 0 : -ENOENT);
                assert_true(result < 0 || got == model[number]);
        }
}

/* ---- opening ---- */

static void second_opening_is_EBUSY(void **state)
{
        struct fixture *fixture = *state;
        struct statedb *second = NULL;
        struct error error;

        fixture_open(fixture, NULL);
        assert_int_equal(statedb_open(fixture->path, NULL, &error, &second), -EBUSY);
        assert_non_null(strstr(error.message, "in use"));
        assert_null(second);
        fixture_put(fixture, "N", "x");
        assert_int_equal(fixture_wait(fixture), 0);
}

static void newer_format_is_refused_with_its_sentence(void **state)
{
        struct fixture *fixture = *state;
        struct record_key key = record_key_meta(RECORD_FORMAT_NAME);
        struct format_record format = { .version = STATEDB_FORMAT + 1 };
        struct error error;
        uint8_t value[16];
        size_t size;

        fixture_open(fixture, NULL);
        assert_int_equal(record_encode_format(&format, value, sizeof(value), &size), 0);
        assert_int_equal(statedb_put(fixture->db, key.bytes, key.size, value, size), 0);
        assert_int_equal(fixture_close(fixture), 0);
        assert_int_equal(statedb_open(fixture->path, NULL, &error, &fixture->db), -EPROTONOSUPPORT);
        assert_non_null(strstr(error.message, "made by a newer version of cvv"));
        assert_int_equal(statedb_check(fixture->path, record_validate), -EPROTONOSUPPORT);
}

static void state_without_its_format_is_EBADMSG(void **state)
{
        struct fixture *fixture = *state;
        struct record_key key = record_key_meta(RECORD_FORMAT_NAME);
        struct error error;

        fixture_open(fixture, NULL);
        fixture_put(fixture, "Nx", "x");
        assert_int_equal(statedb_delete(fixture->db, key.bytes, key.size), 0);
        assert_int_equal(fixture_close(fixture), 0);
        assert_int_equal(statedb_open(fixture->path, NULL, &error, &fixture->db), -EBADMSG);
}

static void missing_directory_is_named(void **state)
{
        struct statedb *db = NULL;
        struct error error;

        assert_int_equal(statedb_open("/nonexistent/state", NULL, &error, &db), -ENOENT);
        assert_non_null(strstr(error.message, "/nonexistent/state"));
        assert_int_equal(statedb_close(NULL), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(changes_are_seen_at_once_and_survive_closing),
                TEST(small_room_is_ERANGE_in_memory_and_on_disk),
                TEST(sizes_out_of_range_are_EINVAL_and_the_batch_is_refused),
                TEST(batch_is_applied_in_order_and_numbered),
                TEST(wait_knows_only_numbers_that_were_given_out),
                TEST(commit_comes_by_itself_after_the_interval),
                TEST(commit_comes_by_itself_when_much_has_gathered),
                TEST(throttle_returns_when_memory_is_below_its_bound),
                TEST(next_merges_memory_over_disk),
                TEST(scan_shows_each_live_entry_once),
                TEST(scan_passes_more_tombstones_than_fit_into_a_piece),
                TEST(largest_values_pass_through_next_and_scan),
                TEST(readers_see_whole_batches_while_commits_go_on),
                TEST(random_calls_agree_with_an_array_over_reopenings),
                TEST(second_opening_is_EBUSY),
                TEST(newer_format_is_refused_with_its_sentence),
                TEST(state_without_its_format_is_EBADMSG),
                TEST(missing_directory_is_named),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
