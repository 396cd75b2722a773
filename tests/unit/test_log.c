#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/cleanup.h"
#include "core/log.h"
#include "core/sync.h"

#include <errno.h>
#include <fcntl.h>
#include <regex.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- syslog of this test: takes the place of the C library's (<syslog.h> is not included on purpose) ---- */

static struct {
        bool held; /* the next call waits for `go` after it has posted `arrived` */
        sem_t arrived, go;
        int last_priority;
        char last_text[4096];
        char ident[16];
} fake_syslog;

void openlog(const char *ident, int option, int facility);
void closelog(void);
void syslog(int priority, const char *format, ...) __attribute__((format(printf, 2, 3)));
void __syslog_chk(int priority, int flag, const char *format, ...) __attribute__((format(printf, 3, 4)));

void openlog(const char *ident, int option, int facility)
{
        (void)snprintf(fake_syslog.ident, sizeof(fake_syslog.ident), "%s", ident);
}

void closelog(void)
{
        fake_syslog.ident[0] = '\0';
}

static __attribute__((format(printf, 2, 0))) void fake_syslog_take(int priority, const char *format, va_list arguments)
{
        fake_syslog.last_priority = priority;
        (void)vsnprintf(fake_syslog.last_text, sizeof(fake_syslog.last_text), format, arguments);
        if (fake_syslog.held) {
                fake_syslog.held = false;
                sem_post(&fake_syslog.arrived);
                while (sem_wait(&fake_syslog.go) < 0)
                        ;
        }
}

void syslog(int priority, const char *format, ...)
{
        va_list arguments;

        va_start(arguments, format);
        fake_syslog_take(priority, format, arguments);
        va_end(arguments);
}

void __syslog_chk(int priority, int flag, const char *format, ...)
{
        va_list arguments;

        va_start(arguments, format);
        fake_syslog_take(priority, format, arguments);
        va_end(arguments);
}

/* ---- helpers ---- */

static struct log *new_log(const struct log_options *options)
{
        struct error error = {0};
        struct log *log = NULL;

        assert_int_equal(log_new(options, &error, &log), 0);
        return log;
}

static char *history_of(struct log *log)
{
        char *text;
        size_t size;

        log_flush(log);
        assert_int_equal(log_history(log, &text, &size), 0);
        assert_int_equal(strlen(text), size);
        return text;
}

static char *read_file(const char *path)
{
        size_t size = 8 * 1024 * 1024, used = 0;
        char *text = malloc(size);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t got;

        assert_true(fd >= 0);
        while ((got = read(fd, text + used, size - 1 - used)) > 0)
                used += (size_t)got;
        text[used] = '\0';
        close(fd);
        return text;
}

static void make_temporary(char path[64])
{
        int fd;

        (void)snprintf(path, 64, "/tmp/cvv-test-log-XXXXXX");
        fd = mkostemp(path, O_CLOEXEC);
        assert_true(fd >= 0);
        close(fd);
}

static void assert_contains(const char *text, const char *part)
{
        if (!strstr(text, part))
                fail_msg("'%s' is not in '%s'", part, text);
}

/* ---- tests ---- */

static void message_becomes_a_line_with_time_and_level(void **state)
{
        struct log *log = new_log(&(struct log_options){0});
        char *text;
        regex_t pattern;

        log_write(log, LOG_LEVEL_WARNING, "target %d is %s", 2, "behind");
        text = history_of(log);
        assert_int_equal(regcomp(&pattern,
                                 "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3}Z warning: target 2 is "
                                 "behind\n$",
                                 REG_EXTENDED | REG_NOSUB),
                         0);
        assert_int_equal(regexec(&pattern, text, 0, NULL, 0), 0);
        regfree(&pattern);
        free(text);
        log_unref(log);
}

static void names_reach_no_line_raw(void **state)
{
        struct log *log = new_log(&(struct log_options){0});
        char *text;

        log_write(log, LOG_LEVEL_INFO, "copied %s", "a\nb\x1b[2J\xff\xc2\x9b ü");
        text = history_of(log);
        assert_contains(text, "info: copied a\\x0ab\\x1b[2J\\xff\\xc2\\x9b ü\n");
        free(text);
        log_unref(log);
}

static void long_message_is_cut_before_a_whole_character_and_marked(void **state)
{
        struct log *log = new_log(&(struct log_options){0});
        char name[4096], exact[LOG_MESSAGE_BYTES + 1];
        char *text, *message;

        name[0] = 'x'; /* so that a character lies across the place of the cut */
        for (size_t i = 1; i < sizeof(name) - 1; i += 2)
                memcpy(name + i, "ü", 2);
        name[sizeof(name) - 1] = '\0';
        log_write(log, LOG_LEVEL_INFO, "%s", name);
        log_write(log, LOG_LEVEL_INFO, "%s", name + 1);
        memset(exact, 'e', LOG_MESSAGE_BYTES);
        exact[LOG_MESSAGE_BYTES] = '\0';
        log_write(log, LOG_LEVEL_INFO, "%s", exact);
        text = history_of(log);
        assert_null(strstr(text, "\\x"));
        message = strstr(text, "info: x");
        assert_non_null(message);
        assert_memory_equal(strchr(message, '\n') - 7, "ü[cut]", 7);
        assert_true(strchr(message, '\n') - message <= LOG_MESSAGE_BYTES + 6);
        assert_contains(text, exact);
        assert_null(strstr(text, "e[cut]"));
        free(text);
        log_unref(log);
}

static void message_whose_every_byte_is_escaped_is_one_whole_line(void **state)
{
        struct log *log = new_log(&(struct log_options){0});
        char name[2048];
        char *text;

        memset(name, '\x01', sizeof(name) - 1);
        name[sizeof(name) - 1] = '\0';
        log_write(log, LOG_LEVEL_INFO, "%s", name);
        text = history_of(log);
        assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
        assert_contains(text, "\\x01[cut]\n");
        free(text);
        log_unref(log);
}

static void messages_below_the_threshold_are_ignored(void **state)
{
        struct log *log = new_log(&(struct log_options){.threshold = LOG_LEVEL_WARNING});
        char *text;

        log_write(log, LOG_LEVEL_INFO, "no");
        log_write(log, LOG_LEVEL_ERROR, "yes");
        text = history_of(log);
        assert_null(strstr(text, "no"));
        assert_contains(text, "error: yes\n");
        free(text);
        log_unref(log);
}

static void writing_without_a_log_does_nothing_and_errno_is_kept(void **state)
{
        struct log *log = new_log(&(struct log_options){0});

        log_write(NULL, LOG_LEVEL_ERROR, "nowhere");
        log_error("nowhere");
        assert_int_equal(log_dropped(NULL), 0);
        log_flush(NULL);
        log_stop(NULL);
        errno = ENOTTY;
        log_write(log, LOG_LEVEL_ERROR, "%s", "text");
        assert_int_equal(errno, ENOTTY);
        assert_null(log_unref(log));
        assert_null(log_unref(NULL));
}

static void default_log_is_used_by_the_short_forms(void **state)
{
        struct log *log = new_log(&(struct log_options){0});
        char *text;

        log_set_default(log);
        log_debug("one %d", 1);
        log_info("two");
        log_warning("three");
        log_error("four");
        log_set_default(NULL);
        text = history_of(log);
        assert_contains(text, "debug: one 1\n");
        assert_contains(text, "info: two\n");
        assert_contains(text, "warning: three\n");
        assert_contains(text, "error: four\n");
        free(text);
        log_unref(log);
}

static void file_is_appended_to_and_complete_after_stop(void **state)
{
        char path[64];
        char *text;
        struct log *log;

        make_temporary(path);
        for (int round = 0; round < 2; round++) {
                log = new_log(&(struct log_options){.file = path});
                for (int i = 0; i < 500; i++)
                        log_write(log, LOG_LEVEL_INFO, "round %d message %d.", round, i);
                log_stop(log);
                text = read_file(path);
                assert_contains(text, round == 0 ? "round 0 message 499.\n" : "round 1 message 499.\n");
                assert_contains(text, "round 0 message 0.\n");
                free(text);
                assert_int_equal(log_dropped(log), 0);
                log_unref(log);
        }
        unlink(path);
}

static void message_after_stop_is_counted_as_dropped(void **state)
{
        struct log *log = new_log(&(struct log_options){0});
        char *text;

        log_stop(log);
        log_stop(log);
        log_write(log, LOG_LEVEL_INFO, "late");
        assert_int_equal(log_dropped(log), 1);
        text = history_of(log); /* does not wait for it either */
        assert_string_equal(text, "");
        free(text);
        log_unref(log);
}

static void new_file_is_private(void **state)
{
        char path[64];
        struct log *log;
        struct stat status;

        make_temporary(path);
        unlink(path);
        log = new_log(&(struct log_options){.file = path});
        assert_int_equal(stat(path, &status), 0);
        assert_int_equal(status.st_mode & 07777, 0600);
        log_unref(log);
        unlink(path);
}

static void file_that_cannot_be_opened_is_named_in_the_error(void **state)
{
        char path[64];
        struct error error = {0};
        struct log *log = NULL;

        assert_int_equal(log_new(&(struct log_options){.file = "/nonexistent/dir/log"}, &error, &log), -ENOENT);
        assert_int_equal(error.code, -ENOENT);
        assert_contains(error.message, "/nonexistent/dir/log");
        assert_null(log);
        make_temporary(path);
        unlink(path);
        assert_int_equal(mkfifo(path, 0600), 0);
        assert_int_equal(log_new(&(struct log_options){.file = path}, NULL, &log), -ENXIO); /* and does not hang */
        unlink(path);
}

static void failing_file_is_counted_and_told_of_in_the_other_sinks(void **state)
{
        struct log *log = new_log(&(struct log_options){.file = "/dev/full"});
        char *text;

        log_write(log, LOG_LEVEL_INFO, "first");
        log_flush(log);
        log_write(log, LOG_LEVEL_INFO, "second");
        log_stop(log);
        assert_true(log_write_errors(log) >= 2);
        text = history_of(log);
        assert_contains(text, "info: first\n");
        assert_contains(text, "info: second\n");
        assert_contains(text, "warning: the log file cannot be written at the moment: No space left on device\n");
        assert_null(strstr(strstr(text, "cannot be written") + 1, "cannot be written")); /* once */
        free(text);
        log_unref(log);
}

static void clogged_stderr_loses_nothing_elsewhere_and_stop_returns(void **state)
{
        int ends[2], saved = dup(STDERR_FILENO);
        char path[64], block[4096] = {0};
        struct log *log;
        char *text;

        assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
        assert_int_equal(fcntl(ends[1], F_SETFL, O_NONBLOCK), 0);
        while (write(ends[1], block, sizeof(block)) > 0)
                ;
        assert_int_equal(fcntl(ends[1], F_SETFL, 0), 0);
        make_temporary(path);
        assert_true(dup2(ends[1], STDERR_FILENO) >= 0);
        log = new_log(&(struct log_options){.to_stderr = true, .file = path});
        assert_true(dup2(saved, STDERR_FILENO) >= 0);
        log_write(log, LOG_LEVEL_INFO, "for the file");
        log_stop(log);
        text = read_file(path);
        assert_contains(text, "info: for the file\n");
        assert_contains(text, "warning: standard error cannot be written at the moment: nobody reads it\n");
        free(text);
        log_unref(log);
        close(ends[0]);
        close(ends[1]);
        close(saved);
        unlink(path);
}

static void stderr_gets_the_lines(void **state)
{
        int ends[2], saved = dup(STDERR_FILENO);
        char text[256] = {0};
        struct log *log;

        assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
        assert_true(dup2(ends[1], STDERR_FILENO) >= 0);
        log = new_log(&(struct log_options){.to_stderr = true});
        assert_true(dup2(saved, STDERR_FILENO) >= 0);
        log_write(log, LOG_LEVEL_ERROR, "seen");
        log_flush(log);
        assert_true(read(ends[0], text, sizeof(text) - 1) > 0);
        assert_contains(text, " error: seen\n");
        log_unref(log);
        close(ends[0]);
        close(ends[1]);
        close(saved);
}

static void closed_stderr_is_no_error(void **state)
{
        int saved = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
        struct log *log;

        close(STDERR_FILENO);
        log = new_log(&(struct log_options){.to_stderr = true});
        log_write(log, LOG_LEVEL_ERROR, "unseen");
        log_stop(log);
        assert_true(dup2(saved, STDERR_FILENO) >= 0);
        assert_int_equal(log_write_errors(log), 0);
        log_unref(log);
        close(saved);
}

static void syslog_gets_the_text_and_the_priority(void **state)
{
        struct log *log = new_log(&(struct log_options){.to_syslog = true});

        assert_string_equal(fake_syslog.ident, "cvv");
        log_write(log, LOG_LEVEL_WARNING, "100%% %s", "%n");
        log_flush(log);
        assert_string_equal(fake_syslog.last_text, "100% %n");
        assert_int_equal(fake_syslog.last_priority, 4);
        log_write(log, LOG_LEVEL_ERROR, "bad");
        log_flush(log);
        assert_int_equal(fake_syslog.last_priority, 3);
        log_unref(log);
        assert_string_equal(fake_syslog.ident, "");
}

static void full_ring_drops_counts_and_says_so_next(void **state)
{
        struct log *log = new_log(&(struct log_options){.to_syslog = true});
        char *text, *second_line;

        fake_syslog.held = true;
        log_write(log, LOG_LEVEL_INFO, "holds the writer");
        while (sem_wait(&fake_syslog.arrived) < 0)
                ;
        for (int i = 0; i < LOG_RING_MESSAGES + 5; i++)
                log_write(log, LOG_LEVEL_INFO, "message %d.", i);
        assert_int_equal(log_dropped(log), 5);
        sem_post(&fake_syslog.go);
        text = history_of(log);
        second_line = strchr(text, '\n') + 1;
        assert_contains(second_line, "warning: 5 messages were dropped");
        assert_true(strstr(second_line, "dropped") < strchr(second_line, '\n'));
        assert_contains(text, "message 1023.\n");
        assert_null(strstr(text, "message 1024."));
        free(text);
        log_unref(log);
}

static void history_keeps_the_newest_whole_lines(void **state)
{
        struct log *log = new_log(&(struct log_options){0});
        char filler[901];
        char *text;
        size_t size;

        memset(filler, 'f', 900);
        filler[900] = '\0';
        for (int i = 0; i < 1000; i++) {
                log_write(log, LOG_LEVEL_INFO, "%04d %s", i, filler);
                if (i % 100 == 0)
                        log_flush(log);
        }
        text = history_of(log);
        size = strlen(text);
        assert_true(size <= LOG_HISTORY_BYTES);
        assert_true(size >= LOG_HISTORY_BYTES / 2);
        assert_int_equal(text[size - 1], '\n');
        assert_contains(text, "info: 0999 ");
        assert_int_equal(text[24], ' '); /* begins with a time stamp */
        assert_int_equal(text[23], 'Z');
        assert_int_equal(size % 937, 0);
        free(text);
        log_unref(log);
}

enum { THREADS = 4, MESSAGES = 4000 };

struct producer {
        struct log *log;
        int number;
        pthread_t thread;
};

static void *produce(void *argument)
{
        struct producer *producer = argument;

        for (int i = 0; i < MESSAGES; i++)
                log_write(producer->log, LOG_LEVEL_INFO, "producer %d message %d end", producer->number, i);
        return NULL;
}

static void count_lines(char *text, uint64_t *ret_messages, uint64_t *ret_dropped)
{
        int last[THREADS] = {-1, -1, -1, -1}, number, message, length;
        unsigned long long dropped;

        *ret_messages = 0;
        *ret_dropped = 0;
        for (char *line = text, *end; (end = strchr(line, '\n')); line = end + 1) {
                *end = '\0';
                length = 0;
                if (sscanf(line, "%*s info: producer %d message %d end%n", &number, &message, &length) == 2) {
                        assert_int_equal(length, end - line);
                        assert_true(message > last[number]);
                        last[number] = message;
                        ++*ret_messages;
                } else {
                        assert_int_equal(sscanf(line, "%*s warning: %llu message", &dropped), 1);
                        *ret_dropped += dropped;
                }
        }
}

static void lines_of_many_threads_are_whole_in_order_and_all_accounted_for(void **state)
{
        struct producer producers[THREADS];
        char path[64];
        struct log *log;
        char *text;
        uint64_t messages, dropped;

        make_temporary(path);
        log = new_log(&(struct log_options){.file = path});
        for (int i = 0; i < THREADS; i++) {
                producers[i] = (struct producer){.log = log, .number = i};
                assert_int_equal(thread_start(&producers[i].thread, "producer", produce, &producers[i]), 0);
        }
        for (int i = 0; i < THREADS; i++)
                pthread_join(producers[i].thread, NULL);
        log_stop(log);
        text = read_file(path);
        count_lines(text, &messages, &dropped);
        assert_int_equal(dropped, log_dropped(log));
        assert_int_equal(messages + dropped, THREADS * MESSAGES);
        assert_true(messages >= LOG_RING_MESSAGES);
        free(text);
        log_unref(log);
        unlink(path);
}

static void stop_writes_out_what_was_accepted_while_threads_still_log(void **state)
{
        for (int round = 0; round < 20; round++) {
                struct producer producers[THREADS];
                char path[64];
                struct log *log;
                char *text;
                uint64_t messages, dropped;

                make_temporary(path);
                log = new_log(&(struct log_options){.file = path});
                for (int i = 0; i < 2; i++) {
                        producers[i] = (struct producer){.log = log, .number = i};
                        assert_int_equal(thread_start(&producers[i].thread, "producer", produce, &producers[i]), 0);
                }
                log_stop(log);
                for (int i = 0; i < 2; i++)
                        pthread_join(producers[i].thread, NULL);
                text = read_file(path);
                count_lines(text, &messages, &dropped);
                assert_int_equal(messages + log_dropped(log), 2 * MESSAGES);
                free(text);
                log_unref(log);
                unlink(path);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
            cmocka_unit_test(message_becomes_a_line_with_time_and_level),
            cmocka_unit_test(names_reach_no_line_raw),
            cmocka_unit_test(long_message_is_cut_before_a_whole_character_and_marked),
            cmocka_unit_test(message_whose_every_byte_is_escaped_is_one_whole_line),
            cmocka_unit_test(messages_below_the_threshold_are_ignored),
            cmocka_unit_test(writing_without_a_log_does_nothing_and_errno_is_kept),
            cmocka_unit_test(default_log_is_used_by_the_short_forms),
            cmocka_unit_test(file_is_appended_to_and_complete_after_stop),
            cmocka_unit_test(message_after_stop_is_counted_as_dropped),
            cmocka_unit_test(new_file_is_private),
            cmocka_unit_test(file_that_cannot_be_opened_is_named_in_the_error),
            cmocka_unit_test(failing_file_is_counted_and_told_of_in_the_other_sinks),
            cmocka_unit_test(clogged_stderr_loses_nothing_elsewhere_and_stop_returns),
            cmocka_unit_test(stderr_gets_the_lines),
            cmocka_unit_test(closed_stderr_is_no_error),
            cmocka_unit_test(syslog_gets_the_text_and_the_priority),
            cmocka_unit_test(full_ring_drops_counts_and_says_so_next),
            cmocka_unit_test(history_keeps_the_newest_whole_lines),
            cmocka_unit_test(lines_of_many_threads_are_whole_in_order_and_all_accounted_for),
            cmocka_unit_test(stop_writes_out_what_was_accepted_while_threads_still_log),
        };

        (void)umask(022);
        sem_init(&fake_syslog.arrived, 0, 0);
        sem_init(&fake_syslog.go, 0, 0);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
