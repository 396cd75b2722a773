#include <errno.h>
#include <stdbool.h>
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

#include "mount-helper/path.h"

static char base[64]; /* the working directory of each test, real */

static int set_up(void **state)
{
        (void)snprintf(base, sizeof(base), "/tmp/cvv-path-XXXXXX"); /* fits */
        return mkdtemp(base) && chdir(base) == 0 && mkdir("dir", 0700) == 0 && symlink("dir", "link") == 0 &&
                       symlink("absent", "dangling") == 0
                   ? 0
                   : -1;
}

static int tear_down(void **state)
{
        char command[128];

        (void)snprintf(command, sizeof(command), "rm -rf '%s'", base); /* fits */
        return chdir("/") == 0 ? system(command) : -1;
}

static void expect_new(const char *path, const char *expected, bool expected_exists)
{
        char whole[256], *found;
        bool exists = !expected_exists;

        (void)snprintf(whole, sizeof(whole), "%s/%s", base, expected); /* fits */
        assert_int_equal(path_real_or_new(path, &found, &exists), 0);
        assert_string_equal(found, whole);
        assert_int_equal(exists, expected_exists);
        free(found);
}

static void refuse_new(const char *path, int code)
{
        char *found = base;
        bool exists = true;

        assert_int_equal(path_real_or_new(path, &found, &exists), code);
        assert_ptr_equal(found, base);
}

static void an_existing_path_becomes_real(void **state)
{
        expect_new("dir", "dir", true);
        expect_new("link", "dir", true);
        expect_new("./link/../dir//", "dir", true);
}

static void an_absent_last_component_is_put_behind_the_real_parent(void **state)
{
        expect_new("new", "new", false);
        expect_new("new///", "new", false);
        expect_new("link/new", "dir/new", false);
        expect_new("./link/./../link/new/", "dir/new", false);
}

static void an_absent_parent_or_a_link_to_nothing_is_enoent(void **state)
{
        refuse_new("absent/new", -ENOENT);
        refuse_new("dangling", -ENOENT);
        refuse_new("dangling/", -ENOENT);
        refuse_new("absent/..", -ENOENT);
        refuse_new("", -ENOENT);
}

static void absolute_keeps_what_cannot_be_resolved(void **state)
{
        char expected[256], *found;

        (void)snprintf(expected, sizeof(expected), "%s/no/such/file", base); /* fits */
        assert_int_equal(path_absolute("no/such/file", &found), 0);
        assert_string_equal(found, expected);
        free(found);
        assert_int_equal(path_absolute("/no/such/file", &found), 0);
        assert_string_equal(found, "/no/such/file");
        free(found);
}

static void below_compares_whole_components(void **state)
{
        assert_string_equal(path_below("/a/b/c", "/a/b"), "c");
        assert_string_equal(path_below("/a/b//c", "/a/b"), "c");
        assert_string_equal(path_below("/a/b", "/a/b"), "");
        assert_string_equal(path_below("/a", "/"), "a");
        assert_string_equal(path_below("/", "/"), "");
        assert_null(path_below("/a/bc", "/a/b"));
        assert_null(path_below("/a", "/a/b"));
}

static void the_rest_below_a_root_is_found_through_links_in_front(void **state)
{
        char root[128], path[256], *rest;

        (void)snprintf(root, sizeof(root), "%s/dir", base);                    /* fits */
        (void)snprintf(path, sizeof(path), "%s/link/DCIM/no such clip", base); /* fits */
        assert_int_equal(path_rest_below(path, root, &rest), 0);
        assert_string_equal(rest, "DCIM/no such clip");
        free(rest);
        assert_int_equal(path_rest_below(root, root, &rest), 0);
        assert_string_equal(rest, "");
        free(rest);
        (void)snprintf(path, sizeof(path), "%s/director", base); /* fits */
        assert_int_equal(path_rest_below(path, root, &rest), -ENOENT);
        assert_int_equal(path_rest_below("/", root, &rest), -ENOENT);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
            cmocka_unit_test_setup_teardown(an_existing_path_becomes_real, set_up, tear_down),
            cmocka_unit_test_setup_teardown(an_absent_last_component_is_put_behind_the_real_parent, set_up, tear_down),
            cmocka_unit_test_setup_teardown(an_absent_parent_or_a_link_to_nothing_is_enoent, set_up, tear_down),
            cmocka_unit_test_setup_teardown(absolute_keeps_what_cannot_be_resolved, set_up, tear_down),
            cmocka_unit_test(below_compares_whole_components),
            cmocka_unit_test_setup_teardown(the_rest_below_a_root_is_found_through_links_in_front, set_up, tear_down),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
