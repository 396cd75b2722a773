#include "core/stateaside.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "core/cleanup.h"
#include "core/io.h"

enum {
        ASIDE_MAX = 1000, /* within one second */
        ASIDE_NAME_BYTES = 64,
};

static int make_aside_directory(int directory_fd, int *ret_fd)
{
        time_t now = time(NULL);
        struct tm utc;
        char day[32], name[ASIDE_NAME_BYTES];

        if (!gmtime_r(&now, &utc) || strftime(day, sizeof(day), "%Y%m%dT%H%M%SZ", &utc) == 0)
                return -EOVERFLOW;
        (void)snprintf(name, sizeof(name), "damaged-%s", day); /* fits */
        for (unsigned int n = 2; mkdirat(directory_fd, name, 0700) < 0; n++) {
                if (errno != EEXIST || n > ASIDE_MAX)
                        return -errno;
                (void)snprintf(name, sizeof(name), "damaged-%s-%u", day, n); /* fits */
        }
        int fd = openat(directory_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        *ret_fd = fd;
        return 0;
}

static int move(int directory_fd, const char *const *files, size_t count, const char *reason)
{
        cleanup(fd_close) int aside = -1;
        int result = make_aside_directory(directory_fd, &aside);

        result = result < 0 ? result : io_write_file_durable(aside, "reason", reason, strlen(reason), 0600);
        for (size_t i = 0; result == 0 && i < count; i++)
                if (renameat(directory_fd, files[i], aside, files[i]) < 0 && errno != ENOENT)
                        result = -errno;
        result = result < 0 ? result : io_sync_directory(aside);
        return result < 0 ? result : io_sync_directory(directory_fd);
}

static bool has_any(int directory_fd, const char *const *files, size_t count)
{
        struct stat status;

        for (size_t i = 0; i < count; i++)
                if (fstatat(directory_fd, files[i], &status, AT_SYMLINK_NOFOLLOW) == 0 || errno != ENOENT)
                        return true;
        return false;
}

int stateaside_move(int directory_fd, const char *const *files, size_t count, const char *reason)
{
        return has_any(directory_fd, files, count) ? move(directory_fd, files, count, reason) : 0;
}
