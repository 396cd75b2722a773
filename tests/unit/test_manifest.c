#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/cleanup.h"
#include "core/hash.h"
#include "core/manifest.h"
#include "core/sync.h"

static const char *const names[] = {
        "a", " lead", "trail ", "two  spaces", "back\\slash", "\\lead", "ends\\", "b\\n", "new\nline", "\n", "cr\rx", "tail\r", "(paren) = x",
        "XXH3 (a) = 0", "XXH3_a", "* star", "*star", "# hash", "\xff\xfe", "-dash", "-", "stdin", "\ttab\t", "\"q\"", "\x01\x7f",
        "utf\xc3\xa9", "d/e f",
};
enum { NAMES = sizeof(names) / sizeof(*names) };

struct lab {
        char path[64];
        int dir;
};

static int set_up(void **state)
{
        struct lab *lab = calloc(1, sizeof(*lab));

        if (!lab)
                return -1;
        *state = lab;
        (void)strcpy(lab->path, "/tmp/cvv-manifest-XXXXXX");
        if (!mkdtemp(lab->path))
                return -1;
        lab->dir = open(lab->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return lab->dir < 0 || mkdirat(lab->dir, "d", 0700) < 0 ? -1 : 0;
}

static int tear_down(void **state)
{
        struct lab *lab = *state;
        char command[128];

        (void)snprintf(command, sizeof(command), "rm -rf %s", lab->path);
        (void)close(lab->dir);
        free(lab);
        return system(command);
}

static struct digest_values digests_of(enum hash_algorithm algorithm, const char *content)
{
        struct hash_set set = { .mask = 1u << algorithm, .count = 1, .order = { algorithm } };
        struct digest_values values;
        struct digest *digest;

        assert_int_equal(digest_new(&set, &digest), 0);
        digest_update(digest, content, strlen(content));
        digest_final(digest, &values);
        digest_free(digest);
        return values;
}

static void put(int dir, const char *name, const char *content)
{
        cleanup(fd_close) int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

        assert_true(fd >= 0);
        assert_int_equal(write(fd, content, strlen(content)), strlen(content));
}

/* The program's exit code over the manifest at the path, in the directory; its input is empty. */
static int run(const struct lab *lab, const char *program, const char *manifest)
{
        char command[256];
        int status;

        (void)snprintf(command, sizeof(command), "cd %s && %s --strict -c %s < /dev/null > /dev/null 2>&1", lab->path, program, manifest);
        status = system(command);
        assert_true(WIFEXITED(status));
        return WEXITSTATUS(status);
}

static void check_accepted(struct lab *lab, enum hash_algorithm algorithm, const char *program)
{
        char manifest[64] = "/tmp/cvv-manifest-list-XXXXXX";
        int fd = mkstemp(manifest), lines = 0;
        FILE *out = fdopen(fd, "w");

        assert_non_null(out);
        for (int i = 0; i < NAMES; i++) {
                struct digest_values values = digests_of(algorithm, names[i]);

                put(lab->dir, names[i], names[i]);
                if (manifest_refusal(algorithm, names[i], &values)) {
                        assert_non_null(strchr(names[i], '\n'));
                        continue;
                }
                manifest_line(out, algorithm, names[i], &values);
                lines++;
        }
        assert_int_equal(fclose(out), 0);
        assert_true(lines >= NAMES - 2);
        assert_int_equal(run(lab, program, manifest), 0);
        for (int i = 0; i < NAMES; i++) { /* it does look at each of the files */
                struct digest_values values = digests_of(algorithm, names[i]);

                if (manifest_refusal(algorithm, names[i], &values))
                        continue;
                put(lab->dir, names[i], "other");
                assert_int_equal(run(lab, program, manifest), 1);
                put(lab->dir, names[i], names[i]);
        }
        (void)unlink(manifest);
}

static void test_programs_take_the_lines_of_every_name_that_has_one(void **state)
{
        check_accepted(*state, HASH_MD5, "md5sum");
        check_accepted(*state, HASH_SHA1, "sha1sum");
        check_accepted(*state, HASH_SHA256, "sha256sum");
        check_accepted(*state, HASH_XXH64, "xxhsum");
        check_accepted(*state, HASH_XXH3, "xxhsum");
        check_accepted(*state, HASH_XXH128, "xxhsum");
}

static void test_line_feed_is_refused_where_there_are_no_escapes(void **state)
{
        (void)state;
        for (enum hash_algorithm algorithm = 0; algorithm < HASH_COUNT; algorithm++) {
                struct digest_values values = digests_of(algorithm, "x");
                bool has_escapes = algorithm == HASH_MD5 || algorithm == HASH_SHA1 || algorithm == HASH_SHA256;

                assert_null(manifest_refusal(algorithm, "a\\b\rc", &values));
                assert_int_equal(manifest_refusal(algorithm, "a\nb", &values) == NULL, has_escapes);
        }
}

static void test_file_without_that_digest_and_path_too_long_to_open_are_refused(void **state)
{
        struct digest_values values = digests_of(HASH_MD5, "x");
        char path[5000];

        (void)state;
        assert_non_null(manifest_refusal(HASH_XXH64, "a", &values));
        memset(path, 'a', sizeof(path));
        path[4096] = '\0';
        assert_non_null(manifest_refusal(HASH_MD5, path, &values));
        path[4095] = '\0';
        assert_null(manifest_refusal(HASH_MD5, path, &values));
}

static void test_c4_line_is_id_and_path(void **state)
{
        struct digest_values values = digests_of(HASH_C4, "x");
        char id[HASH_TEXT_BYTES], expected[200];
        cleanup(pointer_free) char *text = NULL;
        size_t size;
        FILE *out = open_memstream(&text, &size);

        (void)state;
        assert_int_equal(digest_text(&values, HASH_C4, id), 0);
        (void)snprintf(expected, sizeof(expected), "%s  d/a b\n", id);
        manifest_line(out, HASH_C4, "d/a b", &values);
        (void)fclose(out);
        assert_string_equal(text, expected);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_programs_take_the_lines_of_every_name_that_has_one, set_up, tear_down),
                cmocka_unit_test(test_line_feed_is_refused_where_there_are_no_escapes),
                cmocka_unit_test(test_file_without_that_digest_and_path_too_long_to_open_are_refused),
                cmocka_unit_test(test_c4_line_is_id_and_path),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
