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

static int wait_for(pid_t pid, int report, int signals)
{
        for (;;) {
                struct pollfd poll_fds[] = {{.fd = report, .events = POLLIN}, {.fd = signals, .events = POLLIN}};
                struct signalfd_siginfo info;
                unsigned char code;

                if (poll(poll_fds, 2, -1) < 0)
                        continue; /* EINTR: after a stop */
                if (poll_fds[1].revents && read(signals, &info, sizeof(info)) == sizeof(info))
                        (void)kill(pid, (int)info.ssi_signo); /* it may be gone already */
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

int worker_fork(int *ret_code)
{
        cleanup(fd_close) int report = -1, told = -1, signals = -1;
        pid_t parent = getpid(), pid;
        sigset_t set;
        int ends[2];

        if (pipe2(ends, O_CLOEXEC) < 0)
                return -errno;
        report = ends[0];
        told = ends[1];
        fill_signals(&set);
        if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
                return -errno;
        signals = signalfd(-1, &set, SFD_CLOEXEC);
        pid = signals < 0 ? -1 : fork();
        if (pid < 0)
                return -errno;
        if (pid == 0) {
                become_worker(fd_steal(&told), parent);
                return 0;
        }
        fd_close(&told);
        told = -1;
        *ret_code = wait_for(pid, report, signals);
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
