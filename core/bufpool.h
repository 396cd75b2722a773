/* A pool of equal, page-aligned blocks of memory with a ceiling: what bounds the bytes that are in flight.
 *
 * A block is handed out with one reference; a reader's reply, the hash and the queue of each target hold it together, and
 * the last one to let go gives it back. Blocks are allocated when first needed. Free ones are used again last in, first
 * out, because the last one is still warm in the L2 cache; beyond 16 idle ones the memory goes back to the kernel.
 *
 * Two classes ask. What a reader waits for is DEMAND and may use the whole pool. BACKGROUND holds at most three quarters of
 * it, and takes no block that a waiting demand could use: demand waits for memory behind demand only.
 *
 * Who keeps blocks while waiting for others to be filled needs leave for that (bufpool_keep): an eighth of the pool may be kept so. With
 * the half that the targets' queues can hold, that leaves memory for each class, and those who wait are answered.
 *
 * Thread safe. Lock: "bufpool" in core/sync.h; memory is mapped and unmapped outside of it.
 */
#ifndef CVV_CORE_BUFPOOL_H
#define CVV_CORE_BUFPOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BUFPOOL_BLOCK_BYTES ((size_t)512 * 1024)
#define BUFPOOL_WAIT UINT64_MAX

struct bufpool;

enum bufpool_class {
        BUFPOOL_DEMAND,
        BUFPOOL_BACKGROUND,
};

/* The public part of a block. Whoever filled it hands it on; with more than one reference its bytes are read only. */
struct block {
        uint8_t *data; /* page-aligned, so that it serves direct I/O; its bytes are undefined at first */
        size_t size;   /* capacity in bytes: the pool's block size */
        size_t length; /* bytes in use, set by the holder; 0 at first */
};

/* A pool of blocks of `block_bytes` (0: BUFPOOL_BLOCK_BYTES; rounded up to whole pages), of at most `ceiling_bytes`
 * together but at least 4 of them whatever the ceiling. Allocates no block yet. The caller owns one reference. 0, -ENOMEM,
 * or -EINVAL for a block size beyond 1 GiB. */
int bufpool_new(uint64_t ceiling_bytes, size_t block_bytes, struct bufpool **ret)
    __attribute__((nonnull, warn_unused_result));
struct bufpool *bufpool_ref(struct bufpool *pool) __attribute__((nonnull, returns_nonnull));
/* Drops a reference; takes NULL. Blocks that are in use hold the pool too: it goes with the last of them. */
void bufpool_unref(struct bufpool *pool);

/* A block with one reference, for the caller; block_unref gives it back. `deadline_ns` of clock_now_ns(): 0 does not wait,
 * BUFPOOL_WAIT waits for ever; with anything but 0 it may block. NULL when there was none until the deadline, when the pool
 * is closed, or when the kernel refuses memory. */
struct block *bufpool_get(struct bufpool *pool, enum bufpool_class class, uint64_t deadline_ns)
    __attribute__((nonnull, warn_unused_result));

/* Leave to keep `count` blocks while waiting for others to be filled; false: too many are kept already. Does not wait. Each leave is given
 * back once, by bufpool_keep_end; the blocks are had and given back as usual. */
bool bufpool_keep(struct bufpool *pool, uint64_t count) __attribute__((nonnull, warn_unused_result));
void bufpool_keep_end(struct bufpool *pool, uint64_t count) __attribute__((nonnull));

/* Ends waiting for good: all waiters and all later calls of bufpool_get get NULL. Blocks in use stay valid. Idempotent. */
void bufpool_close(struct bufpool *pool) __attribute__((nonnull));

/* Bytes of the blocks that are in use (whole blocks), and the most that can be. */
uint64_t bufpool_used_bytes(struct bufpool *pool) __attribute__((nonnull));
uint64_t bufpool_ceiling_bytes(const struct bufpool *pool) __attribute__((nonnull));
/* Bytes of idle blocks kept for reuse. */
uint64_t bufpool_idle_bytes(struct bufpool *pool) __attribute__((nonnull));

/* Another reference to a block that the caller holds. */
struct block *block_ref(struct block *block) __attribute__((nonnull, returns_nonnull));
/* Drops a reference; takes NULL. Does not wait. */
void block_unref(struct block *block);
/* For cleanup(): drops the reference at *block. */
void block_release(struct block *const *block);

#endif
