#include "core/root.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#include "core/cleanup.h"
#include "core/io.h"

int root_open(struct root *root, const char *path, struct error *error)
{
        cleanup(fd_close) int fd = -1;
        char *copy;
        int result;

        root->fd = -1;
        fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return error_set(error, -errno, "cannot open directory %s: %s", path, strerror(errno));
        result = device_probe(fd, &root->device, error);
        if (result < 0)
                return result;
        copy = strdup(path);
        if (!copy)
                return error_set(error, -ENOMEM, "not enough memory");
        root->path = copy;
        root->fd = fd_steal(&fd);
        root->io = NULL;
        return 0;
}

int root_start(struct root *root, const char *thread_name, unsigned threads)
{
        return devio_new(thread_name, threads, &root->io);
}

bool root_stop(struct root *root, uint64_t deadline_ns)
{
        if (!root->io)
                return true;
        if (!devio_stop(root->io, deadline_ns))
                return false;
        devio_free(root->io);
        root->io = NULL;
        return true;
}

void root_close(struct root *root)
{
        fd_close(&root->fd);
        root->fd = -1;
        free(root->path);
        root->path = NULL;
}

int root_stat(const struct root *root, const char *path, struct statx *ret_stat)
{
        cleanup(fd_close) int parent = -1;
        const char *name;
        struct statx stat;

        if (*path) {
                parent = io_open_parent(root->fd, path, &name);
                if (parent < 0)
                        return parent;
        } else {
                parent = dup(root->fd);
                name = "";
        }
        if (statx(parent, name, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH | AT_NO_AUTOMOUNT, STATX_BASIC_STATS | STATX_BTIME,
                  &stat) < 0)
                return -errno;
        *ret_stat = stat;
        return 0;
}

struct root_job {
        struct devio_job base;
        const struct root *root;
        char *path;
        char *name;              /* of an extended attribute */
        size_t size;
        void *buffer;            /* `size` bytes, where size is not 0 */
        struct statx stat;
        struct metadata metadata;
        bool has_metadata;
        int fd;
        int64_t count;
};

static void job_free(struct devio_job *base)
{
        struct root_job *job = (struct root_job *)base;

        fd_close(&job->fd);
        if (job->has_metadata)
                metadata_deinit(&job->metadata);
        free(job->buffer);
        free(job->name);
        free(job->path);
        free(job);
}

static struct root_job *job_new(struct root *root, int (*run)(struct devio_job *), const char *path, const char *name,
                                size_t size)
{
        struct root_job *job = calloc(1, sizeof(*job));

        if (!job)
                return NULL;
        atomic_init(&job->base.references, 1);
        job->base.run = run;
        job->base.free = job_free;
        job->root = root;
        job->fd = -1;
        job->size = size;
        job->path = strdup(path);
        job->name = name ? strdup(name) : NULL;
        job->buffer = size > 0 ? malloc(size) : NULL;
        if (!job->path || (name && !job->name) || (size > 0 && !job->buffer)) {
                job_free(&job->base);
                return NULL;
        }
        return job;
}

static void job_unref(struct root_job **job)
{
        if (*job)
                devio_job_unref(&(*job)->base);
}

static int job_call(struct root *root, struct root_job *job)
{
        return job ? devio_call(root->io, &job->base, DEVIO_TIMEOUT_NS) : -ENOMEM;
}

/* --- what runs on the device's threads --- */

static int run_stat(struct devio_job *base)
{
        struct root_job *job = (struct root_job *)base;

        return root_stat(job->root, job->path, &job->stat);
}

static int run_open(struct devio_job *base)
{
        struct root_job *job = (struct root_job *)base;

        job->fd = io_open_source(job->root->fd, job->path);
        return job->fd < 0 ? job->fd : 0;
}

/* An O_PATH descriptor of whatever lies at the path, a link itself included. */
static int open_node(const struct root_job *job)
{
        return io_open_beneath(job->root->fd, job->path, O_PATH | O_NOFOLLOW, 0);
}

static int run_readlink(struct devio_job *base)
{
        struct root_job *job = (struct root_job *)base;
        cleanup(fd_close) int fd = open_node(job);
        ssize_t size;

        if (fd < 0)
                return fd;
        size = readlinkat(fd, "", job->buffer, job->size - 1);
        if (size < 0)
                return -errno;
        ((char *)job->buffer)[size] = '\0';
        return 0;
}

/* Extended attributes of links and special files go through the parent, as no call takes an O_PATH descriptor. */
static void node_proc_path(int fd, char path[static 64])
{
        (void)snprintf(path, 64, "/proc/self/fd/%d", fd); /* fits */
}

/* -EOPNOTSUPP for links: their target would be asked instead. */
static int open_for_xattr(const struct root_job *job, char proc_path[static 64])
{
        cleanup(fd_close) int fd = open_node(job);
        struct stat stat;

        if (fd < 0)
                return fd;
        if (fstat(fd, &stat) < 0)
                return -errno;
        if (S_ISLNK(stat.st_mode))
                return -EOPNOTSUPP;
        node_proc_path(fd, proc_path);
        return fd_steal(&fd);
}

static int run_getxattr(struct devio_job *base)
{
        struct root_job *job = (struct root_job *)base;
        char proc_path[64];
        cleanup(fd_close) int fd = open_for_xattr(job, proc_path);

        if (fd < 0)
                return fd == -EOPNOTSUPP ? -ENODATA : fd;
        job->count = getxattr(proc_path, job->name, job->buffer, job->size);
        return job->count < 0 ? -errno : 0;
}

static int run_listxattr(struct devio_job *base)
{
        struct root_job *job = (struct root_job *)base;
        char proc_path[64];
        cleanup(fd_close) int fd = open_for_xattr(job, proc_path);

        if (fd == -EOPNOTSUPP) {
                job->count = 0;
                return 0;
        }
        if (fd < 0)
                return fd;
        job->count = listxattr(proc_path, job->buffer, job->size);
        return job->count < 0 ? -errno : 0;
}

static int run_capture(struct devio_job *base)
{
        struct root_job *job = (struct root_job *)base;
        cleanup(fd_close) int fd = open_node(job);
        int result;

        if (fd < 0)
                return fd;
        result = metadata_capture(fd, &job->metadata);
        job->has_metadata = result == 0;
        return result;
}

/* --- calls --- */

int root_call_stat(struct root *root, const char *path, struct statx *ret_stat)
{
        cleanup(job_unref) struct root_job *job = job_new(root, run_stat, path, NULL, 0);
        int result = job_call(root, job);

        if (result == 0)
                *ret_stat = job->stat;
        return result;
}

int root_call_open(struct root *root, const char *path)
{
        cleanup(job_unref) struct root_job *job = job_new(root, run_open, path, NULL, 0);
        int result = job_call(root, job);

        return result == 0 ? fd_steal(&job->fd) : result;
}

int root_call_readlink(struct root *root, const char *path, char **ret_text)
{
        cleanup(job_unref) struct root_job *job = job_new(root, run_readlink, path, NULL, PATH_MAX);
        int result = job_call(root, job);

        if (result == 0)
                *ret_text = pointer_steal((char **)&job->buffer);
        return result;
}

int64_t root_call_getxattr(struct root *root, const char *path, const char *name, void *buffer, size_t size)
{
        cleanup(job_unref) struct root_job *job = job_new(root, run_getxattr, path, name, size);
        int result = job_call(root, job);

        if (result < 0)
                return result;
        if (size > 0)
                memcpy(buffer, job->buffer, (size_t)job->count);
        return job->count;
}

int64_t root_call_listxattr(struct root *root, const char *path, char *buffer, size_t size)
{
        cleanup(job_unref) struct root_job *job = job_new(root, run_listxattr, path, NULL, size);
        int result = job_call(root, job);

        if (result < 0)
                return result;
        if (size > 0 && job->count > 0)
                memcpy(buffer, job->buffer, (size_t)job->count);
        return job->count;
}

int root_call_capture(struct root *root, const char *path, struct metadata *ret_metadata)
{
        cleanup(job_unref) struct root_job *job = job_new(root, run_capture, path, NULL, 0);
        int result = job_call(root, job);

        if (result == 0) {
                *ret_metadata = job->metadata;
                job->has_metadata = false;
        }
        return result;
}
