#include "fs/ops_dirs.h"

#include "fs/control_tree.h"
#include "fs/dirbuf.h"
#include "fs/nodeid.h"
#include "fs/ops_context.h"

#include <errno.h>

/* Behind `.cvv`, which comes last in a listing of the root. */
#define OFFSET_BEHIND_ALL ((uint64_t)INT64_MAX)

static void close_dir(void *object)
{
        mirror_closedir(object);
}

/* ---- opening ---- */

static void opendir_run(struct gate_request *request)
{
        struct ops *ops = request->context;
        struct mirror_dir *dir;
        int r;

        if (nodeid_is_control(request->nodeid)) {
                control_opendir(ops->control, request->req, request->nodeid, &request->fi);
                return;
        }
        r = mirror_opendir(ops->mirror, nodeid_view(request->nodeid), &dir);
        if (r < 0) {
                reply_result(request->req, r);
                return;
        }
        ops_reply_open(request, dir, close_dir);
}

void ops_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
        struct gate_request request = ops_request(req, ino, opendir_run);

        request.fi = *fi;
        ops_dispatch(&request, CONTROL_SEARCH);
}

/* ---- reading ---- */

struct listing {
        struct dirbuf *buffer;
        bool is_full;
};

static bool list_entry(void *context, const char *name, const struct stat *stat, uint64_t next_offset)
{
        struct listing *listing = context;

        if (!dirbuf_add(listing->buffer, name, stat->st_ino, stat, OPS_TIMEOUTS, next_offset))
                listing->is_full = true;
        return !listing->is_full;
}

static int view_list(struct gate_request *request, struct dirbuf *buffer)
{
        struct ops *ops = request->context;
        struct listing listing = {.buffer = buffer};
        struct stat stat;
        int r;

        if ((uint64_t)request->offset == OFFSET_BEHIND_ALL)
                return 0;
        r = mirror_readdir(openlist_object(request->fi.fh), (uint64_t)request->offset, buffer->plus, list_entry, &listing);
        if (r < 0 || listing.is_full || request->nodeid != MIRROR_ROOT || !ops->options->list_control)
                return r;
        control_root_stat(ops->control, &stat);
        /* Where it finds no room, the next call comes with the last entry's offset and begins with it. */
        (void)dirbuf_add(buffer, CONTROL_DIRECTORY_NAME, stat.st_ino, &stat, OPS_TIMEOUTS, OFFSET_BEHIND_ALL);
        return 0;
}

static void readdir_any(struct gate_request *request, bool plus)
{
        struct ops *ops = request->context;
        struct dirbuf buffer;
        int r;

        if (nodeid_is_control(request->nodeid)) {
                control_readdir(ops->control, request->req, request->size, (uint64_t)request->offset, plus, &request->fi);
                return;
        }
        r = dirbuf_init(&buffer, request->req, request->size, plus);
        if (r < 0) {
                reply_result(request->req, r);
                return;
        }
        dirbuf_reply(&buffer, view_list(request, &buffer));
        dirbuf_deinit(&buffer);
}

static void readdir_run(struct gate_request *request)
{
        readdir_any(request, false);
}

static void readdirplus_run(struct gate_request *request)
{
        readdir_any(request, true);
}

static void readdir_start(struct gate_request *request, size_t size, off_t offset, const struct fuse_file_info *fi)
{
        request->size = size;
        request->offset = offset;
        request->fi = *fi;
        ops_dispatch(request, CONTROL_SEARCH);
}

void ops_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
        struct gate_request request = ops_request(req, ino, readdir_run);

        readdir_start(&request, size, offset, fi);
}

void ops_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
        struct gate_request request = ops_request(req, ino, readdirplus_run);

        readdir_start(&request, size, offset, fi);
}
