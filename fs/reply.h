/* Answers to the kernel: the one place where a result becomes the errno that a program sees.
 *
 * A result is 0, a negative errno or a positive condition of some header. The kernel and programs give some errnos meanings
 * of their own that a device's errno must not take on by accident (ENOSYS switches an operation off for good, ESTALE makes
 * the kernel look up again, ENOTCONN looks like a crashed mount), so only those that a filesystem call may give pass;
 * everything else is EIO.
 *
 * Each reply_…() answers and thereby consumes `req`; it is called once for a request, without any lock held. A reply
 * that the kernel no longer wants (interrupted, connection gone) is not an error; where something was handed over with it,
 * the function says so. None blocks. Any thread.
 */
#ifndef CVV_FS_REPLY_H
#define CVV_FS_REPLY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "fs/lowlevel.h"

/* The (positive) errno for a result of the mirror that is not success. Pure. */
int reply_errno(int result);

/* 0 or a failure. */
void reply_result(fuse_req_t req, int result);
/* ESTALE: the kernel is to look the name up again (openmode.h). */
void reply_stale(fuse_req_t req);
/* An errno (positive) that is meant as it stands: ENOTTY, EAGAIN. */
void reply_exact(fuse_req_t req, int error);

/* How long the kernel may keep names and attributes, in seconds. */
struct reply_timeouts {
        double entry_s;
        double attributes_s;
};
/* What a lookup or a listing with attributes gives. Node ids are never used again, so that generation stays 0. Pure. */
struct fuse_entry_param reply_entry_param(uint64_t nodeid, const struct stat *stat, struct reply_timeouts timeouts);

void reply_entry(fuse_req_t req, uint64_t nodeid, const struct stat *stat, struct reply_timeouts timeouts);
void reply_attributes(fuse_req_t req, const struct stat *stat, double timeout_s);
/* False: the kernel does not know of the open file; the caller takes back what it put into fi->fh. */
bool reply_open(fuse_req_t req, const struct fuse_file_info *fi) __attribute__((warn_unused_result));
void reply_buffer(fuse_req_t req, const void *buffer, size_t size);
void reply_data(fuse_req_t req, const struct iovec *data, int count);
void reply_written(fuse_req_t req, size_t size);
void reply_text(fuse_req_t req, const char *link);
/* The result of getxattr(2) or listxattr(2) into `buffer` (`size` 0: the size was asked for). */
void reply_xattr(fuse_req_t req, int64_t result, const void *buffer, size_t size);
void reply_offset(fuse_req_t req, int64_t result);
void reply_statvfs(fuse_req_t req, const struct statvfs *statvfs);
void reply_poll(fuse_req_t req, unsigned events);

#endif
