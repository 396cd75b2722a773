/* Runs in a mount namespace of its own where it may (root): what it mounts goes with it, loop devices included. */
#include "core/device.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include <cmocka.h>

static char base[64];
static bool may_mount;

static const char *in_base(const char *name)
{
        static char paths[4][256];
        static unsigned int next;
        char *path = paths[next++ % 4];

        (void)snprintf(path, sizeof(paths[0]), "%s/%s", base, name);
        return path;
}

static __attribute__((format(printf, 1, 2))) int run(const char *format, ...)
{
        char command[1024];
        va_list arguments;

        va_start(arguments, format);
        (void)vsnprintf(command, sizeof(command), format, arguments);
        va_end(arguments);
        return system(command);
}

static int open_directory(const char *path)
{
        int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);

        assert_true(fd >= 0);
        return fd;
}

static int make(const char *name)
{
        assert_int_equal(mkdir(in_base(name), 0700), 0);
        return open_directory(in_base(name));
}

static struct device probe(const char *path)
{
        struct device device;
        struct error error = {0};
        int fd = open_directory(path);

        if (device_probe(fd, &device, &error) != 0)
                fail_msg("%s: %s", path, error.message);
        (void)close(fd);
        return device;
}

static int contains(const char *outer, const char *inner)
{
        int outer_fd = open_directory(outer), inner_fd = open_directory(inner);
        int result = device_contains(outer_fd, inner_fd);

        (void)close(outer_fd);
        (void)close(inner_fd);
        return result;
}

/* Makes a filesystem in base/NAME.img and mounts it at base/NAME; skips the test where that is impossible. */
static void mount_image(const char *name, const char *size, const char *mkfs)
{
        if (!may_mount || run("command -v mkfs.%.*s >/dev/null", (int)strcspn(mkfs, " "), mkfs) != 0)
                skip();
        assert_int_equal(run("cd %s && truncate -s %s %s.img && mkdir %s && mkfs.%s %s.img >/dev/null 2>&1", base, size,
                             name, name, mkfs, name),
                         0);
        if (run("mount -o loop %s/%s.img %s/%s", base, name, base, name) != 0)
                skip();
}

static void memory_has_no_identity_but_a_weak_one(void **state)
{
        (void)state;
        struct device device = probe(base);

        assert_int_equal(device.kind, DEVICE_MEMORY);
        assert_string_equal(device.fs_name, "tmpfs");
        assert_int_equal(device.fs_type, 0x01021994);
        assert_string_equal(device.identity, "");
        assert_string_equal(device.uuid, "");
        assert_non_null(strstr(device.weak_identity, "type=tmpfs/device=0:"));
        assert_non_null(strstr(device.weak_identity, "/ino="));
        assert_true(device.stable_inodes);
        assert_true(device.syncfs_works);
        assert_false(device.direct_io);
        assert_false(device.read_only);
        assert_int_equal(device.mtime_granularity_ns, 1);
}

static void syncs_are_confirmed_by_a_change_where_ext4_may_be_wrong_about_them(void **state)
{
        (void)state;
        static const struct timespec long_ago[2] = {{.tv_sec = 1}, {.tv_sec = 1}};
        struct device ext = {.fs_type = 0xef53}, other = {.fs_type = 0x58465342};
        struct stat stat;
        int fd = open(base, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        assert_true(fd >= 0);
        assert_int_equal(futimens(fd, long_ago), 0);
        assert_int_equal(device_confirm_sync(&other, fd), 0);
        assert_int_equal(fstat(fd, &stat), 0);
        assert_int_equal(stat.st_mtim.tv_sec, 1);
        assert_int_equal(device_confirm_sync(&ext, fd), 0);
        assert_int_equal(fstat(fd, &stat), 0);
        assert_int_not_equal(stat.st_mtim.tv_sec, 1);
        assert_int_equal(close(fd), 0);
        assert_int_equal(device_confirm_sync(&ext, -1), -EBADF);
}

static void what_is_no_directory_is_refused_and_the_output_left_alone(void **state)
{
        struct device device = {.root_ino = 77};
        struct error error = {0};
        int fd = open(in_base("file"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);

        (void)state;
        assert_int_equal(device_probe(fd, &device, &error), -ENOTDIR);
        assert_int_equal(error.code, -ENOTDIR);
        assert_true(strlen(error.message) > 0);
        (void)close(fd);
        assert_int_equal(device_probe(fd, &device, NULL), -EBADF);
        assert_int_equal(device.root_ino, 77);
}

static void a_directory_contains_itself_and_what_is_below_only(void **state)
{
        (void)state;
        (void)close(make("a"));
        (void)close(make("ab"));
        (void)close(make("a/b"));
        (void)close(make("a/b/c"));
        assert_int_equal(contains(in_base("a"), in_base("a")), 1);
        assert_int_equal(contains(in_base("a"), in_base("a/b/c")), 1);
        assert_int_equal(contains("/", in_base("a/b")), 1);
        assert_int_equal(contains(in_base("a/b"), in_base("a")), 0);
        assert_int_equal(contains(in_base("a"), in_base("ab")), 0);
        assert_int_equal(contains(in_base("a"), "/"), 0);
        assert_int_equal(device_contains(-1, -1), -EBADF);
}

static void a_symlink_into_a_directory_is_inside_it(void **state)
{
        (void)state;
        (void)close(make("real"));
        (void)close(make("real/in"));
        assert_int_equal(symlink("real/in", in_base("link")), 0);
        assert_int_equal(contains(in_base("real"), in_base("link")), 1);
}

static void a_bind_mount_of_a_part_is_inside_the_whole(void **state)
{
        (void)state;
        if (!may_mount)
                skip();
        (void)close(make("whole"));
        (void)close(make("whole/part"));
        (void)close(make("whole/part/deep"));
        (void)close(make("elsewhere"));
        assert_int_equal(mount(in_base("whole/part"), in_base("elsewhere"), NULL, MS_BIND, NULL), 0);
        assert_int_equal(contains(in_base("whole"), in_base("elsewhere")), 1);
        assert_int_equal(contains(in_base("whole"), in_base("elsewhere/deep")), 1);
        assert_int_equal(contains(in_base("elsewhere"), in_base("whole/part/deep")), 1);
        assert_int_equal(contains(in_base("elsewhere"), in_base("whole")), 0);
}

static void the_walk_up_passes_a_directory_that_is_bound_below_itself(void **state)
{
        (void)state;
        if (!may_mount)
                skip();
        (void)close(make("outer"));
        (void)close(make("outer/loop"));
        (void)close(make("outer/loop/below"));
        assert_int_equal(mount(in_base("outer/loop"), in_base("outer/loop/below"), NULL, MS_BIND, NULL), 0);
        assert_int_equal(contains(in_base("outer"), in_base("outer/loop/below")), 1);
        assert_int_equal(contains("/", in_base("outer/loop/below")), 1);
}

static void a_read_only_mount_is_read_only(void **state)
{
        (void)state;
        if (!may_mount)
                skip();
        (void)close(make("ro"));
        assert_int_equal(mount("none", in_base("ro"), "tmpfs", MS_RDONLY, "size=64k"), 0);
        assert_true(probe(in_base("ro")).read_only);
        struct device other = probe(in_base("ro")), here = probe(base);
        assert_false(device_same_filesystem(&other, &here));
}

static void the_identity_outlives_a_remount_at_another_path(void **state)
{
        (void)state;
        mount_image("e4", "16M", "ext4 -q -I 256");
        (void)close(make("e4/sub"));
        struct device root = probe(in_base("e4")), sub = probe(in_base("e4/sub"));

        assert_true(root.kind == DEVICE_SOLID || root.kind == DEVICE_SPINNING);
        assert_string_equal(root.fs_name, "ext4");
        assert_int_equal(strncmp(root.identity, "uuid=", 5), 0);
        assert_non_null(strstr(root.identity, "/handle="));
        assert_true(root.stable_inodes && root.syncfs_works && root.direct_io);
        assert_int_equal(root.mtime_granularity_ns, 1);
        assert_true(device_same_filesystem(&root, &sub));
        assert_string_equal(root.uuid, sub.uuid);
        assert_string_not_equal(root.identity, sub.identity);

        (void)close(make("e4-other-place"));
        assert_int_equal(run("umount %s/e4 && mv %s/e4.img %s/moved.img && mount -o ro,loop %s/moved.img %s/e4-other-place",
                             base, base, base, base, base),
                         0);
        struct device again = probe(in_base("e4-other-place")), sub_again = probe(in_base("e4-other-place/sub"));
        assert_string_equal(again.identity, root.identity);
        assert_string_equal(sub_again.identity, sub.identity);
        assert_true(again.read_only);
        /* What lies at the first path now is the directory under the mount point. */
        struct device under = probe(in_base("e4"));
        assert_string_not_equal(under.identity, root.identity);
        assert_string_not_equal(under.weak_identity, root.weak_identity);
}

static void another_filesystem_has_another_identity(void **state)
{
        (void)state;
        mount_image("one", "16M", "ext4 -q");
        mount_image("two", "16M", "ext4 -q");
        struct device one = probe(in_base("one")), two = probe(in_base("two"));

        assert_string_not_equal(one.identity, two.identity);
        assert_false(device_same_filesystem(&one, &two));
}

static void whole_seconds_are_seen_on_ext_with_small_inodes(void **state)
{
        (void)state;
        mount_image("e2", "16M", "ext4 -q -I 128");
        assert_int_equal(probe(in_base("e2")).mtime_granularity_ns, 1000000000);
}

static void subvolumes_of_btrfs_differ_but_are_one_filesystem(void **state)
{
        (void)state;
        mount_image("bt", "128M", "btrfs -q");
        assert_int_equal(run("btrfs -q subvolume create %s/bt/vol >/dev/null", base), 0);
        struct device top = probe(in_base("bt")), volume = probe(in_base("bt/vol"));

        assert_int_not_equal(top.st_dev, volume.st_dev);
        assert_true(device_same_filesystem(&top, &volume));
        assert_string_not_equal(top.identity, volume.identity);
        assert_true(top.identity[0] && volume.identity[0]);
        assert_true(top.kind == DEVICE_SOLID || top.kind == DEVICE_SPINNING);
        assert_int_equal(contains(in_base("bt"), in_base("bt/vol")), 1);
        /* The subvolume mounted by itself lies inside the top one, which the way up does not show. */
        (void)close(make("vol-alone"));
        if (run("mount -o subvol=vol $(findmnt -no SOURCE %s/bt | sed 's/\\[.*//') %s/vol-alone", base, base) != 0)
                skip();
        struct device alone = probe(in_base("vol-alone"));
        assert_string_equal(alone.identity, volume.identity);
        assert_int_equal(contains(in_base("bt"), in_base("vol-alone")), 1);
        assert_int_equal(contains(in_base("vol-alone"), in_base("bt")), 0);
}

static void xfs_has_an_identity_and_takes_direct_io(void **state)
{
        (void)state;
        mount_image("xf", "300M", "xfs -q");
        int fd = open(in_base("xf/file"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        (void)close(fd);
        struct device device = probe(in_base("xf"));

        assert_non_null(strstr(device.identity, "/handle="));
        assert_true(device.direct_io);
}

static void a_file_of_a_filesystem_outside_the_table_tells_about_direct_io(void **state)
{
        (void)state;
        struct device device = probe("/proc/self");

        assert_int_equal(device.kind, DEVICE_UNKNOWN);
        assert_string_equal(device.fs_name, "proc");
        assert_string_equal(device.identity, "");
        assert_false(device.direct_io);
        assert_false(device.stable_inodes);
        assert_false(device.syncfs_works);
}

static void granularity_is_the_coarsest_that_all_times_fit(void **state)
{
        static const struct {
                uint64_t times[3];
                size_t count;
                uint64_t expected;
        } cases[] = {
            {{0}, 0, 1000000000},
            {{4000000000}, 1, 2000000000},
            {{4000000000, 3000000000}, 2, 1000000000},
            {{4000000000, 3010000000}, 2, 10000000},
            {{4000000000, 3001000000}, 2, 1000000},
            {{4000001000}, 1, 1000},
            {{4000000100, 3000000000, 1000000000}, 3, 100},
            {{4000000100, 3000000000, 1}, 3, 1},
        };

        (void)state;
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
                assert_int_equal(device_granularity_of(cases[i].times, cases[i].count), cases[i].expected);
}

static void fuse_clients_of_other_machines_are_networks(void **state)
{
        (void)state;
        assert_true(device_fuse_is_network("fuse.sshfs", "me@host:/dir"));
        assert_true(device_fuse_is_network("fuse.glusterfs", "host:/vol"));
        assert_true(device_fuse_is_network("fuse", "https://host/dav"));
        assert_false(device_fuse_is_network("fuse.cvv", "/media/card"));
        assert_false(device_fuse_is_network("fuseblk", "/dev/sdb1"));
        assert_false(device_fuse_is_network("fuse.sshfsx", "x"));
        assert_false(device_fuse_is_network("sshfs", "x"));
}

static void a_uuid_is_found_by_the_link_to_its_device(void **state)
{
        struct stat loop;
        char uuid[DEVICE_UUID_BYTES] = "kept";

        (void)state;
        if (stat("/dev/loop0", &loop) < 0)
                skip();
        (void)close(make("by-uuid"));
        assert_int_equal(symlink("/dev/loop1", in_base("by-uuid/1111-1111")), 0);
        assert_int_equal(symlink("/dev/null", in_base("by-uuid/2222-2222")), 0);
        assert_int_equal(symlink("nowhere", in_base("by-uuid/3333-3333")), 0);
        assert_int_equal(device_uuid_from_links(in_base("by-uuid"), loop.st_rdev, uuid), -ENOENT);
        assert_string_equal(uuid, "kept");
        assert_int_equal(symlink("/dev/loop0", in_base("by-uuid/ABCD-EF01")), 0);
        assert_int_equal(device_uuid_from_links(in_base("by-uuid"), loop.st_rdev, uuid), 0);
        assert_string_equal(uuid, "abcdef01");
        assert_int_equal(device_uuid_from_links(in_base("absent"), loop.st_rdev, uuid), -ENOENT);
}

static int setup(void **state)
{
        (void)state;
        may_mount = geteuid() == 0 && unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
        (void)snprintf(base, sizeof(base), "/dev/shm/cvv-test-device-XXXXXX");
        return mkdtemp(base) ? 0 : -1;
}

static int teardown(void **state)
{
        (void)state;
        if (may_mount)
                (void)run("for m in $(awk '{print $5}' /proc/self/mountinfo | grep '^%s/' | sort -r); do umount $m; done",
                          base);
        return run("rm -rf --one-file-system %s", base);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
            cmocka_unit_test(memory_has_no_identity_but_a_weak_one),
            cmocka_unit_test(syncs_are_confirmed_by_a_change_where_ext4_may_be_wrong_about_them),
            cmocka_unit_test(what_is_no_directory_is_refused_and_the_output_left_alone),
            cmocka_unit_test(a_directory_contains_itself_and_what_is_below_only),
            cmocka_unit_test(a_symlink_into_a_directory_is_inside_it),
            cmocka_unit_test(a_bind_mount_of_a_part_is_inside_the_whole),
            cmocka_unit_test(the_walk_up_passes_a_directory_that_is_bound_below_itself),
            cmocka_unit_test(a_read_only_mount_is_read_only),
            cmocka_unit_test(the_identity_outlives_a_remount_at_another_path),
            cmocka_unit_test(another_filesystem_has_another_identity),
            cmocka_unit_test(whole_seconds_are_seen_on_ext_with_small_inodes),
            cmocka_unit_test(subvolumes_of_btrfs_differ_but_are_one_filesystem),
            cmocka_unit_test(xfs_has_an_identity_and_takes_direct_io),
            cmocka_unit_test(a_file_of_a_filesystem_outside_the_table_tells_about_direct_io),
            cmocka_unit_test(granularity_is_the_coarsest_that_all_times_fit),
            cmocka_unit_test(fuse_clients_of_other_machines_are_networks),
            cmocka_unit_test(a_uuid_is_found_by_the_link_to_its_device),
        };
        return cmocka_run_group_tests(tests, setup, teardown);
}
