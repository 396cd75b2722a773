/* Reads, writes and opens; names and whole files are in test_io_durable.c. */
#include "sandbox.h"

static void read_is_short_only_at_end_of_file(void **state)
{
        struct fixture *f = *state;
        cleanup(fd_close) int fd = -1;
        char buffer[16];

        make_file(f->dir, "a", "0123456789");
        fd = io_open_source(f->dir, "a");
        assert_true(fd >= 0);
        assert_int_equal(io_read_full(fd, buffer, 4, 3), 4);
        assert_memory_equal(buffer, "3456", 4);
        assert_int_equal(io_read_full(fd, buffer, sizeof(buffer), 8), 2);
        assert_int_equal(io_read_full(fd, buffer, sizeof(buffer), 10), 0);
        assert_int_equal(io_read_full(fd, buffer, sizeof(buffer), 1 << 20), 0);
        assert_int_equal(io_read_full(fd, buffer, 1, UINT64_MAX), -EINVAL);
        assert_int_equal(io_read_full(fd, buffer, 2, INT64_MAX), -EINVAL);
        assert_int_equal(io_read_full(-1, buffer, 1, 0), -EBADF);
        assert_int_equal(io_read_full(f->dir, buffer, 1, 0), -EISDIR);
}

static void direct_read_ends_at_unaligned_end_of_file(void **state)
{
        struct fixture *f = *state;
        cleanup(fd_close) int fd = -1;
        cleanup(pointer_free) void *buffer = NULL;

        make_file(f->dir, "a", "tail");
        fd = io_open_beneath(f->dir, "a", O_RDONLY | O_DIRECT, 0);
        if (fd == -EINVAL)
                skip();
        assert_true(fd >= 0);
        assert_int_equal(posix_memalign(&buffer, 4096, 8192), 0);
        assert_int_equal(io_read_full(fd, buffer, 8192, 0), 4);
        assert_memory_equal(buffer, "tail", 4);
}

static void write_reports_errors_and_accepts_nothing(void **state)
{
        struct fixture *f = *state;
        cleanup(fd_close) int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
        cleanup(fd_close) int fd = -1;

        make_file(f->dir, "a", "x");
        assert_int_equal(io_write_full(full, "abc", 3, 0), -ENOSPC);
        fd = io_open_source(f->dir, "a");
        assert_int_equal(io_write_full(fd, "abc", 3, 0), -EBADF);
        assert_int_equal(io_write_full(fd, NULL, 0, 0), 0);
        assert_int_equal(io_write_full(fd, "a", 1, UINT64_MAX), -EFBIG);
}

/* The same expectations hold with openat2 and with the walk by components. */
static int expect_beneath(int dir)
{
        cleanup(fd_close) int fd = -1;
        struct stat st, other;

        EXPECT(mkdirat(dir, "d", 0755) == 0 && mkdirat(dir, "d/e", 0755) == 0);
        EXPECT(symlinkat("d", dir, "link") == 0 && symlinkat("/etc", dir, "out") == 0);
        EXPECT(symlinkat("nowhere", dir, "d/dangling") == 0);
        fd = io_open_beneath(dir, "d//./e/new", O_WRONLY | O_CREAT | O_EXCL, 0600);
        EXPECT(fd >= 0 && (fcntl(fd, F_GETFD) & FD_CLOEXEC));
        EXPECT(fstat(fd, &st) == 0 && fstatat(dir, "d/e/new", &other, 0) == 0 && st.st_ino == other.st_ino);
        EXPECT((st.st_mode & 0777) == 0600);
        for (int i = 0; i < 3; i++) {
                static const char *const roots[] = {"", ".", "./"};

                fd_close(&fd);
                fd = io_open_beneath(dir, roots[i], O_RDONLY | O_DIRECTORY, 0777);
                EXPECT(fd >= 0 && fstat(fd, &st) == 0 && fstat(dir, &other) == 0 && st.st_ino == other.st_ino);
        }
        EXPECT(io_open_beneath(dir, "/etc", O_RDONLY, 0) == -EXDEV);
        EXPECT(io_open_beneath(dir, "..", O_RDONLY, 0) == -EXDEV);
        EXPECT(io_open_beneath(dir, "d/../d", O_RDONLY, 0) == -EXDEV);
        EXPECT(io_open_beneath(dir, "d/e/..", O_RDONLY, 0) == -EXDEV);
        EXPECT(io_open_beneath(dir, "missing", O_RDONLY, 0) == -ENOENT);
        EXPECT(io_open_beneath(dir, "missing/x", O_RDONLY, 0) == -ENOENT);
        EXPECT(io_open_beneath(dir, "d/e/new/", O_RDONLY, 0) == -ENOTDIR);
        EXPECT(io_open_beneath(dir, "d/x/", O_RDWR | O_CREAT, 0600) == -EISDIR);
        EXPECT(io_open_beneath(dir, "out", O_RDONLY, 0) == -ELOOP);
        EXPECT(io_open_beneath(dir, "link", O_PATH, 0) == -ELOOP);
        EXPECT(io_open_beneath(dir, "d/dangling", O_WRONLY | O_CREAT, 0600) == -ELOOP);
        EXPECT(io_open_beneath(dir, "link/e", O_RDONLY, 0) < 0);
        EXPECT(io_open_beneath(dir, "out/passwd", O_RDONLY, 0) < 0);
        EXPECT(io_open_beneath(dir, "out/", O_RDONLY, 0) < 0);
        fd_close(&fd);
        fd = io_open_beneath(dir, "out", O_PATH | O_NOFOLLOW, 0);
        EXPECT(fd >= 0 && fstat(fd, &st) == 0 && S_ISLNK(st.st_mode));
        return 0;
}

static void open_stays_beneath_root_and_follows_no_link(void **state)
{
        struct fixture *f = *state;

        assert_int_equal(expect_beneath(f->dir), 0);
}

static void open_stays_beneath_root_without_openat2(void **state)
{
        struct fixture *f = *state;
        struct refusal refusal = {SYS_openat2, ENOSYS};

        with_refusals(&refusal, 1, expect_beneath, f->dir);
}

static void open_works_in_sandbox_that_forbids_openat2(void **state)
{
        struct fixture *f = *state;
        struct refusal refusal = {SYS_openat2, EPERM};

        with_refusals(&refusal, 1, expect_beneath, f->dir);
}

static int expect_eagain(int dir)
{
        return io_open_beneath(dir, "x", O_RDONLY, 0) == -EAGAIN ? 0 : __LINE__;
}

static void open_gives_up_when_openat2_never_settles(void **state)
{
        struct fixture *f = *state;
        struct refusal refusal = {SYS_openat2, EAGAIN};

        with_refusals(&refusal, 1, expect_eagain, f->dir);
}

/* COUNT times "NNN…/" of 200 bytes, then "file". */
static char *deep_path(int count)
{
        char *path = calloc(1, (size_t)count * 201 + 5);

        assert_non_null(path);
        for (int i = 0; i < count; i++) {
                memset(path + i * 201, 'n', 200);
                path[i * 201 + 200] = '/';
        }
        strcat(path, "file");
        return path;
}

static int expect_deep(int dir)
{
        cleanup(pointer_free) char *path = deep_path(60); /* 12 kB */
        cleanup(fd_close) int parent = -1;
        cleanup(fd_close) int fd = -1;
        const char *name;
        int created = -1;

        EXPECT(io_make_parents(dir, path, 0755, &created) == 0 && created == 60);
        EXPECT(io_make_parents(dir, path, 0755, &created) == 0 && created == 0);
        fd = io_open_beneath(dir, path, O_WRONLY | O_CREAT, 0600);
        EXPECT(fd >= 0 && io_write_full(fd, "deep", 4, 0) == 0);
        parent = io_open_parent(dir, path, &name);
        EXPECT(parent >= 0 && strcmp(name, "file") == 0 && name > path && exists(parent, name));
        fd_close(&fd);
        fd = io_open_source(dir, path);
        EXPECT(fd >= 0);
        return 0;
}

static void paths_beyond_path_max_are_walked(void **state)
{
        struct fixture *f = *state;

        assert_int_equal(expect_deep(f->dir), 0);
}

static void paths_beyond_path_max_are_walked_without_openat2(void **state)
{
        struct fixture *f = *state;
        struct refusal refusal = {SYS_openat2, ENOSYS};

        with_refusals(&refusal, 1, expect_deep, f->dir);
}

static void every_path_length_around_path_max_opens(void **state)
{
        struct fixture *f = *state;
        cleanup(pointer_free) char *path = malloc(PATH_MAX + 16);
        cleanup(pointer_free) char *long_name = malloc(PATH_MAX + 16);

        assert_non_null(path);
        assert_non_null(long_name);
        make_file(f->dir, "x", "");
        for (int slashes = PATH_MAX - 8; slashes < PATH_MAX + 8; slashes++) {
                cleanup(fd_close) int fd = -1;

                path[0] = '.';
                memset(path + 1, '/', (size_t)slashes);
                (void)strcpy(path + 1 + slashes, "x");
                fd = io_open_beneath(f->dir, path, O_RDONLY, 0);
                assert_true(fd >= 0);
        }
        memset(long_name, 'a', PATH_MAX + 15);
        long_name[PATH_MAX + 15] = '\0';
        assert_int_equal(io_open_beneath(f->dir, long_name, O_RDONLY, 0), -ENAMETOOLONG);
        long_name[300] = '/';
        assert_int_equal(io_open_beneath(f->dir, long_name, O_RDONLY, 0), -ENAMETOOLONG);
}

/* An alarm would end a test that hangs on the FIFO. */
static int expect_source(int dir)
{
        cleanup(fd_close) int fd = -1;

        EXPECT(mkfifoat(dir, "fifo", 0600) == 0 && mkdirat(dir, "dir", 0700) == 0);
        EXPECT(symlinkat("file", dir, "link") == 0);
        make_file(dir, "file", "x");
        alarm(5);
        EXPECT(io_open_source(dir, "fifo") == -EINVAL);
        EXPECT(io_open_source(dir, "dir") == -EINVAL);
        EXPECT(io_open_source(dir, "link") == -ELOOP);
        EXPECT(io_open_source(dir, "none") == -ENOENT);
        fd = io_open_source(dir, "file");
        alarm(0);
        EXPECT(fd >= 0);
        EXPECT((fcntl(fd, F_GETFL) & (O_NONBLOCK | O_NOATIME | O_ACCMODE)) == (O_NOATIME | O_RDONLY));
        EXPECT(fcntl(fd, F_GETFD) & FD_CLOEXEC);
        return 0;
}

static void source_opens_regular_files_only_and_never_hangs(void **state)
{
        struct fixture *f = *state;

        assert_int_equal(expect_source(f->dir), 0);
}

static int expect_foreign_source(int dir)
{
        cleanup(fd_close) int fd = -1;

        EXPECT(setresgid(65534, 65534, 65534) == 0 && setresuid(65534, 65534, 65534) == 0);
        fd = io_open_source(dir, "file");
        EXPECT(fd >= 0 && !(fcntl(fd, F_GETFL) & O_NOATIME));
        return 0;
}

static void source_of_another_owner_opens_without_noatime(void **state)
{
        struct fixture *f = *state;

        if (geteuid() != 0)
                skip();
        make_file(f->dir, "file", "x");
        assert_int_equal(fchmod(f->dir, 0755), 0);
        with_refusals(NULL, 0, expect_foreign_source, f->dir);
}

static void parent_is_opened_and_bad_last_components_are_refused(void **state)
{
        struct fixture *f = *state;
        static const char *const bad[] = {"", ".", "a/", "a/.", "a//"};
        cleanup(fd_close) int fd = -1;
        const char *name = "untouched";

        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
                assert_int_equal(io_open_parent(f->dir, bad[i], &name), -EINVAL);
        assert_int_equal(io_open_parent(f->dir, "/x", &name), -EXDEV);
        assert_int_equal(io_open_parent(f->dir, "..", &name), -EXDEV);
        assert_int_equal(io_open_parent(f->dir, "none/x", &name), -ENOENT);
        assert_string_equal(name, "untouched");
        make_file(f->dir, "file", "");
        assert_int_equal(io_open_parent(f->dir, "file/x", &name), -ENOTDIR);
        fd = io_open_parent(f->dir, "file", &name);
        assert_true(fd >= 0);
        assert_string_equal(name, "file");
}

static void parents_are_made_with_mode_but_not_through_links_or_files(void **state)
{
        struct fixture *f = *state;
        int created = -1;
        struct stat st;

        assert_int_equal(mkdirat(f->dir, "real", 0755), 0);
        assert_int_equal(symlinkat("real", f->dir, "link"), 0);
        assert_int_equal(symlinkat("nowhere", f->dir, "dangling"), 0);
        make_file(f->dir, "file", "");
        assert_int_equal(io_make_parents(f->dir, "real/b//c/d", 0700, &created), 0);
        assert_int_equal(created, 2);
        assert_int_equal(fstatat(f->dir, "real/b/c", &st, 0), 0);
        assert_int_equal(st.st_mode & 0777, 0700);
        assert_false(exists(f->dir, "real/b/c/d"));
        assert_int_equal(io_make_parents(f->dir, "top", 0700, &created), 0);
        assert_int_equal(created, 0);
        created = -1;
        assert_true(io_make_parents(f->dir, "link/x/y", 0700, &created) < 0);
        assert_false(exists(f->dir, "real/x"));
        assert_true(io_make_parents(f->dir, "dangling/x/y", 0700, &created) < 0);
        assert_false(exists(f->dir, "nowhere"));
        assert_int_equal(io_make_parents(f->dir, "file/x/y", 0700, &created), -ENOTDIR);
        assert_int_equal(io_make_parents(f->dir, "a/../b/c", 0700, &created), -EXDEV);
        assert_false(exists(f->dir, "a"));
        assert_int_equal(created, -1);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
            CASE(read_is_short_only_at_end_of_file),
            CASE(direct_read_ends_at_unaligned_end_of_file),
            CASE(write_reports_errors_and_accepts_nothing),
            CASE(open_stays_beneath_root_and_follows_no_link),
            CASE(open_stays_beneath_root_without_openat2),
            CASE(open_works_in_sandbox_that_forbids_openat2),
            CASE(open_gives_up_when_openat2_never_settles),
            CASE(paths_beyond_path_max_are_walked),
            CASE(paths_beyond_path_max_are_walked_without_openat2),
            CASE(every_path_length_around_path_max_opens),
            CASE(source_opens_regular_files_only_and_never_hangs),
            CASE(source_of_another_owner_opens_without_noatime),
            CASE(parent_is_opened_and_bad_last_components_are_refused),
            CASE(parents_are_made_with_mode_but_not_through_links_or_files),
        };

        (void)umask(022);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
