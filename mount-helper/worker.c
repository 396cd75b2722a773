#include "mount-helper/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/cleanup.h"
#include "mount-helper/message.h"

static int report_fd = -1; /* the worker's end of the pipe */
static atomic_flag is_reported = ATOMIC_FLAG_INIT;

static void fill_signals(sigset_t *set)
{
        static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};

        (void)sigemptyset(set); /* these cannot fail: the numbers are valid */
        for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
                struct sigaction old;

                (void)sigaction(numbers[i], NULL, &old);
                if (old.sa_handler != SIG_IGN)
                        (void)sigaddset(set, numbers[i]);
        }
}

/* The exit code of a worker that told nothing: it crashed, or was killed. */
static int reap(pid_t pid)
{
        int status;
        pid_t gone;

        do
                gone = waitpid(pid, &status, 0);
        while (gone < 0 && errno == EINTR);
        if (gone < 0)
                return EXIT_FAILED;
        return WIFSIGNALED(status) ? EXIT_SIGNAL + WTERMSIG(status) : WEXITSTATUS(status);
}

/* A pipe that is full holds more signals than anybody needs; one without a reader means that the worker is gone. */
static void pass_on(int orders, unsigned char number)
{
        while (write(orders, &number, 1) < 0 && errno == EINTR)
                ;
}

static int wait_for(pid_t pid, int report, int orders, int signals)
{
        for (;;) {
                struct pollfd poll_fds[] = {{.fd = report, .events = POLLIN}, {.fd = signals, .events = POLLIN}};
                struct signalfd_siginfo info;
                unsigned char code;

                if (poll(poll_fds, 2, -1) < 0)
                        continue; /* EINTR: after a stop */
                if (poll_fds[1].revents && read(signals, &info, sizeof(info)) == sizeof(info))
                        pass_on(orders, (unsigned char)info.ssi_signo);
                if (!poll_fds[0].revents)
                        continue;
                return read(report, &code, 1) == 1 ? code : reap(pid);
        }
}

static void become_worker(int fd, pid_t parent)
{
        report_fd = fd;
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent)
                _exit(EXIT_FAILED); /* nobody waits any more */
}

int worker_fork(int *ret_code, int *ret_orders_fd)
{
        cleanup(fd_close) int report = -1, told = -1, orders = -1, heard = -1, signals = -1;
        pid_t parent = getpid(), pid;
        sigset_t set;
        int ends[2];

        if (pipe2(ends, O_CLOEXEC) < 0)
                return -errno;
        report = ends[0];
        told = ends[1];
        if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
                return -errno;
        heard = ends[0];
        orders = ends[1];
        fill_signals(&set);
        if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
                return -errno;
        signals = signalfd(-1, &set, SFD_CLOEXEC);
        pid = signals < 0 ? -1 : fork();
        if (pid < 0)
                return -errno;
        if (pid == 0) {
                become_worker(fd_steal(&told), parent);
                *ret_orders_fd = fd_steal(&heard);
                return 0;
        }
        fd_close(&told);
        fd_close(&heard);
        told = heard = -1;
        (void)signal(SIGPIPE, SIG_IGN); /* cannot fail: a valid number */
        *ret_code = wait_for(pid, report, orders, signals);
        return WORKER_PARENT;
}

void worker_report(int code)
{
        unsigned char byte = (unsigned char)code;

        if (report_fd < 0 || atomic_flag_test_and_set(&is_reported))
                return;
        while (write(report_fd, &byte, 1) < 0 && errno == EINTR) /* a parent that is gone took this process with it */
                ;
}
