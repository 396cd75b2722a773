#include "mirror_fixture.h"

#include "core/report_text.h"

struct refusals {
        unsigned count;
};

static void count_refusal(void *context, const struct mirror_need *target, const char *path, const char *reason)
{
        struct refusals *refusals = context;

        (void)target;
        assert_true(*path && *reason);
        refusals->count++;
}

static bool is_scanned(struct lab *lab)
{
        return !mirror_is_busy(lab->mirror);
}

/* Opens, scans, and says what is needed. */
static void survey(struct lab *lab, struct mirror_need *needs)
{
        struct refusals refusals = { 0 };
        struct error error = { 0 };

        if (mirror_open_untouched(&lab->options, NULL, &error, &lab->mirror) < 0 || mirror_start_survey(lab->mirror, &error) < 0)
                fail_msg("%s", error.message);
        lab_wait(lab, is_scanned);
        assert_int_equal(mirror_survey(lab->mirror, count_refusal, &refusals, needs), 0);
        assert_int_equal(refusals.count, 0);
}

static void begin(struct lab *lab)
{
        struct error error = { 0 };

        if (mirror_begin(lab->mirror, NULL, &error) < 0)
                fail_msg("%s", error.message);
        lab_wait_idle(lab);
}

static void test_a_survey_that_is_not_begun_leaves_the_targets_as_they_were(void **state)
{
        struct lab *lab = *state;
        struct mirror_need needs[LAB_TARGETS];

        pattern_file(lab->source, "a", 3 * MIB, 1);
        lab_shell(lab, "rmdir t3 && stat -c '%n %Y %Z' t1 t2 > before");
        survey(lab, needs);
        lab_stop(lab);
        lab_shell(lab, "test ! -e t3 && test -z \"$(ls -A t1 t2 | grep -v :)\"");
        lab_shell(lab, "stat -c '%n %Y %Z' t1 t2 | diff - before");
}

static void test_begin_brings_what_the_survey_found(void **state)
{
        struct lab *lab = *state;
        struct mirror_need needs[LAB_TARGETS];

        pattern_file(lab->source, "a", 3 * MIB, 1);
        lab_shell(lab, "mkdir source/d && ln -s a source/l && ln source/a source/d/b");
        survey(lab, needs);
        begin(lab);
        lab_stop(lab);
        lab_assert_all_mirrored(lab);
}

static void test_the_next_survey_finds_nothing_to_do(void **state)
{
        struct lab *lab = *state;
        struct mirror_need needs[LAB_TARGETS];

        pattern_file(lab->source, "a", 3 * MIB, 1);
        lab_shell(lab, "mkdir source/d");
        lab_copy_all(lab);
        survey(lab, needs);
        for (size_t i = 0; i < LAB_TARGETS; i++)
                assert_true(needs[i].bytes == 0 && needs[i].shared_bytes == 0 && needs[i].shared_files == 0);
        lab_stop(lab);
}

static void test_space_counts_what_is_lacking_and_once_on_each_target(void **state)
{
        struct lab *lab = *state;
        struct mirror_need needs[LAB_TARGETS];

        pattern_file(lab->source, "a", 3 * MIB, 1);
        pattern_file(lab->source, "b", 2 * MIB, 2);
        lab_shell(lab, "ln source/a source/c && truncate -s 1T source/hole && cp -p source/a t2/a");
        survey(lab, needs);
        assert_true(needs[0].bytes >= 5 * MIB && needs[0].bytes < 5 * MIB + 65536);
        assert_true(needs[1].bytes >= 2 * MIB && needs[1].bytes < 2 * MIB + 65536);
        assert_true(needs[0].shared_bytes >= 12 * MIB && needs[0].shared_bytes < 12 * MIB + 65536 * 4);
        assert_true(needs[1].shared_bytes == needs[0].shared_bytes);
        assert_true(needs[0].space_known && needs[0].free_bytes > 0);
        lab_stop(lab);
}

static void test_what_will_be_compared_needs_no_space(void **state)
{
        struct lab *lab = *state;
        struct mirror_need needs[LAB_TARGETS];

        lab->options.existing = EXISTING_VERIFY;
        lab_shell(lab, "mkdir source/d t1/d");
        pattern_file(lab->source, "d/a", 3 * MIB, 1);
        pattern_file(lab->targets[0], "d/a", 3 * MIB, 1);
        survey(lab, needs);
        assert_true(needs[0].bytes < MIB);
        assert_true(needs[1].bytes >= 3 * MIB);
        lab_stop(lab);
}

static void test_a_partial_copy_counts_as_there(void **state)
{
        struct lab *lab = *state;
        struct mirror_need needs[LAB_TARGETS];
        uint8_t byte;

        pattern_file(lab->source, "a", 8 * MIB, 1);
        lab_start(lab);
        assert_int_equal(lab_read(lab, "a", 0, 1, &byte), 1);
        lab_wait_idle(lab);
        lab_stop(lab);
        survey(lab, needs);
        for (size_t i = 0; i < LAB_TARGETS; i++)
                assert_true(needs[i].bytes >= 6 * MIB && needs[i].bytes <= 7 * MIB + 65536);
        begin(lab);
        lab_stop(lab);
        lab_assert_all_mirrored(lab);
}

/* --- one file --- */

static void use_file(struct lab *lab, const char *name, const char *const *names)
{
        lab->options.source_file = strdup(name);
        assert_non_null(lab->options.source_file);
        for (; *names; names++)
                assert_int_equal(options_list_add(&lab->options.target_files, *names, strlen(*names)), 0);
}

static void test_one_file_gets_its_name_on_each_target_and_nothing_else_is_touched(void **state)
{
        struct lab *lab = *state;
        struct mirror_need needs[LAB_TARGETS];

        pattern_file(lab->source, "a", 3 * MIB, 1);
        pattern_file(lab->source, "other", MIB, 2);
        pattern_file(lab->targets[0], "theirs", 10, 3);
        lab_shell(lab, "mkdir source/d && chmod 700 t1 && chmod 751 source && touch -d 2001-01-01 source/a");
        use_file(lab, "a", (const char *const[]){ "a", "x", "y", NULL });
        survey(lab, needs);
        assert_true(needs[0].bytes >= 3 * MIB && needs[0].bytes < 4 * MIB);
        begin(lab);
        {
                cleanup(status_deinit) struct status status = lab_status(lab);

                assert_int_equal(status.files_total, 1);
                assert_int_equal(status.files[CATEGORY_COPIED], 1);
        }
        lab_stop(lab);
        assert_true(pattern_is(lab->targets[0], "a", 3 * MIB, 1));
        assert_true(pattern_is(lab->targets[1], "x", 3 * MIB, 1));
        assert_true(pattern_is(lab->targets[2], "y", 3 * MIB, 1));
        lab_shell(lab, "test \"$(ls -A t1 t2 t3 | tr '\\n' ' ')\" = 't1: a theirs  t2: x  t3: y '");
        lab_shell(lab, "test $(stat -c %a t1) = 700 && test $(stat -c %Y t2/x) = $(stat -c %Y source/a)");
        survey(lab, needs);
        assert_true(needs[0].shared_bytes == 0);
        lab_stop(lab);
}

static void test_one_file_under_another_name_is_copied_anew(void **state)
{
        struct lab *lab = *state;
        struct mirror_need needs[LAB_TARGETS];

        pattern_file(lab->source, "a", 3 * MIB, 1);
        use_file(lab, "a", (const char *const[]){ "a", "x", "y", NULL });
        survey(lab, needs);
        begin(lab);
        lab_stop(lab);
        free(lab->options.target_files.items[1]);
        lab->options.target_files.items[1] = strdup("z");
        survey(lab, needs);
        assert_true(needs[0].bytes == 0 && needs[1].bytes >= 3 * MIB && needs[2].bytes == 0);
        begin(lab);
        lab_stop(lab);
        assert_true(pattern_is(lab->targets[1], "z", 3 * MIB, 1));
        assert_true(pattern_is(lab->targets[1], "x", 3 * MIB, 1));
}

static void test_one_file_meets_another_under_its_name_as_a_conflict(void **state)
{
        struct lab *lab = *state;
        struct mirror_need needs[LAB_TARGETS];

        pattern_file(lab->source, "a", 3 * MIB, 1);
        pattern_file(lab->targets[1], "x", MIB, 2);
        use_file(lab, "a", (const char *const[]){ "a", "x", "y", NULL });
        survey(lab, needs);
        begin(lab);
        {
                cleanup(status_deinit) struct status status = lab_status(lab);

                assert_int_equal(status.files[CATEGORY_CONFLICT], 1);
        }
        lab_stop(lab);
        assert_true(pattern_is(lab->targets[1], "x", MIB, 2));
        assert_true(pattern_is(lab->targets[2], "y", 3 * MIB, 1));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                LAB_CASE(test_a_survey_that_is_not_begun_leaves_the_targets_as_they_were),
                LAB_CASE(test_begin_brings_what_the_survey_found),
                LAB_CASE(test_the_next_survey_finds_nothing_to_do),
                LAB_CASE(test_space_counts_what_is_lacking_and_once_on_each_target),
                LAB_CASE(test_what_will_be_compared_needs_no_space),
                LAB_CASE(test_a_partial_copy_counts_as_there),
                LAB_CASE(test_one_file_gets_its_name_on_each_target_and_nothing_else_is_touched),
                LAB_CASE(test_one_file_under_another_name_is_copied_anew),
                LAB_CASE(test_one_file_meets_another_under_its_name_as_a_conflict),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
