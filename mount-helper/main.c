/* The program cvv, and the names under which mount(8) and umount(8) call it. */
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "config.h"
#include "core/options.h"
#include "mount-helper/commands.h"
#include "mount-helper/dispatch.h"
#include "mount-helper/message.h"

static const char overview[] =
    "usage: cvv COMMAND ...\n"
    "\n"
    "  cvv mount [options] -t TARGET [-t TARGET]... SOURCE MOUNTPOINT\n"
    "                        show SOURCE at MOUNTPOINT, and copy what is read there to each TARGET\n"
    "  cvv copy [options] SOURCE TARGET...   (or: cvv SOURCE TARGET...)\n"
    "                        copy SOURCE to each TARGET, without a mount, to the end\n"
    "  cvv status [--json] [--watch] MOUNTPOINT\n"
    "                        how far it is\n"
    "  cvv ctl MOUNTPOINT COMMAND [ARG]\n"
    "                        fill, pause, resume, limit, retry, ...: 'cvv help ctl' lists them\n"
    "  cvv umount [--now] MOUNTPOINT\n"
    "                        finish what is queued, then unmount; --now: stop at a checkpoint\n"
    "  cvv help COMMAND      more about one of them\n"
    "  cvv --version\n"
    "\n"
    "Exit codes: 0 all done as asked; 1 something failed, is in conflict or is still owed; 2 usage;\n"
    "130 interrupted by SIGINT, 143 by SIGTERM (everything goes on with the next run).\n";

static int output(const char *text)
{
        return message_output(text) < 0 ? EXIT_FAILED : EXIT_DONE;
}

static int later(enum dispatch what)
{
        message_line("%s: comes with a later version", dispatch_name(what));
        return EXIT_USAGE;
}

static int run(enum dispatch what, int argc, char **argv);

static int help(int argc, char **argv)
{
        static char program[] = "cvv", option[] = "--help";
        char *words[] = {program, argc > 2 ? argv[2] : option, option, NULL};
        enum dispatch what = dispatch_words(3, words);

        if (argc < 3)
                return output(overview);
        if (what == DISPATCH_COPY && strcmp(argv[2], "copy") != 0)
                what = DISPATCH_UNKNOWN; /* the short form of a copy has no help of its own */
        if (what == DISPATCH_HELP)
                return output(overview);
        return run(what, 3, words);
}

static int unknown(int argc, char **argv)
{
        if (argc < 2)
                message_line("a command is missing; 'cvv --help' lists them");
        else
                message_line("'%s' is no command; 'cvv --help' lists them", argv[1]);
        return EXIT_USAGE;
}

static int run(enum dispatch what, int argc, char **argv)
{
        switch (what) {
        case DISPATCH_MOUNT:
                return command_mount(argc, argv);
        case DISPATCH_STATUS:
                return command_status(argc, argv);
        case DISPATCH_CTL:
                return command_ctl(argc, argv);
        case DISPATCH_UMOUNT:
                return command_umount(argc, argv);
        case DISPATCH_MOUNT_HELPER:
                return command_mount_helper(argc, argv);
        case DISPATCH_UMOUNT_HELPER:
                return command_umount_helper(argc, argv);
        case DISPATCH_COPY:
                return command_copy(argc, argv);
        case DISPATCH_VERIFY:
        case DISPATCH_PROBE:
                return later(what);
        case DISPATCH_HELP:
                return help(argc, argv);
        case DISPATCH_VERSION:
                return output("cvv " CVV_VERSION "\n");
        case DISPATCH_UNKNOWN:
                break;
        }
        return unknown(argc, argv);
}

int main(int argc, char **argv)
{
        return run(dispatch_words(argc, argv), argc, argv);
}
