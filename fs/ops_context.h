/* What the operations share: the context of a session, and the way of a request through the gates. */
#ifndef CVV_FS_OPS_CONTEXT_H
#define CVV_FS_OPS_CONTEXT_H

#include "core/mirror.h"
#include "fs/control.h"
#include "fs/gate.h"
#include "fs/openlist.h"
#include "fs/parked.h"
#include "fs/reply.h"

/* Constant while the session runs. */
struct ops {
        struct mirror *mirror;
        const struct options *options;
        struct control *control;
        struct parked *parked;
        struct openlist *open;  /* what the kernel has open */
        struct gate *view_gate; /* what may wait for a device */
        struct gate *slow_gate; /* long reports and commands */
};

/* Names in the source come, go and change outside the mount. */
#define OPS_TIMEOUTS ((struct reply_timeouts){.entry_s = 1.0, .attributes_s = 1.0})

struct ops *ops_of(fuse_req_t req);

/* A request for `run`, without further arguments; its context is the struct ops. */
struct gate_request ops_request(fuse_req_t req, uint64_t nodeid, void (*run)(struct gate_request *request));
/* Sets its data to a name. */
void ops_request_name(struct gate_request *request, const char *name);

/* Hands `object` to the kernel as what `request` has opened, with request->fi; `close` takes it back where that fails, when
 * the kernel releases it or when the session ends. */
void ops_reply_open(struct gate_request *request, void *object, void (*close)(void *object));
/* The kernel releases it. */
void ops_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);

/* Runs it as its node and operation demand: at once, or through a gate. */
void ops_dispatch(struct gate_request *request, enum control_operation operation);

#endif
