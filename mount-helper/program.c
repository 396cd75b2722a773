#include "mount-helper/program.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/cleanup.h"
#include "core/sync.h"

/* What the program gets as its output and signals. */
static int fill_actions(posix_spawn_file_actions_t *actions, posix_spawnattr_t *attributes, int out)
{
        sigset_t none;
        int r;

        (void)sigemptyset(&none); /* cannot fail */
        r = posix_spawn_file_actions_addopen(actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
        if (r == 0)
                r = posix_spawn_file_actions_adddup2(actions, out, STDOUT_FILENO);
        if (r == 0)
                r = posix_spawn_file_actions_adddup2(actions, out, STDERR_FILENO);
        if (r == 0)
                r = posix_spawnattr_setsigmask(attributes, &none);
        if (r == 0)
                r = posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETSIGMASK);
        return r;
}

/* 0 or -errno. */
static int start(char *const *words, int out, pid_t *ret_pid)
{
        static char locale[] = "LC_ALL=C";
        static char search[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        char *environment[] = {locale, search, NULL};
        posix_spawn_file_actions_t actions;
        posix_spawnattr_t attributes;
        int r = posix_spawn_file_actions_init(&actions);

        if (r != 0)
                return -r;
        r = posix_spawnattr_init(&attributes);
        if (r != 0) {
                (void)posix_spawn_file_actions_destroy(&actions); /* frees only */
                return -r;
        }
        r = fill_actions(&actions, &attributes, out);
        if (r == 0)
                r = posix_spawnp(ret_pid, words[0], &actions, &attributes, words, environment);
        (void)posix_spawnattr_destroy(&attributes);       /* frees only */
        (void)posix_spawn_file_actions_destroy(&actions); /* frees only */
        return -r;
}

/* Reads the program's words until it ends. 0 or -ETIMEDOUT. */
static int listen_to(int fd, int timeout_ms, char *output, size_t room)
{
        uint64_t start_ns = clock_now_ns();
        char rest[256];
        size_t used = 0;

        for (;;) {
                struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
                uint64_t passed_ms = (clock_now_ns() - start_ns) / 1000000;
                int left = timeout_ms < 0 ? -1 : (uint64_t)timeout_ms > passed_ms ? timeout_ms - (int)passed_ms : 0;
                ssize_t size;

                if (poll(&poll_fd, 1, left) == 0)
                        return -ETIMEDOUT;
                if (!poll_fd.revents)
                        continue; /* a signal */
                size = used < room - 1 ? read(fd, output + used, room - 1 - used) : read(fd, rest, sizeof(rest));
                if (size == 0 || (size < 0 && errno != EINTR))
                        return 0;
                if (size > 0 && used < room - 1)
                        used += (size_t)size;
                output[used] = '\0';
        }
}

int program_run(char *const *words, int timeout_ms, char *ret_output, size_t size)
{
        cleanup(fd_close) int in = -1;
        int ends[2], status = 0, r;
        pid_t pid, gone;

        ret_output[0] = '\0';
        if (pipe2(ends, O_CLOEXEC) < 0)
                return -errno;
        in = ends[0];
        r = start(words, ends[1], &pid);
        (void)close(ends[1]); /* the program's */
        if (r < 0)
                return r;
        r = listen_to(in, timeout_ms, ret_output, size);
        if (r < 0)
                (void)kill(pid, SIGKILL); /* it may be setuid root and not let us; then it goes on alone */
        do
                gone = waitpid(pid, &status, r < 0 ? WNOHANG : 0);
        while (gone < 0 && errno == EINTR);
        if (r < 0)
                return r;
        return gone > 0 && WIFEXITED(status) ? WEXITSTATUS(status) : -EIO;
}
