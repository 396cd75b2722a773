#include "mirror_fixture.h"

/* What each target has before the mount: t1 an equal file, t2 one of the same size with other bytes and another mtime, t3 nothing. */
static void prepare(struct lab *lab)
{
        pattern_file(lab->source, "f", 3 * MIB + 5, 1);
        pattern_file(lab->targets[0], "f", 3 * MIB + 5, 1);
        pattern_file(lab->targets[1], "f", 3 * MIB + 5, 2);
        set_mtime(lab->source, "f", 1000000000);
        set_mtime(lab->targets[0], "f", 1000000000);
        set_mtime(lab->targets[1], "f", 1000000500);
}

static void fill_with(struct lab *lab, enum existing existing)
{
        lab->options.existing = existing;
        lab->options.fill = FILL_ALL;
        lab_start(lab);
        lab_wait_idle(lab);
}

static void assert_counts(struct lab *lab, uint64_t copied, uint64_t skipped, uint64_t conflict)
{
        cleanup(status_deinit) struct status status = lab_status(lab);

        assert_int_equal(status.files[CATEGORY_COPIED], copied);
        assert_int_equal(status.files[CATEGORY_SKIPPED], skipped);
        assert_int_equal(status.files[CATEGORY_CONFLICT], conflict);
        assert_int_equal(status.files[CATEGORY_PENDING], 0);
        assert_int_equal(status.files[CATEGORY_FAILED], 0);
}

static void test_skip_keeps_what_differs_and_reports_it(void **state)
{
        struct lab *lab = *state;
        char *text;
        size_t size;
        int fd;

        prepare(lab);
        fill_with(lab, EXISTING_SKIP);
        assert_counts(lab, 0, 0, 1);
        assert_string_equal(lab_xattr(lab, "f", "state"), "conflict");
        lab_assert_reads_pattern(lab, "f", 3 * MIB + 5, 1); /* the view shows the source's file */
        assert_int_equal(mirror_skipped(lab->mirror, &fd), 0);
        text = calloc(1, 4096);
        size = (size_t)pread(fd, text, 4095, 0);
        assert_true(size > 0 && memmem(text, size, "f", 1));
        free(text);
        (void)close(fd);
        lab_stop(lab);
        assert_true(pattern_is(lab->targets[0], "f", 3 * MIB + 5, 1));
        assert_true(pattern_is(lab->targets[1], "f", 3 * MIB + 5, 2));
        assert_true(pattern_is(lab->targets[2], "f", 3 * MIB + 5, 1));
}

static void test_skip_takes_size_and_mtime_as_equality(void **state)
{
        struct lab *lab = *state;

        pattern_file(lab->source, "f", MIB, 1);
        for (int i = 0; i < LAB_TARGETS; i++) {
                pattern_file(lab->targets[i], "f", MIB, 9); /* nobody looks */
                set_mtime(lab->targets[i], "f", 1000000000);
        }
        set_mtime(lab->source, "f", 1000000000);
        fill_with(lab, EXISTING_SKIP);
        assert_counts(lab, 0, 1, 0);
        assert_int_equal(lab_source_bytes(lab), 0);
        lab_stop(lab);
        assert_true(pattern_is(lab->targets[0], "f", MIB, 9));
}

static void test_verify_compares_and_keeps_what_differs(void **state)
{
        struct lab *lab = *state;

        prepare(lab);
        set_mtime(lab->targets[1], "f", 1000000000); /* size and mtime are the same: only bytes tell */
        fill_with(lab, EXISTING_VERIFY);
        assert_counts(lab, 0, 0, 1);
        lab_assert_reads_pattern(lab, "f", 3 * MIB + 5, 1);
        lab_stop(lab);
        assert_true(pattern_is(lab->targets[0], "f", 3 * MIB + 5, 1));
        assert_true(pattern_is(lab->targets[1], "f", 3 * MIB + 5, 2));
        assert_true(pattern_is(lab->targets[2], "f", 3 * MIB + 5, 1));
}

static void test_verify_finds_equal_files_and_gives_them_the_sources_times(void **state)
{
        struct lab *lab = *state;
        struct stat before, after, source;

        prepare(lab);
        pattern_file(lab->targets[1], "f", 3 * MIB + 5, 1);
        pattern_file(lab->targets[2], "f", 3 * MIB + 5, 1);
        assert_int_equal(fstatat(lab->targets[0], "f", &before, 0), 0);
        fill_with(lab, EXISTING_VERIFY);
        assert_counts(lab, 0, 1, 0);
        lab_stop(lab);
        assert_int_equal(fstatat(lab->targets[0], "f", &after, 0), 0);
        assert_int_equal(before.st_ino, after.st_ino);
        assert_true(pattern_is(lab->targets[0], "f", 3 * MIB + 5, 1));
        assert_int_equal(fstatat(lab->source, "f", &source, 0), 0);
        assert_int_equal(source.st_mtim.tv_sec, after.st_mtim.tv_sec);
        assert_int_equal(source.st_mtim.tv_nsec, after.st_mtim.tv_nsec);
        fill_with(lab, EXISTING_VERIFY); /* and are known by them the next time */
        assert_counts(lab, 0, 1, 0);
}

static void test_replace_replaces_what_differs(void **state)
{
        struct lab *lab = *state;

        prepare(lab);
        fill_with(lab, EXISTING_REPLACE);
        assert_counts(lab, 1, 0, 0);
        lab_stop(lab);
        lab_assert_all_mirrored(lab);
}

static void test_a_directory_in_the_place_of_a_file_is_a_conflict_in_every_mode(void **state)
{
        static const enum existing modes[] = { EXISTING_SKIP, EXISTING_VERIFY, EXISTING_REPLACE };
        struct lab *lab = *state;

        lab_shell(lab, "mkdir -p t1/f t2/d source/d && echo mine > t1/f/mine && rmdir t2/d && echo file > t2/d && echo x > source/f && "
                       "echo y > source/d/y");
        for (size_t i = 0; i < 3; i++) {
                fill_with(lab, modes[i]);
                lab_stop(lab);
                lab_shell(lab, "[ $(cat t1/f/mine) = mine ] && [ $(cat t2/d) = file ] && [ $(cat t2/f) = x ] && [ $(cat t1/d/y) = y ]");
        }
}

static void test_files_that_only_a_target_has_are_shown_and_not_owed(void **state)
{
        struct lab *lab = *state;

        pattern_file(lab->source, "f", MIB, 1);
        pattern_file(lab->targets[1], "only", 2 * MIB, 7);
        fill_with(lab, EXISTING_SKIP);
        assert_counts(lab, 1, 0, 0);
        lab_assert_reads_pattern(lab, "only", 2 * MIB, 7);
        lab_stop(lab);
        assert_false(exists(lab->targets[0], "only"));
        assert_true(pattern_is(lab->targets[1], "only", 2 * MIB, 7));
}

static void test_a_published_file_that_was_changed_outside_is_a_conflict(void **state)
{
        struct lab *lab = *state;

        pattern_file(lab->source, "f", MIB, 1);
        lab_copy_all(lab);
        pattern_file(lab->targets[1], "f", MIB + 1, 8);
        fill_with(lab, EXISTING_SKIP);
        assert_counts(lab, 0, 0, 1);
        lab_assert_reads_pattern(lab, "f", MIB, 1);
        lab_stop(lab);
        assert_true(pattern_is(lab->targets[1], "f", MIB + 1, 8));
}

static void test_a_changed_source_does_not_replace_what_was_changed_outside(void **state)
{
        struct lab *lab = *state;

        pattern_file(lab->source, "f", MIB, 1);
        lab_copy_all(lab);
        pattern_file(lab->targets[1], "f", MIB + 1, 8);
        pattern_file(lab->source, "f", 2 * MIB, 2);
        fill_with(lab, EXISTING_SKIP);
        assert_counts(lab, 0, 0, 1);
        lab_stop(lab);
        assert_true(pattern_is(lab->targets[0], "f", 2 * MIB, 2));
        assert_true(pattern_is(lab->targets[1], "f", MIB + 1, 8));
        assert_true(pattern_is(lab->targets[2], "f", 2 * MIB, 2));
}

static void test_a_changed_symlink_is_followed(void **state)
{
        struct lab *lab = *state;

        lab_shell(lab, "ln -s one source/link");
        lab_copy_all(lab);
        lab_shell(lab, "rm source/link && ln -s another source/link");
        lab_copy_all(lab);
        lab_assert_all_mirrored(lab);
}

static void test_a_conflict_that_was_moved_away_is_filled(void **state)
{
        struct lab *lab = *state;

        prepare(lab);
        fill_with(lab, EXISTING_SKIP);
        assert_counts(lab, 0, 0, 1);
        lab_stop(lab);
        lab_shell(lab, "rm t2/f");
        lab_copy_all(lab);
        lab_assert_all_mirrored(lab);
}

static void test_a_changed_source_with_links_is_followed_under_every_name(void **state)
{
        struct lab *lab = *state;

        pattern_file(lab->source, "one", MIB, 1);
        lab_shell(lab, "ln source/one source/two");
        lab_copy_all(lab);
        lab_assert_all_mirrored(lab);
        pattern_file(lab->source, "one", 2 * MIB, 2);
        lab_copy_all(lab);
        lab_assert_all_mirrored(lab);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                LAB_CASE(test_skip_keeps_what_differs_and_reports_it),
                LAB_CASE(test_skip_takes_size_and_mtime_as_equality),
                LAB_CASE(test_verify_compares_and_keeps_what_differs),
                LAB_CASE(test_verify_finds_equal_files_and_gives_them_the_sources_times),
                LAB_CASE(test_replace_replaces_what_differs),
                LAB_CASE(test_a_directory_in_the_place_of_a_file_is_a_conflict_in_every_mode),
                LAB_CASE(test_files_that_only_a_target_has_are_shown_and_not_owed),
                LAB_CASE(test_a_published_file_that_was_changed_outside_is_a_conflict),
                LAB_CASE(test_a_changed_source_does_not_replace_what_was_changed_outside),
                LAB_CASE(test_a_changed_symlink_is_followed),
                LAB_CASE(test_a_conflict_that_was_moved_away_is_filled),
                LAB_CASE(test_a_changed_source_with_links_is_followed_under_every_name),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
