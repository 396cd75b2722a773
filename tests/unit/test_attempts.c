/* How often files were copied again. */
#include "sandbox.h"

#include "core/attempts.h"

static int make_table(void **state)
{
        struct attempts *attempts;
        int result = attempts_new(&attempts);

        *state = attempts;
        return result;
}

static int free_table(void **state)
{
        attempts_free(*state);
        return 0;
}

struct listed {
        unsigned count, times, slot;
        uint64_t id;
};

static void list(void *context, uint64_t id, unsigned slot, unsigned times)
{
        struct listed *listed = context;

        listed->count++;
        listed->id = id;
        listed->slot = slot;
        listed->times = times;
}

static struct listed list_repaired(struct attempts *attempts)
{
        struct listed listed = { 0 };

        attempts_each_repaired(attempts, list, &listed);
        return listed;
}

static void attempts_count_for_each_file_and_slot(void **state)
{
        struct attempts *attempts = *state;

        assert_int_equal(attempts_add(attempts, 7, 0), 1);
        assert_int_equal(attempts_add(attempts, 7, 0), 2);
        assert_int_equal(attempts_add(attempts, 7, 1), 1);
        assert_int_equal(attempts_add(attempts, 8, 0), 1);
        assert_int_equal(attempts_add(attempts, 7, ATTEMPTS_SOURCE), 1);
        assert_int_equal(attempts_add(attempts, 7, ATTEMPTS_LOOKS), 1);
}

static void repaired_file_is_news_once_and_begins_to_count_anew(void **state)
{
        struct attempts *attempts = *state;

        assert_false(attempts_repaired(attempts, 7, 0)); /* nothing was wrong with it */
        (void)attempts_add(attempts, 7, 0);
        (void)attempts_add(attempts, 7, 0);
        assert_true(attempts_repaired(attempts, 7, 0));
        assert_false(attempts_repaired(attempts, 7, 0));
        assert_int_equal(attempts_add(attempts, 7, 0), 1);
        assert_true(attempts_repaired(attempts, 7, 0));
        assert_int_equal(list_repaired(attempts).times, 3);
}

static void list_holds_what_was_repaired_and_is_good_now(void **state)
{
        struct attempts *attempts = *state;
        struct listed listed;

        (void)attempts_add(attempts, 7, 3);
        (void)attempts_add(attempts, 8, 4);
        assert_int_equal(list_repaired(attempts).count, 0);
        assert_true(attempts_repaired(attempts, 7, 3));
        listed = list_repaired(attempts);
        assert_int_equal(listed.count, 1);
        assert_int_equal(listed.id, 7);
        assert_int_equal(listed.slot, 3);
        assert_int_equal(listed.times, 1);
        (void)attempts_add(attempts, 7, 3); /* bad again */
        assert_int_equal(list_repaired(attempts).count, 0);
}

static void retry_lets_everything_be_tried_again_and_keeps_the_list(void **state)
{
        struct attempts *attempts = *state;

        (void)attempts_add(attempts, 7, 0);
        assert_true(attempts_repaired(attempts, 7, 0));
        (void)attempts_add(attempts, 8, 0);
        (void)attempts_add(attempts, 8, 0);
        attempts_clear(attempts);
        assert_int_equal(list_repaired(attempts).count, 1);
        assert_int_equal(attempts_add(attempts, 8, 0), 1);
}

static void forgotten_attempts_count_from_one_and_are_no_repair(void **state)
{
        struct attempts *attempts = *state;

        attempts_forget(attempts, 7, ATTEMPTS_LOOKS);
        (void)attempts_add(attempts, 7, ATTEMPTS_LOOKS);
        (void)attempts_add(attempts, 7, ATTEMPTS_LOOKS);
        attempts_forget(attempts, 7, ATTEMPTS_LOOKS);
        assert_int_equal(attempts_add(attempts, 7, ATTEMPTS_LOOKS), 1);
        assert_int_equal(list_repaired(attempts).count, 0);
}

static void full_table_forgets_the_oldest(void **state)
{
        struct attempts *attempts = *state;

        for (uint64_t id = 1; id <= ATTEMPTS_FILES; id++)
                assert_int_equal(attempts_add(attempts, id, 0), 1);
        assert_int_equal(attempts_add(attempts, 1, 0), 2);
        assert_int_equal(attempts_add(attempts, ATTEMPTS_FILES + 1, 0), 1);
        assert_int_equal(attempts_add(attempts, 2, 0), 2);
        assert_int_equal(attempts_add(attempts, ATTEMPTS_FILES, 0), 2);
        assert_int_equal(attempts_add(attempts, 1, 0), 1);
}

#define TABLE_CASE(name) cmocka_unit_test_setup_teardown(name, make_table, free_table)

int main(void)
{
        const struct CMUnitTest tests[] = {
                TABLE_CASE(attempts_count_for_each_file_and_slot),
                TABLE_CASE(repaired_file_is_news_once_and_begins_to_count_anew),
                TABLE_CASE(list_holds_what_was_repaired_and_is_good_now),
                TABLE_CASE(retry_lets_everything_be_tried_again_and_keeps_the_list),
                TABLE_CASE(forgotten_attempts_count_from_one_and_are_no_repair),
                TABLE_CASE(full_table_forgets_the_oldest),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
