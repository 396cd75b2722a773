#include "core/hash.h"

#include "core/cleanup.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Their contexts are plain structs: hash.h says why that matters. */
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
#include <openssl/md5.h>
#include <openssl/opensslv.h>
#include <openssl/sha.h>

/* For the layout of the states; every use of it is guarded by xxh_layout_known(). */
#define XXH_STATIC_LINKING_ONLY
#include <xxhash.h>

enum {
        STATE_MAGIC = 0x44767663, /* "cvvD"; reads differently on a machine of the other byte order */
        STATE_VERSION = 1,
        XXH64_BLOCK_BYTES = 32,
        SHA_BLOCK_BYTES = 64, /* MD5, SHA-1, SHA-256 */
        ZEROS_BYTES = 32 * 1024,
};

struct digest {
        struct hash_set set;
        uint64_t position;
        XXH64_state_t *xxh64; /* the xxh states only where the set has them */
        XXH3_state_t *xxh3;
        XXH3_state_t *xxh128;
        MD5_CTX md5;
        SHA_CTX sha1;
        SHA256_CTX sha256;
        SHA512_CTX c4;
};

/* ---- the hash of a chunk ---- */

static struct hash128 hash128_canonical(XXH128_hash_t value)
{
        XXH128_canonical_t canonical;
        struct hash128 hash;

        XXH128_canonicalFromHash(&canonical, value);
        _Static_assert(sizeof(hash.bytes) == sizeof(canonical.digest), "XXH3-128 has 16 bytes");
        memcpy(hash.bytes, canonical.digest, sizeof(hash.bytes));
        return hash;
}

struct hash128 hash128_of(const void *data, size_t size)
{
        return hash128_canonical(XXH3_128bits(size > 0 ? data : "", size));
}

struct hash128 hash128_of_zeros(uint64_t size)
{
        static const uint8_t zeros[ZEROS_BYTES];
        XXH3_state_t state; /* aligned by its type */

        (void)XXH3_128bits_reset(&state); /* as all calls here: XXH_OK for pointers that are not NULL */
        for (uint64_t part; size > 0; size -= part) {
                part = size < sizeof(zeros) ? size : sizeof(zeros);
                (void)XXH3_128bits_update(&state, zeros, (size_t)part);
        }
        return hash128_canonical(XXH3_128bits_digest(&state));
}

bool hash128_equal(const struct hash128 *a, const struct hash128 *b)
{
        return memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

int chunk_hash_init(struct chunk_hash *hash)
{
        XXH3_state_t *state = XXH3_createState();

        if (!state)
                return -ENOMEM;
        hash->state = state;
        chunk_hash_reset(hash);
        return 0;
}

void chunk_hash_deinit(struct chunk_hash *hash)
{
        if (hash->state)
                (void)XXH3_freeState(hash->state); /* always XXH_OK */
        hash->state = NULL;
}

void chunk_hash_reset(struct chunk_hash *hash)
{
        (void)XXH3_128bits_reset(hash->state); /* fails for NULL only */
}

void chunk_hash_update(struct chunk_hash *hash, const void *data, size_t size)
{
        if (size > 0)
                (void)XXH3_128bits_update(hash->state, data, size); /* fails for NULL only */
}

struct hash128 chunk_hash_final(const struct chunk_hash *hash)
{
        return hash128_canonical(XXH3_128bits_digest(hash->state));
}

/* ---- digests of a file ---- */

static bool has(const struct digest *digest, enum hash_algorithm algorithm)
{
        return digest->set.mask & 1u << algorithm;
}

/* libxxhash's states are no stable format: what the header says of them holds for that version only. */
static bool xxh_layout_known(void)
{
        return XXH_versionNumber() == XXH_VERSION_NUMBER;
}

static XXH3_state_t *xxh3_state_new(void)
{
        XXH3_state_t *state = XXH3_createState();

        if (!state)
                return NULL;
        /* createState and reset leave the buffer as malloc gave it, and what is saved shall hold nothing of other origin.
         */
        if (xxh_layout_known())
                memset(state, 0, sizeof(*state));
        (void)XXH3_64bits_reset(state); /* fails for NULL only; XXH3_128bits_reset is the same */
        return state;
}

static XXH64_state_t *xxh64_state_new(void)
{
        XXH64_state_t *state = XXH64_createState();

        if (!state)
                return NULL;
        if (xxh_layout_known())
                memset(state, 0, sizeof(*state)); /* as above */
        (void)XXH64_reset(state, 0);              /* fails for NULL only */
        return state;
}

int digest_new(const struct hash_set *set, struct digest **ret)
{
        cleanup(digest_release) struct digest *digest = NULL;

        if (!hash_set_valid(set))
                return -EINVAL;
        digest = calloc(1, sizeof(*digest)); /* zeroed: SHA512_Init leaves its buffer alone, and it is saved */
        if (!digest)
                return -ENOMEM;
        digest->set = *set;
        if (has(digest, HASH_XXH64) && !(digest->xxh64 = xxh64_state_new()))
                return -ENOMEM;
        if (has(digest, HASH_XXH3) && !(digest->xxh3 = xxh3_state_new()))
                return -ENOMEM;
        if (has(digest, HASH_XXH128) && !(digest->xxh128 = xxh3_state_new()))
                return -ENOMEM;
        /* OpenSSL's low-level init, update and final do not allocate and return 1 always, here and below. */
        (void)MD5_Init(&digest->md5);
        (void)SHA1_Init(&digest->sha1);
        (void)SHA256_Init(&digest->sha256);
        (void)SHA512_Init(&digest->c4);
        *ret = digest;
        digest = NULL;
        return 0;
}

void digest_free(struct digest *digest)
{
        if (!digest)
                return;
        (void)XXH64_freeState(digest->xxh64); /* always XXH_OK; they take NULL */
        (void)XXH3_freeState(digest->xxh3);
        (void)XXH3_freeState(digest->xxh128);
        free(digest);
}

void digest_release(struct digest *const *digest)
{
        digest_free(*digest);
}

void digest_update(struct digest *digest, const void *data, size_t size)
{
        if (size == 0)
                return;
        digest->position += size;
        if (has(digest, HASH_XXH64))
                (void)XXH64_update(digest->xxh64, data, size); /* the xxh updates fail for NULL only */
        if (has(digest, HASH_XXH3))
                (void)XXH3_64bits_update(digest->xxh3, data, size);
        if (has(digest, HASH_XXH128))
                (void)XXH3_128bits_update(digest->xxh128, data, size);
        if (has(digest, HASH_MD5))
                (void)MD5_Update(&digest->md5, data, size);
        if (has(digest, HASH_SHA1))
                (void)SHA1_Update(&digest->sha1, data, size);
        if (has(digest, HASH_SHA256))
                (void)SHA256_Update(&digest->sha256, data, size);
        if (has(digest, HASH_C4))
                (void)SHA512_Update(&digest->c4, data, size);
}

void digest_skip_zeros(struct digest *digest, uint64_t count_bytes)
{
        static const uint8_t zeros[ZEROS_BYTES]; /* fits into the L1 cache */

        while (count_bytes > 0) {
                size_t size = count_bytes < sizeof(zeros) ? (size_t)count_bytes : sizeof(zeros);

                digest_update(digest, zeros, size);
                count_bytes -= size;
        }
}

uint64_t digest_position(const struct digest *digest)
{
        return digest->position;
}

static void final_xxh(const struct digest *digest, struct digest_values *values)
{
        XXH64_canonical_t canonical;
        struct hash128 wide;

        if (has(digest, HASH_XXH64)) {
                XXH64_canonicalFromHash(&canonical, XXH64_digest(digest->xxh64));
                memcpy(values->bytes + digest_offset(HASH_XXH64), canonical.digest, sizeof(canonical.digest));
        }
        if (has(digest, HASH_XXH3)) {
                XXH64_canonicalFromHash(&canonical, XXH3_64bits_digest(digest->xxh3));
                memcpy(values->bytes + digest_offset(HASH_XXH3), canonical.digest, sizeof(canonical.digest));
        }
        if (has(digest, HASH_XXH128)) {
                wide = hash128_canonical(XXH3_128bits_digest(digest->xxh128));
                memcpy(values->bytes + digest_offset(HASH_XXH128), wide.bytes, sizeof(wide.bytes));
        }
}

void digest_final(const struct digest *digest, struct digest_values *ret)
{
        struct digest_values values = {.mask = digest->set.mask};
        /* OpenSSL's final consumes the context: copies are spent. */
        MD5_CTX md5 = digest->md5;
        SHA_CTX sha1 = digest->sha1;
        SHA256_CTX sha256 = digest->sha256;
        SHA512_CTX c4 = digest->c4;

        final_xxh(digest, &values);
        if (has(digest, HASH_MD5))
                (void)MD5_Final(values.bytes + digest_offset(HASH_MD5), &md5);
        if (has(digest, HASH_SHA1))
                (void)SHA1_Final(values.bytes + digest_offset(HASH_SHA1), &sha1);
        if (has(digest, HASH_SHA256))
                (void)SHA256_Final(values.bytes + digest_offset(HASH_SHA256), &sha256);
        if (has(digest, HASH_C4))
                (void)SHA512_Final(values.bytes + digest_offset(HASH_C4), &c4);
        *ret = values;
}

/* ---- saved states ---- */

/* A saved state: this header, the states of the algorithms in the order of their numbers, and XXH3-64 of all before it. */
struct state_header {
        uint32_t magic;
        uint32_t version;
        uint32_t xxh_version;
        uint32_t openssl_major;
        uint32_t mask;
        uint32_t size_bytes; /* of the whole, checksum included */
        uint64_t position;
};

/* What XXH3 needs to go on; the rest of its state follows from reset. Its struct is not copied whole, because it holds a
 * pointer to the library's secret, which lies elsewhere in the next process. */
struct xxh3_saved {
        uint64_t lanes[8];
        uint8_t buffer[XXH3_INTERNALBUFFER_SIZE];
        uint64_t stripes;
        uint64_t buffered_bytes;
};

static size_t state_bytes(enum hash_algorithm algorithm)
{
        static const size_t bytes[HASH_COUNT] = {
            [HASH_XXH64] = sizeof(struct XXH64_state_s),
            [HASH_XXH3] = sizeof(struct xxh3_saved),
            [HASH_XXH128] = sizeof(struct xxh3_saved),
            [HASH_MD5] = sizeof(MD5_CTX),
            [HASH_SHA1] = sizeof(SHA_CTX),
            [HASH_SHA256] = sizeof(SHA256_CTX),
            [HASH_C4] = sizeof(SHA512_CTX),
        };

        return bytes[algorithm];
}

static size_t saved_bytes(uint32_t mask)
{
        size_t size = sizeof(struct state_header) + sizeof(XXH64_hash_t);

        for (int i = 0; i < HASH_COUNT; i++)
                if (mask & 1u << i)
                        size += state_bytes((enum hash_algorithm)i);
        return size;
}

static void xxh3_save(const XXH3_state_t *state, uint8_t *ret)
{
        struct xxh3_saved saved = {.stripes = state->nbStripesSoFar, .buffered_bytes = state->bufferedSize};

        _Static_assert(sizeof(saved.lanes) == sizeof(state->acc), "8 lanes");
        _Static_assert(sizeof(saved.buffer) == sizeof(state->buffer), "the whole buffer");
        memcpy(saved.lanes, state->acc, sizeof(saved.lanes));
        memcpy(saved.buffer, state->buffer, sizeof(saved.buffer));
        memcpy(ret, &saved, sizeof(saved));
}

/* `state` was just reset. Refuses what would make the library leave its arrays. */
static int xxh3_load(XXH3_state_t *state, const uint8_t *blob, uint64_t position)
{
        struct xxh3_saved saved;

        memcpy(&saved, blob, sizeof(saved));
        if (saved.buffered_bytes > sizeof(saved.buffer) || saved.buffered_bytes > position)
                return -EBADMSG;
        if (position <= sizeof(saved.buffer) && saved.buffered_bytes != position)
                return -EBADMSG;
        if (saved.stripes > state->nbStripesPerBlock)
                return -EBADMSG;
        memcpy(state->acc, saved.lanes, sizeof(saved.lanes));
        memcpy(state->buffer, saved.buffer, sizeof(saved.buffer));
        state->bufferedSize = (XXH32_hash_t)saved.buffered_bytes;
        state->nbStripesSoFar = (size_t)saved.stripes;
        state->totalLen = position;
        return 0;
}

static int xxh64_load(XXH64_state_t *state, const uint8_t *blob, uint64_t position)
{
        struct XXH64_state_s saved;

        memcpy(&saved, blob, sizeof(saved));
        if (saved.total_len != position || saved.memsize != position % XXH64_BLOCK_BYTES)
                return -EBADMSG;
        memcpy(state, &saved, sizeof(saved));
        return 0;
}

/* What OpenSSL's contexts say of their position follows from it; a difference would make it leave its buffer. */
static bool counts_fit(uint32_t low_bits, uint32_t high_bits, unsigned int buffered_bytes, uint64_t position)
{
        return low_bits == (uint32_t)(position << 3) && high_bits == (uint32_t)(position >> 29) &&
               buffered_bytes == position % SHA_BLOCK_BYTES;
}

static bool openssl_state_fits(const struct digest *digest, enum hash_algorithm algorithm)
{
        const MD5_CTX *md5 = &digest->md5;
        const SHA_CTX *sha1 = &digest->sha1;
        const SHA256_CTX *sha256 = &digest->sha256;
        const SHA512_CTX *c4 = &digest->c4;
        uint64_t position = digest->position;

        switch (algorithm) {
        case HASH_MD5:
                return counts_fit(md5->Nl, md5->Nh, md5->num, position);
        case HASH_SHA1:
                return counts_fit(sha1->Nl, sha1->Nh, sha1->num, position);
        case HASH_SHA256:
                return counts_fit(sha256->Nl, sha256->Nh, sha256->num, position) && sha256->md_len == SHA256_DIGEST_LENGTH;
        case HASH_C4:
                return c4->Nl == position << 3 && c4->Nh == position >> 61 && c4->num == position % SHA512_CBLOCK &&
                       c4->md_len == SHA512_DIGEST_LENGTH;
        default:
                return false;
        }
}

/* The algorithm's context where it is one of OpenSSL's, which are saved as they are. */
static void *openssl_state(struct digest *digest, enum hash_algorithm algorithm)
{
        switch (algorithm) {
        case HASH_MD5:
                return &digest->md5;
        case HASH_SHA1:
                return &digest->sha1;
        case HASH_SHA256:
                return &digest->sha256;
        default:
                return &digest->c4;
        }
}

static void state_save(struct digest *digest, enum hash_algorithm algorithm, uint8_t *ret)
{
        if (algorithm == HASH_XXH64)
                memcpy(ret, digest->xxh64, sizeof(*digest->xxh64));
        else if (algorithm == HASH_XXH3)
                xxh3_save(digest->xxh3, ret);
        else if (algorithm == HASH_XXH128)
                xxh3_save(digest->xxh128, ret);
        else
                memcpy(ret, openssl_state(digest, algorithm), state_bytes(algorithm));
}

static int state_load(struct digest *digest, enum hash_algorithm algorithm, const uint8_t *blob)
{
        if (algorithm == HASH_XXH64)
                return xxh64_load(digest->xxh64, blob, digest->position);
        if (algorithm == HASH_XXH3)
                return xxh3_load(digest->xxh3, blob, digest->position);
        if (algorithm == HASH_XXH128)
                return xxh3_load(digest->xxh128, blob, digest->position);
        memcpy(openssl_state(digest, algorithm), blob, state_bytes(algorithm));
        return openssl_state_fits(digest, algorithm) ? 0 : -EBADMSG;
}

static struct state_header state_header_of(uint32_t mask, uint64_t position)
{
        return (struct state_header){
            .magic = STATE_MAGIC,
            .version = STATE_VERSION,
            .xxh_version = XXH_VERSION_NUMBER,
            .openssl_major = OPENSSL_VERSION_MAJOR,
            .mask = mask,
            .size_bytes = (uint32_t)saved_bytes(mask),
            .position = position,
        };
}

static bool needs_xxh(uint32_t mask)
{
        return mask & (1u << HASH_XXH64 | 1u << HASH_XXH3 | 1u << HASH_XXH128);
}

int digest_save(const struct digest *digest, void **ret_blob, size_t *ret_size)
{
        uint32_t mask = digest->set.mask;
        struct state_header header = state_header_of(mask, digest->position);
        size_t size = saved_bytes(mask), offset = sizeof(header);
        struct digest source = *digest; /* borrows the states of the original */
        XXH64_hash_t checksum;
        uint8_t *blob;

        if (needs_xxh(mask) && !xxh_layout_known())
                return HASH_NOT_SAVABLE;
        blob = calloc(1, size);
        if (!blob)
                return -ENOMEM;
        memcpy(blob, &header, sizeof(header));
        for (int i = 0; i < HASH_COUNT; i++) {
                if (!(mask & 1u << i))
                        continue;
                state_save(&source, (enum hash_algorithm)i, blob + offset);
                offset += state_bytes((enum hash_algorithm)i);
        }
        checksum = XXH3_64bits(blob, offset);
        memcpy(blob + offset, &checksum, sizeof(checksum));
        *ret_blob = blob;
        *ret_size = size;
        return 0;
}

/* Whether `blob` is what some digest_save wrote, whole and unchanged. */
static bool state_intact(const uint8_t *blob, size_t size, struct state_header *ret_header)
{
        XXH64_hash_t checksum;

        if (!blob || size < sizeof(*ret_header) + sizeof(checksum))
                return false;
        memcpy(ret_header, blob, sizeof(*ret_header));
        if (ret_header->magic != STATE_MAGIC || ret_header->size_bytes != size)
                return false;
        memcpy(&checksum, blob + size - sizeof(checksum), sizeof(checksum));
        return checksum == XXH3_64bits(blob, size - sizeof(checksum));
}

int digest_restore(const struct hash_set *set, const void *blob, size_t size, struct digest **ret)
{
        cleanup(digest_release) struct digest *digest = NULL;
        struct state_header header, expected;
        const uint8_t *bytes = blob;
        size_t offset = sizeof(header);
        int result;

        if (!hash_set_valid(set))
                return -EINVAL;
        if (!state_intact(bytes, size, &header))
                return -EBADMSG;
        expected = state_header_of(set->mask, header.position);
        if (memcmp(&header, &expected, sizeof(header)) != 0 || (needs_xxh(set->mask) && !xxh_layout_known()))
                return HASH_STATE_FOREIGN;
        result = digest_new(set, &digest);
        if (result < 0)
                return result;
        digest->position = header.position;
        for (int i = 0; i < HASH_COUNT; i++) {
                if (!(set->mask & 1u << i))
                        continue;
                result = state_load(digest, (enum hash_algorithm)i, bytes + offset);
                if (result < 0)
                        return result;
                offset += state_bytes((enum hash_algorithm)i);
        }
        *ret = digest;
        digest = NULL;
        return 0;
}
