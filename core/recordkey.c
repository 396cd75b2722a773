#include "core/recordkey.h"

#include <errno.h>
#include <string.h>

static void append(struct record_key *key, uint64_t number, size_t size)
{
        for (size_t i = size; i-- > 0;)
                key->bytes[key->size++] = (uint8_t)(number >> (8 * i));
}

static void append_name(struct record_key *key, const char *name, size_t size)
{
        if (size == 0 || size > RECORD_NAME_BYTES) {
                key->size = 0;
                return;
        }
        memcpy(key->bytes + key->size, name, size);
        key->size += size;
}

struct record_key record_prefix_table(enum record_table table)
{
        return (struct record_key){ .bytes = { (uint8_t)table }, .size = 1 };
}

struct record_key record_prefix_id(enum record_table table, uint64_t id)
{
        struct record_key key = record_prefix_table(table);

        append(&key, id, 8);
        return key;
}

struct record_key record_prefix_generation(enum record_table table, uint64_t id, uint64_t generation)
{
        struct record_key key = record_prefix_id(table, id);

        append(&key, generation, 8);
        return key;
}

struct record_key record_prefix_queue(uint8_t priority)
{
        struct record_key key = record_prefix_table(TABLE_QUEUE);

        append(&key, priority, 1);
        return key;
}

struct record_key record_key_meta(const char *name)
{
        struct record_key key = record_prefix_table(TABLE_META);

        append_name(&key, name, strlen(name));
        return key;
}

struct record_key record_key_name(uint64_t parent, const char *name, size_t name_size)
{
        struct record_key key = record_prefix_id(TABLE_NAME, parent);

        append_name(&key, name, name_size);
        return key;
}

struct record_key record_key_node(uint64_t id)
{
        return record_prefix_id(TABLE_NODE, id);
}

struct record_key record_key_group(uint64_t id, uint64_t generation, uint32_t group)
{
        struct record_key key = record_prefix_generation(TABLE_GROUP, id, generation);

        append(&key, group, 4);
        return key;
}

struct record_key record_key_inode(uint64_t source_ino)
{
        return record_prefix_id(TABLE_INODE, source_ino);
}

struct record_key record_key_queue(uint8_t priority, uint64_t id)
{
        struct record_key key = record_prefix_queue(priority);

        append(&key, id, 8);
        return key;
}

struct record_key record_key_link(uint64_t id, uint64_t parent, const char *name, size_t name_size)
{
        struct record_key key = record_prefix_generation(TABLE_LINK, id, parent);

        append_name(&key, name, name_size);
        return key;
}

struct record_key record_key_target(uint8_t slot)
{
        struct record_key key = record_prefix_table(TABLE_TARGET);

        append(&key, slot, 1);
        return key;
}

struct record_key record_key_digest(uint64_t id, uint64_t generation)
{
        return record_prefix_generation(TABLE_DIGEST, id, generation);
}

struct record_key record_key_intent(uint64_t id)
{
        return record_prefix_id(TABLE_INTENT, id);
}

struct record_key record_key_error(uint64_t id)
{
        return record_prefix_id(TABLE_ERROR, id);
}

/* What is left of a key that is being taken apart. */
struct rest {
        const uint8_t *bytes;
        size_t size;
        int result;
};

static uint64_t take(struct rest *rest, size_t size)
{
        uint64_t number = 0;

        if (rest->size < size) {
                rest->result = -EBADMSG;
                return 0;
        }
        for (size_t i = 0; i < size; i++)
                number = number << 8 | rest->bytes[i];
        rest->bytes += size;
        rest->size -= size;
        return number;
}

static void take_name(struct rest *rest, struct record_key_parts *parts)
{
        if (rest->size == 0 || rest->size > RECORD_NAME_BYTES)
                rest->result = -EBADMSG;
        parts->name = (const char *)rest->bytes;
        parts->name_size = rest->size;
        rest->size = 0;
}

static void take_parts(struct rest *rest, struct record_key_parts *parts)
{
        switch (parts->table) {
        case TABLE_META:
                take_name(rest, parts);
                break;
        case TABLE_NAME:
                parts->parent = take(rest, 8);
                take_name(rest, parts);
                break;
        case TABLE_NODE:
        case TABLE_INODE:
        case TABLE_INTENT:
        case TABLE_ERROR:
                parts->id = take(rest, 8);
                break;
        case TABLE_GROUP:
                parts->id = take(rest, 8);
                parts->generation = take(rest, 8);
                parts->group = (uint32_t)take(rest, 4);
                break;
        case TABLE_QUEUE:
                parts->priority = (uint8_t)take(rest, 1);
                parts->id = take(rest, 8);
                break;
        case TABLE_LINK:
                parts->id = take(rest, 8);
                parts->parent = take(rest, 8);
                take_name(rest, parts);
                break;
        case TABLE_TARGET:
                parts->slot = (uint8_t)take(rest, 1);
                break;
        case TABLE_DIGEST:
                parts->id = take(rest, 8);
                parts->generation = take(rest, 8);
                break;
        default:
                rest->result = -EBADMSG;
        }
}

int record_key_parse(const void *key, size_t size, struct record_key_parts *ret_parts)
{
        struct rest rest = { .bytes = key, .size = size };
        struct record_key_parts parts = { .table = (enum record_table)take(&rest, 1) };

        if (rest.result == 0)
                take_parts(&rest, &parts);
        if (rest.result < 0 || rest.size > 0)
                return -EBADMSG;
        *ret_parts = parts;
        return 0;
}
