#include "fs/ops_names.h"

#include "core/cleanup.h"
#include "fs/nodeid.h"
#include "fs/ops_context.h"
#include "fs/viewpath.h"

#include <errno.h>
#include <string.h>

/* ---- lookup ---- */

/* `.` and `..` come when an inode is asked for by handle and the kernel has forgotten it. */
static int view_lookup(struct mirror *mirror, uint64_t parent, const char *name, struct stat *ret_stat)
{
        uint64_t id = parent;
        int r;

        if (strcmp(name, "..") == 0) {
                r = viewpath_parent(mirror, parent, &id);
                if (r < 0)
                        return r;
        } else if (strcmp(name, ".") != 0) {
                return mirror_lookup(mirror, parent, name, ret_stat);
        }
        return mirror_getattr(mirror, id, ret_stat);
}

static void lookup_run(struct gate_request *request)
{
        struct ops *ops = request->context;
        struct stat stat;
        int r;

        if (nodeid_is_control(request->nodeid)) {
                control_lookup(ops->control, request->req, request->nodeid, request->data);
                return;
        }
        r = view_lookup(ops->mirror, nodeid_view(request->nodeid), request->data, &stat);
        if (r < 0)
                reply_result(request->req, r);
        else
                reply_entry(request->req, stat.st_ino, &stat, OPS_TIMEOUTS);
}

void ops_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
        struct gate_request request = ops_request(req, parent, lookup_run);

        if (control_is_root(parent, name)) {
                control_lookup_root(ops_of(req)->control, req);
                return;
        }
        ops_request_name(&request, name);
        ops_dispatch(&request, CONTROL_SEARCH);
}

/* ---- attributes ---- */

static void getattr_run(struct gate_request *request)
{
        struct ops *ops = request->context;
        struct stat stat;
        int r;

        if (nodeid_is_control(request->nodeid)) {
                control_getattr(ops->control, request->req, request->nodeid);
                return;
        }
        r = mirror_getattr(ops->mirror, nodeid_view(request->nodeid), &stat);
        if (r < 0)
                reply_result(request->req, r);
        else
                reply_attributes(request->req, &stat, OPS_TIMEOUTS.attributes_s);
}

void ops_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
        struct gate_request request = ops_request(req, ino, getattr_run);

        ops_dispatch(&request, CONTROL_GETATTR);
}

static void readlink_run(struct gate_request *request)
{
        struct ops *ops = request->context;
        cleanup(pointer_free) char *text = NULL;
        int r = mirror_readlink(ops->mirror, nodeid_view(request->nodeid), &text);

        if (r < 0)
                reply_result(request->req, r);
        else
                reply_text(request->req, text);
}

void ops_readlink(fuse_req_t req, fuse_ino_t ino)
{
        struct gate_request request = ops_request(req, ino, readlink_run);

        if (nodeid_is_control(ino))
                reply_result(req, -EINVAL);
        else
                ops_dispatch(&request, CONTROL_GETATTR);
}

/* ---- extended attributes ---- */

/* A filesystem without ACLs says so with EOPNOTSUPP, which the kernel would make the result of the permission check; to it
 * "has none" is ENODATA. */
static int64_t acl_result(const char *name, int64_t result)
{
        static const char prefix[] = "system.posix_acl_";

        return result == -EOPNOTSUPP && strncmp(name, prefix, sizeof(prefix) - 1) == 0 ? -ENODATA : result;
}

/* `data` is the name, or NULL for the list of names. */
static void xattr_run(struct gate_request *request)
{
        struct ops *ops = request->context;
        uint64_t id = nodeid_view(request->nodeid);
        const char *name = request->data;
        cleanup(pointer_free) char *buffer = request->size > 0 ? malloc(request->size) : NULL;
        int64_t result;

        if (request->size > 0 && !buffer)
                result = -ENOMEM;
        else if (name)
                result = acl_result(name, mirror_getxattr(ops->mirror, id, name, buffer, request->size));
        else
                result = mirror_listxattr(ops->mirror, id, buffer, request->size);
        reply_xattr(request->req, result, buffer, request->size);
}

void ops_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
        struct gate_request request = ops_request(req, ino, xattr_run);

        if (nodeid_is_control(ino)) {
                reply_result(req, -ENODATA);
                return;
        }
        ops_request_name(&request, name);
        request.size = size;
        ops_dispatch(&request, CONTROL_GETATTR);
}

void ops_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
        struct gate_request request = ops_request(req, ino, xattr_run);

        if (nodeid_is_control(ino)) {
                reply_xattr(req, 0, NULL, size);
                return;
        }
        request.size = size;
        ops_dispatch(&request, CONTROL_GETATTR);
}

/* ---- answered at once ---- */

void ops_statfs(fuse_req_t req, fuse_ino_t ino)
{
        struct statvfs statvfs = {0};
        int r = mirror_statfs(ops_of(req)->mirror, &statvfs);

        if (r < 0)
                reply_result(req, r);
        else
                reply_statvfs(req, &statvfs);
}

void ops_forget(fuse_req_t req, fuse_ino_t ino, uint64_t count)
{
        fuse_reply_none(req);
}

void ops_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
        fuse_reply_none(req);
}
