#include "mirror_fixture.h"

#include <poll.h>

static void make_files(struct lab *lab, unsigned count)
{
        for (unsigned i = 0; i < count; i++) {
                char name[16];

                (void)snprintf(name, sizeof(name), "f%u", i);
                pattern_file(lab->source, name, 4 * MIB, i);
        }
}

static enum mirror_state state_of(struct lab *lab)
{
        cleanup(status_deinit) struct status status = lab_status(lab);

        return status.state;
}

static void test_pause_stops_the_fill_and_resume_completes_it(void **state)
{
        struct lab *lab = *state;
        uint64_t before;

        make_files(lab, 10);
        lab->options.fill = FILL_ALL;
        lab->options.memory_bytes = 16 * MIB;
        lab_start(lab);
        for (int round = 0; round < 10; round++) {
                (void)poll(NULL, 0, 5);
                assert_int_equal(lab_control(lab, "pause\n"), 0);
                assert_int_equal(state_of(lab), MIRROR_PAUSED);
                lab_wait_idle(lab);
                before = lab_source_bytes(lab);
                (void)poll(NULL, 0, 5);
                assert_int_equal(lab_source_bytes(lab), before);
                assert_int_equal(lab_control(lab, "resume\n"), 0);
        }
        lab_wait_idle(lab);
        assert_int_equal(state_of(lab), MIRROR_COMPLETE);
        lab_stop(lab);
        lab_assert_all_mirrored(lab);
}

static void test_readers_are_served_while_paused_and_beyond_the_limit(void **state)
{
        struct lab *lab = *state;
        uint64_t begin_ns;

        make_files(lab, 2);
        lab->options.fill = FILL_ALL;
        lab->options.limit_bytes_per_s = 1;
        lab_start(lab);
        begin_ns = clock_now_ns();
        lab_assert_reads_pattern(lab, "f0", 4 * MIB, 0);
        assert_int_equal(lab_control(lab, "pause\n"), 0);
        lab_assert_reads_pattern(lab, "f1", 4 * MIB, 1);
        assert_true(clock_now_ns() - begin_ns < 10 * 1000000000ull);
        assert_int_equal(lab_control(lab, "limit 0\nresume\n"), 0);
        lab_wait_idle(lab);
        lab_stop(lab);
        lab_assert_all_mirrored(lab);
}

static void test_a_limit_holds_background_work(void **state)
{
        struct lab *lab = *state;

        make_files(lab, 4);
        lab->options.fill = FILL_ALL;
        lab->options.limit_bytes_per_s = MIB;
        lab_start(lab);
        (void)poll(NULL, 0, 300);
        assert_true(lab_source_bytes(lab) <= 4 * MIB);
        assert_int_equal(state_of(lab), MIRROR_FILLING);
        lab_stop(lab); /* a limit does not hold the end */
}

static void test_fill_of_a_path_brings_that_and_nothing_else(void **state)
{
        struct lab *lab = *state;

        make_files(lab, 2);
        lab_shell(lab, "mkdir -p source/d/e && echo x > source/d/x && echo y > source/d/e/y");
        lab_start(lab);
        assert_int_equal(lab_control(lab, "fill d\n"), 0);
        lab_wait_idle(lab);
        assert_true(exists(lab->targets[0], "d/x"));
        assert_true(exists(lab->targets[0], "d/e/y"));
        assert_false(exists(lab->targets[0], "f0"));
        assert_string_equal(lab_xattr(lab, "f0", "state"), "pending");
        assert_string_equal(lab_xattr(lab, "f0", "progress"), "0.0");
        assert_string_equal(lab_xattr(lab, "d/x", "progress"), "100.0");
        assert_int_equal(lab_control(lab, "fill\n"), 0);
        lab_wait_idle(lab);
        lab_stop(lab);
        lab_assert_all_mirrored(lab);
}

static void test_bad_commands_change_nothing(void **state)
{
        struct lab *lab = *state;

        make_files(lab, 1);
        lab_start(lab);
        lab_wait_scanned(lab);
        assert_int_equal(lab_control(lab, "pause\nfill none\n"), -ENOENT);
        assert_int_equal(lab_control(lab, "pause\nresync 9\n"), -EINVAL);
        assert_int_equal(lab_control(lab, "pause\nnonsense\n"), -EINVAL);
        assert_true(state_of(lab) != MIRROR_PAUSED);
}

static void test_the_status_adds_up(void **state)
{
        struct lab *lab = *state;
        struct status_file file;
        int fd;

        make_files(lab, 3);
        assert_int_equal(options_list_add(&lab->options.exclude, "f2", 2), 0);
        lab_start(lab);
        lab_wait_scanned(lab);
        {
                cleanup(status_deinit) struct status status = lab_status(lab);

                assert_int_equal(status.files_total, 2);
                assert_int_equal(status.bytes_total, 8 * MIB);
                assert_int_equal(status.files[CATEGORY_EXCLUDED], 1);
                assert_int_equal(status.owed_bytes, 3 * 8 * MIB);
                assert_int_equal(status.target_count, LAB_TARGETS);
                assert_int_equal(status.progress_tenths, 0);
        }
        assert_int_equal(lab_control(lab, "fill f0\n"), 0);
        lab_wait_idle(lab);
        {
                cleanup(status_deinit) struct status status = lab_status(lab);

                assert_int_equal(status.files[CATEGORY_COPIED], 1);
                assert_int_equal(status.files[CATEGORY_PENDING], 1);
                assert_int_equal(status.owed_bytes, 3 * 4 * MIB);
                assert_int_equal(status.progress_tenths, 500);
        }
        assert_int_equal(mirror_file_status(lab->mirror, lab_id(lab, "f0"), &file), 0);
        assert_string_equal(file.path, "f0");
        assert_int_equal(file.state, FILE_COPIED);
        assert_int_equal(file.target_count, LAB_TARGETS);
        assert_int_equal(file.targets[0].range_count, 1);
        assert_int_equal(file.targets[0].ranges[0].end, 4);
        status_file_deinit(&file);
        assert_int_equal(mirror_errors(lab->mirror, &fd), 0);
        assert_int_equal(lseek(fd, 0, SEEK_END), 0);
        (void)close(fd);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                LAB_CASE(test_pause_stops_the_fill_and_resume_completes_it),
                LAB_CASE(test_readers_are_served_while_paused_and_beyond_the_limit),
                LAB_CASE(test_a_limit_holds_background_work),
                LAB_CASE(test_fill_of_a_path_brings_that_and_nothing_else),
                LAB_CASE(test_bad_commands_change_nothing),
                LAB_CASE(test_the_status_adds_up),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
