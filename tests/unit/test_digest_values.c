#include "core/digest_values.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void names_parse_to_their_algorithm_and_back(void **state)
{
        for (int i = 0; i < HASH_COUNT; i++)
                assert_int_equal(hash_parse(hash_name((enum hash_algorithm)i)), i);
        assert_int_equal(hash_parse("xxh64be"), HASH_XXH64);
        assert_null(hash_name(HASH_COUNT));
}

static void unknown_names_are_refused(void **state)
{
        static const char *const names[] = {"", "xxh", "xxh64b", "XXH64", "md5 ", "sha2567", "xxh64,md5"};

        for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
                assert_int_equal(hash_parse(names[i]), -EINVAL);
}

static void list_keeps_order_and_folds_duplicates(void **state)
{
        struct hash_set set;

        assert_int_equal(hash_parse_list("md5,xxh64be,md5,xxh64,c4", &set), 0);
        assert_int_equal(set.count, 3);
        assert_int_equal(set.order[0], HASH_MD5);
        assert_int_equal(set.order[1], HASH_XXH64);
        assert_int_equal(set.order[2], HASH_C4);
        assert_int_equal(set.mask, 1u << HASH_MD5 | 1u << HASH_XXH64 | 1u << HASH_C4);
        assert_true(hash_set_valid(&set));
}

static void bad_lists_are_refused_and_leave_the_output_alone(void **state)
{
        static const char *const lists[] = {"", ",", "md5,", ",md5", "md5,,c4", "md5,crc32", "md5, c4"};
        struct hash_set set = {.mask = 77};

        for (size_t i = 0; i < sizeof(lists) / sizeof(*lists); i++)
                assert_int_equal(hash_parse_list(lists[i], &set), -EINVAL);
        assert_int_equal(set.mask, 77);
}

static void sets_that_no_list_makes_are_invalid(void **state)
{
        struct hash_set twice = {.mask = 1, .count = 2, .order = {HASH_XXH64, HASH_XXH64}};
        struct hash_set other_mask = {.mask = 3, .count = 1, .order = {HASH_XXH64}};
        struct hash_set unknown = {.mask = 1u << HASH_COUNT, .count = 1, .order = {HASH_COUNT}};
        struct hash_set empty = {0};

        assert_false(hash_set_valid(&twice));
        assert_false(hash_set_valid(&other_mask));
        assert_false(hash_set_valid(&unknown));
        assert_false(hash_set_valid(&empty));
}

static void text_is_lower_case_hex_of_all_bytes(void **state)
{
        struct digest_values values = {.mask = 1u << HASH_XXH64};
        static const uint8_t raw[8] = {0x00, 0x0f, 0xf0, 0xab, 0xcd, 0xef, 0x01, 0xff};
        char text[HASH_TEXT_BYTES];

        memcpy(values.bytes + digest_offset(HASH_XXH64), raw, sizeof(raw));
        assert_int_equal(digest_text(&values, HASH_XXH64, text), 0);
        assert_string_equal(text, "000ff0abcdef01ff");
}

static void c4_of_zero_and_of_the_greatest_number_has_90_characters(void **state)
{
        struct digest_values values = {.mask = 1u << HASH_C4};
        char text[HASH_TEXT_BYTES];

        assert_int_equal(digest_text(&values, HASH_C4, text), 0);
        assert_int_equal(strlen(text), 90);
        assert_int_equal(strspn(text + 2, "1"), 88);
        memset(values.bytes + digest_offset(HASH_C4), 0xff, digest_bytes(HASH_C4));
        assert_int_equal(digest_text(&values, HASH_C4, text), 0);
        /* 2^512 - 1 in base 58 */
        assert_string_equal(text,
                            "c467rpwLCuS5DGA8KGZXKsVQ7dnPb9goRLoKfgGbLfQg9WoLUgNY77E2jT11fem3coV9nAkguBACzrU1iyZM4B8roQ");
}

static void absent_digest_has_no_text(void **state)
{
        struct digest_values values = {.mask = 1u << HASH_MD5};
        char text[HASH_TEXT_BYTES] = "untouched";

        assert_int_equal(digest_text(&values, HASH_SHA1, text), -ENOENT);
        assert_int_equal(digest_text(&values, HASH_COUNT, text), -ENOENT);
        assert_string_equal(text, "untouched");
        assert_null(digest_raw(&values, HASH_SHA1));
        assert_non_null(digest_raw(&values, HASH_MD5));
}

static void digests_of_all_algorithms_fill_the_bytes_without_overlap(void **state)
{
        size_t end = 0;

        for (int i = 0; i < HASH_COUNT; i++) {
                assert_int_equal(digest_offset((enum hash_algorithm)i), end);
                end += digest_bytes((enum hash_algorithm)i);
        }
        assert_int_equal(end, DIGEST_BYTES);
        assert_int_equal(digest_bytes(HASH_COUNT), 0);
}

static void record_decodes_to_what_was_encoded(void **state)
{
        struct digest_values values = {.mask = 1u << HASH_SHA1 | 1u << HASH_C4}, decoded;
        uint8_t record[DIGEST_VALUES_BYTES];

        memset(values.bytes + digest_offset(HASH_SHA1), 0x5a, digest_bytes(HASH_SHA1));
        memset(values.bytes + digest_offset(HASH_C4), 0xa5, digest_bytes(HASH_C4));
        digest_values_encode(&values, record);
        assert_int_equal(record[0], values.mask); /* little-endian */
        assert_int_equal(digest_values_decode(record, &decoded), 0);
        assert_memory_equal(&values, &decoded, sizeof(values));
}

static void record_with_unknown_algorithms_or_stray_bytes_is_refused(void **state)
{
        struct digest_values values = {.mask = 1u << HASH_SHA1}, decoded = {.mask = 77};
        uint8_t record[DIGEST_VALUES_BYTES];

        digest_values_encode(&values, record);
        record[0] |= 1u << HASH_COUNT;
        assert_int_equal(digest_values_decode(record, &decoded), -EBADMSG);
        digest_values_encode(&values, record);
        record[3] = 0x80;
        assert_int_equal(digest_values_decode(record, &decoded), -EBADMSG);
        digest_values_encode(&values, record);
        record[4 + digest_offset(HASH_C4) + 63] = 1;
        assert_int_equal(digest_values_decode(record, &decoded), -EBADMSG);
        assert_int_equal(decoded.mask, 77);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
            cmocka_unit_test(names_parse_to_their_algorithm_and_back),
            cmocka_unit_test(unknown_names_are_refused),
            cmocka_unit_test(list_keeps_order_and_folds_duplicates),
            cmocka_unit_test(bad_lists_are_refused_and_leave_the_output_alone),
            cmocka_unit_test(sets_that_no_list_makes_are_invalid),
            cmocka_unit_test(text_is_lower_case_hex_of_all_bytes),
            cmocka_unit_test(c4_of_zero_and_of_the_greatest_number_has_90_characters),
            cmocka_unit_test(absent_digest_has_no_text),
            cmocka_unit_test(digests_of_all_algorithms_fill_the_bytes_without_overlap),
            cmocka_unit_test(record_decodes_to_what_was_encoded),
            cmocka_unit_test(record_with_unknown_algorithms_or_stray_bytes_is_refused),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
