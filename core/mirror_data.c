#include "core/mirror_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/cleanup.h"
#include "core/fileread.h"
#include "core/holders.h"
#include "core/openapps.h"

struct mirror_handle {
        struct mirror *mirror;
        struct file *file;        /* with a reference */
        bool fills;               /* a read of it starts the fill of the rest */
        atomic_bool filled;       /* it has done so */
};

int mirror_open_file(struct mirror *mirror, uint64_t id, const struct mirror_open_request *request, bool *ret_finished,
                     struct mirror_handle **ret_handle)
{
        cleanup(file_release) struct file *file = NULL;
        struct mirror_handle *handle;
        struct node_record node;
        bool finished = false;
        int result = reconcile_refresh(mirror->reconcile, id, &node);

        if (result == 0)
                result = files_get(mirror->files, id, &file);
        if (result < 0)
                return result == -ENOENT ? -ESTALE : result;
        if (!S_ISREG(node.mode))
                return S_ISDIR(node.mode) ? -EISDIR : -EINVAL;
        for (CONTEXT_EACH_TARGET(&mirror->context, mirror_finished_slots(mirror, &node), target))
                if (target_serves_reads(target) && !finished)
                        finished = holders_open_finished(file, target, &node) == 0;
        if (!finished)
                holders_open(file);
        if (!finished && !(node.flags & VIEW_NODE_SOURCE))
                return -EIO; /* only targets have it, and none of them gives it */
        handle = calloc(1, sizeof(*handle));
        if (!handle)
                return -ENOMEM;
        handle->mirror = mirror;
        handle->file = pointer_steal(&file);
        handle->fills = mirror->context.options->fill != FILL_CHUNK && (node.flags & VIEW_NODE_SOURCE) &&
                        mirror_finished_slots(mirror, &node) != mirror->context.target_mask &&
                        !openapps_is_indexer(request->pid);
        *ret_finished = finished && mirror_finished_slots(mirror, &node) == mirror->context.target_mask;
        *ret_handle = handle;
        return 0;
}

void mirror_release(struct mirror_handle *handle)
{
        file_unref(handle->file);
        free(handle);
}

/* The first read of a file queues the rest of it. */
static void start_fill(struct mirror_handle *handle)
{
        struct mirror *mirror = handle->mirror;

        if (!handle->fills || atomic_exchange(&handle->filled, true))
                return;
        if (view_queue(mirror->view, handle->file->id, VIEW_QUEUE_ASKED) == 0)
                scheduler_kick(mirror->scheduler);
}

void mirror_read(struct mirror_handle *handle, uint64_t offset, size_t size, mirror_read_done done, void *context,
                 struct mirror_read **ret_read)
{
        struct file_read *read = NULL;
        int result;

        start_fill(handle);
        /* The token is given before the work begins: done() may run, and cancel be asked for, at any time from then on. */
        result = file_read_new(handle->file, offset, size, done, context, &read);
        *ret_read = (struct mirror_read *)read;
        if (result < 0)
                done(context, result, NULL, 0);
        else
                file_read_go(read);
}

void mirror_read_cancel(struct mirror_read *read)
{
        if (read)
                file_read_cancel((struct file_read *)read);
}

void mirror_read_forget(struct mirror_read *read)
{
        file_read_unref((struct file_read *)read);
}

/* A descriptor that has the whole file's shape: a target's that is complete, else the source's. */
static int open_for_seek(struct mirror_handle *handle)
{
        struct mirror *mirror = handle->mirror;
        struct file *file = handle->file;
        cleanup(pointer_free) char *path = NULL;
        int fd = -1, result;

        mutex_lock(&file->lock);
        for (unsigned slot = 0; slot < file->part_count && fd < 0; slot++)
                if (file->parts[slot].fd >= 0 && bitmap_is_full(&file->parts[slot].written))
                        fd = dup(file->parts[slot].fd);
        mutex_unlock(&file->lock);
        if (fd >= 0)
                return fd;
        if (!mirror->context.source)
                return -EIO;
        result = view_source_path(mirror->view, file->id, &path);
        return result < 0 ? result : root_call_open(mirror->context.source, path);
}

int64_t mirror_lseek(struct mirror_handle *handle, uint64_t offset, int whence)
{
        cleanup(fd_close) int fd = -1;
        off_t found;

        if (whence != SEEK_DATA && whence != SEEK_HOLE)
                return -EINVAL;
        fd = open_for_seek(handle);
        if (fd < 0)
                return fd;
        found = lseek(fd, (off_t)offset, whence);
        return found < 0 ? -errno : found;
}
