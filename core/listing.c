#include "core/listing.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/cleanup.h"
#include "core/io.h"

void listing_deinit(struct listing *listing)
{
        for (size_t i = 0; i < listing->count; i++)
                free(listing->entries[i].name);
        free(listing->entries);
        memset(listing, 0, sizeof(*listing));
}

static void look_at(int dir, struct listing_entry *entry)
{
        int result = statx(dir, entry->name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STATX_BASIC_STATS | STATX_BTIME,
                           &entry->stat);

        entry->error = result < 0 ? -errno : 0;
}

static int add_name(struct listing *listing, const char *name)
{
        char *copy = strdup(name);

        if (!copy)
                return -ENOMEM;
        listing->entries[listing->count++] = (struct listing_entry){ .name = copy };
        return 0;
}

static int read_names(DIR *dir, int64_t cookie, struct listing *listing)
{
        if (cookie != 0)
                seekdir(dir, cookie);
        while (listing->count < LISTING_BATCH) {
                struct dirent *entry;
                int result;

                errno = 0;
                entry = readdir(dir);
                if (!entry && errno != 0)
                        return -errno;
                if (!entry) {
                        listing->end = true;
                        return 0;
                }
                listing->cookie = entry->d_off;
                if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
                        continue;
                result = add_name(listing, entry->d_name);
                if (result < 0)
                        return result;
        }
        return 0;
}

int listing_read(int fd, int64_t cookie, struct listing *ret_listing)
{
        cleanup(listing_deinit) struct listing listing = { 0 };
        cleanup(dir_close) DIR *dir = NULL;
        cleanup(fd_close) int own = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        int result;

        if (own < 0)
                return -errno;
        dir = fdopendir(own);
        if (!dir)
                return -errno;
        (void)fd_steal(&own); /* the stream owns it */
        listing.entries = calloc(LISTING_BATCH, sizeof(*listing.entries));
        if (!listing.entries)
                return -ENOMEM;
        result = read_names(dir, cookie, &listing);
        if (result < 0)
                return result;
        for (size_t i = 0; i < listing.count; i++)
                look_at(dirfd(dir), &listing.entries[i]);
        *ret_listing = listing;
        memset(&listing, 0, sizeof(listing));
        return 0;
}

struct listing_job {
        struct devio_job base;
        const struct root *root;
        char *path;
        int64_t cookie;
        struct listing listing; /* of a stat job: the names are there from the beginning */
};

static void job_free(struct devio_job *base)
{
        struct listing_job *job = (struct listing_job *)base;

        listing_deinit(&job->listing);
        free(job->path);
        free(job);
}

static int open_directory(const struct listing_job *job)
{
        return io_open_beneath(job->root->fd, job->path, O_RDONLY | O_DIRECTORY, 0);
}

static int run_read(struct devio_job *base)
{
        struct listing_job *job = (struct listing_job *)base;
        cleanup(fd_close) int fd = open_directory(job);

        return fd < 0 ? fd : listing_read(fd, job->cookie, &job->listing);
}

static int run_stat(struct devio_job *base)
{
        struct listing_job *job = (struct listing_job *)base;
        cleanup(fd_close) int fd = open_directory(job);

        if (fd < 0)
                return fd;
        for (size_t i = 0; i < job->listing.count; i++)
                look_at(fd, &job->listing.entries[i]);
        return 0;
}

static struct listing_job *job_new(struct root *root, const char *path, int (*run)(struct devio_job *))
{
        struct listing_job *job = calloc(1, sizeof(*job));

        if (!job)
                return NULL;
        atomic_init(&job->base.references, 1);
        job->base.run = run;
        job->base.free = job_free;
        job->root = root;
        job->path = strdup(path);
        if (job->path)
                return job;
        free(job);
        return NULL;
}

static int job_finish(struct root *root, struct listing_job *job, struct listing *ret_listing)
{
        int result = devio_call(root->io, &job->base, DEVIO_TIMEOUT_NS);

        if (result == 0) {
                *ret_listing = job->listing;
                memset(&job->listing, 0, sizeof(job->listing));
        }
        devio_job_unref(&job->base);
        return result;
}

int listing_call_read(struct root *root, const char *path, int64_t cookie, struct listing *ret_listing)
{
        struct listing_job *job = job_new(root, path, run_read);

        if (!job)
                return -ENOMEM;
        job->cookie = cookie;
        return job_finish(root, job, ret_listing);
}

int listing_call_stat(struct root *root, const char *path, char *const *names, size_t count, struct listing *ret_listing)
{
        struct listing_job *job = job_new(root, path, run_stat);

        if (!job)
                return -ENOMEM;
        job->listing.entries = calloc(count > 0 ? count : 1, sizeof(*job->listing.entries));
        for (size_t i = 0; i < count; i++) {
                if (!job->listing.entries || add_name(&job->listing, names[i]) < 0) {
                        devio_job_unref(&job->base);
                        return -ENOMEM;
                }
        }
        return job_finish(root, job, ret_listing);
}
