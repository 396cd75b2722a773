#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "fs/mountargs.h"
#include "fs/mountpoint.h"

#include <string.h>

/* The list behind -o. */
static void assert_list(const struct options *options, const char *expected)
{
        struct fuse_args args = {0};

        assert_int_equal(mountargs_make(options, &args), 0);
        assert_int_equal(args.argc, 3);
        assert_string_equal(args.argv[1], "-o");
        assert_string_equal(args.argv[2], expected);
        fuse_opt_free_args(&args);
}

static void the_source_and_cvv_show_in_the_mount_table(void **state)
{
        char source[] = "/card";
        struct options options = {.source = source};

        assert_list(&options, "default_permissions,fsname=/card,subtype=cvv");
}

static void fsname_and_subtype_override(void **state)
{
        char source[] = "/card", fsname[] = "camera", subtype[] = "x";
        struct options options = {.source = source, .fsname = fsname, .subtype = subtype, .allow_other = true};

        assert_list(&options, "default_permissions,fsname=camera,subtype=x,allow_other");
}

static void commas_and_backslashes_are_escaped(void **state)
{
        char source[] = "/a,b\\c d";
        char context[] = "context=\"a:b:c0,c1\"", dev[] = "dev";
        char *items[] = {dev, context};
        struct options options = {.source = source, .fuse_options = {.items = items, .count = 2}};

        assert_list(&options, "default_permissions,fsname=/a\\,b\\\\c d,subtype=cvv,dev,context=\"a:b:c0\\,c1\"");
}

static bool allows(const char *text)
{
        return mountpoint_conf_allows_other(text, strlen(text));
}

static void the_line_in_fuse_conf_is_found(void **state)
{
        assert_true(allows("user_allow_other"));
        assert_true(allows("# x\nmount_max = 3\n  user_allow_other \t\r\n"));
}

static void a_comment_or_another_word_in_fuse_conf_does_not_count(void **state)
{
        assert_false(allows(""));
        assert_false(allows("#user_allow_other\n"));
        assert_false(allows("user_allow_others\n"));
        assert_false(allows("not user_allow_other\n"));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
            cmocka_unit_test(the_source_and_cvv_show_in_the_mount_table),
            cmocka_unit_test(fsname_and_subtype_override),
            cmocka_unit_test(commas_and_backslashes_are_escaped),
            cmocka_unit_test(the_line_in_fuse_conf_is_found),
            cmocka_unit_test(a_comment_or_another_word_in_fuse_conf_does_not_count),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
