/* Reading back: the bytes of a file as its medium has them, not as the page cache remembers them.
 *
 * How that is possible depends on what the file lies on, and each result says which way it was (CONTRACT.md, guarantee 8):
 *   direct         O_DIRECT on a block filesystem: the kernel reads past its cache. Some take the flag and read through the cache all the same (ext4
 *                  with inline or journalled data, btrfs with compression): where the filesystem does not say what it does, the pages must be gone
 *                  before each portion is read, too, and if they are there afterwards it was
 *   remote         O_DIRECT on a network or FUSE filesystem: past this machine's cache; what the server does is the server's
 *   dropped-cache  the clean pages were dropped, and mincore(2) says that none is left, before each portion is read
 *   memory         tmpfs: the memory is the medium
 *   cache          none of these worked: it proves nothing about the medium
 * O_DIRECT wants aligned reads; the tail of a file is read with an aligned length that goes beyond its end.
 *
 * An object belongs to one thread. Reads block on the device. Nothing here holds a lock.
 */
#ifndef CVV_CORE_READBACK_H
#define CVV_CORE_READBACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/device.h"

/* The numbers stand in the state: append, never renumber. A higher one is a weaker proof. */
enum readback_method {
        READBACK_NONE,
        READBACK_DIRECT,
        READBACK_REMOTE,
        READBACK_DROPPED_CACHE,
        READBACK_MEMORY,
        READBACK_CACHE,
};

/* As the reports name it; NULL for READBACK_NONE and numbers that are none. Static. */
const char *readback_method_name(unsigned method);

enum { READBACK_BLOCK_BYTES = 1 << 20 };

struct readback {
        int fd;                        /* own */
        enum readback_method method;   /* the weakest way that was needed so far */
        bool journalled;               /* on ext4, with its data in the journal */
        bool doubtful;                 /* O_DIRECT was taken, and perhaps the cache is read */
        uint8_t *buffer;               /* READBACK_BLOCK_BYTES, aligned; kept from file to file */
        uint64_t size;                 /* of the file when it was opened */
        uint64_t data_start, data_end; /* the extent that was found last; end <= offset: look again */
};

/* A reader without a file; its buffer comes with the first one. */
void readback_init(struct readback *readback);
/* Closes the file and frees the buffer. Idempotent. */
void readback_deinit(struct readback *readback);

/* Takes up the file that `fd` has open for reading (on a filesystem that `device` describes); `fd` stays the caller's and may be in use by others.
 * What was written must have been synced: dirty pages cannot be dropped. 0 or -errno. */
int readback_open(struct readback *readback, int fd, const struct device *device);
void readback_close(struct readback *readback);

/* Reads the next portion of [offset, end): at most READBACK_BLOCK_BYTES from an `offset` that is a multiple of that. Returns its length (0: the file is
 * shorter); *ret_data points into the buffer, or is NULL where the portion is a hole. Else -errno. */
int64_t readback_read(struct readback *readback, uint64_t offset, uint64_t end, const uint8_t **ret_data);

#endif
