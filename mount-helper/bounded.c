#include "mount-helper/bounded.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/cleanup.h"
#include "core/sync.h"
#include "mount-helper/interrupt.h"

struct text {
        char *bytes;
        size_t used, room;
};

static int become(const struct bounded *bounded)
{
        if (!bounded->as_other)
                return 0;
        /* All three of each: FUSE looks at real, effective and saved ids alike. */
        if (setgroups(0, NULL) < 0 || setresgid(bounded->gid, bounded->gid, bounded->gid) < 0 ||
            setresuid(bounded->uid, bounded->uid, bounded->uid) < 0)
                return -errno;
        return 0;
}

static _Noreturn void child(const struct bounded *bounded, pid_t parent, int (*job)(const void *, int), const void *context,
                            int out)
{
        int r;

        interrupt_release();
        r = become(bounded);
        if (r == 0 && (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent))
                r = -EINTR;
        if (r == 0)
                r = job(context, out);
        _exit(-r); /* errno values fit */
}

static int append(struct text *text, int fd)
{
        ssize_t size;

        if (text->room - text->used < 2) {
                size_t room = text->room ? text->room * 2 : 16384;
                char *larger;

                if (text->used >= BOUNDED_BYTES_MAX)
                        return -EFBIG;
                larger = realloc(text->bytes, room);
                if (!larger)
                        return -ENOMEM;
                text->bytes = larger;
                text->room = room;
        }
        size = read(fd, text->bytes + text->used, text->room - text->used - 1);
        if (size < 0)
                return errno == EINTR ? 1 : -errno;
        text->used += (size_t)size;
        text->bytes[text->used] = '\0';
        return size > 0;
}

static int shorter(int a, int b)
{
        return a < 0 ? b : b < 0 || a < b ? a : b;
}

/* Reads until the child closes its end. 0 or -errno. */
static int collect(const struct bounded *bounded, int fd, struct text *text)
{
        uint64_t start = clock_now_ns();

        for (;;) {
                struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
                uint64_t passed_ms = (clock_now_ns() - start) / 1000000;
                int left = bounded->timeout_ms < 0                      ? -1
                           : passed_ms >= (uint64_t)bounded->timeout_ms ? 0
                                                                        : bounded->timeout_ms - (int)passed_ms;
                int ready, r;

                if (interrupt_signal() != 0)
                        return -EINTR;
                ready = poll(&poll_fd, 1, shorter(left, bounded->tick ? bounded->tick_ms : -1));
                if (ready < 0 && errno != EINTR)
                        return -errno;
                if (ready == 0 && left == 0)
                        return -ETIMEDOUT;
                if (ready == 0 && bounded->tick)
                        bounded->tick(bounded->tick_context);
                if (ready <= 0)
                        continue;
                r = append(text, fd);
                if (r <= 0)
                        return r;
        }
}

static void text_free(struct text *text)
{
        free(text->bytes);
}

/* The child's own result. After a failure of ours it is killed, and collected only if that takes effect at once: it may
 * hang in the kernel, and init collects it when we are gone. */
static int finish(pid_t pid, int r)
{
        int status = 0;
        pid_t gone;

        if (r < 0) {
                (void)kill(pid, SIGKILL);             /* it exists: nobody has waited for it */
                (void)waitpid(pid, &status, WNOHANG); /* see above */
                return r;
        }
        do
                gone = waitpid(pid, &status, 0);
        while (gone < 0 && errno == EINTR);
        if (gone < 0)
                return -errno;
        return WIFEXITED(status) ? -WEXITSTATUS(status) : -EIO;
}

int bounded_run(const struct bounded *bounded, int (*job)(const void *, int), const void *context, char **ret_text,
                size_t *ret_size)
{
        cleanup(text_free) struct text text = {0};
        cleanup(fd_close) int in = -1;
        pid_t pid, parent = getpid();
        int ends[2], r;

        if (pipe2(ends, O_CLOEXEC) < 0)
                return -errno;
        in = ends[0];
        pid = fork();
        if (pid < 0) {
                r = -errno;
                (void)close(ends[1]); /* nothing was written */
                return r;
        }
        if (pid == 0)
                child(bounded, parent, job, context, ends[1]);
        (void)close(ends[1]); /* the child's */
        r = finish(pid, collect(bounded, in, &text));
        if (r < 0)
                return r;
        if (!text.bytes && ret_text) {
                text.bytes = calloc(1, 1);
                if (!text.bytes)
                        return -ENOMEM;
        }
        if (ret_size)
                *ret_size = text.used;
        if (ret_text)
                *ret_text = pointer_steal(&text.bytes);
        return 0;
}
