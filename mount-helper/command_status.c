#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "core/cleanup.h"
#include "core/report_text.h"
#include "mount-helper/client.h"
#include "mount-helper/commands.h"
#include "mount-helper/interrupt.h"
#include "mount-helper/message.h"

enum { WATCH_MS = 1000, COLUMNS_MIN = 40 };

static const char usage[] = "usage: cvv status [--json] [--watch] MOUNTPOINT\n"
                            "\n"
                            "  --json   the whole state for programs (status.json)\n"
                            "  --watch  again each second, until the mount is gone or Ctrl-C\n";

struct request {
        bool json, watch;
        const char *mountpoint;
};

/* 0, 1 for help, or -EINVAL after the line was printed. */
static int parse(int argc, char **argv, struct request *ret_request)
{
        struct request request = {0};
        bool options = true;

        for (int i = 2; i < argc; i++) {
                if (options && (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0))
                        return 1;
                if (options && strcmp(argv[i], "--json") == 0) {
                        request.json = true;
                } else if (options && strcmp(argv[i], "--watch") == 0) {
                        request.watch = true;
                } else if (options && strcmp(argv[i], "--") == 0) {
                        options = false;
                } else if ((options && argv[i][0] == '-') || request.mountpoint) {
                        message_line("'%s' is not understood; usage: cvv status [--json] [--watch] MOUNTPOINT", argv[i]);
                        return -EINVAL;
                } else {
                        request.mountpoint = argv[i];
                }
        }
        if (!request.mountpoint) {
                message_line("MOUNTPOINT is missing; usage: cvv status [--json] [--watch] MOUNTPOINT");
                return -EINVAL;
        }
        *ret_request = request;
        return 0;
}

/* The width of the terminal at standard output, 0 where it is none. */
static unsigned terminal_columns(void)
{
        struct winsize size;

        if (!isatty(STDOUT_FILENO) || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_col == 0)
                return 0;
        return size.ws_col < COLUMNS_MIN ? COLUMNS_MIN : size.ws_col;
}

static int read_file(const struct client *client, const char *name, char **ret_text, struct error *error)
{
        int r = client_read(client, name, CLIENT_ANSWER_MS, NULL, NULL, ret_text, NULL);

        return r < 0 ? client_explain(client, r, error) : 0;
}

/* Coloured, at the terminal's width. What is being copied now is not in status.json. */
static int read_for_terminal(const struct client *client, unsigned columns, char **ret_text, struct error *error)
{
        struct status status;
        const char *term = getenv("TERM"), *no_colour = getenv("NO_COLOR");
        bool colour = term && strcmp(term, "dumb") != 0 && !(no_colour && *no_colour);
        int r = client_status(client, &status, error);

        if (r < 0)
                return r;
        r = report_status_text(&status, colour, columns, ret_text);
        status_deinit(&status);
        return r < 0 ? error_set(error, r, "out of memory") : 0;
}

static int show(const struct client *client, const struct request *request, struct error *error)
{
        cleanup(pointer_free) char *text = NULL;
        unsigned columns = terminal_columns();
        int r;

        if (request->json)
                r = read_file(client, "status.json", &text, error);
        else if (columns > 0)
                r = read_for_terminal(client, columns, &text, error);
        else
                r = read_file(client, "status", &text, error);
        if (r < 0)
                return r;
        if (request->watch && columns > 0 && !request->json)
                r = message_output("\033[H\033[J"); /* home, clear to the end */
        if (r == 0)
                r = message_output(text);
        if (r == 0 && request->watch && columns == 0 && !request->json)
                r = message_output("\n"); /* between one block and the next */
        return r < 0 ? error_set(error, r, "cannot write: %s", strerror(-r)) : 0;
}

/* The mount that was watched is gone. */
static bool is_gone(const struct client *client, int code)
{
        cleanup(mount_entry_deinit) struct mount_entry entry = {0};

        if (code == -ENOTCONN || code == -ECONNABORTED)
                return true;
        return mount_entry_find(client->path, &entry) == -ENOENT || entry.info.id != client->entry.info.id;
}

static int watch(const struct client *client, const struct request *request)
{
        for (;;) {
                struct error error = {0};
                int r = show(client, request, &error);

                if (interrupt_signal() != 0)
                        return EXIT_SIGNAL + interrupt_signal();
                if (r < 0 && is_gone(client, r))
                        return EXIT_DONE;
                if (r < 0) {
                        (void)message_error(&error);
                        return EXIT_FAILED;
                }
                (void)poll(NULL, 0, WATCH_MS); /* a signal ends it early, and is looked at */
                if (interrupt_signal() != 0)
                        return EXIT_SIGNAL + interrupt_signal();
        }
}

int command_status(int argc, char **argv)
{
        cleanup(client_deinit) struct client client = {0};
        struct request request;
        struct error error = {0};
        int r = parse(argc, argv, &request);

        if (r > 0)
                return message_output(usage) < 0 ? EXIT_FAILED : EXIT_DONE;
        if (r < 0)
                return EXIT_USAGE;
        interrupt_catch();
        r = client_open(request.mountpoint, &client, &error);
        if (r == 0)
                r = show(&client, &request, &error);
        if (interrupt_signal() != 0)
                return EXIT_SIGNAL + interrupt_signal();
        if (r < 0) {
                (void)message_error(&error);
                return EXIT_FAILED;
        }
        if (!request.watch)
                return EXIT_DONE;
        (void)poll(NULL, 0, WATCH_MS); /* as in watch() */
        return watch(&client, &request);
}
