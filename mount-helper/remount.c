#include "mount-helper/remount.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>

#include "core/cleanup.h"
#include "mount-helper/client.h"
#include "mount-helper/message.h"
#include "mount-helper/optionlist.h"
#include "mount-helper/path.h"

static const struct word {
        const char *name;
        unsigned long set, clear;
} words[] = {
    {"ro", MS_RDONLY, 0},
    {"rw", 0, MS_RDONLY},
    {"nosuid", MS_NOSUID, 0},
    {"suid", 0, MS_NOSUID},
    {"nodev", MS_NODEV, 0},
    {"dev", 0, MS_NODEV},
    {"noexec", MS_NOEXEC, 0},
    {"exec", 0, MS_NOEXEC},
    {"sync", MS_SYNCHRONOUS, 0},
    {"async", 0, MS_SYNCHRONOUS},
    {"dirsync", MS_DIRSYNC, 0},
    {"noatime", MS_NOATIME, MS_RELATIME | MS_STRICTATIME},
    {"atime", 0, MS_NOATIME},
    {"nodiratime", MS_NODIRATIME, 0},
    {"diratime", 0, MS_NODIRATIME},
    {"relatime", MS_RELATIME, MS_NOATIME | MS_STRICTATIME},
    {"norelatime", 0, MS_RELATIME},
    {"strictatime", MS_STRICTATIME, MS_NOATIME | MS_RELATIME},
    {"nostrictatime", 0, MS_STRICTATIME},
};

enum { WORDS = sizeof(words) / sizeof(words[0]) };

unsigned long remount_apply_word(unsigned long flags, const char *word)
{
        for (size_t i = 0; i < WORDS; i++)
                if (strcmp(word, words[i].name) == 0)
                        return (flags & ~words[i].clear) | words[i].set;
        return flags;
}

unsigned long remount_current_flags(const char *options, const char *super_options)
{
        unsigned long flags = 0;

        for (size_t i = 0; i < WORDS; i++) {
                if (words[i].set && mount_list_has(options, words[i].name))
                        flags |= words[i].set;
                if (words[i].set & (MS_RDONLY | MS_SYNCHRONOUS | MS_DIRSYNC) &&
                    mount_list_has(super_options, words[i].name))
                        flags |= words[i].set;
        }
        /* The table names neither where atime is strict, and mount(2) takes relatime where it is told neither. */
        if (!(flags & (MS_NOATIME | MS_RELATIME)))
                flags |= MS_STRICTATIME;
        return flags;
}

static int change_flags(const struct client *client, const struct options *options, struct error *error)
{
        unsigned long flags = remount_current_flags(client->entry.options, client->entry.super_options);

        for (size_t i = 0; i < options->fuse_options.count; i++)
                flags = remount_apply_word(flags, options->fuse_options.items[i]);
        if (mount(client->entry.info.source, client->path, NULL, MS_REMOUNT | flags, NULL) == 0)
                return 0;
        return error_set(error, -errno, "%s cannot be remounted: %s", client->path, strerror(errno));
}

static bool is_named(char *const *lists, int count, const char *name)
{
        for (int i = 0; i < count; i++)
                if (optionlist_has(lists[i], name))
                        return true;
        return false;
}

static int tell(const struct client *client, const char *command, struct error *error)
{
        int r = client_control(client, command, CLIENT_ANSWER_MS);

        return r < 0 ? client_explain(client, r, error) : 0;
}

/* One line `name = value` of the new settings that the running mount does not have. */
static int change_setting(const struct client *client, const struct options *options, const char *name, const char *value,
                          struct error *error)
{
        char command[64];

        if (strcmp(name, "limit") == 0) {
                if (options->limit_bytes_per_s == 0)
                        return tell(client, "limit none\n", error);
                (void)snprintf(command, sizeof(command), "limit %" PRIu64 "\n", options->limit_bytes_per_s); /* fits */
                return tell(client, command, error);
        }
        if (strcmp(name, "fill") == 0 && options->fill == FILL_ALL)
                return tell(client, "fill\n", error);
        message_line("%s=%s cannot change while mounted; it holds from the next mount on", name, value);
        return 0;
}

/* Goes through the new settings in the form of `.cvv/config`. */
static int change_settings(const struct client *client, const struct options *options, char *const *lists, int count,
                           struct error *error)
{
        cleanup(pointer_free) char *running = NULL;
        cleanup(pointer_free) char *wanted = NULL;
        int r = client_read(client, "config", CLIENT_ANSWER_MS, NULL, NULL, &running, NULL);

        if (r < 0)
                return client_explain(client, r, error);
        if (options_config_text(options, &wanted) < 0)
                return error_set(error, -ENOMEM, "out of memory");
        for (char *rest = wanted, *line; r == 0 && (line = strsep(&rest, "\n"));) {
                char *value = strstr(line, " = ");

                if (!value || optionlist_has_line(running, line, (int)strlen(line)))
                        continue;
                *value = '\0';
                if (is_named(lists, count, line) || (strcmp(line, "hash") == 0 && is_named(lists, count, "hash-algorithm")))
                        r = change_setting(client, options, line, value + 3, error);
        }
        return r;
}

static bool names_settings(char *const *lists, int count)
{
        static const char *const names[] = {"target",     "mode", "hash",    "hash-algorithm", "fill",        "state",
                                            "chunk-size", "jobs", "limit",   "memory",         "log",         "min-targets",
                                            "existing",   "mhl",  "exclude", "reads",          "list-control"};

        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
                if (is_named(lists, count, names[i]))
                        return true;
        return false;
}

int remount_run(const struct options *options, char *const *lists, int count, struct error *error)
{
        cleanup(client_deinit) struct client client = {0};
        int r = client_open(options->mountpoint, &client, error);

        if (r < 0)
                return r == -ENOENT ? error->code = -EINVAL : r;
        r = change_flags(&client, options, error);
        if (r < 0 || !names_settings(lists, count))
                return r;
        return change_settings(&client, options, lists, count, error);
}
