#include "mirror_fixture.h"

#include "core/mirror_internal.h"

#include <time.h>

enum { PATHS_MAX = 4000 };

/* --- the walk --- */

struct paths {
        char *items[PATHS_MAX];
        enum category categories[PATHS_MAX];
        bool verified[PATHS_MAX];
        size_t count, room;
};

static bool take_path(void *context, const struct mirror_entry *entry)
{
        struct paths *paths = context;

        assert_true(paths->count < PATHS_MAX);
        paths->categories[paths->count] = entry->category;
        paths->verified[paths->count] = entry->verified;
        paths->items[paths->count++] = strdup(entry->path);
        return paths->count != paths->room;
}

static void paths_free(struct paths *paths)
{
        for (size_t i = 0; i < paths->count; i++)
                free(paths->items[i]);
        *paths = (struct paths){ 0 };
}

/* What `find` and `sort` say is what the walk gives. */
static void assert_walk_is_sorted_find(struct lab *lab)
{
        struct paths paths = { 0 };
        char *line = NULL;
        size_t room = 0, at = 0;
        FILE *expected;

        lab_shell(lab, "find source ! -type d -printf '%P\\n' | LC_ALL=C sort > expected");
        expected = fopen(lab_path(lab, "expected"), "r");
        assert_non_null(expected);
        assert_int_equal(mirror_each_file(lab->mirror, take_path, &paths), 0);
        for (; getline(&line, &room, expected) > 0; at++) {
                line[strcspn(line, "\n")] = '\0';
                assert_true(at < paths.count);
                assert_string_equal(paths.items[at], line);
        }
        assert_int_equal(at, paths.count);
        free(line);
        (void)fclose(expected);
        paths_free(&paths);
}

static void test_walk_gives_all_files_in_the_byte_order_of_their_paths(void **state)
{
        static const char *const pieces[] = { "a", "b", "!", ".x", "-", "0", "~", "\x01", "\xff" };
        struct lab *lab = *state;
        unsigned seed = (unsigned)time(NULL);

        print_message("seed %u\n", seed);
        for (int i = 0; i < 600; i++) {
                char path[256] = "source";
                int levels = 1 + rand_r(&seed) % 4;

                for (int level = 0; level < levels; level++) {
                        (void)strcat(path, "/a");
                        for (int n = rand_r(&seed) % 3; n > 0; n--)
                                (void)strcat(path, pieces[(size_t)rand_r(&seed) % (sizeof(pieces) / sizeof(*pieces))]);
                        if (level < levels - 1)
                                (void)mkdirat(lab->dir, path, 0755); /* it may be there, and be a file */
                }
                (void)close(openat(lab->dir, path, O_CREAT | O_WRONLY | O_CLOEXEC, 0644)); /* as above: a directory */
        }
        lab_shell(lab, "ln source/a* source/hard 2> /dev/null || true; ln -s nowhere source/symlink; mkfifo source/fifo");
        lab_start(lab);
        lab_wait_scanned(lab);
        assert_walk_is_sorted_find(lab);
}

/* Portions of names end in the middle of big directories, also far down, where they are small. */
static void test_walk_gives_all_files_of_big_and_of_deep_directories(void **state)
{
        struct lab *lab = *state;

        lab_shell(lab, "mkdir -p source/big/k && cd source/big && seq -f n%04g 1000 | xargs touch && mkdir d.d && touch d.d/1 d");
        lab_shell(lab, "p=source; for i in $(seq 40); do p=$p/d$i; mkdir $p; seq -f $p/%03g 20 | xargs touch; mkdir $p/y $p/y.z; touch "
                       "$p/y/f $p/y.z/f $p/y-1; done");
        lab_start(lab);
        lab_wait_scanned(lab);
        assert_walk_is_sorted_find(lab);
}

static void test_walk_ends_when_the_visitor_says_so(void **state)
{
        struct lab *lab = *state;
        struct paths paths = { .room = 2 };

        lab_shell(lab, "mkdir source/d && touch source/a source/d/b source/z");
        lab_start(lab);
        lab_wait_scanned(lab);
        assert_int_equal(mirror_each_file(lab->mirror, take_path, &paths), 0);
        assert_int_equal(paths.count, 2);
        assert_string_equal(paths.items[1], "d/b");
        paths_free(&paths);
}

static void test_walk_gives_each_name_of_a_link_and_what_is_excluded_as_one(void **state)
{
        struct lab *lab = *state;
        struct paths paths = { 0 };

        lab_shell(lab, "mkdir -p source/.cvv/x source/d && echo 1 > source/d/f && ln source/d/f source/g && touch source/.cvv/y");
        lab_start(lab);
        lab_wait_scanned(lab);
        assert_int_equal(mirror_each_file(lab->mirror, take_path, &paths), 0);
        assert_int_equal(paths.count, 3);
        assert_string_equal(paths.items[0], ".cvv");
        assert_int_equal(paths.categories[0], CATEGORY_EXCLUDED);
        assert_string_equal(paths.items[1], "d/f");
        assert_string_equal(paths.items[2], "g");
        assert_int_equal(paths.categories[2], CATEGORY_PENDING);
        assert_false(paths.verified[2]);
        paths_free(&paths);
}

/* --- the lists --- */

/* The text of a list, in a static buffer. */
static const char *text_of(struct lab *lab, int (*list)(struct mirror *mirror, int *ret_fd))
{
        static char text[64 * 1024];
        cleanup(fd_close) int fd = -1;
        ssize_t size;

        assert_int_equal(list(lab->mirror, &fd), 0);
        size = read(fd, text, sizeof(text) - 1);
        assert_true(size >= 0 && size < (ssize_t)sizeof(text) - 1);
        text[size] = '\0';
        return text;
}

static bool set_verified(void *context, struct node_record *node)
{
        node->verified = *(const uint64_t *)context;
        return true;
}

/* As if it had been read back on these slots. */
static void verify_record(struct lab *lab, const char *path, uint64_t slots)
{
        assert_int_equal(view_update(lab->mirror->view, lab_id(lab, path), set_verified, &slots), 0);
}

static void test_manifest_has_the_verified_files_sorted_by_path(void **state)
{
        struct lab *lab = *state;

        lab_shell(lab, "cd source && mkdir d d.e && echo 1 > d/f && echo 2 > d.e/f && echo 3 > later && ln d/f g && ln -s g symlink && "
                       "touch -h -d @1000 symlink");
        lab->options.fill = FILL_ALL;
        lab_start(lab);
        lab_wait_idle(lab);
        assert_string_equal(text_of(lab, mirror_manifest), "");
        verify_record(lab, "d/f", 7);
        verify_record(lab, "d.e/f", 7);
        verify_record(lab, "later", 6);
        verify_record(lab, "symlink", 7);
        (void)text_of(lab, mirror_manifest);
        lab_shell(lab, "cd source && xxhsum d.e/f d/f g > ../expected");
        for (int i = 0; i < LAB_TARGETS; i++) {
                char command[200];
                FILE *out = fopen(lab_path(lab, "manifest"), "w");

                assert_non_null(out);
                assert_true(fputs(text_of(lab, mirror_manifest), out) >= 0);
                assert_int_equal(fclose(out), 0);
                (void)snprintf(command, sizeof(command), "cmp manifest expected && cd t%d && xxhsum --strict --quiet -c ../manifest", i + 1);
                lab_shell(lab, command);
        }
}

static void test_verified_file_that_the_manifest_cannot_hold_is_an_error(void **state)
{
        struct lab *lab = *state;

        pattern_file(lab->source, "new\nline", 10, 1);
        pattern_file(lab->source, "plain", 10, 1);
        lab->options.fill = FILL_ALL;
        lab_start(lab);
        lab_wait_idle(lab);
        assert_string_equal(text_of(lab, mirror_errors), "");
        verify_record(lab, "new\nline", 7);
        verify_record(lab, "plain", 7);
        assert_non_null(strstr(text_of(lab, mirror_errors), "new\\x0aline: verified, but not in the manifest: "));
        assert_null(strstr(text_of(lab, mirror_errors), "plain"));
        assert_null(strstr(text_of(lab, mirror_manifest), "line"));
        assert_non_null(strstr(text_of(lab, mirror_manifest), "  plain\n"));
}

static void test_errors_and_skipped_are_sorted_and_name_each_target(void **state)
{
        struct lab *lab = *state;
        const char *text;

        lab_shell(lab, "mkdir source/d t1/d t2/d && echo a > source/d/x && echo b > source/d.x && echo c > source/same && cp -p source/same t1 && "
                       "cp -p source/same t2 && cp -p source/same t3 && echo other > t1/d/x && echo other > t2/d/x && echo another > t3/d.x");
        lab->options.fill = FILL_ALL;
        lab_start(lab);
        lab_wait_idle(lab);
        text = text_of(lab, mirror_errors);
        assert_true(strncmp(text, "d.x: target 3 (", 15) == 0);
        text = strchr(text, '\n') + 1;
        assert_true(strncmp(text, "d/x: target 1 (", 15) == 0);
        text = strchr(text, '\n') + 1;
        assert_true(strncmp(text, "d/x: target 2 (", 15) == 0);
        assert_string_equal(text_of(lab, mirror_skipped), "conflict d.x: a target has a different file of this name\n"
                                                          "conflict d/x: a target has a different file of this name\n"
                                                          "skipped same: the targets have it already\n");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                LAB_CASE(test_walk_gives_all_files_in_the_byte_order_of_their_paths),
                LAB_CASE(test_walk_gives_all_files_of_big_and_of_deep_directories),
                LAB_CASE(test_walk_ends_when_the_visitor_says_so),
                LAB_CASE(test_walk_gives_each_name_of_a_link_and_what_is_excluded_as_one),
                LAB_CASE(test_manifest_has_the_verified_files_sorted_by_path),
                LAB_CASE(test_verified_file_that_the_manifest_cannot_hold_is_an_error),
                LAB_CASE(test_errors_and_skipped_are_sorted_and_name_each_target),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
