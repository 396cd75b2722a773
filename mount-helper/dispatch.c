#include "mount-helper/dispatch.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

static const struct name {
        const char *word;
        enum dispatch what;
} commands[] = {
    {"mount", DISPATCH_MOUNT}, {"status", DISPATCH_STATUS}, {"ctl", DISPATCH_CTL},     {"umount", DISPATCH_UMOUNT},
    {"copy", DISPATCH_COPY},   {"verify", DISPATCH_VERIFY}, {"probe", DISPATCH_PROBE}, {"help", DISPATCH_HELP},
    {"--help", DISPATCH_HELP}, {"-h", DISPATCH_HELP},       {"-V", DISPATCH_VERSION},  {"--version", DISPATCH_VERSION},
};

static const struct name programs[] = {
    {"mount.cvv", DISPATCH_MOUNT_HELPER},
    {"mount.fuse.cvv", DISPATCH_MOUNT_HELPER},
    {"umount.cvv", DISPATCH_UMOUNT_HELPER},
    {"umount.fuse.cvv", DISPATCH_UMOUNT_HELPER},
};

static enum dispatch find(const struct name *names, size_t count, const char *word)
{
        for (size_t i = 0; i < count; i++)
                if (strcmp(names[i].word, word) == 0)
                        return names[i].what;
        return DISPATCH_UNKNOWN;
}

enum dispatch dispatch_words(int argc, char *const *argv)
{
        const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;
        enum dispatch what = DISPATCH_UNKNOWN;

        if (argc > 0)
                what = find(programs, sizeof(programs) / sizeof(programs[0]), slash ? slash + 1 : argv[0]);
        if (what != DISPATCH_UNKNOWN || argc < 2)
                return what;
        what = find(commands, sizeof(commands) / sizeof(commands[0]), argv[1]);
        if (what == DISPATCH_UNKNOWN && argc > 2 && (argv[1][0] == '-' || strchr(argv[1], '/') || strchr(argv[2], '/')))
                return DISPATCH_COPY;
        return what;
}

const char *dispatch_name(enum dispatch what)
{
        for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
                if (commands[i].what == what)
                        return commands[i].word;
        return "";
}
