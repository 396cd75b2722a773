#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "fs/initreply.h"

#include <linux/fuse.h>

#define MMAP (UINT64_C(1) << 36)

static void only_what_the_kernel_offers_is_asked_for(void **state)
{
        assert_int_equal(initreply_flags(0), 0);
        assert_int_equal(initreply_flags(FUSE_INIT_EXT), FUSE_INIT_EXT);
        assert_int_equal(initreply_flags(FUSE_PARALLEL_DIROPS), FUSE_PARALLEL_DIROPS);
        assert_int_equal(initreply_flags(UINT64_MAX), FUSE_PARALLEL_DIROPS | FUSE_INIT_EXT | MMAP);
}

static void the_upper_half_counts_with_init_ext_only(void **state)
{
        assert_int_equal(initreply_flags(MMAP | FUSE_PARALLEL_DIROPS), FUSE_PARALLEL_DIROPS);
        assert_int_equal(initreply_flags(MMAP | FUSE_INIT_EXT), MMAP | FUSE_INIT_EXT);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
            cmocka_unit_test(only_what_the_kernel_offers_is_asked_for),
            cmocka_unit_test(the_upper_half_counts_with_init_ext_only),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
