#include "core/bitmap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { WORD_BITS = 64 };

/* Invariant: bits of the last word beyond the size are zero. */

static uint64_t words_for(uint64_t bits)
{
        return bits / WORD_BITS + (bits % WORD_BITS != 0);
}

/* The low `bits` bits, of 0 to 64. */
static uint64_t low_mask(uint64_t bits)
{
        return bits >= WORD_BITS ? UINT64_MAX : (UINT64_C(1) << bits) - 1;
}

static bool is_inline(const struct bitmap *bitmap)
{
        return bitmap->size <= WORD_BITS;
}

static uint64_t word_at(const struct bitmap *bitmap, uint64_t word)
{
        if (is_inline(bitmap))
                return word == 0 ? bitmap->word : 0;
        return bitmap->words && word < words_for(bitmap->size) ? bitmap->words[word] : 0;
}

/* The array that holds the bits; NULL while none is allocated. */
static uint64_t *storage(struct bitmap *bitmap)
{
        return is_inline(bitmap) ? &bitmap->word : bitmap->words;
}

static uint64_t *words_new(uint64_t bits)
{
        uint64_t words = words_for(bits);

        return words <= SIZE_MAX / sizeof(uint64_t) ? calloc((size_t)words, sizeof(uint64_t)) : NULL;
}

static int ensure_storage(struct bitmap *bitmap)
{
        if (storage(bitmap))
                return 0;
        bitmap->words = words_new(bitmap->size);
        return bitmap->words ? 0 : -ENOMEM;
}

void bitmap_init(struct bitmap *bitmap, uint64_t size)
{
        *bitmap = (struct bitmap){.size = size};
}

void bitmap_deinit(struct bitmap *bitmap)
{
        free(bitmap->words);
        *bitmap = (struct bitmap){0};
}

int bitmap_set(struct bitmap *bitmap, uint64_t index)
{
        uint64_t bit = UINT64_C(1) << index % WORD_BITS;
        uint64_t *words;
        int result;

        if (index >= bitmap->size)
                return -ERANGE;
        result = ensure_storage(bitmap);
        if (result < 0)
                return result;
        words = storage(bitmap);
        bitmap->count += !(words[index / WORD_BITS] & bit);
        words[index / WORD_BITS] |= bit;
        return 0;
}

int bitmap_set_all(struct bitmap *bitmap)
{
        uint64_t last = words_for(bitmap->size);
        uint64_t *words;
        int result;

        if (bitmap_is_full(bitmap))
                return 0;
        result = ensure_storage(bitmap);
        if (result < 0)
                return result;
        words = storage(bitmap);
        memset(words, 0xff, (size_t)last * sizeof(*words));
        if (bitmap->size % WORD_BITS != 0)
                words[last - 1] = low_mask(bitmap->size % WORD_BITS);
        bitmap->count = bitmap->size;
        return 0;
}

void bitmap_clear(struct bitmap *bitmap, uint64_t index)
{
        uint64_t bit = UINT64_C(1) << index % WORD_BITS;
        uint64_t *words = storage(bitmap);

        if (index >= bitmap->size || !words)
                return;
        bitmap->count -= (words[index / WORD_BITS] & bit) != 0;
        words[index / WORD_BITS] &= ~bit;
}

void bitmap_clear_all(struct bitmap *bitmap)
{
        uint64_t *words = storage(bitmap);

        if (words)
                memset(words, 0, (size_t)words_for(bitmap->size) * sizeof(*words));
        bitmap->count = 0;
}

bool bitmap_test(const struct bitmap *bitmap, uint64_t index)
{
        return index < bitmap->size && word_at(bitmap, index / WORD_BITS) >> index % WORD_BITS & 1;
}

uint64_t bitmap_size(const struct bitmap *bitmap)
{
        return bitmap->size;
}

uint64_t bitmap_count(const struct bitmap *bitmap)
{
        return bitmap->count;
}

bool bitmap_is_full(const struct bitmap *bitmap)
{
        return bitmap->count == bitmap->size;
}

/* The first bit at or after `from` that differs from `inverted`'s bits: 0 looks for a set bit, all ones for a clear one. */
static uint64_t find_next(const struct bitmap *bitmap, uint64_t from, uint64_t inverted)
{
        uint64_t words = words_for(bitmap->size);
        uint64_t mask = ~low_mask(from % WORD_BITS);

        for (uint64_t word = from / WORD_BITS; word < words; word++) {
                uint64_t found = (word_at(bitmap, word) ^ inverted) & mask;
                uint64_t index = word * WORD_BITS;

                if (found) {
                        index += (uint64_t)__builtin_ctzll(found);
                        return index < bitmap->size ? index : BITMAP_NONE;
                }
                mask = UINT64_MAX;
        }
        return BITMAP_NONE;
}

uint64_t bitmap_find_next_set(const struct bitmap *bitmap, uint64_t from)
{
        return bitmap->count == 0 ? BITMAP_NONE : find_next(bitmap, from, 0);
}

uint64_t bitmap_find_next_clear(const struct bitmap *bitmap, uint64_t from)
{
        if (bitmap->count == 0)
                return from < bitmap->size ? from : BITMAP_NONE;
        return bitmap_is_full(bitmap) ? BITMAP_NONE : find_next(bitmap, from, UINT64_MAX);
}

/* Cuts to `size` in place; the storage keeps its length. */
static void shrink(struct bitmap *bitmap, uint64_t size)
{
        uint64_t *words = storage(bitmap);
        uint64_t kept = words_for(size), cut = 0;

        for (uint64_t i = 0; words && i < kept; i++)
                cut += (uint64_t)__builtin_popcountll(words[i]);
        if (words && size % WORD_BITS != 0) {
                uint64_t mask = low_mask(size % WORD_BITS);

                cut -= (uint64_t)__builtin_popcountll(words[kept - 1] & ~mask);
                words[kept - 1] &= mask;
        }
        bitmap->count = cut;
        if (!is_inline(bitmap) && size <= WORD_BITS) {
                bitmap->word = words && kept > 0 ? words[0] : 0;
                free(bitmap->words);
                bitmap->words = NULL;
        } else if (is_inline(bitmap) && size == 0) {
                bitmap->word = 0;
        }
        bitmap->size = size;
}

int bitmap_resize(struct bitmap *bitmap, uint64_t size)
{
        uint64_t *words;

        if (size <= bitmap->size) {
                shrink(bitmap, size);
                return 0;
        }
        if (size > WORD_BITS && bitmap->count > 0) {
                words = words_new(size);
                if (!words)
                        return -ENOMEM;
                memcpy(words, storage(bitmap), (size_t)words_for(bitmap->size) * sizeof(*words));
                free(bitmap->words);
                bitmap->words = words;
        } else if (size > WORD_BITS) {
                free(bitmap->words); /* all clear, and too short now */
                bitmap->words = NULL;
        }
        if (size > WORD_BITS)
                bitmap->word = 0;
        bitmap->size = size;
        return 0;
}

/* `count` bits (1 to 8) from `first`; clear beyond the size. */
static uint8_t bits_get(const struct bitmap *bitmap, uint64_t first, unsigned int count)
{
        unsigned int shift = first % WORD_BITS;
        uint64_t bits = word_at(bitmap, first / WORD_BITS) >> shift;

        if (shift + count > WORD_BITS)
                bits |= word_at(bitmap, first / WORD_BITS + 1) << (WORD_BITS - shift);
        return (uint8_t)(bits & low_mask(count));
}

/* Replaces `count` bits (1 to 8) from `first`, which lie within the size; `words` is the storage. */
static void bits_put(struct bitmap *bitmap, uint64_t *words, uint64_t first, unsigned int count, uint64_t bits)
{
        unsigned int shift = first % WORD_BITS;
        uint64_t word = first / WORD_BITS;
        uint64_t mask = low_mask(count);

        bitmap->count -= (uint64_t)__builtin_popcount(bits_get(bitmap, first, count));
        bitmap->count += (uint64_t)__builtin_popcountll(bits);
        words[word] = (words[word] & ~(mask << shift)) | bits << shift;
        if (shift + count > WORD_BITS) {
                unsigned int done = WORD_BITS - shift;

                words[word + 1] = (words[word + 1] & ~(mask >> done)) | bits >> done;
        }
}

void bitmap_export(const struct bitmap *bitmap, uint64_t first, uint64_t count, uint8_t *ret)
{
        for (uint64_t i = 0; i < count; i += 8) {
                uint64_t index = first + i;

                /* first + i wraps only for ranges that lie beyond any bitmap */
                ret[i / 8] = index < first ? 0 : bits_get(bitmap, index, count - i < 8 ? (unsigned int)(count - i) : 8);
        }
}

/* Byte `i / 8` of what is imported, without what is over in the last one. */
static uint8_t import_byte(const uint8_t *bytes, uint64_t count, uint64_t i)
{
        return (uint8_t)(bytes[i / 8] & low_mask(count - i < 8 ? count - i : 8));
}

int bitmap_import(struct bitmap *bitmap, uint64_t first, uint64_t count, const uint8_t *bytes)
{
        bool any = false;
        uint64_t *words;
        int result;

        if (first > bitmap->size || count > bitmap->size - first)
                return -ERANGE;
        for (uint64_t i = 0; i < count && !any; i += 8)
                any = import_byte(bytes, count, i) != 0;
        result = any ? ensure_storage(bitmap) : 0;
        if (result < 0)
                return result;
        words = storage(bitmap);
        for (uint64_t i = 0; words && i < count; i += 8)
                bits_put(bitmap, words, first + i, count - i < 8 ? (unsigned int)(count - i) : 8,
                         import_byte(bytes, count, i));
        return 0;
}
