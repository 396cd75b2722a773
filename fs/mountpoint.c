#include "fs/mountpoint.h"

#include "core/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum {
        DEAD_MOUNTS_MAX = 64, /* one above the other */
        CONF_BYTES = 64 * 1024,
};

extern char **environ;

/* ---- taking away ---- */

/* fusermount3 speaks to nobody here: its result says enough. */
static int run_fusermount(const char *path)
{
        char program[] = "fusermount3", options[] = "-uzq", separator[] = "--";
        cleanup(pointer_free) char *target = strdup(path);
        char *arguments[] = {program, options, separator, target, NULL};
        posix_spawn_file_actions_t actions;
        pid_t pid;
        int status, r;

        if (!target)
                return -ENOMEM;
        r = posix_spawn_file_actions_init(&actions);
        if (r != 0)
                return -r;
        r = posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
        if (r == 0)
                r = posix_spawnp(&pid, program, &actions, NULL, arguments, environ);
        (void)posix_spawn_file_actions_destroy(&actions); /* only frees */
        if (r != 0)
                return -r;
        do
                r = waitpid(pid, &status, 0) < 0 ? -errno : 0;
        while (r == -EINTR);
        if (r < 0)
                return r;
        return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EPERM;
}

int mountpoint_detach(const char *path)
{
        int r;

        if (umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) == 0)
                return 0;
        r = -errno;
        return r == -EPERM ? run_fusermount(path) : r;
}

int mountpoint_clear_dead(const char *path)
{
        struct stat stat_now;
        int r = 0;

        for (int i = 0; i < DEAD_MOUNTS_MAX && r == 0; i++) {
                if (stat(path, &stat_now) == 0 || errno != ENOTCONN)
                        return 0;
                r = mountpoint_detach(path);
        }
        return r < 0 ? r : -EBUSY;
}

/* ---- checks ---- */

static int check_directory(const char *path, struct error *error)
{
        struct stat stat_now;
        int r = mountpoint_clear_dead(path);

        if (r < 0)
                return error_set(error, r,
                                 "%s is the mount of a daemon that is gone and cannot be taken away: %s; "
                                 "run `fusermount3 -uz` or, as root, `umount -l` on it",
                                 path, strerror(-r));
        if (stat(path, &stat_now) < 0) {
                r = -errno;
                if (r == -ENOENT)
                        return error_set(error, r, "mount point %s does not exist: create the directory", path);
                return error_set(error, r, "mount point %s: %s", path, strerror(-r));
        }
        if (!S_ISDIR(stat_now.st_mode))
                return error_set(error, -ENOTDIR, "mount point %s is not a directory", path);
        if (geteuid() != 0 && access(path, W_OK) < 0)
                return error_set(error, -EPERM,
                                 "mount point %s: only root may mount on a directory that you cannot write to", path);
        return 0;
}

static int check_device(struct error *error)
{
        cleanup(fd_close) int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
        int r = fd < 0 ? -errno : 0;

        if (r == -ENOENT || r == -ENODEV || r == -ENXIO)
                return error_set(error, r,
                                 "no /dev/fuse: load the kernel module (`modprobe fuse`), or pass the device into "
                                 "the container; `cvv copy` works without it");
        if (r < 0)
                return error_set(error, r, "cannot open /dev/fuse: %s; %s; `cvv copy` works without it", strerror(-r),
                                 geteuid() == 0 ? "allow the device to this container"
                                                : "everybody is meant to: `chmod 666 /dev/fuse` as root");
        return 0;
}

/* libfuse looks where it was built for, usually /usr/bin, then along PATH. */
static bool has_fusermount(void)
{
        const char *variable = getenv("PATH");
        cleanup(pointer_free) char *path = strdup(variable ? variable : "");
        char *state = NULL;

        if (access("/usr/bin/fusermount3", X_OK) == 0 || access("/bin/fusermount3", X_OK) == 0)
                return true;
        for (char *part = path ? strtok_r(path, ":", &state) : NULL; part; part = strtok_r(NULL, ":", &state)) {
                char program[PATH_MAX];
                int length = snprintf(program, sizeof(program), "%s/fusermount3", part);

                if (length > 0 && length < (int)sizeof(program) && access(program, X_OK) == 0)
                        return true;
        }
        return false;
}

bool mountpoint_conf_allows_other(const char *text, size_t size)
{
        static const char word[] = "user_allow_other";
        static const char blank[] = " \t\r";
        const char *end = text + size;

        while (text < end) {
                const char *newline = memchr(text, '\n', (size_t)(end - text));
                const char *line_end = newline ? newline : end;

                while (text < line_end && strchr(blank, *text))
                        text++;
                while (line_end > text && strchr(blank, line_end[-1]))
                        line_end--;
                if ((size_t)(line_end - text) == sizeof(word) - 1 && memcmp(text, word, sizeof(word) - 1) == 0)
                        return true;
                text = newline ? newline + 1 : end;
        }
        return false;
}

static bool may_allow_other(void)
{
        cleanup(fd_close) int fd = open("/etc/fuse.conf", O_RDONLY | O_CLOEXEC);
        cleanup(pointer_free) char *text = malloc(CONF_BYTES);
        ssize_t n = fd >= 0 && text ? read(fd, text, CONF_BYTES) : -1;

        /* Where it cannot be read, fusermount3 decides. */
        if (n < 0)
                return fd < 0 ? errno != ENOENT : true;
        return mountpoint_conf_allows_other(text, (size_t)n);
}

static int check_privileges(const struct options *options, struct error *error)
{
        if (geteuid() == 0)
                return 0;
        if (!has_fusermount())
                return error_set(error, -ENOENT,
                                 "fusermount3 is not installed: install the package fuse3, or mount as root; "
                                 "`cvv copy` works without it");
        if (options->allow_other && !may_allow_other())
                return error_set(error, -EPERM, "allow_other needs the line user_allow_other in /etc/fuse.conf, or root");
        return 0;
}

int mountpoint_prepare(const struct options *options, struct error *error)
{
        int r = check_directory(options->mountpoint, error);

        if (r == 0)
                r = check_device(error);
        if (r == 0)
                r = check_privileges(options, error);
        return r;
}
