/* A bitmap over the chunks of a file: bits 0 to size-1, with the number of set bits always at hand.
 *
 * Up to 64 bits lie inside the struct: most files never allocate. A bigger map allocates with its first set bit, so that an
 * all-clear map of a million bits costs nothing. What is allocated stays until deinit, and that is why clearing can never
 * fail: a chunk that is lost must be markable as lost without memory. An all-set map without memory was rejected for it.
 *
 * Not thread safe: the owner's lock guards it. Nothing blocks. Bits beyond the size do not exist: they read as clear.
 */
#ifndef CVV_CORE_BITMAP_H
#define CVV_CORE_BITMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What the searches return when there is none; no bitmap is that long. */
#define BITMAP_NONE UINT64_MAX

/* Embedded; the members are private. A zeroed object is a valid map of no bits. */
struct bitmap {
        uint64_t size;   /* bits */
        uint64_t count;  /* set bits */
        uint64_t *words; /* NULL: all clear, or size is at most 64 */
        uint64_t word;   /* the bits while size is at most 64 */
};

/* An all-clear map of `size` bits (0 is allowed). Allocates nothing. */
void bitmap_init(struct bitmap *bitmap, uint64_t size) __attribute__((nonnull));
/* Frees it and leaves a map of no bits. Idempotent; takes a zeroed object. */
void bitmap_deinit(struct bitmap *bitmap) __attribute__((nonnull));

/* Sets a bit. 0, -ENOMEM (nothing changed), or -ERANGE beyond the size. Once one bit is set only -ERANGE can follow. */
int bitmap_set(struct bitmap *bitmap, uint64_t index) __attribute__((nonnull, warn_unused_result));
/* Sets all bits. 0 or -ENOMEM (nothing changed). */
int bitmap_set_all(struct bitmap *bitmap) __attribute__((nonnull, warn_unused_result));
/* Clears a bit; beyond the size nothing happens. Never fails. */
void bitmap_clear(struct bitmap *bitmap, uint64_t index) __attribute__((nonnull));
/* Clears all bits. Never fails. */
void bitmap_clear_all(struct bitmap *bitmap) __attribute__((nonnull));

/* Whether the bit is set; false beyond the size. */
bool bitmap_test(const struct bitmap *bitmap, uint64_t index) __attribute__((nonnull));
/* The number of bits. */
uint64_t bitmap_size(const struct bitmap *bitmap) __attribute__((nonnull));
/* The number of set bits. O(1). */
uint64_t bitmap_count(const struct bitmap *bitmap) __attribute__((nonnull));
/* Whether no bit is clear; a map of no bits is full. O(1). */
bool bitmap_is_full(const struct bitmap *bitmap) __attribute__((nonnull));

/* The first set (clear) bit at or after `from`, or BITMAP_NONE. */
uint64_t bitmap_find_next_set(const struct bitmap *bitmap, uint64_t from) __attribute__((nonnull));
uint64_t bitmap_find_next_clear(const struct bitmap *bitmap, uint64_t from) __attribute__((nonnull));

/* Changes the size: new bits are clear, bits that are cut off are gone. 0 or -ENOMEM (nothing changed); a smaller size
 * never fails. */
int bitmap_resize(struct bitmap *bitmap, uint64_t size) __attribute__((nonnull, warn_unused_result));

/* Copies the bits [first, first + count) out into (count + 7) / 8 bytes: bit i goes to bit i % 8 of byte i / 8, on every
 * machine; what is over in the last byte is zero. Bits beyond the size are written as clear. */
void bitmap_export(const struct bitmap *bitmap, uint64_t first, uint64_t count, uint8_t *ret) __attribute__((nonnull));
/* Replaces the bits [first, first + count) by what bitmap_export wrote; what is over in the last byte is ignored.
 * 0, -ENOMEM, or -ERANGE where the range goes beyond the size. On failure nothing changed. */
int bitmap_import(struct bitmap *bitmap, uint64_t first, uint64_t count, const uint8_t *bytes)
    __attribute__((nonnull, warn_unused_result));

#endif
