#include "mount-helper/mounting.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config.h"
#include "core/cleanup.h"
#include "core/log.h"
#include "core/mirror.h"
#include "core/sync.h"
#include "fs/session.h"
#include "mount-helper/daemon.h"
#include "mount-helper/ending.h"
#include "mount-helper/message.h"
#include "mount-helper/prober.h"
#include "mount-helper/quote.h"
#include "mount-helper/utab.h"

#if CVV_HAVE_SYSTEMD
#include <systemd/sd-daemon.h>
#endif

/* How long the last checkpoint may take after a normal unmount: what a slow drive holds in its caches. */
#define PATIENCE_NS (UINT64_C(120) * 1000 * 1000 * 1000)

/* One daemon. */
struct mounting {
        const struct options *options;
        char *resume;
        struct log *log;
        struct mirror *mirror;
        struct session *session;
        pthread_t ready_thread; /* waits until the mount answers */
        bool has_ready_thread;
        bool unanswered; /* these two are set by that thread, and read after it was joined */
        bool noted;      /* in the table for umount(8) */
        bool stuck;      /* a thread hangs in a device: the process must end as it is */
};

static void mounting_deinit(struct mounting *mounting)
{
        free(mounting->resume);
}

/* The signal's exit code where one came, else `code`. */
static int code_or_signal(int code)
{
        int number = ending_signal();

        return number != 0 ? EXIT_SIGNAL + number : code;
}

/* Says why the start failed, once, to the parent and to the log. */
static int fail(const struct mounting *mounting, const struct error *error)
{
        int code = code_or_signal(error->code == -EINVAL ? EXIT_USAGE : EXIT_FAILED);

        if (!mounting->options->foreground) /* there the log is the same terminal */
                log_error("%s", error->message);
        daemon_report(code, code > EXIT_SIGNAL ? "interrupted before the mount was there" : error->message);
        return code;
}

static void notify_service_manager(void)
{
#if CVV_HAVE_SYSTEMD
        /* Without a service manager this does nothing; where it fails, the manager's own time limit says so. */
        (void)sd_notifyf(0, "READY=1\nMAINPID=%d", (int)getpid());
#endif
}

/* Has umount(8) find umount.fuse.cvv. */
static void note_mount(const struct options *options)
{
        cleanup(pointer_free) char *type = NULL;

        if (asprintf(&type, "fuse.%s", options->subtype ? options->subtype : "cvv") < 0)
                type = NULL;
        else
                utab_add(options->fsname ? options->fsname : options->source, options->mountpoint, type);
}

static void *report_ready(void *argument)
{
        struct mounting *mounting = argument;
        const char *mountpoint = mounting->options->mountpoint;
        struct error error;
        int r = prober_ask(mountpoint);

        prober_stop();
        if (r < 0) {
                (void)error_set(&error, -EIO, "the mount at %s does not answer: %s", mountpoint, strerror(-r));
                (void)fail(mounting, &error); /* the code is for the main thread to find again */
                mounting->unanswered = true;
                ending_exit();
                return NULL;
        }
        note_mount(mounting->options);
        mounting->noted = true;
        log_info("mounted at %s", mountpoint);
        notify_service_manager();
        daemon_report(EXIT_DONE, NULL);
        return NULL;
}

/* What a daemon needs of its process. Failures leave it with less, not without. */
static void prepare_process(void)
{
        struct rlimit files;

        if (chdir("/") < 0)
                log_warning("cannot change to /: %s", strerror(errno));
        (void)umask(0); /* modes are the source's and the callers' */
        if (getrlimit(RLIMIT_NOFILE, &files) < 0 || files.rlim_cur == files.rlim_max)
                return;
        files.rlim_cur = files.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &files) < 0)
                log_warning("cannot raise the limit of open files: %s", strerror(errno));
}

static int start_log(struct mounting *mounting, struct error *error)
{
        const struct options *options = mounting->options;
        struct log_options log_options = {
            .to_stderr = options->foreground,
            .to_syslog = !options->foreground,
            .file = options->log_file,
            .threshold = options->verbose ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO,
        };
        int r = log_new(&log_options, error, &mounting->log);

        if (r == 0)
                log_set_default(mounting->log);
        return r;
}

static int interrupted(struct error *error)
{
        return ending_signal() != 0 ? error_set(error, -EINTR, "interrupted") : 0;
}

/* Opens, mounts and starts. On failure what was made is left in `mounting`. */
static int start(struct mounting *mounting, struct error *error)
{
        int r = mirror_open(mounting->options, daemon_notice, error, &mounting->mirror);

        if (r == 0)
                r = interrupted(error);
        if (r == 0)
                r = session_mount(mounting->mirror, mounting->options, error, &mounting->session);
        if (r < 0)
                return r == -EINVAL && mounting->mirror ? error->code = -EIO : r; /* beyond mirror_open nothing is usage */
        ending_watch(mounting->session);
        r = mirror_start(mounting->mirror, error);
        if (r < 0)
                return r == -EINVAL ? error->code = -EIO : r;
        /* The mount can answer only while this thread serves it, so another one waits for the answer. */
        r = thread_start(&mounting->ready_thread, "cvv-ready", report_ready, mounting);
        mounting->has_ready_thread = r == 0;
        return r < 0 ? error_set(error, r, "cannot start a thread: %s", strerror(-r)) : 0;
}

/* Says what is still owed, and after a signal how to go on (that is in the log already). */
static void say_owed(const struct mounting *mounting)
{
        cleanup(pointer_free) char *owed = mirror_owed_text(mounting->mirror);

        if (!owed)
                return;
        if (mounting->options->foreground)
                message_line_within(1000, owed);
        else
                log_info("%s", owed);
}

/* Ends what start() has made. */
static void stop(struct mounting *mounting, bool started)
{
        if (started) {
                if (mirror_stop(mounting->mirror, ending_deadline_ns(PATIENCE_NS)) == MIRROR_STUCK)
                        mounting->stuck = true; /* the session may have said so before */
                say_owed(mounting);
        }
        ending_watch(NULL);
        if (mounting->session)
                session_free(mounting->session);
        mounting->session = NULL;
        ending_unmounted();
        if (mounting->has_ready_thread)
                (void)pthread_join(mounting->ready_thread, NULL); /* it ends: the mount is gone, or answered */
        if (mounting->noted)
                utab_remove(mounting->options->mountpoint);
        if (mounting->mirror && !mounting->stuck)
                mirror_free(mounting->mirror);
        mounting->mirror = NULL;
}

static int serve(struct mounting *mounting)
{
        struct error error = {0};
        int r, code;

        r = start(mounting, &error);
        if (r < 0) {
                code = fail(mounting, &error);
                stop(mounting, false);
                return code;
        }
        r = session_loop(mounting->session);
        mounting->stuck = r == -ETIMEDOUT; /* a thread of the session hangs, and may still use the mirror */
        if (r == 0 && ending_signal() == 0)
                ending_unmounted();
        if (r < 0)
                log_error("the mount ended: %s", strerror(-r));
        else
                log_info(ending_signal() != 0 ? "interrupted" : "unmounted");
        stop(mounting, true);
        return code_or_signal(r < 0 || mounting->unanswered ? EXIT_FAILED : EXIT_DONE);
}

static void stop_log(struct mounting *mounting)
{
        log_stop(mounting->log);
        if (mounting->stuck)
                return; /* threads that hang may still log when they come back */
        log_set_default(NULL);
        mounting->log = log_unref(mounting->log);
}

/* The daemon, or the process in the foreground. */
static int live(struct mounting *mounting)
{
        struct ending_options ending = {
            .foreground = mounting->options->foreground,
            .resume = mounting->resume,
            .mountpoint = mounting->options->mountpoint,
        };
        struct error error = {0};
        int code, r;

        (void)signal(SIGPIPE, SIG_IGN); /* cannot fail: a valid number */
        r = prober_start();             /* before the first thread */
        if (r == 0)
                r = ending_start(&ending);
        if (r < 0)
                (void)error_set(&error, r, "cannot start: %s", strerror(-r));
        else
                r = start_log(mounting, &error);
        if (r == 0) {
                prepare_process();
                code = serve(mounting);
                stop_log(mounting);
        } else {
                code = fail(mounting, &error);
        }
        if (mounting->stuck)
                _exit(code);
        prober_stop();
        ending_stop();
        return code;
}

int mounting_run(const struct options *options, int argc, char **argv)
{
        cleanup(mounting_deinit) struct mounting mounting = {.options = options};
        int code = EXIT_FAILED, r = quote_resume(argc, argv, &mounting.resume);

        if (r < 0) {
                message_line("out of memory");
                return EXIT_FAILED;
        }
        if (options->foreground)
                return live(&mounting);
        r = daemon_fork(&code);
        if (r == DAEMON_PARENT)
                return code;
        if (r < 0) {
                message_line("cannot start the daemon: %s", strerror(-r));
                return EXIT_FAILED;
        }
        code = live(&mounting);
        mounting_deinit(&mounting);
        exit(code);
}
