#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "fs/reply.h"

#include <errno.h>

static void errnos_of_file_operations_pass(void **state)
{
        static const int passing[] = {ENOENT, EACCES, EROFS, ENOSPC, EINTR, ENODATA, ERANGE, ENXIO, EOPNOTSUPP, ELOOP};

        for (size_t i = 0; i < sizeof(passing) / sizeof(passing[0]); i++)
                assert_int_equal(reply_errno(-passing[i]), passing[i]);
}

static void errnos_with_a_meaning_of_their_own_become_eio(void **state)
{
        /* ESTALE: looked up again; ENOTCONN: a crashed mount; EAGAIN: try again; EBADF, EMFILE: the caller's descriptors */
        static const int mapped[] = {EBADMSG, ESTALE, ENOTCONN, EAGAIN, EBADF, EMFILE, ETIMEDOUT, EHOSTDOWN, EUCLEAN, 9999};

        for (size_t i = 0; i < sizeof(mapped) / sizeof(mapped[0]); i++)
                assert_int_equal(reply_errno(-mapped[i]), EIO);
}

static void enosys_never_switches_an_operation_off(void **state)
{
        assert_int_equal(reply_errno(-ENOSYS), EOPNOTSUPP);
}

static void positive_conditions_become_eio(void **state)
{
        assert_int_equal(reply_errno(1), EIO);
        assert_int_equal(reply_errno(ENOENT), EIO);
}

static void an_entry_has_the_node_id_and_generation_zero(void **state)
{
        const struct stat stat = {.st_ino = 7, .st_size = 42};
        struct fuse_entry_param entry = reply_entry_param(UINT64_C(7) | UINT64_C(1) << 62, &stat,
                                                          (struct reply_timeouts){.entry_s = 1.0, .attributes_s = 2.0});

        assert_int_equal(entry.ino, UINT64_C(7) | UINT64_C(1) << 62);
        assert_int_equal(entry.generation, 0);
        assert_int_equal(entry.attr.st_ino, 7);
        assert_int_equal(entry.attr.st_size, 42);
        assert_true(entry.entry_timeout > 0.9 && entry.entry_timeout < 1.1);
        assert_true(entry.attr_timeout > 1.9 && entry.attr_timeout < 2.1);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
            cmocka_unit_test(errnos_of_file_operations_pass),
            cmocka_unit_test(errnos_with_a_meaning_of_their_own_become_eio),
            cmocka_unit_test(enosys_never_switches_an_operation_off),
            cmocka_unit_test(positive_conditions_become_eio),
            cmocka_unit_test(an_entry_has_the_node_id_and_generation_zero),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
