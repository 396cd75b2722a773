#include "core/root.h"

#include "engine_fixture.h"

#include <sys/xattr.h>

static void open_refuses_what_is_no_directory_and_says_so(void **state)
{
        struct engine *engine = *state;
        struct error error = { 0 };
        char path[256];
        struct root root;

        make_file(engine->sandbox->dir, "plain", "");
        (void)snprintf(path, sizeof(path), "%s/plain", engine->sandbox->path);
        assert_int_equal(root_open(&root, path, &error), -ENOTDIR);
        assert_non_null(strstr(error.message, "plain"));
        assert_int_equal(root.fd, -1);
        (void)snprintf(path, sizeof(path), "%s/absent", engine->sandbox->path);
        assert_int_equal(root_open(&root, path, &error), -ENOENT);
}

static void stat_shows_the_root_and_never_follows_a_link(void **state)
{
        struct engine *engine = *state;
        struct statx stat;

        make_file(engine->source_dir, "file", "12345");
        assert_int_equal(symlinkat("file", engine->source_dir, "link"), 0);
        assert_int_equal(symlinkat(".", engine->source_dir, "here"), 0);
        assert_int_equal(root_call_stat(&engine->source, "", &stat), 0);
        assert_int_equal(stat.stx_ino, engine->source.device.root_ino);
        assert_int_equal(root_call_stat(&engine->source, "file", &stat), 0);
        assert_int_equal(stat.stx_size, 5);
        assert_int_equal(root_call_stat(&engine->source, "link", &stat), 0);
        assert_true(S_ISLNK(stat.stx_mode));
        assert_true(root_call_stat(&engine->source, "here/file", &stat) < 0);
        assert_int_equal(root_call_stat(&engine->source, "absent", &stat), -ENOENT);
        assert_int_equal(root_call_stat(&engine->source, "file/below", &stat), -ENOTDIR);
        assert_true(root_call_stat(&engine->source, "../target0", &stat) < 0);
}

static void paths_longer_than_the_kernel_takes_are_resolved(void **state)
{
        struct engine *engine = *state;
        char component[201], path[30 * 201] = "";
        int fd = dup(engine->source_dir);
        struct statx stat;

        memset(component, 'd', 200);
        component[200] = '\0';
        for (int i = 0; i < 25; i++) { /* 5000 bytes */
                int below;

                assert_int_equal(mkdirat(fd, component, 0755), 0);
                below = openat(fd, component, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                assert_true(below >= 0);
                (void)close(fd);
                fd = below;
                (void)strcat(path, component);
                (void)strcat(path, "/");
        }
        make_file(fd, "deep", "x");
        (void)close(fd);
        (void)strcat(path, "deep");
        assert_int_equal(root_call_stat(&engine->source, path, &stat), 0);
        assert_int_equal(stat.stx_size, 1);
        fd = root_call_open(&engine->source, path);
        assert_true(fd >= 0);
        (void)close(fd);
}

static void open_takes_regular_files_only_and_read_only(void **state)
{
        struct engine *engine = *state;
        char byte;
        int fd;

        make_file(engine->source_dir, "file", "data");
        assert_int_equal(mkfifoat(engine->source_dir, "fifo", 0644), 0);
        assert_int_equal(mkdirat(engine->source_dir, "dir", 0755), 0);
        assert_int_equal(symlinkat("file", engine->source_dir, "link"), 0);
        fd = root_call_open(&engine->source, "file");
        assert_true(fd >= 0);
        assert_int_equal(read(fd, &byte, 1), 1);
        assert_int_equal(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
        assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
        (void)close(fd);
        assert_true(root_call_open(&engine->source, "fifo") < 0); /* and does not wait for its other end */
        assert_true(root_call_open(&engine->source, "dir") < 0);
        assert_true(root_call_open(&engine->source, "link") < 0);
        assert_int_equal(root_call_open(&engine->source, "absent"), -ENOENT);
}

static void readlink_gives_the_whole_text(void **state)
{
        struct engine *engine = *state;
        char text[4000], *got = NULL;

        memset(text, 'x', sizeof(text) - 1);
        text[sizeof(text) - 1] = '\0';
        assert_int_equal(symlinkat(text, engine->source_dir, "long"), 0);
        make_file(engine->source_dir, "file", "");
        assert_int_equal(root_call_readlink(&engine->source, "long", &got), 0);
        assert_string_equal(got, text);
        free(got);
        got = NULL;
        assert_true(root_call_readlink(&engine->source, "file", &got) < 0);
        assert_int_equal(root_call_readlink(&engine->source, "absent", &got), -ENOENT);
        assert_null(got);
}

static void attributes_are_told_by_size_and_value(void **state)
{
        struct engine *engine = *state;
        char path[256], buffer[256];
        int64_t size;

        make_file(engine->source_dir, "file", "");
        assert_int_equal(symlinkat("file", engine->source_dir, "link"), 0);
        (void)snprintf(path, sizeof(path), "%s/source/file", engine->sandbox->path);
        if (setxattr(path, "user.test", "value", 5, 0) < 0) {
                assert_int_equal(errno, EOPNOTSUPP);
                skip();
        }
        assert_int_equal(root_call_getxattr(&engine->source, "file", "user.test", NULL, 0), 5);
        assert_int_equal(root_call_getxattr(&engine->source, "file", "user.test", buffer, sizeof(buffer)), 5);
        assert_memory_equal(buffer, "value", 5);
        assert_int_equal(root_call_getxattr(&engine->source, "file", "user.test", buffer, 3), -ERANGE);
        assert_int_equal(root_call_getxattr(&engine->source, "file", "user.other", NULL, 0), -ENODATA);
        size = root_call_listxattr(&engine->source, "file", NULL, 0);
        assert_true(size >= 10);
        assert_int_equal(root_call_listxattr(&engine->source, "file", buffer, sizeof(buffer)), size);
        assert_non_null(memmem(buffer, (size_t)size, "user.test", 10));
        /* a link is not its target */
        assert_int_equal(root_call_getxattr(&engine->source, "link", "user.test", NULL, 0), -ENODATA);
        assert_int_equal(root_call_listxattr(&engine->source, "link", buffer, sizeof(buffer)), 0);
}

static void capture_takes_what_lies_there(void **state)
{
        struct engine *engine = *state;
        struct metadata metadata;

        engine_put_file(engine->source_dir, "file", 3, 'a', 5);
        assert_int_equal(root_call_capture(&engine->source, "file", &metadata), 0);
        metadata_deinit(&metadata);
        assert_int_equal(root_call_capture(&engine->source, "absent", &metadata), -ENOENT);
}

static void stop_and_close_are_idempotent(void **state)
{
        struct engine *engine = *state;
        char path[256];
        struct root root;

        (void)snprintf(path, sizeof(path), "%s/source", engine->sandbox->path);
        assert_int_equal(root_open(&root, path, NULL), 0);
        assert_true(root_stop(&root, clock_now_ns())); /* never started */
        assert_int_equal(root_start(&root, "test", 1), 0);
        assert_non_null(root.io);
        assert_true(root_stop(&root, clock_now_ns() + ENGINE_WAIT_NS));
        assert_null(root.io);
        root_close(&root);
        root_close(&root);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                ENGINE_CASE(open_refuses_what_is_no_directory_and_says_so),
                ENGINE_CASE(stat_shows_the_root_and_never_follows_a_link),
                ENGINE_CASE(paths_longer_than_the_kernel_takes_are_resolved),
                ENGINE_CASE(open_takes_regular_files_only_and_read_only),
                ENGINE_CASE(readlink_gives_the_whole_text),
                ENGINE_CASE(attributes_are_told_by_size_and_value),
                ENGINE_CASE(capture_takes_what_lies_there),
                ENGINE_CASE(stop_and_close_are_idempotent),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
