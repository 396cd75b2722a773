/* Keys of the state's records: a table byte, then numbers big-endian, so that LMDB's bytewise order is theirs, then names.
 *
 * Building never fails for valid names; parsing takes any bytes. Pure functions.
 */
#ifndef CVV_CORE_RECORDKEY_H
#define CVV_CORE_RECORDKEY_H

#include <stddef.h>
#include <stdint.h>

/* The numbers stand in the database. */
enum record_table {
        TABLE_META = 'M',   /* name */
        TABLE_NAME = 'N',   /* u64 directory, name: what a directory holds */
        TABLE_NODE = 'I',   /* u64 id */
        TABLE_GROUP = 'G',  /* u64 id, u64 generation, u32 group: chunks of a file */
        TABLE_INODE = 'S',  /* u64 inode of the source */
        TABLE_QUEUE = 'Q',  /* u8 priority, u64 id */
        TABLE_LINK = 'L',   /* u64 id, u64 directory, name: further names of a hard-linked node */
        TABLE_TARGET = 'T', /* u8 slot */
        TABLE_DIGEST = 'D', /* u64 id, u64 generation: state of a digest */
        TABLE_INTENT = 'W', /* u64 id */
        TABLE_ERROR = 'E',  /* u64 id */
};

enum { RECORD_NAME_BYTES = 255, RECORD_KEY_BYTES = 1 + 8 + 8 + RECORD_NAME_BYTES };

struct record_key {
        uint8_t bytes[RECORD_KEY_BYTES];
        size_t size; /* 0: the name was too long, or empty; statedb refuses such a key */
};

struct record_key record_key_meta(const char *name) __attribute__((nonnull));
struct record_key record_key_name(uint64_t parent, const char *name, size_t name_size) __attribute__((nonnull));
struct record_key record_key_node(uint64_t id);
struct record_key record_key_group(uint64_t id, uint64_t generation, uint32_t group);
struct record_key record_key_inode(uint64_t source_ino);
struct record_key record_key_queue(uint8_t priority, uint64_t id);
struct record_key record_key_link(uint64_t id, uint64_t parent, const char *name, size_t name_size)
    __attribute__((nonnull));
struct record_key record_key_target(uint8_t slot);
struct record_key record_key_digest(uint64_t id, uint64_t generation);
struct record_key record_key_intent(uint64_t id);
struct record_key record_key_error(uint64_t id);

/* Prefixes for statedb_next and statedb_scan: a whole table; what belongs to one id (names of a directory; groups, links and
 * digests of a node); what belongs to one generation of a node (groups, digests). */
struct record_key record_prefix_table(enum record_table table);
struct record_key record_prefix_id(enum record_table table, uint64_t id);
struct record_key record_prefix_generation(enum record_table table, uint64_t id, uint64_t generation);
/* Of a queue: all of one priority. */
struct record_key record_prefix_queue(uint8_t priority);

/* What a key says; fields that its table does not have are 0. */
struct record_key_parts {
        enum record_table table;
        uint64_t id;     /* of the node, source inode or error */
        uint64_t parent; /* names and links: the directory */
        uint64_t generation;
        uint32_t group;
        uint8_t priority;
        uint8_t slot;
        const char *name; /* borrowed from the key, not terminated */
        size_t name_size;
};

/* Takes a key apart. 0, or -EBADMSG for what is no key. */
int record_key_parse(const void *key, size_t size, struct record_key_parts *ret_parts)
    __attribute__((nonnull, warn_unused_result));

#endif
