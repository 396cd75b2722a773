#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config.h"
#include "core/cleanup.h"
#include "core/options.h"
#include "mount-helper/commands.h"
#include "mount-helper/message.h"
#include "mount-helper/mounting.h"
#include "mount-helper/optionlist.h"
#include "mount-helper/path.h"
#include "mount-helper/prepare.h"
#include "mount-helper/remount.h"

/* mount(8)'s own codes, which its callers (systemd, scripts) know. */
enum { MOUNT8_USAGE = 1, MOUNT8_FAILED = 32 };

/* A command line, and the -o lists of it. The words are borrowed. */
struct words {
        char **items;
        char **lists; /* each -o list, in order */
        int count, list_count;
};

static void words_deinit(struct words *words)
{
        free(words->lists);
        free(words->items);
}

static void words_add_list(struct words *words, char *list)
{
        words->items[words->count++] = list;
        words->lists[words->list_count++] = list;
}

/* Takes over the words, with each list behind -o in a word of its own. Room for one more list stays. */
static int words_init(struct words *words, int argc, char **argv)
{
        static char option[] = "-o";

        words->items = calloc((size_t)argc * 2 + 3, sizeof(*words->items));
        words->lists = calloc((size_t)argc + 2, sizeof(*words->lists));
        if (!words->items || !words->lists)
                return -ENOMEM;
        for (int i = 0; i < argc; i++) {
                if (strncmp(argv[i], option, 2) != 0) {
                        words->items[words->count++] = argv[i];
                        continue;
                }
                words->items[words->count++] = option;
                if (argv[i][2])
                        words_add_list(words, argv[i] + 2);
                else if (i + 1 < argc)
                        words_add_list(words, argv[++i]);
        }
        return 0;
}

/* Enters the mount namespace of -N before any path is looked at. */
static int enter_namespace(const struct options *options, struct error *error)
{
        cleanup(fd_close) int fd = -1;

        if (!options->namespace_path)
                return 0;
        fd = open(options->namespace_path, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || setns(fd, CLONE_NEWNS) < 0)
                return error_set(error, -errno, "cannot enter the mount namespace %s: %s", options->namespace_path,
                                 strerror(errno));
        return 0;
}

/* The paths of a remount are compared with those of the mount that runs, which are absolute. What does not exist stays. */
static void resolve(char **path)
{
        char *absolute;

        if (!*path || path_absolute(*path, &absolute) < 0)
                return;
        free(*path);
        *path = absolute;
}

static int remount(struct options *options, const struct words *words)
{
        struct error error = {0};
        int r;

        for (size_t i = 0; i < options->targets.count; i++)
                resolve(&options->targets.items[i]);
        resolve(&options->state_dir);
        resolve(&options->log_file);
        r = remount_run(options, words->lists, words->list_count, &error);
        return r < 0 ? message_error(&error) : EXIT_DONE;
}

static int mount_as(struct options *options, const struct words *words, int argc, char **argv)
{
        struct error error = {0};
        int r = enter_namespace(options, &error);

        if (r == 0 && options->remount && !options->fake)
                return remount(options, words);
        if (r == 0)
                r = prepare_mount(options, &error);
        if (r < 0)
                return message_error(&error);
        return options->fake ? EXIT_DONE : mounting_run(options, argc, argv);
}

static int output(const char *text)
{
        return message_output(text) < 0 ? EXIT_FAILED : EXIT_DONE;
}

static bool has_option(const struct words *words, const char *name)
{
        for (int i = 0; i < words->list_count; i++)
                if (optionlist_has(words->lists[i], name))
                        return true;
        return false;
}

/* For mount(8) `suid` and `dev` are what holds unless the user says otherwise, so it does not hand them on; for libfuse it
 * is the other way round. (mount.fuse3 does the same. For an fstab line with `user`, mount(8) says nosuid and nodev.) */
static void add_defaults_of_mount(struct words *words)
{
        static char option[] = "-o", none[] = "", dev[] = "dev", suid[] = "suid", both[] = "suid,dev";

        if (geteuid() != 0 || has_option(words, "remount"))
                return;
        words->items[words->count++] = option;
        words_add_list(words, has_option(words, "nosuid")  ? has_option(words, "nodev") ? none : dev
                              : has_option(words, "nodev") ? suid
                                                           : both);
}

/* `skip` words stand in front of the options. */
static int run(int argc, char **argv, int skip, int (*parse)(int, char **, struct options *, struct error *),
               const char *help)
{
        cleanup(options_deinit) struct options options = {0};
        cleanup(words_deinit) struct words words = {0};
        struct error error = {0};
        int r = words_init(&words, argc - skip, argv + skip);

        if (r == 0 && parse == options_parse_helper)
                add_defaults_of_mount(&words);
        if (r < 0)
                r = error_set(&error, r, "out of memory");
        else
                r = parse(words.count, words.items, &options, &error);
        if (r == OPTIONS_HELP)
                return output(help);
        if (r == OPTIONS_VERSION)
                return output("cvv " CVV_VERSION "\n");
        return r < 0 ? message_error(&error) : mount_as(&options, &words, argc, argv);
}

int command_mount(int argc, char **argv)
{
        return run(argc, argv, 2, options_parse_mount, options_usage_mount());
}

int command_mount_helper(int argc, char **argv)
{
        static const char help[] =
            "usage: mount.cvv SOURCE MOUNTPOINT [-sfnvrw] [-N NAMESPACE] [-t TYPE] -o target=DIR[,OPTION]...\n"
            "\n"
            "Called by mount(8) for `mount -t cvv`. Every long option of `cvv mount` is an -o option, by its\n"
            "name; `cvv help mount` lists them. Exit codes are those of mount(8): 0 mounted, 1 usage, 32 failed.\n";
        int code = run(argc, argv, 1, options_parse_helper, help);

        return code == EXIT_USAGE ? MOUNT8_USAGE : code == EXIT_FAILED ? MOUNT8_FAILED : code;
}
