#include "core/statehome.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "core/cleanup.h"
#include "core/device.h"
#include "core/io.h"

static int error_of(struct error *error, int code, const char *what, const char *path)
{
        return error_set(error, code, "cannot %s %s: %s", what, path, strerrordesc_np(-code));
}

static int refuse_network(int fd, const char *path, struct error *error)
{
        struct device device;
        int result = device_probe(fd, &device, error);

        if (result < 0)
                return result;
        if (device.kind == DEVICE_NETWORK)
                return error_set(error, -EINVAL,
                                 "%s is on a network filesystem (%s): choose a local directory with --state", path,
                                 device.fs_name);
        return 0;
}

static int open_directory(const char *path)
{
        int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        return fd < 0 ? -errno : fd;
}

static int make_directory_in(int parent_fd, const char *path, struct error *error)
{
        if (mkdir(path, 0700) < 0 && errno != EEXIST)
                return error_of(error, -errno, "create", path);
        int result = io_sync_directory(parent_fd);
        return result < 0 ? error_of(error, result, "create", path) : 0;
}

/* Opens `path`, and makes the last `levels` components of it where they are absent. Returns the descriptor. */
static int open_or_make_directory(const char *path, unsigned int levels, struct error *error)
{
        cleanup(pointer_free) char *parent = NULL;
        size_t length = strlen(path);
        int fd = open_directory(path);

        if (fd >= 0)
                return fd;
        if (fd != -ENOENT || levels == 0)
                return error_of(error, fd, "open directory", path);
        while (length > 1 && path[length - 1] == '/')
                length--;
        while (length > 0 && path[length - 1] != '/')
                length--;
        parent = length ? strndup(path, length) : strdup(".");
        if (!parent)
                return error_set(error, -ENOMEM, "not enough memory");
        cleanup(fd_close) int parent_fd = open_or_make_directory(parent, levels - 1, error);
        if (parent_fd < 0)
                return parent_fd;
        int result = refuse_network(parent_fd, parent, error);
        result = result < 0 ? result : make_directory_in(parent_fd, path, error);
        if (result < 0)
                return result;
        fd = open_directory(path);
        return fd < 0 ? error_of(error, fd, "open directory", path) : fd;
}

int statehome_open(const char *path, unsigned int levels, struct error *error)
{
        cleanup(fd_close) int fd = *path ? open_or_make_directory(path, levels, error)
                                         : error_set(error, -EINVAL, "the name of the state directory is empty");

        if (fd < 0)
                return fd;
        int result = refuse_network(fd, path, error);
        if (result < 0)
                return result;
        while (flock(fd, LOCK_EX) < 0)
                if (errno != EINTR)
                        return error_of(error, -errno, "lock", path);
        return fd_steal(&fd);
}

static char *home_state_directory(void)
{
        const char *state_home = getenv("XDG_STATE_HOME");
        const char *home = getenv("HOME");
        char buffer[4096];
        struct passwd entry;
        struct passwd *found = NULL;
        char *path;

        if (state_home && state_home[0] == '/')
                return asprintf(&path, "%s/cvv", state_home) < 0 ? NULL : path;
        if (!home || home[0] != '/') {
                if (getpwuid_r(getuid(), &entry, buffer, sizeof(buffer), &found) == 0 && found)
                        home = found->pw_dir;
        }
        if (!home || home[0] != '/')
                return NULL;
        return asprintf(&path, "%s/.local/state/cvv", home) < 0 ? NULL : path;
}

int statehome_default(char **ret_path, struct error *error)
{
        char *path = geteuid() == 0 ? strdup("/var/lib/cvv") : home_state_directory();

        if (!path)
                return error_set(error, -ENOENT,
                                 "this user has no home directory for the state: choose a directory with --state");
        *ret_path = path;
        return 0;
}

static bool is_leftover_of_creation(const char *name)
{
        return strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || strcmp(name, STATEHOME_LOCK_FILE) == 0 ||
               strcmp(name, "lost+found") == 0 ||
               strncmp(name, STATEHOME_IDENTITY_FILE ".tmp.", strlen(STATEHOME_IDENTITY_FILE ".tmp.")) == 0;
}

/* Calls `look` for each entry until one gives other than 1, which is returned; 1 where none does. */
static int each_entry(int directory_fd, int (*look)(int directory_fd, const char *name, void *context), void *context)
{
        cleanup(dir_close) DIR *directory = NULL;
        cleanup(fd_close) int fd = openat(directory_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        const struct dirent *entry;
        int result = 1;

        directory = fd >= 0 ? fdopendir(fd) : NULL;
        if (!directory)
                return -errno;
        (void)fd_steal(&fd); /* the stream owns it now */
        for (errno = 0; result == 1 && (entry = readdir(directory)); errno = 0)
                result = look(directory_fd, entry->d_name, context);
        return result == 1 && errno ? -errno : result;
}

static int look_for_blank(int directory_fd, const char *name, void *context)
{
        (void)directory_fd;
        (void)context;
        return is_leftover_of_creation(name);
}

int statehome_is_blank(int directory_fd)
{
        return each_entry(directory_fd, look_for_blank, NULL);
}

/* What a look at the entries has found. */
struct likeness {
        bool is_ours;     /* a file that only cvv makes, beside LMDB's */
        bool is_database; /* LMDB's file, and sound as far as its first page tells */
};

static bool is_sound_database(int directory_fd)
{
        enum { PAGE_HEADER_BYTES = 16 };
        static const uint32_t magic = 0xBEEFC0DE; /* in the order of this machine, as LMDB has it */
        uint32_t found;
        cleanup(fd_close) int fd = openat(directory_fd, "data.mdb", O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

        return fd >= 0 && pread(fd, &found, sizeof(found), PAGE_HEADER_BYTES) == sizeof(found) && found == magic;
}

static bool is_one_of(const char *name, const char *const *names, size_t count)
{
        for (size_t i = 0; i < count; i++)
                if (strcmp(name, names[i]) == 0)
                        return true;
        return false;
}

static int look_for_state(int directory_fd, const char *name, void *context)
{
        static const char *const ours[] = {STATEHOME_IDENTITY_FILE, STATEHOME_LOCK_FILE, "owner.lock", "running", "closed"};
        static const char *const database[] = {"data.mdb", "lock.mdb"};
        static const char aside[] = "damaged-";
        struct likeness *likeness = context;
        bool is_aside = strncmp(name, aside, strlen(aside)) == 0;
        bool is_ours = is_aside || is_one_of(name, ours, sizeof(ours) / sizeof(ours[0]));
        struct stat status;

        if (!is_ours && !is_one_of(name, database, sizeof(database) / sizeof(database[0])))
                return is_leftover_of_creation(name) || strncmp(name, "running.tmp.", strlen("running.tmp.")) == 0 ||
                       strncmp(name, "closed.tmp.", strlen("closed.tmp.")) == 0;
        if (fstatat(directory_fd, name, &status, AT_SYMLINK_NOFOLLOW) < 0)
                return -errno;
        likeness->is_ours |= is_ours;
        if (strcmp(name, "data.mdb") == 0)
                likeness->is_database = is_sound_database(directory_fd);
        return is_aside ? S_ISDIR(status.st_mode) : S_ISREG(status.st_mode);
}

int statehome_is_state_like(int directory_fd)
{
        struct likeness likeness = {0};
        int result = each_entry(directory_fd, look_for_state, &likeness);

        return result == 1 && likeness.is_database && !likeness.is_ours ? 0 : result;
}
