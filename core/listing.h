/* Parts of a directory: names with their attributes, read in batches, so that a directory of a million names needs little memory.
 *
 * A batch continues at the cookie of the one before (d_off of getdents64(2), valid on an open directory; kept valid over opens by
 * every filesystem that NFS can export). "." and ".." are left out.
 */
#ifndef CVV_CORE_LISTING_H
#define CVV_CORE_LISTING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "core/root.h"

enum { LISTING_BATCH = 512 };

struct listing_entry {
        char *name;
        int error;           /* 0: stat is valid; else the negative errno of looking at it */
        struct statx stat;
};

struct listing {
        size_t count;
        struct listing_entry *entries;
        int64_t cookie;      /* where the next batch begins */
        bool end;
};

/* Reads the next entries of the directory `fd` from `cookie` (0: its beginning) on the calling thread. */
int listing_read(int fd, int64_t cookie, struct listing *ret_listing);
void listing_deinit(struct listing *listing);

/* As listing_read, of the directory at `path` of a root, on the device's threads (see root.h). */
int listing_call_read(struct root *root, const char *path, int64_t cookie, struct listing *ret_listing);
/* Looks at the `count` names in the directory at `path`; the result has one entry for each, in order. -ENOENT: no such directory. */
int listing_call_stat(struct root *root, const char *path, char *const *names, size_t count, struct listing *ret_listing);

#endif
