#include "fs/mountwatch.h"

#include "core/cleanup.h"
#include "core/mountinfo.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <sys/stat.h>

/* 0 where it cannot be had. */
static uint64_t mount_id(const char *path)
{
        struct statx now;

        if (statx(AT_FDCWD, path, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, STATX_MNT_ID, &now) < 0 ||
            !(now.stx_mask & STATX_MNT_ID))
                return 0;
        return now.stx_mnt_id;
}

static bool is_gone(uint64_t id)
{
        cleanup(mountinfo_deinit) struct mountinfo mount = {0};

        return mountinfo_find(id, &mount) == -ENOENT;
}

bool mountwatch_wait(const char *path, int end_fd)
{
        cleanup(fd_close) int table_fd = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
        uint64_t id = mount_id(path);
        struct pollfd poll_fds[] = {
            {.fd = end_fd, .events = POLLIN},
            {.fd = id != 0 ? table_fd : -1, .events = POLLPRI}, /* the table has changed since the last poll */
        };

        do {
                if (poll_fds[1].fd >= 0 && is_gone(id))
                        return true;
        } while ((poll(poll_fds, 2, -1) < 0 && errno == EINTR) || !poll_fds[0].revents);
        return false;
}
