#include "core/metadata.h"

#include "sandbox.h"

#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/socket.h>
#include <sys/xattr.h>

#define ACL_ACCESS "system.posix_acl_access"
#define ACL_DEFAULT "system.posix_acl_default"

enum { USER_OBJ = 0x01, USER = 0x02, GROUP_OBJ = 0x04, MASK = 0x10, OTHER = 0x20 };

#define ENTRY(tag, permissions, id)                                                                                        \
        (char)(tag), 0, (char)(permissions), 0, (char)((id)&255), (char)((id) >> 8 & 255), (char)((id) >> 16 & 255),       \
            (char)((id) >> 24 & 255)
#define NOBODY_ID 0xffffffffu

/* rw for user 1000, nothing for the owning group and others: shown as mode 0660. */
static const char acl[] = {2,
                           0,
                           0,
                           0,
                           ENTRY(USER_OBJ, 6, NOBODY_ID),
                           ENTRY(USER, 6, 1000u),
                           ENTRY(GROUP_OBJ, 0, NOBODY_ID),
                           ENTRY(MASK, 6, NOBODY_ID),
                           ENTRY(OTHER, 0, NOBODY_ID)};

/* A capability set in the kernel's format, version 2: cap_net_raw+ep. */
static const unsigned char capability[20] = {1, 0, 0, 2, 0, 0x20};

static bool is_root(void)
{
        return geteuid() == 0;
}

static int open_file(int dir, const char *name, mode_t mode)
{
        int fd;

        make_file(dir, name, "content");
        fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
        assert_true(fd >= 0);
        assert_int_equal(fchmod(fd, mode), 0);
        return fd;
}

static const struct metadata_xattr *find(const struct metadata *metadata, const char *name)
{
        for (size_t i = 0; i < metadata->xattr_count; i++)
                if (strcmp(metadata->xattrs[i].name, name) == 0)
                        return &metadata->xattrs[i];
        return NULL;
}

static void assert_xattr(int fd, const char *name, const void *value, size_t size)
{
        char got[256];

        assert_int_equal(fgetxattr(fd, name, got, sizeof(got)), size);
        assert_memory_equal(got, value, size);
}

static void assert_no_xattr(int fd, const char *name)
{
        assert_true(fgetxattr(fd, name, NULL, 0) < 0);
        assert_int_equal(errno, ENODATA);
}

static bool has_user_xattrs(int fd)
{
        return fsetxattr(fd, "user.probe", "", 0, 0) == 0 && fremovexattr(fd, "user.probe") == 0;
}

static bool has_acls(int fd)
{
        return fsetxattr(fd, ACL_ACCESS, acl, sizeof(acl), 0) == 0;
}

static void mode_times_and_user_xattrs_arrive(void **state)
{
        struct fixture *f = *state;
        cleanup(fd_close) int from = open_file(f->dir, "from", 0640);
        cleanup(fd_close) int to = open_file(f->dir, "to", 0600);
        cleanup(metadata_deinit) struct metadata metadata = {0};
        struct timespec times[2] = {{.tv_sec = -5, .tv_nsec = 123456789}, {.tv_sec = 1700000000, .tv_nsec = 987654321}};
        unsigned lost = 77;
        struct stat st;

        if (!has_user_xattrs(from))
                skip();
        assert_int_equal(fsetxattr(from, "user.a", "a\0b", 3, 0), 0);
        assert_int_equal(fsetxattr(from, "user.empty", "", 0, 0), 0);
        assert_int_equal(fsetxattr(from, "user.cvv.id", "ours", 4, 0), 0);
        assert_int_equal(futimens(from, times), 0);
        assert_int_equal(fsetxattr(to, "user.stale", "x", 1, 0), 0);
        assert_int_equal(fsetxattr(to, "user.a", "old", 3, 0), 0);
        assert_int_equal(fsetxattr(to, "user.cvv.own", "stays", 5, 0), 0);

        assert_int_equal(metadata_capture(from, &metadata), 0);
        assert_int_equal(metadata.unread, 0);
        assert_null(find(&metadata, "user.cvv.id"));
        assert_int_equal(metadata_apply(to, &metadata, &lost), 0);
        assert_int_equal(lost, 0);
        assert_xattr(to, "user.a", "a\0b", 3);
        assert_xattr(to, "user.empty", "", 0);
        assert_xattr(to, "user.cvv.own", "stays", 5);
        assert_no_xattr(to, "user.stale");
        assert_no_xattr(to, "user.cvv.id");
        assert_int_equal(fstat(to, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0640);
        assert_int_equal(st.st_mtim.tv_sec, 1700000000);
        assert_int_equal(st.st_mtim.tv_nsec, 987654321);
        assert_int_equal(st.st_atim.tv_sec, -5);
        assert_int_equal(st.st_atim.tv_nsec, 123456789);
}

static void owner_setuid_and_capability_arrive_for_root(void **state)
{
        struct fixture *f = *state;
        cleanup(fd_close) int from = open_file(f->dir, "from", 0755);
        cleanup(fd_close) int to = open_file(f->dir, "to", 0600);
        cleanup(metadata_deinit) struct metadata metadata = {0};
        unsigned lost = 77;
        struct stat st;

        if (!is_root())
                skip();
        assert_int_equal(fchown(from, 1234, 4321), 0);
        assert_int_equal(fchmod(from, 06755), 0);
        if (fsetxattr(from, "security.capability", capability, sizeof(capability), 0) < 0)
                skip();
        assert_int_equal(metadata_capture(from, &metadata), 0);
        for (int i = 0; i < 2; i++) { /* and again, over itself */
                assert_int_equal(metadata_apply(to, &metadata, &lost), 0);
                assert_int_equal(lost, 0);
                assert_int_equal(fstat(to, &st), 0);
                assert_int_equal(st.st_uid, 1234);
                assert_int_equal(st.st_gid, 4321);
                assert_int_equal(st.st_mode & 07777, 06755);
                assert_xattr(to, "security.capability", capability, sizeof(capability));
        }
}

static void capability_that_the_source_lacks_goes(void **state)
{
        struct fixture *f = *state;
        cleanup(fd_close) int from = open_file(f->dir, "from", 0755);
        cleanup(fd_close) int to = open_file(f->dir, "to", 0755);
        cleanup(metadata_deinit) struct metadata metadata = {0};
        unsigned lost;

        if (!is_root() || fsetxattr(to, "security.capability", capability, sizeof(capability), 0) < 0)
                skip();
        assert_int_equal(metadata_capture(from, &metadata), 0);
        assert_int_equal(metadata_apply(to, &metadata, &lost), 0);
        assert_int_equal(lost, 0);
        assert_no_xattr(to, "security.capability");
}

/* Applies `from`, captured as root, to the user's own file. */
static int expect_user_losses(int dir)
{
        cleanup(metadata_deinit) struct metadata metadata = {0};
        cleanup(fd_close) int from = openat(dir, "from", O_RDONLY | O_CLOEXEC);
        cleanup(fd_close) int to = openat(dir, "to", O_RDONLY | O_CLOEXEC);
        unsigned lost;
        struct stat st;

        EXPECT(metadata_capture(from, &metadata) == 0);
        EXPECT(setresgid(65534, 65534, 65534) == 0 && setresuid(65534, 65534, 65534) == 0);
        EXPECT(metadata_apply(to, &metadata, &lost) == 0);
        EXPECT(lost == (METADATA_LOST_OWNER | METADATA_LOST_MODE | METADATA_LOST_CAPABILITY | METADATA_LOST_XATTR));
        EXPECT(fstat(to, &st) == 0 && st.st_uid == 65534 && (st.st_mode & 07777) == 0511);
        EXPECT(st.st_mtim.tv_sec == 1000000000);
        EXPECT(fgetxattr(to, "security.capability", NULL, 0) < 0);
        EXPECT(fgetxattr(to, "user.a", NULL, 0) == 1);
        return 0;
}

static void user_loses_owner_setuid_and_capability_but_keeps_the_rest(void **state)
{
        struct fixture *f = *state;
        cleanup(fd_close) int from = open_file(f->dir, "from", 0755);
        cleanup(fd_close) int to = open_file(f->dir, "to", 0600);
        struct timespec times[2] = {{.tv_sec = 1000000000}, {.tv_sec = 1000000000}};

        if (!is_root() || !has_user_xattrs(from) || fsetxattr(from, "trusted.t", "t", 1, 0) < 0)
                skip();
        assert_int_equal(fchown(to, 65534, 65534), 0);
        assert_int_equal(fchmod(f->dir, 0755), 0);
        assert_int_equal(fsetxattr(from, "user.a", "v", 1, 0), 0);
        assert_int_equal(fchmod(from, 06511), 0); /* no write bit: user.* has to be set before the mode */
        assert_int_equal(fsetxattr(from, "security.capability", capability, sizeof(capability), 0), 0);
        assert_int_equal(futimens(from, times), 0);
        with_refusals(NULL, 0, expect_user_losses, f->dir);
}

static void acls_arrive_and_stale_ones_go(void **state)
{
        struct fixture *f = *state;
        cleanup(fd_close) int from = open_file(f->dir, "from", 0600);
        cleanup(fd_close) int to = open_file(f->dir, "to", 0600);
        cleanup(metadata_deinit) struct metadata metadata = {0}, plain = {0};
        unsigned lost = 77;
        struct stat st;

        assert_int_equal(metadata_capture(to, &plain), 0);
        if (!has_acls(from))
                skip();
        assert_int_equal(metadata_capture(from, &metadata), 0);
        assert_int_equal(metadata_apply(to, &metadata, &lost), 0);
        assert_int_equal(lost, 0);
        assert_xattr(to, ACL_ACCESS, acl, sizeof(acl));
        assert_int_equal(fstat(to, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0660);

        assert_int_equal(metadata_apply(to, &plain, &lost), 0);
        assert_int_equal(lost, 0);
        assert_no_xattr(to, ACL_ACCESS);
        assert_int_equal(fstat(to, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0600);
}

static void inherited_default_acl_of_a_directory_goes(void **state)
{
        struct fixture *f = *state;
        cleanup(metadata_deinit) struct metadata metadata = {0};
        cleanup(fd_close) int from = -1;
        cleanup(fd_close) int to = -1;
        unsigned lost = 77;
        struct stat st;

        assert_int_equal(mkdirat(f->dir, "from", 0750), 0);
        if (fsetxattr(f->dir, ACL_DEFAULT, acl, sizeof(acl), 0) < 0)
                skip();
        assert_int_equal(mkdirat(f->dir, "to", 0777), 0);
        from = openat(f->dir, "from", O_RDONLY | O_CLOEXEC);
        to = openat(f->dir, "to", O_RDONLY | O_CLOEXEC);
        assert_xattr(to, ACL_DEFAULT, acl, sizeof(acl));
        assert_int_equal(metadata_capture(from, &metadata), 0);
        assert_int_equal(metadata_apply(to, &metadata, &lost), 0);
        assert_int_equal(lost, 0);
        assert_no_xattr(to, ACL_DEFAULT);
        assert_no_xattr(to, ACL_ACCESS);
        assert_int_equal(fstat(to, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0750);
}

static int expect_acl_lost(int dir)
{
        cleanup(metadata_deinit) struct metadata metadata = {0};
        cleanup(fd_close) int from = openat(dir, "from", O_RDONLY | O_CLOEXEC);
        cleanup(fd_close) int to = openat(dir, "to", O_RDONLY | O_CLOEXEC);
        unsigned lost;
        struct stat st;

        EXPECT(metadata_capture(from, &metadata) == 0);
        EXPECT(metadata_apply(to, &metadata, &lost) == 0);
        EXPECT(lost == (METADATA_LOST_ACL | METADATA_LOST_MODE));
        EXPECT(fstat(to, &st) == 0 && (st.st_mode & 07777) == 0600);
        return 0;
}

static void mode_is_narrowed_where_the_acl_is_lost(void **state)
{
        struct fixture *f = *state;
        struct refusal refusal = {SYS_fsetxattr, EOPNOTSUPP};
        cleanup(fd_close) int from = open_file(f->dir, "from", 0600);

        if (!has_acls(from))
                skip();
        make_file(f->dir, "to", "content");
        assert_int_equal(fchmodat(f->dir, "to", 0600, 0), 0);
        with_refusals(&refusal, 1, expect_acl_lost, f->dir);
}

static int expect_everything_lost(int dir)
{
        cleanup(metadata_deinit) struct metadata metadata = {0};
        cleanup(fd_close) int from = openat(dir, "from", O_RDONLY | O_CLOEXEC);
        cleanup(fd_close) int to = openat(dir, "to", O_RDONLY | O_CLOEXEC);
        unsigned lost;

        EXPECT(metadata_capture(from, &metadata) == 0);
        EXPECT(metadata_apply(to, &metadata, &lost) == 0);
        EXPECT(lost == (METADATA_LOST_MODE | METADATA_LOST_TIMES | METADATA_LOST_XATTR));
        return 0;
}

static int expect_nothing_lost(int dir)
{
        cleanup(metadata_deinit) struct metadata metadata = {0};
        cleanup(fd_close) int from = openat(dir, "from", O_RDONLY | O_CLOEXEC);
        unsigned lost;

        EXPECT(metadata_capture(from, &metadata) == 0);
        EXPECT(metadata_apply(from, &metadata, &lost) == 0);
        EXPECT((lost & ~(unsigned)METADATA_LOST_TIMES) == 0);
        return 0;
}

static int expect_eio(int dir)
{
        cleanup(metadata_deinit) struct metadata metadata = {0};
        cleanup(fd_close) int from = openat(dir, "from", O_RDONLY | O_CLOEXEC);
        cleanup(fd_close) int to = openat(dir, "to", O_RDONLY | O_CLOEXEC);
        unsigned lost = 77;

        EXPECT(metadata_capture(from, &metadata) == 0);
        EXPECT(metadata_apply(to, &metadata, &lost) == -EIO);
        EXPECT(lost == 77);
        return 0;
}

static void refusals_are_losses_and_medium_errors_are_errors(void **state)
{
        struct fixture *f = *state;
        struct refusal refusals[] = {
            {SYS_fsetxattr, EOPNOTSUPP}, {SYS_fchmod, EPERM}, {SYS_fchownat, EPERM}, {SYS_utimensat, EPERM}};
        struct timespec times[2] = {{.tv_sec = 1000000000}, {.tv_sec = 1000000000}};
        cleanup(fd_close) int from = open_file(f->dir, "from", 0640);

        if (!has_user_xattrs(from))
                skip();
        make_file(f->dir, "to", "content");
        assert_int_equal(fchmodat(f->dir, "to", 0600, 0), 0);
        assert_int_equal(fsetxattr(from, "user.a", "v", 1, 0), 0);
        assert_int_equal(futimens(from, times), 0);
        with_refusals(refusals, 4, expect_everything_lost, f->dir);
        with_refusals(refusals, 4, expect_nothing_lost, f->dir); /* what stands there already needs no call */
        for (size_t i = 0; i < 4; i++) {
                struct refusal eio = {refusals[i].call, EIO};

                if (eio.call != SYS_fchownat) /* not called: the owner is the same */
                        with_refusals(&eio, 1, expect_eio, f->dir);
        }
}

static void xattr_beyond_the_formats_limit_is_a_loss_not_a_full_disk(void **state)
{
        struct fixture *f = *state;
        cleanup(fd_close) int fd = open_file(f->dir, "file", 0644);
        cleanup(pointer_free) char *value = calloc(1, 60000);
        char name[] = "user.large", small[] = "user.small";
        struct metadata_xattr xattrs[] = {{name, value, 60000}, {small, value, 1}};
        cleanup(metadata_deinit) struct metadata metadata = {0};
        struct metadata large;
        unsigned lost = 77;

        if (!has_user_xattrs(fd))
                skip();
        assert_int_equal(metadata_capture(fd, &metadata), 0);
        large = metadata;
        large.xattrs = xattrs;
        large.xattr_count = 2;
        assert_int_equal(metadata_apply(fd, &large, &lost), 0);
        assert_true(lost == 0 || lost == METADATA_LOST_XATTR);
        assert_int_equal(lost == 0, fgetxattr(fd, name, NULL, 0) == 60000);
        assert_int_equal(fgetxattr(fd, small, NULL, 0), 1);
}

static void what_was_unread_in_the_source_is_reported_and_removes_nothing(void **state)
{
        struct fixture *f = *state;
        cleanup(fd_close) int fd = open_file(f->dir, "file", 0644);
        cleanup(metadata_deinit) struct metadata metadata = {0};
        unsigned lost = 0;

        if (!has_user_xattrs(fd))
                skip();
        assert_int_equal(metadata_capture(fd, &metadata), 0);
        assert_int_equal(fsetxattr(fd, "user.a", "v", 1, 0), 0);
        metadata.unread = METADATA_LOST_XATTR;
        assert_int_equal(metadata_apply(fd, &metadata, &lost), 0);
        assert_int_equal(lost, METADATA_LOST_XATTR);
        assert_xattr(fd, "user.a", "v", 1);
}

static int capture_at(int dir, const char *name, struct metadata *ret)
{
        cleanup(fd_close) int fd = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);

        return metadata_capture(fd, ret);
}

static void symlink_is_captured_and_applied_not_followed(void **state)
{
        struct fixture *f = *state;
        cleanup(metadata_deinit) struct metadata metadata = {0};
        struct timespec times[2] = {{.tv_sec = 1000}, {.tv_sec = 1000000000, .tv_nsec = 5}};
        char path[160];
        unsigned lost = 77;
        struct stat st;

        make_file(f->dir, "file", "");
        assert_int_equal(symlinkat("file", f->dir, "from"), 0);
        assert_int_equal(symlinkat("file", f->dir, "to"), 0);
        assert_int_equal(utimensat(f->dir, "from", times, AT_SYMLINK_NOFOLLOW), 0);
        (void)snprintf(path, sizeof(path), "%s/from", f->path);
        if (is_root()) {
                assert_int_equal(fchownat(f->dir, "from", 1234, 4321, AT_SYMLINK_NOFOLLOW), 0);
                (void)lsetxattr(path, "trusted.t", "t", 1, 0); /* where the filesystem has it */
        }
        assert_int_equal(capture_at(f->dir, "from", &metadata), 0);
        assert_true(S_ISLNK(metadata.stat.stx_mode));
        assert_int_equal(metadata_apply_at(f->dir, "to", &metadata, &lost), 0);
        assert_int_equal(lost, 0);
        assert_int_equal(fstatat(f->dir, "to", &st, AT_SYMLINK_NOFOLLOW), 0);
        assert_true(S_ISLNK(st.st_mode));
        assert_int_equal(st.st_mtim.tv_sec, 1000000000);
        assert_int_equal(st.st_mtim.tv_nsec, 5);
        assert_int_equal(st.st_uid, metadata.stat.stx_uid);
        assert_int_equal(st.st_gid, metadata.stat.stx_gid);
        assert_int_equal(lgetxattr(path, "trusted.t", NULL, 0) == 1, metadata.xattr_count == 1);
        (void)snprintf(path, sizeof(path), "%s/to", f->path);
        assert_int_equal(lgetxattr(path, "trusted.t", NULL, 0) == 1, metadata.xattr_count == 1);
        assert_int_equal(fstatat(f->dir, "file", &st, 0), 0);
        assert_true(st.st_mtim.tv_sec > 1000000000 && st.st_uid == geteuid());
}

static void special_files_and_sockets_are_applied_without_opening(void **state)
{
        struct fixture *f = *state;
        cleanup(metadata_deinit) struct metadata fifo = {0}, sock = {0};
        cleanup(fd_close) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        unsigned lost = 77;
        struct stat st;

        assert_int_equal(mkfifoat(f->dir, "from", 0600), 0);
        assert_int_equal(mkfifoat(f->dir, "to", 0600), 0);
        assert_int_equal(fchmodat(f->dir, "from", 0642, 0), 0);
        assert_int_equal(capture_at(f->dir, "from", &fifo), 0);
        assert_int_equal(metadata_apply_at(f->dir, "to", &fifo, &lost), 0);
        assert_int_equal(lost, 0);
        assert_int_equal(fstatat(f->dir, "to", &st, 0), 0);
        assert_int_equal(st.st_mode & 07777, 0642);
        assert_in_range(strlen(f->path), 1, sizeof(address.sun_path) - sizeof("/socket"));
        (void)strcat(strcpy(address.sun_path, f->path), "/socket");
        assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
        assert_int_equal(capture_at(f->dir, "socket", &sock), 0);
        assert_int_equal(metadata_apply_at(f->dir, "socket", &sock, &lost), 0);
        assert_int_equal(lost, 0);
}

static void object_of_another_type_is_refused(void **state)
{
        struct fixture *f = *state;
        cleanup(metadata_deinit) struct metadata metadata = {0};
        unsigned lost = 77;

        make_file(f->dir, "file", "");
        assert_int_equal(symlinkat("file", f->dir, "link"), 0);
        assert_int_equal(capture_at(f->dir, "file", &metadata), 0);
        assert_int_equal(metadata_apply_at(f->dir, "link", &metadata, &lost), -EINVAL);
        assert_int_equal(metadata_apply_at(f->dir, "none", &metadata, &lost), -ENOENT);
        assert_int_equal(metadata_apply_at(f->dir, "../x", &metadata, &lost), -EINVAL);
        assert_int_equal(metadata_apply(-1, &metadata, &lost), -EBADF);
        assert_int_equal(lost, 77);
}

static void capture_fails_cleanly_and_deinit_is_idempotent(void **state)
{
        struct fixture *f = *state;
        struct metadata metadata = {.unread = 77};

        assert_int_equal(metadata_capture(-1, &metadata), -EBADF);
        assert_int_equal(metadata.unread, 77);
        assert_int_equal(metadata_capture(f->dir, &metadata), 0);
        metadata_deinit(&metadata);
        metadata_deinit(&metadata);
        assert_int_equal(metadata.xattr_count, 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
            CASE(mode_times_and_user_xattrs_arrive),
            CASE(owner_setuid_and_capability_arrive_for_root),
            CASE(capability_that_the_source_lacks_goes),
            CASE(user_loses_owner_setuid_and_capability_but_keeps_the_rest),
            CASE(acls_arrive_and_stale_ones_go),
            CASE(inherited_default_acl_of_a_directory_goes),
            CASE(mode_is_narrowed_where_the_acl_is_lost),
            CASE(refusals_are_losses_and_medium_errors_are_errors),
            CASE(xattr_beyond_the_formats_limit_is_a_loss_not_a_full_disk),
            CASE(what_was_unread_in_the_source_is_reported_and_removes_nothing),
            CASE(symlink_is_captured_and_applied_not_followed),
            CASE(special_files_and_sockets_are_applied_without_opening),
            CASE(object_of_another_type_is_refused),
            CASE(capture_fails_cleanly_and_deinit_is_idempotent),
        };

        (void)umask(022);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
