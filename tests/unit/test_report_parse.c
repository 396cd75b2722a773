#include "core/report_json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>
#include <jansson.h>

static char path_a[] = "/a", path_b[] = "/b\xff", identity[] = "uuid", error_text[] = "write f: I/O error \x1b[31m";
static char mountpoint[] = "/mnt/v", source[] = "/media/card\xfe";

static char *example(void)
{
        struct status_target targets[] = {
            {.n = 1, .path = path_a, .identity = identity, .state = TARGET_OFFLINE, .since_ns = INT64_C(1763795820123000000),
             .present_bytes = 1, .verified_bytes = 2, .owed_bytes = 3, .free_bytes = -1, .rate_bytes_per_s = 5,
             .verify_method = "dropped-cache", .errors = 6, .last_error = error_text},
            {.n = 70000, .path = path_b, .identity = identity, .state = TARGET_FULL, .since_ns = -1000000, .free_bytes = 9},
        };
        struct status status = {
            .state = MIRROR_DEGRADED, .mode = MODE_SOURCE, .fill = FILL_CHUNK, .mountpoint = mountpoint, .source = source,
            .pid = 4711, .scan_complete = true, .progress_tenths = 999, .rate_bytes_per_s = 1000, .eta_s = 72,
            .files = {1, 2, 3, 4, 5, 6, 7}, .bytes = {10, 20, 30, 40, 50, 60, 70}, .files_total = 24, .bytes_total = 240,
            .files_verified = 8, .bytes_verified = 80, .owed_bytes = 100, .queued_bytes = 90, .source_copy_bytes = 81,
            .source_verify_bytes = 71, .passthrough_opens = 60, .log_dropped = 50, .target_count = 2, .targets = targets,
        };
        char *text = NULL;

        assert_int_equal(report_status_json(&status, &text), 0);
        return text;
}

static void status_reads_back_as_it_was_written(void **state)
{
        char *text = example(), *again = NULL;
        struct status status = {0};
        struct error error = {0};

        assert_int_equal(report_parse_status(text, strlen(text), &status, &error), 0);
        assert_int_equal(status.state, MIRROR_DEGRADED);
        assert_int_equal(status.mode, MODE_SOURCE);
        assert_int_equal(status.fill, FILL_CHUNK);
        assert_int_equal(status.progress_tenths, 999);
        assert_int_equal(status.files[CATEGORY_CONFLICT], 7);
        assert_int_equal(status.bytes[CATEGORY_PENDING], 10);
        assert_int_equal(status.bytes_verified, 80);
        assert_int_equal(status.targets[0].since_ns, INT64_C(1763795820123000000));
        assert_int_equal(status.targets[0].free_bytes, -1);
        assert_string_equal(status.targets[0].verify_method, "dropped-cache");
        assert_string_equal(status.targets[0].last_error, error_text);
        assert_int_equal(status.targets[1].n, 70000);
        assert_int_equal(status.targets[1].since_ns, -1000000);
        assert_null(status.targets[1].verify_method);
        assert_string_equal(status.targets[1].path, "/b\\xff");
        assert_string_equal(status.source, "/media/card\\xfe");

        /* What comes out once more differs only in path_b64, which an escaped name does not have. */
        assert_int_equal(report_status_json(&status, &again), 0);
        status_deinit(&status);
        assert_int_equal(report_parse_status(again, strlen(again), &status, &error), 0);
        assert_int_equal(strlen(text), strlen(again) + strlen(",\"path_b64\":\"L2L/\""));
        status_deinit(&status);
        free(again);
        free(text);
}

/* The example with one field replaced by JSON text (NULL: removed), by a path such as "files.total" or "targets.0.n". */
static char *changed(const char *path, const char *value)
{
        char *text = example(), *parts = strdup(path), *dot, *at = parts;
        json_t *root = json_loads(text, 0, NULL), *object = root;

        for (; (dot = strchr(at, '.')) != NULL; at = dot + 1) {
                *dot = '\0';
                object = json_is_array(object) ? json_array_get(object, (size_t)atoi(at)) : json_object_get(object, at);
        }
        if (json_is_array(object))
                assert_int_equal(json_array_set_new(object, (size_t)atoi(at), json_loads(value, JSON_DECODE_ANY, NULL)), 0);
        else if (value)
                assert_int_equal(json_object_set_new(object, at, json_loads(value, JSON_DECODE_ANY, NULL)), 0);
        else
                assert_int_equal(json_object_del(object, at), 0);
        free(text);
        free(parts);
        text = json_dumps(root, 0);
        json_decref(root);
        return text;
}

static void expect_refused(const char *path, const char *value, const char *message)
{
        char *text = changed(path, value);
        struct status status = {.pid = 42};
        struct error error = {0};

        assert_int_equal(report_parse_status(text, strlen(text), &status, &error), -EBADMSG);
        assert_int_equal(error.code, -EBADMSG);
        assert_string_equal(error.message, message);
        assert_int_equal(status.pid, 42);
        assert_int_equal(report_parse_status(text, strlen(text), &status, NULL), -EBADMSG);
        free(text);
}

static void missing_field_is_named(void **state)
{
        static const char *const fields[] = {
            "version", "state", "mode", "fill", "mountpoint", "source", "pid", "scan_complete", "progress",
            "rate_bytes_per_s", "eta_s", "files", "bytes", "owed_bytes", "queued_bytes", "source_copy_bytes",
            "source_verify_bytes", "passthrough_opens", "log_dropped", "targets", "files.total", "files.conflict",
            "bytes.pending", "bytes.verified",
        };
        static const char *const of_target[] = {
            "n", "path", "identity", "state", "since", "present_bytes", "verified_bytes", "owed_bytes", "free_bytes",
            "rate_bytes_per_s", "verify_method", "errors", "last_error",
        };
        char message[128], path[64];

        for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
                (void)snprintf(message, sizeof(message), "status.json: %s is missing", fields[i]);
                expect_refused(fields[i], NULL, message);
        }
        for (size_t i = 0; i < sizeof(of_target) / sizeof(of_target[0]); i++) {
                (void)snprintf(path, sizeof(path), "targets.1.%s", of_target[i]);
                (void)snprintf(message, sizeof(message), "status.json: targets[1].%s is missing", of_target[i]);
                expect_refused(path, NULL, message);
        }
}

static void field_of_another_type_is_named(void **state)
{
        expect_refused("version", "2", "status.json: version is not 1: it was written by another version of cvv");
        expect_refused("state", "\"busy\"", "status.json: state is not a known word: busy");
        expect_refused("state", "\"a\\u001b\"", "status.json: state is not a known word: a\\x1b");
        expect_refused("mode", "3", "status.json: mode is not a text");
        expect_refused("fill", "null", "status.json: fill is not a text");
        expect_refused("mountpoint", "[]", "status.json: mountpoint is neither a text nor null");
        expect_refused("pid", "-1", "status.json: pid is not a count");
        expect_refused("owed_bytes", "1.5", "status.json: owed_bytes is not a count");
        expect_refused("eta_s", "\"soon\"", "status.json: eta_s is neither a count nor null");
        expect_refused("eta_s", "-1", "status.json: eta_s is neither a count nor null");
        expect_refused("scan_complete", "1", "status.json: scan_complete is neither true nor false");
        expect_refused("progress", "\"12\"", "status.json: progress is not a number from 0 to 100");
        expect_refused("progress", "100.1", "status.json: progress is not a number from 0 to 100");
        expect_refused("progress", "-0.1", "status.json: progress is not a number from 0 to 100");
        expect_refused("files", "[]", "status.json: files is not an object");
        expect_refused("bytes.failed", "true", "status.json: bytes.failed is not a count");
        expect_refused("targets", "{}", "status.json: targets is not an array");
        expect_refused("targets.0", "1", "status.json: targets[0] is not an object");
        expect_refused("targets.0.n", "0", "status.json: targets[0].n is not the number of a target");
        expect_refused("targets.0.n", "4294967296", "status.json: targets[0].n is not the number of a target");
        expect_refused("targets.1.state", "\"gone\"", "status.json: targets[1].state is not a known word: gone");
        expect_refused("targets.1.path", "null", "status.json: targets[1].path is not a text");
}

static void time_that_is_none_is_refused(void **state)
{
        static const char *const wrong[] = {
            "\"\"", "\"2025\"", "\"2025-11-22T07:17:00\"", "\"2025-13-22T07:17:00Z\"", "\"2025-02-29T07:17:00Z\"",
            "\"2025-11-22T24:17:00Z\"", "\"2025-11-22T07:17:00.1234567890Z\"", "\"2025-11-22T07:17:00Zulu\"",
            "\"2025-11-22 07:17:00Z\"", "\"9999-11-22T07:17:00Z\"", "\"unknown\"",
        };

        for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
                expect_refused("targets.0.since", wrong[i],
                               "status.json: targets[0].since is not a time such as 2025-11-22T07:17:00.123Z");
        expect_refused("targets.0.since", "5", "status.json: targets[0].since is not a text");
}

static void expect_taken(const char *path, const char *value, struct status *ret)
{
        char *text = changed(path, value);

        assert_int_equal(report_parse_status(text, strlen(text), ret, NULL), 0);
        free(text);
}

static void unknown_field_and_unknown_method_are_taken(void **state)
{
        struct status status;

        expect_taken("news", "{\"a\":[1]}", &status);
        status_deinit(&status);
        expect_taken("targets.0.news", "1", &status);
        status_deinit(&status);
        expect_taken("targets.0.verify_method", "\"x-ray\"", &status);
        assert_string_equal(status.targets[0].verify_method, "unknown");
        status_deinit(&status);
}

static void integers_and_whole_seconds_are_taken(void **state)
{
        struct status status;

        expect_taken("progress", "100", &status);
        assert_int_equal(status.progress_tenths, 1000);
        status_deinit(&status);
        expect_taken("progress", "12.299999999", &status);
        assert_int_equal(status.progress_tenths, 123);
        status_deinit(&status);
        expect_taken("targets.0.since", "\"1970-01-01T00:00:01Z\"", &status);
        assert_int_equal(status.targets[0].since_ns, 1000000000);
        status_deinit(&status);
        expect_taken("targets", "[]", &status);
        assert_int_equal(status.target_count, 0);
        status_deinit(&status);
}

static void bytes_that_are_no_json_are_refused(void **state)
{
        static const char *const wrong[] = {"", "{", "[]", "null", "1", "{\"version\":1}x", "\xff\xfe", "{\"version\":1e999}",
                                            "{\"version\":99999999999999999999}", "{\"a\\u0000\":1}"};
        struct status status;
        struct error error;

        for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
                error.code = 0;
                assert_int_equal(report_parse_status(wrong[i], strlen(wrong[i]), &status, &error), -EBADMSG);
                assert_memory_equal(error.message, "status.json ", strlen("status.json "));
        }
        assert_int_equal(report_parse_status("\0\0", 2, &status, &error), -EBADMSG);
}

static void text_that_is_cut_anywhere_is_refused(void **state)
{
        char *text = example();
        struct status status;

        for (size_t size = 0; size + 1 < strlen(text); size++) {
                char *cut = malloc(size + 1); /* exact, so that a sanitizer sees a read beyond it */

                memcpy(cut, text, size);
                assert_int_equal(report_parse_status(cut, size, &status, NULL), -EBADMSG);
                free(cut);
        }
        free(text);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
            cmocka_unit_test(status_reads_back_as_it_was_written),
            cmocka_unit_test(missing_field_is_named),
            cmocka_unit_test(field_of_another_type_is_named),
            cmocka_unit_test(time_that_is_none_is_refused),
            cmocka_unit_test(unknown_field_and_unknown_method_are_taken),
            cmocka_unit_test(integers_and_whole_seconds_are_taken),
            cmocka_unit_test(bytes_that_are_no_json_are_refused),
            cmocka_unit_test(text_that_is_cut_anywhere_is_refused),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
