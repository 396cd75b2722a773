/* The unit of scripts/bench: what a plain loop costs on this machine.
 *
 * Copies the regular files and directories below SOURCE to each TARGET, which exists and is empty: one thread reads each
 * file once, in blocks of 512 KiB, and writes each block to all targets. No metadata, no holes, no verification. With
 * --sync each file is durable before the next one begins (fdatasync, as a careful script would do).
 *
 * It only measures: it is never installed, and no part of cvv is built from it. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BLOCK_BYTES = 512 * 1024, TARGETS_MAX = 16 };

struct copy {
        char *block;
        int n_targets;
        bool is_synced;
};

static void fail(const char *what, const char *name)
{
        fprintf(stderr, "native: cannot %s %s: %s\n", what, name, strerror(errno));
        exit(1);
}

static void write_block(int fd, const char *block, size_t bytes, off_t offset, const char *name)
{
        while (bytes > 0) {
                ssize_t written = pwrite(fd, block, bytes, offset);
                if (written < 0 && errno == EINTR)
                        continue;
                if (written < 0)
                        fail("write", name);
                block += written;
                bytes -= (size_t)written;
                offset += written;
        }
}

static void copy_blocks(const struct copy *copy, int source, const int *targets, const char *name)
{
        off_t offset = 0;
        for (;;) {
                ssize_t bytes = pread(source, copy->block, BLOCK_BYTES, offset);
                if (bytes < 0 && errno == EINTR)
                        continue;
                if (bytes < 0)
                        fail("read", name);
                if (bytes == 0)
                        return;
                for (int i = 0; i < copy->n_targets; i++)
                        write_block(targets[i], copy->block, (size_t)bytes, offset, name);
                offset += bytes;
        }
}

static void copy_file(const struct copy *copy, int source_dir, const int *target_dirs, const char *name)
{
        int targets[TARGETS_MAX];
        int source = openat(source_dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        if (source < 0)
                fail("open", name);
        for (int i = 0; i < copy->n_targets; i++) {
                targets[i] = openat(target_dirs[i], name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
                if (targets[i] < 0)
                        fail("create", name);
        }
        copy_blocks(copy, source, targets, name);
        for (int i = 0; i < copy->n_targets; i++) {
                if (copy->is_synced && fdatasync(targets[i]) < 0)
                        fail("sync", name);
                if (close(targets[i]) < 0)
                        fail("close", name);
        }
        (void)close(source); /* only read */
}

static void copy_dir(const struct copy *copy, int source_dir, const int *target_dirs);

static void copy_subdir(const struct copy *copy, int source_dir, const int *target_dirs, const char *name)
{
        int targets[TARGETS_MAX];
        int source = openat(source_dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (source < 0)
                fail("open", name);
        for (int i = 0; i < copy->n_targets; i++) {
                if (mkdirat(target_dirs[i], name, 0777) < 0)
                        fail("create", name);
                targets[i] = openat(target_dirs[i], name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
                if (targets[i] < 0)
                        fail("open", name);
        }
        copy_dir(copy, source, targets);
}

/* Takes over all descriptors. */
static void copy_dir(const struct copy *copy, int source_dir, const int *target_dirs)
{
        DIR *stream = fdopendir(source_dir);
        if (!stream)
                fail("list", "a directory");
        for (;;) {
                struct stat status;
                errno = 0;
                const struct dirent *entry = readdir(stream);
                if (!entry && errno != 0)
                        fail("list", "a directory");
                if (!entry)
                        break;
                if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
                        continue;
                if (fstatat(source_dir, entry->d_name, &status, AT_SYMLINK_NOFOLLOW) < 0)
                        fail("look at", entry->d_name);
                if (S_ISDIR(status.st_mode)) {
                        copy_subdir(copy, source_dir, target_dirs, entry->d_name);
                } else if (S_ISREG(status.st_mode)) {
                        copy_file(copy, source_dir, target_dirs, entry->d_name);
                } else {
                        errno = ENOTSUP;
                        fail("copy", entry->d_name);
                }
        }
        for (int i = 0; i < copy->n_targets; i++)
                (void)close(target_dirs[i]); /* only looked names up */
        (void)closedir(stream);              /* only read */
}

static int open_dir(const char *path)
{
        int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                fail("open", path);
        return fd;
}

int main(int argc, char **argv)
{
        int targets[TARGETS_MAX];
        struct copy copy = {.is_synced = argc > 1 && strcmp(argv[1], "--sync") == 0};
        char **directories = argv + (copy.is_synced ? 2 : 1);
        int n_directories = argc - (copy.is_synced ? 2 : 1);
        if (n_directories < 2 || n_directories > TARGETS_MAX + 1) {
                fprintf(stderr, "usage: native [--sync] SOURCE TARGET... (at most %d)\n", TARGETS_MAX);
                return 2;
        }
        copy.block = aligned_alloc(4096, BLOCK_BYTES);
        if (!copy.block)
                fail("allocate", "a block");
        copy.n_targets = n_directories - 1;
        for (int i = 0; i < copy.n_targets; i++)
                targets[i] = open_dir(directories[i + 1]);
        copy_dir(&copy, open_dir(directories[0]), targets);
        free(copy.block);
        return 0;
}
