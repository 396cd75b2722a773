/* The buffer of one readdir or readdirplus reply. One thread. */
#ifndef CVV_FS_DIRBUF_H
#define CVV_FS_DIRBUF_H

#include <stdbool.h>
#include <stddef.h>

#include "fs/reply.h"

struct dirbuf {
        fuse_req_t req;
        char *data;
        size_t size, used; /* bytes */
        bool plus;         /* entries carry attributes and count as looked up */
};

/* 0 or -ENOMEM. */
int dirbuf_init(struct dirbuf *buffer, fuse_req_t req, size_t size, bool plus) __attribute__((nonnull, warn_unused_result));
void dirbuf_deinit(struct dirbuf *buffer);

/* Adds an entry; `stat` needs st_ino and the type, with `plus` all of it. `next_offset` is where a listing goes on behind
 * it. False: no room. */
bool dirbuf_add(struct dirbuf *buffer, const char *name, uint64_t nodeid, const struct stat *stat,
                struct reply_timeouts timeouts, uint64_t next_offset) __attribute__((nonnull));

/* Replies with what was added, or with `result` where that failed and nothing was. */
void dirbuf_reply(struct dirbuf *buffer, int result) __attribute__((nonnull));

#endif
