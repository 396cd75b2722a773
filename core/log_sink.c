#include "core/log_sink.h"

#include "core/cleanup.h"
#include "core/timestamp.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int log_sink_init(struct log_sink *sink, int fd)
{
        cleanup(fd_close) int owned = fd;
        struct stat status;
        char *pending;

        if (fstat(owned, &status) < 0)
                return -errno;
        pending = malloc(LOG_SINK_BYTES);
        if (!pending)
                return -ENOMEM;
        *sink = (struct log_sink){
            .fd = fd_steal(&owned),
            .paced = !S_ISREG(status.st_mode),
            .pending = pending,
        };
        return 0;
}

void log_sink_deinit(struct log_sink *sink)
{
        fd_close(&sink->fd);
        free(sink->pending);
        *sink = (struct log_sink){.fd = -1};
}

static uint64_t count_lines(const char *lines, size_t size)
{
        uint64_t count = 0;

        for (size_t i = 0; i < size; i++)
                count += lines[i] == '\n';
        return count;
}

static bool append(struct log_sink *sink, const char *lines, size_t size)
{
        if (size > LOG_SINK_BYTES - sink->used_bytes)
                return false;
        memcpy(sink->pending + sink->used_bytes, lines, size);
        sink->used_bytes += size;
        return true;
}

/* The line that stands for the lost ones, at their place. False where even this one does not fit. */
static bool append_lost(struct log_sink *sink)
{
        char now[TIMESTAMP_BYTES], line[160];
        int length;

        timestamp_now(now);
        length = snprintf(line, sizeof(line),
                          "%s warning: %" PRIu64 " lines of the log are missing here: they could not be written\n", now,
                          sink->lost_lines);
        if (length < 0 || !append(sink, line, (size_t)length))
                return false;
        sink->lost_lines = 0;
        return true;
}

void log_sink_add(struct log_sink *sink, const char *lines, size_t size)
{
        if (sink->fd < 0)
                return;
        if ((sink->lost_lines > 0 && !append_lost(sink)) || !append(sink, lines, size))
                sink->lost_lines += count_lines(lines, size);
}

/* Length of the whole lines at the beginning of `text` that one write() to a pipe takes whole. A line that is longer (none
 * should be) is cut. */
static size_t piece_length(const char *text, size_t size)
{
        const char *end;

        if (size <= PIPE_BUF)
                return size;
        end = memrchr(text, '\n', PIPE_BUF);
        return end ? (size_t)(end - text) + 1 : PIPE_BUF;
}

/* 0: `fd` takes a piece. A descriptor that is broken counts as writable: write() then says what is wrong. */
static int wait_writable(int fd, int timeout_ms)
{
        struct pollfd poll_fd = {.fd = fd, .events = POLLOUT};
        int result = poll(&poll_fd, 1, timeout_ms);

        if (result < 0)
                return errno == EINTR ? 0 : -errno;
        return result == 0 ? -EAGAIN : 0;
}

static int write_piece(struct log_sink *sink, int timeout_ms, size_t *done)
{
        const char *text = sink->pending + *done;
        size_t length = sink->used_bytes - *done;
        ssize_t written;

        if (sink->paced) {
                int result = wait_writable(sink->fd, timeout_ms);

                if (result < 0)
                        return result;
                length = piece_length(text, length);
        }
        written = write(sink->fd, text, length);
        if (written < 0)
                return errno == EINTR ? 0 : -errno;
        if (written == 0)
                return -EIO; /* no device should answer so; without this the caller would spin */
        *done += (size_t)written;
        return 0;
}

int log_sink_flush(struct log_sink *sink, int timeout_ms)
{
        size_t done = 0;
        int result = 0;

        if (sink->fd < 0)
                return 0;
        while (done < sink->used_bytes && result == 0)
                result = write_piece(sink, timeout_ms, &done);
        memmove(sink->pending, sink->pending + done, sink->used_bytes - done);
        sink->used_bytes -= done;
        sink->error = result;
        return result;
}
