#include "core/stateid.h"

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>
#include <cmocka.h>

static struct stateid sample(void)
{
        struct stateid id = {0};
        const struct stateid_target targets[] = {{1, (char *)(uintptr_t) "uuid=a/handle=1"},
                                                 {4, (char *)(uintptr_t) "marker b"},
                                                 {5, (char *)(uintptr_t) ""},
                                                 {6, NULL}};

        assert_int_equal(stateid_set(&id, "uuid=s/ino=2", targets, 4), 0);
        return id;
}

static int parse(const char *text, struct stateid *ret_id)
{
        return stateid_parse(text, strlen(text), ret_id);
}

/* `lines` with the check line that belongs to them. */
static char *checked(const char *lines)
{
        char *text;

        assert_true(asprintf(&text, "%scheck=%016" PRIx64 "\n", lines, (uint64_t)XXH3_64bits(lines, strlen(lines))) > 0);
        return text;
}

static void what_is_written_is_read_back(void **state)
{
        struct stateid id = sample(), again;
        char *text;
        size_t size;

        (void)state;
        assert_int_equal(stateid_format(&id, &text, &size), 0);
        assert_ptr_equal(
            strstr(text, "version=1\nsource=uuid=s/ino=2\ntarget=1 uuid=a/handle=1\ntarget=4 marker b\ncheck="), text);
        assert_int_equal(stateid_parse(text, size, &again), 0);
        assert_true(stateid_equal(&id, &again));
        assert_int_equal(again.target_count, 2); /* unknown ones are left out */
        free(text);
        stateid_deinit(&id);
        stateid_deinit(&again);
        stateid_deinit(&again);
}

static void any_changed_or_missing_byte_is_damage(void **state)
{
        struct stateid id = sample(), again = {.version = 77};
        char *text;
        size_t size;

        (void)state;
        assert_int_equal(stateid_format(&id, &text, &size), 0);
        for (size_t i = 0; i < size; i++) {
                assert_int_equal(stateid_parse(text, i, &again), -EBADMSG);
                text[i] ^= 1;
                /* "version=0" and the like are damage too; a higher version is another matter, tested below */
                if (i != strlen("version="))
                        assert_int_equal(stateid_parse(text, size, &again), -EBADMSG);
                text[i] ^= 1;
        }
        assert_int_equal(again.version, 77);
        free(text);
        stateid_deinit(&id);
}

static void what_is_not_of_the_form_is_damage_even_with_a_right_check(void **state)
{
        static const char *const bodies[] = {
            "",
            "version=1\n",
            "version=0\nsource=s\n",
            "version=01x\nsource=s\n",
            "source=s\nversion=1\n",
            "version=1\nsource=\n",
            "version=1\nsource=a\nsource=b\n",
            "version=1\nsource=a\nother=b\n",
            "version=1\nsource=a\ntarget=0 t\n",
            "version=1\nsource=a\ntarget=1\n",
            "version=1\nsource=a\ntarget=1 \n",
            "version=1\nsource=a\ntarget=-1 t\n",
            "version=1\nsource=a\ntarget=99999999999 t\n",
            "version=1\nsource=a\n\n",
            "version=1\nsource=a\tb\n",
        };
        struct stateid id = {0};

        (void)state;
        for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
                char *text = checked(bodies[i]);

                assert_int_equal(parse(text, &id), -EBADMSG);
                free(text);
        }
        assert_int_equal(stateid_parse("version=1\nsource=a\0", 19, &id), -EBADMSG);
        assert_int_equal(parse("garbage", &id), -EBADMSG);
}

static void a_newer_version_is_read_as_far_as_it_is_known(void **state)
{
        struct stateid id;

        (void)state;
        assert_int_equal(parse("version=2\nsource=s\nflavour=new\ntarget=3 t\ncheck=unknown\n", &id), 0);
        assert_int_equal(id.version, 2);
        assert_string_equal(id.source, "s");
        assert_int_equal(id.target_count, 1);
        stateid_deinit(&id);
        assert_int_equal(parse("version=2\nflavour=new\n", &id), -EBADMSG);
}

static void shared_targets_are_counted_and_unknown_ones_never_match(void **state)
{
        struct stateid id = sample();
        const char *const some[] = {"marker b", "", NULL, "uuid=a/handle=1", "uuid=a/handle=10"};

        (void)state;
        assert_int_equal(stateid_shared(&id, some, 5), 2);
        assert_int_equal(stateid_shared(&id, NULL, 0), 0);
        stateid_deinit(&id);
}

static void what_could_break_the_file_is_refused_and_the_old_kept(void **state)
{
        struct stateid id = sample(), before = sample();
        const struct stateid_target newline = {1, (char *)(uintptr_t) "a\nsource=b"}, zero = {0, (char *)(uintptr_t) "t"};

        (void)state;
        assert_int_equal(stateid_set(&id, "a\nb", NULL, 0), -EINVAL);
        assert_int_equal(stateid_set(&id, "", NULL, 0), -EINVAL);
        assert_int_equal(stateid_set(&id, "s", &newline, 1), -EINVAL);
        assert_int_equal(stateid_set(&id, "s", &zero, 1), -EINVAL);
        assert_true(stateid_equal(&id, &before));
        stateid_deinit(&id);
        stateid_deinit(&before);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
            cmocka_unit_test(what_is_written_is_read_back),
            cmocka_unit_test(any_changed_or_missing_byte_is_damage),
            cmocka_unit_test(what_is_not_of_the_form_is_damage_even_with_a_right_check),
            cmocka_unit_test(a_newer_version_is_read_as_far_as_it_is_known),
            cmocka_unit_test(shared_targets_are_counted_and_unknown_ones_never_match),
            cmocka_unit_test(what_could_break_the_file_is_refused_and_the_old_kept),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
