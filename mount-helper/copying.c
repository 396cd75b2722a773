#include "mount-helper/copying.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/cleanup.h"
#include "core/log.h"
#include "core/mirror.h"
#include "core/report_text.h"
#include "core/sync.h"
#include "mount-helper/ending.h"
#include "mount-helper/live.h"
#include "mount-helper/message.h"
#include "mount-helper/outcome.h"
#include "mount-helper/quote.h"
#include "mount-helper/worker.h"

/* How long the last checkpoint may take when all is copied: what a slow drive holds in its caches. */
#define PATIENCE_NS (UINT64_C(120) * 1000 * 1000 * 1000)

enum { REFUSALS_SHOWN = 100 };

struct copying {
        struct options *options;
        char *resume;
        struct log *log;
        struct mirror *mirror;
        struct live live;
        int wake_fd;          /* an eventfd: there is something to look at */
        uint64_t refused;     /* names that a target will not hold */
        struct status before; /* when the survey was through */
        uint64_t begun_ns;
        struct options_list unread;
        bool surveyed;
        bool stuck;           /* a thread hangs in a device: the process must end as it is */
};

static void copying_deinit(struct copying *copying)
{
        options_list_deinit(&copying->unread);
        if (copying->surveyed)
                status_deinit(&copying->before);
        live_deinit(&copying->live);
        fd_close(&copying->wake_fd);
        free(copying->resume);
}

static int code_or_signal(int code)
{
        int number = ending_signal();

        return number != 0 ? EXIT_SIGNAL + number : code;
}

/* --- waiting --- */

/* On the mirror's watchdog, or on the thread that waits for signals. */
static void wake(void *context)
{
        struct copying *copying = context;

        (void)eventfd_write(copying->wake_fd, 1); /* cannot fail: the counter is not full */
}

static void interrupted(void *context)
{
        struct copying *copying = context;

        live_leave(&copying->live);
        wake(context);
}

static void show(struct copying *copying)
{
        struct status status;

        if (!live_is_due(&copying->live) || mirror_status(copying->mirror, &status) < 0)
                return;
        live_show(&copying->live, &status);
        status_deinit(&status);
}

/* Until nothing can progress any more, or a signal comes. */
static void wait_until_idle(struct copying *copying)
{
        while (ending_signal() == 0 && mirror_is_busy(copying->mirror)) {
                struct pollfd poll_fd = { .fd = copying->wake_fd, .events = POLLIN };
                eventfd_t count;

                show(copying);
                if (poll(&poll_fd, 1, live_timeout_ms(&copying->live)) > 0)
                        (void)eventfd_read(copying->wake_fd, &count); /* what it says is looked at above */
        }
}

/* --- before anything is written --- */

static void refused(void *context, const struct mirror_need *target, const char *path, const char *reason)
{
        struct copying *copying = context;

        copying->refused++;
        if (copying->refused <= REFUSALS_SHOWN)
                message_line("target %" PRIu32 " %s cannot hold %s: %s", target->n, target->path, path, reason);
}

static void say_too_small(const struct mirror_need *need)
{
        char needed[REPORT_SIZE_BYTES], space[REPORT_SIZE_BYTES];
        const char *together = need->shared_bytes > need->bytes + need->bytes / 2 ? " with the other targets on its filesystem" : "";

        report_size(need->shared_bytes, needed);
        report_size(need->free_bytes, space);
        if (need->shared_bytes > need->free_bytes)
                message_line("target %" PRIu32 " %s is too small%s: %s (%" PRIu64 " bytes) needed, %s (%" PRIu64 " bytes) free", need->n,
                             need->path, together, needed, need->shared_bytes, space, need->free_bytes);
        else
                message_line("target %" PRIu32 " %s has too few inodes%s: %" PRIu64 " needed, %" PRIu64 " free", need->n, need->path,
                             together, need->shared_files, need->free_files);
}

/* Whether all targets have room; says which have not. */
static bool check_space(const struct copying *copying, const struct mirror_need *needs)
{
        bool enough = true;

        for (size_t i = 0; i < copying->options->targets.count; i++) {
                const struct mirror_need *need = &needs[i];

                if (!need->space_known || (need->shared_bytes <= need->free_bytes && need->shared_files <= need->free_files))
                        continue;
                say_too_small(need);
                enough = false;
        }
        if (!enough && !copying->options->no_space_check)
                message_line("nothing was written; --no-space-check goes on");
        return enough || copying->options->no_space_check;
}

/* Directories of the source that the scan could not read: only its events tell. */
static void collect_unread(struct copying *copying, const char *line, size_t size)
{
        json_t *event = json_loadb(line, size, 0, NULL);
        const char *path = json_string_value(json_object_get(event, "path"));
        const char *word = json_string_value(json_object_get(event, "event"));
        const char *detail = json_string_value(json_object_get(event, "detail"));
        char *text;

        if (word && strcmp(word, "directory-error") == 0 &&
            asprintf(&text, "%s: %s", path && *path ? path : ".", detail ? detail : "it cannot be read") >= 0) {
                struct error said;

                (void)error_set(&said, 0, "%s", text); /* escapes it */
                if (options_list_add(&copying->unread, said.message, strlen(said.message)) < 0)
                        message_line("%s", text); /* now, as the report will not */
                free(text);
        }
        json_decref(event);
}

static void read_events(struct copying *copying)
{
        cleanup(pointer_free) char *buffer = malloc(EVENT_LINE_BYTES);
        uint64_t seq = 0;
        size_t size;

        while (buffer && events_read(mirror_events(copying->mirror), seq, buffer, EVENT_LINE_BYTES, &seq, &size) == 0 && size > 0)
                for (char *line = buffer, *end; line < buffer + size; line = end + 1) {
                        end = memchr(line, '\n', (size_t)(buffer + size - line));
                        if (!end)
                                return;
                        collect_unread(copying, line, (size_t)(end - line));
                }
}

static void say_conflicts(const struct copying *copying)
{
        uint64_t count = copying->before.files[CATEGORY_CONFLICT];

        if (count > 0)
                message_line("%" PRIu64 " file%s: a target has a different one of that name, which is kept; --existing replace replaces it",
                             count, count == 1 ? "" : "s");
        if (copying->refused > REFUSALS_SHOWN)
                message_line("and %" PRIu64 " more that targets cannot hold; the report names them", copying->refused - REFUSALS_SHOWN);
}

/* 0: it can begin. 1: it must not, and that was said. */
static int survey(struct copying *copying, struct error *error)
{
        cleanup(pointer_free) struct mirror_need *needs = calloc(copying->options->targets.count, sizeof(*needs));
        int r = needs ? 0 : -ENOMEM;

        read_events(copying);
        live_clear(&copying->live);
        if (r == 0)
                r = mirror_status(copying->mirror, &copying->before);
        copying->surveyed = r == 0;
        if (r == 0)
                r = mirror_survey(copying->mirror, refused, copying, needs);
        if (r < 0)
                return error_set(error, r, "cannot find out what is to be copied: %s", strerror(-r));
        say_conflicts(copying);
        return check_space(copying, needs) ? 0 : 1;
}

/* --- the whole --- */

static void prepare_process(void)
{
        struct rlimit files;

        (void)umask(0); /* modes are the source's */
        if (getrlimit(RLIMIT_NOFILE, &files) < 0 || files.rlim_cur == files.rlim_max)
                return;
        files.rlim_cur = files.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &files) < 0)
                log_warning("cannot raise the limit of open files: %s", strerror(errno));
}

static void notice(const char *line)
{
        message_line("%s", line);
}

static int start(struct copying *copying, struct error *error)
{
        int r = mirror_open_untouched(copying->options, notice, error, &copying->mirror);

        copying->stuck = r == -ETIMEDOUT; /* a thread waits for a device yet */
        if (r < 0)
                return r;
        copying->options->fill = FILL_ALL; /* from mirror_begin() on; before, the scan is to queue nothing */
        prepare_process();
        mirror_on_idle(copying->mirror, wake, copying);
        r = mirror_start_survey(copying->mirror, error);
        return r == -EINVAL ? error->code = -EIO : r; /* beyond the opening nothing is usage */
}

/* 0 when it has gone as far as it can; 1 when there is nothing to report. */
static int copy(struct copying *copying, struct error *error)
{
        int r = start(copying, error);

        if (r < 0)
                return r;
        log_info("copying %s to %zu target%s", copying->options->source, copying->options->targets.count,
                 copying->options->targets.count == 1 ? "" : "s");
        wait_until_idle(copying);
        if (ending_signal() != 0)
                return 1;
        r = survey(copying, error);
        if (r != 0 || ending_signal() != 0)
                return r != 0 ? r : 1;
        copying->begun_ns = clock_now_ns();
        if (mirror_is_finished(copying->mirror))
                return 0;
        r = mirror_begin(copying->mirror, notice, error);
        if (r < 0)
                return r == -EINVAL ? error->code = -EIO : r;
        wait_until_idle(copying);
        return 0;
}

/* Ends what runs. */
static void stop(struct copying *copying)
{
        mirror_on_idle(copying->mirror, NULL, NULL);
        if (mirror_stop(copying->mirror, ending_deadline_ns(PATIENCE_NS)) == MIRROR_STUCK)
                copying->stuck = true;
        live_clear(&copying->live);
}

static int report(struct copying *copying, uint64_t elapsed_ns)
{
        struct outcome outcome = {
                .mirror = copying->mirror,
                .options = copying->options,
                .before = &copying->before,
                .elapsed_ns = elapsed_ns,
                .unread = copying->unread,
        };
        cleanup(pointer_free) char *owed = mirror_owed_text(copying->mirror);
        cleanup(status_deinit) struct status after = { 0 };
        int r = mirror_status(copying->mirror, &after);
        bool done;

        outcome.after = &after;
        if (r == 0)
                r = outcome_look(&outcome);
        done = r == 0 && outcome_is_done(&outcome);
        if (r == 0 && (ending_signal() == 0 || copying->options->json))
                r = outcome_print(&outcome);
        if (r < 0)
                message_line("the report is not complete: %s", strerror(-r));
        if (outcome.unverified > 0 && ending_signal() == 0)
                message_line("%" PRIu64 " file%s copied and not verified", outcome.unverified, outcome.unverified == 1 ? " is" : "s are");
        if (!done && owed)
                message_line("%s", owed);
        log_info("%s", done ? "all done" : owed ? owed : "not all is done");
        return r < 0 || !done ? EXIT_FAILED : EXIT_DONE;
}

static int serve(struct copying *copying)
{
        struct error error = { 0 };
        int r = copy(copying, &error), code = EXIT_FAILED;
        uint64_t end_ns;

        if (r < 0) {
                live_clear(&copying->live);
                log_error("%s", error.message);
                code = message_error(&error);
        }
        if (copying->mirror) {
                stop(copying);
                end_ns = clock_now_ns();
                if (r == 0)
                        code = report(copying, end_ns - copying->begun_ns);
                if (!copying->stuck)
                        mirror_free(copying->mirror);
                copying->mirror = NULL;
        }
        return code_or_signal(code);
}

static int start_log(struct copying *copying, struct error *error)
{
        const struct options *options = copying->options;
        struct log_options log_options = {
                .to_syslog = true,
                .file = options->log_file,
                .threshold = options->verbose ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO,
        };
        int r = log_new(&log_options, error, &copying->log);

        if (r == 0)
                log_set_default(copying->log);
        return r;
}

static void stop_log(struct copying *copying)
{
        log_stop(copying->log);
        if (copying->stuck)
                return; /* threads that hang may still log when they come back */
        log_set_default(NULL);
        copying->log = log_unref(copying->log);
}

/* In the worker. Returns the exit code. */
static int live_as_worker(struct copying *copying, int orders_fd)
{
        struct ending_options ending = {
                .foreground = true,
                .resume = copying->resume,
                .interrupted = interrupted,
                .context = copying,
                .leaving = worker_report,
                .orders_fd = orders_fd,
        };
        struct error error = { 0 };
        int code, r;

        (void)signal(SIGPIPE, SIG_IGN); /* cannot fail: a valid number */
        copying->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        r = copying->wake_fd < 0 ? -errno : ending_start(&ending);
        if (r < 0)
                (void)error_set(&error, r, "cannot start: %s", strerror(-r));
        else
                r = start_log(copying, &error);
        if (r < 0)
                return message_error(&error);
        code = serve(copying);
        stop_log(copying);
        if (!copying->stuck)
                ending_stop();
        return code;
}

int copying_run(struct options *options, int argc, char **argv)
{
        cleanup(copying_deinit) struct copying copying = { .options = options, .wake_fd = -1 };
        int code = EXIT_FAILED, orders_fd = 0, r;

        live_init(&copying.live);
        r = quote_resume(argc, argv, &copying.resume);
        if (r == 0)
                r = worker_fork(&code, &orders_fd);
        if (r < 0)
                message_line("cannot start: %s", strerror(-r));
        if (r != 0)
                return code;
        code = live_as_worker(&copying, orders_fd);
        if (!copying.stuck)
                return code;
        worker_report(code);
        _exit(code);
}
