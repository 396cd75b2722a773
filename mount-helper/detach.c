#include "mount-helper/detach.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stddef.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/cleanup.h"
#include "core/sync.h"

enum { WORDS_BYTES = 1024 };

int detach_reason(const char *words)
{
        static const struct {
                const char *words;
                int code;
        } reasons[] = {
            {"busy", -EBUSY},          {"not found in /etc/mtab", -EINVAL}, /* fusermount's word for: not in the mount
                                                                               table, or not yours */
            {"not permitted", -EPERM}, {"Permission denied", -EACCES},      {"not mounted", -EINVAL},
        };

        for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++)
                if (strcasestr(words, reasons[i].words))
                        return reasons[i].code;
        return -EIO;
}

/* Starts fusermount3 with its words in C and its output in `out`. 0 or -errno. */
static int start(const char *path, enum detach_how how, int out, pid_t *ret_pid)
{
        char name[] = "fusermount3", unmount[] = "-u", lazy[] = "-uz", end[] = "--", locale[] = "LC_ALL=C";
        char search[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        cleanup(pointer_free) char *point = strdup(path);
        char *words[] = {name, how == DETACH_LAZY ? lazy : unmount, end, point, NULL};
        char *environment[] = {locale, search, NULL};
        posix_spawn_file_actions_t actions;
        posix_spawnattr_t attributes;
        sigset_t none;
        int r;

        if (!point)
                return -ENOMEM;
        r = posix_spawn_file_actions_init(&actions);
        if (r != 0)
                return -r;
        r = posix_spawnattr_init(&attributes);
        if (r != 0) {
                (void)posix_spawn_file_actions_destroy(&actions); /* frees only */
                return -r;
        }
        (void)sigemptyset(&none); /* cannot fail */
        r = posix_spawn_file_actions_adddup2(&actions, out, STDERR_FILENO);
        if (r == 0)
                r = posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
        if (r == 0)
                r = posix_spawnattr_setsigmask(&attributes, &none);
        if (r == 0)
                r = posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
        if (r == 0)
                r = posix_spawnp(ret_pid, name, &actions, &attributes, words, environment);
        (void)posix_spawnattr_destroy(&attributes);       /* frees only */
        (void)posix_spawn_file_actions_destroy(&actions); /* frees only */
        return -r;
}

/* Reads the program's words until it ends. 0 or -ETIMEDOUT. */
static int listen_to(int fd, int timeout_ms, char *words)
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
                size =
                    used < WORDS_BYTES - 1 ? read(fd, words + used, WORDS_BYTES - 1 - used) : read(fd, rest, sizeof(rest));
                if (size == 0 || (size < 0 && errno != EINTR))
                        return 0;
                if (size > 0 && used < WORDS_BYTES - 1)
                        used += (size_t)size;
                words[used] = '\0';
        }
}

static int through_fusermount(const char *path, enum detach_how how, int timeout_ms)
{
        char words[WORDS_BYTES] = "";
        cleanup(fd_close) int in = -1;
        int ends[2], status = 0, r;
        pid_t pid, gone;

        if (pipe2(ends, O_CLOEXEC) < 0)
                return -errno;
        in = ends[0];
        r = start(path, how, ends[1], &pid);
        (void)close(ends[1]); /* the program's */
        if (r < 0)
                return r;
        r = listen_to(in, timeout_ms, words);
        if (r < 0)
                (void)kill(pid, SIGKILL); /* it is setuid root and may not let us; then it goes on alone */
        do
                gone = waitpid(pid, &status, r < 0 ? WNOHANG : 0);
        while (gone < 0 && errno == EINTR);
        if (r < 0)
                return r;
        return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : detach_reason(words);
}

int detach_mount(const char *path, enum detach_how how, int timeout_ms)
{
        int flags = UMOUNT_NOFOLLOW | (how == DETACH_LAZY ? MNT_DETACH : 0) | (how == DETACH_FORCE ? MNT_FORCE : 0);

        if (umount2(path, flags) == 0)
                return 0;
        return errno == EPERM && geteuid() != 0 ? through_fusermount(path, how, timeout_ms) : -errno;
}
