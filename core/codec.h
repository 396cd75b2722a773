/* Bounded reading and writing of packed bytes: what core/record.c is made of.
 *
 * A writer or reader remembers that it ran out of room or met what can not be; everything after that does nothing, so that a
 * sequence of calls needs one look at the end. Numbers are little-endian base-128 in their shortest form; the reader refuses
 * any other form. Pure functions.
 */
#ifndef CVV_CORE_CODEC_H
#define CVV_CORE_CODEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct writer {
        uint8_t *bytes;
        size_t capacity, used;
        bool full;
};

struct reader {
        const uint8_t *bytes; /* the next one */
        size_t size;          /* what is left */
        bool bad;
};

void writer_put(struct writer *writer, const void *bytes, size_t size) __attribute__((nonnull(1)));
void writer_put_byte(struct writer *writer, uint8_t byte) __attribute__((nonnull));
void writer_put_number(struct writer *writer, uint64_t number) __attribute__((nonnull));
void writer_put_u32(struct writer *writer, uint32_t number) __attribute__((nonnull)); /* four bytes, little-endian */

/* The next `size` bytes, borrowed; NULL (and `bad`) when there are less. */
const uint8_t *reader_take(struct reader *reader, size_t size) __attribute__((nonnull));
uint8_t reader_take_byte(struct reader *reader) __attribute__((nonnull));
uint64_t reader_take_number(struct reader *reader) __attribute__((nonnull));
uint32_t reader_take_u32(struct reader *reader) __attribute__((nonnull));

enum { CODEC_VERSION = 3 };

/* A frame: the version byte, what is written, and XXH32 over both, seeded with `kind`, so that one kind is not taken for
 * another. frame_end gives the size, or -ERANGE when it did not fit. frame_open checks version and checksum (`bad` says that
 * they are wrong) and leaves what lies between; frame_close gives -EBADMSG when that was bad or not read to its end. */
struct writer frame_start(void *buffer, size_t capacity) __attribute__((nonnull, warn_unused_result));
int frame_end(struct writer *writer, unsigned char kind, size_t *ret_size) __attribute__((nonnull, warn_unused_result));
struct reader frame_open(unsigned char kind, const void *value, size_t size) __attribute__((nonnull, warn_unused_result));
int frame_close(const struct reader *reader) __attribute__((nonnull, warn_unused_result));
uint32_t codec_checksum(unsigned char kind, const void *data, size_t size) __attribute__((nonnull));

/* Signed numbers as unsigned ones of like size: 0, -1, 1, -2, … */
static inline uint64_t zigzag(int64_t number)
{
        return (uint64_t)number << 1 ^ (number < 0 ? UINT64_MAX : 0);
}

static inline int64_t unzigzag(uint64_t number)
{
        return (int64_t)(number >> 1 ^ (number & 1 ? UINT64_MAX : 0));
}

#endif
