/* The group record of core/record.h: hashes and marks of up to 112 chunks. */
#include "core/record.h"

#include "core/codec.h"

#include <errno.h>
#include <string.h>

/* A bit for each chunk is written as a form, and its bytes only where the form does not say it all. */
enum { BITS_NONE, BITS_ALL, BITS_SOME };

static uint64_t chunk_mask(unsigned count, unsigned word)
{
        unsigned first = word * 64, bits = count <= first ? 0 : count - first;

        return bits >= 64 ? UINT64_MAX : (UINT64_C(1) << bits) - 1;
}

static bool bits_fit(const uint64_t bits[2], unsigned count)
{
        return (bits[0] & ~chunk_mask(count, 0)) == 0 && (bits[1] & ~chunk_mask(count, 1)) == 0;
}

static unsigned bits_form(const uint64_t bits[2], unsigned count)
{
        if (bits[0] == 0 && bits[1] == 0)
                return BITS_NONE;
        return bits[0] == chunk_mask(count, 0) && bits[1] == chunk_mask(count, 1) ? BITS_ALL : BITS_SOME;
}

static void write_bits(struct writer *writer, const uint64_t bits[2], unsigned count)
{
        if (bits_form(bits, count) != BITS_SOME)
                return;
        for (unsigned byte = 0; byte < (count + 7) / 8; byte++)
                writer_put_byte(writer, (uint8_t)(bits[byte / 8] >> (byte % 8 * 8)));
}

static bool read_bits(struct reader *reader, unsigned form, unsigned count, uint64_t ret_bits[2])
{
        for (unsigned word = 0; word < 2; word++)
                ret_bits[word] = form == BITS_ALL ? chunk_mask(count, word) : 0;
        for (unsigned byte = 0; form == BITS_SOME && byte < (count + 7) / 8; byte++)
                ret_bits[byte / 8] |= (uint64_t)reader_take_byte(reader) << (byte % 8 * 8);
        return bits_fit(ret_bits, count) && bits_form(ret_bits, count) == form;
}

static bool chunk_is_hashed(const struct group_record *record, unsigned chunk)
{
        return record->hashed[chunk / 64] >> (chunk % 64) & 1;
}

static bool group_is_encodable(const struct group_record *record)
{
        if (record->chunk_count > RECORD_GROUP_CHUNKS || record->slot_count > RECORD_SLOTS ||
            !bits_fit(record->hashed, record->chunk_count))
                return false;
        for (unsigned i = 0; i < record->slot_count; i++) {
                const struct group_slot *slot = &record->slots[i];

                if (slot->slot >= RECORD_SLOTS || (i > 0 && slot->slot <= slot[-1].slot) ||
                    !bits_fit(slot->present, record->chunk_count) || !bits_fit(slot->verified, record->chunk_count))
                        return false;
        }
        return true;
}

int record_encode_group(const struct group_record *record, void *ret_buffer, size_t capacity, size_t *ret_size)
{
        struct writer writer = frame_start(ret_buffer, capacity);
        unsigned count = record->chunk_count;

        if (!group_is_encodable(record))
                return -EINVAL;
        writer_put_byte(&writer, (uint8_t)count);
        writer_put_byte(&writer, (uint8_t)bits_form(record->hashed, count));
        write_bits(&writer, record->hashed, count);
        for (unsigned i = 0; i < count; i++)
                if (chunk_is_hashed(record, i))
                        writer_put(&writer, record->hash[i], RECORD_HASH_BYTES);
        for (unsigned i = 0; i < record->slot_count; i++) {
                const struct group_slot *slot = &record->slots[i];
                unsigned forms = bits_form(slot->present, count) | bits_form(slot->verified, count) << 4;

                if (forms == (BITS_NONE | BITS_NONE << 4))
                        continue;
                writer_put_byte(&writer, slot->slot);
                writer_put_byte(&writer, (uint8_t)forms);
                write_bits(&writer, slot->present, count);
                write_bits(&writer, slot->verified, count);
        }
        return frame_end(&writer, TABLE_GROUP, ret_size);
}

static bool read_slot(struct reader *reader, unsigned count, struct group_slot *ret_slot)
{
        unsigned forms;

        ret_slot->slot = reader_take_byte(reader);
        forms = reader_take_byte(reader);
        return ret_slot->slot < RECORD_SLOTS && forms != (BITS_NONE | BITS_NONE << 4) &&
               read_bits(reader, forms & 0xf, count, ret_slot->present) &&
               read_bits(reader, forms >> 4, count, ret_slot->verified);
}

/* The slots take all that is left. */
static bool read_group(struct reader *reader, struct group_record *record)
{
        record->chunk_count = reader_take_byte(reader);
        if (record->chunk_count > RECORD_GROUP_CHUNKS ||
            !read_bits(reader, reader_take_byte(reader), record->chunk_count, record->hashed))
                return false;
        for (unsigned i = 0; i < record->chunk_count; i++) {
                const uint8_t *hash = chunk_is_hashed(record, i) ? reader_take(reader, RECORD_HASH_BYTES) : NULL;

                if (hash)
                        memcpy(record->hash[i], hash, RECORD_HASH_BYTES);
        }
        while (!reader->bad && reader->size > 0) {
                struct group_slot *slot = &record->slots[record->slot_count];

                if (record->slot_count == RECORD_SLOTS || !read_slot(reader, record->chunk_count, slot) ||
                    (record->slot_count > 0 && slot->slot <= slot[-1].slot))
                        return false;
                record->slot_count++;
        }
        return true;
}

int record_decode_group(const void *value, size_t size, struct group_record *ret_record)
{
        struct reader reader = frame_open(TABLE_GROUP, value, size);
        struct group_record decoded = { 0 };

        if (reader.bad || !read_group(&reader, &decoded) || frame_close(&reader) < 0)
                return -EBADMSG;
        *ret_record = decoded;
        return 0;
}
