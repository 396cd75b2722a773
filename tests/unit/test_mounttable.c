#include <errno.h>
#include <sys/mount.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "mount-helper/mounttable.h"
#include "mount-helper/remount.h"
#include "mount-helper/utab.h"

static const char line[] =
    "52 28 0:45 / /mnt/my\\040card rw,nosuid,nodev,relatime shared:25 master:1 - fuse.cvv /media/card "
    "ro,user_id=1000,group_id=100,allow_other\n";

static void a_line_is_taken_apart(void **state)
{
        struct mount_entry entry;

        assert_int_equal(mount_entry_parse(line, &entry), 0);
        assert_string_equal(entry.info.mount_point, "/mnt/my card");
        assert_string_equal(entry.info.fs_name, "fuse.cvv");
        assert_int_equal(entry.info.id, 52);
        assert_string_equal(entry.options, "rw,nosuid,nodev,relatime");
        assert_string_equal(entry.super_options, "ro,user_id=1000,group_id=100,allow_other");
        assert_int_equal(mount_list_number(entry.super_options, "user_id"), 1000);
        assert_int_equal(mount_list_number(entry.super_options, "group_id"), 100);
        mount_entry_deinit(&entry);
}

static void a_line_without_optional_fields_is_taken_apart(void **state)
{
        struct mount_entry entry;

        assert_int_equal(mount_entry_parse("1 0 8:1 / / rw - ext4 /dev/sda1 rw,errors=remount-ro", &entry), 0);
        assert_string_equal(entry.options, "rw");
        assert_string_equal(entry.super_options, "rw,errors=remount-ro");
        mount_entry_deinit(&entry);
}

static void malformed_lines_are_refused(void **state)
{
        static const char *const lines[] = {"",
                                            "\n",
                                            "52",
                                            "52 28 0:45 / /mnt rw",
                                            "52 28 0:45 / /mnt rw - fuse",
                                            "52 28 0:45 / /mnt rw - fuse src",
                                            "a b c d e f - g h i"};
        struct mount_entry entry;

        for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
                assert_int_equal(mount_entry_parse(lines[i], &entry), -EINVAL);
}

static void lists_are_searched_by_whole_words(void **state)
{
        assert_true(mount_list_has("rw,nosuid", "nosuid"));
        assert_true(mount_list_has("rw,user_id=0", "user_id"));
        assert_false(mount_list_has("rw,nosuid", "suid"));
        assert_false(mount_list_has("rw,nosuidx", "nosuid"));
        assert_false(mount_list_has("", "rw"));
        assert_int_equal(mount_list_number("user_id=,x", "user_id"), -1);
        assert_int_equal(mount_list_number("user_id=12x", "user_id"), -1);
        assert_int_equal(mount_list_number("user_id", "user_id"), -1);
        assert_int_equal(mount_list_number("user_id=99999999999999999999", "user_id"), -1);
}

static void the_root_of_this_process_is_a_mount_and_an_absent_path_is_none(void **state)
{
        struct mount_entry entry;

        assert_int_equal(mount_entry_find("/proc", &entry), 0);
        assert_string_equal(entry.info.fs_name, "proc");
        mount_entry_deinit(&entry);
        assert_int_equal(mount_entry_find("/no/such/mount", &entry), -ENOENT);
}

static void flags_are_read_from_the_table(void **state)
{
        assert_int_equal(remount_current_flags("rw,nosuid,nodev,relatime", "rw,user_id=0"),
                         MS_NOSUID | MS_NODEV | MS_RELATIME);
        assert_int_equal(remount_current_flags("ro,noexec,noatime", "rw"), MS_RDONLY | MS_NOEXEC | MS_NOATIME);
        assert_int_equal(remount_current_flags("rw,nodiratime,relatime", "ro,sync"),
                         MS_RDONLY | MS_SYNCHRONOUS | MS_NODIRATIME | MS_RELATIME);
        assert_int_equal(remount_current_flags("rw", "rw"), MS_STRICTATIME);
}

static unsigned long apply(unsigned long flags, const char *list)
{
        char copy[128], *rest = copy, *word;

        (void)snprintf(copy, sizeof(copy), "%s", list); /* fits */
        while ((word = strsep(&rest, ",")))
                flags = remount_apply_word(flags, word);
        return flags;
}

static void the_last_word_about_a_flag_wins(void **state)
{
        assert_int_equal(apply(0, "rw,ro"), MS_RDONLY);
        assert_int_equal(apply(MS_RDONLY, "ro,rw"), 0);
        assert_int_equal(apply(MS_NOSUID | MS_NODEV, "suid"), MS_NODEV);
        assert_int_equal(apply(MS_RELATIME, "noatime"), MS_NOATIME);
        assert_int_equal(apply(MS_NOATIME, "relatime"), MS_RELATIME);
        assert_int_equal(apply(MS_NODEV, "max_read=4096,allow_other"), MS_NODEV);
}

static void lines_of_the_table_are_counted_by_their_target(void **state)
{
        static const char table[] = "SRC=/a TARGET=/mnt ROOT=/ OPTS=helper=fuse.cvv\n"
                                    "SRC=TARGET=/mnt TARGET=/mnt/my\\040card ROOT=/ OPTS=_netdev\n"
                                    "TARGET=/mnt OPTS=x-TARGET=/mnt\n";

        assert_int_equal(utab_count(table, "/mnt"), 2);
        assert_int_equal(utab_count(table, "/mnt/my card"), 1);
        assert_int_equal(utab_count(table, "/mn"), 0);
        assert_int_equal(utab_count(table, "/mnt/my"), 0);
        assert_int_equal(utab_count("", "/mnt"), 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
            cmocka_unit_test(a_line_is_taken_apart),
            cmocka_unit_test(a_line_without_optional_fields_is_taken_apart),
            cmocka_unit_test(malformed_lines_are_refused),
            cmocka_unit_test(lists_are_searched_by_whole_words),
            cmocka_unit_test(the_root_of_this_process_is_a_mount_and_an_absent_path_is_none),
            cmocka_unit_test(flags_are_read_from_the_table),
            cmocka_unit_test(the_last_word_about_a_flag_wins),
            cmocka_unit_test(lines_of_the_table_are_counted_by_their_target),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
