#include <errno.h>
#include <unistd.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "mount-helper/controlline.h"

static void expect(const char *command, const char *argument, const char *expected)
{
        struct error error = {0};
        char *line;

        assert_int_equal(controlline_build("/mnt", command, argument, &line, &error), 0);
        assert_string_equal(line, expected);
        free(line);
}

static void refuse(const char *command, const char *argument, const char *containing)
{
        struct error error = {0};
        char *line = NULL;

        assert_int_equal(controlline_build("/mnt", command, argument, &line, &error), -EINVAL);
        assert_null(line);
        assert_non_null(strstr(error.message, containing));
        assert_null(strstr(error.message, "line 1"));
}

static void commands_become_lines(void **state)
{
        expect("pause", NULL, "pause\n");
        expect("fill", NULL, "fill\n");
        expect("fill", "DCIM/A 1.mov", "fill DCIM/A 1.mov\n");
        expect("limit", "50M", "limit 50M\n");
        expect("resync", "2", "resync 2\n");
}

static void paths_are_escaped(void **state)
{
        expect("fill", "new\nline", "fill new\\nline\n");
        expect("verify", "back\\slash", "verify back\\\\slash\n");
}

static void a_path_below_the_mount_becomes_relative(void **state)
{
        expect("fill", "/mnt/DCIM/clip", "fill DCIM/clip\n");
        expect("fill", "/mnt", "fill\n");
        expect("fill", "/mnt/", "fill\n");
        expect("fill", "/DCIM", "fill /DCIM\n"); /* the mount takes it from its root */
}

static void the_directory_of_add_becomes_absolute(void **state)
{
        assert_int_equal(chdir("/"), 0);
        expect("add", "tmp", "add /tmp\n");
        expect("add", "/no/such/place", "add /no/such/place\n");
}

static void mistakes_are_said_with_the_commands(void **state)
{
        refuse("frobnicate", NULL, "frobnicate");
        refuse("frobnicate", NULL, "checkpoint");
        refuse("fil", "x", "no command");
        refuse("", NULL, "no command");
        refuse("RATE", NULL, "no command");
        refuse("limit", NULL, "missing");
        refuse("limit", "fast", "rate");
        refuse("pause", "now", "no argument");
        refuse("remove", "0", "target");
        refuse("fill", "../etc", "..");
        refuse("fill", "", "empty");
        refuse("limit", "1M\npause", "newline");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
            cmocka_unit_test(commands_become_lines),
            cmocka_unit_test(paths_are_escaped),
            cmocka_unit_test(a_path_below_the_mount_becomes_relative),
            cmocka_unit_test(the_directory_of_add_becomes_absolute),
            cmocka_unit_test(mistakes_are_said_with_the_commands),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
