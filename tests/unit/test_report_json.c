#include "core/report_json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char path_a[] = "/a", path_bad[] = "/b\xff\x1b", identity[] = "uuid-1", error_text[] = "x: Input/output error";
static char mountpoint[] = "/mnt/v", source[] = "/media/card";

static struct status_target target_fixed(void)
{
        return (struct status_target){
            .n = 3, .path = path_a, .identity = identity, .state = TARGET_BEHIND, .since_ns = INT64_C(1763795820123456789),
            .present_bytes = 1, .verified_bytes = 2, .owed_bytes = 3, .free_bytes = 4, .rate_bytes_per_s = 5,
            .verify_method = "direct", .errors = 6, .last_error = error_text,
        };
}

static void expect_target(const struct status_target *target, const char *expected)
{
        char *text = NULL;

        assert_int_equal(report_target_json(target, &text), 0);
        assert_string_equal(text, expected);
        free(text);
}

static void target_has_the_fields_of_the_contract_in_order(void **state)
{
        struct status_target target = target_fixed();

        expect_target(&target, "{\"n\":3,\"path\":\"/a\",\"identity\":\"uuid-1\",\"state\":\"behind\","
                               "\"since\":\"2025-11-22T07:17:00.123Z\",\"present_bytes\":1,\"verified_bytes\":2,"
                               "\"owed_bytes\":3,\"free_bytes\":4,\"rate_bytes_per_s\":5,\"verify_method\":\"direct\","
                               "\"errors\":6,\"last_error\":\"x: Input/output error\"}\n");
}

static void target_with_unknowns_has_nulls(void **state)
{
        struct status_target target = {.n = 1, .path = path_a, .identity = identity, .free_bytes = -1, .since_ns = -1,
                                       .owed_bytes = UINT64_MAX};

        expect_target(&target, "{\"n\":1,\"path\":\"/a\",\"identity\":\"uuid-1\",\"state\":\"online\","
                               "\"since\":\"1969-12-31T23:59:59.999Z\",\"present_bytes\":0,\"verified_bytes\":0,"
                               "\"owed_bytes\":9223372036854775807,\"free_bytes\":null,\"rate_bytes_per_s\":0,"
                               "\"verify_method\":null,\"errors\":0,\"last_error\":null}\n");
}

static void target_path_that_is_not_utf8_has_its_bytes_beside_it(void **state)
{
        struct status_target target = {.n = 1, .path = path_bad, .identity = identity};
        char *text = NULL;

        assert_int_equal(report_target_json(&target, &text), 0);
        assert_non_null(strstr(text, "\"path\":\"/b\\\\xff\\\\x1b\",\"path_b64\":\"L2L/Gw==\","));
        free(text);
}

static struct status status_fixed(struct status_target *target)
{
        struct status status = {
            .state = MIRROR_FILLING, .mode = MODE_FULL, .fill = FILL_ALL, .mountpoint = mountpoint, .source = source,
            .pid = 4711, .scan_complete = true, .progress_tenths = 123, .rate_bytes_per_s = 1000, .eta_s = 72,
            .files = {1, 2, 3, 4, 5, 6, 7}, .bytes = {10, 20, 30, 40, 50, 60, 70}, .files_total = 24, .bytes_total = 240,
            .files_verified = 2, .bytes_verified = 20, .owed_bytes = 100, .queued_bytes = 90, .source_copy_bytes = 80,
            .source_verify_bytes = 70, .passthrough_opens = 60, .log_dropped = 50, .target_count = 1, .targets = target,
        };

        return status;
}

static void status_has_the_fields_of_the_contract_in_order(void **state)
{
        struct status_target target = target_fixed();
        struct status status = status_fixed(&target);
        char *text = NULL;

        assert_int_equal(report_status_json(&status, &text), 0);
        assert_string_equal(
            text,
            "{\"version\":1,\"state\":\"filling\",\"mode\":\"full\",\"fill\":\"all\",\"mountpoint\":\"/mnt/v\","
            "\"source\":\"/media/card\",\"pid\":4711,\"scan_complete\":true,\"progress\":12.3,\"rate_bytes_per_s\":1000,"
            "\"eta_s\":72,"
            "\"files\":{\"total\":24,\"pending\":1,\"copied\":2,\"skipped\":3,\"excluded\":4,\"missing\":5,\"failed\":6,"
            "\"conflict\":7,\"verified\":2},"
            "\"bytes\":{\"total\":240,\"pending\":10,\"copied\":20,\"skipped\":30,\"excluded\":40,\"missing\":50,"
            "\"failed\":60,\"conflict\":70,\"verified\":20},"
            "\"owed_bytes\":100,\"queued_bytes\":90,\"source_copy_bytes\":80,\"source_verify_bytes\":70,"
            "\"passthrough_opens\":60,\"log_dropped\":50,\"targets\":["
            "{\"n\":3,\"path\":\"/a\",\"identity\":\"uuid-1\",\"state\":\"behind\",\"since\":\"2025-11-22T07:17:00.123Z\","
            "\"present_bytes\":1,\"verified_bytes\":2,\"owed_bytes\":3,\"free_bytes\":4,\"rate_bytes_per_s\":5,"
            "\"verify_method\":\"direct\",\"errors\":6,\"last_error\":\"x: Input/output error\"}]}\n");
        free(text);
}

static void status_without_anything_has_nulls_and_an_empty_array(void **state)
{
        struct status status = {.state = MIRROR_IDLE, .eta_s = -1};
        char *text = NULL;

        assert_int_equal(report_status_json(&status, &text), 0);
        assert_non_null(strstr(text, "\"mountpoint\":null,\"source\":null,\"pid\":0,\"scan_complete\":false,"
                                     "\"progress\":0.0,\"rate_bytes_per_s\":0,\"eta_s\":null,"));
        assert_non_null(strstr(text, "\"targets\":[]}\n"));
        free(text);
}

static void progress_has_one_decimal_for_each_value(void **state)
{
        for (int tenths = 0; tenths <= 1000; tenths++) {
                struct status status = {.progress_tenths = tenths};
                char expected[64], *text = NULL;

                (void)snprintf(expected, sizeof(expected), "\"progress\":%d.%d,", tenths / 10, tenths % 10);
                assert_int_equal(report_status_json(&status, &text), 0);
                assert_non_null(strstr(text, expected));
                free(text);
        }
}

static void file_has_the_fields_of_the_contract_in_order(void **state)
{
        static char path[] = "d/f", why[] = "gone";
        struct status_range ranges[] = {{0, 5, CHUNK_VERIFIED}, {5, 6, CHUNK_PRESENT}, {8, 9, CHUNK_WRITTEN}};
        struct status_file_target targets[] = {{1, FILE_PARTIAL, 3, ranges}, {2, FILE_PENDING, 0, NULL}};
        struct status_file file = {
            .path = path, .type = "file", .state = FILE_PARTIAL, .size = 100, .mtime_ns = -5, .chunk_size = 8388608,
            .last_error = why, .target_count = 2, .targets = targets,
            .digests = {.mask = (1u << HASH_XXH64) | (1u << HASH_MD5)},
        };
        char *text = NULL;

        memset(file.digests.bytes + digest_offset(HASH_XXH64), 0xab, digest_bytes(HASH_XXH64));
        memset(file.digests.bytes + digest_offset(HASH_MD5), 0x01, digest_bytes(HASH_MD5));
        assert_int_equal(report_file_json(&file, &text), 0);
        assert_string_equal(text, "{\"version\":1,\"path\":\"d/f\",\"type\":\"file\",\"state\":\"partial\",\"size\":100,"
                                  "\"mtime_ns\":-5,\"chunk_size\":8388608,\"digests\":{\"xxh64\":\"abababababababab\","
                                  "\"md5\":\"01010101010101010101010101010101\"},\"last_error\":\"gone\",\"targets\":["
                                  "{\"n\":1,\"state\":\"partial\",\"map\":[[0,5,\"verified\"],[5,6,\"present\"],"
                                  "[8,9,\"written\"]]},{\"n\":2,\"state\":\"pending\",\"map\":[]}]}\n");
        free(text);
}

static void file_whose_name_is_not_utf8_has_path_b64(void **state)
{
        struct status_file file = {.path = path_bad, .type = "fifo"};
        char *text = NULL;

        assert_int_equal(report_file_json(&file, &text), 0);
        assert_string_equal(text, "{\"version\":1,\"path\":\"/b\\\\xff\\\\x1b\",\"path_b64\":\"L2L/Gw==\",\"type\":\"fifo\","
                                  "\"state\":\"pending\",\"size\":0,\"mtime_ns\":0,\"chunk_size\":0,\"digests\":{},"
                                  "\"last_error\":null,\"targets\":[]}\n");
        free(text);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
            cmocka_unit_test(target_has_the_fields_of_the_contract_in_order),
            cmocka_unit_test(target_with_unknowns_has_nulls),
            cmocka_unit_test(target_path_that_is_not_utf8_has_its_bytes_beside_it),
            cmocka_unit_test(status_has_the_fields_of_the_contract_in_order),
            cmocka_unit_test(status_without_anything_has_nulls_and_an_empty_array),
            cmocka_unit_test(progress_has_one_decimal_for_each_value),
            cmocka_unit_test(file_has_the_fields_of_the_contract_in_order),
            cmocka_unit_test(file_whose_name_is_not_utf8_has_path_b64),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
