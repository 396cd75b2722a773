/* The part of core/io.h about names, syncs, whole files and holes. */
#include "sandbox.h"

static int expect_rename(int dir)
{
        make_file(dir, "from", "new");
        make_file(dir, "taken", "old");
        EXPECT(symlinkat("nowhere", dir, "dangling") == 0);
        EXPECT(io_rename_noreplace(dir, "from", dir, "taken") == -EEXIST);
        EXPECT(io_rename_noreplace(dir, "from", dir, "dangling") == -EEXIST);
        assert_content(dir, "taken", "old");
        EXPECT(io_rename_noreplace(dir, "none", dir, "other") == -ENOENT);
        EXPECT(io_rename_noreplace(dir, "from", dir, "to") == 0);
        EXPECT(!exists(dir, "from"));
        assert_content(dir, "to", "new");
        EXPECT(mkdirat(dir, "d", 0755) == 0 && mkdirat(dir, "e", 0755) == 0);
        EXPECT(io_rename_noreplace(dir, "d", dir, "e") == -EEXIST);
        EXPECT(io_rename_noreplace(dir, "d", dir, "f") == 0);
        EXPECT(exists(dir, "f") && !exists(dir, "d"));
        return 0;
}

static void rename_never_replaces(void **state)
{
        struct fixture *f = *state;

        assert_int_equal(expect_rename(f->dir), 0);
}

static void rename_never_replaces_where_it_must_link(void **state)
{
        struct fixture *f = *state;
        struct refusal refusal = {SYS_renameat2, EINVAL};

        with_refusals(&refusal, 1, expect_rename, f->dir);
}

static void rename_does_not_replace_where_links_are_impossible(void **state)
{
        struct fixture *f = *state;
        struct refusal refusals[] = {{SYS_renameat2, ENOSYS}, {SYS_linkat, EPERM}};

        with_refusals(refusals, 2, expect_rename, f->dir);
}

static int expect_rename_undone(int dir)
{
        make_file(dir, "from", "new");
        EXPECT(io_rename_noreplace(dir, "from", dir, "to") == -EROFS);
        assert_content(dir, "from", "new");
        return 0;
}

static void rename_keeps_the_file_where_the_old_link_cannot_go(void **state)
{
        struct fixture *f = *state;
        struct refusal refusals[] = {{SYS_renameat2, EINVAL}, {SYS_unlinkat, EROFS}};

        with_refusals(refusals, 2, expect_rename_undone, f->dir);
}

static int expect_rename_error(int dir)
{
        make_file(dir, "from", "new");
        EXPECT(io_rename_noreplace(dir, "from", dir, "to") == -EIO);
        EXPECT(exists(dir, "from") && !exists(dir, "to"));
        return 0;
}

static void rename_passes_medium_errors_on(void **state)
{
        struct fixture *f = *state;
        struct refusal first = {SYS_renameat2, EIO};
        struct refusal second[] = {{SYS_renameat2, EINVAL}, {SYS_linkat, EIO}};

        with_refusals(&first, 1, expect_rename_error, f->dir);
        with_refusals(second, 2, expect_rename_error, f->dir);
}

static void syncs_succeed_and_report_bad_descriptors(void **state)
{
        struct fixture *f = *state;
        cleanup(fd_close) int path_only = openat(f->dir, ".", O_PATH | O_CLOEXEC);

        assert_int_equal(io_sync(f->dir), 0);
        assert_int_equal(io_sync_data(f->dir), 0);
        assert_int_equal(io_sync_directory(f->dir), 0);
        assert_int_equal(io_sync_filesystem(f->dir), 0);
        assert_int_equal(io_sync_directory(path_only), -EBADF);
}

static int expect_directory_sync_refused(int dir)
{
        EXPECT(io_sync_directory(dir) == 0);
        EXPECT(io_sync(dir) == -EINVAL);
        return 0;
}

static void directory_sync_succeeds_where_filesystem_has_none(void **state)
{
        struct fixture *f = *state;
        struct refusal refusal = {SYS_fsync, EINVAL};

        with_refusals(&refusal, 1, expect_directory_sync_refused, f->dir);
}

static void durable_write_replaces_and_leaves_no_temporary_file(void **state)
{
        struct fixture *f = *state;
        cleanup(fd_close) int path_only = openat(f->dir, ".", O_PATH | O_CLOEXEC);
        char name[NAME_MAX + 1];
        struct stat st;

        assert_int_equal(io_write_file_durable(f->dir, "a", "one", 3, 0600), 0);
        assert_content(f->dir, "a", "one");
        assert_int_equal(io_write_file_durable(path_only, "a", "second", 6, 0600), 0);
        assert_content(f->dir, "a", "second");
        assert_int_equal(fstatat(f->dir, "a", &st, 0), 0);
        assert_int_equal(st.st_mode & 0777, 0600);
        assert_int_equal(io_write_file_durable(f->dir, "empty", NULL, 0, 0600), 0);
        assert_content(f->dir, "empty", "");
        assert_int_equal(io_write_file_durable(f->dir, "a/b", "x", 1, 0600), -EINVAL);
        assert_int_equal(io_write_file_durable(f->dir, "..", "x", 1, 0600), -EINVAL);
        memset(name, 'n', NAME_MAX);
        name[NAME_MAX] = '\0';
        assert_int_equal(io_write_file_durable(f->dir, name, "x", 1, 0600), -ENAMETOOLONG);
        assert_int_equal(count_entries(f->dir), 2);
}

static int expect_old_content(int dir)
{
        EXPECT(io_write_file_durable(dir, "a", "new", 3, 0600) == -EIO);
        assert_content(dir, "a", "old");
        EXPECT(count_entries(dir) == 1);
        return 0;
}

static void durable_write_keeps_old_content_when_sync_fails(void **state)
{
        struct fixture *f = *state;
        struct refusal refusal = {SYS_fsync, EIO};

        make_file(f->dir, "a", "old");
        with_refusals(&refusal, 1, expect_old_content, f->dir);
}

static void read_file_respects_its_limit_and_refuses_what_is_no_file(void **state)
{
        struct fixture *f = *state;
        cleanup(pointer_free) char *data = NULL;
        size_t size = 77;

        make_file(f->dir, "a", "12345");
        assert_int_equal(symlinkat("a", f->dir, "link"), 0);
        assert_int_equal(mkfifoat(f->dir, "fifo", 0600), 0);
        assert_int_equal(io_read_file(f->dir, "a", 4, &data, &size), -EFBIG);
        assert_int_equal(io_read_file(f->dir, "link", 10, &data, &size), -ELOOP);
        assert_int_equal(io_read_file(f->dir, "fifo", 10, &data, &size), -EINVAL);
        assert_int_equal(io_read_file(f->dir, ".", 10, &data, &size), -EINVAL);
        assert_int_equal(io_read_file(f->dir, "none", 10, &data, &size), -ENOENT);
        assert_null(data);
        assert_int_equal(size, 77);
        assert_int_equal(io_read_file(f->dir, "a", 5, &data, &size), 0);
        assert_int_equal(size, 5);
        assert_string_equal(data, "12345");
}

static void read_file_reads_to_the_end_where_the_size_says_zero(void **state)
{
        cleanup(fd_close) int proc = open("/proc/self", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        cleanup(pointer_free) char *data = NULL;
        size_t size;

        assert_int_equal(io_read_file(proc, "maps", 10, &data, &size), -EFBIG);
        assert_int_equal(io_read_file(proc, "maps", SIZE_MAX, &data, &size), 0);
        assert_true(size > 500);
        assert_int_equal(strlen(data), size);
}

static void next_data_finds_extents_between_holes(void **state)
{
        struct fixture *f = *state;
        const uint64_t mib = 1 << 20;
        cleanup(fd_close) int fd = openat(f->dir, "a", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        uint64_t start = 7, end = 7;

        assert_int_equal(ftruncate(fd, 8 << 20), 0);
        assert_int_equal(io_next_data(fd, 0, 8 * mib, &start, &end), IO_NO_DATA);
        assert_int_equal(start, 7);
        assert_int_equal(io_write_full(fd, "x", 1, 4 * mib), 0);
        assert_int_equal(io_next_data(fd, 0, 8 * mib, &start, &end), 0);
        assert_in_range(start, 1, 4 * mib);
        assert_in_range(end, 4 * mib + 1, 8 * mib - 1);
        assert_int_equal(io_next_data(fd, 4 * mib, 4 * mib + 1, &start, &end), 0);
        assert_int_equal(start, 4 * mib);
        assert_int_equal(end, 4 * mib + 1);
        assert_int_equal(io_next_data(fd, 0, mib, &start, &end), IO_NO_DATA);
        assert_int_equal(io_next_data(fd, 6 * mib, 8 * mib, &start, &end), IO_NO_DATA);
        assert_int_equal(io_next_data(fd, 9 * mib, 10 * mib, &start, &end), IO_NO_DATA);
        assert_int_equal(io_next_data(fd, 5, 5, &start, &end), IO_NO_DATA);
        assert_int_equal(io_next_data(fd, UINT64_MAX - 1, UINT64_MAX, &start, &end), -EINVAL);
        assert_int_equal(io_next_data(-1, 0, 1, &start, &end), -EBADF);
}

static int expect_all_data(int dir)
{
        cleanup(fd_close) int fd = openat(dir, "a", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        uint64_t start, end;

        EXPECT(io_next_data(fd, 10, 20, &start, &end) == 0);
        EXPECT(start == 10 && end == 20);
        return 0;
}

static void next_data_takes_all_for_data_where_unsupported(void **state)
{
        struct fixture *f = *state;
        struct refusal refusal = {SYS_lseek, EINVAL};

        with_refusals(&refusal, 1, expect_all_data, f->dir);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
            CASE(rename_never_replaces),
            CASE(rename_never_replaces_where_it_must_link),
            CASE(rename_does_not_replace_where_links_are_impossible),
            CASE(rename_keeps_the_file_where_the_old_link_cannot_go),
            CASE(rename_passes_medium_errors_on),
            CASE(syncs_succeed_and_report_bad_descriptors),
            CASE(directory_sync_succeeds_where_filesystem_has_none),
            CASE(durable_write_replaces_and_leaves_no_temporary_file),
            CASE(durable_write_keeps_old_content_when_sync_fails),
            CASE(read_file_respects_its_limit_and_refuses_what_is_no_file),
            CASE(read_file_reads_to_the_end_where_the_size_says_zero),
            CASE(next_data_finds_extents_between_holes),
            CASE(next_data_takes_all_for_data_where_unsupported),
        };

        (void)umask(022);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
