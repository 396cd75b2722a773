#include "fs/ops_files.h"

#include "core/command.h"
#include "fs/nodeid.h"
#include "fs/openmode.h"
#include "fs/ops_context.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>

static void close_handle(void *object)
{
        mirror_release(object);
}

/* ---- opening ---- */

/* False: the kernel is to look the name up again. */
static bool set_mode(struct fuse_file_info *fi, uint64_t nodeid, bool is_finished)
{
        struct openmode_question question = {
            .flags = fi->flags,
            .finished = is_finished,
            .open_now = OPENMODE_NONE, /* without passthrough all modes go together */
            .second_node = nodeid_is_second(nodeid),
            .passthrough = false,
        };
        enum openmode mode = openmode_decide(&question);

        fi->direct_io = mode == OPENMODE_DIRECT;
        fi->keep_cache = mode == OPENMODE_CACHED;
        fi->noflush = 1; /* nothing is written through it */
        return mode != OPENMODE_STALE;
}

static void view_open(struct gate_request *request)
{
        struct ops *ops = request->context;
        struct mirror_open_request how = {
            .pid = fuse_req_ctx(request->req)->pid,
            .noncaching = (request->fi.flags & O_DIRECT) != 0,
        };
        struct mirror_handle *handle;
        bool is_finished;
        int r = mirror_open_file(ops->mirror, nodeid_view(request->nodeid), &how, &is_finished, &handle);

        if (r < 0) {
                reply_result(request->req, r);
                return;
        }
        if (set_mode(&request->fi, request->nodeid, is_finished)) {
                ops_reply_open(request, handle, close_handle);
        } else {
                mirror_release(handle);
                reply_stale(request->req);
        }
}

static void open_run(struct gate_request *request)
{
        struct ops *ops = request->context;

        if (nodeid_is_control(request->nodeid))
                control_open(ops->control, request->req, request->nodeid, &request->fi);
        else
                view_open(request);
}

void ops_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
        struct gate_request request = ops_request(req, ino, open_run);
        bool changes = (fi->flags & O_ACCMODE) != O_RDONLY || (fi->flags & O_TRUNC);

        if (changes && !nodeid_is_control(ino)) {
                reply_result(req, -EROFS);
                return;
        }
        request.fi = *fi;
        ops_dispatch(&request, CONTROL_OPEN);
}

/* ---- data ---- */

void ops_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
        if (nodeid_is_control(ino))
                control_read(req, size, (uint64_t)offset, fi);
        else
                parked_read(ops_of(req)->parked, openlist_object(fi->fh), (uint64_t)offset, size, req);
}

static void write_run(struct gate_request *request)
{
        struct ops *ops = request->context;

        control_write(ops->control, request->req, request->data, request->data_bytes, request->nodeid);
}

/* Only `.cvv/control` can be open for writing. */
void ops_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t offset, struct fuse_file_info *fi)
{
        struct gate_request request = ops_request(req, ino, write_run);

        if (!nodeid_is_control(ino)) {
                reply_result(req, -EROFS);
                return;
        }
        if (size > COMMAND_TEXT_BYTES_MAX) {
                reply_result(req, -EINVAL);
                return;
        }
        request.data = data;
        request.data_bytes = size;
        ops_dispatch(&request, CONTROL_WRITE);
}

/* Nothing is pending: flush and fsync have nothing to wait for. */
void ops_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
        reply_result(req, 0);
}

void ops_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
        reply_result(req, 0);
}

static void lseek_run(struct gate_request *request)
{
        reply_offset(request->req,
                     mirror_lseek(openlist_object(request->fi.fh), (uint64_t)request->offset, request->whence));
}

void ops_lseek(fuse_req_t req, fuse_ino_t ino, off_t offset, int whence, struct fuse_file_info *fi)
{
        struct gate_request request = ops_request(req, ino, lseek_run);

        if (nodeid_is_control(ino)) {
                reply_result(req, -ENXIO); /* as for any offset in an empty file */
                return;
        }
        request.offset = offset;
        request.whence = whence;
        request.fi = *fi;
        ops_dispatch(&request, CONTROL_OPEN);
}

/* ---- the rest ---- */

void ops_poll(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct fuse_pollhandle *handle)
{
        if (nodeid_is_control(ino)) {
                control_poll(req, fi, handle);
                return;
        }
        if (handle)
                fuse_pollhandle_destroy(handle);
        reply_poll(req, POLLIN | POLLRDNORM | POLLOUT | POLLWRNORM); /* as any regular file */
}

void ops_ioctl(fuse_req_t req, fuse_ino_t ino, unsigned int command, void *argument, struct fuse_file_info *fi,
               unsigned flags, const void *in, size_t in_bytes, size_t out_bytes)
{
        reply_exact(req, ENOTTY);
}
