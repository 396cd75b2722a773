#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "core/command.h"

static struct command *parse_size(const char *text, size_t size, size_t expected)
{
        struct command *commands = NULL;
        struct error error = {0};
        size_t count = 0;

        assert_int_equal(command_parse(text, size, &commands, &count, &error), 0);
        assert_int_equal(count, expected);
        return commands;
}

static struct command *parse(const char *text, size_t expected)
{
        return parse_size(text, strlen(text), expected);
}

static void refuse_size(const char *text, size_t size)
{
        struct command untouched, *commands = &untouched;
        struct error error = {0};
        size_t count = 77;

        assert_int_equal(command_parse(text, size, &commands, &count, &error), -EINVAL);
        assert_ptr_equal(commands, &untouched);
        assert_int_equal(count, 77);
        assert_int_equal(error.code, -EINVAL);
        assert_true(strlen(error.message) > 0);
        assert_int_equal(command_parse(text, size, &commands, &count, NULL), -EINVAL);
}

static void refuse(const char *text)
{
        refuse_size(text, strlen(text));
}

static void expect_path(const char *text, const char *path)
{
        struct command *commands = parse(text, 1);

        assert_string_equal(commands[0].path, path);
        command_free(commands, 1);
}

static void every_command_is_parsed(void **state)
{
        struct command *c = parse("fill a b\npause\nresume\nverify\nresync\nresync 3\nretry\nlimit 50M/s\ncheckpoint\n"
                                  "add /mnt/d 4\nremove 2\n",
                                  11);

        assert_int_equal(c[0].kind, COMMAND_FILL);
        assert_string_equal(c[0].path, "a b");
        assert_int_equal(c[1].kind, COMMAND_PAUSE);
        assert_null(c[1].path);
        assert_int_equal(c[2].kind, COMMAND_RESUME);
        assert_int_equal(c[3].kind, COMMAND_VERIFY);
        assert_string_equal(c[3].path, "");
        assert_int_equal(c[4].target, 0);
        assert_int_equal(c[5].kind, COMMAND_RESYNC);
        assert_int_equal(c[5].target, 3);
        assert_int_equal(c[6].kind, COMMAND_RETRY);
        assert_int_equal(c[7].kind, COMMAND_LIMIT);
        assert_int_equal(c[7].limit_bytes_per_s, 50 << 20);
        assert_int_equal(c[8].kind, COMMAND_CHECKPOINT);
        assert_int_equal(c[9].kind, COMMAND_ADD);
        assert_string_equal(c[9].directory, "/mnt/d 4");
        assert_int_equal(c[10].kind, COMMAND_REMOVE);
        assert_int_equal(c[10].target, 2);
        command_free(c, 11);
}

static void last_newline_is_optional_and_empty_lines_are_skipped(void **state)
{
        command_free(parse("\n\npause\n\nresume", 2), 2);
}

static void path_is_the_rest_of_the_line_and_unescaped(void **state)
{
        expect_path("fill  a \n", " a ");
        expect_path("fill a\\nb\\\\n", "a\nb\\n");
        expect_path("fill \xff\r", "\xff\r");
        refuse("fill a\\tb");
        refuse("fill a\\");
}

static void path_is_normalised(void **state)
{
        expect_path("fill ./a/b/", "a/b");
        expect_path("fill /a//./b", "a/b");
        expect_path("fill /", "");
        expect_path("fill .", "");
        expect_path("verify ...", "...");
        expect_path("verify a/..b", "a/..b");
}

static void dot_dot_is_refused(void **state)
{
        refuse("fill ..");
        refuse("fill a/../b");
        refuse("verify /..");
        refuse("fill a/..");
}

static void limit_none_and_zero_lift_the_limit(void **state)
{
        struct command *c = parse("limit 1G\nlimit none\nlimit 0", 3);

        assert_int_equal(c[0].limit_bytes_per_s, 1 << 30);
        assert_int_equal(c[1].limit_bytes_per_s, 0);
        assert_int_equal(c[2].limit_bytes_per_s, 0);
        command_free(c, 3);
}

static void malformed_line_refuses_the_whole_write(void **state)
{
        refuse("pause\nfrobnicate\n");
        refuse("fill a\nfill ..\n");
        refuse("pause now");
        refuse("pause ");
        refuse(" pause");
        refuse("pause\r\n");
        refuse("PAUSE");
        refuse("fill ");
        refuse("limit");
        refuse("limit fast");
        refuse("limit -1");
        refuse("add");
        refuse("add relative/dir");
        refuse("add ");
        refuse("remove");
}

static void target_must_be_a_number_from_one(void **state)
{
        struct command *c = parse("remove 4294967295", 1);

        assert_int_equal(c[0].target, UINT32_MAX);
        command_free(c, 1);
        refuse("remove 0");
        refuse("remove -1");
        refuse("remove 1x");
        refuse("remove 01");
        refuse("resync ");
        refuse("remove 4294967296");
        refuse("remove 99999999999999999999999");
}

static void error_names_the_line(void **state)
{
        const char *text = "pause\n\nfill a/../b\n";
        struct command *commands;
        struct error error = {0};
        size_t count;

        assert_int_equal(command_parse(text, strlen(text), &commands, &count, &error), -EINVAL);
        assert_non_null(strstr(error.message, "line 3: fill: "));
}

static void empty_oversized_and_nul_are_refused(void **state)
{
        char *text = malloc(COMMAND_TEXT_BYTES_MAX + 1);

        refuse_size("", 0);
        refuse_size(NULL, 0);
        refuse("\n\n");
        refuse_size("fill a\0b", 8);
        refuse_size("pause\0", 6);
        memset(text, 'a', COMMAND_TEXT_BYTES_MAX + 1);
        memcpy(text, "fill ", 5);
        command_free(parse_size(text, COMMAND_TEXT_BYTES_MAX, 1), 1);
        refuse_size(text, COMMAND_TEXT_BYTES_MAX + 1);
        free(text);
}

static void help_names_every_command(void **state)
{
        static const char *const names[] = {"fill",  "pause", "resume",     "verify", "resync",
                                            "retry", "limit", "checkpoint", "add",    "remove"};
        char line[32];

        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
                line[0] = '\n';
                strcpy(line + 1, names[i]);
                assert_non_null(strstr(command_help(), line));
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
            cmocka_unit_test(every_command_is_parsed),
            cmocka_unit_test(last_newline_is_optional_and_empty_lines_are_skipped),
            cmocka_unit_test(path_is_the_rest_of_the_line_and_unescaped),
            cmocka_unit_test(path_is_normalised),
            cmocka_unit_test(dot_dot_is_refused),
            cmocka_unit_test(limit_none_and_zero_lift_the_limit),
            cmocka_unit_test(malformed_line_refuses_the_whole_write),
            cmocka_unit_test(target_must_be_a_number_from_one),
            cmocka_unit_test(error_names_the_line),
            cmocka_unit_test(empty_oversized_and_nul_are_refused),
            cmocka_unit_test(help_names_every_command),
        };

        return cmocka_run_group_tests_name("command", tests, NULL, NULL);
}
