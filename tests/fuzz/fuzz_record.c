/* Decodes arbitrary bytes as each record and as a key. What is decoded must encode to the very same bytes.
 *
 * The first byte picks the table; where its highest bit is set, the checksum is put right first, so that the fuzzer gets
 * behind it. */
#include "core/record.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t value[RECORD_BLOB_BYTES + 4096], again[RECORD_BLOB_BYTES + 4096];

#define TRY(type)                                                                                   \
        do {                                                                                        \
                static struct type##_record record;                                                 \
                size_t again_size;                                                                  \
                if (record_decode_##type(value, size, &record) < 0)                                 \
                        break;                                                                      \
                if (record_encode_##type(&record, again, sizeof(again), &again_size) < 0 ||         \
                    again_size != size || memcmp(value, again, size) != 0)                          \
                        abort();                                                                    \
        } while (0)

static void try_blob(enum record_table table, size_t size)
{
        const void *blob;
        size_t blob_size, again_size;

        if (record_decode_blob(table, value, size, &blob, &blob_size) < 0)
                return;
        if (record_encode_blob(table, blob, blob_size, again, sizeof(again), &again_size) < 0 || again_size != size ||
            memcmp(value, again, size) != 0)
                abort();
}

static void try_table(enum record_table table, size_t size)
{
        switch (table) {
        case TABLE_META:
                TRY(meta);
                TRY(format);
                break;
        case TABLE_NAME:
                TRY(name);
                break;
        case TABLE_NODE:
                TRY(node);
                break;
        case TABLE_GROUP:
                TRY(group);
                break;
        case TABLE_INODE:
                TRY(inode);
                break;
        case TABLE_QUEUE:
                TRY(queue);
                break;
        case TABLE_TARGET:
                TRY(target);
                break;
        case TABLE_INTENT:
                TRY(intent);
                break;
        case TABLE_LINK:
        case TABLE_DIGEST:
        case TABLE_ERROR:
                try_blob(table, size);
                break;
        }
}

/* Under a key of its table, whatever size these have. */
static void try_validate(enum record_table table, size_t size)
{
        uint8_t key[RECORD_KEY_BYTES] = { (uint8_t)table };

        for (size_t key_size = 1; key_size <= 24; key_size++)
                if (record_validate(key, key_size, value, size) > 0)
                        abort();
}

static void try_key(const uint8_t *key, size_t size)
{
        struct record_key_parts parts;

        if (record_key_parse(key, size, &parts) == 0 && (size > RECORD_KEY_BYTES || parts.name_size > RECORD_NAME_BYTES))
                abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static const char tables[] = "MNIGSQLTDWE";
        enum record_table table;
        bool repair;

        try_key(data, size);
        if (size < 1 || size - 1 > sizeof(value) - 4)
                return 0;
        repair = data[0] & 0x80;
        table = (enum record_table)tables[(data[0] & 0x7f) % (sizeof(tables) - 1)];
        size--;
        memcpy(value, data + 1, size);
        if (repair) {
                uint32_t checksum = record_checksum(table, value, size);

                for (unsigned i = 0; i < 4; i++)
                        value[size++] = (uint8_t)(checksum >> (8 * i));
        }
        try_table(table, size);
        try_validate(table, size);
        return 0;
}
