/* What the tests of core/statedir.h share: a directory for each test, short ways to open a state. */
#ifndef CVV_TESTS_STATEDIR_FIXTURE_H
#define CVV_TESTS_STATEDIR_FIXTURE_H

#include "core/statedir.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

static char base[64]; /* made anew for each test; absent at its start are base/… */

static inline const char *in_base(const char *name)
{
        static char paths[4][256];
        static unsigned int next;
        char *path = paths[next++ % 4];

        (void)snprintf(path, sizeof(paths[0]), "%s/%s", base, name);
        return path;
}

static inline int try_open(bool explicit_state, const char *path, const char *source, const char *targets,
                           struct statedir **ret_state, struct error *error)
{
        const char *list[8];
        char copy[256];
        struct statedir_request request = {
            .base_or_state = path, .explicit_state = explicit_state, .source_identity = source, .target_identities = list};
        char *rest = copy;

        (void)snprintf(copy, sizeof(copy), "%s", targets);
        for (char *target; (target = strsep(&rest, " "));)
                list[request.target_count++] = target;
        return statedir_open(&request, error, ret_state);
}

static inline struct statedir *open_state(bool explicit_state, const char *path, const char *source, const char *targets)
{
        struct statedir *opened = NULL;
        struct error error = {0};

        if (try_open(explicit_state, path, source, targets, &opened, &error) != 0)
                fail_msg("%s", error.message);
        return opened;
}

static inline int fails(bool explicit_state, const char *path, const char *source, const char *targets, const char *message)
{
        struct statedir *untouched = NULL;
        struct error error = {0};
        int result = try_open(explicit_state, path, source, targets, &untouched, &error);

        assert_true(result < 0);
        assert_null(untouched);
        assert_int_equal(error.code, result);
        if (!strstr(error.message, message))
                fail_msg("\"%s\" does not say \"%s\"", error.message, message);
        return result;
}

static inline void write_file(const char *path, const char *text)
{
        FILE *file = fopen(path, "we");

        assert_non_null(file);
        assert_true(fputs(text, file) >= 0);
        assert_int_equal(fclose(file), 0);
}

static inline void assert_content(const char *path, const char *text)
{
        char content[4096] = "";
        FILE *file = fopen(path, "re");

        assert_non_null(file);
        (void)!fread(content, 1, sizeof(content) - 1, file);
        (void)fclose(file);
        assert_string_equal(content, text);
}

static inline int setup(void **state)
{
        (void)state;
        (void)snprintf(base, sizeof(base), "/dev/shm/cvv-test-statedir-XXXXXX");
        return mkdtemp(base) ? 0 : -1;
}

static inline int teardown(void **state)
{
        char command[128];

        (void)state;
        (void)snprintf(command, sizeof(command), "rm -rf %s", base);
        return system(command);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

#endif
