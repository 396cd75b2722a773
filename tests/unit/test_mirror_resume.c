#include "mirror_fixture.h"

#include <poll.h>
#include <signal.h>

/* --- resume after a good end --- */

static void test_a_stopped_mirror_goes_on_where_it_stood(void **state)
{
        struct lab *lab = *state;
        uint64_t before, after;
        uint8_t byte;

        pattern_file(lab->source, "f", 10 * MIB, 1);
        lab_start(lab);
        for (uint64_t chunk = 0; chunk < 10; chunk += 2)
                assert_int_equal(lab_read(lab, "f", chunk * MIB, 1, &byte), 1);
        lab_wait_idle(lab);
        before = lab_source_bytes(lab);
        lab_stop(lab);
        lab->options.fill = FILL_ALL;
        lab_start(lab);
        lab_wait_idle(lab);
        after = lab_source_bytes(lab);
        assert_int_equal(before, 5 * MIB);
        assert_int_equal(after, 5 * MIB);
        lab_stop(lab);
        lab_assert_all_mirrored(lab);
}

static void test_a_queue_survives_the_end(void **state)
{
        struct lab *lab = *state;

        pattern_file(lab->source, "f", 4 * MIB, 1);
        pattern_file(lab->source, "g", 4 * MIB, 2);
        lab_start(lab);
        assert_int_equal(lab_control(lab, "pause\n"), 0);
        assert_int_equal(lab_control(lab, "fill f\n"), 0);
        lab_stop(lab);
        lab_start(lab);
        lab_wait_scanned(lab);
        lab_wait_idle(lab);
        assert_string_equal(lab_xattr(lab, "f", "state"), "copied");
        assert_string_equal(lab_xattr(lab, "g", "state"), "pending");
}

static void test_a_stop_in_the_middle_of_a_fill_is_clean(void **state)
{
        struct lab *lab = *state;

        for (unsigned i = 0; i < 6; i++) {
                char name[16];

                (void)snprintf(name, sizeof(name), "f%u", i);
                pattern_file(lab->source, name, 4 * MIB, i);
        }
        lab->options.fill = FILL_ALL;
        for (int round = 0; round < 8; round++) {
                lab_start(lab);
                (void)poll(NULL, 0, round * 3);
                lab_stop(lab);
                for (int i = 0; i < LAB_TARGETS; i++)
                        (void)lab_assert_whole(lab, i);
        }
        lab_copy_all(lab);
        lab_assert_all_mirrored(lab);
}

/* --- kills --- */

static void run_until_killed(struct lab *lab)
{
        struct error error;

        if (mirror_open(&lab->options, NULL, &error, &lab->mirror) < 0 || mirror_start(lab->mirror, &error) < 0) {
                (void)fprintf(stderr, "%s\n", error.message);
                _exit(3);
        }
        while (mirror_is_busy(lab->mirror))
                (void)poll(NULL, 0, 5);
        (void)pause();
        _exit(0);
}

/* Runs a mirror in a child and kills it after `delay_ms`. */
static void run_and_kill(struct lab *lab, int delay_ms)
{
        pid_t child = fork();
        int status;

        assert_true(child >= 0);
        if (child == 0)
                run_until_killed(lab);
        (void)poll(NULL, 0, delay_ms);
        assert_int_equal(kill(child, SIGKILL), 0);
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status));
}

static void make_tree(struct lab *lab)
{
        pattern_file(lab->source, "big", 20 * MIB + 3, 1);
        pattern_file(lab->source, "middle", 3 * MIB, 2);
        lab_shell(lab, "cd source && mkdir -p d/e && for i in $(seq 60); do echo $i > d/$i; echo $i > d/e/$i; done && ln -s big link && "
                       "mkfifo fifo && : > empty && touch -d 2001-02-03 d/e d .");
}

static void test_no_final_name_is_incomplete_after_a_kill_at_any_moment(void **state)
{
        struct lab *lab = *state;
        unsigned seed = (unsigned)clock_now_ns();
        uint64_t end_ns = clock_now_ns() + 3000000000ull;
        int rounds = 0;

        print_message("seed %u\n", seed);
        make_tree(lab);
        lab->options.fill = FILL_ALL;
        for (; rounds < 3 || clock_now_ns() < end_ns; rounds++) {
                if (rounds % 6 == 5)
                        lab_shell(lab, "rm -rf state t1/* t1/.cvv t2/* t2/.cvv t3/* t3/.cvv");
                run_and_kill(lab, (int)(rand_r(&seed) % 120));
                for (int i = 0; i < LAB_TARGETS; i++)
                        (void)lab_assert_whole(lab, i);
        }
        print_message("%d kills\n", rounds);
        lab_copy_all(lab);
        lab_assert_all_mirrored(lab);
}

static void test_what_was_present_is_not_copied_again_after_a_kill(void **state)
{
        struct lab *lab = *state;
        uint64_t again;

        pattern_file(lab->source, "big", 30 * MIB, 1);
        lab->options.fill = FILL_ALL;
        {
                pid_t child = fork();
                int status;

                assert_true(child >= 0);
                if (child == 0) {
                        struct error error;

                        if (mirror_open(&lab->options, NULL, &error, &lab->mirror) < 0 || mirror_start(lab->mirror, &error) < 0)
                                _exit(3);
                        while (lab_source_bytes(lab) < 30 * MIB)
                                (void)mirror_checkpoint(lab->mirror, clock_now_ns() + 1000000000ull);
                        (void)mirror_checkpoint(lab->mirror, clock_now_ns() + 5000000000ull);
                        (void)kill(getpid(), SIGKILL);
                }
                assert_int_equal(waitpid(child, &status, 0), child);
                assert_true(WIFSIGNALED(status));
        }
        lab_start(lab);
        lab_wait_idle(lab);
        again = lab_source_bytes(lab);
        assert_true(again <= 6 * MIB); /* what stood in the queues */
        lab_stop(lab);
        lab_assert_all_mirrored(lab);
}

static void test_a_replaced_version_is_old_or_new_after_a_kill(void **state)
{
        struct lab *lab = *state;
        unsigned seed = (unsigned)clock_now_ns();

        print_message("seed %u\n", seed);
        pattern_file(lab->source, "f", 4 * MIB, 0);
        lab_copy_all(lab);
        lab->options.fill = FILL_ALL;
        for (unsigned round = 1; round <= 8; round++) {
                pattern_file(lab->source, "f", 4 * MIB, round);
                run_and_kill(lab, (int)(rand_r(&seed) % 80));
                for (int i = 0; i < LAB_TARGETS; i++)
                        assert_true(pattern_is(lab->targets[i], "f", 4 * MIB, round) ||
                                    pattern_is(lab->targets[i], "f", 4 * MIB, round - 1));
                lab_copy_all(lab);
                lab_assert_all_mirrored(lab);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                LAB_CASE(test_a_stopped_mirror_goes_on_where_it_stood),
                LAB_CASE(test_a_queue_survives_the_end),
                LAB_CASE(test_a_stop_in_the_middle_of_a_fill_is_clean),
                LAB_CASE(test_no_final_name_is_incomplete_after_a_kill_at_any_moment),
                LAB_CASE(test_what_was_present_is_not_copied_again_after_a_kill),
                LAB_CASE(test_a_replaced_version_is_old_or_new_after_a_kill),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
