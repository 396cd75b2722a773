#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "mount-helper/dispatch.h"

static enum dispatch of(const char *line)
{
        char copy[256], *words[16], *rest = copy, *word;
        int count = 0;

        (void)snprintf(copy, sizeof(copy), "%s", line); /* fits */
        while ((word = strsep(&rest, " ")))
                words[count++] = word;
        return dispatch_words(count, words);
}

static void the_first_word_is_the_command(void **state)
{
        static const char *const names[] = {"mount", "status", "ctl", "umount", "copy", "verify", "probe", "help"};

        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
                char line[64];

                (void)snprintf(line, sizeof(line), "/usr/bin/cvv %s x y", names[i]); /* fits */
                assert_string_equal(dispatch_name(of(line)), names[i]);
        }
        assert_int_equal(of("cvv --help"), DISPATCH_HELP);
        assert_int_equal(of("cvv --version"), DISPATCH_VERSION);
}

static void the_names_of_the_helpers_win_over_words(void **state)
{
        assert_int_equal(of("/sbin/mount.cvv status /mnt"), DISPATCH_MOUNT_HELPER);
        assert_int_equal(of("mount.fuse.cvv"), DISPATCH_MOUNT_HELPER);
        assert_int_equal(of("/sbin/umount.fuse.cvv /mnt"), DISPATCH_UMOUNT_HELPER);
        assert_int_equal(of("umount.cvv /mnt"), DISPATCH_UMOUNT_HELPER);
        assert_int_equal(of("/opt/mount.cvv/cvv status /mnt"), DISPATCH_STATUS);
}

static void paths_without_a_command_are_a_copy(void **state)
{
        assert_int_equal(of("cvv /media/card /disks/a"), DISPATCH_COPY);
        assert_int_equal(of("cvv card /disks/a"), DISPATCH_COPY);
        assert_int_equal(of("cvv ./mount /disks/a"), DISPATCH_COPY);
        assert_int_equal(of("cvv --mode=full card a"), DISPATCH_COPY);
}

static void anything_else_is_unknown(void **state)
{
        assert_int_equal(of("cvv"), DISPATCH_UNKNOWN);
        assert_int_equal(of("cvv frobnicate"), DISPATCH_UNKNOWN);
        assert_int_equal(of("cvv frobnicate --mode"), DISPATCH_UNKNOWN);
        assert_int_equal(of("cvv /media/card"), DISPATCH_UNKNOWN);
        assert_int_equal(of("cvv Mount a b"), DISPATCH_UNKNOWN);
        assert_int_equal(dispatch_words(0, (char *[]){NULL}), DISPATCH_UNKNOWN);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
            cmocka_unit_test(the_first_word_is_the_command),
            cmocka_unit_test(the_names_of_the_helpers_win_over_words),
            cmocka_unit_test(paths_without_a_command_are_a_copy),
            cmocka_unit_test(anything_else_is_unknown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
