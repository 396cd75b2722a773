#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "core/cleanup.h"
#include "core/exclude.h"
#include "core/sync.h"

static bool matches_all(char *const *patterns, size_t count, const char *path, bool is_directory)
{
        cleanup(exclude_release) struct exclude *exclude = NULL;

        assert_int_equal(exclude_new(patterns, count, &exclude), 0);
        return exclude_match(exclude, path, is_directory);
}

static bool matches(const char *pattern, const char *path)
{
        cleanup(pointer_free) char *copy = strdup(pattern);

        return matches_all(&copy, 1, path, false);
}

static void pattern_without_slash_matches_a_name_at_any_depth(void **state)
{
        assert_true(matches("a.txt", "a.txt"));
        assert_true(matches("a.txt", "x/y/a.txt"));
        assert_false(matches("a.txt", "a.txt/b"));
        assert_false(matches("a.txt", "xa.txt"));
        assert_true(matches("*.tmp", "x/.tmp"));
        assert_true(matches("**", "x/y"));
        assert_true(matches("a**b", "x/axxb"));
}

static void slash_in_front_or_inside_anchors_at_the_root(void **state)
{
        assert_true(matches("/a", "a"));
        assert_false(matches("/a", "x/a"));
        assert_true(matches("x/a", "x/a"));
        assert_false(matches("x/a", "y/x/a"));
        assert_true(matches("/x/*", "x/a"));
}

static void star_and_question_mark_do_not_cross_a_slash(void **state)
{
        assert_true(matches("x/*", "x/abc"));
        assert_false(matches("x/*", "x/a/b"));
        assert_true(matches("x/*/b", "x/a/b"));
        assert_false(matches("x/*/b", "x/b"));
        assert_false(matches("x?y/z", "x/y/z"));
        assert_true(matches("a?c", "abc"));
        assert_false(matches("a?c", "ac"));
        assert_false(matches("x/a**b", "x/a/b"));
}

static void double_star_spans_directories(void **state)
{
        assert_true(matches("**/a", "a"));
        assert_true(matches("**/a", "x/y/a"));
        assert_false(matches("**/a", "x/ya"));
        assert_true(matches("x/**", "x/a/b"));
        assert_false(matches("x/**", "x"));
        assert_true(matches("x/**/a", "x/a"));
        assert_true(matches("x/**/a", "x/y/z/a"));
        assert_false(matches("x/**/a", "x/ya"));
        assert_true(matches("**/x/**/a", "1/2/x/3/4/a"));
}

static void trailing_slash_matches_directories_only(void **state)
{
        char pattern[] = "cache/", *patterns[] = {pattern};

        assert_true(matches_all(patterns, 1, "x/cache", true));
        assert_false(matches_all(patterns, 1, "x/cache", false));
}

static void last_match_decides_and_exclamation_mark_takes_back(void **state)
{
        char all[] = "*.mov", not [] = "!keep.mov", again[] = "/keep.mov";
        char *patterns[] = {all, not, again};

        assert_true(matches_all(patterns, 2, "x/a.mov", false));
        assert_false(matches_all(patterns, 2, "x/keep.mov", false));
        assert_true(matches_all(patterns, 3, "keep.mov", false));
        assert_true(matches("\\!a", "!a"));
}

static void classes_match_as_in_git(void **state)
{
        assert_true(matches("[abc]", "b"));
        assert_false(matches("[!abc]", "b"));
        assert_true(matches("[^a-c]", "d"));
        assert_true(matches("[a-c]x", "cx"));
        assert_true(matches("[]x]", "]"));
        assert_true(matches("[a-]", "-"));
        assert_true(matches("[\\]]", "]"));
        assert_true(matches("[[:digit:][:upper:]]", "Q"));
        assert_false(matches("[[:digit:]]", "x"));
        assert_false(matches("x[!a]y", "x/y"));
        assert_false(matches("a/[!b]c", "a//c"));
        assert_true(matches("[\x80-\xff]", "\xc3"));
}

static void malformed_pattern_matches_nothing(void **state)
{
        assert_false(matches("[a", "[a"));
        assert_false(matches("[[:nothing:]]", "n"));
        assert_false(matches("a\\", "a\\"));
        assert_false(matches("", ""));
        assert_false(matches("!", "!"));
        assert_false(matches("/", "a"));
}

static void backslash_takes_the_next_byte_literally(void **state)
{
        assert_true(matches("a\\*", "a*"));
        assert_false(matches("a\\*", "ab"));
        assert_true(matches("\\#a", "#a"));
        assert_true(matches("#recycle", "x/#recycle"));
}

static void trailing_spaces_fall_away_unless_escaped(void **state)
{
        assert_true(matches("a  ", "a"));
        assert_true(matches("a\\ ", "a "));
        assert_true(matches("a\\  ", "a "));
        assert_false(matches("a\\ ", "a"));
        assert_true(matches(" a", " a"));
}

static void root_is_never_excluded_and_null_excludes_nothing(void **state)
{
        assert_false(matches("*", ""));
        assert_false(exclude_match(NULL, "a", false));
}

static void too_long_pattern_is_refused(void **state)
{
        cleanup(pointer_free) char *pattern = malloc(EXCLUDE_PATTERN_BYTES_MAX + 2);
        struct exclude *exclude = NULL;

        memset(pattern, '?', EXCLUDE_PATTERN_BYTES_MAX + 1);
        pattern[EXCLUDE_PATTERN_BYTES_MAX + 1] = '\0';
        assert_int_equal(exclude_new(&pattern, 1, &exclude), -EINVAL);
        assert_null(exclude);
        pattern[EXCLUDE_PATTERN_BYTES_MAX] = '\0';
        assert_int_equal(exclude_new(&pattern, 1, &exclude), 0);
        assert_false(exclude_match(exclude, "a", false));
        exclude = exclude_free(exclude);
        assert_null(exclude);
}

static void hostile_pattern_takes_no_exponential_time(void **state)
{
        char pattern[400] = "", path[2000] = "";
        uint64_t begin = clock_now_ns();

        for (int i = 0; i < 60; i++)
                strcat(pattern, "**/*a");
        strcat(pattern, "b");
        for (int i = 0; i < 900; i++)
                strcat(path, i % 30 == 29 ? "a/" : "a");
        strcat(path, "a");
        assert_false(matches(pattern, path));
        assert_true(clock_now_ns() - begin < UINT64_C(3000000000));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
            cmocka_unit_test(pattern_without_slash_matches_a_name_at_any_depth),
            cmocka_unit_test(slash_in_front_or_inside_anchors_at_the_root),
            cmocka_unit_test(star_and_question_mark_do_not_cross_a_slash),
            cmocka_unit_test(double_star_spans_directories),
            cmocka_unit_test(trailing_slash_matches_directories_only),
            cmocka_unit_test(last_match_decides_and_exclamation_mark_takes_back),
            cmocka_unit_test(classes_match_as_in_git),
            cmocka_unit_test(malformed_pattern_matches_nothing),
            cmocka_unit_test(backslash_takes_the_next_byte_literally),
            cmocka_unit_test(trailing_spaces_fall_away_unless_escaped),
            cmocka_unit_test(root_is_never_excluded_and_null_excludes_nothing),
            cmocka_unit_test(too_long_pattern_is_refused),
            cmocka_unit_test(hostile_pattern_takes_no_exponential_time),
        };

        return cmocka_run_group_tests_name("exclude", tests, NULL, NULL);
}
