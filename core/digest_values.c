#include "core/digest_values.h"

#include <errno.h>
#include <string.h>

enum { SHA512_BYTES = 64 };

static const struct {
        const char *name;
        size_t offset; /* in digest_values.bytes */
        size_t bytes;
} algorithms[HASH_COUNT] = {
    [HASH_XXH64] = {"xxh64", 0, 8},        [HASH_XXH3] = {"xxh3", 8, 8},   [HASH_XXH128] = {"xxh128", 16, 16},
    [HASH_MD5] = {"md5", 32, 16},          [HASH_SHA1] = {"sha1", 48, 20}, [HASH_SHA256] = {"sha256", 68, 32},
    [HASH_C4] = {"c4", 100, SHA512_BYTES},
};

_Static_assert(DIGEST_BYTES == 100 + SHA512_BYTES, "the digests fill digest_values");
_Static_assert(DIGEST_VALUES_BYTES == DIGEST_BYTES + 4, "mask and digests fill the record");

/* ---- names ---- */

static int parse_name(const char *name, size_t length)
{
        if (length == strlen("xxh64be") && memcmp(name, "xxh64be", length) == 0)
                return HASH_XXH64;
        for (int i = 0; i < HASH_COUNT; i++)
                if (strlen(algorithms[i].name) == length && memcmp(name, algorithms[i].name, length) == 0)
                        return i;
        return -EINVAL;
}

int hash_parse(const char *name)
{
        return parse_name(name, strlen(name));
}

const char *hash_name(enum hash_algorithm algorithm)
{
        return (unsigned int)algorithm < HASH_COUNT ? algorithms[algorithm].name : NULL;
}

int hash_parse_list(const char *list, struct hash_set *ret)
{
        struct hash_set set = {0};

        for (;;) {
                size_t length = strcspn(list, ",");
                int algorithm = parse_name(list, length);

                if (algorithm < 0)
                        return algorithm;
                if (!(set.mask & 1u << algorithm))
                        set.order[set.count++] = (enum hash_algorithm)algorithm;
                set.mask |= 1u << algorithm;
                if (list[length] == '\0')
                        break;
                list += length + 1;
        }
        *ret = set;
        return 0;
}

bool hash_set_valid(const struct hash_set *set)
{
        uint32_t mask = 0;

        if (set->count == 0 || set->count > HASH_COUNT)
                return false;
        for (unsigned int i = 0; i < set->count; i++) {
                if ((unsigned int)set->order[i] >= HASH_COUNT || mask & 1u << set->order[i])
                        return false;
                mask |= 1u << set->order[i];
        }
        return mask == set->mask;
}

/* ---- finished digests ---- */

size_t digest_offset(enum hash_algorithm algorithm)
{
        return algorithms[algorithm].offset;
}

size_t digest_bytes(enum hash_algorithm algorithm)
{
        return (unsigned int)algorithm < HASH_COUNT ? algorithms[algorithm].bytes : 0;
}

const uint8_t *digest_raw(const struct digest_values *values, enum hash_algorithm algorithm)
{
        if ((unsigned int)algorithm >= HASH_COUNT || !(values->mask & 1u << algorithm))
                return NULL;
        return values->bytes + algorithms[algorithm].offset;
}

/* The digest as one big-endian number in base 58, padded with the digit of zero to the length of the greatest. */
static void c4_text(const uint8_t *raw, char *ret)
{
        static const char alphabet[] = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
        uint8_t number[SHA512_BYTES];

        memcpy(number, raw, sizeof(number));
        memcpy(ret, "c4", 2);
        for (size_t digit = HASH_TEXT_BYTES - 1; digit-- > 2;) {
                unsigned int remainder = 0;

                for (size_t i = 0; i < sizeof(number); i++) {
                        remainder = remainder << 8 | number[i];
                        number[i] = (uint8_t)(remainder / 58);
                        remainder %= 58;
                }
                ret[digit] = alphabet[remainder];
        }
        ret[HASH_TEXT_BYTES - 1] = '\0';
}

int digest_text(const struct digest_values *values, enum hash_algorithm algorithm, char *ret)
{
        static const char hex[] = "0123456789abcdef";
        const uint8_t *raw = digest_raw(values, algorithm);
        size_t size = digest_bytes(algorithm);

        if (!raw)
                return -ENOENT;
        if (algorithm == HASH_C4) {
                c4_text(raw, ret);
                return 0;
        }
        for (size_t i = 0; i < size; i++) {
                ret[2 * i] = hex[raw[i] >> 4];
                ret[2 * i + 1] = hex[raw[i] & 15];
        }
        ret[2 * size] = '\0';
        return 0;
}

void digest_values_encode(const struct digest_values *values, uint8_t ret[static DIGEST_VALUES_BYTES])
{
        for (unsigned int i = 0; i < 4; i++)
                ret[i] = (uint8_t)(values->mask >> 8 * i);
        memcpy(ret + 4, values->bytes, sizeof(values->bytes));
}

int digest_values_decode(const uint8_t record[static DIGEST_VALUES_BYTES], struct digest_values *ret)
{
        struct digest_values values = {0};

        for (unsigned int i = 0; i < 4; i++)
                values.mask |= (uint32_t)record[i] << 8 * i;
        if (values.mask >> HASH_COUNT)
                return -EBADMSG;
        memcpy(values.bytes, record + 4, sizeof(values.bytes));
        for (int algorithm = 0; algorithm < HASH_COUNT; algorithm++) {
                const uint8_t *raw = values.bytes + algorithms[algorithm].offset;

                for (size_t i = 0; !(values.mask & 1u << algorithm) && i < algorithms[algorithm].bytes; i++)
                        if (raw[i] != 0)
                                return -EBADMSG;
        }
        *ret = values;
        return 0;
}
