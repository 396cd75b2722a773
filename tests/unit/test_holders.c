#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "core/mountinfo.h"
#include "mount-helper/detach.h"
#include "mount-helper/holders.h"
#include "mount-helper/optionlist.h"

static void escaped_commas_stay_inside_their_item(void **state)
{
        assert_true(optionlist_has("target=/a\\\\,limit=1", "limit"));
        assert_true(optionlist_has("target=/a\\,limit=1,ro", "ro"));
        assert_false(optionlist_has("target=/a\\,limit=1,ro", "limit"));
        assert_true(optionlist_has("limit=5M", "limit"));
        assert_true(optionlist_has("mhl", "mhl"));
        assert_false(optionlist_has("limits=5M", "limit"));
        assert_false(optionlist_has("a\\", "b"));
}

static void lines_are_compared_whole(void **state)
{
        assert_true(optionlist_has_line("mode = full\nfill = all\n", "fill = all", 10));
        assert_false(optionlist_has_line("mode = full\nfill = allx\n", "fill = all", 10));
        assert_false(optionlist_has_line("", "fill = all", 10));
}

static void a_mount_id_is_read_from_fdinfo(void **state)
{
        assert_int_equal(holders_mount_id("pos:\t0\nflags:\t02100000\nmnt_id:\t52\nino:\t7\n"), 52);
        assert_int_equal(holders_mount_id("mnt_id:\t3"), 3);
        assert_int_equal(holders_mount_id("pos:\t0\nxmnt_id:\t52\n"), 0);
        assert_int_equal(holders_mount_id(""), 0);
}

static void a_mapping_is_known_by_its_device(void **state)
{
        static const char line[] = "7f00-7f10 r--p 00000000 fd:2d 1234   /mnt/clip (deleted)";

        assert_true(holders_line_maps(line, 0xfd, 0x2d));
        assert_false(holders_line_maps(line, 0xfd, 0x2e));
        assert_false(holders_line_maps("7f00-7f10 rw-p 0 00:00 0", 0xfd, 0x2d));
        assert_false(holders_line_maps("nonsense", 0xfd, 0x2d));
}

static char lines[8192];

static void keep(const char *line)
{
        strncat(lines, line, sizeof(lines) - strlen(lines) - 2);
        strcat(lines, "\n");
}

static void a_process_that_stands_on_the_mount_is_named(void **state)
{
        struct mount_entry mount = {0};
        int fd = open("/proc", O_PATH | O_CLOEXEC), ready[2];
        char expected[64], byte;
        pid_t child;

        assert_true(fd >= 0);
        assert_int_equal(mountinfo_find_fd(fd, &mount.info), 0);
        assert_int_equal(pipe(ready), 0);
        child = fork();
        assert_true(child >= 0);
        if (child == 0) {
                if (chdir("/proc") < 0 || write(ready[1], "x", 1) != 1)
                        _exit(1);
                (void)pause(); /* until it is killed */
                _exit(0);
        }
        assert_int_equal(read(ready[0], &byte, 1), 1);
        lines[0] = '\0';
        assert_true(holders_list("/no/such/mount", &mount, keep) > 0);
        (void)kill(child, SIGKILL);
        assert_int_equal(waitpid(child, NULL, 0), child);
        (void)snprintf(expected, sizeof(expected), "%d test_holders (cwd)\n", (int)child); /* fits */
        if (!strstr(lines, "... and more"))
                assert_non_null(strstr(lines, expected));
        mountinfo_deinit(&mount.info);
        (void)close(fd);
        (void)close(ready[0]);
        (void)close(ready[1]);
}

static void fusermounts_words_become_codes(void **state)
{
        assert_int_equal(detach_reason("fusermount3: failed to unmount /mnt: Device or resource busy\n"), -EBUSY);
        assert_int_equal(detach_reason("fusermount3: entry for /mnt not found in /etc/mtab\n"), -EINVAL);
        assert_int_equal(detach_reason("fusermount3: failed to unmount /mnt: Operation not permitted\n"), -EPERM);
        assert_int_equal(detach_reason("something else"), -EIO);
        assert_int_equal(detach_reason(""), -EIO);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
            cmocka_unit_test(escaped_commas_stay_inside_their_item),
            cmocka_unit_test(lines_are_compared_whole),
            cmocka_unit_test(a_mount_id_is_read_from_fdinfo),
            cmocka_unit_test(a_mapping_is_known_by_its_device),
            cmocka_unit_test(a_process_that_stands_on_the_mount_is_named),
            cmocka_unit_test(fusermounts_words_become_codes),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
