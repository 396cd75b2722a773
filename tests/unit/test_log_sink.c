#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/log_sink.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { LINE_BYTES = 100 };

/* Line number `n`: 100 bytes with the newline. */
static void make_line(char ret_line[LINE_BYTES + 1], unsigned n)
{
        (void)snprintf(ret_line, LINE_BYTES + 1, "line %05u %088u\n", n, n);
}

static void add_line(struct log_sink *sink, unsigned n)
{
        char line[LINE_BYTES + 1];

        make_line(line, n);
        log_sink_add(sink, line, LINE_BYTES);
}

static void sink_on_pipe(struct log_sink *sink, int flags, int *ret_reader)
{
        int ends[2];

        assert_int_equal(pipe2(ends, O_CLOEXEC | flags), 0);
        assert_int_equal(log_sink_init(sink, ends[1]), 0);
        assert_int_equal(fcntl(ends[0], F_SETFL, O_NONBLOCK | flags), 0);
        *ret_reader = ends[0];
}

/* Everything that is there now is appended to `text`. */
static void drain(int reader, char *text, size_t size, size_t *used)
{
        ssize_t got;

        while ((got = read(reader, text + *used, size - *used)) > 0)
                *used += (size_t)got;
}

static void expect_lines(const char *text, unsigned begin, unsigned end)
{
        char line[LINE_BYTES + 1];

        for (unsigned i = begin; i < end; i++) {
                make_line(line, i);
                assert_memory_equal(text + (size_t)(i - begin) * LINE_BYTES, line, LINE_BYTES);
        }
}

static void lines_of_one_flush_arrive_as_one_write(void **state)
{
        struct log_sink sink;
        char text[4096];
        int reader;

        sink_on_pipe(&sink, O_DIRECT, &reader); /* keeps the borders of writes */
        for (unsigned i = 0; i < 5; i++)
                add_line(&sink, i);
        assert_int_equal(log_sink_flush(&sink, 0), 0);
        assert_int_equal(read(reader, text, sizeof(text)), 5 * LINE_BYTES);
        expect_lines(text, 0, 5);
        log_sink_deinit(&sink);
        close(reader);
}

static void pieces_for_a_pipe_end_with_a_whole_line(void **state)
{
        struct log_sink sink;
        char text[8192];
        int reader;

        sink_on_pipe(&sink, O_DIRECT, &reader);
        for (unsigned i = 0; i < 60; i++)
                add_line(&sink, i);
        assert_int_equal(log_sink_flush(&sink, 0), 0);
        assert_int_equal(read(reader, text, sizeof(text)), 40 * LINE_BYTES);
        expect_lines(text, 0, 40);
        assert_int_equal(read(reader, text, sizeof(text)), 20 * LINE_BYTES);
        expect_lines(text, 40, 60);
        log_sink_deinit(&sink);
        close(reader);
}

static void clogged_pipe_does_not_block_and_gets_every_line_later(void **state)
{
        struct log_sink sink;
        size_t size = 1024 * 1024, used = 0;
        char *text = malloc(size);
        int reader, result;

        sink_on_pipe(&sink, 0, &reader);
        for (unsigned i = 0; i < 2000; i++)
                add_line(&sink, i);
        assert_int_equal(log_sink_flush(&sink, 0), -EAGAIN); /* a pipe takes 64 KiB, this is more */
        assert_int_equal(sink.error, -EAGAIN);
        for (int i = 0; i < 1000 && used < 2000 * LINE_BYTES; i++) {
                drain(reader, text, size, &used);
                result = log_sink_flush(&sink, 0);
                assert_true(result == 0 || result == -EAGAIN);
        }
        assert_int_equal(used, 2000 * LINE_BYTES);
        assert_int_equal(sink.error, 0);
        expect_lines(text, 0, 2000);
        log_sink_deinit(&sink);
        close(reader);
        free(text);
}

static void lines_given_up_are_counted_in_their_place(void **state)
{
        struct log_sink sink;
        unsigned fit = LOG_SINK_BYTES / LINE_BYTES;
        size_t size = 1024 * 1024, used = 0;
        char *text = malloc(size + 1), *rest;
        int reader;

        sink_on_pipe(&sink, 0, &reader);
        for (unsigned i = 0; i < fit + 7; i++)
                add_line(&sink, i);
        assert_int_equal(sink.lost_lines, 7);
        while (log_sink_flush(&sink, 0) == -EAGAIN)
                drain(reader, text, size, &used);
        add_line(&sink, 1);
        assert_int_equal(log_sink_flush(&sink, 0), 0);
        drain(reader, text, size, &used);
        text[used] = '\0';
        expect_lines(text, 0, fit);
        rest = text + (size_t)fit * LINE_BYTES;
        assert_non_null(strstr(rest, " warning: 7 lines of the log are missing here"));
        expect_lines(text + used - LINE_BYTES, 1, 2);
        assert_ptr_equal(strchr(rest, '\n') + 1, text + used - LINE_BYTES);
        log_sink_deinit(&sink);
        close(reader);
        free(text);
}

static void pipe_without_reader_is_an_error_and_no_signal_is_needed(void **state)
{
        struct log_sink sink;
        int reader;

        (void)signal(SIGPIPE, SIG_IGN); /* the log's writer has it blocked */
        sink_on_pipe(&sink, 0, &reader);
        close(reader);
        add_line(&sink, 0);
        assert_int_equal(log_sink_flush(&sink, 1000), -EPIPE);
        assert_int_equal(sink.used_bytes, LINE_BYTES);
        log_sink_deinit(&sink);
}

/* A file that takes a part of a line and then fails. */
static void line_that_was_written_in_part_is_completed_later(void **state)
{
        char path[] = "/tmp/cvv-test-sink-XXXXXX";
        char text[1024];
        struct log_sink sink;
        struct rlimit before, small;
        int fd = mkostemp(path, O_APPEND | O_CLOEXEC);

        assert_true(fd >= 0);
        (void)signal(SIGXFSZ, SIG_IGN); /* the log's writer has it blocked */
        assert_int_equal(log_sink_init(&sink, dup(fd)), 0);
        assert_false(sink.paced);
        assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
        small = (struct rlimit){.rlim_cur = 250, .rlim_max = before.rlim_max};
        for (unsigned i = 0; i < 4; i++)
                add_line(&sink, i);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
        assert_int_equal(log_sink_flush(&sink, 0), -EFBIG);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
        assert_int_equal(sink.used_bytes, 150);
        add_line(&sink, 4);
        assert_int_equal(log_sink_flush(&sink, 0), 0);
        assert_int_equal(pread(fd, text, sizeof(text), 0), 5 * LINE_BYTES);
        expect_lines(text, 0, 5);
        log_sink_deinit(&sink);
        close(fd);
        unlink(path);
}

static void init_of_a_bad_descriptor_fails(void **state)
{
        struct log_sink sink;

        assert_int_equal(log_sink_init(&sink, 1000000), -EBADF);
}

static void sink_without_descriptor_does_nothing(void **state)
{
        struct log_sink sink = {.fd = -1};

        add_line(&sink, 0);
        assert_int_equal(log_sink_flush(&sink, 0), 0);
        log_sink_deinit(&sink);
        log_sink_deinit(&sink);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
            cmocka_unit_test(lines_of_one_flush_arrive_as_one_write),
            cmocka_unit_test(pieces_for_a_pipe_end_with_a_whole_line),
            cmocka_unit_test(clogged_pipe_does_not_block_and_gets_every_line_later),
            cmocka_unit_test(lines_given_up_are_counted_in_their_place),
            cmocka_unit_test(pipe_without_reader_is_an_error_and_no_signal_is_needed),
            cmocka_unit_test(line_that_was_written_in_part_is_completed_later),
            cmocka_unit_test(init_of_a_bad_descriptor_fails),
            cmocka_unit_test(sink_without_descriptor_does_nothing),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
