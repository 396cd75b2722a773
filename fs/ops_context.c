#include "fs/ops_context.h"

#include "fs/nodeid.h"

#include <string.h>

struct ops *ops_of(fuse_req_t req)
{
        return fuse_req_userdata(req);
}

static void refuse(struct gate_request *request, int result)
{
        reply_result(request->req, result);
}

struct gate_request ops_request(fuse_req_t req, uint64_t nodeid, void (*run)(struct gate_request *request))
{
        return (struct gate_request){
            .run = run,
            .refuse = refuse,
            .context = ops_of(req),
            .req = req,
            .nodeid = nodeid,
        };
}

void ops_request_name(struct gate_request *request, const char *name)
{
        request->data = name;
        request->data_bytes = strlen(name) + 1;
}

void ops_dispatch(struct gate_request *request, enum control_operation operation)
{
        struct ops *ops = request->context;
        enum control_lane lane =
            nodeid_is_control(request->nodeid) ? control_lane(request->nodeid, operation) : CONTROL_LANE_VIEW;

        switch (lane) {
        case CONTROL_LANE_MEMORY:
                request->run(request);
                break;
        case CONTROL_LANE_VIEW:
                gate_enter(ops->view_gate, request);
                break;
        case CONTROL_LANE_SLOW:
                gate_enter(ops->slow_gate, request);
                break;
        }
}

void ops_reply_open(struct gate_request *request, void *object, void (*close)(void *object))
{
        struct ops *ops = request->context;
        int r = openlist_add(ops->open, object, close, &request->fi.fh);

        if (r < 0)
                reply_result(request->req, r);
        else if (!reply_open(request->req, &request->fi))
                openlist_close(ops->open, request->fi.fh);
}

void ops_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
        openlist_close(ops_of(req)->open, fi->fh);
        reply_result(req, 0);
}
