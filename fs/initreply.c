#include "fs/initreply.h"

#include <errno.h>
#include <linux/fuse.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

/* Headers of kernel 6.1 and before lack it. */
#define DIRECT_IO_ALLOW_MMAP (UINT64_C(1) << 36)

uint64_t initreply_flags(uint64_t offered)
{
        uint64_t wanted = FUSE_PARALLEL_DIROPS;

        /* Without INIT_EXT neither side looks at flags2. */
        if (offered & FUSE_INIT_EXT)
                wanted |= FUSE_INIT_EXT | DIRECT_IO_ALLOW_MMAP;
        return offered & wanted;
}

#if FUSE_VERSION < FUSE_MAKE_VERSION(3, 17)

/* The INIT request that this thread is processing; libfuse replies to it before it returns. */
static _Thread_local struct {
        bool is_pending;
        uint64_t unique;
        uint64_t offered;
} init;

void initreply_note(const void *request, size_t size)
{
        struct fuse_in_header header;
        struct fuse_init_in in = {0};
        size_t in_bytes;

        memcpy(&header, request, sizeof(header)); /* the kernel gives no less */
        init.is_pending = header.opcode == FUSE_INIT;
        if (!init.is_pending)
                return;
        in_bytes = size - sizeof(header);
        memcpy(&in, (const char *)request + sizeof(header), in_bytes < sizeof(in) ? in_bytes : sizeof(in));
        init.unique = header.unique;
        init.offered = in.flags;
        if (in.flags & FUSE_INIT_EXT)
                init.offered |= (uint64_t)in.flags2 << 32;
}

static bool is_init_reply(const struct iovec *data, int count)
{
        struct fuse_out_header header;

        if (!init.is_pending || count != 2 || data[0].iov_len != sizeof(header) ||
            data[1].iov_len != sizeof(struct fuse_init_out))
                return false;
        memcpy(&header, data[0].iov_base, sizeof(header));
        return header.unique == init.unique && header.error == 0;
}

static ssize_t send_reply(int fd, struct iovec *data, int count, void *userdata)
{
        uint64_t flags = initreply_flags(init.offered);
        struct fuse_init_out out;

        if (!is_init_reply(data, count))
                return writev(fd, data, count);
        init.is_pending = false;
        memcpy(&out, data[1].iov_base, sizeof(out));
        out.flags |= (uint32_t)flags;
        out.flags2 |= (uint32_t)(flags >> 32);
        return writev(fd, (struct iovec[]){data[0], {.iov_base = &out, .iov_len = sizeof(out)}}, 2);
}

/* The session's loop reads for itself; libfuse wants one all the same. */
static ssize_t receive_request(int fd, void *buffer, size_t size, void *userdata)
{
        return read(fd, buffer, size);
}

int initreply_install(struct fuse_session *session)
{
        const struct fuse_custom_io io = {.writev = send_reply, .read = receive_request};
        int r = fuse_session_custom_io(session, &io, fuse_session_fd(session));

        return r > 0 ? -r : r;
}

#else

void initreply_note(const void *request, size_t size)
{
}

int initreply_install(struct fuse_session *session)
{
        return 0;
}

#endif
