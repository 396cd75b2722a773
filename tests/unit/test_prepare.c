#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "mount-helper/prepare.h"

static char base[64];

static int set_up(void **state)
{
        FILE *file;

        (void)snprintf(base, sizeof(base), "/tmp/cvv-prepare-XXXXXX"); /* fits */
        if (!mkdtemp(base) || chdir(base) < 0 || mkdir("source", 0700) < 0 || mkdir("mnt", 0700) < 0 ||
            mkdir("t1", 0700) < 0)
                return -1;
        file = fopen("plain", "w");
        return file && fclose(file) == 0 ? 0 : -1;
}

static int tear_down(void **state)
{
        char command[128];

        (void)snprintf(command, sizeof(command), "rm -rf '%s'", base); /* fits */
        return chdir("/") == 0 ? system(command) : -1;
}

static int prepare(char *source, char *target, char *mountpoint, struct options *options, struct error *error)
{
        char letter[] = "-t", state[] = "--state=new/state";
        char *words[] = {letter, target, state, source, mountpoint};

        assert_int_equal(options_parse_mount(5, words, options, error), 0);
        return prepare_mount(options, error);
}

static void refuse(const char *source, const char *target, const char *mountpoint, const char *containing)
{
        struct options options;
        struct error error = {0};
        char words[3][64];

        (void)snprintf(words[0], sizeof(words[0]), "%s", source);     /* fits */
        (void)snprintf(words[1], sizeof(words[1]), "%s", target);     /* fits */
        (void)snprintf(words[2], sizeof(words[2]), "%s", mountpoint); /* fits */
        assert_int_equal(prepare(words[0], words[1], words[2], &options, &error), -EINVAL);
        assert_non_null(strstr(error.message, containing));
        options_deinit(&options);
}

static void paths_become_absolute(void **state)
{
        char source[] = "source", target[] = "./t1/../new", mountpoint[] = "mnt/", expected[128];
        struct options options;
        struct error error = {0};

        assert_int_equal(prepare(source, target, mountpoint, &options, &error), 0);
        (void)snprintf(expected, sizeof(expected), "%s/source", base); /* fits */
        assert_string_equal(options.source, expected);
        (void)snprintf(expected, sizeof(expected), "%s/mnt", base); /* fits */
        assert_string_equal(options.mountpoint, expected);
        (void)snprintf(expected, sizeof(expected), "%s/new", base); /* fits */
        assert_string_equal(options.targets.items[0], expected);
        (void)snprintf(expected, sizeof(expected), "%s/new/state", base); /* fits */
        assert_string_equal(options.state_dir, expected);
        assert_int_equal(access("new", F_OK), -1);
        options_deinit(&options);
}

static void none_as_source_is_no_path(void **state)
{
        char source[] = "none", target[] = "t1", mountpoint[] = "mnt";
        struct options options;
        struct error error = {0};

        assert_int_equal(prepare(source, target, mountpoint, &options, &error), 0);
        assert_string_equal(options.source, "none");
        options_deinit(&options);
}

static void what_is_missing_or_no_directory_is_usage(void **state)
{
        refuse("absent", "t1", "mnt", "absent");
        refuse("plain", "t1", "mnt", "plain");
        refuse("source", "absent/new", "mnt", "absent");
        refuse("source", "plain", "mnt", "plain");
        refuse("source", "plain/new", "mnt", "plain");
        refuse("source", "t1", "absent", "absent");
        refuse("source", "t1", "plain", "plain");
}

static void a_state_or_log_inside_the_source_is_usage(void **state)
{
        static char inside[][32] = {"--state=source/state", "--log=./source/log", "--state=source"};

        for (size_t i = 0; i < sizeof(inside) / sizeof(inside[0]); i++) {
                char letter[] = "-t", target[] = "t1", source[] = "source", mountpoint[] = "mnt";
                char *words[] = {letter, target, inside[i], source, mountpoint};
                struct options options;
                struct error error = {0};

                assert_int_equal(options_parse_mount(5, words, &options, &error), 0);
                assert_int_equal(prepare_mount(&options, &error), -EINVAL);
                assert_non_null(strstr(error.message, "inside the source"));
                options_deinit(&options);
        }
}

static int prepare_for_copy(char *source, char *first, char *second, struct options *options, struct error *error)
{
        char *words[] = {source, first, second};

        assert_int_equal(options_parse_copy(second ? 3 : 2, words, options, error), 0);
        return prepare_copy(options, error);
}

static void a_file_goes_into_a_directory_or_gets_a_new_name(void **state)
{
        char source[] = "plain", first[] = "t1", second[] = "./new.mov", expected[128];
        struct options options;
        struct error error = {0};

        (void)state;
        assert_int_equal(prepare_for_copy(source, first, second, &options, &error), 0);
        assert_string_equal(options.source, base);
        assert_string_equal(options.source_file, "plain");
        (void)snprintf(expected, sizeof(expected), "%s/t1", base); /* fits */
        assert_string_equal(options.targets.items[0], expected);
        assert_string_equal(options.target_files.items[0], "plain");
        assert_string_equal(options.targets.items[1], base);
        assert_string_equal(options.target_files.items[1], "new.mov");
        options_deinit(&options);
}

static void a_link_to_a_file_gives_its_own_name(void **state)
{
        char source[] = "link", target[] = "t1";
        struct options options;
        struct error error = {0};

        (void)state;
        assert_int_equal(symlink("plain", "link"), 0);
        assert_int_equal(prepare_for_copy(source, target, NULL, &options, &error), 0);
        assert_string_equal(options.source_file, "plain");
        assert_string_equal(options.target_files.items[0], "link");
        options_deinit(&options);
}

static void a_directory_is_copied_whole(void **state)
{
        char source[] = "source", target[] = "t2";
        struct options options;
        struct error error = {0};

        (void)state;
        assert_int_equal(prepare_for_copy(source, target, NULL, &options, &error), 0);
        assert_null(options.source_file);
        assert_int_equal(options.target_files.count, 0);
        options_deinit(&options);
}

static void what_cannot_be_copied_is_usage(void **state)
{
        static const struct {
                const char *source, *target, *containing;
        } cases[] = {
            {"nowhere", "t1", "nowhere"},
            {"none", "t1", "nothing to copy"},
            {"/dev/null", "t1", "neither a directory nor a file"},
            {"source", "plain", "not a directory"},
            {"source", "no/t1", "does not exist"},
            {"plain", "no/t1", "no"},
            {"plain", "t1/new/", "does not exist"},
            {"plain", "/dev/null", "neither a directory nor a file"},
            {"plain", "t1/.cvv", "cvv's own"},
        };

        (void)state;
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                struct options options;
                struct error error = {0};
                char source[32], target[32];

                (void)snprintf(source, sizeof(source), "%s", cases[i].source); /* fits */
                (void)snprintf(target, sizeof(target), "%s", cases[i].target); /* fits */
                assert_int_equal(prepare_for_copy(source, target, NULL, &options, &error), -EINVAL);
                assert_non_null(strstr(error.message, cases[i].containing));
                options_deinit(&options);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
            cmocka_unit_test_setup_teardown(paths_become_absolute, set_up, tear_down),
            cmocka_unit_test_setup_teardown(none_as_source_is_no_path, set_up, tear_down),
            cmocka_unit_test_setup_teardown(what_is_missing_or_no_directory_is_usage, set_up, tear_down),
            cmocka_unit_test_setup_teardown(a_file_goes_into_a_directory_or_gets_a_new_name, set_up, tear_down),
            cmocka_unit_test_setup_teardown(a_link_to_a_file_gives_its_own_name, set_up, tear_down),
            cmocka_unit_test_setup_teardown(a_directory_is_copied_whole, set_up, tear_down),
            cmocka_unit_test_setup_teardown(what_cannot_be_copied_is_usage, set_up, tear_down),
            cmocka_unit_test_setup_teardown(a_state_or_log_inside_the_source_is_usage, set_up, tear_down),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
