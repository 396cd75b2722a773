#include "core/touched.h"

#include "engine_fixture.h"

static void directories_stay_pending_until_they_are_finished(void **state)
{
        struct target *target = &((struct engine *)*state)->targets[0];
        uint64_t *ids;

        assert_false(touched_pending(target));
        touched_add(target, 7);
        touched_add(target, 3);
        touched_add(target, 7);
        assert_true(touched_pending(target));
        assert_int_equal(touched_take(target, &ids), 2);
        assert_int_equal(ids[0], 3);
        assert_int_equal(ids[1], 7);
        free(ids);
        assert_true(touched_pending(target)); /* who has them is at work */
        touched_finished(target);
        assert_false(touched_pending(target));
}

static void directory_that_is_touched_while_others_are_finished_stays_pending(void **state)
{
        struct target *target = &((struct engine *)*state)->targets[0];
        uint64_t *ids;

        touched_add(target, 3);
        assert_int_equal(touched_take(target, &ids), 1);
        free(ids);
        touched_add(target, 4);
        touched_finished(target);
        assert_true(touched_pending(target));
        assert_int_equal(touched_take(target, &ids), 1);
        assert_int_equal(ids[0], 4);
        free(ids);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                ENGINE_CASE(directories_stay_pending_until_they_are_finished),
                ENGINE_CASE(directory_that_is_touched_while_others_are_finished_stays_pending),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
