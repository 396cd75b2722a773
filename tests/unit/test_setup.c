#include "mirror_fixture.h"

#include "core/setup.h"

/* Opens and closes well; what setup found. */
static struct setup open_once(struct lab *lab)
{
        struct error error = { 0 };
        struct setup setup, found;
        int result = setup_open(&lab->options, NULL, &error, &setup);

        if (result < 0)
                fail_msg("%s", error.message);
        found = setup;
        for (size_t i = 0; i < setup.target_count; i++)
                assert_true(setup.targets[i]->event_count == setup.meta.event_count);
        assert_int_equal(setup_record_end(&setup, 0), 0);
        setup_close(&setup);
        return found; /* its pointers are gone: counts and masks only */
}

static uint32_t number_of(struct lab *lab, size_t index)
{
        struct error error = { 0 };
        struct setup setup;
        uint32_t n;

        assert_int_equal(setup_open(&lab->options, NULL, &error, &setup), 0);
        n = setup.targets[index]->n;
        assert_int_equal(setup_record_end(&setup, 0), 0);
        setup_close(&setup);
        return n;
}

static int open_fails(struct lab *lab)
{
        struct error error = { 0 };
        struct setup setup;
        int result = setup_open(&lab->options, NULL, &error, &setup);

        assert_true(result < 0);
        assert_true(error.message[0] != '\0');
        return result;
}

static void test_event_counts_rise_with_each_mount(void **state)
{
        struct lab *lab = *state;
        uint64_t first = open_once(lab).meta.event_count;

        assert_int_equal(open_once(lab).meta.event_count, first + 1);
        assert_int_equal(open_once(lab).void_slots, 0);
}

static void test_a_wiped_target_is_void_and_the_others_are_not(void **state)
{
        struct lab *lab = *state;

        (void)open_once(lab);
        lab_shell(lab, "rm -rf t2/.cvv");
        assert_int_equal(open_once(lab).void_slots, 1 << 1);
        assert_int_equal(open_once(lab).void_slots, 0); /* now they know each other again */
}

static void test_an_older_target_is_void(void **state)
{
        struct lab *lab = *state;

        (void)open_once(lab);
        lab_shell(lab, "cp -a t3/.cvv kept");
        (void)open_once(lab);
        lab_shell(lab, "rm -rf t3/.cvv && cp -a kept t3/.cvv");
        assert_int_equal(open_once(lab).void_slots, 1 << 2);
}

static void test_an_older_state_is_set_aside(void **state)
{
        struct lab *lab = *state;
        uint64_t created;

        created = (uint64_t)open_once(lab).meta.created_ns;
        lab_shell(lab, "cp -a state kept");
        (void)open_once(lab);
        lab_shell(lab, "rm -rf state && cp -a kept state");
        assert_true((uint64_t)open_once(lab).meta.created_ns != created);
        lab_shell(lab, "ls -d state/damaged-* >/dev/null");
}

static void test_targets_keep_their_numbers_in_any_order(void **state)
{
        struct lab *lab = *state;

        (void)open_once(lab);
        lab_use_targets(lab, (const char *const[]){ "t3", "t1", NULL });
        assert_int_equal(number_of(lab, 0), 3);
        assert_int_equal(number_of(lab, 1), 1);
        lab_use_targets(lab, (const char *const[]){ "t4", "t2", NULL }); /* a new one gets a new number */
        assert_int_equal(number_of(lab, 0), 4);
        assert_int_equal(number_of(lab, 1), 2);
}

static void test_targets_may_have_any_path(void **state)
{
        struct lab *lab = *state;

        lab_shell(lab, "mkdir 'o dd'");
        lab_use_targets(lab, (const char *const[]){ "n ew", "n\new", "n\xff\x1b\\w", "o dd", NULL });
        for (size_t i = 0; i < 4; i++)
                assert_int_equal(number_of(lab, i), i + 1);
        assert_int_equal(open_once(lab).void_slots, 0);
}

static void test_usage_errors_change_nothing(void **state)
{
        static const char *const wrong[][3] = {
                { "t1", "t1", NULL }, { "source/x", NULL, NULL }, { "source", NULL, NULL }, { "none/t", NULL, NULL }, { ".", NULL, NULL },
        };
        struct lab *lab = *state;

        lab_shell(lab, "mkdir source/x");
        for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
                lab_use_targets(lab, wrong[i]);
                assert_int_equal(open_fails(lab), -EINVAL);
        }
        assert_false(exists(lab->dir, "state"));
        assert_int_equal(count_entries(lab->targets[0]), 0);
        free(lab->options.source);
        lab->options.source = strdup(lab_path(lab, "absent"));
        lab_use_targets(lab, (const char *const[]){ "t1", NULL });
        assert_int_equal(open_fails(lab), -EINVAL);
}

static void test_targets_that_are_not_attached_stay_as_they_were(void **state)
{
        struct lab *lab = *state;
        struct error error = { 0 };
        struct setup setup;

        lab_use_targets(lab, (const char *const[]){ "t1", "new", NULL });
        assert_int_equal(setup_open_untouched(&lab->options, &error, &setup), 0);
        assert_true(setup.created[1] && !setup.created[0]);
        assert_int_equal(setup_record_end(&setup, 0), 0);
        setup_close(&setup);
        lab_shell(lab, "test ! -e t1/.cvv && test ! -e new");
        assert_int_equal(number_of(lab, 1), 3); /* 2 was given to the one that was removed again */
        lab_shell(lab, "test -e t1/.cvv && test -e new/.cvv");
}

static void test_a_target_that_was_only_looked_at_is_not_believed_to_be_another(void **state)
{
        struct lab *lab = *state;
        struct error error = { 0 };
        struct setup setup;
        unsigned slot;

        lab_use_targets(lab, (const char *const[]){ "t1", NULL });
        assert_int_equal(setup_open_untouched(&lab->options, &error, &setup), 0);
        slot = setup.targets[0]->slot;
        assert_int_equal(setup_record_end(&setup, 0), 0);
        setup_close(&setup);
        lab_use_targets(lab, (const char *const[]){ "t2", "t1", NULL });
        assert_int_equal(setup_open_untouched(&lab->options, &error, &setup), 0);
        assert_true(setup.targets[0]->slot != slot);
        assert_int_equal(setup.targets[1]->slot, slot);
        assert_int_equal(setup_record_end(&setup, 0), 0);
        setup_close(&setup);
}

static void test_a_state_in_use_is_refused(void **state)
{
        struct lab *lab = *state;

        lab_open(lab);
        assert_int_equal(open_fails(lab), -EBUSY);
        mirror_free(pointer_steal(&lab->mirror));
}

/* --- the same with files: nothing is lost, everything is completed --- */

static void complete(struct lab *lab)
{
        lab_copy_all(lab);
        lab_assert_all_mirrored(lab);
}

static void half(struct lab *lab)
{
        uint8_t byte;

        pattern_file(lab->source, "f", 6 * MIB, 1);
        pattern_file(lab->source, "g", MIB / 2, 2);
        lab_start(lab);
        for (uint64_t chunk = 0; chunk < 6; chunk += 2)
                assert_int_equal(lab_read(lab, "f", chunk * MIB, 1, &byte), 1);
        assert_int_equal(lab_control(lab, "fill g\n"), 0);
        lab_wait_idle(lab);
        lab_stop(lab);
}

static void test_all_completes_after_any_loss(void **state)
{
        static const char *const losses[] = {
                "rm -rf state",
                "rm -rf t1/* t1/.cvv",
                "rm -rf t1/.cvv/id",
                "rm -rf t2/.cvv/partial/*",
                "rm -rf t1/* t1/.cvv t2/* t2/.cvv t3/* t3/.cvv",
                "rm -rf state t2/.cvv",
                "mv t1 x && mv t2 t1 && mv x t2",
                "rm -f state/lock.mdb state/identity",
                "for t in t1 t2 t3; do for f in $t/.cvv/partial/*; do : > $f; done; done",
        };
        struct lab *lab = *state;

        for (size_t i = 0; i < sizeof(losses) / sizeof(losses[0]); i++) {
                if (i == 7)
                        continue; /* refused, see below */
                half(lab);
                lab_shell(lab, losses[i]);
                for (int t = 0; t < LAB_TARGETS; t++) {
                        (void)close(lab->targets[t]);
                        lab->targets[t] = open(lab_path(lab, (const char *const[]){ "t1", "t2", "t3" }[t]), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                }
                complete(lab);
                lab_shell(lab, "rm -rf state t?/* t?/.cvv");
        }
}

static void use_source(struct lab *lab, const char *source, const char *state)
{
        free(lab->options.source);
        free(lab->options.state_dir);
        lab->options.source = strdup(lab_path(lab, source));
        lab->options.state_dir = strdup(lab_path(lab, state));
}

static void half_of_the_other(struct lab *lab)
{
        cleanup(fd_close) int other = openat(lab->dir, "other", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        uint8_t byte;

        pattern_file(other, "h", 6 * MIB, 3);
        lab_start(lab);
        assert_int_equal(lab_read(lab, "h", 2 * MIB, 1, &byte), 1);
        lab_wait_idle(lab);
        lab_stop(lab);
}

static void test_two_sources_half_copied_in_turn_do_not_void_each_other(void **state)
{
        struct lab *lab = *state;

        lab_shell(lab, "mkdir other");
        half(lab);
        use_source(lab, "other", "state-of-other");
        for (int i = 0; i < 3; i++)
                assert_int_equal(open_once(lab).void_slots, 0); /* its count passes that of the first */
        half_of_the_other(lab);
        use_source(lab, "source", "state");
        assert_int_equal(open_once(lab).void_slots, 0);
        use_source(lab, "other", "state-of-other");
        assert_int_equal(open_once(lab).void_slots, 0);
        lab_copy_all(lab);
        assert_true(exists(lab->targets[0], ".cvv/id")); /* the first is not finished */
        use_source(lab, "source", "state");
        assert_int_equal(open_once(lab).void_slots, 0);
        lab_copy_all(lab);
        lab_shell(lab, "! ls -d state*/damaged-* 2>/dev/null");
        for (int t = 0; t < LAB_TARGETS; t++) {
                assert_true(pattern_is(lab->targets[t], "f", 6 * MIB, 1));
                assert_true(pattern_is(lab->targets[t], "h", 6 * MIB, 3));
                assert_false(exists(lab->targets[t], ".cvv"));
        }
}

/* Damages the state's file; `unclean`: as if the last run had been killed. */
static void damage_and_complete(struct lab *lab, const char *how, bool unclean)
{
        half(lab);
        if (unclean)
                lab_shell(lab, ": > state/running");
        lab_shell(lab, how);
        complete(lab);
        lab_shell(lab, "rm -rf state t?/* t?/.cvv");
}

static void test_a_damaged_state_is_replaced_after_an_unclean_end(void **state)
{
        static const char *const damages[] = {
                "truncate -s 8192 state/data.mdb",
                "truncate -s 12345 state/data.mdb",
                "truncate -s 0 state/data.mdb",
                "dd if=/dev/urandom of=state/data.mdb bs=4096 seek=2 count=3 conv=notrunc status=none",
                "dd if=/dev/urandom of=state/data.mdb bs=1 seek=20480 count=64 conv=notrunc status=none",
                "dd if=/dev/zero of=state/data.mdb bs=4096 seek=3 count=2 conv=notrunc status=none",
                "dd if=/dev/urandom of=state/data.mdb bs=4096 count=2 conv=notrunc status=none",
        };

        for (size_t i = 0; i < sizeof(damages) / sizeof(damages[0]); i++)
                damage_and_complete(*state, damages[i], true);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                LAB_CASE(test_event_counts_rise_with_each_mount),
                LAB_CASE(test_a_wiped_target_is_void_and_the_others_are_not),
                LAB_CASE(test_an_older_target_is_void),
                LAB_CASE(test_an_older_state_is_set_aside),
                LAB_CASE(test_targets_keep_their_numbers_in_any_order),
                LAB_CASE(test_targets_may_have_any_path),
                LAB_CASE(test_usage_errors_change_nothing),
                LAB_CASE(test_targets_that_are_not_attached_stay_as_they_were),
                LAB_CASE(test_a_target_that_was_only_looked_at_is_not_believed_to_be_another),
                LAB_CASE(test_a_state_in_use_is_refused),
                LAB_CASE(test_all_completes_after_any_loss),
                LAB_CASE(test_two_sources_half_copied_in_turn_do_not_void_each_other),
                LAB_CASE(test_a_damaged_state_is_replaced_after_an_unclean_end),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
