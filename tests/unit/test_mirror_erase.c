#include "mirror_fixture.h"

#include "core/mirror_internal.h"

#include <poll.h>

static void start_full(struct lab *lab)
{
        lab->options.mode = MODE_FULL;
        lab->options.existing = EXISTING_VERIFY;
        lab->options.fill = FILL_ALL;
        lab_start(lab);
}

/* The first line of safe-to-erase, in a static buffer; waits where it has to be waited for. */
static const char *verdict_of(struct lab *lab, uint64_t asked_ns)
{
        static char line[256];
        uint64_t deadline_ns = clock_now_ns() + UINT64_C(30000000000);
        cleanup(pointer_free) char *text = NULL;
        int result;

        while ((result = mirror_safe_to_erase(lab->mirror, asked_ns, &text)) == -EAGAIN) {
                assert_true(clock_now_ns() < deadline_ns);
                (void)poll(NULL, 0, 2);
        }
        assert_int_equal(result, 0);
        (void)snprintf(line, sizeof(line), "%.*s", (int)strcspn(text, "\n"), text);
        return line;
}

/* At once, without a look at the source. */
static bool is_yes_at_once(struct lab *lab)
{
        cleanup(pointer_free) char *text = NULL;

        return mirror_safe_to_erase(lab->mirror, clock_now_ns(), &text) == 0 && strcmp(text, "yes\n") == 0;
}

static void put_tree(struct lab *lab)
{
        pattern_file(lab->source, "big", 5 * MIB + 77, 1);
        lab_shell(lab, "cd source && mkdir -p d/empty && echo 1 > d/small && : > d/nothing && ln d/small d/link && ln -s small d/symlink && mkfifo fifo");
}

static void test_yes_stands_when_all_was_copied_and_verified(void **state)
{
        struct lab *lab = *state;

        put_tree(lab);
        start_full(lab);
        lab_wait_idle(lab);
        assert_true(is_yes_at_once(lab));
        lab_stop(lab);
        lab_start(lab); /* nothing changed: the first look suffices */
        lab_wait_idle(lab);
        assert_true(is_yes_at_once(lab));
        assert_int_equal(scan_last(lab->mirror->scan).number, 1);
}

static void test_an_old_look_is_repeated_before_a_yes(void **state)
{
        struct lab *lab = *state;
        struct scan_look look;

        put_tree(lab);
        start_full(lab);
        lab_wait_idle(lab);
        look = scan_last(lab->mirror->scan);
        assert_true(is_yes_at_once(lab));
        assert_string_equal(verdict_of(lab, look.ended_ns + UINT64_C(10000000000)), "yes");
        assert_int_equal(scan_last(lab->mirror->scan).number, look.number);
        assert_string_equal(verdict_of(lab, look.ended_ns + UINT64_C(10000000001)), "yes");
        assert_int_equal(scan_last(lab->mirror->scan).number, look.number + 1);
}

/* What happens to the source while nobody looks is found by the look that the question starts. */
static void test_what_the_source_got_since_is_found_by_the_look_before_a_yes(void **state)
{
        static const char *const changes[] = {
                "echo new > source/d/new",
                "echo 2 > source/d/small",
                "touch -d @1000 source/d/nothing",
                "rm source/fifo",
                "mv source/big source/bigger",
                "mkdir source/d/deep && ln -s x source/d/deep/link",
                "rm source/d/link",
        };
        struct lab *lab = *state;

        for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
                uint64_t ended_ns;

                if (i > 0) {
                        lab_stop(lab);
                        lab_shell(lab, "rm -rf source/* t1/* t2/* t3/* t?/.cvv state");
                }
                put_tree(lab);
                start_full(lab);
                lab_wait_idle(lab);
                assert_true(is_yes_at_once(lab));
                ended_ns = scan_last(lab->mirror->scan).ended_ns;
                lab_shell(lab, changes[i]);
                if (strcmp(verdict_of(lab, ended_ns + UINT64_C(10000000001)), "yes") == 0)
                        fail_msg("yes after: %s", changes[i]);
        }
}

static void test_what_comes_later_is_copied_verified_and_looked_for_again(void **state)
{
        struct lab *lab = *state;
        uint64_t ended_ns;

        put_tree(lab);
        start_full(lab);
        lab_wait_idle(lab);
        ended_ns = scan_last(lab->mirror->scan).ended_ns;
        pattern_file(lab->source, "later", MIB, 3);
        assert_string_not_equal(verdict_of(lab, ended_ns + UINT64_C(10000000001)), "yes");
        lab_wait_idle(lab);
        assert_true(is_yes_at_once(lab));
        lab_stop(lab);
        lab_assert_all_mirrored(lab);
}

static void test_no_in_other_modes_and_no_look_by_itself(void **state)
{
        struct lab *lab = *state;

        put_tree(lab);
        lab->options.fill = FILL_ALL;
        lab_start(lab);
        lab_wait_idle(lab);
        assert_string_equal(verdict_of(lab, clock_now_ns()), "no: the mode is transfer: only in mode full all copies are read back");
        assert_int_equal(scan_last(lab->mirror->scan).number, 1);
}

static void test_no_for_what_is_excluded_in_conflict_or_gone(void **state)
{
        struct lab *lab = *state;

        put_tree(lab);
        lab_shell(lab, "mkdir source/.cvv && echo other > t2/big");
        start_full(lab);
        lab_wait_idle(lab);
        assert_string_equal(verdict_of(lab, clock_now_ns()), "no: 1 file is in conflict: a target has a different file of its name");
        lab_stop(lab);
        lab_shell(lab, "rm t2/big");
        lab_start(lab);
        lab_wait_idle(lab);
        assert_string_equal(verdict_of(lab, clock_now_ns()), "no: 1 file is excluded and not copied");
        lab_shell(lab, "rmdir source/.cvv");
        assert_int_equal(lab_control(lab, "retry\n"), 0);
        lab_wait_idle(lab);
        assert_true(is_yes_at_once(lab));
        lab_shell(lab, "rm -r source && mkdir source");
        assert_string_equal(verdict_of(lab, clock_now_ns() + UINT64_C(20000000000)), "no: the source is gone");
}

static void test_no_while_a_file_is_not_brought(void **state)
{
        struct lab *lab = *state;

        put_tree(lab);
        lab->options.mode = MODE_FULL;
        lab->options.existing = EXISTING_VERIFY;
        lab->options.fill = FILL_CHUNK;
        lab_start(lab);
        lab_wait_scanned(lab);
        assert_string_equal(verdict_of(lab, clock_now_ns()), "no: 6 files are not on every target yet");
        assert_int_equal(lab_control(lab, "fill\n"), 0);
        lab_wait_idle(lab);
        assert_true(is_yes_at_once(lab));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                LAB_CASE(test_yes_stands_when_all_was_copied_and_verified),
                LAB_CASE(test_an_old_look_is_repeated_before_a_yes),
                LAB_CASE(test_what_the_source_got_since_is_found_by_the_look_before_a_yes),
                LAB_CASE(test_what_comes_later_is_copied_verified_and_looked_for_again),
                LAB_CASE(test_no_in_other_modes_and_no_look_by_itself),
                LAB_CASE(test_no_for_what_is_excluded_in_conflict_or_gone),
                LAB_CASE(test_no_while_a_file_is_not_brought),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
