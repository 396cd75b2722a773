/* Reads of data that wait for the mirror: the request is parked, the thread goes on, the reply is sent by whoever brings
 * the data. An interrupted read (a signal, kill -9) is given up and answered with EINTR.
 *
 * Thread safe. Nothing here waits for data but parked_stop().
 */
#ifndef CVV_FS_PARKED_H
#define CVV_FS_PARKED_H

#include "core/mirror.h"
#include "fs/lowlevel.h"

struct parked;

/* The set of reads that are under way. 0 or -ENOMEM. */
int parked_new(struct parked **ret_parked) __attribute__((nonnull, warn_unused_result));
/* No read may be under way. NULL is allowed. */
void parked_free(struct parked *parked);

/* Reads `size` bytes at `offset` of `handle`, which stays open until the reply is out, and replies to `req`, now or later.
 */
void parked_read(struct parked *parked, struct mirror_handle *handle, uint64_t offset, size_t size, fuse_req_t req)
    __attribute__((nonnull));

/* Gives up all reads under way and waits until each is answered, at most until `deadline_ns` of clock_now_ns(). No new read
 * may come. False: some are still under way, and parked_free() must not be called. */
bool parked_stop(struct parked *parked, uint64_t deadline_ns) __attribute__((nonnull, warn_unused_result));

#endif
