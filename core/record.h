/* Records of the state: C structs here, packed bytes in LMDB.
 *
 * A value is a version byte, the fields, and XXH32 over both (seeded with the table's letter, so that a value under a key of
 * another table is refused). Fields that are zero take a bit: first comes a mask of the fields that are there, then these in
 * order, numbers as little-endian base-128, signed ones zig-zagged. There is exactly one encoding of each record, and decoding
 * accepts no other: no unknown field, no trailing byte, no padding, no name with a slash.
 *
 * Decoding takes any bytes: 0 or -EBADMSG. Encoding: 0, -ERANGE when `capacity` is too small, or -EINVAL for a struct that
 * has no encoding (a size or count beyond its array, a string without its end, a name with a slash, a bit behind the last
 * chunk). Outputs stay untouched on failure. Pure functions, any thread.
 */
#ifndef CVV_CORE_RECORD_H
#define CVV_CORE_RECORD_H

#include "core/digest_values.h"
#include "core/recordkey.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
        RECORD_SLOTS = 64,         /* targets; a mask of them is a uint64_t, bit = slot */
        RECORD_GROUP_CHUNKS = 112, /* chunks of a file in one group record */
        RECORD_HASH_BYTES = 16,
        RECORD_METHOD_BITS = 3,
        RECORD_VALUE_BYTES = 8192,       /* room enough for every value but a blob */
        RECORD_BLOB_BYTES = 60 * 1024,   /* largest blob */
        RECORD_BLOB_EXTRA_BYTES = 1 + 4, /* what its value has more */
};

struct name_record {
        uint64_t id;
        uint64_t published; /* slots where it is there under its final name, put or found equal by cvv */
        uint64_t conflict;  /* slots where something else is in its place */
        uint32_t flags;     /* of core/view.h */
        uint32_t mode_type; /* S_IFMT bits of the node's mode, so that readdir needs no node record */
};

/* What an object looks like, as far as that tells one version of it from another. */
struct node_version {
        uint64_t size;
        int64_t mtime_ns;
};

struct node_record {
        uint64_t parent; /* of the primary name */
        char name[RECORD_NAME_BYTES + 1]; /* terminated by decoding; need not be for encoding */
        uint16_t name_size;
        uint64_t source_parent; /* where it lies in the source, when it was renamed */
        char source_name[RECORD_NAME_BYTES + 1];
        uint16_t source_name_size; /* 0: as parent and name */
        uint32_t mode, uid, gid, nlink;
        uint64_t size, rdev, source_ino, blocks;
        int64_t mtime_ns, ctime_ns, atime_ns, btime_ns;
        uint64_t generation;
        uint64_t source_limit; /* in bytes; beyond it nothing comes from the source */
        uint32_t flags;
        uint8_t category; /* of core/progress.h */
        uint64_t epoch;   /* the mount in which it was last seen and counted */
        uint64_t load_epoch; /* of a directory: the mount in which all its names were recorded */
        uint64_t complete, verified, skipped, conflict, failed; /* slots */
        uint64_t partial;                                       /* slots that hold a partial file of this generation */
        uint64_t former;  /* slots where kept[slot] is an older version, put or found equal by cvv */
        uint64_t altered; /* slots where kept[slot] is this generation, which cannot have its mtime there */
        struct node_version kept[RECORD_SLOTS]; /* zero where neither bit is set */
        int32_t last_error;    /* negative errno */
        uint64_t methods[RECORD_METHOD_BITS]; /* how the verified slots were read back: see node_method() */
        bool has_hash;
        uint8_t hash[RECORD_HASH_BYTES]; /* of a file of one chunk */
        struct digest_values digests;
};

/* How the copy on a slot whose bit in `verified` is set was read back (enum readback_method). Bit `slot` of methods[i] is bit i of the number. */
static inline unsigned node_method(const struct node_record *node, unsigned slot)
{
        unsigned method = 0;

        for (unsigned i = 0; i < RECORD_METHOD_BITS; i++)
                method |= (unsigned)(node->methods[i] >> slot & 1) << i;
        return method;
}

static inline void node_set_method(struct node_record *node, unsigned slot, unsigned method)
{
        for (unsigned i = 0; i < RECORD_METHOD_BITS; i++)
                node->methods[i] = (node->methods[i] & ~(1ull << slot)) | (uint64_t)(method >> i & 1) << slot;
}

struct group_slot {
        uint8_t slot;
        uint64_t present[2]; /* bits: chunks of the group */
        uint64_t verified[2];
};

struct group_record {
        uint16_t chunk_count; /* at most RECORD_GROUP_CHUNKS */
        uint64_t hashed[2];   /* chunks whose hash is known; decoding zeroes the other hashes */
        uint8_t hash[RECORD_GROUP_CHUNKS][RECORD_HASH_BYTES];
        uint8_t slot_count;
        struct group_slot slots[RECORD_SLOTS]; /* ascending; those without any bit are not stored */
};

struct inode_record {
        uint64_t id, epoch;
};

struct queue_record {
        uint64_t sequence;
};

struct intent_record {
        uint64_t epoch;
        uint32_t flags;
};

enum target_flag {
        TARGET_MARKER_REMOVED = 1 << 0, /* .cvv/id was removed at the end */
        TARGET_REMOVED = 1 << 1,        /* taken out of the mirror */
};

struct target_record {
        uint32_t n; /* its number as the user sees it */
        uint8_t slot;
        char identity[256];
        char marker[40]; /* the id in .cvv/id */
        char path[4096];
        uint64_t event_count;
        uint32_t flags; /* enum target_flag and what the caller adds above */
        uint64_t missed_since;
};

enum meta_flag {
        META_CLEAN = 1 << 0,   /* the last mount ended well */
        META_WRITTEN = 1 << 1, /* something was written, deleted or renamed through the mount */
        META_FILL_ALL = 1 << 2, /* everything is queued, and no scan has gone through since */
};

struct meta_record {
        uint32_t version;
        uint64_t chunk_bytes;
        uint64_t next_id;
        uint64_t epoch;
        uint64_t event_count, event_pending;
        uint32_t flags; /* enum meta_flag */
        uint32_t next_target_n;
        char source_identity[256];
        char source_path[4096];
        int64_t created_ns; /* since 1970 */
};

/* The state's format, under record_key_meta(RECORD_FORMAT_NAME). Its encoding never changes. */
#define RECORD_FORMAT_NAME "format"
struct format_record {
        uint32_t version;
};

#define RECORD_FUNCTIONS(type)                                                                                            \
        int record_encode_##type(const struct type##_record *record, void *ret_buffer, size_t capacity, size_t *ret_size) \
            __attribute__((nonnull, warn_unused_result));                                                                 \
        int record_decode_##type(const void *value, size_t size, struct type##_record *ret_record)                        \
            __attribute__((nonnull, warn_unused_result))

RECORD_FUNCTIONS(name);
RECORD_FUNCTIONS(node);
RECORD_FUNCTIONS(group);
RECORD_FUNCTIONS(inode);
RECORD_FUNCTIONS(queue);
RECORD_FUNCTIONS(intent);
RECORD_FUNCTIONS(target);
RECORD_FUNCTIONS(meta);
RECORD_FUNCTIONS(format);
#undef RECORD_FUNCTIONS

/* Records that are bytes of somebody else's: TABLE_DIGEST, TABLE_ERROR and, empty, TABLE_LINK. `blob` may be NULL when
 * `size` is 0. Encoding a blob above RECORD_BLOB_BYTES, or for another table, is -EINVAL. The decoded blob lies in `value`. */
int record_encode_blob(enum record_table table, const void *blob, size_t size, void *ret_buffer, size_t capacity,
                       size_t *ret_size) __attribute__((nonnull(4, 6), warn_unused_result));
int record_decode_blob(enum record_table table, const void *value, size_t size, const void **ret_blob, size_t *ret_size)
    __attribute__((nonnull, warn_unused_result));

/* Whether key and value are a record as above: for statedb_check. 0 or -EBADMSG. */
int record_validate(const void *key, size_t key_size, const void *value, size_t value_size)
    __attribute__((nonnull, warn_unused_result));

/* The checksum that ends a value of `table`, over the `size` bytes before it (fuzzing needs it to get past it). */
uint32_t record_checksum(enum record_table table, const void *data, size_t size) __attribute__((nonnull));

#endif
