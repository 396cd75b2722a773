#include <errno.h>
#include <string.h>

#include "core/cleanup.h"
#include "core/command.h"
#include "mount-helper/client.h"
#include "mount-helper/commands.h"
#include "mount-helper/controlline.h"
#include "mount-helper/interrupt.h"
#include "mount-helper/message.h"

static const char usage[] = "cvv ctl MOUNTPOINT COMMAND [ARG]";

static int help(void)
{
        if (message_output("usage: ") < 0 || message_output(usage) < 0 || message_output("\n\n") < 0 ||
            message_output(command_help()) < 0)
                return EXIT_FAILED;
        return EXIT_DONE;
}

/* The sentence for what the mount said to the line. */
static int explain(const struct client *client, const char *command, const char *argument, int code, struct error *error)
{
        if (code == -ENOENT && argument)
                return error_set(error, code, "no such path in the mount: %s", argument);
        if (code == -EINVAL)
                return error_set(error, code, "%s: the mount refuses '%s%s%s'", client->path, command, argument ? " " : "",
                                 argument ? argument : "");
        return client_explain(client, code, error);
}

static int tell(const char *mountpoint, const char *command, const char *argument)
{
        cleanup(client_deinit) struct client client = {0};
        cleanup(pointer_free) char *line = NULL;
        struct error error = {0};
        int r;

        r = client_open(mountpoint, &client, &error);
        if (r < 0) {
                (void)message_error(&error);
                return EXIT_FAILED;
        }
        r = controlline_build(client.path, command, argument, &line, &error);
        if (r < 0)
                return message_error(&error);
        r = client_control(&client, line, BOUNDED_FOREVER);
        if (interrupt_signal() != 0)
                return EXIT_SIGNAL + interrupt_signal();
        if (r == 0)
                return EXIT_DONE;
        (void)explain(&client, command, argument, r, &error);
        return message_error(&error);
}

int command_ctl(int argc, char **argv)
{
        if (argc > 2 && (strcmp(argv[2], "--help") == 0 || strcmp(argv[2], "-h") == 0))
                return help();
        if (argc > 2 && strcmp(argv[2], "--") == 0) {
                argc--;
                argv++;
        }
        if (argc < 3) {
                message_line("MOUNTPOINT is missing; usage: %s", usage);
                return EXIT_USAGE;
        }
        if (argc < 4) {
                message_line("COMMAND is missing; there are %s", controlline_names());
                return EXIT_USAGE;
        }
        if (argc > 5) {
                message_line("'%s' is one argument too many (quote a name with spaces); usage: %s", argv[5], usage);
                return EXIT_USAGE;
        }
        interrupt_catch();
        return tell(argv[2], argv[3], argc > 4 ? argv[4] : NULL);
}
