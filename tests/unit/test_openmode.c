#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "fs/openmode.h"

#include <fcntl.h>

static enum openmode decide(bool finished, enum openmode open_now, int flags, bool passthrough, bool second_node)
{
        struct openmode_question question = {
            .flags = flags,
            .finished = finished,
            .open_now = open_now,
            .second_node = second_node,
            .passthrough = passthrough,
        };

        return openmode_decide(&question);
}

enum { N = OPENMODE_NONE, D = OPENMODE_DIRECT, C = OPENMODE_CACHED, P = OPENMODE_PASSTHROUGH, S = OPENMODE_STALE };

/* Each row: how the node is open now; columns: what is asked for. */
static const struct {
        int open_now;
        int unfinished, finished, finished_direct, finished_write;
} with_passthrough[] = {
    {N, D, P, D, C},
    {D, D, C, D, C},
    {C, D, C, D, C},
    {P, S, P, S, S},
};

static void every_pair_is_decided_with_passthrough(void **state)
{
        for (size_t i = 0; i < sizeof(with_passthrough) / sizeof(with_passthrough[0]); i++) {
                enum openmode now = (enum openmode)with_passthrough[i].open_now;

                assert_int_equal(decide(false, now, O_RDONLY, true, false), with_passthrough[i].unfinished);
                assert_int_equal(decide(true, now, O_RDONLY, true, false), with_passthrough[i].finished);
                assert_int_equal(decide(true, now, O_RDONLY | O_DIRECT, true, false), with_passthrough[i].finished_direct);
                assert_int_equal(decide(true, now, O_RDWR, true, false), with_passthrough[i].finished_write);
                assert_int_equal(decide(true, now, O_WRONLY, true, false), with_passthrough[i].finished_write);
        }
}

static void without_passthrough_only_the_file_and_o_direct_matter(void **state)
{
        static const enum openmode all[] = {OPENMODE_NONE, OPENMODE_DIRECT, OPENMODE_CACHED};

        for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
                assert_int_equal(decide(false, all[i], O_RDONLY, false, false), OPENMODE_DIRECT);
                assert_int_equal(decide(false, all[i], O_RDONLY | O_DIRECT, false, false), OPENMODE_DIRECT);
                assert_int_equal(decide(true, all[i], O_RDONLY, false, false), OPENMODE_CACHED);
                assert_int_equal(decide(true, all[i], O_RDWR, false, false), OPENMODE_CACHED);
                assert_int_equal(decide(true, all[i], O_RDONLY | O_DIRECT, false, false), OPENMODE_DIRECT);
        }
}

static void the_second_node_never_opens_as_passthrough(void **state)
{
        static const enum openmode all[] = {OPENMODE_NONE, OPENMODE_DIRECT, OPENMODE_CACHED};

        for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
                assert_int_equal(decide(true, all[i], O_RDONLY, true, true), OPENMODE_CACHED);
                assert_int_equal(decide(false, all[i], O_RDONLY, true, true), OPENMODE_DIRECT);
                assert_int_equal(decide(true, all[i], O_RDONLY | O_DIRECT, true, true), OPENMODE_DIRECT);
        }
}

static void a_stale_answer_is_never_given_twice_in_a_row(void **state)
{
        /* After ESTALE the kernel comes with the second node, which is open as anything but passthrough. */
        for (int finished = 0; finished < 2; finished++) {
                for (int open_now = OPENMODE_NONE; open_now <= OPENMODE_CACHED; open_now++)
                        assert_int_not_equal(decide(finished, (enum openmode)open_now, O_RDWR, true, true), OPENMODE_STALE);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
            cmocka_unit_test(every_pair_is_decided_with_passthrough),
            cmocka_unit_test(without_passthrough_only_the_file_and_o_direct_matter),
            cmocka_unit_test(the_second_node_never_opens_as_passthrough),
            cmocka_unit_test(a_stale_answer_is_never_given_twice_in_a_row),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
