#include "fs/mountlog.h"

#include "core/cleanup.h"
#include "core/log.h"
#include "fs/lowlevel.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

/* The calling thread's capture. */
static _Thread_local struct mountlog *capturing;

static enum log_level level_of(enum fuse_log_level level)
{
        if (level <= FUSE_LOG_ERR)
                return LOG_LEVEL_ERROR;
        if (level == FUSE_LOG_WARNING)
                return LOG_LEVEL_WARNING;
        return level == FUSE_LOG_DEBUG ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO;
}

/* Keeps the last line of `text`, without the name of the program before it. */
static void keep_last_line(struct mountlog *log, char *text)
{
        char *line;

        for (size_t length = strlen(text); length > 0 && text[length - 1] == '\n'; length--)
                text[length - 1] = '\0';
        line = strrchr(text, '\n');
        line = line ? line + 1 : text;
        if (strncmp(line, "fuse: ", 6) == 0)
                line += 6;
        if (*line)
                (void)snprintf(log->text, sizeof(log->text), "%s", line); /* a longer one is cut */
}

__attribute__((format(printf, 2, 0))) static void on_message(enum fuse_log_level level, const char *format,
                                                             va_list arguments)
{
        char text[MOUNTLOG_BYTES];

        (void)vsnprintf(text, sizeof(text), format, arguments); /* a longer one is cut */
        if (capturing) {
                keep_last_line(capturing, text);
                return;
        }
        text[strcspn(text, "\n")] = '\0';
        log_write(log_default(), level_of(level), "%s", text);
}

void mountlog_begin(struct mountlog *log)
{
        *log = (struct mountlog){.memory_fd = memfd_create("cvv-mount", MFD_CLOEXEC), .saved_fd = -1};
        capturing = log;
        fuse_set_log_func(on_message);
        if (log->memory_fd < 0)
                return;
        log->saved_fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
        if (log->saved_fd >= 0)
                (void)dup2(log->memory_fd, STDERR_FILENO); /* else messages go where they went */
}

void mountlog_end(struct mountlog *log)
{
        char text[MOUNTLOG_BYTES];
        ssize_t n;

        capturing = NULL;
        if (log->saved_fd >= 0)
                (void)dup2(log->saved_fd, STDERR_FILENO); /* onto an open descriptor: it does not fail */
        if (log->memory_fd >= 0) {
                n = pread(log->memory_fd, text, sizeof(text) - 1, 0);
                text[n > 0 ? n : 0] = '\0';
                keep_last_line(log, text); /* fusermount3 knows more than libfuse, which it spoke for */
        }
        fd_close(&log->saved_fd);
        fd_close(&log->memory_fd);
        log->saved_fd = -1;
        log->memory_fd = -1;
}
