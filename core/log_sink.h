/* One place that the log's lines go to through a file descriptor: a log file, standard error.
 *
 * Lines are added to a bounded buffer and written from there, as many as possible with one write(). What could not be
 * written stays in the buffer and is tried again with the next flush, from the exact byte on, so that no line is torn and
 * none is written twice. When the buffer is full further lines are given up and counted; once it takes lines again, one
 * line says how many there were.
 *
 * A descriptor that is not a regular file (terminal, pipe, socket) can be clogged by its reader. It is therefore written in
 * pieces of whole lines of at most PIPE_BUF bytes, each after a poll with a deadline. A regular file is written at once and
 * can block as long as its filesystem does.
 *
 * Not thread-safe: the log's writer alone uses it (with SIGPIPE blocked). Does not open files and does not format messages.
 */
#ifndef CVV_CORE_LOG_SINK_H
#define CVV_CORE_LOG_SINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { LOG_SINK_BYTES = 256 * 1024 }; /* of lines that wait to be written */

struct log_sink {
        int fd;        /* owned; below 0: there is no such sink, and everything here does nothing */
        bool paced;    /* not a regular file: see above */
        char *pending; /* LOG_SINK_BYTES, the first `used_bytes` of them wait to be written */
        size_t used_bytes;
        uint64_t lost_lines; /* given up since the last line that says so */
        int error;           /* negative errno of the last flush; 0: it wrote everything */
};

/* Takes over `fd` (closed also on failure). 0, -ENOMEM, or -errno of fstat. */
int log_sink_init(struct log_sink *sink, int fd) __attribute__((nonnull, warn_unused_result));

/* Closes and frees; what was not written is gone. Idempotent; accepts a sink whose `fd` is below 0 and `pending` NULL. */
void log_sink_deinit(struct log_sink *sink) __attribute__((nonnull));

/* Adds `size` bytes: whole lines, each of at most PIPE_BUF bytes. All of them, or none where they do not fit. */
void log_sink_add(struct log_sink *sink, const char *lines, size_t size) __attribute__((nonnull));

/* Writes what waits. Waits at most `timeout_ms` for each piece of a clogged descriptor. 0 when nothing waits any longer,
 * otherwise -errno (-EAGAIN: clogged); the rest is kept for the next flush. */
int log_sink_flush(struct log_sink *sink, int timeout_ms) __attribute__((nonnull, warn_unused_result));

#endif
