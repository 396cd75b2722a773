#include "core/codec.h"

#include <errno.h>
#include <string.h>
#include <xxhash.h>

void writer_put(struct writer *writer, const void *bytes, size_t size)
{
        if (writer->full || size > writer->capacity - writer->used) {
                writer->full = true;
                return;
        }
        if (size > 0)
                memcpy(writer->bytes + writer->used, bytes, size);
        writer->used += size;
}

void writer_put_byte(struct writer *writer, uint8_t byte)
{
        writer_put(writer, &byte, 1);
}

void writer_put_number(struct writer *writer, uint64_t number)
{
        for (; number >= 0x80; number >>= 7)
                writer_put_byte(writer, (uint8_t)(number | 0x80));
        writer_put_byte(writer, (uint8_t)number);
}

void writer_put_u32(struct writer *writer, uint32_t number)
{
        for (unsigned shift = 0; shift < 32; shift += 8)
                writer_put_byte(writer, (uint8_t)(number >> shift));
}

const uint8_t *reader_take(struct reader *reader, size_t size)
{
        const uint8_t *bytes = reader->bytes;

        if (reader->bad || size > reader->size) {
                reader->bad = true;
                return NULL;
        }
        reader->bytes += size;
        reader->size -= size;
        return bytes;
}

uint8_t reader_take_byte(struct reader *reader)
{
        const uint8_t *byte = reader_take(reader, 1);

        return byte ? *byte : 0;
}

uint64_t reader_take_number(struct reader *reader)
{
        uint64_t number = 0;

        for (unsigned shift = 0; shift < 64; shift += 7) {
                uint8_t byte = reader_take_byte(reader);

                /* The tenth byte has room for one bit only; a last byte of zero would be a longer form than needed. */
                if (reader->bad || (shift == 63 && byte > 1) || (shift > 0 && byte == 0))
                        break;
                number |= (uint64_t)(byte & 0x7f) << shift;
                if (byte < 0x80)
                        return number;
        }
        reader->bad = true;
        return 0;
}

uint32_t reader_take_u32(struct reader *reader)
{
        const uint8_t *bytes = reader_take(reader, 4);

        if (!bytes)
                return 0;
        return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

enum { CHECKSUM_BYTES = 4 };

uint32_t codec_checksum(unsigned char kind, const void *data, size_t size)
{
        return XXH32(data, size, kind);
}

struct writer frame_start(void *buffer, size_t capacity)
{
        struct writer writer = { .bytes = buffer, .capacity = capacity };

        writer_put_byte(&writer, CODEC_VERSION);
        return writer;
}

int frame_end(struct writer *writer, unsigned char kind, size_t *ret_size)
{
        if (!writer->full)
                writer_put_u32(writer, codec_checksum(kind, writer->bytes, writer->used));
        if (writer->full)
                return -ERANGE;
        *ret_size = writer->used;
        return 0;
}

struct reader frame_open(unsigned char kind, const void *value, size_t size)
{
        struct reader reader = { .bad = true }, tail;

        if (size < 1 + CHECKSUM_BYTES)
                return reader;
        tail = (struct reader){ .bytes = (const uint8_t *)value + size - CHECKSUM_BYTES, .size = CHECKSUM_BYTES };
        if (reader_take_u32(&tail) != codec_checksum(kind, value, size - CHECKSUM_BYTES))
                return reader;
        reader = (struct reader){ .bytes = value, .size = size - CHECKSUM_BYTES };
        if (reader_take_byte(&reader) != CODEC_VERSION)
                reader.bad = true;
        return reader;
}

int frame_close(const struct reader *reader)
{
        return reader->bad || reader->size > 0 ? -EBADMSG : 0;
}
