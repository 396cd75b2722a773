#include "mount-helper/prober.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/cleanup.h"

static int own_end = -1;
static pid_t prober;

static int look(const char *mountpoint)
{
        char path[PATH_MAX + 16], byte;
        cleanup(fd_close) int fd = -1;

        (void)snprintf(path, sizeof(path), "%s/.cvv/state", mountpoint); /* fits; two slashes do no harm */
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        return read(fd, &byte, 1) < 0 ? -errno : 0;
}

static _Noreturn void child(int end, pid_t parent)
{
        char mountpoint[PATH_MAX];
        ssize_t size;
        int result;

        if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent)
                _exit(1);
        size = recv(end, mountpoint, sizeof(mountpoint) - 1, 0);
        if (size <= 0)
                _exit(0); /* it was let go */
        mountpoint[size] = '\0';
        result = look(mountpoint);
        _exit(send(end, &result, sizeof(result), MSG_NOSIGNAL) == sizeof(result) ? 0 : 1);
}

int prober_start(void)
{
        pid_t parent = getpid();
        int ends[2];

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
                return -errno;
        prober = fork();
        if (prober < 0) {
                int r = -errno;

                (void)close(ends[0]); /* nothing was written */
                (void)close(ends[1]);
                return r;
        }
        if (prober == 0) {
                (void)close(ends[0]); /* the parent's */
                child(ends[1], parent);
        }
        (void)close(ends[1]); /* the child's */
        own_end = ends[0];
        return 0;
}

int prober_ask(const char *mountpoint)
{
        size_t length = strlen(mountpoint);
        ssize_t size;
        int result;

        if (length >= PATH_MAX)
                return -ENAMETOOLONG;
        if (send(own_end, mountpoint, length, MSG_NOSIGNAL) < 0)
                return -errno;
        do
                size = recv(own_end, &result, sizeof(result), 0);
        while (size < 0 && errno == EINTR);
        if (size < 0)
                return -errno;
        return size == sizeof(result) ? result : -EPIPE;
}

void prober_stop(void)
{
        if (own_end < 0)
                return;
        fd_close(&own_end);
        own_end = -1;
        while (waitpid(prober, NULL, 0) < 0 && errno == EINTR)
                continue; /* it ends: with nobody at the other end, or with its answer */
}
