/* The network filesystem here is a FUSE mount called sshfs, answered by a thread of this program, in a mount namespace of
 * its own: it needs root, and goes with the process. */
#include "core/statehome.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>
#include <cmocka.h>

#include "core/device.h"

static char base[64];
static bool may_mount;
static int fuse_fd = -1;
static atomic_int changes; /* requests that would have changed the filesystem */

static const char *in_base(const char *name)
{
        static char paths[4][256];
        static unsigned int next;
        char *path = paths[next++ % 4];

        (void)snprintf(path, sizeof(paths[0]), "%s/%s", base, name);
        return path;
}

static void reply(uint64_t unique, int error, const void *body, size_t size)
{
        struct fuse_out_header header = {.len = (uint32_t)(sizeof(header) + size), .error = error, .unique = unique};
        struct iovec parts[] = {{&header, sizeof(header)}, {(void *)(uintptr_t)body, size}};

        (void)!writev(fuse_fd, parts, size ? 2 : 1); /* an interrupted request is gone */
}

/* An empty directory, with a time of whole seconds. */
static void answer(const struct fuse_in_header *request)
{
        const struct fuse_init_out init = {
            .major = FUSE_KERNEL_VERSION, .minor = FUSE_KERNEL_MINOR_VERSION, .max_write = 4096};
        const struct fuse_attr_out attributes = {
            .attr = {.ino = 1, .mode = S_IFDIR | 0755, .nlink = 2, .mtime = 1700000001}};
        const struct fuse_statfs_out statistics = {.st = {.bsize = 4096, .namelen = 255}};
        const struct fuse_open_out opened = {0};

        switch (request->opcode) {
        case FUSE_INIT:
                reply(request->unique, 0, &init, sizeof(init));
                break;
        case FUSE_GETATTR:
                reply(request->unique, 0, &attributes, sizeof(attributes));
                break;
        case FUSE_STATFS:
                reply(request->unique, 0, &statistics, sizeof(statistics));
                break;
        case FUSE_OPENDIR:
                reply(request->unique, 0, &opened, sizeof(opened));
                break;
        case FUSE_READDIR:
        case FUSE_READDIRPLUS:
        case FUSE_RELEASEDIR:
                reply(request->unique, 0, NULL, 0);
                break;
        case FUSE_LOOKUP:
                reply(request->unique, -ENOENT, NULL, 0);
                break;
        case FUSE_MKDIR:
        case FUSE_CREATE:
        case FUSE_MKNOD:
        case FUSE_SETATTR:
                atomic_fetch_add(&changes, 1);
                reply(request->unique, -EROFS, NULL, 0);
                break;
        case FUSE_FORGET:
        case FUSE_BATCH_FORGET:
                break;
        default:
                reply(request->unique, -ENOSYS, NULL, 0);
        }
}

static void *serve(void *unused)
{
        static _Alignas(8) char buffer[FUSE_MIN_READ_BUFFER + 4096];

        (void)unused;
        for (;;) {
                ssize_t size = read(fuse_fd, buffer, sizeof(buffer));

                if (size < 0 && errno == ENODEV) /* unmounted */
                        return NULL;
                if (size >= (ssize_t)sizeof(struct fuse_in_header))
                        answer((const struct fuse_in_header *)buffer);
        }
}

/* Mounts it at base/net as `type`; skips the test where that is impossible. */
static pthread_t mount_network(const char *type, const char *source)
{
        pthread_t thread;
        char options[128];

        fuse_fd = may_mount ? open("/dev/fuse", O_RDWR | O_CLOEXEC) : -1;
        if (fuse_fd < 0)
                skip();
        assert_int_equal(mkdir(in_base("net"), 0700), 0);
        (void)snprintf(options, sizeof(options), "fd=%d,rootmode=40755,user_id=0,group_id=0", fuse_fd);
        if (mount(source, in_base("net"), type, MS_NOSUID | MS_NODEV, options) != 0)
                skip();
        assert_int_equal(pthread_create(&thread, NULL, serve, NULL), 0);
        return thread;
}

static void unmount_network(pthread_t thread)
{
        assert_int_equal(umount2(in_base("net"), MNT_DETACH), 0);
        assert_int_equal(pthread_join(thread, NULL), 0);
        (void)close(fuse_fd);
        fuse_fd = -1;
}

static void a_network_filesystem_is_refused_and_nothing_made_on_it(void **state)
{
        struct error error = {0}, deep = {0};

        (void)state;
        pthread_t thread = mount_network("fuse.sshfs", "me@host:/dir");
        int result = statehome_open(in_base("net"), 4, &error);
        int below = statehome_open(in_base("net/a/b"), 4, &deep);
        unmount_network(thread);
        assert_int_equal(result, -EINVAL);
        assert_non_null(strstr(error.message, "fuse.sshfs"));
        assert_non_null(strstr(error.message, "choose a local directory with --state"));
        assert_int_equal(below, -EINVAL);
        assert_non_null(strstr(deep.message, "choose a local directory with --state"));
        assert_int_equal(atomic_load(&changes), 0);
}

static void a_fuse_filesystem_has_no_identity_and_no_syncfs(void **state)
{
        struct device device = {0};

        (void)state;
        pthread_t thread = mount_network("fuse.some", "a thing");
        int fd = open(in_base("net"), O_PATH | O_DIRECTORY | O_CLOEXEC);
        int result = device_probe(fd, &device, NULL);
        (void)close(fd);
        unmount_network(thread);
        assert_int_equal(result, 0);
        assert_int_equal(device.kind, DEVICE_FUSE);
        assert_string_equal(device.fs_name, "fuse.some");
        assert_string_equal(device.identity, "");
        assert_non_null(strstr(device.weak_identity, "type=fuse.some/device=0:0/source=a thing/path="));
        assert_false(device.syncfs_works);
        assert_false(device.stable_inodes);
        assert_int_equal(device.mtime_granularity_ns, 1000000000);
}

static void missing_directories_are_made_private_and_only_as_many_as_asked(void **state)
{
        struct stat status;

        (void)state;
        assert_int_equal(statehome_open(in_base("a/b/c"), 2, NULL), -ENOENT);
        assert_int_equal(access(in_base("a"), F_OK), -1);
        int fd = statehome_open(in_base("a/b//"), 2, NULL);
        assert_true(fd >= 0);
        assert_int_equal(fstat(fd, &status), 0);
        assert_int_equal(status.st_mode & 07777, 0700);
        (void)close(fd);
}

static void the_directory_is_locked_until_it_is_closed(void **state)
{
        (void)state;
        int first = statehome_open(in_base("a"), 1, NULL);
        int other = open(in_base("a"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(first >= 0 && other >= 0);
        assert_int_equal(flock(other, LOCK_EX | LOCK_NB), -1);
        (void)close(first);
        assert_int_equal(flock(other, LOCK_EX | LOCK_NB), 0);
        (void)close(other);
}

static void a_dangling_link_and_a_file_are_no_directories(void **state)
{
        (void)state;
        assert_int_equal(symlink("nowhere", in_base("link")), 0);
        assert_true(statehome_open(in_base("link"), 1, NULL) < 0);
        int fd = open(in_base("file"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        (void)close(fd);
        assert_int_equal(statehome_open(in_base("file"), 1, NULL), -ENOTDIR);
        assert_int_equal(statehome_open(in_base("file/in"), 1, NULL), -ENOTDIR);
}

static int setup(void **state)
{
        (void)state;
        atomic_store(&changes, 0);
        (void)snprintf(base, sizeof(base), "/dev/shm/cvv-test-statehome-XXXXXX");
        return mkdtemp(base) ? 0 : -1;
}

static int teardown(void **state)
{
        char command[128];

        (void)state;
        (void)snprintf(command, sizeof(command), "rm -rf --one-file-system %s", base);
        return system(command);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
            TEST(a_network_filesystem_is_refused_and_nothing_made_on_it),
            TEST(a_fuse_filesystem_has_no_identity_and_no_syncfs),
            TEST(missing_directories_are_made_private_and_only_as_many_as_asked),
            TEST(the_directory_is_locked_until_it_is_closed),
            TEST(a_dangling_link_and_a_file_are_no_directories),
        };
        may_mount = geteuid() == 0 && unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
