#include "core/hash.h"

#include "core/cleanup.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>
#include <xxhash.h>

enum { PATTERN_BYTES = 1000003 };

static const char all_algorithms[] = "xxh64,xxh3,xxh128,md5,sha1,sha256,c4";

/* Published vectors for "" and "abc"; for the pattern what xxhsum, md5sum, sha1sum, sha256sum and a C4 in Python say. */
struct vector {
        const char *empty, *abc, *pattern;
};
static const struct vector vectors[HASH_COUNT] = {
    [HASH_XXH64] = {"ef46db3751d8e999", "44bc2cf5ad770999", "deb3e505b4135e79"},
    [HASH_XXH3] = {"2d06800538d394c2", "78af5f94892f3950", "5c47cdd322d7c642"},
    [HASH_XXH128] = {"99aa06d3014798d86001c324468d497f", "06b05ab6733a618578af5f94892f3950",
                     "f6847c9dd7d6a71c5c47cdd322d7c642"},
    [HASH_MD5] = {"d41d8cd98f00b204e9800998ecf8427e", "900150983cd24fb0d6963f7d28e17f72",
                  "aac4c9cee93474afc070d25c1a8f2c5e"},
    [HASH_SHA1] = {"da39a3ee5e6b4b0d3255bfef95601890afd80709", "a9993e364706816aba3e25717850c26c9cd0d89d",
                   "63dec4424b220dc01c231a28fc5fce6d2c00cfc3"},
    [HASH_SHA256] = {"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
                     "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
                     "7d828967c30762c9e4509a63e411c4ed769fea760c1c63e1423532b56f6afe4e"},
    [HASH_C4] = {"c459dsjfscH38cYeXXYogktxf4Cd9ibshE3BHUo6a58hBXmRQdZrAkZzsWcbWtDg5oQstpDuni4Hirj75GEmTc1sFT",
                 "c45S4rnaTNWonxss1u8LzsaJdEph1AJhWUF4sh2waXKMsutyfAxg4ybUeuXVWS9HdNcEypmeXn8FZGonD4w1rj9DZp",
                 "c44N8aikkGFirm7c28mDZ6XW6E59DMi1SfYGsi6bnPP34LjZUUXNHMWQAjR3MZXsEdj2EnaHeQHMUmYy7YcPGifwPQ"},
};

static uint8_t pattern[PATTERN_BYTES];

static int make_pattern(void **state)
{
        for (uint32_t i = 0; i < PATTERN_BYTES; i++)
                pattern[i] = (uint8_t)(i * 131 + (i >> 8));
        return 0;
}

static struct hash_set set_of(const char *list)
{
        struct hash_set set;

        assert_int_equal(hash_parse_list(list, &set), 0);
        return set;
}

static struct digest *digest_of(const char *list)
{
        struct hash_set set = set_of(list);
        struct digest *digest;

        assert_int_equal(digest_new(&set, &digest), 0);
        return digest;
}

static void assert_text(const struct digest *digest, enum hash_algorithm algorithm, const char *expected)
{
        struct digest_values values;
        char text[HASH_TEXT_BYTES];

        digest_final(digest, &values);
        assert_int_equal(digest_text(&values, algorithm, text), 0);
        assert_string_equal(text, expected);
}

static void assert_is_pattern(const struct digest *digest)
{
        assert_int_equal(digest_position(digest), PATTERN_BYTES);
        for (int i = 0; i < HASH_COUNT; i++)
                assert_text(digest, (enum hash_algorithm)i, vectors[i].pattern);
}

static void each_algorithm_alone_gives_the_published_digests(void **state)
{
        for (int i = 0; i < HASH_COUNT; i++) {
                cleanup(digest_release) struct digest *digest = digest_of(hash_name((enum hash_algorithm)i));

                assert_text(digest, (enum hash_algorithm)i, vectors[i].empty);
                digest_update(digest, "abc", 3);
                assert_text(digest, (enum hash_algorithm)i, vectors[i].abc);
        }
}

static void all_algorithms_together_give_the_same_however_the_bytes_are_cut(void **state)
{
        static const size_t pieces[] = {PATTERN_BYTES, 1, 31, 64, 255, 257, 1024, 65537};

        for (size_t i = 0; i < sizeof(pieces) / sizeof(*pieces); i++) {
                cleanup(digest_release) struct digest *digest = digest_of(all_algorithms);

                for (size_t offset = 0; offset < PATTERN_BYTES; offset += pieces[i]) {
                        size_t rest = PATTERN_BYTES - offset;

                        digest_update(digest, pattern + offset, rest < pieces[i] ? rest : pieces[i]);
                }
                digest_update(digest, NULL, 0);
                assert_is_pattern(digest);
        }
}

static void final_in_between_does_not_disturb_what_follows(void **state)
{
        cleanup(digest_release) struct digest *digest = digest_of(all_algorithms);
        struct digest_values values;

        for (size_t offset = 0; offset < PATTERN_BYTES; offset += 99991) {
                size_t rest = PATTERN_BYTES - offset;

                digest_update(digest, pattern + offset, rest < 99991 ? rest : 99991);
                digest_final(digest, &values);
        }
        assert_is_pattern(digest);
}

static void values_hold_nothing_but_the_digests_of_the_set(void **state)
{
        cleanup(digest_release) struct digest *digest = digest_of("sha1,xxh3");
        struct digest_values values, decoded;
        uint8_t record[DIGEST_VALUES_BYTES];

        digest_update(digest, "abc", 3);
        digest_final(digest, &values);
        assert_int_equal(values.mask, 1u << HASH_SHA1 | 1u << HASH_XXH3);
        digest_values_encode(&values, record);
        assert_int_equal(digest_values_decode(record, &decoded), 0); /* it refuses stray bytes */
}

static void skipped_zeros_count_as_bytes(void **state)
{
        cleanup(digest_release) struct digest *fed = digest_of(all_algorithms);
        cleanup(digest_release) struct digest *skipped = digest_of(all_algorithms);
        cleanup(pointer_free) uint8_t *zeros = calloc(1, 100001);
        struct digest_values a, b;

        assert_non_null(zeros);
        digest_update(fed, "head", 4);
        digest_update(fed, zeros, 100001);
        digest_update(fed, "tail", 4);
        digest_update(skipped, "head", 4);
        digest_skip_zeros(skipped, 100001);
        digest_skip_zeros(skipped, 0);
        digest_update(skipped, "tail", 4);
        digest_final(fed, &a);
        digest_final(skipped, &b);
        assert_memory_equal(&a, &b, sizeof(a));
        assert_int_equal(digest_position(skipped), 100009);
}

static void empty_or_broken_set_is_refused(void **state)
{
        struct hash_set set = {0};
        struct digest *digest = NULL;

        assert_int_equal(digest_new(&set, &digest), -EINVAL);
        assert_int_equal(digest_restore(&set, "", 0, &digest), -EINVAL);
        assert_null(digest);
        digest_free(NULL);
}

/* ---- saved states ---- */

/* Saves and restores in place, scribbling over the old states so that a borrowed pointer would show. */
static void pass_through_save(struct digest **digest, const struct hash_set *set)
{
        cleanup(pointer_free) void *blob = NULL;
        struct digest *restored;
        size_t size;

        assert_int_equal(digest_save(*digest, &blob, &size), 0);
        assert_true(size < 2048);
        digest_free(*digest);
        assert_int_equal(digest_restore(set, blob, size, &restored), 0);
        *digest = restored;
}

static void restored_state_goes_on_as_if_nothing_had_happened(void **state)
{
        /* around the block sizes of each algorithm, and XXH3's thresholds of 240, 256 and 1024 bytes */
        static const size_t cuts[] = {0,   1,   31,  32,  33,  63,   64,   65,   127,  128,  129,    239,   240,
                                      241, 255, 256, 257, 511, 1023, 1024, 1025, 1088, 1280, 524288, 999999};
        struct hash_set set = set_of(all_algorithms);

        for (size_t i = 0; i < sizeof(cuts) / sizeof(*cuts); i++) {
                cleanup(digest_release) struct digest *digest = digest_of(all_algorithms);

                digest_update(digest, pattern, cuts[i]);
                pass_through_save(&digest, &set);
                assert_int_equal(digest_position(digest), cuts[i]);
                digest_update(digest, pattern + cuts[i], PATTERN_BYTES - cuts[i]);
                assert_is_pattern(digest);
                pass_through_save(&digest, &set);
                assert_is_pattern(digest);
        }
}

static void states_saved_at_random_places_give_the_right_digests(void **state)
{
        unsigned int seed = (unsigned int)time(NULL);
        struct hash_set set = set_of(all_algorithms);

        print_message("seed %u\n", seed);
        for (int round = 0; round < 10; round++) {
                cleanup(digest_release) struct digest *digest = digest_of(all_algorithms);
                size_t offset = 0;

                while (offset < PATTERN_BYTES) {
                        size_t size = (size_t)rand_r(&seed) % 20000, rest = PATTERN_BYTES - offset;

                        size = size < rest ? size : rest;
                        digest_update(digest, pattern + offset, size);
                        offset += size;
                        pass_through_save(&digest, &set);
                }
                assert_is_pattern(digest);
        }
}

static void same_state_saves_to_same_bytes(void **state)
{
        cleanup(digest_release) struct digest *a = digest_of(all_algorithms);
        cleanup(digest_release) struct digest *b = digest_of(all_algorithms);
        cleanup(pointer_free) void *blob_a = NULL;
        cleanup(pointer_free) void *blob_b = NULL;
        size_t size_a, size_b;

        digest_update(a, pattern, 77);
        digest_update(b, pattern, 77);
        assert_int_equal(digest_save(a, &blob_a, &size_a), 0);
        assert_int_equal(digest_save(b, &blob_b, &size_b), 0);
        assert_int_equal(size_a, size_b);
        assert_memory_equal(blob_a, blob_b, size_a); /* nothing of the heap in it */
}

static uint8_t *saved(const char *list, size_t fed, size_t *ret_size)
{
        cleanup(digest_release) struct digest *digest = digest_of(list);
        void *blob;

        digest_update(digest, pattern, fed);
        assert_int_equal(digest_save(digest, &blob, ret_size), 0);
        return blob;
}

static void any_changed_or_missing_byte_is_refused(void **state)
{
        struct hash_set set = set_of(all_algorithms);
        struct digest *digest = NULL;
        size_t size;
        cleanup(pointer_free) uint8_t *blob = saved(all_algorithms, 5000, &size);

        for (size_t i = 0; i < size; i++) {
                blob[i] ^= 0x10;
                assert_int_equal(digest_restore(&set, blob, size, &digest), -EBADMSG);
                blob[i] ^= 0x10;
        }
        for (size_t cut = 0; cut < size; cut++)
                assert_int_equal(digest_restore(&set, blob, cut, &digest), -EBADMSG);
        assert_int_equal(digest_restore(&set, NULL, 0, &digest), -EBADMSG);
        assert_null(digest);
}

static void sign(uint8_t *blob, size_t size)
{
        XXH64_hash_t checksum = XXH3_64bits(blob, size - sizeof(checksum));

        memcpy(blob + size - sizeof(checksum), &checksum, sizeof(checksum));
}

static void forged_state_with_a_right_checksum_breaks_no_memory(void **state)
{
        static const uint8_t values[] = {0x00, 0x7f, 0xff};
        struct hash_set set = set_of(all_algorithms);
        size_t size, refused = 0;
        cleanup(pointer_free) uint8_t *blob = saved(all_algorithms, 5000, &size);

        for (size_t i = 0; i < 3 * (size - 8); i++) {
                cleanup(digest_release) struct digest *digest = NULL;
                uint8_t original = blob[i / 3];
                struct digest_values ignored;
                int result;

                blob[i / 3] = values[i % 3];
                sign(blob, size);
                result = digest_restore(&set, blob, size, &digest);
                blob[i / 3] = original;
                refused += result != 0;
                if (result != 0)
                        continue;
                digest_final(digest, &ignored);
                digest_update(digest, pattern, 3000);
                digest_final(digest, &ignored);
        }
        assert_true(refused > 100); /* the header, positions and counts */
}

static void intact_state_of_other_algorithms_or_versions_is_foreign(void **state)
{
        struct hash_set set = set_of("md5,xxh3"), same = set_of("xxh3,md5"), other = set_of("md5");
        struct digest *digest = NULL;
        size_t size;
        cleanup(pointer_free) uint8_t *blob = saved("md5,xxh3", 300, &size);

        assert_int_equal(digest_restore(&other, blob, size, &digest), HASH_STATE_FOREIGN);
        assert_null(digest);
        assert_int_equal(digest_restore(&same, blob, size, &digest), 0); /* the order does not matter */
        digest_free(digest);
        digest = NULL;
        for (size_t field = 4; field <= 12; field += 4) { /* the versions of the format, libxxhash, OpenSSL */
                blob[field]++;
                sign(blob, size);
                assert_int_equal(digest_restore(&set, blob, size, &digest), HASH_STATE_FOREIGN);
                blob[field]--;
        }
        assert_null(digest);
}

/* ---- the hash of a chunk ---- */

static void assert_hash128(struct hash128 hash, const char *expected)
{
        char text[2 * HASH_CHUNK_BYTES + 1];

        for (size_t i = 0; i < HASH_CHUNK_BYTES; i++)
                (void)snprintf(text + 2 * i, 3, "%02x", hash.bytes[i]); /* always fits */
        assert_string_equal(text, expected);
}

static void chunk_hash_is_xxh3_128_in_one_shot_and_streaming(void **state)
{
        struct chunk_hash hash = {0};
        struct hash128 whole = hash128_of(pattern, PATTERN_BYTES), other = hash128_of("abc", 3), streamed;

        assert_hash128(whole, vectors[HASH_XXH128].pattern);
        assert_hash128(other, vectors[HASH_XXH128].abc);
        assert_hash128(hash128_of(NULL, 0), vectors[HASH_XXH128].empty);
        assert_int_equal(chunk_hash_init(&hash), 0);
        assert_hash128(chunk_hash_final(&hash), vectors[HASH_XXH128].empty);
        for (int round = 0; round < 2; round++) {
                chunk_hash_reset(&hash);
                chunk_hash_update(&hash, pattern, 524288);
                (void)chunk_hash_final(&hash); /* must not disturb what follows */
                chunk_hash_update(&hash, NULL, 0);
                chunk_hash_update(&hash, pattern + 524288, PATTERN_BYTES - 524288);
                streamed = chunk_hash_final(&hash);
                assert_true(hash128_equal(&streamed, &whole));
                assert_false(hash128_equal(&streamed, &other));
        }
        chunk_hash_deinit(&hash);
        chunk_hash_deinit(&hash);
}

static void the_hash_of_zeros_is_that_of_their_bytes(void **state)
{
        static const uint8_t zeros[(1 << 20) + 3];
        static const size_t sizes[] = { 0, 1, 240, 32768, 32769, 65536, 1 << 20, sizeof(zeros) };

        (void)state;
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
                struct hash128 expected = hash128_of(zeros, sizes[i]), hash = hash128_of_zeros(sizes[i]);

                assert_true(hash128_equal(&hash, &expected));
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
            cmocka_unit_test(each_algorithm_alone_gives_the_published_digests),
            cmocka_unit_test(all_algorithms_together_give_the_same_however_the_bytes_are_cut),
            cmocka_unit_test(final_in_between_does_not_disturb_what_follows),
            cmocka_unit_test(values_hold_nothing_but_the_digests_of_the_set),
            cmocka_unit_test(skipped_zeros_count_as_bytes),
            cmocka_unit_test(empty_or_broken_set_is_refused),
            cmocka_unit_test(restored_state_goes_on_as_if_nothing_had_happened),
            cmocka_unit_test(states_saved_at_random_places_give_the_right_digests),
            cmocka_unit_test(same_state_saves_to_same_bytes),
            cmocka_unit_test(any_changed_or_missing_byte_is_refused),
            cmocka_unit_test(forged_state_with_a_right_checksum_breaks_no_memory),
            cmocka_unit_test(intact_state_of_other_algorithms_or_versions_is_foreign),
            cmocka_unit_test(chunk_hash_is_xxh3_128_in_one_shot_and_streaming),
            cmocka_unit_test(the_hash_of_zeros_is_that_of_their_bytes),
        };

        return cmocka_run_group_tests(tests, make_pattern, NULL);
}
