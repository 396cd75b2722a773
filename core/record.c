#include "core/record.h"

#include "core/codec.h"

#include <errno.h>
#include <string.h>

uint32_t record_checksum(enum record_table table, const void *data, size_t size)
{
        return codec_checksum((unsigned char)table, data, size);
}

/* ---- fields ---- */

enum field_kind {
        FIELD_UNSIGNED, /* of `size` bytes */
        FIELD_SIGNED,
        FIELD_NAME,    /* char[RECORD_NAME_BYTES + 1], its length a uint16_t at `link` */
        FIELD_TEXT,    /* char[size], terminated */
        FIELD_HASH,    /* RECORD_HASH_BYTES bytes, there when the bool at `link` is set */
        FIELD_DIGESTS, /* struct digest_values */
        FIELD_VERSIONS, /* struct node_version[RECORD_SLOTS], those of the slots in the two masks at `link` */
};

struct field {
        enum field_kind kind;
        size_t offset, size, link;
};

#define FIELD_OF(kind_, type, member) \
        { .kind = (kind_), .offset = offsetof(struct type, member), .size = sizeof(((struct type *)0)->member) }
#define NUMBER(type, member) FIELD_OF(FIELD_UNSIGNED, type, member)
#define SIGNED(type, member) FIELD_OF(FIELD_SIGNED, type, member)
#define TEXT(type, member) FIELD_OF(FIELD_TEXT, type, member)
#define DIGESTS(type, member) FIELD_OF(FIELD_DIGESTS, type, member)
#define LINKED(kind_, type, member, link_)                                                                              \
        { .kind = (kind_), .offset = offsetof(struct type, member), .size = sizeof(((struct type *)0)->member),         \
          .link = offsetof(struct type, link_) }

/* The order is the encoding: append only, together with a new CODEC_VERSION. */
static const struct field name_fields[] = {
        NUMBER(name_record, id),    NUMBER(name_record, published), NUMBER(name_record, conflict),
        NUMBER(name_record, flags), NUMBER(name_record, mode_type),
};
static const struct field node_fields[] = {
        NUMBER(node_record, parent),
        LINKED(FIELD_NAME, node_record, name, name_size),
        NUMBER(node_record, mode),
        NUMBER(node_record, uid),
        NUMBER(node_record, gid),
        NUMBER(node_record, nlink),
        NUMBER(node_record, size),
        NUMBER(node_record, source_ino),
        NUMBER(node_record, blocks),
        SIGNED(node_record, mtime_ns),
        SIGNED(node_record, ctime_ns),
        SIGNED(node_record, atime_ns),
        SIGNED(node_record, btime_ns),
        NUMBER(node_record, generation),
        NUMBER(node_record, source_limit),
        NUMBER(node_record, flags),
        NUMBER(node_record, category),
        NUMBER(node_record, epoch), NUMBER(node_record, load_epoch),
        NUMBER(node_record, complete),
        NUMBER(node_record, verified),
        NUMBER(node_record, former),
        NUMBER(node_record, altered),
        LINKED(FIELD_VERSIONS, node_record, kept, former),
        NUMBER(node_record, methods[0]),
        NUMBER(node_record, methods[1]),
        NUMBER(node_record, methods[2]),
        LINKED(FIELD_HASH, node_record, hash, has_hash),
        DIGESTS(node_record, digests),
        NUMBER(node_record, partial),
        NUMBER(node_record, skipped),
        NUMBER(node_record, conflict),
        NUMBER(node_record, failed),
        SIGNED(node_record, last_error),
        NUMBER(node_record, rdev),
        NUMBER(node_record, source_parent),
        LINKED(FIELD_NAME, node_record, source_name, source_name_size),
};
static const struct field inode_fields[] = { NUMBER(inode_record, id), NUMBER(inode_record, epoch) };
static const struct field queue_fields[] = { NUMBER(queue_record, sequence) };
static const struct field intent_fields[] = { NUMBER(intent_record, epoch), NUMBER(intent_record, flags) };
static const struct field target_fields[] = {
        NUMBER(target_record, n),  NUMBER(target_record, slot),        TEXT(target_record, identity), TEXT(target_record, marker),
        TEXT(target_record, path), NUMBER(target_record, event_count), NUMBER(target_record, flags),
        NUMBER(target_record, missed_since),
};
static const struct field meta_fields[] = {
        NUMBER(meta_record, version),       NUMBER(meta_record, chunk_bytes),   NUMBER(meta_record, next_id),
        NUMBER(meta_record, epoch),         NUMBER(meta_record, event_count),   NUMBER(meta_record, event_pending),
        NUMBER(meta_record, flags),         NUMBER(meta_record, next_target_n), TEXT(meta_record, source_identity),
        TEXT(meta_record, source_path),     SIGNED(meta_record, created_ns),
};

static uint64_t load_unsigned(const void *at, size_t size)
{
        uint64_t u64;
        uint32_t u32;
        uint16_t u16;

        switch (size) {
        case 1:
                return *(const uint8_t *)at;
        case 2:
                memcpy(&u16, at, sizeof(u16));
                return u16;
        case 4:
                memcpy(&u32, at, sizeof(u32));
                return u32;
        default:
                memcpy(&u64, at, sizeof(u64));
                return u64;
        }
}

static int64_t load_signed(const void *at, size_t size)
{
        int64_t i64;
        int32_t i32;

        if (size == sizeof(i32)) {
                memcpy(&i32, at, sizeof(i32));
                return i32;
        }
        memcpy(&i64, at, sizeof(i64));
        return i64;
}

/* False when the number does not fit. */
static bool store_unsigned(void *at, size_t size, uint64_t number)
{
        uint32_t u32 = (uint32_t)number;
        uint16_t u16 = (uint16_t)number;

        switch (size) {
        case 1:
                *(uint8_t *)at = (uint8_t)number;
                return number <= UINT8_MAX;
        case 2:
                memcpy(at, &u16, sizeof(u16));
                return number <= UINT16_MAX;
        case 4:
                memcpy(at, &u32, sizeof(u32));
                return number <= UINT32_MAX;
        default:
                memcpy(at, &number, sizeof(number));
                return true;
        }
}

static bool store_signed(void *at, size_t size, int64_t number)
{
        int32_t i32 = (int32_t)number;

        if (size == sizeof(i32)) {
                memcpy(at, &i32, sizeof(i32));
                return i32 == number;
        }
        memcpy(at, &number, sizeof(number));
        return true;
}

/* No slash and no NUL, hence no way out of a directory but by "..". */
static bool is_name(const void *name, size_t size)
{
        return size <= RECORD_NAME_BYTES && !memchr(name, '/', size) && !memchr(name, '\0', size) &&
               !(size == 2 && memcmp(name, "..", 2) == 0);
}

static uint64_t kept_slots(const uint8_t *masks)
{
        return load_unsigned(masks, sizeof(uint64_t)) | load_unsigned(masks + sizeof(uint64_t), sizeof(uint64_t));
}

static bool field_is_there(const struct field *field, const uint8_t *record)
{
        const uint8_t *at = record + field->offset;

        switch (field->kind) {
        case FIELD_UNSIGNED:
                return load_unsigned(at, field->size) != 0;
        case FIELD_SIGNED:
                return load_signed(at, field->size) != 0;
        case FIELD_NAME:
                return load_unsigned(record + field->link, sizeof(uint16_t)) != 0;
        case FIELD_TEXT:
                return *at != '\0';
        case FIELD_HASH:
                return load_unsigned(record + field->link, sizeof(bool)) != 0;
        case FIELD_DIGESTS:
                return ((const struct digest_values *)(const void *)at)->mask != 0;
        case FIELD_VERSIONS:
                return kept_slots(record + field->link) != 0;
        }
        return false;
}

static bool write_digests(struct writer *writer, const struct digest_values *values)
{
        if (values->mask >> HASH_COUNT)
                return false;
        writer_put_number(writer, values->mask);
        for (unsigned i = 0; i < HASH_COUNT; i++)
                if (values->mask & 1u << i)
                        writer_put(writer, values->bytes + digest_offset((enum hash_algorithm)i),
                                   digest_bytes((enum hash_algorithm)i));
        return true;
}

static bool read_digests(struct reader *reader, struct digest_values *ret_values)
{
        uint64_t mask = reader_take_number(reader);

        if (mask == 0 || mask >> HASH_COUNT)
                return false;
        ret_values->mask = (uint32_t)mask;
        for (unsigned i = 0; i < HASH_COUNT; i++) {
                size_t size = digest_bytes((enum hash_algorithm)i);
                const uint8_t *raw = mask & 1u << i ? reader_take(reader, size) : NULL;

                if (raw)
                        memcpy(ret_values->bytes + digest_offset((enum hash_algorithm)i), raw, size);
        }
        return true;
}

static bool write_versions(struct writer *writer, const struct node_version *versions, uint64_t slots)
{
        for (unsigned slot = 0; slot < RECORD_SLOTS; slot++) {
                if (!(slots >> slot & 1))
                        continue;
                writer_put_number(writer, versions[slot].size);
                writer_put_number(writer, zigzag(versions[slot].mtime_ns));
        }
        return true;
}

static bool read_versions(struct reader *reader, struct node_version *ret_versions, uint64_t slots)
{
        for (unsigned slot = 0; slot < RECORD_SLOTS; slot++) {
                if (!(slots >> slot & 1))
                        continue;
                ret_versions[slot].size = reader_take_number(reader);
                ret_versions[slot].mtime_ns = unzigzag(reader_take_number(reader));
        }
        return slots != 0;
}

static bool write_bytes(struct writer *writer, const void *bytes, size_t size)
{
        writer_put_number(writer, size);
        writer_put(writer, bytes, size);
        return true;
}

/* False for a field that has no encoding. */
static bool write_field(struct writer *writer, const struct field *field, const uint8_t *record)
{
        const uint8_t *at = record + field->offset;
        size_t size;

        switch (field->kind) {
        case FIELD_UNSIGNED:
                writer_put_number(writer, load_unsigned(at, field->size));
                return true;
        case FIELD_SIGNED:
                writer_put_number(writer, zigzag(load_signed(at, field->size)));
                return true;
        case FIELD_NAME:
                size = load_unsigned(record + field->link, sizeof(uint16_t));
                return size <= RECORD_NAME_BYTES && is_name(at, size) && write_bytes(writer, at, size);
        case FIELD_TEXT:
                size = strnlen((const char *)at, field->size);
                return size < field->size && write_bytes(writer, at, size);
        case FIELD_HASH:
                writer_put(writer, at, RECORD_HASH_BYTES);
                return true;
        case FIELD_DIGESTS:
                return write_digests(writer, (const struct digest_values *)(const void *)at);
        case FIELD_VERSIONS:
                return write_versions(writer, (const struct node_version *)(const void *)at, kept_slots(record + field->link));
        }
        return false;
}

/* False for a field that is not as it would have been written; `record` is zeroed beforehand. */
static bool read_field(struct reader *reader, const struct field *field, uint8_t *record)
{
        uint8_t *at = record + field->offset;
        const uint8_t *bytes;
        uint64_t number;

        switch (field->kind) {
        case FIELD_UNSIGNED:
                number = reader_take_number(reader);
                return number != 0 && store_unsigned(at, field->size, number);
        case FIELD_SIGNED:
                number = reader_take_number(reader);
                return number != 0 && store_signed(at, field->size, unzigzag(number));
        case FIELD_NAME:
        case FIELD_TEXT:
                number = reader_take_number(reader);
                if (number == 0 || number >= field->size)
                        return false;
                bytes = reader_take(reader, number);
                if (!bytes || (field->kind == FIELD_NAME ? !is_name(bytes, number) : !!memchr(bytes, '\0', number)))
                        return false;
                memcpy(at, bytes, number);
                return field->kind == FIELD_TEXT || store_unsigned(record + field->link, sizeof(uint16_t), number);
        case FIELD_HASH:
                bytes = reader_take(reader, RECORD_HASH_BYTES);
                if (bytes)
                        memcpy(at, bytes, RECORD_HASH_BYTES);
                return store_unsigned(record + field->link, sizeof(bool), 1);
        case FIELD_DIGESTS:
                return read_digests(reader, (struct digest_values *)(void *)at);
        case FIELD_VERSIONS:
                return read_versions(reader, (struct node_version *)(void *)at, kept_slots(record + field->link));
        }
        return false;
}

static int encode_fields(enum record_table table, const struct field *fields, size_t count, const void *record,
                         void *ret_buffer, size_t capacity, size_t *ret_size)
{
        struct writer writer = frame_start(ret_buffer, capacity);
        uint64_t there = 0;

        for (size_t i = 0; i < count; i++)
                there |= (uint64_t)field_is_there(&fields[i], record) << i;
        writer_put_number(&writer, there);
        for (size_t i = 0; i < count; i++)
                if (there >> i & 1 && !write_field(&writer, &fields[i], record))
                        return -EINVAL;
        return frame_end(&writer, (unsigned char)table, ret_size);
}

/* `record` is zeroed. */
static int decode_fields(enum record_table table, const struct field *fields, size_t count, const void *value, size_t size,
                         void *record)
{
        struct reader reader = frame_open((unsigned char)table, value, size);
        uint64_t there = reader_take_number(&reader);

        if (reader.bad || there >> count)
                return -EBADMSG;
        for (size_t i = 0; i < count; i++)
                if (there >> i & 1 && (!read_field(&reader, &fields[i], record) || reader.bad))
                        return -EBADMSG;
        for (size_t i = 0; i < count; i++) /* versions follow from masks, which may say otherwise than the field's bit */
                if (field_is_there(&fields[i], record) != (there >> i & 1))
                        return -EBADMSG;
        return frame_close(&reader);
}

#define RECORD_OF_FIELDS(type, table)                                                                                     \
        _Static_assert(sizeof(type##_fields) / sizeof(*type##_fields) < 64, "the mask has 64 bits");                      \
        int record_encode_##type(const struct type##_record *record, void *ret_buffer, size_t capacity, size_t *ret_size) \
        {                                                                                                                 \
                return encode_fields(table, type##_fields, sizeof(type##_fields) / sizeof(*type##_fields), record,        \
                                     ret_buffer, capacity, ret_size);                                                     \
        }                                                                                                                 \
        int record_decode_##type(const void *value, size_t size, struct type##_record *ret_record)                        \
        {                                                                                                                 \
                struct type##_record decoded = { 0 };                                                                     \
                int result = decode_fields(table, type##_fields, sizeof(type##_fields) / sizeof(*type##_fields), value,   \
                                           size, &decoded);                                                               \
                                                                                                                          \
                if (result == 0)                                                                                          \
                        *ret_record = decoded;                                                                            \
                return result;                                                                                            \
        }

/* The two masks of FIELD_VERSIONS stand side by side. */
_Static_assert(offsetof(struct node_record, altered) == offsetof(struct node_record, former) + sizeof(uint64_t), "kept_slots()");

RECORD_OF_FIELDS(name, TABLE_NAME)
RECORD_OF_FIELDS(node, TABLE_NODE)
RECORD_OF_FIELDS(inode, TABLE_INODE)
RECORD_OF_FIELDS(queue, TABLE_QUEUE)
RECORD_OF_FIELDS(intent, TABLE_INTENT)
RECORD_OF_FIELDS(target, TABLE_TARGET)
RECORD_OF_FIELDS(meta, TABLE_META)

/* ---- others ---- */

static bool table_has_blobs(enum record_table table)
{
        return table == TABLE_DIGEST || table == TABLE_ERROR || table == TABLE_LINK;
}

int record_encode_blob(enum record_table table, const void *blob, size_t size, void *ret_buffer, size_t capacity,
                       size_t *ret_size)
{
        struct writer writer = frame_start(ret_buffer, capacity);

        if (!table_has_blobs(table) || size > (table == TABLE_LINK ? 0 : RECORD_BLOB_BYTES))
                return -EINVAL;
        writer_put(&writer, blob, size);
        return frame_end(&writer, (unsigned char)table, ret_size);
}

int record_decode_blob(enum record_table table, const void *value, size_t size, const void **ret_blob, size_t *ret_size)
{
        struct reader reader = frame_open((unsigned char)table, value, size);

        if (reader.bad || !table_has_blobs(table) || reader.size > (table == TABLE_LINK ? 0 : RECORD_BLOB_BYTES))
                return -EBADMSG;
        *ret_blob = reader.bytes;
        *ret_size = reader.size;
        return 0;
}

/* Without a version byte, for it has to be understood by every version. */
int record_encode_format(const struct format_record *record, void *ret_buffer, size_t capacity, size_t *ret_size)
{
        struct writer writer = { .bytes = ret_buffer, .capacity = capacity };

        writer_put_u32(&writer, record->version);
        return frame_end(&writer, TABLE_META, ret_size);
}

int record_decode_format(const void *value, size_t size, struct format_record *ret_record)
{
        struct reader reader = { .bytes = value, .size = size };
        uint32_t version = reader_take_u32(&reader);
        uint32_t checksum = reader_take_u32(&reader);

        if (frame_close(&reader) < 0 || checksum != record_checksum(TABLE_META, value, 4))
                return -EBADMSG;
        ret_record->version = version;
        return 0;
}

static int validate_meta(const struct record_key_parts *parts, const void *value, size_t size)
{
        struct format_record format;
        struct meta_record meta;

        if (parts->name_size == strlen(RECORD_FORMAT_NAME) &&
            memcmp(parts->name, RECORD_FORMAT_NAME, parts->name_size) == 0)
                return record_decode_format(value, size, &format);
        return record_decode_meta(value, size, &meta);
}

int record_validate(const void *key, size_t key_size, const void *value, size_t value_size)
{
        union {
                struct name_record name;
                struct node_record node;
                struct group_record group;
                struct inode_record inode;
                struct queue_record queue;
                struct intent_record intent;
                struct target_record target;
        } record;
        struct record_key_parts parts;
        const void *blob;
        size_t blob_size;
        int result = record_key_parse(key, key_size, &parts);

        if (result < 0)
                return result;
        switch (parts.table) {
        case TABLE_META:
                return validate_meta(&parts, value, value_size);
        case TABLE_NAME:
                return record_decode_name(value, value_size, &record.name);
        case TABLE_NODE:
                return record_decode_node(value, value_size, &record.node);
        case TABLE_GROUP:
                return record_decode_group(value, value_size, &record.group);
        case TABLE_INODE:
                return record_decode_inode(value, value_size, &record.inode);
        case TABLE_QUEUE:
                return record_decode_queue(value, value_size, &record.queue);
        case TABLE_TARGET:
                return record_decode_target(value, value_size, &record.target);
        case TABLE_INTENT:
                return record_decode_intent(value, value_size, &record.intent);
        case TABLE_LINK:
        case TABLE_DIGEST:
        case TABLE_ERROR:
                return record_decode_blob(parts.table, value, value_size, &blob, &blob_size);
        }
        return -EBADMSG;
}
