#include "core/mountinfo.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static void fields_are_found_behind_optional_ones(void **state)
{
        struct mountinfo mount;

        (void)state;
        assert_int_equal(
            mountinfo_parse("36 35 98:10 /mnt1 /mnt2 rw,noatime master:1 shared:7 - ext3 /dev/root rw,errors=continue\n",
                            &mount),
            0);
        assert_int_equal(mount.id, 36);
        assert_int_equal(mount.major, 98);
        assert_int_equal(mount.minor, 10);
        assert_string_equal(mount.root, "/mnt1");
        assert_string_equal(mount.mount_point, "/mnt2");
        assert_string_equal(mount.fs_name, "ext3");
        assert_string_equal(mount.source, "/dev/root");
        mountinfo_deinit(&mount);
        mountinfo_deinit(&mount);
}

static void octal_escapes_are_undone_and_other_backslashes_kept(void **state)
{
        struct mountinfo mount;

        (void)state;
        assert_int_equal(mountinfo_parse("1 1 0:5 / /a\\040b\\134040\\012c\\0 rw - fuse.x me@host:/a\\040b rw", &mount), 0);
        assert_string_equal(mount.mount_point, "/a b\\040\nc\\0");
        assert_string_equal(mount.source, "me@host:/a b");
        mountinfo_deinit(&mount);
}

static void an_empty_source_is_an_empty_source(void **state)
{
        struct mountinfo mount;

        (void)state;
        assert_int_equal(mountinfo_parse("1 1 0:5 / /a rw - tmpfs  rw", &mount), 0);
        assert_string_equal(mount.source, "");
        mountinfo_deinit(&mount);
}

static void malformed_lines_are_refused_and_leave_the_output_alone(void **state)
{
        static const char *const lines[] = {"",
                                            "\n",
                                            "36",
                                            "36 35 98:10",
                                            "36 35 98:10 /",
                                            "36 35 98 / / rw - ext4 /dev/a rw",
                                            "x 35 98:10 / / rw - ext4 /dev/a rw",
                                            "36 35 98:10 / /a rw ext4 /dev/a rw",
                                            "36 35 98:10 / /a rw -",
                                            "36 35 98:10 / /a rw - ext4",
                                            "36 35 98:10 / a rw - ext4 s rw"};

        (void)state;
        for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
                struct mountinfo mount = {.id = 77};

                assert_int_equal(mountinfo_parse(lines[i], &mount), -EINVAL);
                assert_int_equal(mount.id, 77);
                assert_null(mount.root);
        }
}

static void assert_inside(const char *root, const char *mount_point, const char *path, const char *expected)
{
        struct mountinfo mount = {.root = strdup(root), .mount_point = strdup(mount_point)};
        char *inside = NULL;
        int result = mountinfo_path_inside(&mount, path, &inside);

        assert_int_equal(result, expected ? 0 : -ENOENT);
        if (expected)
                assert_string_equal(inside, expected);
        free(inside);
        mountinfo_deinit(&mount);
}

static void a_path_inside_the_filesystem_does_not_depend_on_where_it_is_mounted(void **state)
{
        (void)state;
        assert_inside("/", "/", "/", "/");
        assert_inside("/", "/", "/a/b", "/a/b");
        assert_inside("/", "/mnt", "/mnt", "/");
        assert_inside("/", "/mnt", "/mnt/a", "/a");
        assert_inside("/a/b", "/bound", "/bound", "/a/b");
        assert_inside("/a/b", "/bound", "/bound/c", "/a/b/c");
        assert_inside("/a/b", "/", "/", "/a/b");
        assert_inside("/", "/mnt", "/mntx", NULL);
        assert_inside("/", "/mnt", "/", NULL);
        assert_inside("/", "/mnt", "(unreachable)/mnt", NULL);
}

static void the_mount_of_a_descriptor_is_found(void **state)
{
        struct mountinfo mount;
        int fd = open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC);

        (void)state;
        assert_true(fd >= 0);
        assert_int_equal(mountinfo_find_fd(fd, &mount), 0);
        assert_string_equal(mount.fs_name, "proc");
        assert_string_equal(mount.mount_point, "/proc");
        mountinfo_deinit(&mount);
        (void)close(fd);
        assert_int_equal(mountinfo_find(UINT64_MAX, &mount), -ENOENT);
        assert_int_equal(mountinfo_find_fd(-1, &mount), -EBADF);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
            cmocka_unit_test(fields_are_found_behind_optional_ones),
            cmocka_unit_test(octal_escapes_are_undone_and_other_backslashes_kept),
            cmocka_unit_test(an_empty_source_is_an_empty_source),
            cmocka_unit_test(malformed_lines_are_refused_and_leave_the_output_alone),
            cmocka_unit_test(a_path_inside_the_filesystem_does_not_depend_on_where_it_is_mounted),
            cmocka_unit_test(the_mount_of_a_descriptor_is_found),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
