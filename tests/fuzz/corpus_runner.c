/* Runs a fuzz target over the files of a directory, once each, without a fuzzer: so that every compiler tries the corpus.
 * usage: corpus_TARGET DIRECTORY */
#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/cleanup.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int run_file(int directory, const char *name)
{
        cleanup(fd_close) int fd = openat(directory, name, O_RDONLY | O_CLOEXEC);
        cleanup(pointer_free) uint8_t *data = NULL;
        struct stat stat;
        ssize_t size;

        if (fd < 0 || fstat(fd, &stat) < 0)
                return -errno;
        if (!S_ISREG(stat.st_mode))
                return 0;
        data = malloc((size_t)stat.st_size + 1);
        size = data ? read(fd, data, (size_t)stat.st_size) : -1;
        if (size != stat.st_size)
                return -EIO;
        (void)LLVMFuzzerTestOneInput(data, (size_t)size); /* always 0; it aborts where something is wrong */
        return 1;
}

int main(int argc, char **argv)
{
        cleanup(dir_close) DIR *directory = argc == 2 ? opendir(argv[1]) : NULL;
        int count = 0;

        if (!directory) {
                (void)fprintf(stderr, "usage: %s DIRECTORY\n", argv[0]); /* nothing to be done about it */
                return 2;
        }
        for (struct dirent *entry; (entry = readdir(directory));) {
                int r = run_file(dirfd(directory), entry->d_name);

                if (r < 0) {
                        (void)fprintf(stderr, "%s cannot be read\n", entry->d_name); /* as above */
                        return 1;
                }
                count += r;
        }
        (void)printf("%d inputs\n", count); /* as above */
        return count > 0 ? 0 : 1;
}
