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
        enum control_lane lane = nodeid_is_control(request->nodeid) ? control_lane(request->nodeid, operation)
                                                                    : CONTROL_LANE_VIEW;

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
