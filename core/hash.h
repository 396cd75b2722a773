/* Digests: the file digests that a user asked for, all in one pass, and the XXH3-128 hash of a chunk.
 *
 * A `struct digest` takes a file's bytes in order and keeps the state of several algorithms at once. It can be read at any
 * time without an end being put to it, and its state can be saved and taken up again by a later process, so that a file
 * that was half copied before a restart need not be read from its start again.
 *
 * MD5 and SHA go through OpenSSL's low-level functions rather than EVP: their contexts are plain structs, which can be
 * saved, and an EVP context cannot. They are deprecated since OpenSSL 3.0 but part of every 3.x, and they use the CPU's SHA
 * instructions just as EVP does. So every algorithm can be saved; only where the loaded libxxhash is another version than
 * the one compiled against (its states are not a stable format) xxh states are not.
 *
 * None of it does I/O or waits; the time goes into the bytes. Nothing here locks: one object belongs to one thread at a
 * time.
 */
#ifndef CVV_CORE_HASH_H
#define CVV_CORE_HASH_H

#include "core/digest_values.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Conditions: positive results of digest_save and digest_restore. */
enum {
        HASH_NOT_SAVABLE = 1,   /* the state of one of the algorithms cannot be saved in this process */
        HASH_STATE_FOREIGN = 2, /* an intact state, but of other algorithms, another library version or another cvv */
};

enum { HASH_CHUNK_BYTES = 16 }; /* XXH3-128 */

/* ---- the hash of a chunk ---- */

struct hash128 {
        uint8_t
            bytes[HASH_CHUNK_BYTES]; /* XXH3-128, canonical (big-endian): memcmp compares, the database stores it as is */
};

struct XXH3_state_s;

/* A streaming chunk hash. The state lies on the heap, aligned as XXH3 needs it; one init serves any number of chunks. */
struct chunk_hash {
        struct XXH3_state_s *state;
};

/* The hash of `size` bytes at `data` (NULL where size is 0). */
struct hash128 hash128_of(const void *data, size_t size);

/* The hash of `size` zeros. As slow as hashing them. */
struct hash128 hash128_of_zeros(uint64_t size);

bool hash128_equal(const struct hash128 *a, const struct hash128 *b) __attribute__((nonnull));

/* Allocates the state, ready for the first chunk. 0 or -ENOMEM. */
int chunk_hash_init(struct chunk_hash *hash) __attribute__((nonnull, warn_unused_result));
/* Frees the state. Idempotent; takes a zeroed object. */
void chunk_hash_deinit(struct chunk_hash *hash) __attribute__((nonnull));
/* Forgets what was fed: the next byte is the first of a chunk. */
void chunk_hash_reset(struct chunk_hash *hash) __attribute__((nonnull));
void chunk_hash_update(struct chunk_hash *hash, const void *data, size_t size) __attribute__((nonnull(1)));
/* The hash of what was fed since init or reset; more can be fed afterwards. */
struct hash128 chunk_hash_final(const struct chunk_hash *hash) __attribute__((nonnull));

/* ---- digests of a file ---- */

struct digest;

/* A new digest over the algorithms of `set`, at position 0. The caller owns it. 0, -ENOMEM, or -EINVAL for an empty set or
 * one with an algorithm that does not exist. */
int digest_new(const struct hash_set *set, struct digest **ret) __attribute__((nonnull, warn_unused_result));
/* Frees it; takes NULL. */
void digest_free(struct digest *digest);
/* For cleanup(): frees *digest. */
void digest_release(struct digest *const *digest);

/* Feeds `size` bytes (`data` may be NULL where size is 0). */
void digest_update(struct digest *digest, const void *data, size_t size) __attribute__((nonnull(1)));
/* Feeds `count_bytes` zeros: a hole. As slow as hashing them; a caller with a huge hole feeds it in portions. */
void digest_skip_zeros(struct digest *digest, uint64_t count_bytes) __attribute__((nonnull));
/* How many bytes were fed: the offset in the file at which it goes on. */
uint64_t digest_position(const struct digest *digest) __attribute__((nonnull));

/* The digests of the bytes so far. The state is not touched: more can be fed afterwards. */
void digest_final(const struct digest *digest, struct digest_values *ret) __attribute__((nonnull));

/* Saves the state into a new block of `*ret_size` bytes (below 2 KiB) that the caller frees. It is meant for this machine's
 * database: native byte order, bound to the versions of the format and the libraries, with a checksum.
 * 0, HASH_NOT_SAVABLE or -ENOMEM. */
int digest_save(const struct digest *digest, void **ret_blob, size_t *ret_size)
    __attribute__((nonnull, warn_unused_result));

/* Makes a digest from a saved state; the caller owns it. Any bytes may be passed.
 * 0; HASH_STATE_FOREIGN (intact but of no use here: hash the file anew); -EBADMSG (not a saved state, or damaged); -ENOMEM;
 * -EINVAL as digest_new. */
int digest_restore(const struct hash_set *set, const void *blob, size_t size, struct digest **ret)
    __attribute__((nonnull(1, 4), warn_unused_result));

#endif
