/* A root: the directory of the source or of a target, on its device, and metadata calls into it that a hung device cannot stall.
 *
 * Paths are relative to the root, of any length, resolved beneath it without following links. The root_call_…() functions run on the
 * device's own threads (see devio.h) and give up after DEVIO_TIMEOUT_NS: -ETIMEDOUT. They may be called from any thread but the
 * device's own. Everything else that touches the device does so on a thread that belongs to it, with root_fd().
 */
#ifndef CVV_CORE_ROOT_H
#define CVV_CORE_ROOT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "core/device.h"
#include "core/devio.h"
#include "core/error.h"
#include "core/metadata.h"

struct root {
        int fd;               /* the directory, O_RDONLY, held for the life of the mount */
        char *path;           /* as resolved, for messages */
        struct device device;
        struct devio *io;     /* NULL until root_start() */
};

/* Opens the directory at `path` and looks at its device. */
int root_open(struct root *root, const char *path, struct error *error);
int root_start(struct root *root, const char *thread_name, unsigned threads);
/* False: a thread is stuck; the root must then stay as it is. */
bool root_stop(struct root *root, uint64_t deadline_ns);
void root_close(struct root *root);

/* lstat of `path`, on the calling thread. */
int root_stat(const struct root *root, const char *path, struct statx *ret_stat);

int root_call_stat(struct root *root, const char *path, struct statx *ret_stat);
/* Opens a regular file read-only; the descriptor is the caller's. */
int root_call_open(struct root *root, const char *path);
int root_call_readlink(struct root *root, const char *path, char **ret_text);
/* A result of 0 or more is a size; size 0 asks for it. */
int64_t root_call_getxattr(struct root *root, const char *path, const char *name, void *buffer, size_t size);
int64_t root_call_listxattr(struct root *root, const char *path, char *buffer, size_t size);
/* metadata_capture() of whatever lies at `path`. */
int root_call_capture(struct root *root, const char *path, struct metadata *ret_metadata);

#endif
