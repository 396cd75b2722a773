/* A call that may hang (into a mount whose daemon may not answer), done in a child process with a time limit.
 *
 * A request of the kernel to a FUSE daemon can be left by a kill only, so a thread or a timer would not do. The child can
 * also be another user: a mount without allow_other answers nobody but its owner, not even root. Single-threaded callers
 * only.
 */
#ifndef CVV_MOUNT_HELPER_BOUNDED_H
#define CVV_MOUNT_HELPER_BOUNDED_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum { BOUNDED_FOREVER = -1, BOUNDED_BYTES_MAX = 256 * 1024 * 1024 };

struct bounded {
        bool as_other; /* become uid and gid first, without other groups; the caller must be root */
        uid_t uid;
        gid_t gid;
        int timeout_ms;              /* or BOUNDED_FOREVER */
        int tick_ms;                 /* each so often `tick` is called in this process, if set */
        void (*tick)(void *context); /* or NULL */
        void *tick_context;
};

/* Runs `job` in a child. It returns 0 or -errno and writes what it has to say to `out`. The text is collected for *ret_text
 * (allocated, NUL terminated; ret_text may be NULL, ret_size too), which is untouched on failure. 0; what the job returned;
 * -ETIMEDOUT; -EINTR where interrupt_signal() is set; -EFBIG; -EIO where the child died; another -errno. */
int bounded_run(const struct bounded *bounded, int (*job)(const void *context, int out), const void *context,
                char **ret_text, size_t *ret_size) __attribute__((nonnull(1, 2), warn_unused_result));

#endif
