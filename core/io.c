#include "core/io.h"

#include "core/cleanup.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
        OPEN_ATTEMPTS = 64,      /* openat2 gives EAGAIN when a rename crossed its walk */
        TEMPORARY_ATTEMPTS = 16, /* 64 random bits: a second one is hardly ever needed */
};

/* A direct read that met the end of the file leaves an unaligned rest, and some filesystems (XFS) refuse the read that
 * would see the end. */
static bool at_end_of_file(int fd, uint64_t offset)
{
        struct stat st;

        return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && offset >= (uint64_t)st.st_size;
}

int64_t io_read_full(int fd, void *buffer, size_t size, uint64_t offset)
{
        size_t done = 0;

        if (offset > INT64_MAX || size > INT64_MAX - offset)
                return -EINVAL;
        while (done < size) {
                ssize_t got = pread(fd, (char *)buffer + done, size - done, (off_t)(offset + done));

                if (got > 0) {
                        done += (size_t)got;
                        continue;
                }
                if (got == 0)
                        break;
                if (errno == EINTR)
                        continue;
                if (errno == EINVAL && done > 0 && at_end_of_file(fd, offset + done))
                        break;
                return -errno;
        }
        return (int64_t)done;
}

int io_write_full(int fd, const void *buffer, size_t size, uint64_t offset)
{
        size_t done = 0;

        if (offset > INT64_MAX || size > INT64_MAX - offset)
                return -EFBIG;
        while (done < size) {
                ssize_t put = pwrite(fd, (const char *)buffer + done, size - done, (off_t)(offset + done));

                if (put == 0)
                        return -EIO;
                if (put > 0)
                        done += (size_t)put;
                else if (errno != EINTR)
                        return -errno;
        }
        return 0;
}

/* The next component of [*path, end), or NULL; moves *path behind it. */
static const char *component_next(const char **path, const char *end, size_t *ret_length)
{
        const char *start = *path, *stop;

        while (start < end && *start == '/')
                start++;
        if (start == end)
                return NULL;
        stop = memchr(start, '/', (size_t)(end - start));
        if (!stop)
                stop = end;
        *path = stop;
        *ret_length = (size_t)(stop - start);
        return start;
}

/* Refuses what would lead out of the root. RESOLVE_BENEATH lets `a/../b` pass; here no `..` has a meaning at all. */
static int path_check(const char *path)
{
        const char *end = path + strlen(path), *component;
        size_t length;

        if (*path == '/')
                return -EXDEV;
        while ((component = component_next(&path, end, &length)))
                if (length == 2 && memcmp(component, "..", 2) == 0)
                        return -EXDEV;
        return 0;
}

static int name_check(const char *name)
{
        if (*name == '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || strchr(name, '/'))
                return -EINVAL;
        return 0;
}

static int open_retried(int dir_fd, const char *name, int flags, mode_t mode)
{
        int fd;

        do {
                fd = openat(dir_fd, name, flags | O_CLOEXEC, mode);
        } while (fd < 0 && errno == EINTR);
        return fd < 0 ? -errno : fd;
}

/* One name, in the way that openat2 does it with our flags. */
static int open_component(int dir_fd, const char *name, int flags, mode_t mode)
{
        cleanup(fd_close) int fd = open_retried(dir_fd, name, flags | O_NOFOLLOW, mode);
        struct stat st;

        if (fd < 0)
                return fd;
        if ((flags & O_PATH) && !(flags & O_NOFOLLOW)) {
                if (fstat(fd, &st) < 0)
                        return -errno;
                if (S_ISLNK(st.st_mode))
                        return -ELOOP;
        }
        return fd_steal(&fd);
}

/* For kernels and sandboxes without openat2: each component from the directory before it, so that no rename matters. */
static int open_by_components(int dir_fd, const char *path, int flags, mode_t mode)
{
        cleanup(fd_close) int walked = -1;
        const char *end = path + strlen(path), *component;
        char name[NAME_MAX + 1];
        size_t length;

        while ((component = component_next(&path, end, &length))) {
                int fd;

                if (length > NAME_MAX)
                        return -ENAMETOOLONG;
                memcpy(name, component, length);
                name[length] = '\0';
                if (path == end)
                        return open_component(dir_fd, name, flags, mode);
                fd = open_component(dir_fd, name, O_PATH | O_DIRECTORY, 0);
                if (fd < 0)
                        return fd;
                fd_close(&walked);
                walked = dir_fd = fd;
        }
        return -ENOENT; /* not reached: the caller passes at least "." and no trailing slash */
}

/* Old container sandboxes answer EPERM for calls that they do not know. The kernel itself checks the size before all else.
 */
static bool openat2_is_missing(int result)
{
        if (result != -EPERM)
                return result == -ENOSYS;
        return syscall(SYS_openat2, -1, NULL, NULL, (size_t)0) < 0 && errno != EINVAL;
}

/* `path` is shorter than PATH_MAX and has no trailing slash. */
static int open_short(int dir_fd, const char *path, int flags, mode_t mode)
{
        bool creates = (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE;
        struct open_how how = {
            .flags = (unsigned)(flags | O_CLOEXEC),
            .mode = creates ? mode & 07777u : 0, /* openat2 refuses a mode that means nothing */
            .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
        };
        int attempts = 0, result;

        do {
                long fd = syscall(SYS_openat2, dir_fd, path, &how, sizeof(how));

                result = fd < 0 ? -errno : (int)fd;
        } while (result == -EINTR || (result == -EAGAIN && ++attempts < OPEN_ATTEMPTS));
        if (result < 0 && openat2_is_missing(result))
                return open_by_components(dir_fd, path, flags, (mode_t)how.mode);
        return result;
}

static int open_piece(int dir_fd, const char *path, size_t length, int flags, mode_t mode)
{
        char piece[PATH_MAX];

        if (length == 0)
                return open_short(dir_fd, ".", flags, mode);
        memcpy(piece, path, length);
        piece[length] = '\0';
        return open_short(dir_fd, piece, flags, mode);
}

/* Opens the first `length` bytes of `path`, which path_check() has passed. */
static int open_beneath(int root_fd, const char *path, size_t length, int flags, mode_t mode)
{
        cleanup(fd_close) int walked = -1;
        int dir_fd = root_fd;

        if (length > 0 && path[length - 1] == '/') {
                if (flags & O_CREAT)
                        return -EISDIR;
                flags |= O_DIRECTORY;
                while (length > 0 && path[length - 1] == '/')
                        length--;
        }
        while (length >= PATH_MAX) {
                const char *slash = memrchr(path, '/', PATH_MAX);
                int fd;

                if (!slash)
                        return -ENAMETOOLONG;
                fd = open_piece(dir_fd, path, (size_t)(slash - path), O_PATH | O_DIRECTORY, 0);
                if (fd < 0)
                        return fd;
                fd_close(&walked);
                walked = dir_fd = fd;
                while (*slash == '/')
                        slash++;
                length -= (size_t)(slash - path);
                path = slash;
        }
        return open_piece(dir_fd, path, length, flags, mode);
}

int io_open_beneath(int root_fd, const char *path, int flags, mode_t mode)
{
        int result = path_check(path);

        return result < 0 ? result : open_beneath(root_fd, path, strlen(path), flags, mode);
}

/* The kernel forbids O_NOATIME on files of others. */
static int open_noatime(int root_fd, const char *path, int flags, int (*open_with)(int, const char *, int, mode_t))
{
        int fd = open_with(root_fd, path, flags | O_RDONLY | O_NOATIME, 0);

        return fd == -EPERM ? open_with(root_fd, path, flags | O_RDONLY, 0) : fd;
}

static int check_regular(int fd)
{
        struct stat st;

        if (fstat(fd, &st) < 0)
                return -errno;
        if (S_ISLNK(st.st_mode))
                return -ELOOP;
        return S_ISREG(st.st_mode) ? 0 : -EINVAL;
}

/* Without /proc: what was a regular file a moment ago is opened by name, without waiting, and looked at again. */
static int open_source_by_name(int root_fd, const char *path)
{
        cleanup(fd_close) int fd = open_noatime(root_fd, path, O_NONBLOCK | O_NOFOLLOW, io_open_beneath);
        int result, flags;

        if (fd < 0)
                return fd;
        result = check_regular(fd);
        if (result < 0)
                return result;
        flags = fcntl(fd, F_GETFL);
        if (flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) < 0)
                return -errno;
        return fd_steal(&fd);
}

int io_open_source(int root_fd, const char *path)
{
        cleanup(fd_close) int found = io_open_beneath(root_fd, path, O_PATH | O_NOFOLLOW, 0);
        char again[sizeof("/proc/self/fd/") + 3 * sizeof(int)];
        int result;

        if (found < 0)
                return found;
        result = check_regular(found);
        if (result < 0)
                return result;
        (void)snprintf(again, sizeof(again), "/proc/self/fd/%d", found); /* fits every int */
        result = open_noatime(AT_FDCWD, again, 0, open_retried);
        return result == -ENOENT ? open_source_by_name(root_fd, path) : result;
}

/* Splits `path` into the length of what stands before its last component, and that component. */
static int path_split(const char *path, size_t *ret_parent_length, const char **ret_name)
{
        const char *slash = strrchr(path, '/');
        const char *name = slash ? slash + 1 : path;
        int result = path_check(path);

        if (result == 0)
                result = name_check(name);
        if (result < 0)
                return result;
        *ret_parent_length = (size_t)(name - path);
        *ret_name = name;
        return 0;
}

int io_open_parent(int root_fd, const char *path, const char **ret_name)
{
        const char *name;
        size_t length;
        int fd, result = path_split(path, &length, &name);

        if (result < 0)
                return result;
        fd = open_beneath(root_fd, path, length, O_PATH | O_DIRECTORY, 0);
        if (fd >= 0)
                *ret_name = name;
        return fd;
}

/* Opens the directory `name` and makes it first where it is missing; adds to *created. */
static int open_or_make(int dir_fd, const char *name, mode_t mode, int *created)
{
        int fd = open_short(dir_fd, name, O_PATH | O_DIRECTORY, 0);

        if (fd != -ENOENT)
                return fd;
        if (mkdirat(dir_fd, name, mode) == 0)
                (*created)++;
        else if (errno != EEXIST) /* somebody else was quicker; the open shows what it is */
                return -errno;
        return open_short(dir_fd, name, O_PATH | O_DIRECTORY, 0);
}

static int make_directories(int root_fd, const char *path, size_t length, mode_t mode, int *ret_created)
{
        cleanup(fd_close) int walked = -1;
        const char *end = path + length, *component;
        char name[NAME_MAX + 1];
        int dir_fd = root_fd, created = 0;

        while ((component = component_next(&path, end, &length))) {
                int fd;

                if (length > NAME_MAX)
                        return -ENAMETOOLONG;
                memcpy(name, component, length);
                name[length] = '\0';
                fd = open_or_make(dir_fd, name, mode, &created);
                if (fd < 0)
                        return fd;
                fd_close(&walked);
                walked = dir_fd = fd;
        }
        *ret_created = created;
        return 0;
}

int io_make_parents(int root_fd, const char *path, mode_t mode, int *ret_created)
{
        cleanup(fd_close) int fd = -1;
        const char *name;
        size_t length;
        int result = path_split(path, &length, &name);

        if (result < 0)
                return result;
        fd = open_beneath(root_fd, path, length, O_PATH | O_DIRECTORY, 0);
        if (fd == -ENOENT)
                return make_directories(root_fd, path, length, mode, ret_created);
        if (fd < 0)
                return fd;
        *ret_created = 0;
        return 0;
}

static bool is_unsupported(int error)
{
        return error == EINVAL || error == ENOSYS || error == EOPNOTSUPP;
}

/* The new link is there; removes the old one, or takes the new one back. */
static int rename_finish_link(int from_dir, const char *from, int to_dir, const char *to)
{
        struct stat st;
        int error;

        if (unlinkat(from_dir, from, 0) == 0 || errno == ENOENT)
                return 0;
        error = errno;
        /* A failed unlink may have happened all the same: `to` goes only while `from` is seen to hold the file. */
        if (fstatat(from_dir, from, &st, AT_SYMLINK_NOFOLLOW) == 0)
                (void)unlinkat(to_dir, to,
                               0); /* both names stay, which loses nothing; the first error is the one to tell */
        else if (errno == ENOENT)
                return 0;
        return -error;
}

int io_rename_noreplace(int from_dir, const char *from, int to_dir, const char *to)
{
        struct stat st;

        if (renameat2(from_dir, from, to_dir, to, RENAME_NOREPLACE) == 0)
                return 0;
        if (!is_unsupported(errno))
                return -errno;
        if (linkat(from_dir, from, to_dir, to, 0) == 0)
                return rename_finish_link(from_dir, from, to_dir, to);
        if (!is_unsupported(errno) && errno != EPERM && errno != EMLINK)
                return -errno;
        if (fstatat(to_dir, to, &st, AT_SYMLINK_NOFOLLOW) == 0)
                return -EEXIST;
        if (errno != ENOENT)
                return -errno;
        return renameat(from_dir, from, to_dir, to) < 0 ? -errno : 0;
}

static int sync_with(int (*sync_call)(int), int fd)
{
        int result;

        do {
                result = sync_call(fd);
        } while (result < 0 && errno == EINTR);
        return result < 0 ? -errno : 0;
}

int io_sync(int fd)
{
        return sync_with(fsync, fd);
}

int io_sync_data(int fd)
{
        return sync_with(fdatasync, fd);
}

int io_sync_filesystem(int fd)
{
        return sync_with(syncfs, fd);
}

int io_sync_directory(int fd)
{
        int result = sync_with(fsync, fd);

        return result == -EINVAL ? 0 : result;
}

/* Creates NAME.tmp.RANDOM and returns its descriptor; `ret_name` has room for NAME_MAX + 1 bytes. */
static int create_temporary(int dir_fd, const char *name, mode_t mode, char *ret_name)
{
        int fd = -EEXIST;

        for (int attempt = 0; fd == -EEXIST && attempt < TEMPORARY_ATTEMPTS; attempt++) {
                uint64_t random;
                int length;

                if (getrandom(&random, sizeof(random), 0) != (ssize_t)sizeof(random))
                        return -EIO;
                length = snprintf(ret_name, NAME_MAX + 1, "%s.tmp.%016" PRIx64, name, random);
                if (length < 0 || length > NAME_MAX)
                        return -ENAMETOOLONG;
                fd = open_retried(dir_fd, ret_name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode);
        }
        return fd;
}

int io_write_file_durable(int dir_fd, const char *name, const void *data, size_t size, mode_t mode)
{
        cleanup(fd_close) int directory = -1;
        cleanup(fd_close) int fd = -1;
        char temporary[NAME_MAX + 1];
        int result = name_check(name);

        if (result < 0)
                return result;
        directory = open_retried(dir_fd, ".", O_RDONLY | O_DIRECTORY, 0); /* `dir_fd` may be O_PATH, which cannot sync */
        if (directory < 0)
                return directory;
        fd = create_temporary(dir_fd, name, mode, temporary);
        if (fd < 0)
                return fd;
        result = io_write_full(fd, data, size, 0);
        if (result == 0)
                result = io_sync(fd);
        if (result == 0 && renameat(dir_fd, temporary, dir_fd, name) < 0)
                result = -errno;
        if (result < 0) {
                (void)unlinkat(dir_fd, temporary, 0); /* at worst it stays; the first error is the one to tell */
                return result;
        }
        return io_sync_directory(directory);
}

/* Reads to the end, as the size may grow or, in /proc, be 0. `limit` is less than SIZE_MAX - 1. */
static int read_to_end(int fd, size_t expected, size_t limit, char **ret_data, size_t *ret_size)
{
        cleanup(pointer_free) char *data = NULL;
        size_t capacity = expected + 1, used = 0; /* one byte more than expected shows the end, or growth */

        for (;;) {
                char *larger = realloc(data, capacity + 1);
                int64_t got;

                if (!larger)
                        return -ENOMEM;
                data = larger;
                got = io_read_full(fd, data + used, capacity - used, used);
                if (got < 0)
                        return (int)got;
                used += (size_t)got;
                if (used > limit)
                        return -EFBIG;
                if (used < capacity)
                        break;
                capacity = capacity > limit / 2 ? limit + 1 : capacity * 2;
        }
        data[used] = '\0';
        *ret_data = data;
        data = NULL;
        *ret_size = used;
        return 0;
}

int io_read_file(int dir_fd, const char *name, size_t limit, char **ret_data, size_t *ret_size)
{
        cleanup(fd_close) int fd = -1;
        struct stat st;
        int result = name_check(name);

        if (result < 0)
                return result;
        fd = open_retried(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
        if (fd < 0)
                return fd;
        if (fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode))
                return -EINVAL;
        if (limit > SSIZE_MAX - 2)
                limit = SSIZE_MAX - 2;
        if (st.st_size < 0 || (uintmax_t)st.st_size > limit)
                return -EFBIG;
        return read_to_end(fd, (size_t)st.st_size, limit, ret_data, ret_size);
}

int io_next_data(int fd, uint64_t from, uint64_t end, uint64_t *ret_data_start, uint64_t *ret_data_end)
{
        off_t start, stop;

        if (from > INT64_MAX)
                return -EINVAL;
        if (from >= end)
                return IO_NO_DATA;
        start = lseek(fd, (off_t)from, SEEK_DATA);
        if (start < 0 && is_unsupported(errno)) {
                *ret_data_start = from;
                *ret_data_end = end;
                return 0;
        }
        if (start < 0)
                return errno == ENXIO ? IO_NO_DATA : -errno;
        if ((uint64_t)start >= end)
                return IO_NO_DATA;
        stop = lseek(fd, start, SEEK_HOLE);
        if (stop < 0 && errno != ENXIO && !is_unsupported(errno))
                return -errno;
        *ret_data_start = (uint64_t)start;
        /* A file that changed in between is taken for data: the read then shows what is there. */
        *ret_data_end = stop > start && (uint64_t)stop < end ? (uint64_t)stop : end;
        return 0;
}

bool io_is_dense(int fd)
{
        struct stat st;

        return fstat(fd, &st) == 0 && st.st_size > 0 && (uintmax_t)st.st_blocks * 512 >= (uintmax_t)st.st_size;
}
