/* Which digest algorithms there are, and finished digests: names, sets, text, the form in the database.
 *
 * Pure functions on small fixed-size values: no allocation, nothing blocks, thread safe. How digests are made is
 * core/hash.h.
 */
#ifndef CVV_CORE_DIGEST_VALUES_H
#define CVV_CORE_DIGEST_VALUES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The numbers stand in the database: append, never renumber. */
enum hash_algorithm {
        HASH_XXH64,  /* printed big-endian (canonical), 16 hex digits */
        HASH_XXH3,   /* XXH3-64, 16 hex digits */
        HASH_XXH128, /* XXH3-128, 32 hex digits */
        HASH_MD5,
        HASH_SHA1,
        HASH_SHA256,
        HASH_C4, /* SHA-512 as "c4" and 88 digits in base 58 */
        HASH_COUNT,
};

enum {
        HASH_TEXT_BYTES = 91,      /* the longest text (C4) with its terminator */
        DIGEST_BYTES = 164,        /* the raw digests of all algorithms, one after the other */
        DIGEST_VALUES_BYTES = 168, /* as digest_values_encode writes them */
};

/* Which digests a run makes, in the user's order: the first one names the manifest. */
struct hash_set {
        uint32_t mask; /* bit (1u << algorithm) */
        unsigned int count;
        enum hash_algorithm order[HASH_COUNT]; /* `count` of them, each once */
};

/* Whether `set` is one that hash_parse_list can make: not empty, each algorithm once, the mask in line with the order. */
bool hash_set_valid(const struct hash_set *set) __attribute__((nonnull));

/* The algorithm of that name ("xxh64be" is "xxh64"; names are lower case), or -EINVAL. */
int hash_parse(const char *name) __attribute__((nonnull, warn_unused_result));

/* The algorithm's name as in the options, static; NULL for a number that is none. */
const char *hash_name(enum hash_algorithm algorithm);

/* Parses "ALGO[,ALGO…]". The order is kept, a repeated name counts once. 0, or -EINVAL for an unknown or empty name. */
int hash_parse_list(const char *list, struct hash_set *ret) __attribute__((nonnull, warn_unused_result));

/* Finished digests, of fixed size. The bytes of algorithms that are not in the mask are zero, so that memcmp compares. */
struct digest_values {
        uint32_t mask; /* bit (1u << algorithm): this digest is there */
        uint8_t bytes[DIGEST_BYTES];
};

/* Where the digest of an algorithm, one of the enum, lies in digest_values.bytes. */
size_t digest_offset(enum hash_algorithm algorithm);
/* Length of the raw digest of an algorithm in bytes (C4: 64); 0 for a number that is none. */
size_t digest_bytes(enum hash_algorithm algorithm);
/* The raw digest in `values`, big-endian; NULL where it is not there. Borrowed from `values`. */
const uint8_t *digest_raw(const struct digest_values *values, enum hash_algorithm algorithm) __attribute__((nonnull));
/* Writes the digest as people and other programs know it (lower-case hex, or C4) into `ret` of HASH_TEXT_BYTES bytes.
 * 0, or -ENOENT where `values` lacks it. */
int digest_text(const struct digest_values *values, enum hash_algorithm algorithm, char *ret)
    __attribute__((nonnull, warn_unused_result));

/* The database's form: the mask little-endian, then the bytes. */
void digest_values_encode(const struct digest_values *values, uint8_t ret[static DIGEST_VALUES_BYTES])
    __attribute__((nonnull));
/* 0, or -EBADMSG for a mask with unknown algorithms or bytes where no digest is. */
int digest_values_decode(const uint8_t record[static DIGEST_VALUES_BYTES], struct digest_values *ret)
    __attribute__((nonnull, warn_unused_result));

#endif
