#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "core/cleanup.h"
#include "core/report_text.h"
#include "mount-helper/client.h"
#include "mount-helper/commands.h"
#include "mount-helper/farewell.h"
#include "mount-helper/interrupt.h"
#include "mount-helper/message.h"
#include "mount-helper/remount.h"

enum { PROBE_MS = 10 * 1000, CHECKPOINT_MS = 60 * 1000, UMOUNT8_USAGE = 1, UMOUNT8_FAILED = 32 };

static const char usage[] =
    "usage: cvv umount [--now] MOUNTPOINT\n"
    "\n"
    "Finishes what is queued, unmounts, and returns when the daemon is gone.\n"
    "  --now  stop at a checkpoint; the next mount goes on from there\n"
    "\n"
    "Exit codes: 0 nothing is owed; 1 something is still owed, failed or in conflict, or it is busy and\n"
    "stays mounted; 130 interrupted while it waited, and stays mounted.\n";

struct request {
        bool now;
        const char *mountpoint;
};

static int parse(int argc, char **argv, struct request *ret_request)
{
        struct request request = {0};
        bool options = true;

        for (int i = 2; i < argc; i++) {
                if (options && (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0))
                        return 1;
                if (options && strcmp(argv[i], "--now") == 0) {
                        request.now = true;
                } else if (options && strcmp(argv[i], "--") == 0) {
                        options = false;
                } else if ((options && argv[i][0] == '-') || request.mountpoint) {
                        message_line("'%s' is not understood; usage: cvv umount [--now] MOUNTPOINT", argv[i]);
                        return -EINVAL;
                } else {
                        request.mountpoint = argv[i];
                }
        }
        if (!request.mountpoint) {
                message_line("MOUNTPOINT is missing; usage: cvv umount [--now] MOUNTPOINT");
                return -EINVAL;
        }
        *ret_request = request;
        return 0;
}

/* Takes off the mount of a dead daemon. */
static int clear_stale(const struct client *client)
{
        const struct farewell nobody = {.pid_fd = -1};

        if (farewell_unmount(&nobody, client, DETACH_LAZY) < 0)
                return EXIT_FAILED;
        message_line(
            "%s: the cvv that served it was dead; the mount is cleared, the next one goes on from the last checkpoint",
            client->path);
        return EXIT_DONE;
}

/* The percentage on the terminal while the queue empties. */
static void show_progress(void *context)
{
        const struct client *client = context;
        cleanup(pointer_free) char *text = NULL;
        char line[64];

        if (client_read(client, "progress", PROBE_MS, NULL, NULL, &text, NULL) < 0)
                return;
        text[strcspn(text, "\n")] = '\0';
        (void)snprintf(line, sizeof(line), "\rfinishing what is queued: %.16s %% ", text); /* cut: it is a number */
        (void)!write(STDERR_FILENO, line, strlen(line));                                   /* it is a nicety only */
}

/* Waits until nothing that is queued can progress. */
static int finish_queue(struct client *client, struct error *error)
{
        static const char clear[] = "\r\033[K";
        cleanup(pointer_free) char *state = NULL;
        bool terminal = isatty(STDERR_FILENO);
        int r;

        r = client_read(client, "wait", BOUNDED_FOREVER, terminal ? show_progress : NULL, client, &state, NULL);
        if (terminal)
                (void)!write(STDERR_FILENO, clear, strlen(clear)); /* as in show_progress() */
        return r < 0 ? client_explain(client, r, error) : 0;
}

/* What is queued is finished, or a checkpoint made. A mount that does not answer does not hinder --now. */
static int settle(struct client *client, bool now, struct error *error)
{
        int r;

        if (!now)
                return finish_queue(client, error);
        r = client_control(client, "checkpoint\n", CHECKPOINT_MS);
        if (interrupt_signal() != 0)
                return error_set(error, -EINTR, "interrupted");
        if (r < 0 && r != -ENOTDIR)
                message_line("%s: no checkpoint: %s", client->path, strerror(-r));
        return r == -ENOTDIR ? client_explain(client, r, error) : 0; /* without .cvv: not ours to unmount */
}

static bool is_all_done(const struct status *status)
{
        return status->owed_bytes == 0 && status->scan_complete && status->files[CATEGORY_PENDING] == 0 &&
               status->files[CATEGORY_FAILED] == 0 && status->files[CATEGORY_MISSING] == 0 &&
               status->files[CATEGORY_CONFLICT] == 0;
}

/* The last words: what is owed, and how to go on. Returns the exit code. */
static int say_owed(const struct status *status, const struct farewell *farewell)
{
        cleanup(pointer_free) char *owed = NULL;
        bool done = is_all_done(status);

        if (report_owed_text(status, &owed) < 0) {
                owed = NULL;
                message_line("out of memory");
                return EXIT_FAILED;
        }
        if (message_output(owed) < 0 || message_output("\n") < 0)
                return EXIT_FAILED;
        if (!done && farewell->resume)
                (void)(message_output("resume with: ") < 0 || message_output(farewell->resume) < 0 ||
                       message_output("\n") < 0); /* what was written shows that it failed */
        return done ? EXIT_DONE : EXIT_FAILED;
}

static int interrupted_in_the_end(const struct client *client)
{
        message_line("%s is unmounted; its daemon is still writing what it holds and ends by itself", client->path);
        return EXIT_SIGNAL + interrupt_signal();
}

/* The status is NULL where the mount gave none. */
static int unmount(const struct client *client, const struct status *status, enum detach_how how)
{
        cleanup(farewell_deinit) struct farewell farewell = {.pid_fd = -1};

        farewell_init(&farewell, status ? (pid_t)status->pid : 0);
        if (farewell_unmount(&farewell, client, how) < 0)
                return EXIT_FAILED;
        if (farewell_wait(&farewell) < 0)
                return interrupted_in_the_end(client);
        if (status)
                return say_owed(status, &farewell);
        message_line("%s is unmounted; what is still owed is not known", client->path);
        return EXIT_FAILED;
}

static int umount_settled(struct client *client, bool now)
{
        struct status status;
        struct error error = {0};
        int code, r = settle(client, now, &error);

        if (r == 0)
                r = client_status(client, &status, &error);
        if (interrupt_signal() != 0) {
                message_line("interrupted; %s stays mounted", client->path);
                return EXIT_SIGNAL + interrupt_signal();
        }
        if (r == -ETIMEDOUT && now)
                return unmount(client, NULL, DETACH_CLEAN);
        if (r < 0) {
                (void)message_error(&error);
                return EXIT_FAILED;
        }
        code = unmount(client, &status, DETACH_CLEAN);
        status_deinit(&status);
        return code;
}

int command_umount(int argc, char **argv)
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
        if (r < 0) {
                (void)message_error(&error);
                return EXIT_FAILED;
        }
        r = client_probe(&client, PROBE_MS);
        if (r == -ENOTCONN || r == -ECONNABORTED)
                return clear_stale(&client);
        return umount_settled(&client, request.now);
}

/* --- umount(8)'s helper --- */

struct helper_request {
        bool lazy, force, read_only, verbose;
        const char *namespace_path, *mountpoint;
};

static int helper_parse(int argc, char **argv, struct helper_request *ret_request)
{
        struct helper_request request = {0};
        int letter;

        optind = 0; /* glibc: start anew */
        opterr = 0;
        while ((letter = getopt(argc, argv, "nlfvrN:t:")) != -1) {
                switch (letter) {
                case 'l':
                        request.lazy = true;
                        break;
                case 'f':
                        request.force = true;
                        break;
                case 'r':
                        request.read_only = true;
                        break;
                case 'v':
                        request.verbose = true;
                        break;
                case 'N':
                        request.namespace_path = optarg;
                        break;
                case '?':
                        message_line("unknown option '-%c'; usage: %s MOUNTPOINT [-nlfvr] [-N NAMESPACE] [-t TYPE]", optopt,
                                     argv[0]);
                        return -EINVAL;
                default: /* -n: there is no mtab any more; -t: the type that umount(8) found us by */
                        break;
                }
        }
        if (optind != argc - 1) {
                message_line("one MOUNTPOINT is needed; usage: %s MOUNTPOINT [-nlfvr] [-N NAMESPACE] [-t TYPE]", argv[0]);
                return -EINVAL;
        }
        request.mountpoint = argv[optind];
        *ret_request = request;
        return 0;
}

static int helper_open(const struct helper_request *request, struct client *client, struct error *error)
{
        cleanup(fd_close) int fd = -1;

        if (request->namespace_path) {
                fd = open(request->namespace_path, O_RDONLY | O_CLOEXEC);
                if (fd < 0 || setns(fd, CLONE_NEWNS) < 0)
                        return error_set(error, -errno, "cannot enter the mount namespace %s: %s", request->namespace_path,
                                         strerror(errno));
        }
        return client_open(request->mountpoint, client, error);
}

/* -r: what cannot be unmounted is to be read-only at least. */
static int make_read_only(const struct client *client)
{
        unsigned long flags = remount_current_flags(client->entry.options, client->entry.super_options);

        if (mount(client->entry.info.source, client->path, NULL, MS_REMOUNT | MS_RDONLY | flags, NULL) < 0) {
                message_line("%s cannot be made read-only: %s", client->path, strerror(errno));
                return UMOUNT8_FAILED;
        }
        message_line("%s is read-only now", client->path);
        return EXIT_DONE;
}

static int helper_unmount(struct client *client, const struct helper_request *request)
{
        enum detach_how how = request->lazy ? DETACH_LAZY : request->force ? DETACH_FORCE : DETACH_CLEAN;
        cleanup(farewell_deinit) struct farewell farewell = {.pid_fd = -1};
        struct status status;
        struct error unknown; /* then there is nothing to wait for or to tell */
        bool known = client_status(client, &status, &unknown) == 0;
        int r;

        farewell_init(&farewell, known ? (pid_t)status.pid : 0);
        r = farewell_unmount(&farewell, client, how);
        if (r == 0 && !request->lazy && farewell_wait(&farewell) < 0)
                (void)interrupted_in_the_end(client); /* it is unmounted, which is what was asked for */
        else if (r == 0 && known && request->verbose)
                (void)say_owed(&status, &farewell); /* as above */
        if (known)
                status_deinit(&status);
        if (r == -EBUSY && request->read_only)
                return make_read_only(client);
        return r < 0 ? UMOUNT8_FAILED : EXIT_DONE;
}

int command_umount_helper(int argc, char **argv)
{
        cleanup(client_deinit) struct client client = {0};
        struct helper_request request;
        struct error error = {0};
        int r = helper_parse(argc, argv, &request);

        if (r < 0)
                return UMOUNT8_USAGE;
        interrupt_catch();
        r = helper_open(&request, &client, &error);
        if (r < 0) {
                (void)message_error(&error);
                return UMOUNT8_FAILED;
        }
        r = client_probe(&client, PROBE_MS);
        if (r == -ENOTCONN || r == -ECONNABORTED)
                return clear_stale(&client) == EXIT_DONE ? EXIT_DONE : UMOUNT8_FAILED;
        if (r == 0 && !request.lazy && !request.force && settle(&client, true, &error) < 0) {
                message_line("%s: %s", client.path, error.message);
                if (interrupt_signal() != 0)
                        return EXIT_SIGNAL + interrupt_signal();
        }
        return helper_unmount(&client, &request);
}
