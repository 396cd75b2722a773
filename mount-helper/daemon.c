#include "mount-helper/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/cleanup.h"
#include "core/sync.h"
#include "mount-helper/message.h"

/* The daemon's end of the pipe. A line for each message: p PID, n NOTICE, e ERROR, c CODE. */
static struct mutex mutex = MUTEX_INIT;
static int report_fd = -1; /* below 0: this is no daemon, or it has reported */
static bool is_reported;

static volatile sig_atomic_t daemon_pid; /* in the parent */

static void file_close(FILE **file)
{
        if (*file)
                (void)fclose(*file); /* only read */
}

static void pass_on(int number)
{
        int saved = errno;

        if (daemon_pid > 0)
                (void)kill(daemon_pid, number); /* it may have ended: then the pipe says so */
        errno = saved;
}

static void fill_signals(sigset_t *set)
{
        /* These cannot fail: the numbers are valid. */
        (void)sigemptyset(set);
        (void)sigaddset(set, SIGINT);
        (void)sigaddset(set, SIGTERM);
        (void)sigaddset(set, SIGHUP);
}

static void set_handlers(void (*handler)(int))
{
        struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};

        /* As in fill_signals(). */
        (void)sigaction(SIGINT, &action, NULL);
        (void)sigaction(SIGTERM, &action, NULL);
        (void)sigaction(SIGHUP, &action, NULL);
}

/* Prints what the daemon says until it reports or ends; returns the exit code. */
static int listen_to_daemon(FILE *pipe, const sigset_t *signals)
{
        cleanup(pointer_free) char *line = NULL;
        size_t size = 0;

        while (getline(&line, &size, pipe) > 2) {
                const char *text = line + 2;

                line[strcspn(line, "\n")] = '\0';
                switch (line[0]) {
                case 'p':
                        daemon_pid = (int)strtol(text, NULL, 10);
                        (void)sigprocmask(SIG_UNBLOCK, signals, NULL); /* cannot fail: a valid set */
                        break;
                case 'c':
                        return (int)strtol(text, NULL, 10);
                default:
                        message_line("%s", text);
                }
        }
        message_line("the daemon ended before the mount answered; its log (journal or syslog) may say why");
        return EXIT_FAILED;
}

/* Puts /dev/null where the program was started without 0, 1 or 2, so that no file of ours becomes one of them. */
static int fill_standard_descriptors(void)
{
        int fd;

        do
                fd = open("/dev/null", O_RDWR); /* to be inherited */
        while (fd >= 0 && fd <= STDERR_FILENO);
        if (fd < 0)
                return -errno;
        (void)close(fd); /* nothing was written */
        return 0;
}

/* The first child: makes the session and the daemon. */
static int become_daemon(int fd)
{
        char line[32];
        pid_t pid;

        if (setsid() < 0)
                return -errno;
        pid = fork(); /* so that it can never get a controlling terminal again */
        if (pid < 0)
                return -errno;
        if (pid > 0)
                _exit(0);
        /* What was inherited (locks, pipes) is not the daemon's to keep. Not there before Linux 5.9: then it stays. */
        if (fd > 3)
                (void)close_range(3, (unsigned)fd - 1, 0);
        (void)close_range((unsigned)fd + 1, ~0U, 0);
        report_fd = fd;
        (void)snprintf(line, sizeof(line), "p %d\n", (int)getpid()); /* fits */
        return write(fd, line, strlen(line)) < 0 ? -errno : 0;
}

static int parent(int fd, pid_t child, const sigset_t *signals, int *ret_code)
{
        cleanup(file_close) FILE *pipe = fdopen(fd, "r");
        int status;

        if (!pipe)
                return -errno;
        while (waitpid(child, &status, 0) < 0 && errno == EINTR)
                continue;
        set_handlers(pass_on);
        *ret_code = listen_to_daemon(pipe, signals);
        return DAEMON_PARENT;
}

int daemon_fork(int *ret_code)
{
        sigset_t signals;
        int ends[2], r = fill_standard_descriptors();
        pid_t child;

        if (r < 0)
                return r;
        if (pipe2(ends, O_CLOEXEC) < 0)
                return -errno;
        fill_signals(&signals);
        (void)sigprocmask(SIG_BLOCK, &signals, NULL); /* cannot fail: a valid set */
        child = fork();
        if (child < 0) {
                r = -errno;
                (void)close(ends[0]); /* nothing was written */
                (void)close(ends[1]);
                return r;
        }
        if (child > 0) {
                (void)close(ends[1]); /* the daemon's */
                return parent(ends[0], child, &signals, ret_code);
        }
        (void)close(ends[0]);  /* the parent's */
        set_handlers(SIG_DFL); /* also where the user ignored them: the daemon is to be ended by them */
        r = become_daemon(ends[1]);
        if (r < 0)
                _exit(EXIT_FAILED); /* the parent says so */
        return 0;
}

/* One message to the parent. Nobody reads it any longer if the parent was killed; the daemon goes on all the same. */
static void send_locked(char kind, const char *text)
{
        cleanup(pointer_free) char *line = NULL;

        if (asprintf(&line, "%c %s\n", kind, text) < 0) {
                line = NULL;
                return;
        }
        (void)!write(report_fd, line, strlen(line)); /* see above; SIGPIPE is ignored */
}

void daemon_notice(const char *line)
{
        MUTEX_SCOPE(&mutex);
        if (report_fd >= 0)
                send_locked('n', line);
        else if (!is_reported)
                message_line("%s", line);
}

static void drop_standard_descriptors(void)
{
        int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

        if (fd < 0)
                return;
        for (int standard = STDIN_FILENO; standard <= STDERR_FILENO; standard++)
                (void)dup2(fd, standard); /* cannot fail: both are valid */
        (void)close(fd);                  /* nothing was written */
}

void daemon_report(int code, const char *line)
{
        char number[16];

        MUTEX_SCOPE(&mutex);
        if (is_reported)
                return;
        is_reported = true;
        if (report_fd < 0) {
                if (line)
                        message_line("%s", line);
                return;
        }
        if (line)
                send_locked('e', line);
        drop_standard_descriptors();
        (void)snprintf(number, sizeof(number), "%d", code); /* fits */
        send_locked('c', number);
        fd_close(&report_fd);
        report_fd = -1;
}

bool daemon_reported(void)
{
        MUTEX_SCOPE(&mutex);
        return is_reported;
}
