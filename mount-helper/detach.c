#include "mount-helper/detach.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "core/cleanup.h"
#include "mount-helper/program.h"

enum { OUTPUT_BYTES = 1024 };

int detach_reason(const char *words)
{
        static const struct {
                const char *words;
                int code;
        } reasons[] = {
            {"busy", -EBUSY},          {"not found in /etc/mtab", -EINVAL}, /* fusermount's word for: not in the mount
                                                                               table, or not yours */
            {"not permitted", -EPERM}, {"Permission denied", -EACCES},      {"not mounted", -EINVAL},
        };

        for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++)
                if (strcasestr(words, reasons[i].words))
                        return reasons[i].code;
        return -EIO;
}

static int through_fusermount(const char *path, enum detach_how how, int timeout_ms)
{
        char name[] = "fusermount3", unmount[] = "-u", lazy[] = "-uz", end[] = "--", output[OUTPUT_BYTES];
        cleanup(pointer_free) char *point = strdup(path);
        char *words[] = {name, how == DETACH_LAZY ? lazy : unmount, end, point, NULL};
        int r;

        if (!point)
                return -ENOMEM;
        r = program_run(words, timeout_ms, output, sizeof(output));
        return r > 0 ? detach_reason(output) : r;
}

int detach_mount(const char *path, enum detach_how how, int timeout_ms)
{
        int flags = UMOUNT_NOFOLLOW | (how == DETACH_LAZY ? MNT_DETACH : 0) | (how == DETACH_FORCE ? MNT_FORCE : 0);

        if (umount2(path, flags) == 0)
                return 0;
        return errno == EPERM && geteuid() != 0 ? through_fusermount(path, how, timeout_ms) : -errno;
}
