#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/fsnames.h"

#define EXT4 0xef53
#define VFAT 0x4d44
#define EXFAT 0x2011bab0

static void vfat_refuses_characters_and_large_files(void **state)
{
        (void)state;
        assert_null(fsnames_refusal(VFAT, "A001 (1).mov", UINT32_MAX));
        assert_non_null(fsnames_refusal(VFAT, "A001.mov", UINT64_C(1) << 32));
        for (const char *name = "\"*:<>?\\|\n\x1f"; *name; name++)
                assert_non_null(fsnames_refusal(VFAT, (char[]){ 'a', *name, '\0' }, 1));
        assert_null(fsnames_refusal(VFAT, "\xc3\xa4", 1));
}

static void exfat_takes_large_files(void **state)
{
        (void)state;
        assert_null(fsnames_refusal(EXFAT, "A001.mov", UINT64_C(1) << 40));
        assert_non_null(fsnames_refusal(EXFAT, "10:30.mov", 1));
}

static void others_are_believed_to_hold_everything(void **state)
{
        (void)state;
        assert_null(fsnames_refusal(EXT4, "a:\n\xff", UINT64_MAX));
        assert_true(fsnames_holds_holes(EXT4));
        assert_false(fsnames_holds_holes(VFAT));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(vfat_refuses_characters_and_large_files),
                cmocka_unit_test(exfat_takes_large_files),
                cmocka_unit_test(others_are_believed_to_hold_everything),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
