#include "core/bitmap.h"

#include "core/cleanup.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

/* A map that no machine has the memory for: its first set bit fails. */
#define HUGE_BITS (UINT64_C(1) << 60)

/* The sanitizers end the program at such a request unless told otherwise. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
        return "allocator_may_return_null=1";
}
const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
        return "allocator_may_return_null=1";
}

static const uint64_t sizes[] = {1, 7, 63, 64, 65, 127, 128, 129, 1000};
enum { SIZES = sizeof(sizes) / sizeof(*sizes) };

static void new_map_is_clear_whatever_its_size(void **state)
{
        for (size_t i = 0; i < SIZES; i++) {
                cleanup(bitmap_deinit) struct bitmap bitmap;

                bitmap_init(&bitmap, sizes[i]);
                assert_int_equal(bitmap_size(&bitmap), sizes[i]);
                assert_int_equal(bitmap_count(&bitmap), 0);
                assert_false(bitmap_is_full(&bitmap));
                assert_false(bitmap_test(&bitmap, sizes[i] - 1));
                assert_true(bitmap_find_next_set(&bitmap, 0) == BITMAP_NONE);
                assert_int_equal(bitmap_find_next_clear(&bitmap, sizes[i] - 1), sizes[i] - 1);
                assert_true(bitmap_find_next_clear(&bitmap, sizes[i]) == BITMAP_NONE);
        }
}

static void map_of_no_bits_is_full_and_takes_none(void **state)
{
        struct bitmap bitmap = {0};

        assert_true(bitmap_is_full(&bitmap));
        assert_int_equal(bitmap_set(&bitmap, 0), -ERANGE);
        assert_int_equal(bitmap_set_all(&bitmap), 0);
        bitmap_clear(&bitmap, 0);
        bitmap_clear_all(&bitmap);
        assert_true(bitmap_find_next_clear(&bitmap, 0) == BITMAP_NONE);
        bitmap_deinit(&bitmap);
        bitmap_deinit(&bitmap);
}

static void setting_twice_counts_once(void **state)
{
        cleanup(bitmap_deinit) struct bitmap bitmap;

        bitmap_init(&bitmap, 100);
        assert_int_equal(bitmap_set(&bitmap, 99), 0);
        assert_int_equal(bitmap_set(&bitmap, 99), 0);
        assert_int_equal(bitmap_count(&bitmap), 1);
        bitmap_clear(&bitmap, 99);
        bitmap_clear(&bitmap, 99);
        assert_int_equal(bitmap_count(&bitmap), 0);
}

static void bits_beyond_the_size_do_not_exist(void **state)
{
        for (size_t i = 0; i < SIZES; i++) {
                cleanup(bitmap_deinit) struct bitmap bitmap;

                bitmap_init(&bitmap, sizes[i]);
                assert_int_equal(bitmap_set_all(&bitmap), 0);
                assert_int_equal(bitmap_set(&bitmap, sizes[i]), -ERANGE);
                assert_int_equal(bitmap_set(&bitmap, UINT64_MAX), -ERANGE);
                assert_false(bitmap_test(&bitmap, sizes[i]));
                assert_true(bitmap_find_next_set(&bitmap, sizes[i]) == BITMAP_NONE);
                bitmap_clear(&bitmap, sizes[i]);
                assert_true(bitmap_is_full(&bitmap));
                assert_int_equal(bitmap_count(&bitmap), sizes[i]);
        }
}

static void last_clear_bit_is_found_and_filling_it_makes_full(void **state)
{
        for (size_t i = 0; i < SIZES; i++) {
                cleanup(bitmap_deinit) struct bitmap bitmap;
                uint64_t last = sizes[i] - 1;

                bitmap_init(&bitmap, sizes[i]);
                assert_int_equal(bitmap_set_all(&bitmap), 0);
                bitmap_clear(&bitmap, last);
                assert_false(bitmap_is_full(&bitmap));
                assert_int_equal(bitmap_find_next_clear(&bitmap, 0), last);
                assert_int_equal(bitmap_set(&bitmap, last), 0);
                assert_true(bitmap_is_full(&bitmap));
                assert_true(bitmap_find_next_clear(&bitmap, 0) == BITMAP_NONE);
        }
}

static void clear_map_of_a_million_bits_allocates_nothing(void **state)
{
        struct bitmap bitmap;
        uint8_t zeros[128] = {0};

        bitmap_init(&bitmap, 1000000);
        bitmap_clear(&bitmap, 5);
        bitmap_clear_all(&bitmap);
        assert_int_equal(bitmap_import(&bitmap, 4096, 1024, zeros), 0);
        assert_int_equal(bitmap_resize(&bitmap, 2000000), 0);
        assert_null(bitmap.words);
        bitmap_deinit(&bitmap);
}

static void failed_allocation_changes_nothing_and_clearing_needs_none(void **state)
{
        cleanup(bitmap_deinit) struct bitmap bitmap;
        uint8_t bytes[1] = {1};

        bitmap_init(&bitmap, HUGE_BITS);
        assert_int_equal(bitmap_set(&bitmap, 3), -ENOMEM);
        assert_int_equal(bitmap_set_all(&bitmap), -ENOMEM);
        assert_int_equal(bitmap_import(&bitmap, 0, 8, bytes), -ENOMEM);
        bitmap_clear(&bitmap, 3);
        bitmap_clear_all(&bitmap);
        assert_int_equal(bitmap_count(&bitmap), 0);
        assert_false(bitmap_test(&bitmap, 3));
        assert_int_equal(bitmap_resize(&bitmap, 8), 0);
        assert_int_equal(bitmap_set(&bitmap, 3), 0);
        assert_int_equal(bitmap_resize(&bitmap, HUGE_BITS), -ENOMEM);
        assert_int_equal(bitmap_size(&bitmap), 8);
        assert_true(bitmap_test(&bitmap, 3));
}

static void import_beyond_the_size_is_refused(void **state)
{
        cleanup(bitmap_deinit) struct bitmap bitmap;
        uint8_t ones[2] = {0xff, 0xff};

        bitmap_init(&bitmap, 70);
        assert_int_equal(bitmap_import(&bitmap, 60, 11, ones), -ERANGE);
        assert_int_equal(bitmap_import(&bitmap, 71, 0, ones), -ERANGE);
        assert_int_equal(bitmap_import(&bitmap, 1, UINT64_MAX, ones), -ERANGE);
        assert_int_equal(bitmap_count(&bitmap), 0);
        assert_int_equal(bitmap_import(&bitmap, 60, 10, ones), 0);
        assert_int_equal(bitmap_count(&bitmap), 10); /* what is over in the last byte is ignored */
        assert_int_equal(bitmap_find_next_set(&bitmap, 0), 60);
}

static void export_has_the_documented_bit_order(void **state)
{
        cleanup(bitmap_deinit) struct bitmap bitmap;
        uint8_t bytes[3] = {0xee, 0xee, 0xee};

        bitmap_init(&bitmap, 100);
        assert_int_equal(bitmap_set(&bitmap, 60), 0);
        assert_int_equal(bitmap_set(&bitmap, 63), 0);
        assert_int_equal(bitmap_set(&bitmap, 64), 0);
        assert_int_equal(bitmap_set(&bitmap, 70), 0);
        bitmap_export(&bitmap, 60, 10, bytes); /* without bit 70 */
        assert_int_equal(bytes[0], 1 << 0 | 1 << 3 | 1 << 4);
        assert_int_equal(bytes[1], 0);
        assert_int_equal(bytes[2], 0xee);
        assert_int_equal(bitmap_set_all(&bitmap), 0);
        bitmap_export(&bitmap, 95, 16, bytes);
        assert_int_equal(bytes[0], 0x1f);
        assert_int_equal(bytes[1], 0);
        bitmap_export(&bitmap, UINT64_MAX - 3, 16, bytes);
        assert_int_equal(bytes[0] | bytes[1], 0);
}

static void cut_bits_do_not_come_back_when_the_map_grows(void **state)
{
        for (size_t i = 0; i < SIZES; i++)
                for (size_t j = 0; j < SIZES; j++) {
                        cleanup(bitmap_deinit) struct bitmap bitmap;
                        uint64_t kept = sizes[i] < sizes[j] ? sizes[i] : sizes[j];

                        bitmap_init(&bitmap, sizes[i]);
                        assert_int_equal(bitmap_set_all(&bitmap), 0);
                        assert_int_equal(bitmap_resize(&bitmap, sizes[j]), 0);
                        assert_int_equal(bitmap_count(&bitmap), kept);
                        assert_int_equal(bitmap_resize(&bitmap, 2000), 0);
                        assert_int_equal(bitmap_count(&bitmap), kept);
                        assert_int_equal(bitmap_find_next_clear(&bitmap, 0), kept);
                        assert_true(bitmap_find_next_set(&bitmap, kept) == BITMAP_NONE);
                        assert_int_equal(bitmap_resize(&bitmap, 0), 0);
                        assert_int_equal(bitmap_count(&bitmap), 0);
                        assert_int_equal(bitmap_resize(&bitmap, 64), 0);
                        assert_int_equal(bitmap_find_next_clear(&bitmap, 0), 0);
                }
}

/* ---- against a plain array ---- */

enum { MODEL_BITS = 300 };

static uint64_t model_next(const bool *model, uint64_t size, uint64_t from, bool value)
{
        while (from < size && model[from] != value)
                from++;
        return from < size ? from : BITMAP_NONE;
}

static void assert_like_model(const struct bitmap *bitmap, const bool *model, uint64_t size)
{
        uint64_t count = 0;

        for (uint64_t i = 0; i < size; i++) {
                count += model[i];
                assert_int_equal(bitmap_test(bitmap, i), model[i]);
                assert_true(bitmap_find_next_set(bitmap, i) == model_next(model, size, i, true));
                assert_true(bitmap_find_next_clear(bitmap, i) == model_next(model, size, i, false));
        }
        assert_int_equal(bitmap_count(bitmap), count);
}

/* Copies a random range of `bitmap` to a random place in itself, by way of bytes. */
static void move_range(struct bitmap *bitmap, bool *model, uint64_t size, unsigned int *seed)
{
        uint64_t count = (uint64_t)rand_r(seed) % (size + 1);
        uint64_t from = (uint64_t)rand_r(seed) % (size - count + 1), to = (uint64_t)rand_r(seed) % (size - count + 1);
        uint8_t bytes[MODEL_BITS / 8 + 1];

        bitmap_export(bitmap, from, count, bytes);
        assert_int_equal(bitmap_import(bitmap, to, count, bytes), 0);
        memmove(model + to, model + from, count * sizeof(*model));
}

static void random_operations_agree_with_a_plain_array(void **state)
{
        unsigned int seed = (unsigned int)time(NULL);

        print_message("seed %u\n", seed);
        for (int round = 0; round < 40; round++) {
                cleanup(bitmap_deinit) struct bitmap bitmap;
                bool model[MODEL_BITS] = {0};
                uint64_t size = 1 + (uint64_t)rand_r(&seed) % MODEL_BITS;

                bitmap_init(&bitmap, size);
                for (int step = 0; step < 60; step++) {
                        uint64_t index = (uint64_t)rand_r(&seed) % size;
                        int kind = rand_r(&seed) % 8;

                        if (kind < 5) {
                                assert_int_equal(bitmap_set(&bitmap, index), 0);
                                model[index] = true;
                        } else if (kind < 7) {
                                bitmap_clear(&bitmap, index);
                                model[index] = false;
                        } else {
                                move_range(&bitmap, model, size, &seed);
                        }
                }
                assert_like_model(&bitmap, model, size);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
            cmocka_unit_test(new_map_is_clear_whatever_its_size),
            cmocka_unit_test(map_of_no_bits_is_full_and_takes_none),
            cmocka_unit_test(setting_twice_counts_once),
            cmocka_unit_test(bits_beyond_the_size_do_not_exist),
            cmocka_unit_test(last_clear_bit_is_found_and_filling_it_makes_full),
            cmocka_unit_test(clear_map_of_a_million_bits_allocates_nothing),
            cmocka_unit_test(failed_allocation_changes_nothing_and_clearing_needs_none),
            cmocka_unit_test(import_beyond_the_size_is_refused),
            cmocka_unit_test(export_has_the_documented_bit_order),
            cmocka_unit_test(cut_bits_do_not_come_back_when_the_map_grows),
            cmocka_unit_test(random_operations_agree_with_a_plain_array),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
