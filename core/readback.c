#include "core/readback.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "core/cleanup.h"
#include "core/io.h"

enum { ALIGNMENT = 4096, EXT4_MAGIC = 0xef53 };

#ifndef EXT4_IOC_CHECKPOINT /* kernel 5.14; the header came later */
#define EXT4_IOC_CHECKPOINT _IOW('f', 43, uint32_t)
#endif

const char *readback_method_name(unsigned method)
{
        static const char *const names[] = { NULL, "direct", "remote", "dropped-cache", "memory", "cache" };

        return method < sizeof(names) / sizeof(names[0]) ? names[method] : NULL;
}

void readback_init(struct readback *readback)
{
        *readback = (struct readback){ .fd = -1 };
}

void readback_close(struct readback *readback)
{
        fd_close(&readback->fd);
        readback->fd = -1;
        readback->method = READBACK_NONE;
        readback->doubtful = readback->journalled = false;
        readback->size = readback->data_start = readback->data_end = 0;
}

void readback_deinit(struct readback *readback)
{
        readback_close(readback);
        free(readback->buffer);
        readback->buffer = NULL;
}

/* --- opening --- */

/* The same file again, with a description of its own: flags of the one that others use are not touched. */
static int open_again(int fd, int flags)
{
        char path[sizeof("/proc/self/fd/") + 3 * sizeof(int)];
        int again;

        (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd); /* fits every int */
        again = open(path, O_RDONLY | O_CLOEXEC | O_NOATIME | flags);
        if (again < 0 && errno == EPERM) /* O_NOATIME is for the owner */
                again = open(path, O_RDONLY | O_CLOEXEC | flags);
        return again < 0 ? -errno : again;
}

static enum readback_method direct_method(const struct device *device)
{
        return device->kind == DEVICE_NETWORK || device->kind == DEVICE_FUSE ? READBACK_REMOTE : READBACK_DIRECT;
}

/* A block device by its number, also where nobody makes the links in /dev/block. The caller closes it. */
static int open_block_device(dev_t number)
{
        char path[64], line[128], device[sizeof(line) + 8] = "";
        cleanup(fd_close) int fd = -1;
        struct stat stat;
        FILE *uevent;

        (void)snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/uevent", major(number), minor(number)); /* fits */
        uevent = fopen(path, "re");
        while (uevent && fgets(line, sizeof(line), uevent))
                if (strncmp(line, "DEVNAME=", 8) == 0)
                        (void)snprintf(device, sizeof(device), "/dev/%.*s", (int)strcspn(line + 8, "\n"), line + 8); /* fits */
        if (uevent)
                (void)fclose(uevent); /* it was read only */
        if (!device[0])
                return -ENOENT;
        fd = open(device, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || fstat(fd, &stat) < 0)
                return -errno;
        return S_ISBLK(stat.st_mode) && stat.st_rdev == number ? fd_steal(&fd) : -ENXIO;
}

/* A FUSE filesystem on a block device (exfat-fuse, ntfs-3g) reads through the cache of that device, which O_DIRECT on the file does not reach. */
static bool drop_device_cache(const struct device *device)
{
        cleanup(fd_close) int fd = open_block_device(device->st_dev);

        return fd >= 0 && posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) == 0;
}

static bool is_on_block_device_by_fuse(const struct device *device)
{
        return device->kind == DEVICE_FUSE && major(device->st_dev) != 0;
}

/* What the filesystem says of O_DIRECT on this file (STATX_DIOALIGN, kernel 6.1; ext4, XFS, f2fs). Many take the flag for files that they read through
 * the cache all the same: ext4 with its data in the journal, or inline. */
enum direct_word { DIRECT_UNKNOWN, DIRECT_YES, DIRECT_NO };
static enum direct_word ask_for_direct(int fd)
{
        struct statx stat;

        if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &stat) < 0 || !(stat.stx_mask & STATX_DIOALIGN))
                return DIRECT_UNKNOWN;
        return stat.stx_dio_offset_align > 0 ? DIRECT_YES : DIRECT_NO;
}

/* Without a way past the cache: the clean pages are dropped, and read_block() looks whether they are gone. */
static int open_cached(struct readback *readback, int fd)
{
        readback->fd = open_again(fd, 0);
        if (readback->fd < 0) /* its mode may not let us: then through the description that is there, which has pread() only */
                readback->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        if (readback->fd < 0)
                return -errno;
        readback->method = READBACK_DROPPED_CACHE;
        return 0;
}

int readback_open(struct readback *readback, int fd, const struct device *device)
{
        enum direct_word word;
        struct stat stat;
        int result = 0;

        readback_close(readback);
        if (!readback->buffer && posix_memalign((void **)&readback->buffer, ALIGNMENT, READBACK_BLOCK_BYTES) != 0) {
                readback->buffer = NULL;
                return -ENOMEM;
        }
        if (fstat(fd, &stat) < 0)
                return -errno;
        (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED); /* advice; what it did is looked at where it matters */
        word = device->kind == DEVICE_MEMORY ? DIRECT_NO : ask_for_direct(fd);
        if (word != DIRECT_NO)
                readback->fd = open_again(fd, O_DIRECT);
        if (readback->fd >= 0)
                readback->method = direct_method(device);
        else
                result = open_cached(readback, fd);
        readback->doubtful = readback->method == READBACK_DIRECT && word == DIRECT_UNKNOWN;
        readback->journalled = word == DIRECT_NO && device->fs_type == EXT4_MAGIC;
        if (result == 0 && is_on_block_device_by_fuse(device))
                readback->method = drop_device_cache(device) ? READBACK_DROPPED_CACHE : READBACK_CACHE;
        if (result == 0 && device->kind == DEVICE_MEMORY)
                readback->method = READBACK_MEMORY;
        if (result == 0)
                readback->size = (uint64_t)stat.st_size;
        if (result == 0 && io_is_dense(readback->fd))
                readback->data_end = UINT64_MAX;
        return result;
}

/* --- reading --- */

/* Whether no page of the range is in the cache. */
static bool is_out_of_cache(int fd, uint64_t offset, uint64_t length)
{
        unsigned char pages[READBACK_BLOCK_BYTES / ALIGNMENT];
        void *mapping;
        bool out = true;

        mapping = mmap(NULL, length, PROT_READ, MAP_SHARED, fd, (off_t)offset);
        if (mapping == MAP_FAILED)
                return false;
        out = mincore(mapping, length, pages) == 0;
        for (size_t i = 0; out && i < (length + ALIGNMENT - 1) / ALIGNMENT; i++)
                out = !(pages[i] & 1);
        (void)munmap(mapping, length); /* it was mapped */
        return out;
}

static bool try_to_drop(struct readback *readback, uint64_t offset, uint64_t length)
{
        return posix_fadvise(readback->fd, (off_t)offset, (off_t)length, POSIX_FADV_DONTNEED) == 0 &&
               is_out_of_cache(readback->fd, offset, length);
}

/* Pages of journalled data stay until the journal has brought them to their place, which can be asked for, by root. */
static bool flush_journal(struct readback *readback)
{
        uint32_t flags = 0;

        return readback->journalled && ioctl(readback->fd, EXT4_IOC_CHECKPOINT, &flags) == 0;
}

static void drop_range(struct readback *readback, uint64_t offset, uint64_t length)
{
        const unsigned all = SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;

        if (try_to_drop(readback, offset, length))
                return;
        if (sync_file_range(readback->fd, (off_t)offset, (off_t)length, all) == 0 && try_to_drop(readback, offset, length))
                return; /* they were durable, and yet on their way */
        if (!flush_journal(readback) || !try_to_drop(readback, offset, length))
                readback->method = READBACK_CACHE;
}

/* O_DIRECT was taken at the open and refused at the read. */
static int fall_back(struct readback *readback)
{
        int flags = fcntl(readback->fd, F_GETFL);

        if (flags < 0 || !(flags & O_DIRECT))
                return -EINVAL;
        if (fcntl(readback->fd, F_SETFL, flags & ~O_DIRECT) < 0)
                return -errno;
        if (readback->method < READBACK_DROPPED_CACHE)
                readback->method = READBACK_DROPPED_CACHE;
        return 0;
}

static bool is_direct(const struct readback *readback)
{
        int flags = fcntl(readback->fd, F_GETFL);

        return flags >= 0 && (flags & O_DIRECT);
}

static int64_t read_block(struct readback *readback, uint64_t offset, uint64_t length)
{
        uint64_t whole = (length + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
        int64_t count;

        if (readback->doubtful || (readback->method == READBACK_DROPPED_CACHE && !is_direct(readback)))
                drop_range(readback, offset, length);
        count = io_read_full(readback->fd, readback->buffer, whole, offset);
        if (readback->doubtful && readback->method == READBACK_DIRECT && !is_out_of_cache(readback->fd, offset, length))
                readback->method = READBACK_DROPPED_CACHE; /* it went through the cache, which was empty */
        if (count == -EINVAL && fall_back(readback) == 0) {
                drop_range(readback, offset, length);
                count = io_read_full(readback->fd, readback->buffer, length, offset);
        }
        return count > (int64_t)length ? (int64_t)length : count;
}

/* Where the next data are is asked once for each extent. What cannot be told counts as data. */
static bool is_hole(struct readback *readback, uint64_t offset, uint64_t length)
{
        if (offset + length > readback->size)
                return false; /* it was cut: the read says so */
        if (readback->data_end <= offset) {
                int result = io_next_data(readback->fd, offset, readback->size, &readback->data_start, &readback->data_end);

                if (result < 0) {
                        readback->data_start = offset;
                        readback->data_end = readback->size;
                } else if (result == IO_NO_DATA) {
                        readback->data_start = readback->data_end = UINT64_MAX;
                }
        }
        return readback->data_start >= offset + length;
}

int64_t readback_read(struct readback *readback, uint64_t offset, uint64_t end, const uint8_t **ret_data)
{
        uint64_t length = end - offset < READBACK_BLOCK_BYTES ? end - offset : READBACK_BLOCK_BYTES;
        int64_t count;

        if (is_hole(readback, offset, length)) {
                *ret_data = NULL;
                return (int64_t)length;
        }
        count = read_block(readback, offset, length);
        if (count >= 0)
                *ret_data = readback->buffer;
        return count;
}
