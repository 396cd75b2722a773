/* What libfuse and fusermount3 say, kept from standard error: while a mount is being made it is collected for the one
 * sentence that the user gets; later it goes to the log.
 */
#ifndef CVV_FS_MOUNTLOG_H
#define CVV_FS_MOUNTLOG_H

#include <stddef.h>

enum { MOUNTLOG_BYTES = 400 };

struct mountlog {
        char text[MOUNTLOG_BYTES]; /* of libfuse and fusermount3; the last line, without its newline */
        int memory_fd, saved_fd;   /* standard error during the capture, and before */
};

/* Begins the capture for the calling thread and, because fusermount3 writes there, for the process's descriptor 2. One at a
 * time. From then on libfuse's messages go to the log or to `log`. Where it cannot, messages stay on standard error. */
void mountlog_begin(struct mountlog *log) __attribute__((nonnull));
/* Ends it; log->text holds what was said. */
void mountlog_end(struct mountlog *log) __attribute__((nonnull));

#endif
