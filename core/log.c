#include "core/log.h"

#include "core/cleanup.h"
#include "core/log_sink.h"
#include "core/sync.h"
#include "core/timestamp.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <semaphore.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <time.h>

enum {
        BATCH_BYTES = 64 * 1024,
        BATCH_LINES = 256,
        CLOGGED_WAIT_MS = 100, /* for a sink that worked so far; one that did not is only asked */
        LAST_CLOGGED_WAIT_MS = 1000,
};

static const char cut_mark[] = "[cut]";

/* Set in `tail` when the log stops: no claim can succeed after that, so what is to be written out has an end. */
#define TAIL_CLOSED (UINT64_C(1) << 63)

/* A bounded queue after D. Vyukov: the slot of position p is free while `sequence` is p, filled when it is p + 1, and
 * becomes free for position p + LOG_RING_MESSAGES. All atomics are sequentially consistent: the handshake with the sleeping
 * writer (publish, then look whether it sleeps; set asleep, then look for messages) needs it, the rest does not mind. */
struct slot {
        _Atomic uint64_t sequence;
        struct timespec time;
        enum log_level level;
        char text[LOG_MESSAGE_BYTES + 1];
};

/* What the writer hands to the sinks at once. */
struct batch {
        char text[BATCH_BYTES]; /* whole lines */
        size_t used_bytes;
        struct {
                enum log_level level;
                size_t offset, length; /* of the message in `text`, without time, level and newline */
        } lines[BATCH_LINES];
        size_t line_count;
};

struct outlet {
        struct log_sink sink;
        const char *name;
        int failure; /* negative errno that the other sinks are still to be told of */
};

struct log {
        atomic_uint references;
        enum log_level threshold;
        bool to_syslog;
        bool running; /* the writer has to be joined; belongs to whoever calls log_stop */
        pthread_t writer;

        struct slot ring[LOG_RING_MESSAGES];
        _Atomic uint64_t tail;    /* next position to claim, and TAIL_CLOSED */
        _Atomic uint64_t dropped; /* ring full */
        _Atomic uint64_t refused; /* log stopped */
        _Atomic uint64_t write_errors;
        atomic_bool writer_sleeps; /* whoever turns it to false owes one sem_post of `wake` */
        sem_t wake;

        /* The writer's own. */
        uint64_t head; /* next position to take */
        uint64_t dropped_told;
        struct batch batch;
        struct outlet file, terminal;

        struct mutex lock; /* guards the rest */
        struct condition progress;
        uint64_t written; /* positions below it were offered to every sink */
        size_t history_bytes;
        char history[LOG_HISTORY_BYTES];
};

/* So that a line fits into one piece of a paced sink even if every byte of it is escaped. */
static_assert(TIMESTAMP_BYTES + sizeof(" warning: \n") + 4 * LOG_MESSAGE_BYTES <= PIPE_BUF, "a line is too long");
static_assert((size_t)ERROR_MESSAGE_BYTES <= (size_t)LOG_MESSAGE_BYTES, "a struct error is too long");

static const char *level_name(enum log_level level)
{
        static const char *const names[] = {"debug", "info", "warning", "error"};

        return names[level];
}

static int level_priority(enum log_level level)
{
        static const int priorities[] = {LOG_DEBUG, LOG_INFO, LOG_WARNING, LOG_ERR};

        return priorities[level];
}

/* ---- producers ---- */

static void writer_wake(struct log *log)
{
        if (atomic_load(&log->writer_sleeps) && atomic_exchange(&log->writer_sleeps, false))
                (void)sem_post(&log->wake); /* cannot overflow: one post for each time that the writer sleeps */
}

static struct slot *ring_claim(struct log *log, uint64_t *ret_position)
{
        uint64_t position = atomic_load(&log->tail);

        while (!(position & TAIL_CLOSED)) {
                struct slot *slot = &log->ring[position % LOG_RING_MESSAGES];
                uint64_t sequence = atomic_load(&slot->sequence);

                if (sequence < position)
                        return NULL; /* still holds the message of one round ago: full */
                if (sequence > position) {
                        position = atomic_load(&log->tail); /* another thread was faster */
                } else if (atomic_compare_exchange_weak(&log->tail, &position, position + 1)) {
                        *ret_position = position;
                        return slot;
                }
        }
        return NULL;
}

/* Formats into `ret_text`; what does not fit is cut before a whole UTF-8 sequence and marked. */
static __attribute__((format(printf, 2, 0))) void format_message(char ret_text[LOG_MESSAGE_BYTES + 1], const char *format,
                                                                 va_list arguments)
{
        size_t end = LOG_MESSAGE_BYTES - (sizeof(cut_mark) - 1);
        int length = vsnprintf(ret_text, LOG_MESSAGE_BYTES + 1, format, arguments);

        if (length < 0) {
                static const char unformatted[] = "(a message that could not be formatted)";

                memcpy(ret_text, unformatted, sizeof(unformatted));
        } else if (length > LOG_MESSAGE_BYTES) {
                for (int i = 0; i < 3 && ((unsigned char)ret_text[end] & 0xc0) == 0x80; i++)
                        end--;
                memcpy(ret_text + end, cut_mark, sizeof(cut_mark));
        }
}

void log_write(struct log *log, enum log_level level, const char *format, ...)
{
        int saved = errno;
        char text[LOG_MESSAGE_BYTES + 1];
        struct timespec now;
        struct slot *slot;
        uint64_t position;
        va_list arguments;

        if (!log || level < log->threshold)
                return;
        (void)clock_gettime(CLOCK_REALTIME, &now); /* cannot fail */
        va_start(arguments, format);
        format_message(text, format, arguments); /* before the claim, which the writer may have to wait for */
        va_end(arguments);
        slot = ring_claim(log, &position);
        if (slot) {
                slot->time = now;
                slot->level = level;
                memcpy(slot->text, text, strlen(text) + 1);
                atomic_store(&slot->sequence, position + 1);
        } else if (atomic_load(&log->tail) & TAIL_CLOSED) {
                atomic_fetch_add(&log->refused, 1);
        } else {
                atomic_fetch_add(&log->dropped, 1);
        }
        writer_wake(log);
        errno = saved;
}

/* ---- the writer ---- */

static bool message_is_ready(struct log *log)
{
        return atomic_load(&log->ring[log->head % LOG_RING_MESSAGES].sequence) == log->head + 1;
}

static bool writer_has_work(struct log *log)
{
        return message_is_ready(log) || atomic_load(&log->dropped) != log->dropped_told || log->file.failure != 0 ||
               log->terminal.failure != 0;
}

static bool writer_is_done(struct log *log)
{
        return atomic_load(&log->tail) == (log->head | TAIL_CLOSED);
}

static void batch_add(struct batch *batch, const struct timespec *time, enum log_level level, const char *text)
{
        char when[TIMESTAMP_BYTES];
        char *line = batch->text + batch->used_bytes;
        size_t room = BATCH_BYTES - batch->used_bytes, length;
        int prefix;

        timestamp_format(time, when);
        prefix = snprintf(line, room, "%s %s: ", when, level_name(level));
        if (prefix < 0 || (size_t)prefix >= room)
                return; /* cannot be: batch_has_room() was asked */
        error_escape(text, line + prefix, room - (size_t)prefix);
        length = strlen(line + prefix);
        batch->lines[batch->line_count].level = level;
        batch->lines[batch->line_count].offset = batch->used_bytes + (size_t)prefix;
        batch->lines[batch->line_count].length = length;
        batch->line_count++;
        line[(size_t)prefix + length] = '\n';
        batch->used_bytes += (size_t)prefix + length + 1;
}

static bool batch_has_room(const struct batch *batch)
{
        return batch->line_count < BATCH_LINES && BATCH_BYTES - batch->used_bytes >= PIPE_BUF;
}

/* A message of the writer itself. */
static __attribute__((format(printf, 3, 4))) void batch_note(struct batch *batch, enum log_level level, const char *format,
                                                             ...)
{
        char text[LOG_MESSAGE_BYTES + 1];
        struct timespec now;
        va_list arguments;

        (void)clock_gettime(CLOCK_REALTIME, &now); /* cannot fail */
        va_start(arguments, format);
        format_message(text, format, arguments);
        va_end(arguments);
        batch_add(batch, &now, level, text);
}

static void batch_note_failure(struct batch *batch, struct outlet *outlet)
{
        if (outlet->failure == 0)
                return;
        batch_note(batch, LOG_LEVEL_WARNING, "%s cannot be written at the moment: %s", outlet->name,
                   outlet->failure == -EAGAIN ? "nobody reads it" : strerror(-outlet->failure));
        outlet->failure = 0;
}

static void writer_fill_batch(struct log *log)
{
        struct batch *batch = &log->batch;
        uint64_t dropped = atomic_load(&log->dropped);

        batch->used_bytes = 0;
        batch->line_count = 0;
        if (dropped != log->dropped_told) {
                uint64_t count = dropped - log->dropped_told;

                batch_note(batch, LOG_LEVEL_WARNING, "%" PRIu64 " %s dropped: the log could not keep up", count,
                           count == 1 ? "message was" : "messages were");
                log->dropped_told = dropped;
        }
        batch_note_failure(batch, &log->file);
        batch_note_failure(batch, &log->terminal);
        while (batch_has_room(batch) && message_is_ready(log)) {
                struct slot *slot = &log->ring[log->head % LOG_RING_MESSAGES];

                batch_add(batch, &slot->time, slot->level, slot->text);
                atomic_store(&slot->sequence, log->head + LOG_RING_MESSAGES);
                log->head++;
        }
}

static void history_append(struct log *log, const char *lines, size_t size)
{
        MUTEX_SCOPE(&log->lock);

        if (size > LOG_HISTORY_BYTES - log->history_bytes) {
                /* More than is needed, so that not each batch moves all of it. */
                const char *end =
                    memchr(log->history + LOG_HISTORY_BYTES / 4, '\n', log->history_bytes - LOG_HISTORY_BYTES / 4);
                size_t gone = end ? (size_t)(end - log->history) + 1 : log->history_bytes;

                memmove(log->history, log->history + gone, log->history_bytes - gone);
                log->history_bytes -= gone;
        }
        memcpy(log->history + log->history_bytes, lines, size);
        log->history_bytes += size;
}
/* A quarter is always enough room, and is only taken from a history that is longer than that. */
static_assert(BATCH_BYTES <= LOG_HISTORY_BYTES / 4, "a batch is too long for the history");

static void outlet_flush(struct log *log, struct outlet *outlet, int timeout_ms)
{
        int before = outlet->sink.error;
        int result = log_sink_flush(&outlet->sink, timeout_ms);

        if (result == 0)
                return;
        atomic_fetch_add(&log->write_errors, 1);
        if (before == 0)
                outlet->failure = result;
}

static void outlet_deliver(struct log *log, struct outlet *outlet)
{
        log_sink_add(&outlet->sink, log->batch.text, log->batch.used_bytes);
        outlet_flush(log, outlet, outlet->sink.error == 0 ? CLOGGED_WAIT_MS : 0);
}

static void syslog_deliver(const struct batch *batch)
{
        for (size_t i = 0; i < batch->line_count; i++)
                syslog(level_priority(batch->lines[i].level), "%.*s", (int)batch->lines[i].length,
                       batch->text + batch->lines[i].offset);
}

static void writer_write_batch(struct log *log)
{
        writer_fill_batch(log);
        history_append(log, log->batch.text, log->batch.used_bytes);
        outlet_deliver(log, &log->file);
        if (log->to_syslog)
                syslog_deliver(&log->batch);
        outlet_deliver(log, &log->terminal);

        MUTEX_SCOPE(&log->lock);
        log->written = log->head;
        condition_broadcast(&log->progress);
}

static void writer_sleep(struct log *log)
{
        atomic_store(&log->writer_sleeps, true);
        if ((writer_has_work(log) || writer_is_done(log)) && atomic_exchange(&log->writer_sleeps, false))
                return;
        /* Either there was nothing to do, or somebody has just turned the flag and owes a post. */
        while (sem_wait(&log->wake) < 0)
                ; /* only EINTR is possible */
}

static void *writer_main(void *argument)
{
        struct log *log = argument;

        for (;;) {
                if (writer_has_work(log))
                        writer_write_batch(log);
                else if (writer_is_done(log))
                        break;
                else
                        writer_sleep(log);
        }
        outlet_flush(log, &log->file, LAST_CLOGGED_WAIT_MS);
        outlet_flush(log, &log->terminal, LAST_CLOGGED_WAIT_MS);
        return NULL;
}

/* ---- lifetime ---- */

static int open_terminal(struct log *log)
{
        int fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);

        if (fd < 0)
                return errno == EBADF ? 0 : -errno; /* started with stderr closed: nobody wants to read it */
        return log_sink_init(&log->terminal.sink, fd);
}

static int open_file(struct log *log, const char *path)
{
        /* O_NONBLOCK matters for a FIFO only: without a reader it is refused here, not waited for. 0600: the log names
         * files. */
        int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0600);

        if (fd < 0)
                return -errno;
        return log_sink_init(&log->file.sink, fd);
}

static struct log *log_allocate(const struct log_options *options)
{
        struct log *log = calloc(1, sizeof(*log));

        if (!log)
                return NULL;
        if (sem_init(&log->wake, 0, 0) < 0) {
                free(log);
                return NULL;
        }
        for (uint64_t i = 0; i < LOG_RING_MESSAGES; i++)
                atomic_init(&log->ring[i].sequence, i);
        atomic_init(&log->references, 1);
        log->threshold = options->threshold;
        log->file = (struct outlet){.sink.fd = -1, .name = "the log file"};
        log->terminal = (struct outlet){.sink.fd = -1, .name = "standard error"};
        mutex_init(&log->lock);
        condition_init(&log->progress);
        return log;
}

int log_new(const struct log_options *options, struct error *error, struct log **ret_log)
{
        cleanup(log_unref_pointer) struct log *log = log_allocate(options);
        int result;

        if (!log)
                return error_set(error, -ENOMEM, "there is not enough memory for the log");
        if (options->file) {
                result = open_file(log, options->file);
                if (result < 0)
                        return error_set(error, result, "the log file %s cannot be opened: %s", options->file,
                                         strerror(-result));
        }
        if (options->to_stderr) {
                result = open_terminal(log);
                if (result < 0)
                        return error_set(error, result, "standard error cannot be used for the log: %s", strerror(-result));
        }
        if (options->to_syslog) {
                openlog("cvv", LOG_PID, LOG_DAEMON);
                log->to_syslog = true;
        }
        result = thread_start(&log->writer, "cvv-log", writer_main, log);
        if (result < 0)
                return error_set(error, result, "the log's writer cannot be started: %s", strerror(-result));
        log->running = true;
        *ret_log = pointer_steal(&log);
        return 0;
}

void log_stop(struct log *log)
{
        if (!log || !log->running)
                return;
        atomic_fetch_or(&log->tail, TAIL_CLOSED);
        writer_wake(log);
        (void)pthread_join(log->writer, NULL); /* fails only for a thread that is not ours to join */
        log->running = false;
}

struct log *log_ref(struct log *log)
{
        atomic_fetch_add(&log->references, 1);
        return log;
}

struct log *log_unref(struct log *log)
{
        if (!log || atomic_fetch_sub(&log->references, 1) > 1)
                return NULL;
        log_stop(log);
        if (log->to_syslog)
                closelog();
        log_sink_deinit(&log->file.sink);
        log_sink_deinit(&log->terminal.sink);
        condition_deinit(&log->progress);
        mutex_deinit(&log->lock);
        (void)sem_destroy(&log->wake); /* fails only for what is not a semaphore */
        free(log);
        return NULL;
}

/* ---- what others ask ---- */

void log_flush(struct log *log)
{
        uint64_t end;

        if (!log)
                return;
        end = atomic_load(&log->tail) & ~TAIL_CLOSED;

        MUTEX_SCOPE(&log->lock);
        while (log->written < end)
                condition_wait(&log->progress, &log->lock);
}

uint64_t log_dropped(const struct log *log)
{
        return log ? atomic_load(&log->dropped) + atomic_load(&log->refused) : 0;
}

uint64_t log_write_errors(const struct log *log)
{
        return log ? atomic_load(&log->write_errors) : 0;
}

int log_history(struct log *log, char **ret_text, size_t *ret_size)
{
        char *text = malloc(LOG_HISTORY_BYTES + 1);

        if (!text)
                return -ENOMEM;

        MUTEX_SCOPE(&log->lock);
        memcpy(text, log->history, log->history_bytes);
        text[log->history_bytes] = '\0';
        *ret_text = text;
        *ret_size = log->history_bytes;
        return 0;
}

static _Atomic(struct log *) default_log;

void log_set_default(struct log *log)
{
        atomic_store(&default_log, log);
}

struct log *log_default(void)
{
        return atomic_load(&default_log);
}
