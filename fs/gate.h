/* Keeps threads of the session's loop free: at most so many requests at a time run that may wait for a device.
 *
 * A request that finds room runs at once on the thread that read it: no switch of threads on the way that counts. One that
 * finds none is copied and waits in a queue; whoever comes out of the gate takes the next one. So a hung device can hold as
 * many threads as the gate lets in, and no more; `.cvv`, statfs, reads of data and replies go on beside it.
 *
 * The queue is bounded (GATE_QUEUE_MAX): each entry is a task that waits in a system call. Beyond that requests are
 * refused with -ENOMEM.
 *
 * Thread safe. A request's functions are called without a lock held.
 */
#ifndef CVV_FS_GATE_H
#define CVV_FS_GATE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "fs/lowlevel.h"

enum { GATE_QUEUE_MAX = 16384 };

struct gate;

/* One request of the kernel with the arguments that it needs; the rest is zero. */
struct gate_request {
        struct gate_request *next;                                /* the gate's */
        void (*run)(struct gate_request *request);                /* does it and replies */
        void (*refuse)(struct gate_request *request, int result); /* replies with this failure */
        void *context;
        fuse_req_t req;
        uint64_t nodeid;
        const void *data; /* a name with its end, bytes to write; borrowed: the gate copies it where it has to wait */
        size_t data_bytes;
        size_t size;
        off_t offset;
        int whence;
        struct fuse_file_info fi;
};

/* Lets at most `limit` (at least 1) requests in at a time. 0 or -ENOMEM. */
int gate_new(unsigned limit, struct gate **ret_gate) __attribute__((nonnull, warn_unused_result));
/* No request may be inside. NULL is allowed. */
void gate_free(struct gate *gate);

/* Runs `request` (borrowed) now, later on another thread, or refuses it. May block as long as requests do. */
void gate_enter(struct gate *gate, struct gate_request *request) __attribute__((nonnull));
/* From now on requests are refused with -EIO, those that wait, too; those inside go on. */
void gate_close(struct gate *gate) __attribute__((nonnull));

#endif
