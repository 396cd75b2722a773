#include "mount-helper/message.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/cleanup.h"

static int write_all(int fd, const char *text)
{
        size_t size = strlen(text);

        while (size > 0) {
                ssize_t written = write(fd, text, size);

                if (written < 0 && errno == EINTR)
                        continue;
                if (written < 0)
                        return -errno;
                text += written;
                size -= (size_t)written;
        }
        return 0;
}

static void write_line(const char *raw)
{
        size_t size = strlen(raw) * 4 + 5; /* \xNN for each byte, and what error_escape() keeps free */
        cleanup(pointer_free) char *escaped = malloc(size);
        cleanup(pointer_free) char *line = NULL;

        if (!escaped)
                return;
        error_escape(raw, escaped, size);
        if (asprintf(&line, "cvv: %s\n", escaped) < 0) {
                line = NULL;
                return;
        }
        (void)write_all(STDERR_FILENO, line); /* there is nobody else to tell */
}

void message_line(const char *format, ...)
{
        cleanup(pointer_free) char *raw = NULL;
        va_list arguments;

        va_start(arguments, format);
        if (vasprintf(&raw, format, arguments) < 0)
                raw = NULL;
        va_end(arguments);
        if (raw)
                write_line(raw);
}

void message_line_within(int timeout_ms, const char *text)
{
        struct pollfd poll_fd = {.fd = STDERR_FILENO, .events = POLLOUT};

        if (poll(&poll_fd, 1, timeout_ms) > 0 && (poll_fd.revents & POLLOUT))
                write_line(text);
}

int message_error(const struct error *error)
{
        message_line("%s", error->message[0] ? error->message : strerror(-error->code));
        return error->code == -EINVAL ? EXIT_USAGE : EXIT_FAILED;
}

int message_output(const char *text)
{
        return write_all(STDOUT_FILENO, text);
}
