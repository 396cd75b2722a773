#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/json_path.h"

#include <stdlib.h>
#include <string.h>

static void expect_path(const char *path, const char *expected)
{
        json_t *object = json_object();
        char *text;

        assert_int_equal(json_path_set(object, path), 0);
        text = json_safe_dumps(object, JSON_COMPACT);
        assert_non_null(text);
        assert_string_equal(text, expected);
        free(text);
        json_decref(object);
}

static void path_that_is_utf8_is_written_as_it_is(void **state)
{
        expect_path("a/Ünï/\"quoted\" \\ x", "{\"path\":\"a/Ünï/\\\"quoted\\\" \\\\ x\"}");
        expect_path("", "{\"path\":\"\"}");
}

static void path_that_is_absent_is_null(void **state)
{
        expect_path(NULL, "{\"path\":null}");
}

static void path_that_is_not_utf8_is_escaped_and_kept_exactly_in_base64(void **state)
{
        expect_path("a\xff", "{\"path\":\"a\\\\xff\",\"path_b64\":\"Yf8=\"}");
        expect_path("\xed\xa0\x80", "{\"path\":\"\\\\xed\\\\xa0\\\\x80\",\"path_b64\":\"7aCA\"}");
}

static void controls_are_never_written_raw(void **state)
{
        expect_path("\x1b[31m\n\x7f", "{\"path\":\"\\u001B[31m\\n\\u007F\"}");
        expect_path("\xc2\x80-\xc2\x9b-\xc2\x9f-\u00a0", "{\"path\":\"\\u0080-\\u009B-\\u009F-\u00a0\"}");
}

static void safe_dump_reads_back_as_the_same_name(void **state)
{
        const char *name = "x\xc2\x9by\x7fz\xc2\x85";
        json_t *object = json_object(), *again;
        char *text;

        assert_int_equal(json_path_set(object, name), 0);
        text = json_safe_dumps(object, 0);
        again = json_loads(text, 0, NULL);
        assert_non_null(again);
        assert_string_equal(json_string_value(json_object_get(again, "path")), name);
        json_decref(again);
        json_decref(object);
        free(text);
}

static void path_with_every_byte_survives(void **state)
{
        char path[256];
        json_t *object = json_object();

        for (int i = 1; i < 256; i++)
                path[i - 1] = (char)i;
        path[255] = '\0';
        assert_int_equal(json_path_set(object, path), 0);
        assert_int_equal(strlen(json_string_value(json_object_get(object, "path_b64"))), 340);
        json_decref(object);
}

static void text_that_is_not_utf8_is_escaped(void **state)
{
        json_t *text = json_text_new("bad \xfe");

        assert_string_equal(json_string_value(text), "bad \\xfe");
        json_decref(text);
        text = json_text_new(NULL);
        assert_true(json_is_null(text));
        json_decref(text);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
            cmocka_unit_test(path_that_is_utf8_is_written_as_it_is),
            cmocka_unit_test(path_that_is_absent_is_null),
            cmocka_unit_test(path_that_is_not_utf8_is_escaped_and_kept_exactly_in_base64),
            cmocka_unit_test(controls_are_never_written_raw),
            cmocka_unit_test(safe_dump_reads_back_as_the_same_name),
            cmocka_unit_test(path_with_every_byte_survives),
            cmocka_unit_test(text_that_is_not_utf8_is_escaped),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
