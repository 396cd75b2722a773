/* The log: what cvv does and what goes wrong, for a person, a line for each message.
 *
 * Any thread writes a message into a bounded ring of fixed slots, without a lock and without ever waiting: a message that
 * finds the ring full is dropped and counted. One writer thread takes the messages out in batches, hands each batch to
 * every sink and, where messages were dropped, says how many as its next message. Sinks: standard error, a log file,
 * syslog (which is the journal where systemd runs), and a bounded history in memory for the virtual file `.cvv/log`. The
 * history comes first, so that `.cvv/log` still tells what happens when all other sinks are stuck.
 *
 * A line is `2025-11-22T07:17:00.123Z warning: text`, without control characters or bytes that are not UTF-8 (they are
 * written as \xNN): names from disks may be passed as they are. Sinks get whole lines only. A message of more than
 * LOG_MESSAGE_BYTES is cut and ends in "[cut]". syslog gets the text alone, at the level's priority.
 *
 * A sink that fails or is clogged is told of once in the others; it keeps 256 KiB and is tried again with each batch. A log
 * file or syslog daemon that hangs makes the writer (and log_stop, log_flush) wait, never the threads that log.
 *
 * It does not rotate or reopen files, and it knows nothing of fork: create it in the process that logs.
 */
#ifndef CVV_CORE_LOG_H
#define CVV_CORE_LOG_H

#include "core/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARNING, LOG_LEVEL_ERROR };

enum {
        LOG_MESSAGE_BYTES = 991,        /* longest text before escaping; a whole struct error fits */
        LOG_RING_MESSAGES = 1024,       /* how many can wait for the writer */
        LOG_HISTORY_BYTES = 256 * 1024, /* most that log_history() gives; the newest half is always kept */
};

struct log;

struct log_options {
        bool to_stderr;           /* a duplicate of descriptor 2 is used; where that is closed, nothing */
        bool to_syslog;           /* ident "cvv", facility daemon; process-wide, so one log at a time may ask for it */
        const char *file;         /* appended to, created with mode 0600; NULL: no file. Only used during log_new() */
        enum log_level threshold; /* messages below it are ignored */
};

/* Opens the sinks and starts the writer. The caller owns the result (one reference). 0, or a negative errno with `error`
 * (may be NULL) filled: the log file cannot be opened, no memory, no thread. Opening the file can block. */
int log_new(const struct log_options *options, struct error *error, struct log **ret_log)
    __attribute__((nonnull(1, 3), warn_unused_result));

struct log *log_ref(struct log *log) __attribute__((nonnull));
/* Gives one reference back; the last one stops the log and frees it. Returns NULL. NULL is allowed. May block (log_stop).
 */
struct log *log_unref(struct log *log);

/* Writes out every message that was accepted before, ends the writer and joins it. Messages that come later are dropped and
 * counted. Blocks until the sinks have taken everything, but at most a second for a clogged standard error. Idempotent; not
 * from two threads at once. NULL is allowed. log_history() and the counters stay usable. */
void log_stop(struct log *log);

/* Logs one message (printf-like, without a newline). `log` may be NULL: then nothing happens. Never blocks, never fails,
 * keeps errno. From any thread that holds any lock; not from a signal handler. */
void log_write(struct log *log, enum log_level level, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Blocks until every message accepted before the call was offered to every sink. NULL is allowed. */
void log_flush(struct log *log);

/* Messages dropped so far because the ring was full or the log had stopped. NULL gives 0. */
uint64_t log_dropped(const struct log *log);
/* Failed writes of sinks so far (each try counts once). NULL gives 0. */
uint64_t log_write_errors(const struct log *log);

/* Gives a copy of the newest lines, oldest first, whole lines only, terminated with a NUL that `ret_size` does not count.
 * The caller frees it. 0 or -ENOMEM. Takes the log's lock for the time of the copy. */
int log_history(struct log *log, char **ret_text, size_t *ret_size) __attribute__((nonnull, warn_unused_result));

/* The log that log_info() and its siblings use. It is borrowed: set NULL, and see that no other thread logs any longer,
 * before the last reference goes. NULL (the initial state): they do nothing. */
void log_set_default(struct log *log);
struct log *log_default(void);

#define log_debug(...) log_write(log_default(), LOG_LEVEL_DEBUG, __VA_ARGS__)
#define log_info(...) log_write(log_default(), LOG_LEVEL_INFO, __VA_ARGS__)
#define log_warning(...) log_write(log_default(), LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_error(...) log_write(log_default(), LOG_LEVEL_ERROR, __VA_ARGS__)

static inline void log_unref_pointer(struct log **log)
{
        (void)log_unref(*log); /* always NULL */
}

#endif
