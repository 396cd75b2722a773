#include "core/metadata_rules.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { USER_OBJ = 0x01, USER = 0x02, GROUP_OBJ = 0x04, GROUP = 0x08, MASK = 0x10, OTHER = 0x20 };

struct acl {
        unsigned char bytes[4 + 8 * 8];
        size_t size;
};

static struct acl acl_of(size_t count, const unsigned char (*entries)[2])
{
        struct acl acl = {.bytes = {2}, .size = 4};

        for (size_t i = 0; i < count; i++) {
                acl.bytes[acl.size] = entries[i][0];
                acl.bytes[acl.size + 2] = entries[i][1];
                acl.size += 8;
        }
        return acl;
}

#define MODE_WITHOUT(mode, ...)                                                                                            \
        __extension__({                                                                                                    \
                const unsigned char entries[][2] = {__VA_ARGS__};                                                          \
                struct acl acl = acl_of(sizeof(entries) / sizeof(entries[0]), entries);                                    \
                metadata_mode_without_acl(mode, acl.bytes, acl.size);                                                      \
        })

static void lost_acl_gives_group_its_own_entry_not_the_mask(void **state)
{
        (void)state;
        assert_int_equal(MODE_WITHOUT(0664, {USER_OBJ, 6}, {USER, 6}, {GROUP_OBJ, 4}, {MASK, 6}, {OTHER, 4}), 0644);
        assert_int_equal(MODE_WITHOUT(02750, {USER_OBJ, 7}, {GROUP_OBJ, 5}, {OTHER, 0}), 02750);
}

static void lost_acl_widens_nothing_for_named_users_and_groups(void **state)
{
        (void)state;
        assert_int_equal(MODE_WITHOUT(0664, {USER_OBJ, 6}, {USER, 0}, {GROUP_OBJ, 6}, {MASK, 6}, {OTHER, 4}), 0600);
        assert_int_equal(MODE_WITHOUT(0664, {USER_OBJ, 6}, {GROUP_OBJ, 6}, {GROUP, 0}, {MASK, 6}, {OTHER, 4}), 0660);
        assert_int_equal(MODE_WITHOUT(0607, {USER_OBJ, 6}, {GROUP_OBJ, 6}, {GROUP, 7}, {MASK, 0}, {OTHER, 7}), 0600);
}

static void malformed_acl_leaves_the_owner_alone(void **state)
{
        static const unsigned char good[] = {2, 0, 0, 0, GROUP_OBJ, 0, 7, 0, 0, 0, 0, 0};
        static const unsigned char bad_version[] = {3, 0, 0, 0};

        (void)state;
        for (size_t size = 0; size < sizeof(good); size++)
                if (size != 4)
                        assert_int_equal(metadata_mode_without_acl(04777, good, size), 04700);
        assert_int_equal(metadata_mode_without_acl(0777, bad_version, sizeof(bad_version)), 0700);
        assert_int_equal(metadata_mode_without_acl(0777, good, sizeof(good)), 0777);
}

static void any_bytes_never_widen_the_mode(void **state)
{
        unsigned seed = 20240607;
        unsigned char bytes[64];

        (void)state;
        for (int round = 0; round < 20000; round++) {
                size_t size = (size_t)rand_r(&seed) % (sizeof(bytes) + 1);
                mode_t mode = (mode_t)rand_r(&seed) & 07777;

                for (size_t i = 0; i < sizeof(bytes); i++)
                        bytes[i] = (unsigned char)rand_r(&seed);
                memcpy(bytes, "\2\0\0", 4);
                assert_int_equal(metadata_mode_without_acl(mode, bytes, size) & ~mode, 0);
        }
}

static void time_saturates_beyond_its_range(void **state)
{
        (void)state;
        assert_int_equal(metadata_time_ns(&(struct statx_timestamp){.tv_sec = 3, .tv_nsec = 7}), 3000000007);
        assert_int_equal(metadata_time_ns(&(struct statx_timestamp){.tv_sec = -1, .tv_nsec = 999999999}), -1);
        assert_true(metadata_time_ns(&(struct statx_timestamp){.tv_sec = INT64_MAX}) == INT64_MAX);
        assert_true(metadata_time_ns(&(struct statx_timestamp){.tv_sec = INT64_MIN}) == INT64_MIN);
        assert_true(metadata_time_ns(&(struct statx_timestamp){.tv_sec = 9223372036, .tv_nsec = 999999999}) == INT64_MAX);
}

static void mtimes_are_equal_within_the_coarser_clock_only(void **state)
{
        const uint64_t fat = 2000000000;

        (void)state;
        assert_true(metadata_mtime_equal(5, 5, 0));
        assert_false(metadata_mtime_equal(5, 6, 0));
        assert_false(metadata_mtime_equal(5, 6, 1));
        assert_true(metadata_mtime_equal(3999999999, 2000000000, fat));
        assert_true(metadata_mtime_equal(2000000001, 4000000000, fat));
        assert_false(metadata_mtime_equal(2000000000, 4000000000, fat));
        assert_true(metadata_mtime_equal(-1, 1, fat));
        assert_false(metadata_mtime_equal(INT64_MIN, INT64_MAX, fat));
        assert_true(metadata_mtime_equal(INT64_MIN, INT64_MIN, 1));
}

static void common_times_are_those_that_every_filesystem_holds(void **state)
{
        const int64_t second = 1000000000;

        (void)state;
        assert_true(metadata_time_is_common(1700000000 * second));
        assert_false(metadata_time_is_common(315532800 * second)); /* 1980-01-01, somewhere still 1979 */
        assert_true(metadata_time_is_common(315705600 * second));
        assert_false(metadata_time_is_common(2147483647 * second));
        assert_false(metadata_time_is_common(0));
        assert_false(metadata_time_is_common(INT64_MIN));
        assert_false(metadata_time_is_common(INT64_MAX));
}

static void times_beyond_the_range_are_its_ends(void **state)
{
        (void)state;
        assert_true(metadata_timespec_ns(&(struct timespec){ .tv_sec = 13569465600 }) == INT64_MAX); /* 2400 */
        assert_true(metadata_timespec_ns(&(struct timespec){ .tv_sec = -13569465600 }) == INT64_MIN);
        assert_true(metadata_timespec_ns(&(struct timespec){ .tv_sec = -1, .tv_nsec = 5 }) == -999999995);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
            cmocka_unit_test(common_times_are_those_that_every_filesystem_holds),
            cmocka_unit_test(times_beyond_the_range_are_its_ends),
            cmocka_unit_test(lost_acl_gives_group_its_own_entry_not_the_mask),
            cmocka_unit_test(lost_acl_widens_nothing_for_named_users_and_groups),
            cmocka_unit_test(malformed_acl_leaves_the_owner_alone),
            cmocka_unit_test(any_bytes_never_widen_the_mode),
            cmocka_unit_test(time_saturates_beyond_its_range),
            cmocka_unit_test(mtimes_are_equal_within_the_coarser_clock_only),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
