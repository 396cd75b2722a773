#include "statedb_fixture.h"

#include "core/record.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <time.h>

enum { NODES = 3000 };

static const char MARK[] = "mark-in-a-name";

static void put_node(struct fixture *fixture, uint64_t id, uint32_t version)
{
        struct record_key key = record_key_node(id);
        struct node_record node = { .parent = 1, .name_size = sizeof(MARK) - 1, .size = id * 1000, .generation = version };
        uint8_t value[RECORD_VALUE_BYTES];
        size_t size;

        memcpy(node.name, MARK, sizeof(MARK));
        assert_int_equal(record_encode_node(&node, value, sizeof(value), &size), 0);
        assert_int_equal(statedb_put(fixture->db, key.bytes, key.size, value, size), 0);
}

/* A state with several levels, overflow pages and a list of free pages. */
static void fill(struct fixture *fixture)
{
        static uint8_t blob[RECORD_BLOB_BYTES], value[RECORD_BLOB_BYTES + RECORD_BLOB_EXTRA_BYTES];
        size_t size;

        fixture_open(fixture, NULL);
        for (uint32_t version = 0; version < 3; version++) {
                for (uint64_t id = 1; id <= NODES; id += 1 + version)
                        put_node(fixture, id, version);
                assert_int_equal(fixture_wait(fixture), 0);
        }
        for (uint64_t id = 1; id <= 5; id++) {
                struct record_key key = record_key_digest(id, 1);

                assert_int_equal(record_encode_blob(TABLE_DIGEST, blob, sizeof(blob), value, sizeof(value), &size), 0);
                assert_int_equal(statedb_put(fixture->db, key.bytes, key.size, value, size), 0);
        }
        assert_int_equal(fixture_close(fixture), 0);
}

static size_t data_size(const struct fixture *fixture)
{
        struct stat attributes;

        assert_int_equal(stat(fixture->data_path, &attributes), 0);
        return (size_t)attributes.st_size;
}

static void intact_state_is_0(void **state)
{
        struct fixture *fixture = *state;

        fixture_open(fixture, NULL);
        assert_int_equal(fixture_close(fixture), 0);
        assert_int_equal(statedb_check(fixture->path, record_validate), 0);
        fill(fixture);
        assert_int_equal(statedb_check(fixture->path, record_validate), 0);
        assert_int_equal(statedb_check(fixture->path, NULL), 0);
}

static void no_state_is_ENOENT(void **state)
{
        struct fixture *fixture = *state;

        assert_int_equal(statedb_check(fixture->path, NULL), -ENOENT);
        assert_int_equal(statedb_check("/nonexistent/state", NULL), -ENOENT);
}

static void cut_file_is_damaged(void **state)
{
        struct fixture *fixture = *state;
        size_t size;

        fill(fixture);
        size = data_size(fixture);
        for (unsigned part = 7; part > 0; part--) {
                assert_int_equal(truncate(fixture->data_path, (off_t)(size * part / 8 & ~(size_t)4095)), 0);
                assert_int_equal(statedb_check(fixture->path, record_validate), STATEDB_DAMAGED);
        }
        static const off_t sizes[] = { 8192, 4096, 100, 1, 0 };
        for (unsigned i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
                assert_int_equal(truncate(fixture->data_path, sizes[i]), 0);
                assert_int_equal(statedb_check(fixture->path, NULL), STATEDB_DAMAGED);
        }
}

static void other_file_is_damaged_and_not_opened(void **state)
{
        struct fixture *fixture = *state;
        struct error error;
        char noise[20000];
        int fd = open(fixture->data_path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

        memset(noise, 'x', sizeof(noise));
        assert_int_equal(write(fd, noise, sizeof(noise)), sizeof(noise));
        assert_int_equal(close(fd), 0);
        assert_int_equal(statedb_check(fixture->path, NULL), STATEDB_DAMAGED);
        assert_int_equal(statedb_open(fixture->path, NULL, &error, &fixture->db), -EBADMSG);
}

static uint8_t *load(const struct fixture *fixture, size_t size)
{
        uint8_t *bytes = malloc(size);
        int fd = open(fixture->data_path, O_RDONLY | O_CLOEXEC);

        assert_non_null(bytes);
        assert_int_equal(pread(fd, bytes, size, 0), size);
        (void)close(fd); /* only read */
        return bytes;
}

static void store(const struct fixture *fixture, const uint8_t *bytes, size_t size)
{
        int fd = open(fixture->data_path, O_WRONLY | O_CLOEXEC);

        assert_int_equal(pwrite(fd, bytes, size, 0), size);
        assert_int_equal(close(fd), 0);
}

static void changed_record_is_damage_for_the_validator_only(void **state)
{
        struct fixture *fixture = *state;
        size_t size;
        uint8_t *bytes;

        fill(fixture);
        size = data_size(fixture);
        bytes = load(fixture, size);
        for (uint8_t *at = bytes; (at = memmem(at, size - (size_t)(at - bytes), MARK, sizeof(MARK) - 1)); at++)
                at[3] ^= 1; /* in all copies, for most lie in free pages */
        store(fixture, bytes, size);
        free(bytes);
        assert_int_equal(statedb_check(fixture->path, record_validate), STATEDB_DAMAGED);
        assert_int_equal(statedb_check(fixture->path, NULL), 0);
}

static void random_damage_never_harms_the_caller(void **state)
{
        struct fixture *fixture = *state;
        const char *given = getenv("CVV_TEST_SEED");
        unsigned seed = given ? (unsigned)strtoul(given, NULL, 10) : (unsigned)time(NULL), damaged = 0;
        size_t size;
        uint8_t *bytes, *changed;

        print_message("seed %u\n", seed);
        fill(fixture);
        size = data_size(fixture);
        bytes = load(fixture, size);
        changed = malloc(size);
        assert_non_null(changed);
        for (unsigned round = 0; round < 40; round++) {
                size_t span = round % 2 ? 8192 : size; /* half of them in the meta pages */
                int result;

                memcpy(changed, bytes, size);
                for (unsigned i = 0; i < 4 + round * 4; i++)
                        changed[(size_t)rand_r(&seed) % span] ^= (uint8_t)(1u << rand_r(&seed) % 8);
                store(fixture, changed, size);
                result = statedb_check(fixture->path, record_validate);
                if (result != 0 && result != STATEDB_DAMAGED && result != -EPROTONOSUPPORT)
                        fail_msg("round %u: %d", round, result);
                damaged += result == STATEDB_DAMAGED;
        }
        assert_true(damaged > 0);
        store(fixture, bytes, size);
        assert_int_equal(statedb_check(fixture->path, record_validate), 0);
        free(changed);
        free(bytes);
}

static int kill_own_process(const void *key, size_t key_size, const void *value, size_t value_size)
{
        return raise(SIGTERM);
}

static void check_that_was_killed_says_nothing_about_the_state(void **state)
{
        struct fixture *fixture = *state;

        fixture_open(fixture, NULL);
        assert_int_equal(fixture_close(fixture), 0);
        assert_int_equal(statedb_check(fixture->path, kill_own_process), -EINTR);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(intact_state_is_0),
                TEST(no_state_is_ENOENT),
                TEST(cut_file_is_damaged),
                TEST(other_file_is_damaged_and_not_opened),
                TEST(changed_record_is_damage_for_the_validator_only),
                TEST(random_damage_never_harms_the_caller),
                TEST(check_that_was_killed_says_nothing_about_the_state),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
