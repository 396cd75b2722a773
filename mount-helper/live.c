#include "mount-helper/live.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "core/cleanup.h"
#include "core/report_text.h"
#include "mount-helper/message.h"

#define NS_PER_MS UINT64_C(1000000)

enum {
        DRAW_MS = 250,
        LINE_MS = 10 * 1000,
        LEAVE_MS = 200,
        COLUMNS_MIN = 40,
        COLUMNS_DEFAULT = 80,
        ROWS_DEFAULT = 24,
};

void live_init(struct live *live)
{
        const char *term = getenv("TERM"), *no_colour = getenv("NO_COLOR");
        bool plain = !term || !*term || strcmp(term, "dumb") == 0;

        *live = (struct live){ .terminal = !plain && isatty(STDERR_FILENO) };
        live->colour = live->terminal && !(no_colour && *no_colour);
        live->due_ns = clock_now_ns() + (live->terminal ? 0 : LINE_MS * NS_PER_MS);
        mutex_init(&live->lock);
        condition_init(&live->changed);
}

void live_deinit(struct live *live)
{
        condition_deinit(&live->changed);
        mutex_deinit(&live->lock);
}

int live_timeout_ms(const struct live *live)
{
        uint64_t now = clock_now_ns();

        return now >= live->due_ns ? 0 : (int)((live->due_ns - now) / NS_PER_MS) + 1;
}

bool live_is_due(const struct live *live)
{
        return clock_now_ns() >= live->due_ns;
}

static struct winsize window(void)
{
        struct winsize size;

        if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_col == 0 || size.ws_row == 0)
                return (struct winsize){ .ws_col = COLUMNS_DEFAULT, .ws_row = ROWS_DEFAULT };
        if (size.ws_col < COLUMNS_MIN)
                size.ws_col = COLUMNS_MIN;
        return size;
}

/* A terminal that was stopped would hold us. */
static bool takes_output(void)
{
        struct pollfd poll_fd = { .fd = STDERR_FILENO, .events = POLLOUT };

        return poll(&poll_fd, 1, 0) == 1 && (poll_fd.revents & POLLOUT);
}

static bool begin(struct live *live)
{
        MUTEX_SCOPE(&live->lock);
        live->drawing = !live->left;
        return live->drawing;
}

static void end(struct live *live)
{
        MUTEX_SCOPE(&live->lock);
        live->drawing = false;
        condition_broadcast(&live->changed);
}

static void write_out(const char *text, size_t size)
{
        while (size > 0) {
                ssize_t written = write(STDERR_FILENO, text, size);

                if (written <= 0)
                        return; /* the next drawing repairs it */
                text += written;
                size -= (size_t)written;
        }
}

/* Goes up to the first line drawn before, and writes each line over the old one, to its end; below them nothing stays. */
static void draw(struct live *live, const char *text, unsigned rows)
{
        cleanup(pointer_free) char *frame = malloc(4 * strlen(text) + 64);
        unsigned lines = 0;
        char *to = frame;

        if (!frame)
                return;
        if (live->lines > 0)
                to += sprintf(to, "\033[%uA", live->lines);
        for (const char *line = text; *line && lines + 1 < rows; lines++) {
                size_t size = strcspn(line, "\n");

                memcpy(to, line, size);
                to = stpcpy(to + size, "\033[K\n");
                line += size + (line[size] == '\n');
        }
        to = stpcpy(to, "\033[J");
        write_out(frame, (size_t)(to - frame));
        live->lines = lines;
}

void live_show(struct live *live, const struct status *status)
{
        cleanup(pointer_free) char *text = NULL;
        struct winsize size = window();
        int r;

        live->due_ns = clock_now_ns() + (live->terminal ? DRAW_MS : LINE_MS) * NS_PER_MS;
        r = live->terminal ? report_status_text(status, live->colour, (unsigned)size.ws_col - 1, &text)
                           : report_line_text(status, &text);
        if (r < 0 || !takes_output() || !begin(live))
                return;
        if (live->terminal)
                draw(live, text, size.ws_row);
        else
                message_line("%s", text);
        end(live);
}

void live_clear(struct live *live)
{
        char text[32];

        if (live->lines == 0 || !takes_output() || !begin(live))
                return;
        write_out(text, (size_t)snprintf(text, sizeof(text), "\033[%uA\033[J", live->lines)); /* fits */
        live->lines = 0;
        end(live);
}

void live_leave(struct live *live)
{
        uint64_t deadline_ns = clock_now_ns() + LEAVE_MS * NS_PER_MS;

        MUTEX_SCOPE(&live->lock);
        live->left = true;
        while (live->drawing && condition_wait_until(&live->changed, &live->lock, deadline_ns))
                ;
}
