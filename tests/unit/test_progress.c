#include "core/progress.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SECOND UINT64_C(1000000000)
#define START (1000 * SECOND + 300000000) /* not on a second's edge */

/* ---- rate ---- */

static void rate_of_nothing_is_zero(void **state)
{
        struct rate rate = {0};

        assert_int_equal(rate_bytes_per_s(&rate, 0), 0);
        assert_int_equal(rate_bytes_per_s(&rate, START), 0);
        rate_add(&rate, 0, START);
        assert_int_equal(rate_bytes_per_s(&rate, START), 0);
}

static void steady_flow_has_its_rate_from_early_on(void **state)
{
        struct rate rate = {0};

        for (uint64_t i = 0; i < 300; i++) { /* 1000 bytes each 100 ms */
                uint64_t now_ns = START + i * SECOND / 10;

                rate_add(&rate, 1000, now_ns);
                if (i >= 20)
                        assert_in_range(rate_bytes_per_s(&rate, now_ns), 9500, 10500);
        }
}

static void first_second_does_not_overstate(void **state)
{
        struct rate rate = {0};

        rate_add(&rate, 4096, START);
        assert_int_equal(rate_bytes_per_s(&rate, START), 4096);
        assert_int_equal(rate_bytes_per_s(&rate, START + SECOND / 1000), 4096);
}

static void rate_falls_after_the_flow_ends_and_is_zero_after_the_window(void **state)
{
        struct rate rate = {0};
        uint64_t before = UINT64_MAX;

        for (uint64_t i = 0; i < 20; i++)
                rate_add(&rate, 1000000, START + i * SECOND);
        for (uint64_t i = 19; i < 29; i++) {
                uint64_t now = rate_bytes_per_s(&rate, START + i * SECOND);

                assert_true(now > 0 && now < before);
                before = now;
        }
        assert_int_equal(rate_bytes_per_s(&rate, START + 29 * SECOND), 0);
        assert_int_equal(rate_bytes_per_s(&rate, START + 90000 * SECOND), 0);
}

static void flow_after_a_pause_starts_afresh(void **state)
{
        struct rate rate = {0};

        rate_add(&rate, 1u << 30, START);
        rate_add(&rate, 5000, START + 1000 * SECOND);
        assert_int_equal(rate_bytes_per_s(&rate, START + 1001 * SECOND), 5000);
}

static void time_that_steps_back_loses_no_bytes(void **state)
{
        struct rate rate = {0};

        rate_add(&rate, 1000, START);
        rate_add(&rate, 1000, START - 5 * SECOND); /* another thread took its time a little earlier */
        assert_int_equal(rate_bytes_per_s(&rate, START - 5 * SECOND), 2000);
        assert_int_equal(rate_bytes_per_s(&rate, START), 2000);
}

static void rate_of_huge_amounts_does_not_overflow(void **state)
{
        struct rate rate = {0};

        rate_add(&rate, UINT64_MAX / 2, START);
        assert_true(rate_bytes_per_s(&rate, START + 2 * SECOND) == UINT64_MAX / 4);
}

/* ---- arithmetic ---- */

static void eta_rounds_up_and_knows_when_nobody_knows(void **state)
{
        assert_int_equal(progress_eta_s(0, 0), 0);
        assert_int_equal(progress_eta_s(0, 100), 0);
        assert_int_equal(progress_eta_s(1, 0), -1);
        assert_int_equal(progress_eta_s(100, 100), 1);
        assert_int_equal(progress_eta_s(101, 100), 2);
        assert_true(progress_eta_s(UINT64_MAX, 1) == INT64_MAX);
}

static void tenths_are_floored_and_full_only_when_complete(void **state)
{
        assert_int_equal(progress_tenths(0, 0, false), 0);
        assert_int_equal(progress_tenths(0, 0, true), 1000);
        assert_int_equal(progress_tenths(0, 10, true), 0);
        assert_int_equal(progress_tenths(1, 3, false), 333);
        assert_int_equal(progress_tenths(2, 3, false), 666);
        assert_int_equal(progress_tenths(10, 10, false), 999);
        assert_int_equal(progress_tenths(10, 10, true), 1000);
        assert_int_equal(progress_tenths(11, 10, true), 999);
        assert_int_equal(progress_tenths(999999, 1000000, true), 999);
        assert_int_equal(progress_tenths(UINT64_MAX - 1, UINT64_MAX, true), 999);
        assert_int_equal(progress_tenths(UINT64_MAX / 2, UINT64_MAX, true), 499);
        assert_int_equal(progress_tenths(UINT64_MAX, UINT64_MAX, true), 1000);
        assert_int_equal(progress_tenths(5, 0, true), 0);
}

/* ---- counters ---- */

static int setup(void **state)
{
        struct progress *progress = malloc(sizeof(*progress));

        if (!progress)
                return -1;
        progress_init(progress);
        *state = progress;
        return 0;
}

static int teardown(void **state)
{
        progress_deinit(*state);
        free(*state);
        return 0;
}

static void fresh_counters_are_zero(void **state)
{
        struct progress_snapshot snapshot, zero;

        memset(&zero, 0, sizeof(zero));
        progress_snapshot(*state, &snapshot);
        assert_memory_equal(snapshot.files, zero.files, sizeof(zero.files));
        assert_memory_equal(snapshot.targets, zero.targets, sizeof(zero.targets));
        assert_int_equal(snapshot.rate_bytes_per_s, 0);
        assert_false(snapshot.scan_complete);
}

static void file_moves_from_one_category_to_another(void **state)
{
        struct progress_snapshot snapshot;

        progress_add(*state, CATEGORY_PENDING, 3, 300);
        progress_move(*state, CATEGORY_PENDING, CATEGORY_COPIED, 120);
        progress_move(*state, CATEGORY_PENDING, CATEGORY_FAILED, 80);
        progress_add(*state, CATEGORY_FAILED, -1, -80);
        progress_verified_add(*state, 1, 120);
        progress_set_scan_complete(*state, true);
        progress_snapshot(*state, &snapshot);
        assert_int_equal(snapshot.files[CATEGORY_PENDING], 1);
        assert_int_equal(snapshot.bytes[CATEGORY_PENDING], 100);
        assert_int_equal(snapshot.files[CATEGORY_COPIED], 1);
        assert_int_equal(snapshot.bytes[CATEGORY_COPIED], 120);
        assert_int_equal(snapshot.files[CATEGORY_FAILED], 0);
        assert_int_equal(snapshot.bytes[CATEGORY_FAILED], 0);
        assert_int_equal(snapshot.files_verified, 1);
        assert_int_equal(snapshot.bytes_verified, 120);
        assert_true(snapshot.scan_complete);
}

static void deltas_that_arrive_in_the_wrong_order_add_up(void **state)
{
        struct progress_snapshot snapshot;

        progress_add(*state, CATEGORY_PENDING, -1, -50);
        progress_target_add(*state, 0, 0, 0, -50);
        progress_snapshot(*state, &snapshot);
        assert_int_equal(snapshot.files[CATEGORY_PENDING], 0);
        assert_int_equal(snapshot.bytes[CATEGORY_PENDING], 0);
        assert_int_equal(snapshot.owed_bytes, 0);
        progress_add(*state, CATEGORY_PENDING, 2, 70);
        progress_target_add(*state, 0, 0, 0, 70);
        progress_snapshot(*state, &snapshot);
        assert_int_equal(snapshot.files[CATEGORY_PENDING], 1);
        assert_int_equal(snapshot.bytes[CATEGORY_PENDING], 20);
        assert_int_equal(snapshot.owed_bytes, 20);
}

static void targets_are_counted_apart_and_summed(void **state)
{
        struct progress_snapshot snapshot;

        progress_target_add(*state, 0, 0, 0, 1000);
        progress_target_add(*state, 63, 0, 0, 1000);
        progress_target_add(*state, 63, 400, 100, -400);
        progress_queued_add(*state, 0, 64);
        progress_queued_add(*state, 63, 32);
        progress_queued_add(*state, 63, -16);
        progress_snapshot(*state, &snapshot);
        assert_int_equal(snapshot.targets[0].owed_bytes, 1000);
        assert_int_equal(snapshot.targets[63].present_bytes, 400);
        assert_int_equal(snapshot.targets[63].verified_bytes, 100);
        assert_int_equal(snapshot.targets[63].owed_bytes, 600);
        assert_int_equal(snapshot.targets[63].queued_bytes, 16);
        assert_int_equal(snapshot.owed_bytes, 1600);
        assert_int_equal(snapshot.queued_bytes, 80);
        progress_target_forget(*state, 63);
        progress_snapshot(*state, &snapshot);
        assert_int_equal(snapshot.owed_bytes, 1000);
        assert_int_equal(snapshot.targets[63].present_bytes, 0);
}

static void slots_that_do_not_exist_are_ignored(void **state)
{
        struct progress_snapshot snapshot;

        progress_target_add(*state, PROGRESS_TARGETS, 1, 1, 1);
        progress_queued_add(*state, PROGRESS_TARGETS, 1);
        progress_copied(*state, PROGRESS_TARGETS, 1);
        progress_target_forget(*state, PROGRESS_TARGETS);
        progress_snapshot(*state, &snapshot);
        assert_int_equal(snapshot.owed_bytes, 0);
        assert_int_equal(snapshot.rate_bytes_per_s, 0);
}

static void reads_of_the_source_and_opens_are_counted(void **state)
{
        struct progress_snapshot snapshot;

        progress_source_read(*state, 10, false);
        progress_source_read(*state, 7, true);
        progress_source_read(*state, 20, false);
        progress_passthrough_opened(*state);
        progress_snapshot(*state, &snapshot);
        assert_int_equal(snapshot.source_copy_bytes, 30);
        assert_int_equal(snapshot.source_verify_bytes, 7);
        assert_int_equal(snapshot.passthrough_opens, 1);
}

static void copied_bytes_feed_the_targets_rate_and_the_whole(void **state)
{
        struct progress_snapshot snapshot;

        progress_copied(*state, 1, 1000000);
        progress_copied(*state, 2, 3000000);
        progress_snapshot(*state, &snapshot);
        assert_true(snapshot.targets[1].rate_bytes_per_s > 0);
        assert_true(snapshot.targets[2].rate_bytes_per_s > snapshot.targets[1].rate_bytes_per_s);
        assert_true(snapshot.rate_bytes_per_s > snapshot.targets[2].rate_bytes_per_s);
        assert_int_equal(snapshot.targets[0].rate_bytes_per_s, 0);
}

static void categories_have_the_names_of_status_json(void **state)
{
        for (int i = 0; i < CATEGORY_COUNT; i++)
                assert_non_null(category_name((enum category)i));
        assert_string_equal(category_name(CATEGORY_PENDING), "pending");
        assert_string_equal(category_name(CATEGORY_CONFLICT), "conflict");
}

enum { FILES = 20000 };

static void *mover_main(void *argument)
{
        for (int i = 0; i < FILES; i++) {
                progress_move(argument, CATEGORY_PENDING, CATEGORY_COPIED, 10);
                progress_source_read(argument, 10, false);
        }
        return NULL;
}

static void snapshot_never_shows_a_file_in_two_categories_or_none(void **state)
{
        struct progress *progress = *state;
        struct progress_snapshot snapshot;
        pthread_t movers[2];

        progress_add(progress, CATEGORY_PENDING, 2 * FILES, 2 * FILES * 10);
        for (int i = 0; i < 2; i++)
                assert_int_equal(thread_start(&movers[i], "mover", mover_main, progress), 0);
        do {
                progress_snapshot(progress, &snapshot);
                assert_int_equal(snapshot.files[CATEGORY_PENDING] + snapshot.files[CATEGORY_COPIED], 2 * FILES);
                assert_int_equal(snapshot.bytes[CATEGORY_COPIED], 10 * snapshot.files[CATEGORY_COPIED]);
        } while (snapshot.files[CATEGORY_PENDING] > 0);
        for (int i = 0; i < 2; i++)
                assert_int_equal(pthread_join(movers[i], NULL), 0);
        progress_snapshot(progress, &snapshot);
        assert_int_equal(snapshot.source_copy_bytes, 2 * FILES * 10);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
            cmocka_unit_test(rate_of_nothing_is_zero),
            cmocka_unit_test(steady_flow_has_its_rate_from_early_on),
            cmocka_unit_test(first_second_does_not_overstate),
            cmocka_unit_test(rate_falls_after_the_flow_ends_and_is_zero_after_the_window),
            cmocka_unit_test(flow_after_a_pause_starts_afresh),
            cmocka_unit_test(time_that_steps_back_loses_no_bytes),
            cmocka_unit_test(rate_of_huge_amounts_does_not_overflow),
            cmocka_unit_test(eta_rounds_up_and_knows_when_nobody_knows),
            cmocka_unit_test(tenths_are_floored_and_full_only_when_complete),
            cmocka_unit_test_setup_teardown(fresh_counters_are_zero, setup, teardown),
            cmocka_unit_test_setup_teardown(file_moves_from_one_category_to_another, setup, teardown),
            cmocka_unit_test_setup_teardown(deltas_that_arrive_in_the_wrong_order_add_up, setup, teardown),
            cmocka_unit_test_setup_teardown(targets_are_counted_apart_and_summed, setup, teardown),
            cmocka_unit_test_setup_teardown(slots_that_do_not_exist_are_ignored, setup, teardown),
            cmocka_unit_test_setup_teardown(reads_of_the_source_and_opens_are_counted, setup, teardown),
            cmocka_unit_test_setup_teardown(copied_bytes_feed_the_targets_rate_and_the_whole, setup, teardown),
            cmocka_unit_test(categories_have_the_names_of_status_json),
            cmocka_unit_test_setup_teardown(snapshot_never_shows_a_file_in_two_categories_or_none, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
