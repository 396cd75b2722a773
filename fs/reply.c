#include "fs/reply.h"

#include <errno.h>

/* Errnos that a program can make sense of when a file operation fails with them. */
static const int passed_on[] = {
    E2BIG,     EACCES, EBUSY,      EDQUOT,       EEXIST,  EFBIG,  EINTR,  EINVAL,  EIO,
    EISDIR,    ELOOP,  EMLINK,     ENAMETOOLONG, ENODATA, ENOENT, ENOMEM, ENOSPC,  ENOTDIR,
    ENOTEMPTY, ENXIO,  EOPNOTSUPP, EOVERFLOW,    EPERM,   ERANGE, EROFS,  ETXTBSY, EXDEV,
};

int reply_errno(int result)
{
        if (result == -ENOSYS)
                return EOPNOTSUPP;
        for (size_t i = 0; i < sizeof(passed_on) / sizeof(passed_on[0]); i++) {
                if (result == -passed_on[i])
                        return passed_on[i];
        }
        return EIO;
}

/* A failed reply means that the kernel has dropped the request: nobody waits for it any more. */
static void sent(int result)
{
        (void)result;
}

void reply_result(fuse_req_t req, int result)
{
        sent(fuse_reply_err(req, result == 0 ? 0 : reply_errno(result)));
}

void reply_stale(fuse_req_t req)
{
        sent(fuse_reply_err(req, ESTALE));
}

void reply_exact(fuse_req_t req, int error)
{
        sent(fuse_reply_err(req, error));
}

struct fuse_entry_param reply_entry_param(uint64_t nodeid, const struct stat *stat, struct reply_timeouts timeouts)
{
        return (struct fuse_entry_param){
            .ino = nodeid,
            .attr = *stat,
            .attr_timeout = timeouts.attributes_s,
            .entry_timeout = timeouts.entry_s,
        };
}

void reply_entry(fuse_req_t req, uint64_t nodeid, const struct stat *stat, struct reply_timeouts timeouts)
{
        struct fuse_entry_param entry = reply_entry_param(nodeid, stat, timeouts);

        sent(fuse_reply_entry(req, &entry));
}

void reply_attributes(fuse_req_t req, const struct stat *stat, double timeout_s)
{
        sent(fuse_reply_attr(req, stat, timeout_s));
}

bool reply_open(fuse_req_t req, const struct fuse_file_info *fi)
{
        return fuse_reply_open(req, fi) == 0;
}

void reply_buffer(fuse_req_t req, const void *buffer, size_t size)
{
        sent(fuse_reply_buf(req, buffer, size));
}

void reply_data(fuse_req_t req, const struct iovec *data, int count)
{
        sent(fuse_reply_iov(req, data, count));
}

void reply_written(fuse_req_t req, size_t size)
{
        sent(fuse_reply_write(req, size));
}

void reply_text(fuse_req_t req, const char *link)
{
        sent(fuse_reply_readlink(req, link));
}

void reply_xattr(fuse_req_t req, int64_t result, const void *buffer, size_t size)
{
        if (result < 0)
                reply_result(req, (int)result);
        else if (size == 0)
                sent(fuse_reply_xattr(req, (size_t)result));
        else
                reply_buffer(req, buffer, (size_t)result);
}

void reply_offset(fuse_req_t req, int64_t result)
{
        if (result < 0)
                reply_result(req, (int)result);
        else
                sent(fuse_reply_lseek(req, (off_t)result));
}

void reply_statvfs(fuse_req_t req, const struct statvfs *statvfs)
{
        sent(fuse_reply_statfs(req, statvfs));
}

void reply_poll(fuse_req_t req, unsigned events)
{
        sent(fuse_reply_poll(req, events));
}
