#include "core/status.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void deinit_frees_all_and_may_be_repeated(void **state)
{
        struct status status = {.mountpoint = strdup("/m"), .source = strdup("/s"), .target_count = 2, .copy_count = 1};

        status.targets = calloc(2, sizeof(*status.targets));
        status.copies = calloc(1, sizeof(*status.copies));
        assert_true(status.targets && status.copies);
        status.targets[0].path = strdup("/t");
        status.targets[0].identity = strdup("id");
        status.targets[0].last_error = strdup("error"); /* and the second one holds nothing */
        status.copies[0].path = strdup("f");
        status_deinit(&status);
        assert_int_equal(status.target_count, 0);
        assert_null(status.targets);
        status_deinit(&status);
}

static void file_deinit_frees_all_and_may_be_repeated(void **state)
{
        struct status_file file = {.path = strdup("f"), .last_error = strdup("e"), .target_count = 2};

        file.targets = calloc(2, sizeof(*file.targets));
        assert_non_null(file.targets);
        file.targets[1].ranges = calloc(3, sizeof(*file.targets[1].ranges));
        file.targets[1].range_count = 3;
        status_file_deinit(&file);
        assert_null(file.targets);
        status_file_deinit(&file);
}

static void names_are_the_words_of_the_contract(void **state)
{
        static const char *const mirror[] = {"paused", "filling", "verifying", "failed", "degraded", "complete", "idle"};
        static const char *const target[] = {"online", "behind", "full", "failed", "offline"};
        static const char *const file[] = {"pending", "partial", "copied", "verified", "conflict", "failed"};

        for (int i = 0; i <= MIRROR_IDLE; i++)
                assert_string_equal(status_state_name((enum mirror_state)i), mirror[i]);
        for (int i = 0; i <= TARGET_OFFLINE; i++)
                assert_string_equal(status_target_state_name((enum target_state)i), target[i]);
        for (int i = 0; i <= FILE_FAILED; i++)
                assert_string_equal(status_file_state_name((enum file_state)i), file[i]);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
            cmocka_unit_test(deinit_frees_all_and_may_be_repeated),
            cmocka_unit_test(file_deinit_frees_all_and_may_be_repeated),
            cmocka_unit_test(names_are_the_words_of_the_contract),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
