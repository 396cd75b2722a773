#include "fs/dirbuf.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int dirbuf_init(struct dirbuf *buffer, fuse_req_t req, size_t size, bool plus)
{
        char *data = malloc(size > 0 ? size : 1);

        if (!data)
                return -ENOMEM;
        *buffer = (struct dirbuf){.req = req, .data = data, .size = size, .plus = plus};
        return 0;
}

void dirbuf_deinit(struct dirbuf *buffer)
{
        free(buffer->data);
        buffer->data = NULL;
}

bool dirbuf_add(struct dirbuf *buffer, const char *name, uint64_t nodeid, const struct stat *stat,
                struct reply_timeouts timeouts, uint64_t next_offset)
{
        char *end = buffer->data + buffer->used;
        size_t room = buffer->size - buffer->used;
        size_t needed;

        if (buffer->plus) {
                struct fuse_entry_param entry = reply_entry_param(nodeid, stat, timeouts);

                /* The kernel takes neither of them as looked up. */
                if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
                        entry.ino = 0;
                needed = fuse_add_direntry_plus(buffer->req, end, room, name, &entry, (off_t)next_offset);
        } else {
                needed = fuse_add_direntry(buffer->req, end, room, name, stat, (off_t)next_offset);
        }
        if (needed > room)
                return false;
        buffer->used += needed;
        return true;
}

void dirbuf_reply(struct dirbuf *buffer, int result)
{
        if (result < 0 && buffer->used == 0)
                reply_result(buffer->req, result);
        else
                reply_buffer(buffer->req, buffer->data, buffer->used);
}
