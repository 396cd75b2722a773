#include "mount-helper/ending.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "core/cleanup.h"
#include "core/log.h"
#include "core/sync.h"
#include "mount-helper/detach.h"
#include "mount-helper/message.h"

#define NS_PER_MS UINT64_C(1000000)

enum {
        ORDERLY_MS = 3500,  /* from the first signal: for the mirror's end */
        WATCHDOG_MS = 4500, /* from the first signal: then the process ends */
        DETACH_MS = 300,
        SPEAK_MS = 200,
};

static struct ending_options options;
static pthread_t thread;
static int signal_fd = -1, stop_fd = -1;

static struct mutex mutex = MUTEX_INIT; /* guards what follows */
static struct session *watched;
static bool mounted; /* the mount is ours to take off */
static int first_signal;
static uint64_t first_signal_ns;

/* For the case that the mirror or a device hangs: takes no lock of others and waits for nothing long. */
static _Noreturn void end_now(const char *why)
{
        int code;
        bool detach;

        mutex_lock(&mutex);
        code = EXIT_SIGNAL + first_signal;
        detach = mounted;
        mutex_unlock(&mutex);
        if (options.foreground)
                message_line_within(SPEAK_MS, why);
        else
                log_warning("%s", why);
        if (detach && detach_mount(options.mountpoint, DETACH_LAZY, DETACH_MS) < 0)
                log_warning("a dead mount stays at %s", options.mountpoint); /* the next mount there clears it */
        if (options.leaving)
                options.leaving(code);
        _exit(code);
}

static void say_resume(void)
{
        if (options.foreground)
                message_line_within(SPEAK_MS, options.resume);
        else
                log_info("%s", options.resume);
}

/* Notes the first signal. False where there was one already. */
static bool take_signal(int number)
{
        MUTEX_SCOPE(&mutex);
        if (first_signal != 0)
                return false;
        first_signal = number;
        first_signal_ns = clock_now_ns();
        if (watched)
                session_exit(watched); /* async-signal-safe, so it is quick */
        return true;
}

static void end_readers(void)
{
        MUTEX_SCOPE(&mutex);
        if (watched)
                session_end_readers(watched);
}

static int left_ms(void)
{
        uint64_t end, now = clock_now_ns();

        MUTEX_SCOPE(&mutex);
        if (first_signal == 0)
                return -1;
        end = first_signal_ns + WATCHDOG_MS * NS_PER_MS;
        return now >= end ? 0 : (int)((end - now) / NS_PER_MS) + 1;
}

/* 0: there is none after all. */
static int read_signal(void)
{
        struct signalfd_siginfo info;
        unsigned char order;

        if (options.orders_fd > 0)
                return read(options.orders_fd, &order, 1) == 1 ? order : 0;
        return read(signal_fd, &info, sizeof(info)) == sizeof(info) ? (int)info.ssi_signo : 0;
}

static void *run(void *argument)
{
        (void)argument;
        for (;;) {
                int source_fd = options.orders_fd > 0 ? options.orders_fd : signal_fd;
                struct pollfd poll_fds[] = {{.fd = stop_fd, .events = POLLIN}, {.fd = source_fd, .events = POLLIN}};
                int timeout_ms = left_ms();
                int ready = poll(poll_fds, 2, timeout_ms), number;

                if (poll_fds[0].revents)
                        return NULL;
                if (ready == 0 && timeout_ms >= 0 && left_ms() == 0)
                        end_now("a device hangs; ending now, the next run goes on from the last checkpoint");
                number = ready > 0 ? read_signal() : 0;
                if (number == 0)
                        continue;
                if (number == SIGUSR1) {
                        end_readers();
                        continue;
                }
                if (!take_signal(number))
                        end_now("interrupted again");
                if (options.interrupted)
                        options.interrupted(options.context);
                say_resume();
        }
}

/* The signals to wait for. */
static void fill_signals(sigset_t *set)
{
        static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};

        (void)sigemptyset(set); /* these cannot fail: the numbers are valid */
        (void)sigaddset(set, SIGUSR1);
        for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
                struct sigaction old;

                (void)sigaction(numbers[i], NULL, &old);
                if (!options.foreground || old.sa_handler != SIG_IGN)
                        (void)sigaddset(set, numbers[i]);
        }
}

int ending_start(const struct ending_options *given)
{
        sigset_t set;
        int r;

        options = *given;
        fill_signals(&set);
        r = -pthread_sigmask(SIG_BLOCK, &set, NULL);
        if (r < 0)
                return r;
        signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
        stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        r = signal_fd < 0 || stop_fd < 0 ? -errno : thread_start(&thread, "cvv-ending", run, NULL);
        if (r < 0) {
                fd_close(&signal_fd);
                fd_close(&stop_fd);
                signal_fd = stop_fd = -1;
        }
        return r;
}

void ending_watch(struct session *session)
{
        MUTEX_SCOPE(&mutex);
        watched = session;
        if (!session)
                return;
        mounted = true;
        if (first_signal != 0)
                session_exit(session);
}

void ending_exit(void)
{
        MUTEX_SCOPE(&mutex);
        if (watched)
                session_exit(watched);
}

void ending_unmounted(void)
{
        MUTEX_SCOPE(&mutex);
        mounted = false;
}

int ending_signal(void)
{
        MUTEX_SCOPE(&mutex);
        return first_signal;
}

uint64_t ending_deadline_ns(uint64_t patience_ns)
{
        MUTEX_SCOPE(&mutex);
        return first_signal != 0 ? first_signal_ns + ORDERLY_MS * NS_PER_MS : clock_now_ns() + patience_ns;
}

void ending_stop(void)
{
        if (stop_fd < 0)
                return;
        /* Neither can fail: the counter is not full, the thread is joinable. */
        (void)eventfd_write(stop_fd, 1);
        (void)pthread_join(thread, NULL);
        fd_close(&signal_fd);
        fd_close(&stop_fd);
        signal_fd = stop_fd = -1;
}
